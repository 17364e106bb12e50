// The parts of the page beside the screen. Each is drawn while it can be seen, and again for every run.

const PARTS = { layers: startLayers, moments: startMoments, cost: startCost, pins: startPins, handle: startHandle, share: startShare, beacon: startBeacon };
const NOTHING_YET = "After a run, this is shown here.";

// Calls draw(value) for the present run once the element can be seen, and for every new one while it can.
function whileSeen(page, element, draw) {
  let drawn = null;
  const look = () => {
    if (page.shown === drawn || !element.isConnected || element.offsetParent === null) return;
    drawn = page.shown;
    if (drawn) draw(drawn);
  };
  new IntersectionObserver(look).observe(element);
  page.follow(look);
  look();
}

function startLayers(page, element) {
  element.replaceChildren(make("p", {}, NOTHING_YET));
  whileSeen(page, element, (value) => (element.innerHTML = value.layers));
}

function startCost(page, element) {
  element.replaceChildren(make("p", {}, NOTHING_YET));
  whileSeen(page, element, (value) => (element.innerHTML = value.cost));
}

function startMoments(page, element) {
  const root = make("div", { class: "aim-x" }, make("p", { class: "aim-x-empty" }, NOTHING_YET));
  element.replaceChildren(root);
  whileSeen(page, element, () => {
    root.removeAttribute("data-ready");
    root.replaceChildren(buildTime(page.run, () => root.setAttribute("data-ready", "")));
  });
}

// On a phone the knobs are a sheet at the foot of the screen. It says what is answered, and opens and closes.
function startHandle(page, element) {
  const said = make("span", { class: "aim-sheet-said" });
  const more = make("button", { type: "button", class: "aim-x-button", "aria-expanded": "false" }, "More ▴");
  element.replaceChildren(make("div", { class: "aim-x aim-sheet-bar" }, said, more));
  more.addEventListener("click", () => {
    const open = element.closest(".aim-knobs").classList.toggle("aim-sheet-open");
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "Less ▾" : "More ▴";
  });
  const write = () => {
    const value = page.shown;
    if (value) said.textContent = `${value.answer}${value.same ? " ✓" : value.same === false ? " ✗" : ""} · ${value.facts[1][0]}`;
  };
  page.follow(write);
  write();
}

// Tells the server that its tab is open and shows another run than before.
function startBeacon(page, element, trigger) {
  const save = () => onceDrawn(() => trigger("select", { index: 0, value: null }));
  let tries = 0;
  // Whether the files are asked for once more, because on a busy machine the tab's first values can come even later.
  page.saveAgain = () => (tries-- > 0 ? (save(), true) : false);
  // Until the new run is saved, nothing of the one before can be taken away.
  whileSeen(page, element, (value) => {
    element.closest(".tabitem")?.classList.add("aim-saving");
    tries = 2;
    if (value.stored && page.pace === "drag") page.ask();
    else save();
  });
}

// Gradio gives what a tab holds its first values once more, a frame after it was opened for the first time. What arrived by then would be lost.
function onceDrawn(act, frames = 4) {
  requestAnimationFrame(() => (frames ? onceDrawn(act, frames - 1) : act()));
}
