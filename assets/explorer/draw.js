// One frame of the clip on a canvas, in one view. What colours mean is here and nowhere else.

const VEIL = [26, 28, 36, 217];
const THIN_VEIL = [26, 28, 36, 130];
const CHOSEN = "#ffd60a";
const THUMBNAIL = 256; // pixels of the longer side
const PATTERN_INK = "rgba(226, 230, 240, 0.5)";
// What is gone differs by pattern, so that it can be told apart without colours, in print and by any eyes.
const PATTERNS = { [FATES.justDropped]: "crossed", [FATES.dropped]: "hatched", [FATES.leftOut]: "dotted" };
const VEILS = { [FATES.justDropped]: THIN_VEIL, [FATES.dropped]: VEIL, [FATES.leftOut]: VEIL };

// Every view says, for one group under a look (view, layer, fill), which colour [r, g, b, opacity] lies over its patches, which pattern lies
// over that ("crossed", "hatched", "dotted" or none), and a number: lines run between patches whose numbers differ.
const VIEWS = {
  merged: {
    label: "Merged regions",
    colour: (trace, group, look) => (group < 0 ? VEIL : look.fill ? [...trace.colours.subarray(3 * group, 3 * group + 3), 255] : null),
    pattern: (trace, group) => group < 0 && PATTERNS[FATES.leftOut],
    number: (trace, group) => group,
    dots: () => true,
    reading: [
      "Before the language model, patches that look alike are merged: all patches of one token count as one from then on.",
      "Lines separate different tokens, and a dot marks the place where a merged token stands. Point at a patch, or tap it, to see its token.",
    ],
  },
  survival: {
    label: "Survival",
    colour: (trace, group, look) => VEILS[fate(trace, group, look.layer)] ?? null,
    pattern: (trace, group, look) => PATTERNS[fate(trace, group, look.layer)],
    number: (trace, group, look) => (fate(trace, group, look.layer) === FATES.there ? group : -1 - fate(trace, group, look.layer)),
    dots: (trace, group, look) => fate(trace, group, look.layer) === FATES.there,
    reading: [
      "Inside the language model, the least important tokens are dropped from layer to layer; this is what the chosen layer still sees.",
      "Clear: still there, with lines around tokens. Crossed: dropped just before this layer. Hatched: dropped earlier. Move the layer to watch them go.",
    ],
  },
  score: {
    label: "Importance",
    grey: true,
    colour: (trace, group, look, colours) => {
      if (fate(trace, group, look.layer) !== FATES.there) return VEIL;
      const fractions = scoreFractions(trace, look.layer);
      return fractions && [...colours(fractions[group]), 200];
    },
    pattern: (trace, group, look) => {
      const end = fate(trace, group, look.layer);
      return end === FATES.justDropped ? PATTERNS[FATES.dropped] : PATTERNS[end];
    },
    number: (trace, group, look) => (fate(trace, group, look.layer) === FATES.there ? 0 : 1),
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
      if (fate(trace, group, look.layer) !== FATES.there) return VEIL;
      const fractions = wordFractions(trace, look.word, look.layer);
      return fractions && [...colours(fractions[group]), 200];
    },
    pattern: (trace, group, look) => fate(trace, group, look.layer) !== FATES.there && PATTERNS[FATES.dropped],
    number: (trace, group, look) => (fate(trace, group, look.layer) === FATES.there ? 0 : 1),
    reading: [
      "Where the model looked in the chosen layer while it said this word: the attention of that step. Yellow is most, violet is least.",
      "Dark and hatched: dropped earlier. Another layer may look elsewhere.",
    ],
  },
};
const PAINTED = "#ff4fd8";

// Fractions 0...1 to [r, g, b], linear between the payload's equally spaced stops.
function makeColours(stops) {
  return (fraction) => {
    const place = fraction * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    return stops[below].map((from, channel) => Math.round(from + (stops[below + 1][channel] - from) * (place - below)));
  };
}

function makeCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

// Frames stand side by side in one picture; this is where each of them is.
function loadPictures({ picture }) {
  if (picture.loaded) return picture.loaded;
  const image = new Image();
  image.src = picture.data;
  const place = (frame) => [(frame % picture.columns) * picture.width, Math.floor(frame / picture.columns) * picture.height];
  return image.decode().then(() => ({ image, place, width: picture.width, height: picture.height }));
}

// A canvas for one frame whose longer side has that many pixels.
function frameCanvas(pictures, longest) {
  const scale = longest / Math.max(pictures.width, pictures.height);
  return makeCanvas(Math.max(1, Math.round(pictures.width * scale)), Math.max(1, Math.round(pictures.height * scale)));
}

function drawPhoto(canvas, pictures, frame) {
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(pictures.image, ...pictures.place(frame), pictures.width, pictures.height, 0, 0, canvas.width, canvas.height);
  return context;
}

