// What stands before each of the modules here: elements, a choice, and the looks of controls.

const SHAPES = new Set(["svg", "g", "path", "line", "circle", "rect", "text"]);

/** An element with these attributes and children; in SVG's namespace for a shape. */
function make(tag, attributes = {}, ...children) {
  const space = `http://www.w3.org/${SHAPES.has(tag) ? "2000/svg" : "1999/xhtml"}`;
  const element = document.createElementNS(space, tag);
  for (const [name, text] of Object.entries(attributes)) element.setAttribute(name, text);
  element.append(...children);
  return element;
}

/** A choice under its name, as wide as its longest option needs. chosen: is called with a number. */
function choice(name, options, chosen) {
  const select = make("select");
  offer(select, options);
  select.addEventListener("change", () => chosen(select.selectedIndex));
  return { label: make("label", {}, make("span", {}, name), select), select };
}

/** Give a choice these options. */
function offer(select, options) {
  select.replaceChildren(...options.map(text => make("option", {}, text)));
}

const signed = number => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`;
const SIGNS = { supported: "✓", opposite: "✗", "no difference": "=", "cannot tell": "?" };
const COLORS = { supported: "#0072b2", opposite: "#d55e00" }; // else gray

// Dark letters on a light ground, so that a choice's arrow is seen in every theme.
const CONTROLS = `
.mtl-dials { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: end }
.mtl-dials label { display: block; max-width: 100% }
.mtl-dials label span { display: block; font-size: 13px }
.mtl-dials :is(select, button) { font: inherit; max-width: 100%; padding: 5px 8px; color: black;
  background: #eee; border: 1px solid #767676; border-radius: 4px; color-scheme: light }
.mtl-dials button { cursor: pointer; padding: 6px 14px }
.mtl-dials :is(select, button, input):focus-visible { outline: 3px solid #0072b2;
  outline-offset: 2px; box-shadow: 0 0 0 2px white }`;

