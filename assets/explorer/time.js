// The moments of the clip: frames × layers, coloured by the tokens of each frame that are left, under the frames themselves.

const STRIP = 160;
const PICTURES_IN_STRIP = 10;
const TIMES_ON_AXIS = 8;
const NUMBERED_BARS = 12;

function startTime(element, props, watch) {
  mount(element, props, watch, "After a run, the moments of the clip are here: how many tokens of each frame got how deep.", (payload, root) =>
    buildTime(payload, () => root.setAttribute("data-ready", "")),
  );
}

function buildTime(payload, onReady) {
  const trace = readTrace(payload);
  if (trace.frames === 1) {
    onReady();
    return make("p", { class: "aim-x-said" }, "A picture, or a single frame, has one moment. The Layers tab shows how many of its tokens got how deep.");
  }
  const colours = makeColours(payload.colour_map);
  const most = Math.max(1, ...trace.left);
  const shares = keptShares(trace);
  const at = (frame) => `left: ${(100 * frame) / trace.frames}%; width: ${100 / trace.frames}%`;

  const map = drawMap(trace, most, colours);
  const cursor = make("div", { class: "aim-x-cursor", hidden: true });
  const said = make("p", { class: "aim-x-said", "aria-live": "polite" });
  const details = make("p", { class: "aim-x-details" });
  const strip = make("div", { class: "aim-x-strip-row" });
  const highest = Math.max(...(shares ?? [0]), 1e-9);
  const bars = make(
    "div",
    { class: "aim-x-bars", "aria-hidden": "true" },
    ...(shares ?? []).map((share, frame) => {
      const text = trace.frames <= NUMBERED_BARS ? `${Math.round(100 * share)} %` : "";
      return make("span", { style: at(frame) }, make("b", {}, text), make("i", { style: `height: ${(26 * share) / highest}px` }));
    }),
  );
  const every = Math.ceil(trace.frames / TIMES_ON_AXIS);
  const times = make(
    "div",
    { class: "aim-x-times" },
    ...trace.times.flatMap((time, frame) => (frame % every ? [] : [make("span", { style: at(frame) }, writeTime(time))])),
  );
  const step = Math.ceil(trace.layers / 14);
  const layers = make(
    "div",
    { class: "aim-x-layers", "aria-hidden": "true" },
    ...Array.from({ length: trace.layers }, (_, layer) =>
      layer % step ? "" : make("span", { style: `top: ${(100 * (layer + 0.5)) / trace.layers}%` }, String(layer)),
    ),
  );

  function point(frame, layer) {
    const left = trace.left[frame * trace.layers + layer];
    const all = trace.alive[layer];
    cursor.hidden = false;
    cursor.style.cssText = `${at(frame)}; top: ${(100 * layer) / trace.layers}%; height: ${100 / trace.layers}%`;
    said.textContent = `Frame ${frame + 1} (${writeTime(trace.times[frame])}), layer ${layer}: ${left} of ${writeCount(trace.entered[frame], "token")} left.`;
    const share = all ? `${Math.round((100 * left) / all)} % of the ${writeCount(all, "visual token")} this layer sees` : "this layer sees no visual token";
    details.textContent = shares ? `${share} · this frame's share of the tokens in the layers that drop some: ${Math.round(100 * shares[frame])} %.` : `${share}.`;
  }
  pickCells(map, trace, point);
  summarise(trace, shares, said, details);

  loadPictures(payload).then((pictures) => {
    const shown = Math.min(trace.frames, PICTURES_IN_STRIP);
    const apart = Math.ceil(trace.frames / shown);
    for (let frame = 0; frame < trace.frames; frame += apart) {
      const canvas = frameCanvas(pictures, STRIP);
      drawPhoto(canvas, pictures, frame);
      const width = (100 * Math.min(apart, trace.frames - frame)) / trace.frames;
      strip.append(make("div", { style: `left: ${(100 * frame) / trace.frames}%; width: ${width}%` }, canvas));
    }
    onReady();
  });

  const spanning = trace.spans ? " A token merged across frames counts in each of them." : "";
  const legend = make("div", { class: "aim-x-legend" }, ...colourBar("Tokens left", colours, most > 1 ? ["1", String(most)] : ["1"], swatch("none", "none left")));
  const reading = make(
    "p",
    { class: "aim-x-reading" },
    `Time runs to the right, the layers of the language model run down. A column that stays bright for long is a moment the model held on to.${spanning}`,
    make("br"),
    "The bars on top say whose tokens were kept: each frame's share of all visual tokens in the layers that see some but not all of them.",
  );
  return make(
    "div",
    { class: "aim-x-time" },
    make("div", { class: "aim-x-axes" }, make("div", { class: "aim-x-unit" }, "share"), bars, make("div", {}), strip, layers, make("div", { class: "aim-x-map" }, map, cursor), make("div", { class: "aim-x-unit" }, "layer"), times),
    said,
    details,
    legend,
    reading,
  );
}

