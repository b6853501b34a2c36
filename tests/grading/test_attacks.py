"""One class of everybody, honest and hostile: graded, with feedback and exports, by commands."""

from __future__ import annotations

import copy
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import attacks
import nbformat
import pandas as pd
import pytest
import small_course
from grader import HALF, HONEST, grading, marked, processes, record, report
from notebook_files import code_cells

from mtl_course.grading import intake

pytestmark = pytest.mark.slow

WRITTEN = """Since 2 = 1 + 1, and a<b. <script>window.reached = 1</script>

[one](javascript:window.reached=1) [two](java&#115;cript:window.reached=1) [three][x]
![four](https://example.org/four.png)

[x]: javascript:window.reached=1
"""

ODD_NAMES = (
    "José O'Neil",
    '"Robert"; DROP TABLE student; --',
    "李小龍",
    "a+b [1] {2} *?",
    " x ",
    "%41",
    "<img src=x onerror=alert(1)>",
    "=1+1",
)


@pytest.fixture(scope="module")
def graded(folder: Path, released: tuple[Path, str]) -> Iterator[Path]:
    """One class of everybody: graded, with feedback and exports, by four commands."""
    place, outside = shutil.copytree(released[0], folder / "everybody"), folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("a secret")
    outside.chmod(0o777)

    def hand_in(student: str, answers: dict[str, str]) -> None:
        small_course.submit(place, student, small_course.filled(place, answers))

    hand_in("full", HONEST | {"why": WRITTEN})
    hand_in("half", HALF)
    hand_in("nothing", {})
    hand_in(
        "raises", HONEST | {"mean_answer": "def mean(values):\n    return len(values) / None\n"}
    )
    busy = "import time\n\n\ndef double(x):\n    end = time.process_time() + 1\n"
    busy += "    while time.process_time() < end:\n        pass\n    return 2 * x\n"
    hand_in("attack: keeps every core busy, its neighbor", HONEST | {"double_answer": busy})
    for student in ODD_NAMES:
        hand_in(student, HALF)
    hand_in("n" * 250, HALF)
    hand_in(os.fsdecode(b"latin \xe9"), HALF)
    hand_in(os.fsdecode(b"latin \xe8"), HONEST)
    timed = small_course.submit(place, "in time", small_course.filled(place, HALF))
    (timed / "timestamp.txt").write_text("2026-11-25 17:00:00 UTC")
    late = small_course.submit(place, "at no time", small_course.filled(place, HALF))
    (late / "timestamp.txt").write_text("yesterday evening")
    many = small_course.filled(place, HALF)
    cell = nbformat.v4.new_code_cell("print('x' * 150_000)")
    many.cells[1:1] = [copy.deepcopy(cell) for _ in range(300)]
    small_course.submit(place, "many cells that say much", many)
    endless = small_course.filled(place, HALF)
    endless.cells += [copy.deepcopy(cell) for _ in range(1000)]
    small_course.submit(place, "too many cells", endless)
    for student, raw in GARBAGE.items():
        small_course.submit(place, student, raw)
    linked = small_course.submit(place, "links to the solution", b"") / "small.ipynb"
    linked.unlink()
    linked.symlink_to(place / "instructor" / "small" / "small.ipynb")
    (place / "submitted" / "hands in a folder" / "small" / "small.ipynb").mkdir(parents=True)
    (place / "submitted" / "hands in nothing" / "small").mkdir(parents=True)
    os.mkfifo(small_course.submit(place, "hands in a pipe", b"").parent / "small" / "pipe")
    pipe = place / "submitted" / "hands in a pipe" / "small"
    (pipe / "small.ipynb").unlink()
    (pipe / "pipe").rename(pipe / "small.ipynb")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name, (_, code) in attacks.ATTACKS.items():
            for token, value in (
                ("{place}", place), ("{outside}", outside), ("{port}", listening.getsockname()[1])
            ):  # fmt: skip
                code = code.replace(token, str(value))
            hand_in(f"attack: {name}", HONEST | {"double_answer": code})
        # An honest cell takes milliseconds, and what never ends must be waited for.
        grading("grade", place, "--jobs", 3, "--seconds", 3)  # more than there are cores
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
    grading("feedback", place)
    grading("export", place)
    yield place


GARBAGE = {
    "garbage: no JSON": b"{",
    "garbage: no text": b"\xff\xfe\x00\x01",
    "garbage: empty": b"",
    "garbage: a list": b"[]",
    "garbage: no cells": b'{"nbformat": 4}',
    "garbage: cells of text": b'{"cells": ["import os"]}',
    "garbage: nested": b"[" * 200_000,
    "garbage: too large": b" " * (intake.FILE_LIMIT + 1),
}


def test_honest_submissions_get_what_they_earned(graded: Path):
    points = report(graded)["points"]
    assert points[["full", "half", "nothing"]].tolist() == [6, 4, 0]
    assert set(report(graded)["of"]) == {6, 0}


def test_a_busy_machine_takes_no_points(graded: Path):
    """Each answer takes one second of computing of three, beside 55 others that compute."""
    assert report(graded)["points"]["attack: keeps every core busy, its neighbor"] == 6


def test_an_error_is_told_with_the_students_line(graded: Path):
    (part,) = record(graded, "raises")["exercises"]["mean"]["parts"]
    assert part["said"].startswith("TypeError: ") and part["said"].endswith("in line 2 of its cell")