// draw(canvas, frame, look) with look = {view, layer, fill, chosen: a Set of groups, box: {frame, top, left, bottom, right} or null}.
// A canvas as small as a thumbnail has no room for dots, and for lines only where they are all there is to see.
function makePainter(trace, pictures, colours) {
  const tile = makeCanvas(trace.columns, trace.rows);
  const tileContext = tile.getContext("2d", { willReadFrequently: true });
  const pixels = tileContext.createImageData(trace.columns, trace.rows);

  const mask = makeCanvas(1, 1);
  const tiles = new Map();

  // One pixel a patch, stretched over the frame without smoothing: 750 patches cost as little as one.
  function stretch(context, colourOf, frame) {
    let any = false;
    for (let place = 0; place < trace.patches; place++) {
      const colour = colourOf(trace.assignment[frame * trace.patches + place]);
      any ||= Boolean(colour);
      for (let channel = 0; channel < 4; channel++) pixels.data[4 * place + channel] = colour ? colour[channel] : 0;
    }
    if (!any) return false;
    tileContext.putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(tile, 0, 0, context.canvas.width, context.canvas.height);
    return true;
  }

  function lay(context, name, patternOf, frame) {
    Object.assign(mask, { width: context.canvas.width, height: context.canvas.height });
    const lines = mask.getContext("2d");
    if (!stretch(lines, (group) => patternOf(group) === name && [0, 0, 0, 255], frame)) return;
    const side = patternSide(context.canvas);
    if (!tiles.has(name + side)) tiles.set(name + side, patternTile(name, side));
    lines.globalCompositeOperation = "source-in";
    lines.fillStyle = lines.createPattern(tiles.get(name + side), "repeat");
    lines.fillRect(0, 0, mask.width, mask.height);
    context.drawImage(mask, 0, 0);
  }

  // A dot where a merged token stands; the patches around it, inside the same line, were merged into it.
  function dots(context, frame, thick, hasDot) {
    const [across, down] = [context.canvas.width / trace.columns, context.canvas.height / trace.rows];
    const radius = Math.min(across, down) / 9;
    trace.anchors.forEach((patch, group) => {
      if (Math.floor(patch / trace.patches) !== frame || trace.sizes[group] < 2 || !hasDot(group)) return;
      const place = patch % trace.patches;
      context.beginPath();
      context.arc(((place % trace.columns) + 0.5) * across, (Math.floor(place / trace.columns) + 0.5) * down, radius, 0, 2 * Math.PI);
      context.fillStyle = "rgba(255, 255, 255, 0.9)";
      context.strokeStyle = "rgba(0, 0, 0, 0.7)";
      context.lineWidth = thick;
      context.fill();
      context.stroke();
    });
  }

  function borders(canvas, frame, numberOf) {
    const { rows, columns, assignment, patches } = trace;
    const x = (column) => Math.round((column * canvas.width) / columns);
    const y = (row) => Math.round((row * canvas.height) / rows);
    const numbers = Array.from({ length: patches }, (_, place) => numberOf(assignment[frame * patches + place], place));
    const path = new Path2D();
    for (let place = 0; place < patches; place++) {
      const [row, column] = [Math.floor(place / columns), place % columns];
      if (column + 1 < columns && numbers[place] !== numbers[place + 1]) line(path, x(column + 1), y(row), x(column + 1), y(row + 1));
      if (row + 1 < rows && numbers[place] !== numbers[place + columns]) line(path, x(column), y(row + 1), x(column + 1), y(row + 1));
    }
    return path;
  }

  return (canvas, frame, look) => {
    const view = VIEWS[look.view];
    const context = drawPhoto(canvas, pictures, frame);
    if (view.grey) desaturate(context);
    stretch(context, (group) => view.colour(trace, group, look, colours), frame);
    const longest = Math.max(canvas.width, canvas.height);
    const thick = Math.max(1, longest / 400);
    const large = longest > THUMBNAIL;
    const ink = Math.min(0.9, Math.max(0.45, canvas.width / trace.columns / 70)); // of lines, which are many where patches are small
    for (const name of Object.values(PATTERNS)) lay(context, name, (group) => view.pattern(trace, group, look), frame);
    if (large || look.view === "merged") {
      twice(context, borders(canvas, frame, (group) => view.number(trace, group, look)), thick, `rgba(255, 255, 255, ${ink})`);
    }
    if (large && view.dots) dots(context, frame, thick, (group) => view.dots(trace, group, look));
    if (look.chosen.size) {
      const edge = borders(canvas, frame, (group) => look.chosen.has(group));
      frameEdge(edge, canvas, trace, (place) => look.chosen.has(trace.assignment[frame * trace.patches + place]));
      twice(context, edge, 2.5 * thick, CHOSEN);
    }
    if (look.painted?.size) drawPainted(context, trace, frame, look.painted, thick);
    if (look.box?.frame === frame) drawBox(context, trace, look.box, thick);
  };
}

