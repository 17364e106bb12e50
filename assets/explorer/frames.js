// The frames of a run: one enlarged, with a line between the original and what the model sees, the others as a strip, and what became of a
// region. It keeps frame, layer and view from run to run. Nothing is asked of a server.

const ENLARGED = 960;
const PLAY_EVERY = 700; // milliseconds a layer
const SLICE = 12; // milliseconds of every screen refresh that thumbnails may take
const WIPE = 0.4;
// Nothing is said of keys where there is only a finger.
const ARROWS = matchMedia("(any-hover: hover)").matches ? "Arrow keys work too: Shift for a box, Escape to let go." : "";

// The report's: one run that does not change.
function startFrames(element, props, watch) {
  mount(element, props, watch, "After a run, the frames are here: which patches were merged, and how far each of them got.", (payload, root) => {
    const frames = makeFrames();
    openRun(payload).then((run) => {
      frames.show(run);
      root.setAttribute("data-ready", "");
    });
    return frames.node;
  });
}

// A payload with everything that is made of it once. The pictures may be known from an earlier run on the same frames.
function openRun(payload, known = null) {
  const trace = readTrace(payload);
  const colours = makeColours(payload.colour_map);
  return (known ?? loadPictures(payload)).then((pictures) => ({ payload, trace, colours, pictures, paint: makePainter(trace, pictures, colours) }));
}

