// Draw a digit: paper for a mouse, a finger or the arrow keys. The drawing becomes 8 × 8 pixels as
// scikit-learn's digits did, and four small networks, computed here, say which digit they see.
//
// data: what assets/digits/networks.py makes: networks, of {way, labels, trunk, head, accuracy};
// trunks and heads, of numbers in base64; examples, of 64 pixels.
// value: {strokes: of points on 32 × 32, example: a digit of the test in their place, or −1; labels:
// 10 or 100, that the networks learned from}.

const [SIDE, SMALL, ZOOM] = [32, 8, 6]; // of the paper, of what the networks see, pixels on screen
const [WIDEST, INK, PENS] = [26, 0.305, [1.4, 3.4]]; // as the digits in the data: see `bitmap`
const MOVES = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const DIGITS = "0123456789abcdefg"; // of 0 … 16

const STYLE = `${CONTROLS}
.mtl-digit { color: var(--jp-content-font-color1, inherit); font-size: 14px; line-height: 1.35;
  box-sizing: border-box; max-width: 900px; padding: 0 6px 6px }
.mtl-digit p { margin: 4px 0; color: inherit }
.mtl-digit .parts { display: flex; flex-wrap: wrap; gap: 10px 24px; margin-top: 8px }
.mtl-digit .paper { flex: 0 0 ${SIDE * ZOOM + 4}px }
.mtl-digit .mtl-picture { flex: 1 1 320px }
.mtl-digit canvas { display: block; border: 2px solid #767676; background: white;
  image-rendering: pixelated }
.mtl-digit .draw { width: ${SIDE * ZOOM}px; height: ${SIDE * ZOOM}px; cursor: crosshair;
  touch-action: none }
.mtl-digit .draw:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px }
.mtl-digit .seen { width: 64px; height: 64px }
.mtl-digit .side { display: flex; gap: 8px; margin-top: 8px; align-items: center; font-size: 13px }
.mtl-digit .answer { display: grid; grid-template-columns: 9.5em 1fr 5.6em; gap: 0 8px;
  align-items: end; padding: 3px 0; border-bottom: 1px solid #767676 }
.mtl-digit .answer small { display: block; font-size: 12px }
.mtl-digit .answer > b { font-size: 17px; white-space: nowrap }
.mtl-digit .bars { display: grid; grid-template-columns: repeat(10, 1fr); gap: 3px }
.mtl-digit .bars span { display: flex; flex-direction: column; justify-content: end; height: 50px;
  text-align: center; font-size: 12px }
.mtl-digit .bars i { background: #767676 }
.mtl-digit .bars .most i { background: #0072b2 }
.mtl-digit .bars .most { font-weight: bold }`;

// ------------------------------------------------------------------------------- what is drawn

