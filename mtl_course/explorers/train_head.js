// Train a head: a slider for the number of labels, and a button for other ones. At each change a
// new head for task B is trained here, in some milliseconds, on features of A's frozen trunk; its
// accuracy falls as a point onto the lesson's curves, and the photographs it gets wrong are shown.
//
// data: {curves: by way, rows of [labels, mean, low, high]; kinds; steps; rate; and what
// assets/clothes/features.py makes: pool and test, of {labels, features}; step; pictures}.
// value: {labels, draw}, the number of labels and which of them.

const COUNTS = [10, 16, 20, 30, 50, 70, 100, 160, 200, 300, 500, 700, 1000];
const [BATCH, DECAY, WARM] = [64, 1e-4, 0.1]; // of the course's `training.fit`
const [WIDE, HIGH, LEFT, TOP, RIGHT, BOTTOM] = [560, 330, 52, 12, 14, 44]; // plot, and its edges
const KEY = [WIDE - 268, 208]; // where it says what is what
const [LOW, UP] = [0.7, 1]; // of its accuracies
const LOOKS = {
  "from scratch": ["#0072b2", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0"],
  "new head": ["#d55e00", "M-5 -5H5V5H-5Z"],
  "all layers": ["#009e73", "M0 -6L6 5H-6Z"],
};
const [COLUMNS, SIDE, SHOWN] = [50, 52, 8]; // pictures: in a row of the file, their size, of a kind

const STYLE = `
.mtl-head { color: var(--jp-content-font-color1, inherit); font-size: 14px; line-height: 1.4;
  box-sizing: border-box; max-width: 980px; padding: 0 6px 6px; container-type: inline-size }
.mtl-head .parts { display: grid; grid-template-columns: 1fr; gap: 8px 24px }
@container (min-width: 720px) { .mtl-head .parts { grid-template-columns: 5fr 4fr } }
.mtl-head p { margin: 6px 0; color: inherit }
.mtl-head .controls { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px }
.mtl-head label { display: flex; flex: 1 1 250px; align-items: center; gap: 10px }
.mtl-head input { flex: 1; min-width: 120px; accent-color: #d55e00; height: 28px }
.mtl-head output { min-width: 6em; font-weight: bold }
.mtl-head button { font: inherit; padding: 6px 14px; border: 1px solid #767676; border-radius: 4px;
  color: black; background: #eee; cursor: pointer }
.mtl-head :is(button, input):focus-visible { outline: 3px solid #0072b2; outline-offset: 2px;
  box-shadow: 0 0 0 2px white }
.mtl-head .mtl-answer { min-height: 2.8em }
.mtl-head .mtl-answer b { font-size: 22px }
.mtl-head svg { display: block; width: 100%; height: auto }
.mtl-head svg text { fill: currentColor; font-size: 14px; font-family: inherit }
.mtl-head .wrong { display: flex; flex-wrap: wrap; gap: 4px; height: ${SIDE + 20}px;
  margin-bottom: 6px; overflow: hidden }
.mtl-head .wrong span { text-align: center; font-size: 12px }
.mtl-head .wrong i { display: block; width: ${SIDE}px; height: ${SIDE}px; border: 1px solid #767676 }`;

// ------------------------------------------------------------------------------ data and training

/** Photographs as {x: their features, a row each, y: 0 or 1}, from what the file holds. */
function unpacked({ labels, features }, step) {
  const bytes = atob(features);
  const x = new Float32Array(2 * bytes.length);
  for (let k = 0; k < bytes.length; k++) {
    const [byte, column] = [bytes.charCodeAt(k), (2 * k) % step.length];
    x[2 * k] = (byte & 15) * step[column];
    x[2 * k + 1] = (byte >> 4) * step[column + 1];
  }
  return { x, y: Uint8Array.from(labels, Number) };
}

/** Random numbers in [0, 1) that depend on the seed alone (mulberry32). */
function lottery(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled(items, random) {
  const mixed = [...items];
  for (let k = mixed.length - 1; k > 0; k--) {
    const other = Math.floor(random() * (k + 1));
    [mixed[k], mixed[other]] = [mixed[other], mixed[k]];
  }
  return mixed;
}

/** The numbers of n photographs, as many of each kind. Fewer of one draw are among more of it. */
function sample(y, n, draw) {
  const random = lottery(draw);
  return [0, 1].flatMap(kind => {
    const all = [...y.keys()].filter(i => y[i] === kind);
    return shuffled(all, random).slice(0, n / 2);
  });
}

/** The probability that photograph i shows the second kind, by a head of weights and a bias. */
function predict(x, i, head) {
  const wide = head.length - 1;
  let z = head[wide];
  for (let k = 0; k < wide; k++) z += head[k] * x[i * wide + k];
  return 1 / (1 + Math.exp(-z));
}

// A linear layer of two outputs and softmax see only the difference of the two rows of weights.
// Their gradients are opposite, so the difference takes AdamW's steps at twice the rate.
function train({ x, y }, chosen, wide, { steps, rate, draw }) {
  const random = lottery(draw + 1e6);
  const start = () => (random() - random()) / Math.sqrt(wide); // torch's, for a linear layer
  const head = Float64Array.from({ length: wide + 1 }, start);
  const [mean, square] = [new Float64Array(wide + 1), new Float64Array(wide + 1)];
  const [size, warm] = [Math.min(BATCH, chosen.length), WARM * steps];
  let queue = [];
  for (let step = 0; step < steps; step++) {
    if (queue.length < size) queue = shuffled(chosen, random);
    const gradient = new Float64Array(wide + 1);
    for (const i of queue.splice(-size)) {
      const error = (predict(x, i, head) - y[i]) / size;
      for (let k = 0; k < wide; k++) gradient[k] += error * x[i * wide + k];
      gradient[wide] += error;
    }
    const now = rate * (step < warm ? (step + 1) / warm : (steps - step) / (steps - warm));
    const [first, second] = [1 - 0.9 ** (step + 1), 1 - 0.999 ** (step + 1)];
    for (let k = 0; k <= wide; k++) {
      mean[k] = 0.9 * mean[k] + 0.1 * gradient[k];
      square[k] = 0.999 * square[k] + 0.001 * gradient[k] ** 2;
      const push = mean[k] / first / (Math.sqrt(square[k] / second) + 1e-8);
      head[k] -= now * (2 * push + DECAY * head[k]);
    }
  }
  return head;
}

// ---------------------------------------------------------------------------------------- the page

const across = n => LEFT + ((WIDE - LEFT - RIGHT) * Math.log10(n / 10)) / 2;
const upward = a => HIGH - BOTTOM - ((HIGH - TOP - BOTTOM) * (Math.max(a, LOW) - LOW)) / (UP - LOW);

/** The lesson's curves, and an empty group for the reader's points. */
function plot(curves) {
  const svg = make("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
  const words = (x, y, text, more = {}) =>
    svg.append(make("text", { x, y, "text-anchor": "middle", ...more }, text));
  for (const a of [0.7, 0.8, 0.9, 1]) {
    const line = { x1: LEFT, x2: WIDE - RIGHT, y1: upward(a), y2: upward(a) };
    svg.append(make("line", { ...line, stroke: "currentColor", opacity: a === LOW ? 1 : 0.2 }));
    words(LEFT - 8, upward(a) + 5, a.toFixed(1), { "text-anchor": "end" });
  }
  for (const n of [10, 30, 100, 300, 1000])
    words(Math.min(across(n), WIDE - 20), HIGH - BOTTOM + 19, n.toLocaleString("en"));
  words((LEFT + WIDE) / 2, HIGH - 6, "photographs of B with a label");
  const turn = `rotate(-90) translate(${-(HIGH - BOTTOM) / 2} 13)`;
  words(0, 0, "accuracy", { transform: turn });
  Object.entries(curves).forEach(([way, rows], number) => {
    const [color, marker] = LOOKS[way];
    const shift = 5 * (number - 1);
    const group = make("g", { stroke: color, "stroke-width": 2, fill: "none" });
    const at = rows.map(([n, mean]) => `${across(n) + shift} ${upward(mean)}`);
    group.append(make("path", { d: `M${at.join("L")}` }));
    for (const [n, mean, low, high] of rows) {
      const x = across(n) + shift;
      group.append(make("line", { x1: x, x2: x, y1: upward(low), y2: upward(high) }));
      const place = { transform: `translate(${x} ${upward(mean)})`, fill: color };
      group.append(make("path", { d: marker, ...place }));
    }
    const y = KEY[1] + 21 * number;
    const place = { fill: color, transform: `translate(${KEY[0]} ${y - 5})` };
    group.append(make("path", { d: marker, ...place }));
    svg.append(group);
    words(KEY[0] + 14, y, `${way}, the lesson’s mean`, { "text-anchor": "start" });
  });
  const points = make("g");
  svg.append(points, dot(KEY[0], KEY[1] + 58, true));
  words(KEY[0] + 14, KEY[1] + 63, "new heads trained by you", { "text-anchor": "start" });
  return { svg, points };
}

/** One of the reader's heads; the last one is large. */
function dot(cx, cy, last) {
  const look = last ? { r: 7, "stroke-width": 2 } : { r: 4, "stroke-width": 1, opacity: 0.55 };
  return make("circle", { cx, cy, fill: "#e69f00", stroke: "currentColor", ...look });
}

function render({ model, el }) {
  const { curves, kinds, pool, test, step, pictures, steps, rate } = model.get("data");
  const [learn, exam] = [unpacked(pool, step), unpacked(test, step)];
  const done = new Map(); // accuracy by labels and draw

  function draw() {
    const { labels, draw: number } = model.get("value");
    const start = performance.now();
    const chosen = sample(learn.y, labels, number);
    const head = train(learn, chosen, step.length, { steps, rate, draw: number });
    const took = performance.now() - start;
    const p = Float64Array.from(exam.y, (_, i) => predict(exam.x, i, head));
    const wrong = [...exam.y.keys()].filter(i => p[i] > 0.5 !== (exam.y[i] === 1));
    const accuracy = 1 - wrong.length / exam.y.length;
    done.delete(`${labels} ${number}`); // the last one is on top
    done.set(`${labels} ${number}`, [labels, accuracy]);
    show(labels, accuracy, took, wrong.length);
    kinds.forEach((kind, k) => {
      const sure = i => (k ? 1 - p[i] : p[i]); // of the other kind
      const those = wrong.filter(i => exam.y[i] === k).sort((a, b) => sure(b) - sure(a));
      const other = kinds[1 - k];
      heads[k].textContent = `${those.length} times a ${kind} was called a ${other}:`;
      const shown = those.slice(0, SHOWN).map(i => picture(i, sure(i), kind, other));
      lists[k].replaceChildren(...shown);
    });
  }

  function show(labels, accuracy, took, mistakes) {
    slider.value = Math.max(0, COUNTS.findLastIndex(count => count <= labels));
    const count = `${labels.toLocaleString("en")} labels`;
    slider.setAttribute("aria-valuetext", count);
    said.textContent = count;
    const all = exam.y.length.toLocaleString("en");
    answer.replaceChildren(
      make("b", {}, accuracy.toFixed(3)),
      ` of ${all} test photographs right: a head trained here on ${count} in ` +
        `${Math.max(1, Math.round(took))} ms.`,
    );
    const spots = [...done.values()];
    points.replaceChildren(
      ...spots.map(([n, a], k) => dot(across(n), upward(a), k === spots.length - 1)),
    );
    const means = Object.entries(curves).map(
      ([way, rows]) => `${way} ${rows.map(([n, mean]) => `${mean.toFixed(3)} at ${n}`).join(", ")}`,
    );
    svg.ariaLabel =
      `Accuracy against labels. The lesson's means: ${means.join("; ")}. Your last head: ` +
      `${accuracy.toFixed(3)} at ${labels}, ${mistakes} mistakes; ${spots.length} in all.`;
  }

  function picture(i, sure, kind, other) {
    const [x, y] = [SIDE * (i % COLUMNS), SIDE * Math.floor(i / COLUMNS)];
    const percent = `${Math.floor(100 * sure)} %`;
    const image = make("i", { role: "img", "aria-label": `A ${kind}, called a ${other}` });
    image.style.backgroundPosition = `-${x}px -${y}px`;
    return make("span", {}, image, percent);
  }

  function choose(change) {
    model.set("value", { ...model.get("value"), ...change });
    model.save_changes();
  }

  const range = { type: "range", min: 0, max: COUNTS.length - 1, step: 1 };
  const [slider, said] = [make("input", range), make("output")];
  const again = make("button", { type: "button" }, "Other labels");
  const answer = make("p", { class: "mtl-answer", "aria-live": "polite" });
  const heads = kinds.map(() => make("b"));
  const lists = kinds.map(() => make("div", { class: "wrong" }));
  const { svg, points } = plot(curves);
  slider.addEventListener("input", () => choose({ labels: COUNTS[slider.value] }));
  again.addEventListener("click", () => choose({ draw: model.get("value").draw + 1 }));

  const controls = make("div", { class: "controls" });
  controls.append(make("label", {}, "Photographs with a label", slider, said), again);
  const mistakes = make("div", { class: "mtl-picture" });
  mistakes.append(make("p", {}, "Its worst mistakes, and how sure it was:"));
  kinds.forEach((_, k) => mistakes.append(heads[k], lists[k]));
  const parts = make("div", { class: "parts" }, make("div", {}, svg), mistakes);
  // JupyterLab would take the keys for its own commands.
  const whole = make("div", { class: "mtl-head", "data-lm-suppress-shortcuts": "true" });
  const story =
    "A network has learned eight other kinds of clothes. Its trunk stays frozen; a new head learns " +
    `“${kinds.join(" or ")}?” in your browser. How many labels does it need, and how much is luck?`;
  const all = `.mtl-head .wrong i { background: url(${pictures}) 0 0 / ${SIDE * COLUMNS}px auto }`;
  whole.append(make("style", {}, STYLE + all), make("p", {}, story), controls, answer, parts);

  draw();
  model.on("change:value", draw);
  el.replaceChildren(whole);
  return () => model.off("change:value", draw);
}

export default { render };
