// Small helpers for building the explorers' part of the page. Texts are set as text, never as markup.

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") node.style.cssText = value;
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

let made = 0;
function uniqueId(name) {
  return `aim-${name}-${Date.now().toString(36)}-${made++}`;
}

// A labelled range input from 0 to `last` with a line that says what it is set to; say() writes that line, for screen readers too.
function makeSlider(name, last, value, onMove, ...beside) {
  const id = uniqueId(name);
  const input = make("input", { type: "range", id, min: 0, max: last, step: 1, value, class: `aim-x-${name.toLowerCase()}` });
  const said = make("output", { for: id });
  input.addEventListener("input", () => onMove(Number(input.value)));
  const say = (text) => {
    said.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  const row = make("div", { class: "aim-x-slider" }, make("div", {}, make("label", { for: id }, name), said, ...beside), input);
  return { row, input, say };
}

function makeChoices(legend, choices, chosen, onChoose) {
  const name = uniqueId("choice");
  const options = Object.entries(choices).map(([value, label]) => {
    const input = make("input", { type: "radio", name, value, checked: value === chosen });
    input.addEventListener("change", () => onChoose(value));
    return make("label", {}, input, make("span", {}, label));
  });
  const row = make("fieldset", { class: "aim-x-choices" }, make("legend", {}, legend), ...options);
  return { row, choose: (value) => (row.querySelector(`input[value=${value}]`).checked = true) };
}

function swatch(style, label) {
  return make("span", { class: "aim-x-key" }, make("i", { class: `aim-x-${style}` }), label);
}

function colourBar(title, colours, labels, ...keys) {
  const stops = Array.from({ length: 9 }, (_, stop) => `rgb(${colours(stop / 8).join(",")})`);
  return [
    make("span", { class: "aim-x-bar-title" }, title),
    make(
      "span",
      { class: "aim-x-bar" },
      make("span", { class: "aim-x-strip", style: `background: linear-gradient(90deg, ${stops.join(",")})` }),
      make("span", { class: "aim-x-ticks" }, ...labels.map((label) => make("span", {}, label))),
    ),
    ...keys,
  ];
}

// Shows `build(value)` in the element, anew for every value; old parts leave the page with all their listeners.
function mount(element, props, watch, empty, build) {
  const root = make("div", { class: "aim-x" });
  element.replaceChildren(root);
  const show = () => {
    root.removeAttribute("data-ready");
    const part = props.value ? build(props.value, root) : make("p", { class: "aim-x-empty" }, empty);
    root.replaceChildren(part);
  };
  show();
  watch("value", show);
}