/** How far a point lies from a line between two others. */
function away(x, y, a, b) {
  const [ax, ay, dx, dy] = [a[0], a[1], b[0] - a[0], b[1] - a[1]];
  const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const t = Math.max(0, Math.min(1, along));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/** Each pixel's distance from the strokes, as far as the widest pen reaches. */
function distances(strokes) {
  const far = new Float32Array(SIDE * SIDE).fill(SIDE);
  const [first, last] = [
    (a, b) => Math.max(0, Math.floor(Math.min(a, b) - PENS[1])),
    (a, b) => Math.min(SIDE - 1, Math.ceil(Math.max(a, b) + PENS[1])),
  ];
  for (const points of strokes)
    for (let k = 0; k < points.length; k++) {
      const [one, two] = [points[Math.max(0, k - 1)], points[k]];
      for (let row = first(one[1], two[1]); row <= last(one[1], two[1]); row++)
        for (let column = first(one[0], two[0]); column <= last(one[0], two[0]); column++) {
          const distance = away(column + 0.5, row + 0.5, one, two);
          if (distance < far[SIDE * row + column]) far[SIDE * row + column] = distance;
        }
    }
  return far;
}

/** The drawing as 32 × 32 pixels of ink or none. As in the data it fills the height (or 26 columns
 * of the width), stands in the middle, and its pen is so wide that 30.5 % of the pixels have ink. */
function bitmap(strokes) {
  const points = strokes.flat();
  if (!points.length) return new Uint8Array(SIDE * SIDE);
  const [xs, ys] = [0, 1].map(k => points.map(point => point[k]));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [wide, tall] = [Math.max(...xs) - left, Math.max(...ys) - top];
  let [low, high] = PENS;
  let ink;
  for (let step = 0; step < 7; step++) {
    const pen = (low + high) / 2;
    const room = length => Math.max(1, length - 2 * pen);
    const zoom = Math.min(room(SIDE) / Math.max(tall, 1), room(WIDEST) / Math.max(wide, 1));
    const moved = strokes.map(stroke =>
      stroke.map(([x, y]) => [
        SIDE / 2 + zoom * (x - left - wide / 2),
        SIDE / 2 + zoom * (y - top - tall / 2),
      ]),
    );
    ink = Uint8Array.from(distances(moved), far => far <= pen);
    if (ink.reduce((sum, one) => sum + one) < INK * ink.length) low = pen;
    else high = pen;
  }
  return ink;
}

/** 64 counts from 0 to 16: the pixels with ink in each block of 4 × 4. */
function reduced(ink) {
  const counts = new Uint8Array(SMALL * SMALL);
  ink.forEach((one, i) => {
    const [row, column] = [Math.floor(i / SIDE / 4), Math.floor((i % SIDE) / 4)];
    counts[SMALL * row + column] += one;
  });
  return counts;
}

// -------------------------------------------------------------------------------- the networks

function unpacked({ scale, values }) {
  const bytes = Uint8Array.from(atob(values), letter => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const levels = { length: bytes.length / 2 };
  return Float32Array.from(levels, (_, k) => scale * view.getInt16(2 * k, true));
}

/** A block: 3 × 3 convolution with its normalization, the largest of 2 × 2 if `pool`, ReLU. */
function block(x, size, [weights, biases], pool) {
  const [depth, edge] = [x.length / size / size, size + 2];
  const half = pool ? size / 2 : size;
  const framed = new Float32Array(depth * edge * edge); // x, zeros around it
  for (let i = 0; i < x.length; i++) {
    const [row, column] = [Math.floor(i / size) % size, i % size];
    framed[(Math.floor(i / size / size) * edge + row + 1) * edge + column + 1] = x[i];
  }
  const out = new Float32Array(biases.length * half * half); // zeros: ReLU's least
  for (let o = 0; o < biases.length; o++)
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++) {
        let sum = biases[o];
        let w = 9 * o * depth;
        for (let i = 0; i < depth; i++) {
          let at = (i * edge + row) * edge + column;
          for (let k = 0; k < 3; k++, at += edge, w += 3)
            sum +=
              weights[w] * framed[at] +
              weights[w + 1] * framed[at + 1] +
              weights[w + 2] * framed[at + 2];
        }
        const at = (o * half + (pool ? row >> 1 : row)) * half + (pool ? column >> 1 : column);
        if (sum > out[at]) out[at] = sum;
      }
  return out;
}

/** A trunk's features of 64 counts of ink; the bytes of `datasets.normalise` lie in between. */
function features(counts, trunk) {
  let x = Float32Array.from(counts, count => Math.round((count * 255) / 16) / 127.5 - 1);
  x = block(x, 8, trunk[0], true);
  x = block(x, 4, trunk[1], true);
  return block(x, 2, trunk[2], false); // its mean over 2 × 2 parts changes nothing
}

/** Ten logits. */
function logits(x, [weights, biases]) {
  return Array.from(biases, (bias, digit) => {
    let sum = bias;
    for (let k = 0; k < x.length; k++) sum += x[k] * weights[digit * x.length + k];
    return sum;
  });
}

function softmax(values) {
  const powers = values.map(value => Math.exp(value - Math.max(...values)));
  const total = powers.reduce((sum, power) => sum + power);
  return powers.map(power => power / total);
}

// ------------------------------------------------------------------------------------ the page

function render({ model, el }) {
  const data = model.get("data");
  const [trunks, heads] = [
    data.trunks.map(blocks => blocks.map(numbers => numbers.map(unpacked))),
    data.heads.map(numbers => numbers.map(unpacked)),
  ];
  const amounts = [...new Set(data.networks.map(({ labels }) => labels))].filter(Boolean);
  let pen = { x: 16, y: 6, down: false, shown: false };

  function change(more, keep = true) {
    model.set("value", { ...model.get("value"), ...more });
    if (keep) model.save_changes();
  }

  /** The strokes to go on with: none if an example lies on the paper. */
  function strokes() {
    const { strokes: drawn, example } = model.get("value");
    return example < 0 ? drawn : [];
  }

  function extend(point, keep) {
    const drawn = strokes();
    const last = drawn.at(-1)?.at(-1);
    if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < 0.7) return;
    change({ strokes: [...drawn.slice(0, -1), [...(drawn.at(-1) ?? []), point]] }, keep);
  }

  function begin(point) {
    change({ strokes: [...strokes(), [point]], example: -1 });
  }

  function shade(canvas, side, ink) {
    canvas.width = canvas.height = side;
    const pixels = new ImageData(side, side);
    ink.forEach((share, i) => pixels.data.set([0, 0, 0, 255 * share], 4 * i));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  function bars({ way, labels, accuracy, trunk, head }, seen) {
    const values = logits(seen[trunk], heads[head]);
    const p = softmax(values);
    const most = p.indexOf(Math.max(...p));
    const columns = p.map((share, digit) => {
      const bar = make("i");
      bar.style.height = `${Math.round(32 * share)}px`;
      return make("span", digit === most ? { class: "most" } : {}, bar, digit);
    });
    const from = labels ? `${labels} handwritten labels` : "printed digits only";
    const right = `${(100 * accuracy).toFixed(0)} % of the test right`;
    const name = make("div", {}, make("span", {}, way), make("small", {}, from, make("br"), right));
    const row = make("div", { class: "answer", "data-logits": JSON.stringify(values) });
    row.append(name, make("div", { class: "bars", "aria-hidden": "true" }, ...columns));
    row.append(make("b", {}, `${most}: ${Math.floor(100 * p[most])} %`));
    return { row, said: `${way}: ${most} (${Math.floor(100 * p[most])} %)` };
  }

  function draw() {
    const { strokes: drawn, example, labels } = model.get("value");
    const shown = example >= 0;
    const counts = shown
      ? Array.from(data.examples[example], digit => DIGITS.indexOf(digit))
      : reduced(bitmap(drawn));
    shade(seen, SMALL, Array.from(counts, count => count / 16));
    if (shown) shade(paper, SMALL, Array.from(counts, count => count / 16));
    else shade(paper, SIDE, Array.from(distances(drawn), far => (far <= 1.6 ? 1 : 0)));
    if (pen.shown && !shown) {
      const context = paper.getContext("2d");
      context.fillStyle = pen.down ? "#d55e00" : "#0072b2";
      context.fillRect(pen.x - 1, pen.y - 1, 3, 3);
    }
    select.selectedIndex = amounts.indexOf(labels);
    const four = data.networks.filter(network => !network.labels || network.labels === labels);
    const seenBy = {}; // features by trunk: the new head's is A's
    for (const { trunk } of four) seenBy[trunk] ??= features(counts, trunks[trunk]);
    const found = four.map(network => bars(network, seenBy));
    picture.replaceChildren(...found.map(({ row }) => row));
    const empty = !counts.some(Boolean);
    const what = empty ? "The paper is empty. " : shown ? `Digit ${example + 1} of the test. ` : "";
    const where = pen.shown ? ` The pen is ${pen.down ? "down" : "up"} at ${pen.x}, ${pen.y}.` : "";
    answer.textContent = `${what}${found.map(({ said }) => said).join("; ")}.${where}`;
  }

  const place = event => {
    const box = paper.getBoundingClientRect();
    const inside = length => Math.max(0, Math.min(SIDE, length));
    const [x, y] = [event.clientX - box.left - 2, event.clientY - box.top - 2]; // its frame
    return [inside((SIDE * x) / (box.width - 4)), inside((SIDE * y) / (box.height - 4))];
  };
  function key(event) {
    if (event.key in MOVES) {
      const [right, down] = MOVES[event.key];
      const inside = length => Math.max(1, Math.min(SIDE - 1, length));
      pen = { ...pen, x: inside(pen.x + right), y: inside(pen.y + down), shown: true };
      if (pen.down) extend([pen.x, pen.y]);
      else draw();
    } else if (event.key === " ") {
      pen = { ...pen, down: !pen.down, shown: true };
      if (pen.down) begin([pen.x, pen.y]);
      else draw();
    } else if (event.key === "Backspace" || event.key === "Delete") clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  function clear() {
    pen.down = false;
    change({ strokes: [], example: -1 });
  }

  const keys = "Arrow keys move the pen, Space puts it down or lifts it, Backspace clears.";
  const about = { class: "draw", tabindex: 0, role: "application", "aria-label": `Paper. ${keys}` };
  const paper = make("canvas", about);
  paper.addEventListener("pointerdown", event => {
    paper.setPointerCapture(event.pointerId);
    pen = { ...pen, down: false, shown: false };
    begin(place(event));
  });
  paper.addEventListener("pointermove", event => {
    if (event.buttons && paper.hasPointerCapture(event.pointerId)) extend(place(event), false);
  });
  paper.addEventListener("pointerup", () => model.save_changes());
  paper.addEventListener("keydown", key);
  const seen = make("canvas", { class: "seen", role: "img", "aria-label": "The digit, 8 × 8" });
  const wipe = make("button", { type: "button" }, "Clear");
  wipe.addEventListener("click", clear);
  const other = make("button", { type: "button" }, "A digit of the test");
  other.addEventListener("click", () => {
    pen = { ...pen, down: false, shown: false };
    change({ example: (model.get("value").example + 1) % data.examples.length });
  });
  const { label, select } = choice("Handwritten digits that three of them learned from", amounts, k =>
    change({ labels: amounts[k] }),
  );

  const story =
    "Draw a digit. Task A was printed digits; B is handwriting, read at 8 × 8 pixels. Which of the " +
    "four networks reads yours?";
  const answer = make("p", { class: "mtl-answer", "aria-live": "polite" });
  const picture = make("div", { class: "mtl-picture" });
  const left = make("div", { class: "paper" }, paper);
  const small = make("span", {}, "what they see, 8 × 8; the paper also takes the keys");
  left.append(make("div", { class: "side" }, seen, small));
  // JupyterLab would take the keys for its own commands.
  const whole = make("div", { class: "mtl-digit", "data-lm-suppress-shortcuts": "true" });
  const top = make("div", { class: "mtl-dials" }, label, wipe, other);
  const parts = make("div", { class: "parts" }, left, picture);
  whole.append(make("style", {}, STYLE), make("p", {}, story), top, parts, answer);

  draw();
  model.on("change:value", draw);
  el.replaceChildren(whole);
  return () => model.off("change:value", draw);
}

export default { render };
