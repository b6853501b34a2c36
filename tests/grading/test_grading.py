"""Grading a class: from release to export, by the commands as documented, as an ordinary user."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attacks
import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import small_course
from nbformat import NotebookNode
from notebook_files import NOTEBOOKS, ROOT, code_cells, read
from ordinary_user import USER, as_ordinary_user
from submissions import MUTANTS, ODD

from mtl_course.__main__ import main
from mtl_course.grading import gradebook, intake, marking, sandbox, wire
from mtl_course.grading.checks import Wrong, same
from mtl_course.grading.course import Course, student_id

ASSIGNMENTS = NOTEBOOKS / "assignments"
HONEST = {"double_answer": small_course.DOUBLE, "mean_answer": small_course.MEAN}
WRITTEN = """Since 2 = 1 + 1, and a<b. <script>window.reached = 1</script>

[one](javascript:window.reached=1) [two](java&#115;cript:window.reached=1) [three][x]
![four](https://example.org/four.png)

[x]: javascript:window.reached=1
"""
LIVELY = """%matplotlib inline
%autosave 60
import asyncio, logging, sys, warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from tqdm.auto import tqdm


@dataclass
class Pair:
    one: int


def first(pair):
    return pair.one


await asyncio.sleep(0.01)
!echo from a shell
with ProcessPoolExecutor(2) as pool:
    print("from processes:", list(pool.map(first, [Pair(3), Pair(4)])))
batches = torch.utils.data.DataLoader(torch.arange(6), batch_size=2, num_workers=2)
print("from workers:", [int(batch.sum()) for batch in tqdm(batches)])
warnings.warn("a warning")
logging.warning("a line of a log")
print("on the other stream, 文", file=sys.stderr)
plt.plot([1, 2])
plt.show()
display(Pair(5))
Pair(6)
"""
WRONG_MEAN = "def mean(values):\n    return max(values)\n"

# ------------------------------------------------------------------------- a class and its grader


def have_a_sandbox() -> None:
    """Skips where nothing can be graded safely."""
    if not sys.platform.startswith("linux") or not shutil.which("bwrap"):
        pytest.skip("grading needs Linux and bubblewrap: apt-get install bubblewrap")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that an ordinary user may use; pytest's own are root's alone."""
    have_a_sandbox()
    with tempfile.TemporaryDirectory(prefix="class") as place:
        os.chmod(place, 0o755)
        yield Path(place)


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
    return Course(place).grade(small_course.NAME, jobs=1, root=True, progress=False, **options)


@pytest.fixture(scope="module")
def released(folder: Path) -> tuple[Path, str]:
    """A class whose small assignment was released, and what the command printed in ASCII."""
    place = small_course.make(folder / "Kurs 文")
    return place, grading("release", place, PYTHONIOENCODING="ascii")


@pytest.fixture
def new_class(folder: Path, released: tuple[Path, str]) -> Callable[[str], Path]:
    """Make a class with the small assignment, released."""
    return lambda name: shutil.copytree(released[0], folder / name)


def report(place: Path, name: str = small_course.NAME) -> pd.DataFrame:
    """The grader's report, by student."""
    table = pd.read_csv(place / f"report_{name}.csv", keep_default_na=False)
    return table.set_index("student")


def record(place: Path, student: str, name: str = small_course.NAME) -> dict:
    return json.loads((place / "records" / name / f"{student}.json").read_text(encoding="utf-8"))


def marked(place: Path, student: str) -> NotebookNode:
    return read(place / "marked" / student / small_course.NAME / f"{small_course.NAME}.ipynb")


# ------------------------------------------------------------------ honest ones, garbage, attacks

ODD_NAMES = (
    "José O'Neil",
    '"Robert"; DROP TABLE student; --',
    "李小龍",
    "a+b [1] {2} *?",
    " x ",
    "%41",
)
HALF = HONEST | {"mean_answer": WRONG_MEAN}


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
    for student in ODD_NAMES:
        hand_in(student, HALF)
    hand_in("n" * 250, HALF)
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
        grading("grade", place, "--jobs", 3, "--seconds", 3)
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


def test_what_a_notebook_can_do_it_can_do_in_the_sandbox(new_class: Callable[[str], Path]):
    place = new_class("lively")
    lively = small_course.filled(place, HONEST)
    picture = "from PIL import Image\n\nImage.new('RGB', (2, 2))"
    lively.cells[1:1] = [nbformat.v4.new_code_cell(text) for text in (LIVELY, picture)]
    small_course.submit(place, "lively", lively)
    grading("grade", place, "--seconds", 120)
    assert report(place)["points"]["lively"] == 6 and not report(place)["notes"]["lively"]
    outputs = code_cells(marked(place, "lively"))[1].outputs
    said = "".join(output.get("text", "") for output in outputs)
    for wanted in (
        "from a shell", "from processes: [3, 4]", "from workers: [1, 5, 9]", "a warning",
        "a line of a log", "on the other stream, 文", "Pair(one=5)", "Pair(one=6)",
    ):  # fmt: skip
        assert wanted in said
    (value,) = code_cells(marked(place, "lively"))[2].outputs
    assert [one for one in outputs if "image/png" in one.get("data", {})] and value.data[
        "image/png"
    ]


def test_an_error_is_told_with_the_students_line(graded: Path):
    (part,) = record(graded, "raises")["exercises"]["mean"]["parts"]
    assert part["said"].startswith("TypeError: ") and part["said"].endswith("in line 2 of its cell")


@pytest.mark.parametrize("student", ODD_NAMES)
def test_names_come_back_as_they_were(graded: Path, student: str):
    assert report(graded)["points"][student] == 4
    for file, column in (("grades", "student"), ("canvas", "SIS User ID"), ("moodle", "ID number")):
        table = pd.read_csv(graded / f"{file}.csv", keep_default_na=False, dtype=str)
        assert table.set_index(column)["small"][student] == "4.0"


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_attacks_earn_what_their_honest_part_earned(graded: Path, name: str):
    wanted, _ = attacks.ATTACKS[name]
    found = record(graded, student_id(f"attack: {name}"))
    assert found["exercises"]["mean"]["score"] == 2, found["exercises"]["mean"]["parts"]
    assert found["exercises"]["double"]["score"] == wanted - 2, found["exercises"]["double"]
    assert report(graded)["points"][f"attack: {name}"] == wanted


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_attacks_get_nowhere(graded: Path, name: str):
    notebook = marked(graded, student_id(f"attack: {name}"))
    said = [out.get("text", "") for cell in code_cells(notebook) for out in cell.outputs]
    assert not [text for text in said if re.search("^REACHED", text, flags=re.MULTILINE)]
    assert sum(map(len, said)) < 1_000_000


def test_nothing_is_left_of_attacks(graded: Path):
    assert sorted(p.name for p in (graded.parent / "outside").iterdir()) == ["secret"]
    assert not list(graded.glob("**/reached.txt"))
    assert not _processes("sleep 543.21")


@pytest.mark.parametrize(
    "student", [*GARBAGE, "links to the solution", "hands in a folder", "hands in nothing",
                "hands in a pipe", "too many cells"],
)  # fmt: skip
def test_garbage_is_quarantined_and_says_why(graded: Path, student: str):
    assert report(graded)["quarantined"][student]
    grades = pd.read_csv(graded / "grades.csv", keep_default_na=False).set_index("student")
    assert grades["small"][student] == "", "no grade, which is not a grade of 0"
    assert not (graded / "feedback" / student_id(student)).exists()


def test_what_cannot_be_kept_costs_nobody_else(graded: Path):
    assert "no record" in report(graded)["quarantined"]["n" * 250]
    assert report(graded)["points"][["in time", "at no time"]].tolist() == [4, 4]
    assert record(graded, "in time")["handed in"] == "2026-11-25 17:00:00 UTC"


def test_many_cells_say_no_more_than_one(graded: Path):
    said = marked(graded, "many cells that say much")
    assert sum(len(out.get("text", "")) for c in code_cells(said) for out in c.outputs) < 3_000_000
    assert report(graded)["points"]["many cells that say much"] == 4


def test_many_slow_cells_take_no_more_than_a_notebooks_time(new_class: Callable[[str], Path]):
    place = new_class("slow")
    slow = small_course.filled(place, HALF)
    cell = nbformat.v4.new_code_cell("import time\ntime.sleep(0.5)")
    slow.cells[1:1] = [copy.deepcopy(cell) for _ in range(300)]
    small_course.submit(place, "slow", slow)
    graded = grade(place, limits=sandbox.Limits(total_seconds=2)).iloc[0]
    assert graded["seconds"] < 60
    assert "no time is left" in graded["notes"]
    assert graded["points"] == 0


def test_what_was_stopped_is_in_the_report(graded: Path):
    assert "double_answer was stopped after 3" in report(graded)["notes"]["attack: runs for ever"]


def test_a_record_says_what_the_score_depends_on(graded: Path):
    about = record(graded, "full")["against"]
    assert about["seed"] == int((graded / "seed.txt").read_text())
    assert about["limits"]["seconds"] == 3
    assert {"python", "torch", "mtl_course", "bubblewrap"} <= set(about["versions"])
    parts = record(graded, "half")["exercises"]["mean"]["parts"]
    assert [part["passed"] for part in parts] == [False]
    assert "2 numbers" in parts[0]["said"] and "off by" in parts[0]["said"]


def test_feedback_tells_what_failed_and_never_the_reference(graded: Path):
    text = (graded / "feedback" / "half" / "small" / "small.html").read_text(encoding="utf-8")
    assert "The mean of some numbers is theirs." in text
    assert "off by" in text
    pages = list((graded / "feedback").glob("*/small/small.html"))
    assert len(pages) == 7 + len(ODD_NAMES) + len(attacks.ATTACKS)
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


# ---------------------------------------------------------------------------- once more, and again


@pytest.fixture(scope="module")
def three(folder: Path, released: tuple[Path, str]) -> Path:
    """A class of three, graded once."""
    place = shutil.copytree(released[0], folder / "three")
    for student, answers in (("ann", HONEST), ("bob", HALF), ("cid", {})):
        small_course.submit(place, student, small_course.filled(place, answers))
    grade(place)
    return place


def test_twice_is_the_same_score(three: Path):
    before = {student: record(three, student)["exercises"] for student in ("ann", "bob", "cid")}
    grade(three, again=True)
    assert before == {student: record(three, student)["exercises"] for student in before}


def test_only_what_is_new_is_graded(three: Path):
    times = {path: path.stat().st_mtime_ns for path in (three / "records").glob("*/*.json")}
    small_course.submit(three, "dan", small_course.filled(three, HONEST))
    grade(three)
    assert report(three)["points"].to_dict() == {"ann": 6, "bob": 4, "cid": 0, "dan": 6}
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_new_submission_replaces_the_old_score_and_garbage_removes_it(
    new_class: Callable[[str], Path], capsys: pytest.CaptureFixture
):
    place = new_class("changing")
    for student in ("ann", "bob"):
        small_course.submit(place, student, small_course.filled(place, HONEST))
    grade(place)
    assert Course(place).feedback("small")[1].is_file()
    for student, raw in (("ann", small_course.filled(place, HALF)), ("bob", b"garbage")):
        shutil.rmtree(place / "submitted" / student)
        small_course.submit(place, student, raw)
    main(["grading", "grade", str(place), "--jobs", "1", "--root"])
    said = capsys.readouterr().out
    assert "bob" in said and "no notebook" in said
    main(["grading", "export", str(place)])
    assert capsys.readouterr().out.split("\n")[0] == str(place / "grades.csv")
    grades = pd.read_csv(place / "grades.csv", keep_default_na=False, dtype=str)
    assert grades.set_index("student")["small"].to_dict() == {"ann": "4.0", "bob": ""}
    assert not (place / "feedback" / "bob" / "small").exists()


def test_a_mark_by_hand_outlives_another_grading(three: Path):
    answers = HONEST | {"why": "Twice is once and once more."}
    small_course.submit(three, "eve", small_course.filled(three, answers))
    grade(three)
    with gradebook.opened(three) as book:
        mark = book.find_grade("why", "small", "small", "eve")
        mark.manual_score = 2.5
        mark.needs_manual_grade = False
        book.db.commit()
    grade(three, again=True)
    Course(three).export()
    grades = pd.read_csv(three / "grades.csv", keep_default_na=False).set_index("student")
    assert float(grades["small"]["eve"]) == 8.5


def test_a_grader_that_fails_takes_nobodys_points(three: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise sandbox.Refused("the machine is too slow")

    with monkeypatch.context() as patch:
        patch.setattr(marking, "Kernel", refuse)
        grade(three, again=True)
    assert "too slow" in record(three, "ann")["failed"]
    assert "too slow" in report(three)["quarantined"]["ann"]
    with gradebook.opened(three) as book:
        assert book.find_submission("small", "ann").score == 6
    grade(three)
    assert "failed" not in record(three, "ann")
    assert report(three)["points"]["ann"] == 6


def test_a_new_time_is_taken_and_a_roster_goes_with_odd_names(three: Path):
    with gradebook.opened(three) as book:
        book.update_or_create_student("d+e", first_name="Dee", lms_user_id="7")
    small_course.submit(three, "d+e", small_course.filled(three, HALF))
    (three / "submitted" / "bob" / "small" / "timestamp.txt").write_text("2026-11-25 17:00 UTC")
    grade(three)
    Course(three).export()
    assert record(three, "bob")["handed in"] == "2026-11-25 17:00 UTC"
    with gradebook.opened(three) as book:
        assert book.find_submission("small", "bob").timestamp.hour == 17
    canvas = pd.read_csv(three / "canvas.csv", dtype=str).set_index("SIS User ID").loc["d+e"]
    assert canvas[["Student", "ID", "small"]].tolist() == ["Dee", "7", "4.0"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_a_grader_that_was_stopped_resumes(new_class: Callable[[str], Path], how: signal.Signals):
    place = new_class(f"stopped by {how.name}")
    slow = "import time\n\ntime.sleep(0.5)\n\n\n" + small_course.DOUBLE
    for number in range(5):
        answers = HONEST | {"double_answer": slow}
        small_course.submit(place, f"s{number}", small_course.filled(place, answers))
    running = subprocess.Popen(
        ["env", "--default-signal=INT", *command("grade", place, "--jobs", 2)],  # or it may be deaf
        cwd=place, env=environment(place), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    records, end = place / "records" / "small", time.monotonic() + 60
    while not list(records.glob("s*.json")) and time.monotonic() < end:
        time.sleep(0.05)
    grader = max(_processes(f"grade {place}"), key=lambda process: process.pid)
    family = [grader, *grader.children(recursive=True)]
    if how is signal.SIGINT:  # as the terminal does: to all of them
        os.killpg(running.pid, how)
    else:
        grader.kill()
    said = running.communicate(timeout=60)[0]
    if how is signal.SIGINT:
        assert running.returncode in (130, -how), said  # -how: what changes the user stops too
        assert "Run the same command again to resume" in said and "Traceback" not in said
    assert not psutil.wait_procs(family, timeout=60)[1], "something of the grader still runs"
    done = {path.stem: _marks(place, path.stem) for path in records.glob("s*.json")}
    assert 0 < len(done) < 5

    grade(place)
    assert report(place)["points"].tolist() == [6] * 5
    assert done == {name: _marks(place, name) for name in done}, "marked anew"


def _processes(words: str) -> list[psutil.Process]:
    """What runs with these words in its command."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if words in " ".join(process.info["cmdline"] or [])]


def _marks(place: Path, student: str) -> dict:
    """A record, whether or not it is in the gradebook already."""
    return {key: value for key, value in record(place, student).items() if key != "entered"}


# ------------------------------------------------------------------------------------ fail closed


def test_root_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(sandbox.Refused, match="do not grade as root: use an ordinary user"):
        sandbox.check_ready()


@pytest.mark.parametrize("broken", ["missing", "refusing"])
def test_without_a_sandbox_nothing_is_run(
    new_class: Callable[[str], Path], broken: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    place = new_class(f"no sandbox, {broken}")
    small_course.submit(place, "ann", small_course.filled(place, HONEST))
    tools = place / "bin"
    tools.mkdir()
    for name in ("prlimit", "sh"):
        (tools / name).symlink_to(shutil.which(name))
    if broken == "refusing":
        (tools / "bwrap").write_text(
            "#!/bin/sh\necho No permissions to make a namespace >&2\nexit 1\n"
        )
        (tools / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(SystemExit) as end:
        main(["grading", "grade", str(place), "--root"])
    wanted = "apt-get install bubblewrap" if broken == "missing" else "No permissions to make a"
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith("python -m mtl_course grading: error: ") and wanted in said
    assert not (place / "records").exists() and not (place / "marked").exists()


def test_a_class_that_the_sandbox_would_see_is_refused():
    assert not sandbox.hides(ROOT / "mtl_course" / "class")
    assert not sandbox.hides(Path("/usr/share/class"))
    assert not sandbox.hides(Path(sys.prefix) / "class")
    assert sandbox.hides(ASSIGNMENTS)
    assert sandbox.hides(Path(tempfile.gettempdir()) / "class")


def test_what_a_terminal_cannot_show_stops_nothing(released: tuple[Path, str]):
    assert "Kurs ?" in released[1]


def error(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """What the command prints when it ends with an error: one line."""
    with pytest.raises(SystemExit) as end:
        main(["grading", *map(str, arguments)])
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith("python -m mtl_course grading: error: ")
    return line


def test_mistakes_are_found_early(folder: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(ValueError, match="instructor/NAME/NAME"):
        Course(folder / "nothing here")
    assert "instructor/NAME/NAME" in error(capsys, "release", folder / "nothing here")
    place = small_course.make(folder / "not released")
    assert "release it first" in error(capsys, "grade", place, "--root")
    assert "'large'" in error(capsys, "grade", place, "large", "--root")
    assert "'large'" in error(capsys, "release", place, "large")
    (place / "instructor" / "small_checks.py").unlink()
    Course(place).release("small")
    assert "write its checks" in error(capsys, "grade", place, "--root")


def test_without_nbgrader_the_command_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.delitem(sys.modules, "mtl_course.grading.course")
    monkeypatch.setitem(sys.modules, "nbgrader.api", None)
    line = error(capsys, "release", tmp_path)
    assert "nbgrader" in line and 'pip install -e ".[grading]"' in line


def test_checks_of_other_exercises_are_named(
    new_class: Callable[[str], Path], capsys: pytest.CaptureFixture
):
    place = new_class("other exercises")
    checks = place / "instructor" / "small_checks.py"
    checks.write_text(checks.read_text().replace('"mean":', '"median":'))
    small_course.submit(place, "ann", small_course.filled(place, HONEST))
    assert "mean, median" in error(capsys, "grade", place, "--root")


def test_a_check_that_stumbles_gives_no_point_and_tells_the_assistant(
    new_class: Callable[[str], Path],
):
    place = new_class("stumbles")
    checks = place / "instructor" / "small_checks.py"
    checks.write_text(checks.read_text().replace("values.mean(),", "values.median(),"))
    small_course.submit(place, "ann", small_course.filled(place, HONEST))
    graded = grade(place).iloc[0]
    assert "AttributeError" in graded["notes"]
    assert graded["points"] == 4


# ----------------------------------------------------------------------- the two real assignments


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
            for answer in answers:  # one of each exercise: the first
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
    for path in ("notebooks/assignments/instructor", "tests/grading/submissions.py"):
        ask = ["git", "check-attr", "export-ignore", path]
        said = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True)
        assert said.returncode or said.stdout.endswith(": set\n")  # or this is no clone


# ----------------------------------------------------------------------------- intake, without one


def cells_of(place: Path, answers: dict[str, str]) -> list[dict]:
    return json.loads(json.dumps(small_course.filled(place, answers)))["cells"]


@pytest.fixture(scope="module")
def blank(released: tuple[Path, str]) -> NotebookNode:
    """The released notebook."""
    return read(released[0] / "student" / "small" / "small.ipynb")


def named(cells: list[dict], name: str) -> dict:
    return next(c for c in cells if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def _delete(cells: list[dict]) -> None:
    cells.remove(named(cells, "double"))


def _strip(cells: list[dict]) -> None:
    named(cells, "double")["metadata"] = {}


def _edit(cells: list[dict]) -> None:
    named(cells, "double")["source"] = "pass"
    named(cells, "double")["metadata"]["nbgrader"]["points"] = 1000


def _repoint(cells: list[dict]) -> None:
    named(cells, "double")["metadata"]["nbgrader"]["grade_id"] = "mean"


def _unlock(cells: list[dict]) -> None:
    named(cells, "setup")["source"] = "import os as np"
    named(cells, "setup")["metadata"]["nbgrader"]["locked"] = False


def _duplicate(cells: list[dict]) -> None:
    cells.append(dict(named(cells, "double")))


def _turn(cells: list[dict]) -> None:
    cells.reverse()


def _say_it_is_markdown(cells: list[dict]) -> None:
    named(cells, "double")["cell_type"] = "markdown"


def _odd_types(cells: list[dict]) -> None:
    named(cells, "double").update(source=7, metadata=[], outputs="x", execution_count="many")
    cells += [{}, {"cell_type": "code"}, {"cell_type": "code", "source": {"a": 1}}]


@pytest.mark.parametrize(
    "change", [_delete, _strip, _edit, _repoint, _unlock, _duplicate, _turn, _say_it_is_markdown,
               _odd_types],
)  # fmt: skip
def test_only_answers_are_taken(released: tuple[Path, str], blank: NotebookNode, change):
    """Whatever is done to the other cells: they stand as released, with the answers in place."""
    cells = cells_of(released[0], HONEST)
    change(cells)
    made, notes = intake.rebuild(blank, cells)
    kept = [cell for cell in made.cells if cell.metadata.get("nbgrader")]
    for cell, mine in zip(kept, blank.cells, strict=True):
        assert cell.metadata == mine.metadata and cell.cell_type == mine.cell_type
        name = cell.metadata.nbgrader.grade_id
        assert cell.source == HONEST.get(name, mine.source)
    if change in (_edit, _unlock):
        assert any("was edited" in note for note in notes)


def test_swapped_names_swap_the_answers(released: tuple[Path, str], blank: NotebookNode):
    cells = cells_of(released[0], HONEST)
    double, mean = (
        named(cells, f"{name}_answer")["metadata"]["nbgrader"] for name in ("double", "mean")
    )
    double["grade_id"], mean["grade_id"] = mean["grade_id"], double["grade_id"]
    made, _ = intake.rebuild(blank, cells)
    assert named(made.cells, "double_answer").source == small_course.MEAN


def test_of_copies_all_that_are_answers_stand_there_in_order(
    released: tuple[Path, str], blank: NotebookNode
):
    for first, second, wanted in (
        (HONEST, {}, [small_course.DOUBLE]),
        ({}, HONEST, [small_course.DOUBLE]),
        (
            {"double_answer": "two = 2"},
            HONEST,
            ["two = 2", small_course.DOUBLE],
        ),  # one that was split
    ):
        cells = cells_of(released[0], first)
        cells.append(named(cells_of(released[0], second), "double_answer"))
        made, notes = intake.rebuild(blank, cells)
        texts = [cell.source for cell in made.cells]
        assert texts[1 : 1 + len(wanted)] == wanted
        assert len(texts) == len(blank.cells) + len(wanted) - 1
        assert "double_answer is there more than once" in notes


def test_an_answer_in_a_cell_without_a_name_is_not_undone(
    released: tuple[Path, str], blank: NotebookNode
):
    cells = cells_of(released[0], HONEST)
    named(cells, "double_answer")["metadata"] = {}
    made, notes = intake.rebuild(blank, cells)
    texts = [cell.source for cell in made.cells if cell.cell_type == "code"]
    assert texts[:3] == ["import numpy as np", small_course.DOUBLE, ""]
    assert "double_answer is missing" in notes


def test_a_students_own_cells_stay_where_they_were(released: tuple[Path, str], blank: NotebookNode):
    cells = cells_of(released[0], HONEST)
    cells.insert(
        1, {"cell_type": "code", "source": ["def helper():\n", "    return 2"], "metadata": {}}
    )
    made, _ = intake.rebuild(blank, cells)
    assert [cell.source for cell in made.cells][1] == "def helper():\n    return 2"
    assert made.cells[0].metadata.nbgrader.grade_id == "setup"


# ------------------------------------------------------------------------- what crosses, and `same`

VALUES = [
    None, True, 7, -0.5, "text, 文", [1, [2.0, "a"]], {"a": {"b": []}}, np.float32(2), np.int64(3),
    np.arange(6).reshape(2, 3), np.zeros((0, 4), np.float32), np.array(True),
    np.array([np.nan, np.inf]),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_cross_unchanged(value):
    got = wire.unpack(wire.pack(value))
    np.testing.assert_equal(got, value)
    if isinstance(value, np.ndarray):
        assert got.dtype == value.dtype and got.flags.writeable


def test_columns_and_arrays_of_text_cross_as_lists():
    for value in (pd.Series(["a", "b"]), np.array(["a", "b"])):
        assert wire.unpack(wire.pack(value)) == ["a", "b"]
    assert wire.unpack(wire.pack(np.str_("a"))) == "a"


@pytest.mark.parametrize("value", [print, {(1,): 2}, {2}, np.array([None]), 1j, b"bytes"], ids=repr)
def test_other_things_do_not_cross(value):
    with pytest.raises(wire.Malformed):
        wire.pack(value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000, "9" * 5000, "{", '{"kind of thing": "array"}',
        *(
            json.dumps({"kind of thing": "array", "dtype": dtype, "shape": shape, "data": data})
            for dtype, shape, data in [
                ("object", [1], "AAAAAAAA8D8="), ("complex64", [1], "AAAAAAAA8D8="),
                ("float64", [1], "AAAA"), ("uint8", [-3], "AAAA"),
                ("uint8", [2**25] * 8, ""), ("uint8", [1] * 9, "AA=="),
                ("uint8", 3, "AAAA"), ("uint8", [3], ["AAAA"]), ("uint8", [3.0], "AAAA"),
                ("uint8", [3], "é==="),
            ]
        ),
    ],
    ids=lambda text: text[-60:],
)  # fmt: skip
def test_what_is_no_answer_is_not_taken_for_one(text):
    with pytest.raises(wire.Malformed):
        wire.unpack(text)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (1.0, 1.1), (1, 1.1), ([1.0, 2.0], [1.0, 2.1]), (np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0),
        (True, 1.0), (1.0, True), ("1.0", 1.0), (None, 1.0), (1.0, None), ([1.0], 1.0),
        ([[1.0]], [1.0]), ([[1.0], [1.0, 2.0]], [1.0]), ("a", "b"), (["a"], "a"), ({"a": 1}, 1),
        (np.ones(3), np.ones(4)), (1_000_001, 1_000_000),
        ({"a": [1], "b": [1, 2]}, [[1, 1]]), ([True, False], [True, True]), ([], [1.0]),
    ],
)  # fmt: skip
def test_same_finds_what_differs(got, wanted):
    with pytest.raises(Wrong) as wrong:
        same(
            got, wanted if wanted is None or isinstance(wanted, str) else np.asarray(wanted), "here"
        )
    assert str(wrong.value).startswith("here: ")


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (1.000001, 1.0), (1, 1.0), ([1, 2], np.array([1.0, 2.0])), (np.nan, np.nan),
        ([np.inf], [np.inf]), (np.float32(0.1), 0.1), (True, True), ("a", "a"), (None, None),
        ([], np.zeros(0)), (1_000_001.0, 1_000_000.0),
        ({"a": [1, 2], "b": [3, 4]}, [[1, 3], [2, 4]]),
    ],
)  # fmt: skip
def test_same_takes_what_is_right(got, wanted):
    same(got, wanted, "here")


def test_same_never_tells_the_answer():
    with pytest.raises(Wrong) as wrong:
        same([1.0, 2.0], np.array([1.0, 7777.0]), "here")
    assert "7777" not in str(wrong.value)
