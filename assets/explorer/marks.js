// What is drawn over a frame: lines, the marks of what was chosen, and the tiles of patterns.

const CHOSEN = "#ffd60a";
const PAINTED = "#ff4fd8";
const PATTERN_INK = "rgba(226, 230, 240, 0.5)";

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
  if (name === "upright") {
    context.moveTo(side / 2, -1);
    context.lineTo(side / 2, side + 1);
    context.stroke();
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
