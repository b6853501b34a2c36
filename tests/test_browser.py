"""The notebooks in JupyterLab, in Chromium: Run All, and every widget of a lesson by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from notebook_files import ROOT, label, notebooks

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = sync_api.expect

import lab  # noqa: E402 - it needs playwright

SCREENSHOTS = ROOT / "results" / "screenshots"

# How many explorers each lesson has, by the class that the page finds them by.
EXPLORERS = {
    "00_start_here": {},
    "01_transfer": {"predict": 2, "surgery": 1},
    "02_when_transfer_makes_sense": {"predict": 3, "cells": 2},
    "03_multi_task": {"predict": 2, "scene-maker": 1, "label-sheet": 1},
    "04_unknown_labels": {"predict": 2, "label-sheet": 1},
    "05_when_multi_task_makes_sense": {"predict": 3, "cells": 1},
    "06_when_tasks_fight": {"predict": 3, "compass": 1},
}
KINDS = {"predict", "surgery", "cells", "scene-maker", "label-sheet", "compass"}


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


def run_live(explorer: sync_api.Locator) -> None:
    """Start a run, stop it in the middle, and let another one go to its end."""
    button, said = explorer.locator(".mtl-live button"), explorer.locator(".mtl-progress")
    for select in explorer.locator("select").all():  # the cheapest cell
        select.focus()
        explorer.page.keyboard.press("Home")
    name = button.inner_text()
    button.press("Space")
    expect(said).to_contain_text("step", timeout=60_000)
    button.press("Space")
    expect(said).to_have_text("Stopped.")
    expect(button).to_have_text(name)
    button.press("Space")
    expect(said).to_contain_text("Done in", timeout=120_000)


@pytest.mark.parametrize("path", notebooks(), ids=label)
def test_runs_in_the_browser(path: Path, tab: lab.Tab, server: lab.Server):
    """Run All, then every control of every explorer across its range, and every live run."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = SCREENSHOTS / f"{label(path).replace('/', '-')}.png"
    try:
        lesson = lab.run_all(tab, server, path)
        cells = lesson.locator(".jp-Cell").count()
        for kind in sorted(KINDS):
            expect(lesson.locator(f".mtl-{kind}")).to_have_count(
                EXPLORERS[label(path)].get(kind, 0)
            )
        for number, explorer in enumerate(lesson.locator(".mtl-explorer").all()):
            for control in explorer.locator("select, input, button").all():
                named(control)
            lab.sweep(explorer)
            if explorer.locator(".mtl-live").count():
                run_live(explorer)
            explorer.scroll_into_view_if_needed()
            explorer.screenshot(path=picture.with_stem(f"{picture.stem}-{number}"))
        assert lesson.locator(".jp-Cell").count() == cells, "a key was taken by the notebook"
        tab.page.wait_for_function(lab.READY)
        if label(path) == "01_transfer":  # README's, in assets
            lesson.locator("img[alt^='Accuracy against']").scroll_into_view_if_needed()
            tab.page.screenshot(path=SCREENSHOTS / "lesson_01.png")
    finally:
        tab.page.screenshot(path=picture)
    tab.assert_clean()
