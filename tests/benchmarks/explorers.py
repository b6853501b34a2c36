"""Seconds from a key to the changed picture, for every widget of the lessons, in Chromium.

    python tests/benchmarks/explorers.py --write assets/benchmarks/explorers.json

Every lesson runs in JupyterLab; then each control of each widget moves across its range, by
keyboard, as often as `--runs` says. Those that need no kernel are also measured in a page of their
own (`--fronts`: only these), from a choice or a press to the changed picture. Prints one line of
JSON at the end, and exits with 1 if a widget is slower than it may be.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kernelless
import lab
import torch
from common import finish, options
from notebook_files import label, notebooks

from mtl_course import scenes, studies
from mtl_course.explorers.cells import Cells
from mtl_course.explorers.decision_aid import DecisionAid
from mtl_course.explorers.draw_digit import DrawDigit
from mtl_course.explorers.label_sheet import LabelSheet
from mtl_course.explorers.train_head import TrainHead

MEDIAN, P95 = 0.2, 0.4  # seconds
WITHOUT_KERNEL = 0.05  # seconds, the median
# From the key to the frame in which the page shows the last change that came of it.
WATCH = """() => {
  window.answered = null;
  let pressed = 0;
  window.addEventListener("keydown", () => { pressed = performance.now(); }, true);
  const watch = new MutationObserver(() => requestAnimationFrame(() => {
    window.answered = (performance.now() - pressed) / 1000;
  }));
  for (const part of document.querySelectorAll(".mtl-picture, .mtl-answer"))
    watch.observe(part, { childList: true, subtree: true, characterData: true });
}"""
QUIET = 150  # milliseconds after a change, in which no other has come of the same key


def seconds_of(explorer: lab.sync_api.Locator, page: lab.sync_api.Page) -> list[float]:
    """The seconds of each key of a sweep."""
    found = []

    def pressed() -> None:
        page.wait_for_timeout(QUIET)
        found.append(page.evaluate("window.answered"))

    lab.sweep(explorer, pressed)
    return found


def fronts(runs: int) -> dict[str, list[float]]:
    """The seconds of the widgets that need no kernel, each in a page of its own."""
    keys = {"a": "|A|", "b": "|B|", "way": "Way"}
    shown = [(1_000_000, 1_000, "all layers")]
    there = {
        "cells": Cells("size_map", keys, seed=200, shown=shown),
        "decision_aid": DecisionAid("multi_task"),
        "draw_digit": DrawDigit(),
        "label_sheet": LabelSheet(scenes.draw(8, seed=3), torch.zeros(8, 4)),
        "train_head": TrainHead(studies.run("clothes")),
    }
    seconds = {}
    with tempfile.TemporaryDirectory() as folder, lab.browser() as browser:
        for name, widget in there.items():
            with lab.new_tab(browser) as tab:
                attributes = widget.children[0].attributes()
                tab.page.goto(kernelless.write(Path(folder), name, attributes))
                page = tab.page.locator(".mtl-explorer")
                page.evaluate(kernelless.TURNS), page.evaluate(kernelless.PRESSES)  # warm
                work = (kernelless.TURNS, kernelless.PRESSES) * runs
                took = [ms / 1000 for one in work for ms in page.evaluate(one)]
                seconds[f"{name}, no kernel"] = took
    return seconds


def lessons(runs: int) -> dict[str, list[float]]:
    """The seconds of every widget of the lessons, in JupyterLab."""
    seconds: dict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as base,
        lab.jupyterlab(Path(base)) as server,
        lab.browser() as browser,
    ):
        for path in notebooks():
            with lab.new_tab(browser) as tab:
                lesson = lab.run_all(tab, server, path)
                tab.page.evaluate(WATCH)
                for explorer in lesson.locator(".mtl-explorer").all():
                    kind = explorer.get_attribute("class").split("mtl-explorer mtl-")[1]
                    for _ in range(runs):
                        seconds[kind.split()[0]] += seconds_of(explorer, tab.page)
            print(label(path), file=sys.stderr, flush=True)
    return seconds


def main() -> None:
    """Measure, print, and write when asked."""
    parser = options(__doc__, runs=2)
    parser.add_argument("--fronts", action="store_true", help="only widgets without a kernel")
    asked = parser.parse_args()
    seconds = ({} if asked.fronts else lessons(asked.runs)) | fronts(asked.runs)
    rows = {
        kind: {
            "keys": len(values),
            "median_s": round(statistics.median(values), 3),
            "p95_s": round(statistics.quantiles(values, n=20)[-1], 3),
            "highest_s": round(max(values), 3),
        }
        for kind, values in seconds.items()
    }
    for kind, row in rows.items():
        print(f"{row['median_s']:.3f} s, 95th percentile {row['p95_s']:.3f} s  {kind}")
    limits = {k: WITHOUT_KERNEL if k.endswith("no kernel") else MEDIAN for k in rows}
    slow = [k for k, row in rows.items() if row["median_s"] > limits[k] or row["p95_s"] > P95]
    finish({"benchmark": "explorers", "results": rows, "slow": slow}, asked.write)
    sys.exit(bool(slow))


if __name__ == "__main__":
    main()
