"""A class of 500 graded in one run that is killed in the middle: seconds, memory, and the scores.

    python tests/benchmarks/grading.py --write assets/benchmarks/grading.json

Hands in copies of honest, wrong and hostile answers to the multi-task assignment, starts
`python -m mtl_course grading grade` as an ordinary user, kills it half way, starts it again, and
compares every score with what that kind of submission must get.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "grading"))

import attacks
import pandas as pd
import psutil
import small_course
from common import finish, options
from grader import command, environment, grading
from notebook_files import NOTEBOOKS, read
from submissions import MUTANTS

NAME = "multi_task"
FULL = 34.0
EXERCISE = "lecture_columns"  # where hostile code stands
HOSTILE = (
    "runs for ever", "takes all memory", "ends the process when asked", "reads what is hidden",
    "is equal to everything", "says much", "forges: nested", "fills the disk",
)  # fmt: skip


def kinds(place: Path) -> dict[str, tuple[dict[str, str], tuple[float, float]]]:
    """Answers of each kind of submission, and the lowest and highest score that is right for it."""
    cells = read(place / "instructor" / NAME / f"{NAME}.ipynb").cells
    solutions = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in cells
        if cell.metadata.get("nbgrader", {}).get("solution") and cell.cell_type == "code"
    }
    points = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
        for cell in cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    half = dict(list(solutions.items())[:4])
    earned = sum(points[name.removesuffix("_answer")] for name in half)
    found = {
        "full": (solutions, (FULL, FULL)),
        "half": (half, (earned, earned)),
        "nothing": ({}, (0, 0)),
    }
    for answer in MUTANTS:
        if answer.assignment == NAME:
            answers = solutions | {f"{answer.exercise}_answer": answer.code}
            found[f"wrong, {answer.exercise}: {answer.name}"] = answers, (0, FULL - 0.01)
    for name in HOSTILE:
        code = attacks.ATTACKS[name][1].replace("double", EXERCISE).replace("{place}", str(place))
        answers = solutions | {f"{EXERCISE}_answer": code}
        found[f"hostile, {name}"] = answers, (0, FULL - points[EXERCISE])
    return found


def memory(root: int) -> int:
    """Bytes of a process and of all it has started, what they share counted once."""
    total = 0
    for process in [(first := psutil.Process(root)), *first.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def grade(place: Path, jobs: int, until: int | None, seen: list[int]) -> None:
    """One run of the command; killed as soon as `until` submissions are marked."""
    with (place / "log").open("a") as log:
        running = subprocess.Popen(
            command("grade", place, "--jobs", jobs), cwd=place, stdout=log, stderr=log,
            env=environment(place), start_new_session=True,
        )  # fmt: skip
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(2):
            try:
                seen.append(memory(running.pid))
            except psutil.NoSuchProcess:
                return

    threading.Thread(target=watch, daemon=True).start()
    while running.poll() is None:
        time.sleep(0.5)
        if until and len(list((place / "records" / NAME).glob("*.json"))) >= until:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            break
    stop.set()
    if running.returncode and not until:
        raise SystemExit((place / "log").read_text()[-3000:])


def main() -> None:
    """Measure, print, and write when asked."""
    parser = options(__doc__, runs=1)
    parser.add_argument("--submissions", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="class") as folder:
        os.chmod(folder, 0o755)
        place = Path(folder) / "class"
        kept = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.db", "*.csv")
        shutil.copytree(NOTEBOOKS / "assignments", place, ignore=kept)
        shutil.rmtree(place / "instructor" / "transfer")
        wanted, every = {}, kinds(place)
        # Every other one is right, one in ten hostile; the rest is wrong or not finished.
        hostile, wrong = (
            itertools.cycle([kind for kind in every if kind.startswith(word)])
            for word in ("hostile", ("wrong", "half", "nothing"))
        )
        for number in range(asked.submissions):
            kind = "full" if number % 2 else next(hostile) if number % 10 == 0 else next(wrong)
            student = f"{number:03} {kind}".replace("/", " ")
            wanted[student] = every[kind][1]
            filled = small_course.filled(place, every[kind][0], NAME)
            small_course.submit(place, student, filled, NAME)
        grading("release", place)

        start, before, after = time.perf_counter(), [], []
        grade(place, asked.jobs, asked.submissions // 2, before)
        grade(place, asked.jobs, None, after)
        seconds = time.perf_counter() - start
        report = pd.read_csv(place / f"report_{NAME}.csv", keep_default_na=False)
        scores = report.set_index("student")["points"]
        off = {
            student: scores.get(student)
            for student, (low, high) in wanted.items()
            if not low <= scores.get(student, -1) <= high
        }
        slowest = report.sort_values("seconds").tail(3)[["student", "seconds"]]
        print(slowest.to_string(), off, file=sys.stderr)
        thirds = [after[k * len(after) // 3 : (k + 1) * len(after) // 3] for k in range(3)]
        results = {
            "submissions": asked.submissions,
            "minutes": round(seconds / 60, 1),
            "wrong scores": len(off),
            "peak_memory_MB": max(before + after) >> 20,
            "median_memory_MB_by_third": [sorted(t)[len(t) // 2] >> 20 for t in thirds if t],
            "seconds of an honest one": float(
                report[report["student"].str.contains(" full")]["seconds"].median()
            ),
        }
        finish({"benchmark": "grading", "jobs": asked.jobs, "results": results}, asked.write)
        if off:
            raise SystemExit(f"wrong scores: {off}")


if __name__ == "__main__":
    main()
