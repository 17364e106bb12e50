// One frame of the clip on a canvas, in one view. What colours mean is here and nowhere else.

const VEIL = [26, 28, 36, 217];
const JUST_DROPPED = [240, 130, 20, 150];
const HATCH = "rgba(150, 156, 172, 0.5)";
const CHOSEN = "#ffd60a";
const THUMBNAIL = 256; // pixels of the longer side

// Every view says, for one group under a look (view, layer, fill), which colour [r, g, b, opacity] lies over its patches, whether they are
// hatched, and a number: lines run between patches whose numbers differ.
const VIEWS = {
  merged: {
    label: "Merged regions",
    colour: (trace, group, look) => (look.fill ? [...trace.colours.subarray(3 * group, 3 * group + 3), 255] : null),
    hatched: () => false,
    number: (trace, group) => group,
    reading: [
      "Before the language model, patches that look alike are merged: all patches of one token count as one from then on.",
      "Lines separate different tokens. Point at a patch, or tap it, to see every patch that shares its token.",
    ],
  },
  survival: {
    label: "Survival",
    colour: (trace, group, look) => [null, JUST_DROPPED, VEIL][fate(trace, group, look.layer)],
    hatched: (trace, group, look) => fate(trace, group, look.layer) === 2,
    number: (trace, group, look) => fate(trace, group, look.layer),
    reading: [
      "Inside the language model, the least important tokens are dropped from layer to layer; this is what the chosen layer still sees.",
      "Clear: still there. Orange: dropped just before this layer. Dark and hatched: dropped earlier. Move the layer to watch them go.",
    ],
  },
  score: {
    label: "Score",
    grey: true,
    colour: (trace, group, look, colours) => {
      if (trace.last[group] < look.layer) return VEIL;
      const fractions = scoreFractions(trace, look.layer);
      return fractions && [...colours(fractions[group]), 200];
    },
    hatched: (trace, group, look) => trace.last[group] < look.layer,
    number: (trace, group, look) => (trace.last[group] < look.layer ? 1 : 0),
    reading: [
      "How important each token is by the attention of the chosen layer (in AIM: PageRank). Yellow is high, violet is low.",
      "The lowest scores are dropped before the next layer. Dark and hatched: dropped earlier, no score here.",
    ],
  },
};

// 0: still there, 1: dropped between the layer before and this one, 2: dropped earlier.
function fate(trace, group, layer) {
  const end = trace.last[group];
  return end >= layer ? 0 : end === layer - 1 ? 1 : 2;
}

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
// A canvas as small as a thumbnail has no room for hatching, and for lines only where they are all there is to see.
function makePainter(trace, pictures, colours) {
  const tile = makeCanvas(trace.columns, trace.rows);
  const tileContext = tile.getContext("2d", { willReadFrequently: true });
  const pixels = tileContext.createImageData(trace.columns, trace.rows);

  const mask = makeCanvas(1, 1);
  const stripes = hatchTile();

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

  function hatch(context, hatched, frame) {
    Object.assign(mask, { width: context.canvas.width, height: context.canvas.height });
    const lines = mask.getContext("2d");
    if (!stretch(lines, (group) => hatched(group) && [0, 0, 0, 255], frame)) return;
    lines.globalCompositeOperation = "source-in";
    lines.fillStyle = lines.createPattern(stripes, "repeat");
    lines.fillRect(0, 0, mask.width, mask.height);
    context.drawImage(mask, 0, 0);
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
    if (large) hatch(context, (group) => view.hatched(trace, group, look), frame);
    if (large || look.view === "merged") {
      twice(context, borders(canvas, frame, (group) => view.number(trace, group, look)), thick, "rgba(255, 255, 255, 0.9)");
    }
    if (look.chosen.size) {
      const edge = borders(canvas, frame, (group) => look.chosen.has(group));
      frameEdge(edge, canvas, trace, (place) => look.chosen.has(trace.assignment[frame * trace.patches + place]));
      twice(context, edge, 2.5 * thick, CHOSEN);
    }
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

function hatchTile() {
  const tile = makeCanvas(12, 12);
  const context = tile.getContext("2d");
  context.strokeStyle = HATCH;
  context.lineWidth = 1.5;
  for (const shift of [-12, 0, 12]) {
    context.moveTo(shift, 12);
    context.lineTo(shift + 12, 0);
  }
  context.stroke();
  return tile;
}
