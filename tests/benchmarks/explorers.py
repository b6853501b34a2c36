"""Seconds from a key to the changed picture, for every widget of the lessons, in Chromium.

    python tests/benchmarks/explorers.py --write assets/benchmarks/explorers.json

Every lesson runs in JupyterLab; then each control of each widget moves across its range, by
keyboard, as often as `--runs` says. Prints one line of JSON at the end, and exits with 1 if a
widget is slower than it may be.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lab
from common import finish, options
from notebook_files import label, notebooks

MEDIAN, P95 = 0.2, 0.4  # seconds
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


def main() -> None:
    """Measure, print, and write when asked."""
    asked = options(__doc__, runs=2).parse_args()
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
                    for _ in range(asked.runs):
                        seconds[kind.split()[0]] += seconds_of(explorer, tab.page)
            print(label(path), file=sys.stderr, flush=True)
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
    slow = [k for k, row in rows.items() if row["median_s"] > MEDIAN or row["p95_s"] > P95]
    finish({"benchmark": "explorers", "results": rows, "slow": slow}, asked.write)
    sys.exit(bool(slow))


if __name__ == "__main__":
    main()