@pytest.mark.parametrize("student", ODD_NAMES)
def test_names_come_back_as_they_were(graded: Path, student: str):
    assert report(graded)["points"][student] == 4
    for file, column in (("grades", "student"), ("canvas", "SIS User ID"), ("moodle", "ID number")):
        table = pd.read_csv(graded / f"{file}.csv", keep_default_na=False, dtype=str)
        shown = f"'{student}" if student.startswith("=") else student  # a spreadsheet computes it
        assert table.set_index(column)["small"][shown] == "4.0"


def test_no_name_is_html_on_formgraders_pages(graded: Path):
    for part in ("marked", "autograded", "feedback"):
        assert not [path for path in (graded / part).iterdir() if set(path.name) & set("<>&\"'")]


def test_names_that_are_not_utf8_stay_apart(graded: Path):
    points = report(graded)["points"]
    assert (points["latin \\xe9"], points["latin \\xe8"]) == (4, 6)


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_attacks_earn_what_their_honest_part_earned(graded: Path, name: str):
    wanted, _ = attacks.ATTACKS[name]
    found = record(graded, intake.student_id(f"attack: {name}"))
    assert found["exercises"]["mean"]["score"] == 2, found["exercises"]["mean"]["parts"]
    assert found["exercises"]["double"]["score"] == wanted - 2, found["exercises"]["double"]
    assert report(graded)["points"][f"attack: {name}"] == wanted


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_attacks_get_nowhere(graded: Path, name: str):
    notebook = marked(graded, intake.student_id(f"attack: {name}"))
    said = [out.get("text", "") for cell in code_cells(notebook) for out in cell.outputs]
    assert not [text for text in said if re.search("^REACHED", text, flags=re.MULTILINE)]
    assert sum(map(len, said)) < 1_000_000


def test_nothing_is_left_of_attacks(graded: Path):
    assert sorted(p.name for p in (graded.parent / "outside").iterdir()) == ["secret"]
    assert not list(graded.glob("**/reached.txt"))
    assert not processes("sleep 543.21")


@pytest.mark.parametrize(
    "student", [*GARBAGE, "links to the solution", "hands in a folder", "hands in nothing",
                "hands in a pipe", "too many cells"],
)  # fmt: skip
def test_garbage_is_quarantined_and_says_why(graded: Path, student: str):
    assert report(graded)["quarantined"][student]
    grades = pd.read_csv(graded / "grades.csv", keep_default_na=False).set_index("student")
    assert grades["small"][student] == "", "no grade, which is not a grade of 0"
    assert not (graded / "feedback" / intake.student_id(student)).exists()


def test_what_cannot_be_kept_costs_nobody_else(graded: Path):
    assert "no record" in report(graded)["quarantined"]["n" * 250]
    assert report(graded)["points"][["in time", "at no time"]].tolist() == [4, 4]
    assert record(graded, "in time")["handed in"] == "2026-11-25 17:00:00 UTC"
    assert "yesterday evening" in report(graded)["notes"]["at no time"]


def test_many_cells_say_no_more_than_one(graded: Path):
    said = marked(graded, "many cells that say much")
    assert sum(len(out.get("text", "")) for c in code_cells(said) for out in c.outputs) < 3_000_000
    assert report(graded)["points"]["many cells that say much"] == 4


def test_what_was_stopped_is_in_the_report(graded: Path):
    assert "double_answer was stopped after 3" in report(graded)["notes"]["attack: runs for ever"]


def test_a_record_says_what_the_score_depends_on(graded: Path):
    about = record(graded, "full")["against"]
    assert about["seed"] == int((graded / "seed.txt").read_text())
    assert about["limits"]["seconds"] == 3
    assert {"python", "torch", "mtl_course", "bubblewrap"} <= set(about["versions"])
    parts = record(graded, "half")["exercises"]["mean"]["parts"]
    assert [part["passed"] for part in parts] == [False]
    assert "2 numbers" in parts[0]["said"] and "off by" not in parts[0]["said"]


def test_feedback_tells_what_failed_and_never_the_reference(graded: Path):
    text = (graded / "feedback" / "half" / "small" / "small.html").read_text(encoding="utf-8")
    assert "The mean of some numbers is theirs." in text
    assert "entries are wrong" in text
    pages = list((graded / "feedback").glob("*/small/small.html"))
    assert len(pages) == 10 + len(ODD_NAMES) + len(attacks.ATTACKS)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for hidden in ("values.mean()", "student.call", "draw.normal", "of_whole_numbers"):
            assert hidden not in text


def test_exports_mark_what_is_to_be_marked_by_hand(graded: Path):
    grades = pd.read_csv(graded / "grades.csv", keep_default_na=False).set_index("student")
    assert grades.index.is_unique
    assert grades["to mark by hand"]["full"] == "yes"
    assert grades["to mark by hand"]["nothing"] == "", "an answer that is not there needs no mark"


def test_feedback_pages_run_nothing(graded: Path):
    """In a real browser: what students wrote is text."""
    pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    import lab

    if lab.chromium() is None:
        pytest.skip("no Chromium: install it, for example with apt-get install chromium")
    with lab.browser() as browser:
        page = browser.new_page()
        asked, refused = set(), set()
        page.on("request", lambda request: asked.add(request.url))
        page.on(
            "requestfailed",
            lambda request: refused.add(request.url) if "csp" in request.failure else None,
        )
        for student in ("full", "attack: shows pages that do things"):
            page.goto((graded / "feedback" / student / "small" / "small.html").as_uri())
            page.wait_for_timeout(300)
            assert not page.locator("a[href*=script], a[href*=reached], img[src*=example]").count()
            assert page.evaluate("window.reached") is None
            assert "window.reached" in page.inner_text("body")
    assert not [url for url in asked - refused if not url.startswith(("file:", "data:"))]
