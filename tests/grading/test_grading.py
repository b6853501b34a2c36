"""The two real assignments: solutions, mutants and odd answers, graded by the command."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import small_course
from grader import grading, record, report
from notebook_files import NOTEBOOKS, ROOT, read
from submissions import MUTANTS, ODD

from mtl_course.grading.course import Course

pytestmark = pytest.mark.slow
ASSIGNMENTS = NOTEBOOKS / "assignments"


@pytest.fixture(scope="module")
def real(folder: Path) -> Path:
    """The course's own assignments: solutions, mutants and odd answers handed in, and graded."""
    place = folder / "real"
    kept = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "student", "*.db", "*.csv")
    shutil.copytree(ASSIGNMENTS, place, ignore=kept)
    for name in NAMES:
        Course(place).release(name)
    for name in NAMES:
        solutions = {
            cell.metadata.nbgrader.grade_id: cell.source
            for cell in read(place / "instructor" / name / f"{name}.ipynb").cells
            if cell.metadata.get("nbgrader", {}).get("solution")
        }
        classes = {"solutions": solutions}
        for kind, answers in (("mutants", MUTANTS), ("odd", ODD)):
            for answer in answers:  # of each exercise the first, which stands on no other answer
                if answer.assignment == name:
                    classes.setdefault(kind, dict(solutions)).setdefault("used", set())
                    if answer.exercise not in classes[kind]["used"]:
                        classes[kind]["used"].add(answer.exercise)
                        classes[kind][f"{answer.exercise}_answer"] = answer.code
        for student, answers in classes.items():
            answers.pop("used", None)
            filled = small_course.filled(place, answers, name)
            small_course.submit(place, student, filled, name)
        small_course.submit(place, "nothing", small_course.filled(place, {}, name), name)
    grading("grade", place, "--jobs", 2)
    return place


NAMES = ("transfer", "multi_task")


@pytest.mark.parametrize("name", NAMES)
def test_solutions_and_odd_answers_get_all_points(real: Path, name: str):
    points = report(real, name)["points"]
    said = {
        (exercise, part["about"]): part["said"]
        for student in ("solutions", "odd")
        for exercise, found in record(real, student, name)["exercises"].items()
        for part in found["parts"]
        if part["said"]
    }
    assert points[["solutions", "odd"]].tolist() == [34, 34], said
    assert not any(report(real, name)["notes"])


@pytest.mark.parametrize("name", NAMES)
def test_mutants_lose_points_in_the_sandbox_too(real: Path, name: str):
    found = record(real, "mutants", name)["exercises"]
    mutated = {answer.exercise for answer in MUTANTS if answer.assignment == name}
    assert not [e for e in mutated if found[e]["score"] == found[e]["points"]]
    assert report(real, name)["points"]["nothing"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_grading_is_quick(real: Path, name: str):
    assert report(real, name)["seconds"]["solutions"] < 60


@pytest.mark.parametrize("name", NAMES)
def test_the_student_version_is_the_one_that_releasing_makes(real: Path, name: str):
    """Without solutions and hidden checks, and nothing that leads to them."""
    made, kept = (read(place / "student" / name / f"{name}.ipynb") for place in (real, ASSIGNMENTS))
    assert [cell.source for cell in made.cells] == [cell.source for cell in kept.cells]
    assert [c.metadata.get("nbgrader") for c in made.cells] == [
        c.metadata.get("nbgrader") for c in kept.cells
    ]
    text = json.dumps(kept, ensure_ascii=False)
    for word in ("SOLUTION", "Rubric", "Sample answer", "instructor/", "_checks"):
        assert word not in text


def test_the_package_holds_nothing_of_the_instructors():
    """Neither does the archive that `git archive` makes of the repository."""
    parts = [
        line.split("(")[0].removeprefix("def ")
        for name in NAMES
        for line in (ASSIGNMENTS / "instructor" / f"{name}_checks.py").read_text().splitlines()
        if line.startswith("def ") and "student" in line and not line.startswith("def _")
    ]
    assert len(parts) > 40
    for path in (ROOT / "mtl_course").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [part for part in parts if f"def {part}" in text]
    if not shutil.which("git"):
        pytest.skip("git is not on the PATH: install it to see what an archive leaves out.")
    for path in ("notebooks/assignments/instructor", "tests/grading/submissions.py"):
        ask = ["git", "check-attr", "export-ignore", path]
        said = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True)
        assert said.returncode or said.stdout.endswith(": set\n")  # or this is no clone
