// The decision aid: a few choices say what the reader has; beside each of the lecture's questions
// stands what was measured nearest to that case, looked up in the table of all cases.
//
// data: {dials: [name, options], questions, answers: [measured, mean, low, high, verdict], at and
// times: of each case a row, of each question the number of its answer, and how far the case is
// from what was measured (null where nothing was); evidence: a notebook's path}.
// value: the number of each dial's option.

const [WIDE, TALL] = [230, 38]; // of an interval's picture

const STYLE = `${CONTROLS}
.mtl-aid { color: var(--jp-content-font-color1, inherit); font-size: 14px; line-height: 1.4;
  position: relative; box-sizing: border-box; max-width: 980px; padding: 0 6px 6px; container-type: inline-size }
.mtl-aid p { margin: 8px 0; color: inherit }
.mtl-aid .question { display: grid; grid-template-columns: 1fr; gap: 2px 20px; padding: 5px 0;
  border-top: 1px solid #767676; min-height: 46px; align-items: center }
@container (min-width: 660px) { .mtl-aid .question { grid-template-columns: 5fr 6fr } }
.mtl-aid .fact { display: flex; flex-wrap: wrap; gap: 0 14px; align-items: center }
.mtl-aid svg { width: ${WIDE}px; height: ${TALL}px; flex: none; overflow: visible }
.mtl-aid svg text { fill: currentColor; font-size: 11px; text-anchor: middle; font-family: inherit }
.mtl-aid .unseen { position: absolute; clip-path: inset(50%); width: 1px; height: 1px;
  overflow: hidden; white-space: nowrap }
.mtl-aid small { font-size: 13px }
.mtl-aid a { color: inherit; text-decoration: underline }`;

/** "exactly your case", or how far it is away. */
function distance(times) {
  if (times === 1) return "exactly your case";
  return `up to ${times.toLocaleString("en")} times away from your case`;
}

function render({ model, el }) {
  const { dials, questions, answers, at, times, evidence } = model.get("data");
  const ends = answers.flatMap(([, mean, low, high]) => (mean === null ? [] : [low, high]));
  const least = Math.floor(10 * Math.min(...ends)) / 10; // the ends of the intervals' axis
  const most = Math.ceil(10 * Math.max(...ends)) / 10;
  const place = gain => 12 + ((WIDE - 24) * (gain - least)) / (most - least);

  /** The number of the case: dials are the digits of a number, the last one changes first. */
  const number = value => dials.reduce((sum, [, options], k) => sum * options.length + value[k], 0);

  function picture([, mean, low, high, verdict]) {
    const stroke = COLORS[verdict] ?? "#767676";
    const svg = make("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, "aria-hidden": "true" });
    const line = (x1, x2, y1, y2, more) => svg.append(make("line", { x1, x2, y1, y2, ...more }));
    line(place(least), place(most), 22, 22, { stroke: "currentColor", opacity: 0.4 });
    line(place(0), place(0), 2, 26, { stroke: "currentColor", "stroke-width": 1.5 });
    for (const gain of new Set([least, 0, most]))
      svg.append(make("text", { x: place(gain), y: 36 }, gain ? signed(gain).slice(0, 4) : "0"));
    line(place(low), place(high), 11, 11, { stroke, "stroke-width": 4 });
    const dot = { cx: place(mean), cy: 11, r: 5, fill: stroke, stroke: "white" };
    svg.append(make("circle", dot));
    return svg;
  }

  function row(question, answer, far) {
    const [measured, mean, low, high, verdict] = answer;
    const [name, ...rest] = question.split(":");
    const about = make("div", {}, make("b", {}, `${name}:`), rest.join(":"), make("br"));
    const fact = make("div", { class: "fact" });
    if (mean === null) fact.append(measured);
    else {
      const text = `${SIGNS[verdict]} ${verdict}: ${signed(mean)}`;
      const interval = `95 % interval ${signed(low)} to ${signed(high)}`;
      fact.append(picture(answer), make("span", {}, make("b", {}, text), make("br"), interval));
      about.append(make("small", {}, `Measured: ${measured}; ${distance(far)}.`));
    }
    return make("div", { class: "question" }, about, fact);
  }

  function draw() {
    const value = model.get("value");
    const now = at[number(value)].map(k => answers[k]);
    selects.forEach(({ select }, k) => (select.selectedIndex = value[k]));
    rows.replaceChildren(
      ...questions.map((question, k) => row(question, now[k], times[number(value)][k])),
    );
    const mine = dials.map(([name, options], k) => `${name}: ${options[value[k]]}`);
    const said = questions.map((text, k) => `${text.split(":")[0]} ${now[k][4] || now[k][0]}`);
    const verdicts = make("b", {}, said.join("; "));
    const about = make("span", { class: "unseen" }, `Your case. ${mine.join("; ")}.`);
    answer.replaceChildren(verdicts, about);
  }

  const selects = dials.map(([name, options], k) =>
    choice(name, options, option => {
      model.set("value", model.get("value").with(k, option));
      model.save_changes();
    }),
  );
  const answer = make("p", { class: "mtl-answer", "aria-live": "polite" });
  const rows = make("div", { class: "mtl-picture" });
  // The site has a page where the course has a notebook.
  const here = location.pathname.endsWith(".html");
  const href = here ? evidence.replace(".ipynb", ".html") : evidence;
  const aside = here ? {} : { target: "_blank" };
  const link = make("a", { href, ...aside }, "Where the numbers come from");
  const foot = make(
    "p",
    {},
    "Gains are in area under the ROC curve (AUC). One ✗ or ? is reason enough to measure first. ",
    link,
    ".",
  );
  // JupyterLab would take the keys for its own commands.
  const whole = make("div", { class: "mtl-aid", "data-lm-suppress-shortcuts": "true" });
  const top = make("div", { class: "mtl-dials" }, ...selects.map(({ label }) => label));
  whole.append(make("style", {}, STYLE), top, answer, rows, foot);

  draw();
  model.on("change:value", draw);
  el.replaceChildren(whole);
  return () => model.off("change:value", draw);
}

export default { render };
