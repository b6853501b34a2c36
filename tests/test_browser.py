"""The notebooks in JupyterLab, in Chromium: Run All, and every widget of a lesson by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbconvert
import nbformat
import pytest
from notebook_files import ROOT, for_students, label

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = sync_api.expect

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)

import lab  # noqa: E402 - it needs playwright

pytestmark = pytest.mark.slow
expect.set_options(timeout=1000 * lab.ANSWER)

SCREENSHOTS = ROOT / "results" / "screenshots"

# How many explorers each lesson has, by the class that the page finds them by.
EXPLORERS = {
    "01_transfer": {"predict": 2, "reveal": 2, "surgery": 1, "train-head": 1},
    "02_when_transfer_makes_sense": {"predict": 3, "reveal": 3, "cells": 2, "decision-aid": 1},
    "03_multi_task": {"predict": 2, "reveal": 2, "scene-maker": 1},
    "04_unknown_labels": {"predict": 2, "reveal": 2, "label-sheet": 1},
    "05_when_multi_task_makes_sense": {"predict": 2, "reveal": 2, "cells": 1, "decision-aid": 1},
    "06_when_tasks_fight": {"predict": 3, "reveal": 3, "compass": 1},
    "evidence/01_transfer": {"draw-digit": 1},
    "07_real_photographs": {"predict": 2, "reveal": 2, "teach": 1},
}
KINDS = {"predict", "reveal", "surgery", "cells", "scene-maker", "label-sheet", "compass"}
KINDS |= {"train-head", "decision-aid", "teach"}
# Every live run is started and stopped. In these lessons the first one goes on to its end, once for
# each kind of explorer: what the others would train is tested without a browser.
TO_THE_END = {"01_transfer", "02_when_transfer_makes_sense"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """One JupyterLab for all tests here."""
    if lab.chromium() is None:
        pytest.skip("no Chromium: install it, for example with apt-get install chromium")
    with lab.jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(server: lab.Server) -> Iterator[sync_api.Browser]:
    """One Chromium for all tests here."""
    with lab.browser() as running:
        yield running


@pytest.fixture
def tab(browser: sync_api.Browser) -> Iterator[lab.Tab]:
    """A page of its own for one test."""
    with lab.new_tab(browser) as page:
        yield page


def named(control: sync_api.Locator) -> None:
    """Assert that a control has a name that a screen reader can say."""
    name = control.evaluate(
        "c => c.ariaLabel || [...(c.labels ?? [])].map(l => l.innerText).join() || c.innerText"
    )
    assert name.strip(), "a control without a name"


def barriers(page: sync_api.Page, *parts: str) -> list[str]:
    """What axe finds serious or worse in these parts of the page that are there."""
    there = [[part] for part in parts if page.locator(part).count()]
    if not there:
        return []
    found = axe.Axe().run(page, context={"include": there}).response["violations"]
    return [
        f"{one['id']}: {one['help']}, {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def run_live(explorer: sync_api.Locator, to_the_end: bool) -> None:
    """Start a run, stop it in the middle, and perhaps let another one go to its end."""
    button, said = explorer.locator(".mtl-live button"), explorer.locator(".mtl-progress")
    for select in explorer.locator("select").all():  # the cheapest cell
        select.focus()
        explorer.page.keyboard.press("Home")
    if "mtl-surgery" in explorer.get_attribute("class"):  # there it is too cheap to be stopped
        explorer.page.keyboard.press("End")
    name = button.inner_text()
    button.press("Space")
    expect(said).to_contain_text("step", timeout=1000 * lab.RUN_ALL)
    button.press("Space")
    expect(said).to_have_text("Stopped.")
    expect(button).to_have_text(name)
    if to_the_end:
        button.press("Space")
        expect(said).to_contain_text("Done in", timeout=1000 * lab.RUN_ALL)


# Evidence reads rows and has nothing to press: nbval and papermill run it.
@pytest.mark.parametrize(
    "path", [path for path in for_students() if path.parent.name != "evidence"], ids=label
)
def test_runs_in_the_browser(path: Path, tab: lab.Tab, server: lab.Server):
    """Run All, then every control of every explorer across its range, and every live run."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = SCREENSHOTS / f"{label(path).replace('/', '-')}.png"
    try:
        lesson = lab.run_all(tab, server, path)
        cells = lesson.locator(".jp-Cell").count()
        to_the_end = label(path) in TO_THE_END
        for kind in sorted(KINDS):
            expect(lesson.locator(f".mtl-{kind}")).to_have_count(
                EXPLORERS.get(label(path), {}).get(kind, 0)
            )
        for number, explorer in enumerate(lesson.locator(".mtl-explorer").all()):
            for control in explorer.locator("select, input, button").all():
                named(control)
            lab.sweep(explorer)
            expect(explorer.locator(".mtl-answer[aria-live=polite]")).to_have_count(1)
            if explorer.locator(".mtl-live").count():
                run_live(explorer, to_the_end)
                to_the_end = False
            explorer.scroll_into_view_if_needed()
            explorer.screenshot(path=picture.with_stem(f"{picture.stem}-{number}"))
        found = barriers(tab.page, ".mtl-explorer", ".jp-OutputArea-output img")
        assert not found, found
        assert lesson.locator(".jp-Cell").count() == cells, "a key was taken by the notebook"
        tab.page.wait_for_function(lab.READY)
        if label(path) == "01_transfer":  # README's, in assets
            lesson.locator(".mtl-reveal img").first.scroll_into_view_if_needed()
            tab.page.screenshot(path=SCREENSHOTS / "lesson_01.png")
    finally:
        tab.page.screenshot(path=picture)
    tab.assert_clean()


