// The screen: the answer, its figures and its pictures. It knows whether they are those of the present setting, and marks them if not.

const SETTLE = 700; // milliseconds after which a setting that nobody has asked about is asked about
const LET_GO = 80; // until the event of the last change has been heard
const ADDRESS_AFTER = 300;

function startPage(element, props, watch, trigger) {
  const facts = props.facts;
  const settings = makeSettings(facts);
  const frames = makeFrames((places, mode) => {
    painted = { places, mode };
    trigger("submit", { index: 0, value: null });
  });
  const pictures = new Map(); // the last few, by the names of their frames
  const followers = [];
  const page = { facts, shown: null, run: null, pinned: null, pace: facts.pace, paceTold: facts.pace_told };
  let [current, asked, moved, settling, addressing, painted, word] = [null, null, "", null, null, null, null];

  const answer = make("b", { class: "aim-answer" });
  const verdict = make("span", { class: "aim-verdict" });
  const line = make("p", { class: "aim-answer-line", "aria-live": "polite" }, answer, verdict);
  const instead = make("p", { class: "aim-instead", "aria-live": "polite", hidden: true });
  const lesson = make("p", { class: "aim-note aim-lesson", role: "status", hidden: true });
  const note = make("p", { class: "aim-note aim-warning", hidden: true });
  const figures = make("ul", { class: "aim-facts" });
  const veil = make("p", { class: "aim-veil", role: "status", hidden: true });
  const sides = makeChoices("Left side", { original: "Original", pinned: "A" }, "original", (side) => page.beside(side === "pinned"));
  const pins = make("div", { class: "aim-pins" });
  const beside = make("div", { class: "aim-beside", hidden: true }, sides.row, pins);
  const empty = make("p", { class: "aim-x-empty" }, "Press Run. Then you see here what the model answers, which patches were merged, and which tokens each layer kept.");
  const pane = make("div", { class: "aim-pane" }, frames.node, veil);
  const said = make("div", { class: "aim-said" }, line, note);
  const root = make("div", { class: "aim-x aim-screen" }, lesson, said, instead, figures, beside, empty, pane);
  element.replaceChildren(root);
  pane.hidden = true;

  function write(value) {
    answer.replaceChildren(...(value.words?.length ? wordButtons(value) : [value.answer]));
    const known = value.same === true || value.same === false;
    verdict.className = `aim-verdict ${known ? (value.same ? "aim-same" : "aim-differ") : ""}`;
    const full = value.full ?? "";
    verdict.title = "The full model reads every token. Nothing is merged or dropped in it.";
    verdict.textContent = known ? (value.same ? "✓ same as the full model" : `✗ the full model says: ${full}`) : full && `full model: ${full}`;
    note.hidden = !value.note;
    note.textContent = value.note ?? "";
  }

  // The answer, with each word to be pressed.
  function wordButtons(value) {
    const parts = [];
    let at = 0;
    value.words.forEach((said, place) => {
      const title = "What did this word look at?";
      const button = make("button", { type: "button", class: "aim-word", title, "aria-pressed": "false" }, value.answer.slice(said.start, said.end));
      button.addEventListener("click", () => chooseWord(word === place ? null : place));
      parts.push(value.answer.slice(at, said.start), button);
      at = said.end;
    });
    return [...parts, value.answer.slice(at)];
  }

  function chooseWord(place) {
    const said = page.shown?.words?.[place ?? -1] ?? null;
    word = said ? place : null;
    answer.querySelectorAll(".aim-word").forEach((button, index) => button.setAttribute("aria-pressed", String(index === word)));
    instead.hidden = !said;
    const percent = (share) => (share < 0.001 ? "less than 0.1 %" : `${Number((100 * share).toPrecision(3))} %`);
    const others = said?.next.map(([text, share]) => `“${text}” ${percent(share)}`).join(", ");
    instead.textContent = said ? `“${said.text}” ${percent(said.probability)}. Next best: ${others || "none"}. ${said.looked ? "The frames show what it looked at." : ""}` : "";
    frames.setWord(said);
  }

  function mark() {
    const stale = Boolean(page.shown?.asked && current && !settings.same(page.shown.asked, current));
    const refused = document.querySelector("#status .aim-error") !== null;
    root.classList.toggle("aim-stale", stale);
    document.querySelector(".aim-page")?.classList.toggle("aim-stale-run", stale);
    veil.hidden = !stale;
    veil.textContent = page.pace !== "run" && !refused ? "Changed since this answer. Answering…" : "Changed since this answer. Press Run for a new one.";
    clearTimeout(settling);
    if (stale && page.pace !== "run") settling = setTimeout(settle, SETTLE);
  }

  // A change that started no run of its own, such as a new question, is asked about once nobody types.
  function settle() {
    const typing = document.activeElement?.closest("#question");
    if (!current || typing || JSON.stringify(settings.plain(current)) === asked || veil.hidden) return;
    page.ask();
  }

  // Whether a knob or the clip has changed, and not the question alone, which is asked once nobody types.
  function turned(before) {
    const known = before ?? page.shown?.asked;
    return known ? !settings.same(withQuestion(known, current), current) : Boolean(settings.plain(current)[0]);
  }
  const withQuestion = (values, other) => [values[0], other[1], ...values.slice(2)];

  page.ask = () => trigger("select", { index: 0, value: null });
  page.follow = (act) => followers.push(act);
  page.start = (name, part, ...tools) => PARTS[name](page, part, ...tools);

  page.changed = (values) => {
    const before = current;
    current = settings.consistent(values, moved);
    mark();
    if (page.pace === "drag" && turned(before)) page.ask();
    settings.keepUpload(current);
    clearTimeout(addressing);
    addressing = setTimeout(() => history.replaceState(history.state, "", settings.query(current)), ADDRESS_AFTER);
  };

  // Before a run's event goes to the server: values begin with `skip` others, the last of which says what this browser has.
  page.sending = (values, skip) => {
    const own = settings.consistent(values.slice(skip), moved);
    asked = JSON.stringify(settings.plain(own));
    current = own;
    return [...values.slice(0, skip - 1), JSON.stringify({ kept: [...pictures.keys()].at(-1) ?? "", mask: painted }), ...own];
  };

  // A step of the tour: what is told stays until the next one, or until a knob is moved by hand.
  page.tour = (view, told) => {
    lesson.hidden = false;
    lesson.textContent = told;
    frames.setView(view);
  };

  page.pin = () => {
    page.pinned = { ...page.shown, opened: page.run };
    beside.hidden = false;
    sides.choose("pinned");
    page.beside(true);
    followers.forEach((act) => act());
  };
  page.unpin = () => {
    page.pinned = null;
    beside.hidden = true;
    sides.choose("original");
    page.beside(false);
    followers.forEach((act) => act());
  };
  let opened = null;
  let pinnedRun = null;
  page.beside = (wanted) => {
    if (wanted && !pinnedRun) pinnedRun = opened;
    if (!page.pinned) pinnedRun = null;
    frames.beside(wanted ? pinnedRun : null);
  };

  function picture(value) {
    const { run, picture: name } = value;
    if (run.picture.data && !pictures.has(name)) pictures.set(name, loadPictures(run));
    const known = pictures.get(name);
    if (!known) return null;
    pictures.delete(name);
    pictures.set(name, known); // the last one is the newest
    if (pictures.size > 3) pictures.delete(pictures.keys().next().value);
    return known;
  }

  let newest = 0;
  function show(value) {
    if (!value) return;
    if (value.again) return void setTimeout(() => page.ask(), value.again);
    if (value.again_said) return frames.answer(value.again_said);
    if (value.growing) return write({ ...value, same: null });
    const known = picture(value);
    if (!known) return page.ask();
    const turn = ++newest;
    openRun(value.run, known).then((run) => {
      if (turn !== newest) return;
      if (value.pace) [page.pace, page.paceTold] = [value.pace, value.pace_told];
      opened = run;
      page.run = { ...value.run, picture: { ...value.run.picture, loaded: known } };
      page.shown = value;
      if (page.pinned && page.pinned.picture !== value.picture) page.unpin();
      empty.hidden = true;
      pane.hidden = false;
      write(value);
      figures.replaceChildren(
        ...value.facts.map(([told, kind, tip]) => make("li", { title: tip, tabindex: 0 }, told, make("small", { class: "aim-kind" }, kind))),
      );
      frames.show(run);
      if (word !== null) chooseWord(word);
      mark();
      root.setAttribute("data-ready", "");
      followers.forEach((act) => act());
    });
  }

  page.follow(() => pins.replaceChildren(...(page.pinned ? [pinLine("A", page.pinned), pinLine("B", page.shown)] : [])));

  // A slider that is let go, a choice and a number that is typed are answered without waiting for more.
  document.addEventListener("change", (event) => event.target.closest(".aim-knobs") && page.pace === "release" && setTimeout(settle, LET_GO));
  document.addEventListener("pointerdown", (event) => event.target.closest(".aim-knobs") && (lesson.hidden = true));
  document.addEventListener("input", (event) => (moved = { l1: "l1", l2: "l2", damping: "damping" }[event.target.closest("[id]:not(input):not(textarea)")?.id] ?? ""), true);
  const status = document.querySelector("#status");
  if (status) new MutationObserver(mark).observe(status, { childList: true, subtree: true });
  window.aimPage = page;
  window.aimBus?.dispatchEvent(new Event("ready"));
  show(props.value);
  watch("value", () => show(props.value));
}
