"""A page with one widget and no kernel, as the site makes it, for tests and benchmarks."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from notebook_files import ROOT

LIGHT = "body {font-family: sans-serif; background: white; color: black}"
# JupyterLab's names for the colors of its dark theme, and the theme of the site.
DARK = "body {font-family: sans-serif; background: #111; color: #eee; color-scheme: dark}"
DARK += (
    ":root {--jp-content-font-color1: #eee; --jp-layout-color0: #111; --jp-ui-font-color1: #eee}"
)


def site() -> ModuleType:
    """The settings of the site."""
    spec = importlib.util.spec_from_file_location("site_conf", ROOT / ".site" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, name: str, attributes: str, style: str = LIGHT) -> str:
    """The address of a page in `folder` that holds one widget of the module `name`."""
    file = (re.findall(r'data-mtl-file="([^"]*)"', attributes) or [""])[0]
    page = folder / f"{name}.html"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>A widget</title>'
        f"<style>{style}</style><main><h1>A widget</h1><div {attributes}>A picture</div></main>"
        f'<script type="module">{site().script(name, file)}</script></html>',
        encoding="utf-8",
    )
    return page.as_uri()


# Milliseconds from each dial's choice of each of its options to the frame with the changed picture.
TURNS = """async widget => {
  const took = [];
  for (const place of widget.querySelectorAll("select").keys()) {
    const count = widget.querySelectorAll("select")[place].options.length;
    for (let option = 0; option < count; option++) {
      const select = widget.querySelectorAll("select")[place];
      if (option >= select.options.length) break;
      const start = performance.now();
      select.selectedIndex = option;
      select.dispatchEvent(new Event("change"));
      document.body.offsetHeight;
      await new Promise(requestAnimationFrame);
      took.push(performance.now() - start);
    }
  }
  return took;
}"""

# The same, for ten presses of each button.
PRESSES = """async widget => {
  const took = [];
  for (const button of widget.querySelectorAll("button"))
    for (let press = 0; press < 10; press++) {
      const start = performance.now();
      button.click();
      document.body.offsetHeight;
      await new Promise(requestAnimationFrame);
      took.push(performance.now() - start);
    }
  return took;
}"""


def check_sizes(tab, widget, tall: int) -> None:
    """Assert that a widget fits a screen, a projector at 150 %, and a phone `tall` pixels high."""
    cut = "s => [...s.querySelectorAll('select')].some(c => c.scrollWidth > c.clientWidth)"
    for width, height in ((1366, 768), (910, 512), (390, tall)):
        tab.page.set_viewport_size({"width": width, "height": height})
        assert not tab.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert widget.bounding_box()["height"] < height - 60
        assert not widget.evaluate(cut)
    took = widget.evaluate(TURNS)
    assert min(took) < 50, "milliseconds from a choice to the changed picture, at best"
