// The cells of a study: dials choose one; its gain over the baseline stands among those of its
// neighbors along the first dial, with 95 % intervals, and beside it the seeds behind it.
//
// data: {dials: [name, texts of its values], over, score, cells: [a value's number for each dial,
// mean, low, high, verdict, the seeds' gains]}.
// value: {cell: a value's number for each dial; here: by cell, gains that were trained here; said:
// of the last of them}. Python's names for the same: cells.py.

const [STEPS, MOST] = [[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5], 4.5]; // of an axis, at most so many

const STYLE = `${CONTROLS}
.mtl-cell { color: var(--jp-content-font-color1, inherit); font-size: 14px; line-height: 1.35;
  box-sizing: border-box; max-width: 900px; padding: 0 6px 6px }
.mtl-cell p { margin: 8px 0; color: inherit }
.mtl-cell .line { display: grid; grid-template-columns: minmax(6.5em, 24%) 1fr 5.6em; gap: 0 10px;
  align-items: center; min-height: 26px; padding: 0 4px; cursor: pointer; white-space: nowrap }
.mtl-cell .line > :first-child { text-align: right; white-space: normal }
.mtl-cell .now { outline: 2px solid currentColor; outline-offset: -1px; border-radius: 4px;
  font-weight: bold }
.mtl-cell .strip { position: relative; align-self: stretch; min-height: 26px }
.mtl-cell .now .strip { min-height: 46px }
.mtl-cell .strip * { position: absolute; box-sizing: border-box }
.mtl-cell .tick { top: 0; bottom: 0; width: 1px; background: currentColor; opacity: 0.18 }
.mtl-cell .zero { opacity: 1; width: 2px; margin-left: -1px }
.mtl-cell .bar { top: calc(50% - 2px); height: 4px }
.mtl-cell .dot { top: calc(50% - 6px); width: 12px; height: 12px; margin-left: -6px;
  border-radius: 6px; border: 1px solid white }
.mtl-cell .seed { width: 8px; height: 8px; margin: -4px; border-radius: 4px; background: #767676;
  border: 1px solid white }
.mtl-cell .mine { width: 12px; height: 12px; margin: -6px; background: #e69f00;
  border: 2px solid currentColor; transform: rotate(45deg) }
.mtl-cell .axis { cursor: auto; font-size: 12px; align-items: start }
.mtl-cell .axis .strip { min-height: 18px }
.mtl-cell .axis .strip span { transform: translateX(-50%) }
.mtl-cell .name { text-align: center; font-size: 13px; margin: 0 }`;

