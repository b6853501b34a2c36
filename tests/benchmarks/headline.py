"""The lecture's figures, A = 1,000,000 and B = 1,000 with ten seeds: seconds and memory of it all.

    python tests/benchmarks/headline.py --write assets/benchmarks/headline.json

Runs `python -m mtl_course headline` in an empty folder.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from common import finish, options, spread

from mtl_course import training


def peak_memory(root: psutil.Process, stop: threading.Event, peak: list[int]) -> None:
    """The largest memory of a process and its children together, looked at every second.

    Libraries that several processes share count once for each.
    """
    while not stop.wait(1):
        total = 0
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        peak[0] = max(peak[0], total)


def main() -> None:
    """Measure, print, and write when asked."""
    parser = options(__doc__, runs=1)
    parser.add_argument("--device", default=training.machine().device.type)
    parser.add_argument("--count", type=int, default=1_000_000, help="scenes of A")
    asked = parser.parse_args()
    command = [sys.executable, "-m", "mtl_course", "headline", "--device", asked.device]
    seconds, parts, peak = [], [], [0]
    for _ in range(asked.runs):
        with tempfile.TemporaryDirectory() as folder:
            start, stop = time.perf_counter(), threading.Event()
            run = subprocess.Popen(
                [*command, "--folder", str(Path(folder) / "headline"), "--count", str(asked.count)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            watch = threading.Thread(
                target=peak_memory, args=(psutil.Process(run.pid), stop, peak), daemon=True
            )
            watch.start()
            out, err = run.communicate()
            stop.set()
            seconds.append(time.perf_counter() - start)
            if run.returncode:
                raise SystemExit(err)
            print(out, file=sys.stderr)
            parts.append([int(n) for n in re.findall(r"(\d+) s for [AB]", err)])
    result = {**spread(seconds), "seconds_for_A_and_B": parts, "peak_memory_MB": peak[0] >> 20}
    where = {"device": asked.device, "scenes": asked.count}
    finish({"benchmark": "headline", **where, "results": {"headline": result}}, asked.write)


if __name__ == "__main__":
    main()