@pytest.mark.parametrize("path", for_students(), ids=label)
def test_the_exported_page_has_no_barriers(path: Path, tab: lab.Tab, tmp_path: Path):
    """Where no widget runs: each widget's picture is there, and axe finds nothing serious."""
    page = tmp_path / "lesson.html"
    page.write_text(nbconvert.HTMLExporter().from_filename(path)[0], encoding="utf-8")
    tab.page.route(re.compile("^https?:"), lambda route: route.abort())  # mathematics, by nbconvert
    tab.page.goto(page.as_uri())
    widgets = sum(EXPLORERS.get(label(path), {}).values())
    expect(tab.page.get_by_text("A picture of a widget")).to_have_count(widgets)
    found = barriers(tab.page, ".jp-OutputArea-output img", ".jp-RenderedHTMLCommon figure")
    assert not found, found


TWICE = (
    """
from mtl_course import datasets, scenes, studies, transfer
from mtl_course.studies import lesson_01_digits
from mtl_course.explorers.label_sheet import LabelSheet
from mtl_course.explorers.surgery import SurgeryTable
import torch

written = datasets.handwritten_digits()
source = transfer.pretrain(written.train, steps=20, width=4, seed=0, progress=False)
rows = studies.run("digits")
roads = scenes.draw(8, seed=3)
""",
    """
LabelSheet(roads, torch.zeros(8, 4))
""",
    """
SurgeryTable(source, written, rows, steps=2_000)
""",
    """
SurgeryTable(source, written, rows, steps=20)
""",
)


def test_what_students_do_to_widgets(tab: lab.Tab, server: lab.Server, tmp_path: Path):
    """Two on one page, a cell run twice, a run stopped in the middle, a kernel restarted."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in TWICE])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    nbformat.write(notebook, tmp_path / "twice.ipynb")
    lesson = lab.run_all(tab, server, tmp_path / "twice.ipynb")
    sheet, (long, short) = lesson.locator(".mtl-label-sheet"), lesson.locator(".mtl-surgery").all()

    # One is stopped in the middle; the other waits for its turn, and then trains.
    for table in (long, short):
        table.locator(".mtl-live button").press("Space")
    expect(long.locator(".mtl-progress")).to_contain_text("step")
    expect(short.locator(".mtl-progress")).to_contain_text("Waiting")
    untouched = sheet.evaluate(lab.SHOWN)
    long.locator(".mtl-live button").press("Space")
    expect(long.locator(".mtl-progress")).to_have_text("Stopped.")
    expect(short.locator(".mtl-progress")).to_contain_text("Done in")
    assert sheet.evaluate(lab.SHOWN) == untouched

    lab.press(sheet, sheet.locator("button").first, "Space")
    lesson.locator(".jp-CodeCell").nth(1).locator(".jp-InputArea-editor").click()
    tab.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    expect(sheet.locator(".mtl-answer")).to_contain_text("Press an entry")  # a new one
    lab.sweep(sheet)
    tab.assert_clean()

    lab.restart(tab)
    lab.run_cells(tab)
    lab.sweep(sheet)
    lab.sweep(short)
    short.locator(".mtl-live button").press("Space")
    expect(short.locator(".mtl-progress")).to_contain_text("Done in")
    tab.assert_clean()


BOTH_WAYS = (
    TWICE[0],
    """
