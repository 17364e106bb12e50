// How patches of the enlarged frame are chosen.

// Click, tap, drag a box, or arrow keys. choose(places or null, box or null) pins; hover(place or null) only looks.
function pickPatches(canvas, { rows, columns }, choose, hover) {
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Enlarged frame. Arrow keys choose a patch, Shift and arrow keys a box, Escape lets go.");
  let [anchor, cursor, dragging] = [null, null, false];

  function patchAt(event) {
    const bounds = canvas.getBoundingClientRect();
    const part = (value, from, length, count) => Math.min(count - 1, Math.max(0, Math.floor(((value - from) / length) * count)));
    return [part(event.clientY, bounds.top, bounds.height, rows), part(event.clientX, bounds.left, bounds.width, columns)];
  }

  function pick() {
    const [top, bottom] = [Math.min(anchor[0], cursor[0]), Math.max(anchor[0], cursor[0])];
    const [left, right] = [Math.min(anchor[1], cursor[1]), Math.max(anchor[1], cursor[1])];
    const places = [];
    for (let row = top; row <= bottom; row++) for (let column = left; column <= right; column++) places.push(row * columns + column);
    choose(places, { top, left, bottom, right });
  }

  function release() {
    [anchor, cursor, dragging] = [null, null, false];
    choose(null, null);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    dragging = true;
    anchor = cursor = patchAt(event);
    pick();
  });
  canvas.addEventListener("pointermove", (event) => {
    const [row, column] = patchAt(event);
    if (dragging && (row !== cursor[0] || column !== cursor[1])) {
      cursor = [row, column];
      pick();
    } else if (!dragging && event.pointerType === "mouse") hover(row * columns + column);
  });
  canvas.addEventListener("pointerup", () => (dragging = false));
  canvas.addEventListener("pointercancel", release); // the finger was scrolling the page
  canvas.addEventListener("pointerleave", () => hover(null));
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return release();
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const from = cursor ?? [Math.floor(rows / 2), Math.floor(columns / 2)];
    const inside = (value, count) => Math.min(count - 1, Math.max(0, value));
    if (cursor) cursor = [inside(from[0] + move[0], rows), inside(from[1] + move[1], columns)];
    else cursor = from;
    if (!event.shiftKey || !anchor) anchor = cursor;
    pick();
  });
}
