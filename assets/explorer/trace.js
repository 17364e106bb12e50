// The payload of aim/views/explorer.py as typed arrays, and every number and sentence the pictures are made of. No page and no canvas here.
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
  trace.alive = Array.from({ length: layers }, (_, layer) => last.reduce((sum, end) => sum + (end >= layer), 0));
  countByFrame(trace);
  trace.fractions = new Map();
  return trace;
}

// entered[frame]: groups with patches in the frame; left[frame * layers + layer]: those of them still there in the layer.
function countByFrame(trace) {
  const { frames, layers, patches, assignment, last } = trace;
  const seenIn = new Int32Array(trace.groups).fill(-1);
  trace.entered = new Uint32Array(frames);
  trace.left = new Uint32Array(frames * layers);
  trace.spans = false;
  for (let patch = 0; patch < assignment.length; patch++) {
    const group = assignment[patch];
    const frame = Math.floor(patch / patches);
    if (group < 0 || seenIn[group] === frame) continue;
    if (seenIn[group] >= 0) trace.spans = true;
    seenIn[group] = frame;
    trace.entered[frame]++;
    if (last[group] >= 0) trace.left[frame * layers + last[group]]++;
  }
  for (let frame = 0; frame < frames; frame++) {
    for (let layer = layers - 2; layer >= 0; layer--) trace.left[frame * layers + layer] += trace.left[frame * layers + layer + 1];
  }
}

// What a layer still has of a group. A group of -1 was left out before the language model.
const FATES = { there: 0, justDropped: 1, dropped: 2, leftOut: 3 };

function fate(trace, group, layer) {
  if (group < 0) return FATES.leftOut;
  const end = trace.last[group];
  return end >= layer ? FATES.there : end === layer - 1 ? FATES.justDropped : FATES.dropped;
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

function writeTime(seconds) {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

function writeScore(value) {
  return value >= 0.001 || value === 0 ? value.toPrecision(2) : value.toExponential(1);
}

function writeCount(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;
}

function writeSpans(layers) {
  const spans = [];
  for (const layer of layers) {
    const span = spans.at(-1);
    if (span && span[1] === layer - 1) span[1] = layer;
    else spans.push([layer, layer]);
  }
  return spans.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}

// What became of these patches of one frame, as [sentence, details].
function describePatches(trace, frame, places, layer) {
  const groups = new Set(places.map((place) => trace.assignment[frame * trace.patches + place]));
  const where = `Frame ${frame + 1} (${writeTime(trace.times[frame])})`;
  return places.length === 1 ? describeToken(trace, [...groups][0], where, frame, layer) : describeRegion(trace, [...groups], where, layer);
}

function describeToken(trace, group, where, frame, layer) {
  if (group < 0) return ["This patch: dropped before the language model, so it belongs to no token.", `${where}.`];
  const size = trace.sizes[group];
  const merged = size === 1 ? "This patch: a token of its own" : `This patch: 1 of ${size.toLocaleString("en")} patches in one merged token`;
  const details = [where];
  const others = framesOf(trace, group).filter((other) => other !== frame);
  if (others.length) details.push(`the token also holds patches of frame${others.length > 1 ? "s" : ""} ${writeSpans(others.map((other) => other + 1))}`);
  const fractions = scoreFractions(trace, layer);
  if (fractions && !Number.isNaN(fractions[group])) {
    const rank = 1 + fractions.reduce((sum, other) => sum + (other > fractions[group]), 0);
    const score = writeScore(scoreAt(trace.scores[layer], fractions[group]));
    details.push(`importance in layer ${layer}: ${score}, rank ${rank.toLocaleString("en")} of ${trace.alive[layer].toLocaleString("en")}`);
  }
  return [`${merged}, ${writeEnd(trace, trace.last[group])}.`, `${details.join(" · ")}.`];
}

function describeRegion(trace, all, where, layer) {
  const groups = all.filter((group) => group >= 0);
  if (!groups.length) return ["This region: all of it was dropped before the language model.", `${where}.`];
  const ends = groups.map((group) => trace.last[group]);
  const latest = Math.max(...ends);
  const reach = ends.filter((end) => end === trace.layers - 1).length;
  const end = reach ? `${reach === groups.length ? "all" : reach} kept to the last layer (${latest})` : `last one ${writeEnd(trace, latest)}`;
  const covered = groups.reduce((sum, group) => sum + trace.sizes[group], 0);
  const left = ends.filter((end) => end >= layer).length;
  const details = [where, `together they stand for ${writeCount(covered, "patch")}`, `in layer ${layer}: ${left} of ${groups.length} left`];
  if (groups.length < all.length) details.push("its other patches were dropped before the language model");
  const tokens = groups.length === 1 ? "1 merged token" : `${groups.length.toLocaleString("en")} merged tokens`;
  return [`This region: ${tokens}, ${groups.length === 1 ? writeEnd(trace, latest) : end}.`, `${details.join(" · ")}.`];
}

function writeEnd(trace, end) {
  return end === trace.layers - 1 ? `kept to the last layer (${end})` : end < 0 ? "dropped before layer 0" : `dropped after layer ${end}`;
}

function framesOf(trace, group) {
  const frames = new Set();
  trace.assignment.forEach((other, patch) => other === group && frames.add(Math.floor(patch / trace.patches)));
  return [...frames];
}