sheet = LabelSheet(roads, torch.zeros(8, 4))
sheet
""",
    "before = sheet.labels[0, 0].item()",
    """
assert sheet.labels[0, 0] != before, "the page told the kernel"
sheet.labels = torch.ones(8, 4)
""",
)


def test_a_page_and_its_kernel_tell_each_other(tab: lab.Tab, server: lab.Server, tmp_path: Path):
    """What is pressed in the page, Python has; what Python sets, the page shows."""
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, BOTH_WAYS[:3])))
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    nbformat.write(notebook, tmp_path / "both.ipynb")
    lesson = lab.run_all(tab, server, tmp_path / "both.ipynb")
    sheet = lesson.locator(".mtl-label-sheet")
    lab.press(sheet, sheet.locator("td button").first, "Space")
    lesson.locator(".jp-CodeCell").nth(2).locator(".cm-content").fill(BOTH_WAYS[3])
    tab.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
    expect(sheet.locator(".mtl-picture")).to_contain_text("a sum over 32 of 32 entries")
    expect(sheet.locator("[data-y='1']")).to_have_count(32)
    tab.assert_clean()


MOMENT = (
    """
from mtl_course.explorers.predict import Prediction
few = Prediction("Which is better?", ["the head", "every layer"])
few
""",
    """
few.reveal("every layer", text="Every layer it is.")
""",
)


def test_a_prediction_can_be_made_after_run_all(tab: lab.Tab, server: lab.Server, tmp_path: Path):
    """It is folded until then, kept at once, scored in its place, and there after a restart."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in MOMENT])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    nbformat.write(notebook, tmp_path / "moment.ipynb")
    lesson = lab.run_all(tab, server, tmp_path / "moment.ipynb")
    question, place = lesson.locator(".mtl-predict"), lesson.locator(".mtl-reveal")
    expect(place).to_contain_text("Folded")
    expect(place).not_to_contain_text("Every layer it is.")
    commit = question.get_by_role("button", name="Commit", exact=True)
    expect(commit).to_be_disabled()
    lab.press(question, question.locator("select").first, "ArrowDown")
    lab.press(question, commit, "Space")
    expect(place).to_contain_text("Every layer it is.")
    expect(place).to_contain_text("You predicted “the head”, a coin toss (50%): wrong")
    kept = (server.folder.parent / "predictions.csv").read_text(encoding="utf-8")
    assert "Which is better?,the head,0.5,every layer" in kept
    lab.restart(tab)
    before = question.evaluate("q => getComputedStyle(q, '::before').content")
    assert "run this cell again" in before
    lab.run_cells(tab)
    expect(question).to_contain_text("Kept: “the head”")
    expect(place).to_contain_text("So far")
    tab.assert_clean()


def test_a_notebook_opened_again_shows_pictures(tab: lab.Tab, server: lab.Server, tmp_path: Path):
    """Its widgets are gone with their kernel: each one's picture stands there, and no error."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in (*TWICE[:2], *MOMENT)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    nbformat.write(notebook, tmp_path / "saved.ipynb")
    lesson = lab.run_all(tab, server, tmp_path / "saved.ipynb")
    pictures = lesson.locator(".mtl-still")
    expect(pictures).to_have_count(3)
    for picture in pictures.all():
        expect(picture).not_to_be_visible()
    saved = "() => window.jupyterapp.shell.currentWidget.context.path"
    path = server.folder / tab.page.evaluate(saved)
    tab.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    lesson = lab.open_copy(tab, server, path)
    for picture in lesson.locator(".mtl-still").all():
        expect(picture).to_be_visible()
    for text in lesson.get_by_text("Error displaying widget").all():
        expect(text).not_to_be_visible()
