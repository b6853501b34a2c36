// The label sheet: Y of a few images as a grid, a button an entry. A press turns 0 into 1, 1 into ?
// and ? into 0; the arrow keys move. Each button also holds its entry's term of the loss and the
// gradient on its logit, computed here: the sheet needs no kernel, and tells one that listens.
//
// data: {tasks, images (URLs), logits and labels (m rows of tasks), banner}.
// value: the labels as they are now. Python's names for the same: label_sheet.py.

const UNKNOWN = -1;
const NEXT = { 0: 1, 1: UNKNOWN, [UNKNOWN]: 0 };
const TEXT = { 0: "0", 1: "1", [UNKNOWN]: "?" };
const MOVES = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const OPENING = "Press an entry of Y: 0 becomes 1, 1 becomes ?, ? becomes 0.";

// Its own ground where it scrolls under a heading; else the page's colors, light or dark.
const STYLE = `
.mtl-sheet { color: var(--jp-content-font-color1, inherit); font-size: 14px; line-height: 1.35;
  --ground: var(--jp-layout-color0, var(--color-background-primary, Canvas)); max-width: 880px;
  box-sizing: border-box; padding: 0 6px 6px }
.mtl-sheet p { margin: 4px 0 }
.mtl-sheet .mtl-answer { min-height: 2.7em }
.mtl-sheet .scroll { overflow-x: auto; padding: 4px; container-type: inline-size }
.mtl-sheet table { table-layout: fixed; width: 100%; min-width: 470px; margin: 0; border: 0;
  border-collapse: separate; border-spacing: 3px; font-size: inherit; background: none;
  color: inherit; box-shadow: none }
.mtl-sheet tr, .mtl-sheet tr:nth-child(odd), .mtl-sheet tr:hover { background: none }
.mtl-sheet th, .mtl-sheet td { border: 0; padding: 0; text-align: center; font-weight: normal;
  vertical-align: middle; max-width: none; color: inherit }
.mtl-sheet td { height: 1px }
.mtl-sheet tr > :first-child { width: 84px; position: sticky; left: 0; text-align: left;
  background: var(--ground) }
.mtl-sheet tr > :last-child { width: 42px; text-align: right }
.mtl-sheet img { display: block; width: 100%; max-width: 72px; margin: auto; aspect-ratio: 1;
  image-rendering: pixelated }
.mtl-sheet button { font: inherit; border: 1px solid #767676; border-radius: 3px; cursor: pointer }
.mtl-sheet td button { display: block; width: 100%; height: 100%; padding: 3px 0; font-size: 12px }
.mtl-sheet td button b { display: block; font-size: 18px; line-height: 1.2 }
@container (max-width: 660px) {
  .mtl-sheet th, .mtl-sheet td { font-size: 11px }
  .mtl-sheet td button { font-size: 10.5px }
  .mtl-sheet tr > :first-child { width: 68px }
  .mtl-sheet .arrow { display: block; line-height: 0.8 } }
.mtl-sheet .reset { padding: 4px 12px; color: black; background: #eee }
.mtl-sheet [data-y="0"] { color: #333; background: white }
.mtl-sheet [data-y="1"] { color: white; background: #0072b2 }
.mtl-sheet [data-y="-1"] { color: black; background: #e69f00 }
.mtl-sheet button:focus-visible { outline: 3px solid black; box-shadow: 0 0 0 5px white;
  outline-offset: 0; position: relative; z-index: 1 }`;

const sum = numbers => numbers.reduce((total, number) => total + number, 0);

/** One entry's L(ŷ, y), −log ŷ or −log(1 − ŷ), and its gradient (ŷ − y) / m; both 0 at a "?". */
function entry(logit, label, m) {
  if (label === UNKNOWN) return { term: 0, push: 0 };
  const against = label === 1 ? -logit : logit; // L = log(1 + e^against)
  const term = Math.max(against, 0) + Math.log1p(Math.exp(-Math.abs(against)));
  return { term, push: (1 / (1 + Math.exp(-logit)) - label) / m };
}

