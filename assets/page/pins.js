// A setting that is kept as A, to be looked at beside the present one, B.

function startPins(page, element) {
  const pin = make("button", { type: "button", class: "aim-x-button", title: "Keep this setting as A, and compare later ones with it" }, "Pin as A");
  const pace = make("span", { class: "aim-pace" });
  const list = make("div", { class: "aim-pins" });
  element.replaceChildren(make("div", { class: "aim-x aim-pinning" }, make("div", { class: "aim-pin-row" }, pin, pace), list));

  function line(name, value) {
    const sign = value.same === null || value.same === undefined ? "" : value.same ? " ✓" : " ✗";
    const cost = value.facts[1][0];
    return make("p", {}, make("b", {}, name), ` ${value.setting}: `, make("b", {}, `${value.answer}${sign}`), ` · ${cost}`);
  }

  function write() {
    const { pinned, shown } = page;
    pin.disabled = !shown;
    pace.textContent = page.paceTold;
    pace.classList.toggle("aim-live", page.pace !== "run");
    pin.textContent = pinned ? "Let A go" : "Pin as A";
    list.replaceChildren(...(pinned && shown ? [line("A", pinned), line("B", shown)] : []));
  }
  pin.addEventListener("click", () => (page.pinned ? page.unpin() : page.pin()));
  page.follow(write);
  write();
}
