"""The steps of grading: what is graded again, what is refused, and what stops it."""

from __future__ import annotations

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
import small_course
from grader import (
    HALF,
    HONEST,
    command,
    environment,
    grade,
    grading,
    have_a_sandbox,
    marked,
    processes,
    record,
    report,
)
from nbconvert.filters import Highlight2HTML
from notebook_files import NOTEBOOKS, ROOT, code_cells

from mtl_course.__main__ import main
from mtl_course.grading import gradebook, intake, marking, sandbox
from mtl_course.grading.course import Course

LIVELY = """%matplotlib inline
%autosave 60
%connect_info
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


@pytest.mark.slow
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


def test_a_broken_upload_leaves_what_was_marked_by_hand(new_class: Callable[[str], Path]):
    place = new_class("broken upload")
    answers = small_course.filled(place, HONEST | {"why": "Because it is twice as much."})
    notebook = small_course.submit(place, "ann", answers) / "small.ipynb"
    grade(place)
    with gradebook.opened(place) as book:
        mark = book.find_grade("why", "small", "small", "ann")
        mark.manual_score, mark.extra_credit, mark.needs_manual_grade = 2.5, 0.5, False
        book.find_comment("why", "small", "small", "ann").manual_comment = "Well said."
        book.db.commit()
    whole = notebook.read_bytes()
    for broken in (b"{", b""):  # twice
        notebook.write_bytes(broken)
        assert grade(place)["quarantined"].tolist() != [""]
    Course(place).export()
    assert pd.read_csv(place / "grades.csv")["small"].isna().all(), "an old score is not kept"
    notebook.write_bytes(whole)
    grade(place)
    with gradebook.opened(place) as book:
        mark = book.find_grade("why", "small", "small", "ann")
        assert (mark.manual_score, mark.extra_credit, mark.needs_manual_grade) == (2.5, 0.5, True)
        comment = book.find_comment("why", "small", "small", "ann")
        assert comment.manual_comment == "Well said."
        assert book.find_submission("small", "ann").score == 9
        mark.needs_manual_grade = False
        book.db.commit()
    grade(place)
    with gradebook.opened(place) as book:
        assert not book.find_grade("why", "small", "small", "ann").needs_manual_grade


def test_who_has_an_earlier_release_has_edited_nothing(new_class: Callable[[str], Path]):
    place = new_class("released again")
    early = small_course.filled(place, HALF | {"why": "I say so."})
    early.cells[-1].source = "YOUR ANSWER HERE"
    small_course.submit(place, "ann", early)
    edited = copy.deepcopy(early)
    edited.cells[0].source = "import os as np"
    small_course.submit(place, "bob", edited)
    source = place / "instructor" / "small" / "small.ipynb"
    for typo in ("import numpy  as np", "import numpy as np  # once"):
        notebook = nbformat.read(source, as_version=4)
        notebook.cells[0].source = typo
        nbformat.write(notebook, source)
        Course(place).release("small")
    graded = grade(place).set_index("student")
    assert graded["points"].tolist() == [4, 4]
    assert graded["notes"]["ann"] == ""
    assert graded["notes"]["bob"] == "setup was edited, and stands as released"
    assert code_cells(marked(place, "ann"))[0].source == "import numpy as np  # once"


def test_a_due_date_that_was_moved_moves_the_penalty(new_class: Callable[[str], Path]):
    place = new_class("due")
    with (place / "nbgrader_config.py").open("a") as settings:
        settings.write("c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    folder = small_course.submit(place, "ann", small_course.filled(place, HALF))
    (folder / "timestamp.txt").write_text("2026-11-25 17:00:00 UTC")
    for hour, points in ((16, 0), (18, 4), (16, 0)):
        with gradebook.opened(place) as book:
            book.update_or_create_assignment("small", duedate=f"2026-11-25 {hour}:00:00 UTC")
        grade(place)
        Course(place).export()
        assert pd.read_csv(place / "grades.csv")["small"].tolist() == [points]


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
    (three / "submitted" / "bob" / "small" / "timestamp.txt").write_text(
        "\ufeff2026-11-25 18:00 +0100"
    )
    grade(three)
    Course(three).export()
    assert record(three, "bob")["handed in"] == "2026-11-25 17:00:00 UTC"
    with gradebook.opened(three) as book:
        assert book.find_submission("small", "bob").timestamp.hour == 17
    canvas = pd.read_csv(three / "canvas.csv", dtype=str).set_index("SIS User ID").loc["d+e"]
    assert canvas[["Student", "ID", "small"]].tolist() == ["Dee", "7", "4.0"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-25 17:00:00.123456 UTC", "2026-11-25 17:00:00 UTC"),
        ("2026-11-25T17:00:00+0100", "2026-11-25 16:00:00 UTC"),
        ("2026-11-25 17:00:00 +01:00\n", "2026-11-25 16:00:00 UTC"),
        ("2026-11-25 17:00", "2026-11-25 17:00:00 UTC"),
        ("2026-11-25 17:00 PST8", ""),
        ("2026-11-25 17:00 Europe/Berlin", ""),
        ("tomorrow", ""),
    ],
)
def test_a_time_is_what_it_says_or_noted(text: str, time: str, tmp_path: Path):
    (tmp_path / "timestamp.txt").write_text(text)
    found, notes = intake.submission_time(tmp_path)
    assert found == time
    assert bool(notes) == (not time)


def test_what_is_misplaced_is_in_the_report(new_class: Callable[[str], Path]):
    place = new_class("misplaced")
    filled = small_course.filled(place, HONEST)
    small_course.submit(place, "ann", filled)
    (place / "submitted" / "bob").mkdir()
    nbformat.write(filled, place / "submitted" / "bob" / "small.ipynb")
    nbformat.write(filled, small_course.submit(place, "cid", filled).parent / "x.ipynb")
    (place / "submitted" / "cid" / "small").rename(place / "submitted" / "cid" / "Small")
    (place / "submitted" / "dan").symlink_to(place / "submitted" / "ann")
    (place / "submitted" / "all of them.zip").write_bytes(b"")
    os.link(
        place / "instructor" / "small" / "small.ipynb",
        small_course.submit(place, "eve", b"").joinpath("linked"),
    )
    linked = place / "submitted" / "eve" / "small"
    (linked / "linked").rename(linked / "small.ipynb")
    small_course.submit(place, "fay", filled)
    grade(place)
    shutil.rmtree(place / "submitted" / "fay")
    grade(place)
    why = report(place)["quarantined"]
    assert report(place)["points"]["ann"] == 6 and not why["ann"]
    assert report(place)["points"]["fay"] == 6 and "no longer there" in why["fay"]
    assert "no folder small; there is small.ipynb" in why["bob"]
    assert "Small" in why["cid"]
    assert "link" in why["dan"] and "hard link" in why["eve"]
    assert "cannot be read" in why["all of them.zip"]


def test_a_long_line_is_highlighted_in_time_that_grows_with_its_length():
    """IPython's lexer, nbconvert's own, takes a time that grows with the square of it."""
    pages = gradebook.SafePages()
    pages.from_notebook_node(nbformat.v4.new_notebook())
    ours = pages.environment.filters["highlight_code"]
    seconds = []
    for highlight, count in ((Highlight2HTML(pygments_lexer="ipython3"), 4_000), (ours, 8_000)):
        start = time.monotonic()
        assert "highlight" in highlight("a." * count + "a")
        seconds.append(time.monotonic() - start)
    assert seconds[1] < seconds[0]


def test_a_damaged_record_is_made_again(three: Path):
    path = three / "records" / "small" / "ann.json"
    path.write_text("")
    grade(three)
    assert report(three)["points"]["ann"] == 6


def test_words_below_a_written_answer_are_part_of_it(new_class: Callable[[str], Path]):
    place = new_class("words")
    essay = small_course.filled(place, HONEST)
    essay.cells.append(nbformat.v4.new_markdown_cell("An essay, in a cell of its own."))
    small_course.submit(place, "ann", essay)
    grade(place)
    assert "An essay, in a cell of its own." in marked(place, "ann").cells[-1].source


@pytest.mark.slow
def test_one_that_takes_the_grader_with_it_costs_nobody_else(new_class: Callable[[str], Path]):
    """A check that ends its process, or becomes large, is named; each worker keeps to a core."""
    place = new_class("alone")
    checks = place / "instructor" / "small_checks.py"
    harm = (
        "found = student.call('double', 1)\n    if found == 3:\n        import os\n"
        "        os.abort()\n    if found == 4:\n        bytearray(10**10)\n"
    )
    loop = "    for count in (1, 2, 9):"
    checks.write_text(checks.read_text().replace(loop, f"    {harm}{loop}"))
    cores = "import os\n\nprint(len(os.sched_getaffinity(0)), 'core')\n\n\n"
    for student, factor in (("ann", 2), ("bob", 3), ("cid", 4)):
        double = f"{cores}def double(x):\n    return {factor} * x\n"
        answers = HONEST | {"double_answer": double}
        small_course.submit(place, student, small_course.filled(place, answers))
    grading("grade", place, "--jobs", 2)
    assert report(place)["points"]["ann"] == 6
    assert "process ended" in report(place)["quarantined"]["bob"]
    assert "MemoryError" in report(place)["notes"]["cid"]
    assert "1 core" in str(code_cells(marked(place, "ann"))[1].outputs)


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
    records, end = place / "records" / "small", time.monotonic() + 300
    while not list(records.glob("s*.json")) and time.monotonic() < end:
        time.sleep(0.05)
    grader = max(processes(f"grade {place}"), key=lambda process: process.pid)
    family = [grader, *grader.children(recursive=True)]
    if how is signal.SIGINT:  # as the terminal does: to all of them
        os.killpg(running.pid, how)
    else:
        grader.kill()
    said = running.communicate(timeout=120)[0]
    if how is signal.SIGINT:
        assert running.returncode in (130, -how), said  # -how: what changes the user stops too
        assert "Run the same command again to resume" in said and "Traceback" not in said
    assert not psutil.wait_procs(family, timeout=120)[1], "something of the grader still runs"
    done = {path.stem: _marks(place, path.stem) for path in records.glob("s*.json")}
    assert 0 < len(done) < 5

    grade(place)
    assert report(place)["points"].tolist() == [6] * 5
    assert done == {name: _marks(place, name) for name in done}, "marked anew"


def _marks(place: Path, student: str) -> dict:
    """A record, whether or not it is in the gradebook already."""
    return {key: value for key, value in record(place, student).items() if key != "entered"}


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


def test_an_installation_that_the_sandbox_cannot_see_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As `pip install --user` makes it, or a clone in a folder with a colon."""
    have_a_sandbox()
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "hides", lambda path: "IPython" in str(path))
        with pytest.raises(sandbox.Refused, match=r"no IPython.*--user.*-m venv"):
            sandbox.check_ready(root=True)
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "HOME", tmp_path / "a:b")
        with pytest.raises(sandbox.Refused, match="without a colon"):
            sandbox.check_ready(root=True)