function render({ model, el }) {
  const { tasks, images, logits, labels, banner } = model.get("data");
  const m = images.length;
  const state = () =>
    model.get("value").map((row, i) => row.map((label, j) => entry(logits[i][j], label, m)));
  const loss = () => sum(state().flat().map(({ term }) => term)) / m;

  function change(labels, text) {
    model.set("value", labels);
    model.save_changes();
    answer.textContent = text;
  }

  function press(i, j) {
    const [before, old] = [loss(), state()[i][j].term];
    const label = NEXT[model.get("value")[i][j]];
    const changed = model.get("value").map(row => [...row]);
    changed[i][j] = label;
    change(changed, "");
    const { term, push } = state()[i][j];
    const moves = term === old ? "does not move" : term > old ? "rises" : "falls";
    answer.textContent =
      `${tasks[j]} in scene ${i + 1} is now ${TEXT[label]}. Its term goes from ${old.toFixed(2)} ` +
      `to ${term.toFixed(2)}, its gradient is ${signed(push)}. The loss ${moves}, from ` +
      `${before.toFixed(3)} to ${loss().toFixed(3)}.`;
  }

  const buttons = images.map((_, i) =>
    tasks.map((task, j) => {
      const button = make("button", { type: "button", title: `${task} in scene ${i + 1}` });
      button.addEventListener("click", () => press(i, j));
      button.addEventListener("focus", () => reach(button));
      button.addEventListener("keydown", event => {
        if (!(event.key in MOVES)) return;
        const [right, down] = MOVES[event.key];
        buttons[i + right]?.[j + down]?.focus();
        event.preventDefault();
        event.stopPropagation();
      });
      return button;
    }),
  );
  // Tab comes to one entry of the sheet, the last that had the focus; from there the arrows lead.
  function reach(button) {
    for (const other of buttons.flat()) other.tabIndex = other === button ? 0 : -1;
  }

  function draw() {
    const [now, values] = [state(), model.get("value")];
    buttons.flat().forEach((button, number) => {
      const [i, j] = [Math.floor(number / tasks.length), number % tasks.length];
      const [{ term, push }, label] = [now[i][j], values[i][j]];
      const arrow = label === UNKNOWN ? "" : push < 0 ? "▲ " : "▼ ";
      const mark = make("span", { class: "arrow" }, arrow);
      const notes = label === UNKNOWN ? ["0", "0"] : [term.toFixed(2), signed(push)];
      button.dataset.y = label;
      button.replaceChildren(make("b", {}, TEXT[label]), notes[0], make("br"), mark, notes[1]);
      const about = `${tasks[j]} in scene ${i + 1}: ${TEXT[label]}, term ${notes[0]}`;
      button.ariaLabel = `${about}, gradient ${notes[1]}`;
    });
    tasks.forEach((_, j) => {
      sums[j].textContent = sum(now.map(row => row[j].term)).toFixed(2);
    });
    const known = values.flat().filter(label => label !== UNKNOWN).length;
    const total = sum(now.flat().map(({ term }) => term));
    picture.replaceChildren(
      `The loss: 1/${m} · ${total.toFixed(2)} = `,
      make("b", {}, loss().toFixed(3)),
      `, a sum over ${known} of ${m * tasks.length} entries.`,
    );
  }

  const answer = make("p", { class: "mtl-answer", "aria-live": "polite" }, OPENING);
  const picture = make("p", { class: "mtl-picture" });
  const sums = tasks.map(() => make("td"));
  const head = images.map((url, i) =>
    make("th", { scope: "col" }, make("img", { src: url, alt: `scene ${i + 1}` })),
  );
  const rows = tasks.map((task, j) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, task),
      ...buttons.map(column => make("td", {}, column[j])),
      sums[j],
    ),
  );
  const caption =
    "In each entry: its label, its term L, and its gradient on the logit. " +
    "▲ a step raises ŷ, ▼ a step lowers it. The arrow keys move.";
  const about = { role: "grid", "aria-label": `Y of ${m} scenes. ${caption}` };
  const grid = make("table", about);
  grid.append(
    make("tr", {}, make("td"), ...head, make("th", { scope: "col" }, "Σ L")),
    ...rows,
  );
  const reset = make("button", { type: "button", class: "reset" }, "Y as it was");
  reset.addEventListener("click", () => {
    change(labels, "");
    answer.textContent = `Y is as it was. The loss is ${loss().toFixed(3)}.`;
  });
  // JupyterLab would take the keys for its own commands.
  const sheet = make("div", { class: "mtl-sheet", "data-lm-suppress-shortcuts": "true" });
  const above = banner ? [make("b", {}, banner)] : [];
  const table = make("div", { class: "scroll" }, grid);
  sheet.append(make("style", {}, STYLE), ...above, picture, answer, table);
  sheet.append(make("p", {}, caption), reset);

  reach(buttons[0][0]);
  draw();
  model.on("change:value", draw);
  el.replaceChildren(sheet);
  return () => model.off("change:value", draw);
}

export default { render };
