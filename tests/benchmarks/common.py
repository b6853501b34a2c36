"""What the benchmarks share: the machine, interleaved runs, and one line of JSON at the end."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

VERSIONS = ("torch", "numpy", "joblib", "lightning", "fastai", "jupyterlab", "ipykernel")


def options(doc: str, runs: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--runs", type=int, default=runs, help=f"default: {runs}")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the line of JSON here")
    return parser


def interleaved(contenders: Mapping[str, Callable[[], object]], runs: int) -> dict[str, dict]:
    """Seconds of each contender: all of them once, to warm up, then in turn, `runs` times.

    Returns: for each the median, the lowest and the highest, and all runs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(-1, runs):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            if run >= 0:
                seconds[name].append(time.perf_counter() - start)
        print(f"run {run + 1} of {runs}", file=sys.stderr, flush=True)
    return {name: spread(values) for name, values in seconds.items()}


def spread(seconds: list[float]) -> dict[str, object]:
    """The median, the lowest and the highest, and all of them, in order."""
    return {
        "median_s": round(statistics.median(seconds), 4),
        "lowest_s": round(min(seconds), 4),
        "highest_s": round(max(seconds), 4),
        "runs_s": [round(second, 4) for second in seconds],
    }


def ratio(results: Mapping[str, dict], ours: str, other: str) -> float:
    """How many times faster than the other we are: the median over the runs of the ratios."""
    pairs = zip(results[other]["runs_s"], results[ours]["runs_s"], strict=True)
    return round(statistics.median(theirs / mine for theirs, mine in pairs), 3)


class Elsewhere:
    """A contender in a process of its own: the script, called with ``--serve NAME``."""

    def __init__(self, name: str, *arguments: str) -> None:
        command = [sys.executable, sys.argv[0], "--serve", name, *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        while (said := self._process.stdout.readline()) != "done\n":
            if not said:
                raise SystemExit("a contender's process ended")


def serve(work: Callable[[], object]) -> None:
    """Does the work once for every line that comes in."""
    for _ in sys.stdin:
        work()
        print("done", flush=True)


@contextlib.contextmanager
def a_busy_core() -> Iterator[None]:
    """Another process that takes all of a core it can get."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        yield
    finally:
        busy.kill()
        busy.wait()


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def finish(result: dict, write: Path | None) -> None:
    """Prints the result with machine, versions and date as one line, and keeps it if asked."""
    versions = {"python": platform.python_version()}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    about = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", "tests/benchmarks/" + Path(sys.argv[0]).name]),
        "machine": {
            "system": platform.system(),
            "processor": processor(),
            "cores": os.cpu_count(),
        },
        "versions": versions,
    }
    line = json.dumps(about | result)
    if write:
        write.parent.mkdir(parents=True, exist_ok=True)
        write.write_text(line + "\n", encoding="utf-8")
    print(line)