// A line that shows on any ground: light over dark.
function twice(context, path, thick, colour) {
  context.lineCap = "square";
  for (const [width, style] of [[thick * 2.2, "rgba(0, 0, 0, 0.5)"], [thick, colour]]) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.stroke(path);
  }
}

function line(path, fromX, fromY, toX, toY) {
  path.moveTo(fromX, fromY);
  path.lineTo(toX, toY);
}

// Chosen patches at the rim of the frame are closed along it.
function frameEdge(path, { width, height }, { rows, columns }, isChosen) {
  for (let column = 0; column < columns; column++) {
    const [from, to] = [(column * width) / columns, ((column + 1) * width) / columns];
    if (isChosen(column)) line(path, from, 1, to, 1);
    if (isChosen((rows - 1) * columns + column)) line(path, from, height - 1, to, height - 1);
  }
  for (let row = 0; row < rows; row++) {
    const [from, to] = [(row * height) / rows, ((row + 1) * height) / rows];
    if (isChosen(row * columns)) line(path, 1, from, 1, to);
    if (isChosen(row * columns + columns - 1)) line(path, width - 1, from, width - 1, to);
  }
}

// Patches that are chosen to be left out, or to be asked about alone.
function drawPainted(context, { rows, columns, patches }, frame, painted, thick) {
  const [across, down] = [context.canvas.width / columns, context.canvas.height / rows];
  const path = new Path2D();
  for (let place = 0; place < patches; place++) {
    if (painted.has(frame * patches + place)) path.rect((place % columns) * across, Math.floor(place / columns) * down, across, down);
  }
  context.fillStyle = "rgba(255, 79, 216, 0.35)";
  context.fill(path);
  twice(context, path, 1.5 * thick, PAINTED);
}

function drawBox(context, { rows, columns }, { top, left, bottom, right }, thick) {
  const [across, down] = [context.canvas.width / columns, context.canvas.height / rows];
  const path = new Path2D();
  path.rect(left * across, top * down, (right - left + 1) * across, (bottom - top + 1) * down);
  context.setLineDash([5 * thick, 4 * thick]);
  twice(context, path, 2 * thick, "#ffffff");
  context.setLineDash([]);
}

function desaturate(context) {
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "#808080";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.globalCompositeOperation = "source-over";
}

// Wide enough to be seen when a phone shows the canvas at a third of its pixels.
function patternSide(canvas) {
  return Math.max(14, Math.round(Math.max(canvas.width, canvas.height) / 40));
}

function patternTile(name, side) {
  const tile = makeCanvas(side, side);
  const context = tile.getContext("2d");
  context.strokeStyle = context.fillStyle = PATTERN_INK;
  context.lineWidth = side / 7;
  if (name === "dotted") {
    context.arc(side / 2, side / 2, side / 6, 0, 2 * Math.PI);
    context.fill();
    return tile;
  }
  for (const shift of [-side, 0, side]) {
    context.moveTo(shift - 1, side + 1);
    context.lineTo(shift + side + 1, -1);
    if (name !== "crossed") continue;
    context.moveTo(shift - 1, -1);
    context.lineTo(shift + side + 1, side + 1);
  }
  context.stroke();
  return tile;
}

// What the colours, lines and patterns of a view mean in this layer.
function makeLegend(trace, view, layer, colours) {
  const leftOut = trace.leftOut ? [swatch("dotted", "dropped before the language model")] : [];
  const gone = [swatch("hatched", "dropped earlier"), ...leftOut];
  if (view === "merged") return [swatch("border", "border between tokens"), swatch("dot", "where a merged token stands"), ...leftOut];
  if (view === "survival") return [swatch("clear", "still there"), swatch("crossed", `dropped just before layer ${layer}`), ...gone];
  if (view === "word") return colourBar(`Attention in layer ${layer}`, colours, ["none", "most"], ...gone);
  const score = trace.scores[layer];
  if (score) {
    const ticks = score.high > score.low ? [0, 0.5, 1].map((part) => writeScore(scoreAt(score, part))) : [writeScore(score.high)];
    if (score.clipped) ticks[0] = `≤ ${ticks[0]}`;
    return colourBar(`Importance in layer ${layer}`, colours, ticks, ...gone);
  }
  const scored = scoredLayers(trace);
  const why = trace.alive[layer] ? `Layer ${layer} was not scored` : `No visual token is left in layer ${layer}`;
  return [make("span", {}, `${why}. ${scored.length ? `Layers with scores: ${writeSpans(scored)}.` : "No layer of this run was scored."}`), ...gone];
}
