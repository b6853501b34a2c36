"""Seconds of every notebook from a cold kernel: the median of several runs, against the budget.

    python tests/benchmarks/notebooks.py
    python tests/benchmarks/notebooks.py --runs 5 --write assets/benchmarks/notebooks.json

Prints one line of JSON at the end, and exits with 1 if a notebook is over its budget.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from execute_notebooks import execute
from notebook_files import label, notebooks, read

BUDGET = {"00_start_here": 15.0}  # seconds
OTHERS = 30.0  # seconds
VERSIONS = ("torch", "numpy", "jupyterlab", "ipykernel", "nbclient")


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Measure, print, and write when asked."""
    parser = argparse.ArgumentParser(description="Seconds of every notebook from a cold kernel.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the line of JSON here")
    options = parser.parse_args()

    rows = []
    for path in notebooks():
        seconds = [execute(read(path), path.parent) for _ in range(options.runs)]
        name = label(path)
        row = {
            "notebook": name,
            "seconds": round(statistics.median(seconds), 2),
            "runs": [round(second, 2) for second in seconds],
            "budget": BUDGET.get(name, OTHERS),
        }
        print(f"{row['seconds']:6.1f} s of {row['budget']:.0f} s  {name}", flush=True)
        rows.append(row)

    over = [row["notebook"] for row in rows if row["seconds"] > row["budget"]]
    line = json.dumps(
        {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": {
                "system": platform.system(),
                "processor": processor(),
                "cores": os.cpu_count(),
            },
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in VERSIONS},
            "notebooks": rows,
            "over_budget": over,
        }
    )
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(line + "\n", encoding="utf-8")
    print(line)
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
