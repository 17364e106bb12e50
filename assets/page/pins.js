// A setting that is kept as A, to be looked at beside the present one, B.

function startPins(page, element) {
  const pin = make("button", { type: "button", class: "aim-x-button", title: "Keep this setting as A, and compare later ones with it" }, "Pin as A");
  const pace = make("span", { class: "aim-pace" });
  element.replaceChildren(make("div", { class: "aim-x aim-pinning" }, make("div", { class: "aim-pin-row" }, pin, pace)));

  function write() {
    pin.disabled = !page.shown;
    pace.textContent = page.paceTold;
    pace.classList.toggle("aim-live", page.pace !== "run");
    pin.textContent = page.pinned ? "Let A go" : "Pin as A";
  }
  pin.addEventListener("click", () => (page.pinned ? page.unpin() : page.pin()));
  page.follow(write);
  write();
}

// Setting, answer and cost of A or B, in a line.
function pinLine(name, value) {
  const sign = value.same === null || value.same === undefined ? "" : value.same ? " ✓" : " ✗";
  return make("p", {}, make("b", {}, name), ` ${value.setting}: `, make("b", {}, `${value.answer}${sign}`), ` · ${value.facts[1][0]}`);
}
