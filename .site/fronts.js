// What stands in for a kernel in the site: each picture of a widget whose module needs none becomes
// that widget. .site/conf.py puts a module, its name, more of its data and then these lines into the
// pages that hold it.

/** A widget's model, as anywidget gives one, that nobody else hears of. */
function alone(state) {
  const heard = {};
  return {
    get: name => state[name],
    set(name, value) {
      state[name] = value;
      for (const call of heard[`change:${name}`] ?? []) call();
    },
    save_changes() {},
    on: (event, call) => (heard[event] ??= new Set()).add(call),
    off: (event, call) => heard[event]?.delete(call),
  };
}

for (const place of document.querySelectorAll(`[data-mtl-front="${name}"]`)) {
  const el = document.createElement("div");
  el.className = `mtl-explorer mtl-${name.replaceAll("_", "-")}`;
  const state = JSON.parse(place.dataset.mtlState);
  render({ model: alone({ ...state, data: { ...state.data, ...more } }), el });
  place.replaceWith(el);
}
