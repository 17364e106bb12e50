// The line between two pictures of one frame. It is dragged, or moved with the arrow keys.

function makeWipe(at, onMove) {
  const handle = make("div", { class: "aim-x-wipe", role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": 100 });
  handle.setAttribute("aria-label", "Line between the left and the right picture");
  handle.append(make("span", { "aria-hidden": "true" }, "◂▸"));
  let place = at;
  const set = (value, told = true) => {
    place = Math.min(1, Math.max(0, value));
    handle.style.left = `${100 * place}%`;
    handle.setAttribute("aria-valuenow", Math.round(100 * place));
    if (told) onMove();
  };
  const follow = (event) => {
    const bounds = handle.parentElement.getBoundingClientRect();
    set((event.clientX - bounds.left) / bounds.width);
  };
  handle.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    event.stopPropagation();
    if (handle.hasPointerCapture(event.pointerId)) follow(event);
  });
  const steps = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 };
  handle.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (!(event.key in steps)) return;
    event.preventDefault();
    set(place + steps[event.key]);
  });
  set(at, false);
  return { handle, set, at: () => place };
}
