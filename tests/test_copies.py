"""Guards the copies of the lessons that students work in, and the command that opens them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from notebook_files import NOTEBOOKS, ROOT, for_students, read

from mtl_course import __main__
from mtl_course.copies import copy_lessons


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A course of three lessons, with its evidence, an assignment and an instructor's files."""
    folder = tmp_path / "notebooks"
    for name in ("00_a", "01_b", "02_c", "evidence/01_b", "assignments/student/t/t"):
        write(folder / f"{name}.ipynb", "first edition")
    write(folder / "assignments" / "instructor" / "t" / "t.ipynb", "solutions")
    write(folder / "assignments" / "submitted" / "ann" / "t" / "t.ipynb", "of a class")
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_student_gets_what_students_open(source: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    *_, line = copy_lessons(mine, source)
    assert line == f"{mine}: 5 notebooks copied, 0 already there."
    names = {path.relative_to(mine).as_posix() for path in mine.rglob("*.ipynb")}
    wanted = {"00_a", "01_b", "02_c", "evidence/01_b", "assignments/student/t/t"}
    assert names == {f"{name}.ipynb" for name in wanted}
    *_, line = copy_lessons(mine, source)
    assert line == f"{mine}: 0 notebooks copied, 5 already there."


def test_an_update_never_touches_what_a_student_has_changed(source: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    list(copy_lessons(mine, source))
    write(mine / "01_b.ipynb", "my work")
    write(mine / "02_c.ipynb", "my work, too")
    (mine / "00_a.ipynb").unlink()
    assert len(list(copy_lessons(mine, source))) == 1, "there is nothing newer to speak of"
    for name in ("00_a", "01_b", "03_d"):
        write(source / f"{name}.ipynb", "second edition")
    for _ in range(2):  # it is said until the student does something about it
        warning, _ = copy_lessons(mine, source)
        assert warning.startswith(f"{mine / '01_b.ipynb'} is yours and stays.")
    read = {path.stem: path.read_text(encoding="utf-8") for path in mine.glob("*.ipynb")}
    assert read == {
        "00_a": "second edition",
        "01_b": "my work",
        "02_c": "my work, too",
        "03_d": "second edition",
    }
    (mine / "01_b.ipynb").rename(mine / "01_b (mine).ipynb")
    assert len(list(copy_lessons(mine, source))) == 1
    assert (mine / "01_b.ipynb").read_text(encoding="utf-8") == "second edition"


def test_links_lead_on_inside_of_the_copies(tmp_path: Path):
    list(copy_lessons(tmp_path))
    for path in for_students():
        copy = tmp_path / path.relative_to(NOTEBOOKS)
        prose = "".join(c.source for c in read(copy).cells if c.cell_type == "markdown")
        for link in re.findall(r"\]\(([^)#:]+)\)", prose):
            assert (copy.parent / link).exists(), f"{copy.name}: {link}"


def test_without_notebooks_or_a_folder_it_says_what_to_do(tmp_path: Path, capsys, monkeypatch):
    with pytest.raises(ValueError, match="clone of the course"):
        list(copy_lessons(tmp_path / "mine", tmp_path / "nothing"))
    assert not (tmp_path / "mine").exists()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        __main__.main(["start", str(tmp_path / "file" / "mine"), "--copy"])
    assert "name another folder" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    with pytest.raises(SystemExit):
        __main__.main(["start", str(tmp_path / "mine")])
    assert "pip install -r requirements.txt" in capsys.readouterr().err


@pytest.mark.slow
def test_jupyterlab_opens_the_first_lesson_with_the_whole_course_beside_it(tmp_path: Path):
    """As the command in README does, in a course of its own, with the real server."""
    course, runtime = tmp_path / "course", tmp_path / "runtime"
    for name in ("mtl_course", "assets", "notebooks"):
        shutil.copytree(ROOT / name, course / name)
    config = "c.ServerApp.open_browser = False\nc.ServerApp.allow_root = True\n"
    config += "c.ServerApp.port = 0\nc.IdentityProvider.token = ''\n"
    write(tmp_path / "config" / "jupyter_server_config.py", config)
    where = {f"JUPYTER_{n.upper()}_DIR": str(tmp_path / n) for n in ("config", "runtime", "data")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mtl_course", "start"],
            env=os.environ | where | {"PYTHONPATH": str(course)},
            cwd=course, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        target, end = None, time.monotonic() + 600
        while target is None:  # the page that opens the browser may still be empty
            assert server.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.2)
            pages = "".join(p.read_text("utf-8") for p in runtime.glob("jpserver-*-open.html"))
            target = re.search(r'url=([^"]+)"', pages)
        target = target[1]
        assert urllib.parse.urlsplit(target).path == "/lab/tree/my_course/00_start_here.ipynb"
        url = target.partition("lab/tree/")[0]
        folder = json.load(urllib.request.urlopen(f"{url}api/contents"))["content"]
        assert {"my_course", "notebooks"} <= {entry["name"] for entry in folder}
        lesson = f"{url}api/contents/my_course/00_start_here.ipynb"
        assert json.load(urllib.request.urlopen(lesson))["type"] == "notebook"
    finally:
        server.terminate()
        server.wait(600)
