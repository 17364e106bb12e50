// One frame of the clip on a canvas, in one view.

const THUMBNAIL = 256; // pixels of the longer side

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
  function dots(context, frame, thick, sizes) {
    const [across, down] = [context.canvas.width / trace.columns, context.canvas.height / trace.rows];
    const radius = Math.min(across, down) / 9;
    trace.anchors.forEach((patch, group) => {
      if (Math.floor(patch / trace.patches) !== frame || sizes[group] < 2) return;
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
    if (large && view.sizes) dots(context, frame, thick, view.sizes(trace, look));
    if (look.chosen.size) {
      const edge = borders(canvas, frame, (group) => look.chosen.has(group));
      frameEdge(edge, canvas, trace, (place) => look.chosen.has(trace.assignment[frame * trace.patches + place]));
      twice(context, edge, 2.5 * thick, CHOSEN);
    }
    if (look.painted?.size) drawPainted(context, trace, frame, look.painted, thick);
    if (look.box?.frame === frame) drawBox(context, trace, look.box, thick);
  };
}
