"""Seconds of every notebook from a cold kernel: the median of several runs, against the budget.

    python tests/benchmarks/notebooks.py --write assets/benchmarks/notebooks.json

Prints one line of JSON at the end, and exits with 1 if a notebook is over its budget.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import finish, options, spread
from execute_notebooks import execute
from notebook_files import label, notebooks, read

BUDGET = {"00_start_here": 15.0}  # seconds
OTHERS = 30.0  # seconds
# What the first cell of lesson 01 imports, and the part of it that is torch.
IMPORTS = """
import time
start = time.perf_counter()
import torch
middle = time.perf_counter()
exec({cell!r})
print(middle - start, time.perf_counter() - middle)
"""


def imports(runs: int) -> dict[str, dict]:
    """Seconds of the imports of lesson 01: torch, and all that comes on top of it."""
    lesson = next(path for path in notebooks() if label(path) == "01_transfer")
    cell = next(c.source for c in read(lesson).cells if c.source.startswith("from IPython"))
    times = []
    for _ in range(runs + 1):  # the first one fills the disk's cache
        code = IMPORTS.format(cell=cell)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(list(map(float, done.stdout.split())))
    torch, beyond = zip(*times[1:], strict=True)
    return {"torch": spread(list(torch)), "beyond torch": spread(list(beyond))}


def main() -> None:
    """Measure, print, and write when asked."""
    asked = options(__doc__, runs=3).parse_args()
    rows = []
    for path in notebooks():
        seconds = [execute(read(path), path.parent) for _ in range(asked.runs)]
        name = label(path)
        row = {"notebook": name, **spread(seconds), "budget_s": BUDGET.get(name, OTHERS)}
        print(f"{row['median_s']:6.1f} s of {row['budget_s']:.0f} s  {name}", flush=True)
        rows.append(row)
    over = [row["notebook"] for row in rows if row["median_s"] > row["budget_s"]]
    started = imports(5)
    finish({"notebooks": rows, "over_budget": over, "imports": started}, asked.write)
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