def test_formulas_are_shown_and_carry_nothing(new_class: Callable[[str], Path]):
    place = new_class("formulas")
    words = r"So $\frac{1}{m}$, $$\sum_i x_i$$ and $\text{&lt;img src=x&gt;<b} \class{z}{y}$, "
    words += r"$\color{red}y$, 5 $."
    answers = HONEST | {"why": words}
    small_course.submit(place, "ann", small_course.filled(place, answers))
    grade(place)
    (page,) = Course(place).feedback("small")
    text = page.read_text(encoding="utf-8")
    assert re.search("<mfrac>.*<mn>1</mn>.*<mi>m</mi>.*</mfrac>", text)
    assert 'display="block"' in text
    assert r"$\frac" not in text and "5 $." in text
    assert "<img src" not in text and 'class="z"' not in text and "mathcolor" not in text


def test_a_class_that_the_sandbox_would_see_is_refused():
    assert not sandbox.hides(ROOT / "mtl_course" / "class")
    assert not sandbox.hides(Path("/usr/share/class"))
    assert not sandbox.hides(Path(sys.prefix) / "class")
    assert sandbox.hides(NOTEBOOKS / "assignments")
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
    monkeypatch.setitem(sys.modules, "nbgrader.converters", None)
    line = error(capsys, "release", tmp_path)
    assert "nbgrader" in line and 'pip install -e ".[grading]"' in line


def test_limits_are_above_zero(released: tuple[Path, str], capsys: pytest.CaptureFixture):
    assert "seconds" in error(capsys, "grade", released[0], "--root", "--seconds", "-1")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("without", "pass"),
        ("pages", "configure(c)\nc.GenerateFeedback.exporter_class = 'nbconvert.HTMLExporter'"),
    ],
)
def test_a_class_whose_settings_are_not_safe_is_refused(
    new_class: Callable[[str], Path], capsys: pytest.CaptureFixture, name: str, line: str
):
    place = new_class(f"unsafe {name}")
    settings = place / "nbgrader_config.py"
    settings.write_text(settings.read_text().replace("configure(c)", line))
    assert "nbgrader_config.py" in error(capsys, "grade", place, "--root")


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


def test_a_class_that_has_handed_in_nothing_is_graded(new_class: Callable[[str], Path]):
    place = new_class("nothing")
    assert grade(place).empty and report(place).empty
    assert Course(place).feedback("small") == []
    grades, *_ = Course(place).export()
    assert grades.read_text() == "student,name,email,to mark by hand,small\n"
