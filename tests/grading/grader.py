"""Grading as the tests do it: by the command, as an ordinary user, or in this process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
import small_course
from nbformat import NotebookNode
from notebook_files import ROOT, read
from ordinary_user import USER, as_ordinary_user

from mtl_course.grading.course import Course

HONEST = {"double_answer": small_course.DOUBLE, "mean_answer": small_course.MEAN}
HALF = HONEST | {"mean_answer": "def mean(values):\n    return max(values)\n"}


def have_a_sandbox() -> None:
    """Skips where nothing can be graded safely."""
    if not sys.platform.startswith("linux") or not shutil.which("bwrap"):
        pytest.skip("grading needs Linux and bubblewrap: apt-get install bubblewrap")


def command(*arguments: object) -> list[str]:
    """The command for an ordinary user, who is given all that is in the class's folder."""
    if os.geteuid() == 0:
        place = Path(str(arguments[1]))
        for path in (place, *place.rglob("*")):
            os.lchown(path, USER, USER)
    return as_ordinary_user([sys.executable, "-m", "mtl_course", "grading", *map(str, arguments)])


def environment(place: Path) -> dict[str, str]:
    secret = {"MTL_SECRET": "of the grader"}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(place), **secret}


def grading(*arguments: object, status: int = 0, **variables: str) -> str:
    """Run `python -m mtl_course grading` as an ordinary user, and return what it prints."""
    place = Path(str(arguments[1]))
    done = subprocess.run(
        command(*arguments), cwd=place, env=environment(place) | variables, text=True,
        capture_output=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def grade(place: Path, **options: object) -> pd.DataFrame:
    """Grade in this process, which starts no Python but the sandboxes', and may be root's."""
    return Course(place).grade(small_course.NAME, jobs=0, root=True, progress=False, **options)


def report(place: Path, name: str = small_course.NAME) -> pd.DataFrame:
    """The grader's report, by student."""
    table = pd.read_csv(place / f"report_{name}.csv", keep_default_na=False)
    return table.set_index("student")


def record(place: Path, student: str, name: str = small_course.NAME) -> dict:
    return json.loads((place / "records" / name / f"{student}.json").read_text(encoding="utf-8"))


def marked(place: Path, student: str) -> NotebookNode:
    return read(place / "marked" / student / small_course.NAME / f"{small_course.NAME}.ipynb")


def processes(words: str) -> list[psutil.Process]:
    """What runs with these words in its command."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if words in " ".join(process.info["cmdline"] or [])]
