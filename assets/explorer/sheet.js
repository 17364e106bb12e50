// The frames of a run as one picture to keep.

const SAVED = 480;

// All frames with their times on one canvas, for keeping.
function drawSheet(trace, pictures, paint, look, title) {
  const across = Math.min(trace.frames, Math.ceil(Math.sqrt(trace.frames * 1.5)));
  const cell = frameCanvas(pictures, SAVED);
  const [gap, line] = [12, 30];
  const canvas = makeCanvas(across * (cell.width + gap) + gap, Math.ceil(trace.frames / across) * (cell.height + line + gap) + line + 2 * gap);
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#1f2430";
  context.font = "600 20px system-ui, sans-serif";
  context.fillText(title, gap, line);
  context.font = "16px system-ui, sans-serif";
  for (let frame = 0; frame < trace.frames; frame++) {
    paint(cell, frame, look);
    const left = gap + (frame % across) * (cell.width + gap);
    const top = line + 2 * gap + Math.floor(frame / across) * (cell.height + line + gap);
    context.drawImage(cell, left, top);
    context.fillText(writeTime(trace.times[frame]), left, top + cell.height + 20);
  }
  return canvas;
}
