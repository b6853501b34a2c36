"""nbgrader's own commands and formgrader's buttons: they run no student's code, change no score."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_course
from grader import HALF, HONEST, grade, report

from mtl_course.grading import gradebook
from mtl_course.grading.course import Course

pytestmark = pytest.mark.slow
REACHED = """import contextlib, pathlib

with contextlib.suppress(OSError):
    pathlib.Path({path!r}).touch()

"""


@pytest.fixture(scope="module")
def place(folder: Path, released: tuple[Path, str]) -> Path:
    """A class: honest ones, an empty one, one that leaves a trace where it runs, and a raw one."""
    place = shutil.copytree(released[0], folder / "buttons")
    mark = REACHED.format(path=str(place / "reached"))
    trace = HONEST | {"mean_answer": mark + HONEST["mean_answer"]}
    for student, answers in (("ann", HONEST), ("bob", HALF), ("empty", {}), ("trace", trace)):
        small_course.submit(place, student, small_course.filled(place, answers))
    grade(place)
    Course(place).feedback("small")
    raw = small_course.filled(place, trace)
    for cell in raw.cells:  # points of its own making
        if cell.metadata.nbgrader.grade and cell.cell_type == "code":
            cell.outputs = [small_course.points_of_its_own()]
    target = place / "marked" / "raw" / "small"
    target.mkdir(parents=True)
    (target / "small.ipynb").write_text(small_course.as_text(raw))
    return place


def scores(place: Path) -> dict[str, float]:
    """What the gradebook says, by student."""
    with gradebook.opened(place) as book:
        return {s.student_id: s.score for s in book.assignment_submissions("small")}


def nbgrader(place: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *words], cwd=place, text=True,
        capture_output=True, timeout=600,
    )  # fmt: skip
    return done.stdout + done.stderr


def unharmed(place: Path, before: dict[str, float]) -> None:
    after = scores(place)
    assert {student: after[student] for student in before} == before
    assert not after.get("raw"), "points of a notebook that nobody marked"
    assert not (place / "reached").exists(), "a student's code has run"
    for page in (place / "feedback").glob("*/small/small.html"):
        assert "Content-Security-Policy" in page.read_text(encoding="utf-8")


def test_its_commands_change_nothing(place: Path):
    before = scores(place)
    assert before == {"ann": 6, "bob": 4, "empty": 0, "trace": 6}
    said = nbgrader(place, "autograde", "small", "--force")
    assert "no notebook that the grader marked" in said, said
    unharmed(place, before)
    shutil.rmtree(place / "feedback")
    nbgrader(place, "generate_feedback", "small", "--force")
    assert (place / "feedback" / "ann" / "small" / "small.html").exists()
    unharmed(place, before)
    assert report(place)["points"].to_dict() == before


def test_validating_runs_nothing(place: Path):
    said = nbgrader(place, "validate", "marked/trace/small/small.ipynb")
    assert "these notebooks are students'" in said and "passes all the tests" not in said
    unharmed(place, scores(place))


def test_formgraders_buttons_change_nothing(place: Path, tmp_path: Path):
    """In a browser: Autograde and Generate feedback, pressed for a student and for all."""
    pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    import lab

    if lab.chromium() is None:
        pytest.skip("no Chromium: install it, for example with apt-get install chromium")
    before = scores(place)
    shutil.rmtree(place / "feedback")
    with lab.jupyterlab(tmp_path, place) as server, lab.browser() as browser:
        page = browser.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{server.url}formgrader/manage_submissions/small")
        for student in ("ann", "empty", "raw"):
            row = page.locator("tr", has=page.get_by_text(student, exact=True))
            row.locator(".autograde a").click()
            page.locator(".modal.in, .modal.show").wait_for(timeout=120_000)
            page.reload()
        page.goto(f"{server.url}formgrader/manage_assignments")
        row = page.locator("tr", has=page.get_by_text("small", exact=True))
        row.locator(".generate-feedback a").click()
        page.locator(".modal.in, .modal.show").wait_for(timeout=120_000)
    assert (place / "feedback" / "ann" / "small" / "small.html").exists()
    unharmed(place, before)
