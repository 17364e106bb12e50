// The payload of aim/views/explorer.py as typed arrays, and what became of every token. No page and no canvas here.
// A group is a merged token; a patch is one place of one frame, numbered through the whole clip. Group -1 stands for no token: a patch that
// was dropped before the language model.

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int16: Int16Array, int32: Int32Array };

function unpack({ dtype, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return new ARRAYS[dtype](bytes.buffer);
}

function readTrace(payload) {
  const { frames, rows, columns, layers, times, scores } = payload;
  const assignment = unpack(payload.assignment);
  const last = unpack(payload.last_layer);
  const trace = { frames, rows, columns, layers, times, scores, assignment, last, patches: rows * columns, groups: last.length };
  trace.colours = unpack(payload.group_colours);
  trace.sizes = new Uint32Array(trace.groups);
  trace.leftOut = 0;
  for (const group of assignment) group < 0 ? trace.leftOut++ : trace.sizes[group]++;
  trace.anchors = unpack(payload.anchors);
  // Where tokens were averaged into others inside the model: from each of these layers on, the token that each one is in.
  trace.holders = new Map(Object.entries(payload.holders ?? {}).map(([layer, held]) => [Number(layer), unpack(held)]));
  trace.held = [];
  trace.alive = Array.from({ length: layers }, (_, layer) => last.reduce((sum, end) => sum + (end >= layer), 0));
  countByFrame(trace);
  trace.fractions = new Map();
  return trace;
}

// entered[frame]: groups with patches in the frame; left[frame * layers + layer]: tokens of the layer with patches there, their own or those
// of what was averaged into them.
function countByFrame(trace) {
  const { frames, layers, patches, assignment, alive } = trace;
  const seenIn = new Int32Array(trace.groups);
  trace.left = new Uint32Array(frames * layers);
  trace.spans = false;
  function count(held, add) {
    seenIn.fill(-1);
    for (let patch = 0; patch < assignment.length; patch++) {
      const token = assignment[patch] < 0 ? -1 : held[assignment[patch]];
      const frame = Math.floor(patch / patches);
      if (token < 0 || seenIn[token] === frame) continue;
      if (seenIn[token] >= 0) trace.spans = true;
      seenIn[token] = frame;
      add(frame);
    }
  }
  trace.entered = new Uint32Array(frames);
  count(Int32Array.from({ length: trace.groups }, (_, group) => group), (frame) => trace.entered[frame]++);
  for (let layer = 0; layer < layers; layer++) {
    const same = layer > 0 && alive[layer] === alive[layer - 1] && !trace.holders.has(layer);
    if (!same) count(heldIn(trace, layer), (frame) => trace.left[frame * layers + layer]++);
    else for (let frame = 0; frame < frames; frame++) trace.left[frame * layers + layer] = trace.left[frame * layers + layer - 1];
  }
}

// For each group the token of the layer that it is in: itself where it is alive, -1 where it is in none.
function heldIn(trace, layer) {
  if (!trace.held[layer]) {
    const cut = Math.max(-1, ...[...trace.holders.keys()].filter((one) => one <= layer));
    trace.held[layer] = cut < 0 ? Int32Array.from(trace.last, (end, group) => (end >= layer ? group : -1)) : trace.holders.get(cut);
  }
  return trace.held[layer];
}

// The same for one group, or for none.
function holder(trace, group, layer) {
  return group < 0 ? -1 : heldIn(trace, layer)[group];
}

// How many patches each token of a layer stands for.
function sizesIn(trace, layer) {
  const sizes = new Uint32Array(trace.groups);
  heldIn(trace, layer).forEach((token, group) => token >= 0 && (sizes[token] += trace.sizes[group]));
  return sizes;
}

// The last layer that has anything of a group, alone or in another.
function reach(trace, group) {
  let layer = trace.layers - 1;
  while (layer >= 0 && holder(trace, group, layer) < 0) layer--;
  return layer;
}

// These groups and all that are in one token of the layer with them.
function together(trace, groups, layer) {
  const held = heldIn(trace, layer);
  const tokens = new Set(groups.map((group) => holder(trace, group, layer)).filter((token) => token >= 0));
  const all = new Set(groups);
  held.forEach((token, group) => tokens.has(token) && all.add(group));
  return all;
}

// What a layer still has of a group. A group of -1 was left out before the language model.
const FATES = { there: 0, inside: 1, justDropped: 2, dropped: 3, leftOut: 4 };

function fate(trace, group, layer) {
  if (group < 0) return FATES.leftOut;
  const token = holder(trace, group, layer);
  if (token >= 0) return token === group ? FATES.there : FATES.inside;
  return layer > 0 && holder(trace, group, layer - 1) >= 0 ? FATES.justDropped : FATES.dropped;
}

// For each group its place on the layer's colour scale, 0...1, NaN where it is gone; null for a layer without scores.
function scoreFractions(trace, layer) {
  const packed = trace.scores[layer];
  if (!packed) return null;
  if (!trace.fractions.has(layer)) {
    const levels = unpack(packed.levels);
    let next = 0;
    trace.fractions.set(layer, Float32Array.from(trace.last, (end) => (end >= layer ? levels[next++] / 65535 : NaN)));
  }
  return trace.fractions.get(layer);
}

// As scoreFractions, for what a word of the answer looked at.
function wordFractions(trace, word, layer) {
  const packed = word?.looked?.[layer];
  if (!packed) return null;
  const levels = unpack(packed.levels);
  let next = 0;
  return Float32Array.from(trace.last, (end) => (end >= layer ? levels[next++] / 255 : NaN));
}

function scoreAt({ low, high }, fraction) {
  return low * Math.pow(high / low, fraction);
}

function scoredLayers(trace) {
  return trace.scores.flatMap((score, layer) => (score ? [layer] : []));
}

// Where pruning shows best: the last layer that some groups have left and some have not.
function tellingLayer(trace) {
  for (let layer = trace.layers - 1; layer > 0; layer--) {
    if (trace.alive[layer] > 0 && trace.alive[layer] < trace.groups) return layer;
  }
  return trace.layers - 1;
}
