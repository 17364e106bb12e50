// What colours, patterns and lines mean: the views, and their legends. No canvas here.

const VEIL = [26, 28, 36, 217];
const THIN_VEIL = [26, 28, 36, 130];
const TEAL_VEIL = [12, 92, 98, 153];
// What is gone differs by pattern, so that it can be told apart without colours, in print and by any eyes.
const PATTERNS = { [FATES.inside]: "upright", [FATES.justDropped]: "crossed", [FATES.dropped]: "hatched", [FATES.leftOut]: "dotted" };
const VEILS = { [FATES.inside]: TEAL_VEIL, [FATES.justDropped]: THIN_VEIL, [FATES.dropped]: VEIL, [FATES.leftOut]: VEIL };

const INSIDE_READING = "Upright lines: averaged into another token inside the model, and still there as part of that one.";

// Every view says, for one group under a look (view, layer, fill), which colour [r, g, b, opacity] lies over its patches, which pattern lies
// over that ("upright", "crossed", "hatched", "dotted" or none), and a number: lines run between patches whose numbers differ. sizes(trace,
// look), where a view has dots, tells how many patches each token stands for; 0 is none of this view.
const VIEWS = {
  merged: {
    label: "Merged regions",
    colour: (trace, group, look) => (group < 0 ? VEIL : look.fill ? [...trace.colours.subarray(3 * group, 3 * group + 3), 255] : null),
    pattern: (trace, group) => group < 0 && PATTERNS[FATES.leftOut],
    number: (trace, group) => group,
    sizes: (trace) => trace.sizes,
    reading: [
      "Before the language model, patches that look alike are merged: all patches of one token count as one from then on.",
      "Lines separate different tokens, and a dot marks the place where a merged token stands. Point at a patch, or tap it, to see its token.",
    ],
  },
  survival: {
    label: "Survival",
    colour: (trace, group, look) => VEILS[fate(trace, group, look.layer)] ?? null,
    pattern: (trace, group, look) => PATTERNS[fate(trace, group, look.layer)],
    number: (trace, group, look) => {
      const token = holder(trace, group, look.layer);
      return token < 0 ? -1 - fate(trace, group, look.layer) : token;
    },
    sizes: (trace, look) => sizesIn(trace, look.layer),
    reading: [
      "Inside the language model, the least important tokens are dropped from layer to layer; this is what the chosen layer still sees.",
      "Clear: still there, with lines around tokens. Crossed: dropped just before this layer. Hatched: dropped earlier. Move the layer to watch them go.",
    ],
  },
  score: {
    label: "Importance",
    grey: true,
    colour: (trace, group, look, colours) => {
      const token = holder(trace, group, look.layer);
      if (token < 0) return VEIL;
      const fractions = scoreFractions(trace, look.layer);
      return fractions && [...colours(fractions[token]), 200];
    },
    pattern: quietPattern,
    number: gone,
    reading: [
      "How important each token is by the attention of the chosen layer (in AIM: PageRank). Yellow is high, violet is low.",
      "The least important are dropped before the next layer. Dark and hatched: dropped earlier.",
    ],
  },
  // Only there once a word of the answer is chosen.
  word: {
    label: "Word",
    grey: true,
    colour: (trace, group, look, colours) => {
      const token = holder(trace, group, look.layer);
      if (token < 0) return VEIL;
      const fractions = wordFractions(trace, look.word, look.layer);
      return fractions && [...colours(fractions[token]), 200];
    },
    pattern: quietPattern,
    number: gone,
    reading: [
      "Where the model looked in the chosen layer while it said this word: the attention of that step. Yellow is most, violet is least.",
      "Dark and hatched: dropped earlier. Another layer may look elsewhere.",
    ],
  },
};

// A crossing would draw the eye from colours that stand for numbers.
function quietPattern(trace, group, { layer }) {
  const end = fate(trace, group, layer);
  return PATTERNS[end === FATES.justDropped ? FATES.dropped : end];
}

function gone(trace, group, { layer }) {
  return holder(trace, group, layer) < 0 ? 1 : 0;
}

// Fractions 0...1 to [r, g, b], linear between the payload's equally spaced stops.
function makeColours(stops) {
  return (fraction) => {
    const place = fraction * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    return stops[below].map((from, channel) => Math.round(from + (stops[below + 1][channel] - from) * (place - below)));
  };
}

// What the colours, lines and patterns of a view mean in this layer.
function makeLegend(trace, view, layer, colours) {
  const leftOut = trace.leftOut ? [swatch("dotted", "dropped before the language model")] : [];
  const inside = trace.holders.size ? [swatch("upright", "merged into another token inside the model")] : [];
  const rest = [swatch("hatched", "dropped earlier"), ...leftOut];
  if (view === "merged") return [swatch("border", "border between tokens"), swatch("dot", "where a merged token stands"), ...leftOut];
  if (view === "survival") return [swatch("clear", "still there"), ...inside, swatch("crossed", `dropped just before layer ${layer}`), ...rest];
  if (view === "word") return colourBar(`Attention in layer ${layer}`, colours, ["none", "most"], ...inside, ...rest);
  const score = trace.scores[layer];
  if (score) {
    const ticks = score.high > score.low ? [0, 0.5, 1].map((part) => writeScore(scoreAt(score, part))) : [writeScore(score.high)];
    if (score.clipped) ticks[0] = `≤ ${ticks[0]}`;
    return colourBar(`Importance in layer ${layer}`, colours, ticks, ...inside, ...rest);
  }
  const scored = scoredLayers(trace);
  const why = trace.alive[layer] ? `Layer ${layer} was not scored` : `No visual token is left in layer ${layer}`;
  return [make("span", {}, `${why}. ${scored.length ? `Layers with scores: ${writeSpans(scored)}.` : "No layer of this run was scored."}`), ...inside, ...rest];
}
