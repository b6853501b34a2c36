"""The presenter's view: a notebook under Voilà, in Chromium, by the command for instructors."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from notebook_files import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytest.importorskip("voila", reason='pip install -e ".[presenter]"')
expect = sync_api.expect

import lab  # noqa: E402 - it needs playwright

expect.set_options(timeout=1000 * lab.ANSWER)

COMMAND = "python -m voila notebooks"
SET_UP = """
import torch
from mtl_course import datasets, scenes
from mtl_course.explorers.label_sheet import LabelSheet
roads = datasets.hide(scenes.draw(8, seed=3), fraction=0.3, seed=1)
"""


@pytest.fixture
def page_of(tmp_path: Path) -> Iterator[str]:
    """The address of a page with a formula, a widget and a figure, under Voilà."""
    if lab.chromium() is None:
        pytest.skip("no Chromium: install it, for example with apt-get install chromium")
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# A lesson\n\nThe loss is $\\frac{1}{m}\\sum_i L$."),
        nbformat.v4.new_code_cell(SET_UP),
        nbformat.v4.new_code_cell("LabelSheet(roads, torch.zeros(8, 4))"),
        nbformat.v4.new_code_cell("from mtl_course.explorers.predict import Prediction\n"
                                  "few = Prediction('Which?', ['a', 'b'])\nfew"),
        nbformat.v4.new_code_cell("few.reveal('b', text='It is b.')"),
        nbformat.v4.new_code_cell("from mtl_course import figures\nfigures.show(\n"
                                  "    figures.answers(roads), 'Eight scenes and their Y' * 3)"),
    ]  # fmt: skip
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "lesson.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *COMMAND.split()[1:], "--no-browser", f"--port={port}"]
    with (tmp_path / "log").open("w") as log:
        own = os.environ | {"MTL_COURSE_PREDICTIONS": str(tmp_path / "predictions.csv")}
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=own)
    try:
        yield answering(f"http://127.0.0.1:{port}/", process, tmp_path / "log")
    finally:
        process.terminate()
        process.wait(lab.START)


def answering(url: str, process: subprocess.Popen, log: Path) -> str:
    """The address, once the server answers there."""
    end = time.monotonic() + lab.START
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=lab.ANSWER).read()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return url
    raise AssertionError(f"Voilà did not start:\n{log.read_text()}")


@pytest.mark.slow
def test_a_lecture_hall_sees_the_widgets_and_no_code(page_of: str, tmp_path: Path):
    with lab.browser() as browser, lab.new_tab(browser) as tab:
        page = tab.page
        page.route(re.compile("^https:"), lambda route: route.abort())  # a hall without a network
        page.goto(page_of)
        expect(page.get_by_text("lesson.ipynb")).to_be_visible()
        page.goto(f"{page_of}voila/render/lesson.ipynb")
        sheet = page.locator(".mtl-label-sheet")
        expect(sheet).to_be_visible(timeout=1000 * lab.START)
        expect(page.locator("img[alt^='Eight scenes']")).to_be_visible()
        assert "hide(scenes.draw" not in page.content()
        entry = sheet.locator("button[title='car in scene 1']")
        before = entry.inner_text()
        lab.press(sheet, entry, "Space")
        assert entry.inner_text() != before
        expect(page.locator("mjx-container, .MathJax").first).to_be_attached()
        question, place = page.locator(".mtl-predict"), page.locator(".mtl-reveal")
        expect(place).to_contain_text("Folded")
        lab.press(question, question.locator("select").first, "ArrowDown")
        lab.press(question, question.get_by_role("button", name="Commit", exact=True), "Space")
        expect(place).to_contain_text("You predicted “a”, a coin toss (50%): wrong")
        assert "Which?,a,0.5,b" in (tmp_path / "predictions.csv").read_text(encoding="utf-8")
        # Voilà's own template asks for an icon font; it does without.
        assert not [url for url in tab.foreign if "font" not in url or not url.endswith(".css")]
        assert not tab.errors


def test_instructors_are_given_the_command():
    page = (ROOT / "notebooks" / "INSTRUCTORS.md").read_text(encoding="utf-8")
    assert re.search(rf"&& {COMMAND}$", page, re.MULTILINE)
