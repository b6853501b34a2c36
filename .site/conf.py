"""The site, for Sphinx: README and the committed lessons as pages. Nothing is run or fetched."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
from sphinx.application import Sphinx

project = "mtl_course"
author = "The mtl_course authors"
copyright = f"{author}. Prose and pictures CC BY 4.0, code MIT"

extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]
root_doc = "README"
include_patterns = [
    "*.md",
    "assets/clothes/README.md",
    "notebooks/*.ipynb",
    "notebooks/evidence/*.ipynb",
    "notebooks/*.md",
    "notebooks/assignments/README.md",
    "notebooks/assignments/student/*/*.ipynb",
]
exclude_patterns = ["**/.ipynb_checkpoints"]

nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "application/json", None)]  # what tests read, not people
suppress_warnings = ["mystnb.unknown_mime_type"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_title = "mtl_course"
html_theme = "furo"
# What the theme leaves out for people with a keyboard alone, or with a screen reader.
_ACCESS = """addEventListener("DOMContentLoaded", () => {
  for (const code of document.querySelectorAll("pre")) code.tabIndex = 0;
  for (const title of document.querySelectorAll("[role=heading]")) title.ariaLevel = 2;
});"""
html_js_files = [(None, {"body": _ACCESS})]
html_copy_source = False
html_show_sourcelink = False

ROOT = Path(__file__).parents[1]
EXPLORERS = ROOT / "mtl_course" / "explorers"
START = re.compile('<div class="mtl-still" data-mtl-front="train_head".*?</div>', re.DOTALL)
FRONTS = Path(__file__).with_name("fronts.js")

CONTENTS = """

```{toctree}
:hidden:
:glob:
:caption: Lessons

notebooks/0*
```

```{toctree}
:hidden:
:glob:
:caption: Evidence

notebooks/evidence/*
```

```{toctree}
:hidden:
:glob:
:caption: Assignments

notebooks/assignments/student/*/*
```

```{toctree}
:hidden:
:caption: More

RESULTS
STUDIES
BENCHMARKS
notebooks/INSTRUCTORS
notebooks/assignments/README
assets/clothes/README
CONTRIBUTING
CHANGELOG
```
"""


def _add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """README is the front page; GitHub, which shows it too, knows no tables of contents.

    Here it begins with what a reader can do at once: to train a head, lesson 01's widget.
    """
    if page == root_doc:
        lesson = nbformat.read(ROOT / "notebooks" / "01_transfer.ipynb", as_version=4)
        pages = (
            output.get("data", {}).get("text/html", "")
            for cell in lesson.cells
            for output in cell.get("outputs", [])
        )
        start = next(filter(None, map(START.search, pages)))[0]
        before, mark, after = source[0].partition("![Lesson 01")
        source[0] = f"{before}{start}\n\n{mark}{after}{CONTENTS}"


FRONT = re.compile(r'data-mtl-front="(\w+)"(?: data-mtl-file="([\w/.]+)")?')


def script(name: str, file: str = "") -> str:
    """What makes the widgets of one module run in a page; it stands in the page itself, so that a
    site on a disk will do. file: of more data."""
    parts = (EXPLORERS / f"{part}.js" for part in ("_page", name))
    front = "".join(part.read_text(encoding="utf-8") for part in parts)
    more = ROOT.joinpath(file).read_text(encoding="utf-8") if file else "{}"
    about = f'const name = "{name}";\nconst more = {more};'
    return f"{front}\n{about}\n{FRONTS.read_text(encoding='utf-8')}"


def _add_fronts(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """A page's widgets that need no kernel run in it."""
    for name, file in sorted({*FRONT.findall(context.get("body", ""))}):
        app.add_js_file(None, body=script(name, file), type="module")


def _tidy(app: Sphinx, error: Exception | None) -> None:
    """A server looks for index.html; and the theme leaves a template behind."""
    if error is None:
        folder = Path(app.outdir)
        shutil.copy(folder / "README.html", folder / "index.html")
        (folder / "_static" / "webpack-macros.html").unlink(missing_ok=True)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_contents)
    app.connect("html-page-context", _add_fronts)
    app.connect("build-finished", _tidy)