function render({ model, el }) {
  const { dials, cells, over, score } = model.get("data");
  const found = cell => cells.find(([numbers]) => numbers.join() === cell.join());
  const along = (cell, k) => cells.filter(([c]) => c.slice(0, k).join() === cell.slice(0, k).join());

  /** The numbers of the values that go with those of the dials before this one. */
  const offered = (cell, k) => [...new Set(along(cell, k).map(([numbers]) => numbers[k]))];

  function choose(k, number) {
    const { cell: before, ...value } = model.get("value");
    const cell = before.with(k, number);
    dials.forEach((_, i) => {
      const there = offered(cell, i); // keeps what can be kept
      if (!there.includes(cell[i])) cell[i] = there[0];
    });
    model.set("value", { ...value, cell, said: "" });
    model.save_changes();
  }

  /** Where a gain stands, in percent of a strip, and the ticks of its axis. */
  function scaled(gains) {
    const [low, high] = [Math.min(0, ...gains), Math.max(0, ...gains)];
    const step = STEPS.find(width => (high - low) / width <= MOST) ?? 1;
    const [first, last] = [Math.floor(low / step), Math.ceil(high / step)];
    const ticks = Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step);
    const place = gain => `${(3 + (94 * (gain / step - first)) / (last - first)).toFixed(2)}%`;
    return { place, ticks };
  }

  function mark(kind, left, style = {}) {
    const element = make("i", { class: kind });
    Object.assign(element.style, { left, ...style });
    return element;
  }

  function line([numbers, mean, low, high, verdict, seeds], now, here, { place, ticks }) {
    const background = COLORS[verdict] ?? "#767676";
    const strip = make("span", { class: "strip" });
    for (const gain of ticks) strip.append(mark(gain ? "tick" : "tick zero", place(gain)));
    const width = `calc(${place(high)} - ${place(low)})`;
    strip.append(mark("bar", place(low), { width, background }));
    if (now) {
      const tops = ["16%", "84%"]; // in turn, so that few hide each other
      seeds.forEach((gain, k) => strip.append(mark("seed", place(gain), { top: tops[k % 2] })));
      here.forEach(gain => strip.append(mark("mine", place(gain), { top: "50%" })));
    }
    strip.append(mark("dot", place(mean), { background }));
    const row = make("div", { class: now ? "line now" : "line" });
    const name = make("span", {}, dials[0][1][numbers[0]]);
    row.append(name, strip, `${SIGNS[verdict]} ${signed(mean)}`);
    row.addEventListener("click", () => choose(0, numbers[0]));
    return row;
  }

  function draw() {
    const { cell, here, said } = model.get("value");
    const [now, mine] = [found(cell), here[cell.join()] ?? []];
    selects.forEach(({ select }, k) => {
      const there = offered(cell, k);
      offer(select, there.map(number => dials[k][1][number]));
      select.selectedIndex = there.indexOf(cell[k]);
    });
    const others = cells.filter(([numbers]) => numbers.slice(1).join() === cell.slice(1).join());
    const gains = [...others.flatMap(([, , low, high]) => [low, high]), ...now[5], ...mine];
    const scale = scaled(gains);
    const strip = make("span", { class: "strip" });
    for (const gain of scale.ticks) {
      const tick = make("span", {}, gain ? signed(gain).replace(/0+$/, "") : "0");
      tick.style.left = scale.place(gain);
      strip.append(tick);
    }
    const axis = make("div", { class: "line axis" }, make("span", {}, dials[0][0]), strip);
    const what = make("p", { class: "name" }, `gain in ${score} over ${over}, 95 % interval`);
    picture.replaceChildren(...others.map(one => line(one, one === now, mine, scale)), axis, what);

    const title = dials.map(([name, texts], k) => `${name} ${texts[cell[k]]}`).join(", ");
    const [, mean, low, high, verdict, seeds] = now;
    const words = `${signed(mean)} (${signed(low)} to ${signed(high)}), ${verdict}`;
    const ends = `from ${signed(Math.min(...seeds))} to ${signed(Math.max(...seeds))}`;
    const own = mine.length ? ` Trained here: ${mine.map(signed).join(", ")}.` : "";
    answer.textContent =
      `${title}, over ${over}: ${words}. Its ${seeds.length} seeds (gray) lie ${ends}; the interval ` +
      `is that of this cell by itself.${own} ${said}`;
    const rows = others.map(([c, gain, , , word]) => `${dials[0][1][c[0]]} ${signed(gain)} ${word}`);
    picture.ariaLabel = `Mean gains along ${dials[0][0]}: ${rows.join("; ")}. Chosen: ${title}.`;
  }

  const selects = dials.map(([name], k) =>
    choice(name, [], option => choose(k, offered(model.get("value").cell, k)[option])),
  );
  const answer = make("p", { class: "mtl-answer", "aria-live": "polite" });
  const picture = make("div", { class: "mtl-picture", role: "img" });
  // JupyterLab would take the keys for its own commands.
  const whole = make("div", { class: "mtl-cell", "data-lm-suppress-shortcuts": "true" });
  const top = make("div", { class: "mtl-dials" }, ...selects.map(({ label }) => label));
  whole.append(make("style", {}, STYLE), top, answer, picture);

  draw();
  model.on("change:value", draw);
  el.replaceChildren(whole);
  return () => model.off("change:value", draw);
}

export default { render };