// onAsk(places, mode), where there is a model to ask: mode is "without" or "only".
function makeFrames(onAsk = null) {
  const state = { word: null, painting: false, painted: new Set(), view: "merged", fill: true, frame: 0, layer: 0, layerChosen: false, pinned: null, hover: null, box: null };
  let run = null;
  let other = null; // the run on the left side, null for the original
  let large = null;
  let sides = [];
  let thumbnails = [];

  const views = Object.fromEntries(Object.entries(VIEWS).map(([name, view]) => [name, view.label]));
  const choices = makeChoices("View", views, state.view, setView);
  const wordChoice = choices.row.querySelector("input[value=word]").parentElement;
  wordChoice.hidden = true;
  const pressed = (text, title, act) => make("button", { type: "button", class: "aim-x-button", title, onclick: act }, text);
  const paint = pressed("✎ Paint", "Choose patches by drawing on the frame", () => setPainting(!state.painting));
  const moment = pressed("+ this moment", "Choose all patches of this frame", () => paintPlaces(Array.from({ length: run.trace.patches }, (_, place) => place)));
  const without = pressed("Ask without", "Ask the full model again without the chosen patches", () => ask("without"));
  const only = pressed("Ask with only", "Ask the full model again with the chosen patches alone", () => ask("only"));
  const clear = pressed("Clear", "Choose no patches", () => (state.painted.clear(), (answered.textContent = ""), setPainting(false)));
  const answered = make("p", { class: "aim-x-answered", role: "status" });
  const paintRow = make("div", { class: "aim-x-paint", hidden: !onAsk }, paint, moment, without, only, clear);
  const fill = make("input", { type: "checkbox", checked: state.fill, onchange: () => ((state.fill = fill.checked), draw(true)) });
  const fillRow = make("label", { class: "aim-x-check" }, fill, make("span", {}, "Fill with mean colour"));
  const save = make("button", { type: "button", class: "aim-x-button", onclick: () => saveSheet() }, "Save as PNG");
  const wipe = makeWipe(WIPE, () => compose());
  const [left, right] = [make("span", { class: "aim-x-left" }), make("span", { class: "aim-x-right" })];
  const frameBox = make("div", { class: "aim-x-frame" }, wipe.handle, left, right);
  const stage = make("div", { class: "aim-x-stage" }, frameBox);
  const caption = make("p", { class: "aim-x-caption" });
  const frameSlider = makeSlider("Frame", 0, 0, setFrame);
  const play = make("button", { type: "button", class: "aim-x-button", onclick: () => (timer ? pause() : start()) }, "▶ Play");
  const layerSlider = makeSlider("Layer", 0, 0, (layer) => (pause(), setLayer(layer)), play);
  const legend = make("div", { class: "aim-x-legend" });
  const said = make("p", { class: "aim-x-said", "aria-live": "polite" });
  const details = make("p", { class: "aim-x-details" });
  const reading = make("p", { class: "aim-x-reading" });
  const sheet = make("div", { class: "aim-x-sheet", role: "group", "aria-label": "All frames" });

  let timer = null;
  function start() {
    if (!run) return;
    if (state.view === "merged") setView("survival");
    if (state.layer === run.trace.layers - 1) setLayer(0);
    play.textContent = "❚❚ Pause";
    timer = setInterval(() => (!play.isConnected || state.layer >= run.trace.layers - 1 ? pause() : setLayer(state.layer + 1)), PLAY_EVERY);
  }
  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  }

  function setView(view) {
    state.view = view;
    choices.choose(view);
    draw(true);
  }

  function setFrame(frame) {
    state.frame = frame;
    state.hover = null;
    frameSlider.input.value = frame;
    draw(false);
  }

  // Merging is over before layer 0, so a layer can only be followed in the other views.
  function setLayer(layer) {
    state.layer = layer;
    state.layerChosen = true;
    layerSlider.input.value = layer;
    if (state.view === "merged") setView("survival");
    else draw(true);
  }

  function setPainting(painting) {
    state.painting = painting;
    paint.setAttribute("aria-pressed", String(painting));
    draw(true);
  }

  function paintPlaces(places) {
    for (const place of places) state.painted.add(state.frame * run.trace.patches + place);
    draw(true);
  }

  function ask(mode) {
    answered.textContent = state.painted.size ? "Asking again…" : "Nothing is painted. Press Paint and draw on the frame.";
    if (state.painted.size) onAsk([...state.painted], mode);
  }

  // A word of the answer, with what it looked at; null turns back.
  function setWord(word) {
    state.word = word;
    wordChoice.hidden = !word?.looked;
    if (word?.looked) {
      wordChoice.querySelector("span").textContent = `“${word.text}”`;
      setView("word");
    } else if (state.view === "word") setView("merged");
  }

  function choose(places, box) {
    if (state.painting) return places && paintPlaces(places);
    state.pinned = places && { frame: state.frame, places };
    state.box = places && box && { frame: state.frame, ...box };
    draw(true);
  }

  function hoverOver(place) {
    if (state.pinned || place === state.hover) return;
    state.hover = place;
    draw(false);
  }

  function look({ trace } = run) {
    const { frame, places } = state.pinned ?? { frame: state.frame, places: state.hover === null ? [] : [state.hover] };
    const known = frame < trace.frames && places.every((place) => place < trace.patches) ? places : [];
    const groups = known.map((place) => trace.assignment[frame * trace.patches + place]);
    const layer = Math.min(state.layer, trace.layers - 1);
    const chosen = state.view === "merged" ? new Set(groups) : together(trace, groups, layer);
    return { view: state.view, fill: state.fill, layer, chosen, box: state.box, word: state.word, painted: state.painted };
  }

  // The large frame at the next refresh of the screen, the thumbnails in slices after it, so that no move waits for sixty-four of them.
  let request = null;
  let next = 0;
  function draw(withThumbnails) {
    if (!run) return;
    write();
    if (withThumbnails) next = 0;
    cancelAnimationFrame(request);
    sheet.setAttribute("aria-busy", "true");
    const seen = look();
    let waiting = true;
    const slice = () => {
      const start = performance.now();
      if (waiting) paintSides(seen);
      waiting = false;
      for (; next < run.trace.frames && performance.now() - start < SLICE; next++) run.paint(thumbnails[next].canvas, next, seen);
      if (next < run.trace.frames) request = requestAnimationFrame(slice);
      else sheet.setAttribute("aria-busy", "false");
    };
    request = requestAnimationFrame(slice);
  }

  function paintSides(seen) {
    run.paint(sides[1], state.frame, seen);
    if (other) other.paint(sides[0], Math.min(other.trace.frames - 1, state.frame), look(other));
    else drawPhoto(sides[0], run.pictures, state.frame);
    compose();
  }

  function compose() {
    if (!large) return;
    const context = large.getContext("2d");
    const cut = Math.round(wipe.at() * large.width);
    context.drawImage(sides[1], 0, 0);
    if (cut > 0) context.drawImage(sides[0], 0, 0, cut, large.height, 0, 0, cut, large.height);
    left.hidden = wipe.at() < 0.12;
    right.hidden = wipe.at() > 0.88;
  }

  function write() {
    const { trace, colours } = run;
    const { frame, layer } = state;
    const merged = state.view === "merged";
    const tokens = (index) => (merged ? trace.entered[index] : trace.left[index * trace.layers + layer]);
    const [time, entered] = [writeTime(trace.times[frame]), trace.entered[frame]];
    const alone = trace.frames === 1; // a picture has no time, and nothing to choose a frame from
    const where = alone ? "" : `Frame ${frame + 1} at ${time}: `;
    caption.textContent = merged
      ? `${where}${writeCount(trace.patches, "patch")} in ${writeCount(entered, "token")}`
      : `${where}${tokens(frame)} of ${writeCount(entered, "token")} left in layer ${layer}`;
    left.textContent = other ? "A" : "original";
    right.textContent = other ? "B, now" : "what the model sees";
    frameSlider.say(`${frame + 1} of ${trace.frames} · ${time} · ${writeCount(tokens(frame), "token")}`);
    const whole = `${trace.alive[layer].toLocaleString("en")} of ${writeCount(trace.groups, "token")} left`;
    layerSlider.say(merged ? "drag to follow the tokens" : `${layer} of 0–${trace.layers - 1} · ${whole}`);
    fillRow.hidden = !merged;
    for (const part of [frameSlider.row, sheet, moment]) part.hidden = alone;
    legend.replaceChildren(...makeLegend(trace, state.view, layer, colours));
    const inside = trace.holders.size && !merged ? [INSIDE_READING] : [];
    reading.replaceChildren(...[...VIEWS[state.view].reading, ...inside].flatMap((text) => [text, make("br")]));
    thumbnails.forEach(({ button, text }, index) => {
      text.textContent = `${writeTime(trace.times[index])} · ${tokens(index)}`;
      button.setAttribute("aria-pressed", String(index === frame));
      button.setAttribute("aria-label", `Frame ${index + 1}, ${writeTime(trace.times[index])}, ${writeCount(tokens(index), "token")}`);
    });
    const shown = state.pinned ?? (state.hover === null ? null : { frame, places: [state.hover] });
    const idle = ["Tap a patch or draw a box to see what happened to it.", ARROWS];
    for (const button of [without, only, clear]) button.disabled = !state.painted.size && !state.painting;
    const [sentence, more] = shown ? describePatches(trace, shown.frame, shown.places, layer) : idle;
    said.textContent = sentence;
    details.textContent = more;
  }

  function saveSheet() {
    if (!run) return;
    const title = `${VIEWS[state.view].label}${state.view === "merged" ? "" : `, layer ${state.layer}`}`;
    const canvas = drawSheet(run.trace, run.pictures, run.paint, look(), title);
    make("a", { href: canvas.toDataURL("image/png"), download: `aim-${state.view}.png` }).click();
  }

  function prepare(grid) {
    large?.remove();
    large = frameCanvas(run.pictures, ENLARGED);
    large.className = "aim-x-large";
    sides = [frameCanvas(run.pictures, ENLARGED), frameCanvas(run.pictures, ENLARGED)];
    frameBox.prepend(large);
    pickPatches(large, grid, choose, hoverOver);
    sheet.replaceChildren();
    thumbnails = Array.from({ length: run.trace.frames }, (_, frame) => {
      const [text, canvas] = [make("span", {}), frameCanvas(run.pictures, THUMBNAIL)];
      const button = make("button", { type: "button", class: "aim-x-thumb", onclick: () => setFrame(frame) }, canvas, text);
      sheet.append(button);
      return { button, text, canvas };
    });
  }

  function show(shown) {
    const before = run;
    run = shown;
    const { trace, pictures } = run;
    if (before?.pictures !== pictures || before.trace.rows !== trace.rows || before.trace.columns !== trace.columns) {
      Object.assign(state, { frame: run.payload.start_frame, pinned: null, hover: null, box: null, painted: new Set() });
      answered.textContent = "";
      if (other && other.pictures !== pictures) other = null;
      prepare(trace);
    }
    state.frame = Math.min(state.frame, trace.frames - 1);
    state.layer = state.layerChosen ? Math.min(state.layer, trace.layers - 1) : tellingLayer(trace);
    for (const [slider, last, value] of [[frameSlider, trace.frames - 1, state.frame], [layerSlider, trace.layers - 1, state.layer]]) {
      slider.input.max = last;
      slider.input.value = value;
    }
    draw(true);
  }

  function beside(shown) {
    other = shown;
    draw(false);
  }

  const top = make("div", { class: "aim-x-top" }, choices.row, fillRow, save);
  const main = make("div", { class: "aim-x-main" }, stage, caption);
  const side = make("div", { class: "aim-x-aside" }, top, layerSlider.row, frameSlider.row, sheet, legend, reading);
  const asking = make("div", { class: "aim-x-asking" }, said, details, paintRow, answered);
  return { node: make("div", { class: "aim-x-body" }, main, asking, side), show, beside, setView, setLayer, setWord, state, answer: (text) => (answered.textContent = text) };
}