// For each frame its share of the tokens in the layers where dropping has begun and not ended; null when nothing is dropped.
function keptShares(trace) {
  const sums = Array.from({ length: trace.frames }, () => 0);
  for (let layer = 0; layer < trace.layers; layer++) {
    if (trace.alive[layer] === 0 || trace.alive[layer] === trace.groups) continue;
    sums.forEach((_, frame) => (sums[frame] += trace.left[frame * trace.layers + layer]));
  }
  const total = sums.reduce((sum, count) => sum + count, 0);
  return total ? sums.map((sum) => sum / total) : null;
}

function summarise(trace, shares, said, details) {
  if (!shares) {
    said.textContent = "No layer kept some tokens and dropped others, so no moment stands out.";
    return;
  }
  const order = shares.map((_, frame) => frame).sort((one, other) => shares[other] - shares[one]);
  const best = order.slice(0, 3).map((frame) => `${writeTime(trace.times[frame])} (${Math.round(100 * shares[frame])} %)`);
  said.textContent = `Held on to most: ${best.join(", ")}.`;
  details.textContent = "Point at a cell, tap it, or use the arrow keys to read it.";
}

// One pixel a cell; the page stretches it. Cells without a token stay clear.
function drawMap(trace, most, colours) {
  const map = make("canvas", { class: "aim-x-heat", tabindex: 0, role: "application" });
  map.setAttribute("aria-label", "Tokens left by frame and layer. Arrow keys move from cell to cell.");
  Object.assign(map, { width: trace.frames, height: trace.layers });
  map.style.height = `${Math.max(220, Math.min(448, 22 * trace.layers))}px`;
  const context = map.getContext("2d");
  const pixels = context.createImageData(trace.frames, trace.layers);
  for (let frame = 0; frame < trace.frames; frame++) {
    for (let layer = 0; layer < trace.layers; layer++) {
      const left = trace.left[frame * trace.layers + layer];
      if (left) pixels.data.set([...colours(most > 1 ? (left - 1) / (most - 1) : 1), 255], 4 * (layer * trace.frames + frame));
    }
  }
  context.putImageData(pixels, 0, 0);
  return map;
}

function pickCells(map, trace, point) {
  let [frame, layer] = [0, 0];
  const inside = (value, count) => Math.min(count - 1, Math.max(0, value));
  const follow = (event) => {
    const bounds = map.getBoundingClientRect();
    frame = inside(Math.floor(((event.clientX - bounds.left) / bounds.width) * trace.frames), trace.frames);
    layer = inside(Math.floor(((event.clientY - bounds.top) / bounds.height) * trace.layers), trace.layers);
    point(frame, layer);
  };
  map.addEventListener("pointerdown", follow);
  map.addEventListener("pointermove", follow);
  const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  map.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    [frame, layer] = [inside(frame + move[0], trace.frames), inside(layer + move[1], trace.layers)];
    point(frame, layer);
  });
}
