// Every number and sentence that is said of a trace.

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
  const where = trace.frames === 1 ? "The only frame" : `Frame ${frame + 1} (${writeTime(trace.times[frame])})`;
  return places.length === 1 ? describeToken(trace, [...groups][0], where, frame, layer) : describeRegion(trace, [...groups], where, layer);
}

function describeToken(trace, group, where, frame, layer) {
  if (group < 0) return ["This patch: dropped before the language model, so it belongs to no token.", `${where}.`];
  const size = trace.sizes[group];
  const merged = size === 1 ? "This patch: a token of its own" : `This patch: 1 of ${size.toLocaleString("en")} patches in one merged token`;
  const details = [where];
  const others = framesOf(trace, (other) => other === group).filter((other) => other !== frame);
  if (others.length) details.push(`the token also holds patches of frame${others.length > 1 ? "s" : ""} ${writeSpans(others.map((other) => other + 1))}`);
  const token = holder(trace, group, layer);
  const held = token < 0 ? 0 : sizesIn(trace, layer)[token];
  if (held > size) {
    const there = framesOf(trace, (other) => holder(trace, other, layer) === token).map((one) => one + 1);
    details.push(`in layer ${layer} it is in a token of ${writeCount(held, "patch")} of frame${there.length > 1 ? "s" : ""} ${writeSpans(there)}`);
  }
  const fractions = scoreFractions(trace, layer);
  if (fractions && token >= 0) {
    const rank = 1 + fractions.reduce((sum, other) => sum + (other > fractions[token]), 0);
    const score = writeScore(scoreAt(trace.scores[layer], fractions[token]));
    details.push(`importance in layer ${layer}: ${score}, rank ${rank.toLocaleString("en")} of ${trace.alive[layer].toLocaleString("en")}`);
  }
  return [`${merged}, ${writeEnd(trace, group)}.`, `${details.join(" · ")}.`];
}

function describeRegion(trace, all, where, layer) {
  const groups = all.filter((group) => group >= 0);
  if (!groups.length) return ["This region: all of it was dropped before the language model.", `${where}.`];
  const ends = groups.map((group) => reach(trace, group));
  const latest = Math.max(...ends);
  const kept = ends.filter((end) => end === trace.layers - 1).length;
  const end = kept ? `${kept === groups.length ? "all" : kept} kept to the last layer (${latest})` : `last one ${writeReach(trace, latest)}`;
  const covered = groups.reduce((sum, group) => sum + trace.sizes[group], 0);
  const count = (wanted) => groups.filter((group) => fate(trace, group, layer) === wanted).length;
  const inside = count(FATES.inside) ? `, ${count(FATES.inside)} merged into others` : "";
  const left = `in layer ${layer}: ${count(FATES.there)} of ${groups.length} left${inside}`;
  const details = [where, `together they stand for ${writeCount(covered, "patch")}`, left];
  if (groups.length < all.length) details.push("its other patches were dropped before the language model");
  const tokens = groups.length === 1 ? "1 merged token" : `${groups.length.toLocaleString("en")} merged tokens`;
  return [`This region: ${tokens}, ${groups.length === 1 ? writeEnd(trace, groups[0]) : end}.`, `${details.join(" · ")}.`];
}

function writeEnd(trace, group) {
  const [own, end] = [trace.last[group], reach(trace, group)];
  if (own === end) return writeReach(trace, end);
  const merged = own < 0 ? "merged into another token where layer 0 begins" : `merged into another token after layer ${own}`;
  return `${merged} and, in it, ${writeReach(trace, end)}`;
}

function writeReach(trace, end) {
  return end === trace.layers - 1 ? `kept to the last layer (${end})` : end < 0 ? "dropped before layer 0" : `dropped after layer ${end}`;
}

// The frames that have patches of such groups.
function framesOf(trace, wanted) {
  const frames = new Set();
  trace.assignment.forEach((group, patch) => wanted(group) && frames.add(Math.floor(patch / trace.patches)));
  return [...frames];
}
