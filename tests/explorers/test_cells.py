"""Guards mtl_course.explorers.cells, studies.train_row and figures.dots."""

from __future__ import annotations

import functools
import itertools
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from mtl_course import figures, studies
from mtl_course.base import threads
from mtl_course.explorers.cells import Cells
from mtl_course.studies import lesson_02, lesson_05, lesson_05_amounts
from mtl_course.studies.claims import Comparison

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)

import kernelless  # noqa: E402 - what they import needs playwright
import lab  # noqa: E402

SIZES = {"a": "|A|", "b": "|B|", "way": "Way"}
MAPS = {
    "size_map": {"dials": SIZES, "shown": [(1_000_000, 1_000, "all layers")]},
    "relatedness": {
        "dials": {"a": "What A is", "labels": "|B|", "way": "Way"},
        "fixed": {"task": lesson_02.TARGET, "layers": lesson_02.ALL},
        "shown": [("nearly B", 1_000, "all layers"), ("sounds", 100, "new head")],
    },
    "widths": {
        "dials": {"width": "Width", "images": "Scenes", "asked": "Questions", "way": "Way"},
        "shown": [(8, 1_000, "the four", lesson_05.SHARED)],
    },
}


@functools.cache
def cells(study: str = "size_map") -> Cells:
    return Cells(study, seed=200, **MAPS[study])


def by_hand(study: str, cell: dict, baseline: dict) -> pd.Series:
    """The paired differences, straight from the file of rows."""
    rows = pd.read_csv(studies.SHIPPED / f"{study}.csv")
    scores = []
    for which in (cell, baseline):
        mine = rows
        for key, value in which.items():
            mine = mine[mine[key] == value]
        scores.append(mine.set_index("seed")["auc"])
    return (scores[0] - scores[1]).sort_index()


def test_its_cells_are_what_the_rows_say():
    widget = cells()
    cell, other = ({"a": 1_000_000, "b": 1_000, "way": "all layers"},
                   {"a": 0, "b": 1_000, "way": "from scratch"})  # fmt: skip
    differences = by_hand("size_map", cell, other)
    assert len(differences) == 10
    pd.testing.assert_series_equal(
        widget.differences(tuple(cell.values())).sort_index(), differences, check_names=False
    )
    reach = t.ppf(0.975, 9) * differences.std() / np.sqrt(10)
    ends = [differences.mean() + way * reach for way in (0, -1, 1)]
    at = widget._front.value["cell"]
    ((_, *numbers, verdict, seeds),) = (c for c in widget._front.data["cells"] if c[0] == at)
    assert numbers == pytest.approx(ends, abs=1e-6)
    assert verdict == "supported"
    assert sorted(seeds) == pytest.approx(sorted(differences), abs=1e-4)


@pytest.mark.parametrize("study", MAPS)
def test_it_holds_the_gain_of_every_cell_that_was_measured(study):
    """As `claims` finds it: a cell by itself. In controls of the baseline A has no place."""
    widget, grid = cells(study), studies.study(study).grid
    fixed = MAPS[study].get("fixed", {})
    data, rows = widget._front.data, {study: studies.run(study)}
    keys = list(MAPS[study]["dials"])
    over = studies.study(study).over
    wanted = {
        tuple(cell[key] for key in keys): found
        for cell in grid
        if fixed.items() <= cell.items() and cell["way"] != over and cell.get("a") != 0
        if (one := Comparison(study, cell)).baseline()
        and (found := one.found(rows=rows)) is not None
    }
    texts = [
        tuple(names[k] for (_, names), k in zip(data["dials"], numbers, strict=True))
        for numbers, *_ in data["cells"]
    ]
    said = {tuple(map(widget._text, cell)): gain for cell, gain in wanted.items()}
    assert set(texts) == set(said) and len(texts) == len(said)
    for text, (_, mean, low, high, verdict, seeds) in zip(texts, data["cells"], strict=True):
        gain = said[text]
        assert [mean, low, high] == pytest.approx(gain[["mean", "low", "high"]].tolist(), abs=1e-6)
        assert (verdict, len(seeds)) == (gain["verdict"], gain["seeds"])


def test_it_tells_what_a_run_would_cost():
    rows = pd.read_csv(studies.SHIPPED / "size_map.csv")
    seconds = rows["seconds"] + rows["source_seconds"]
    one = (rows["a"] == 1_000_000) & (rows["b"] == 1_000) & (rows["way"] == "all layers")
    two = (rows["a"] == 0) & (rows["b"] == 1_000) & (rows["way"] == "from scratch")
    expected = seconds[one].median() + seconds[two].median()
    widget = Cells("size_map", seed=200, **MAPS["size_map"])
    assert f"about {expected:.0f} s on one core" in widget._cost.value
    before = widget._cost.value
    widget._front.value = {**widget._front.value, "cell": widget._at((1_000, 30, "all layers"))}
    assert widget._cost.value != before


# ------------------------------------------------------------------------------------ in a page


def opened(tab: lab.Tab, folder: Path, study: str, style: str = kernelless.LIGHT):
    attributes = cells(study)._front.attributes()
    tab.page.goto(kernelless.write(folder, "cells", attributes, style))
    found = tab.page.locator(".mtl-cell")
    found.wait_for()
    return found


CHOSEN = "s => [...s.querySelectorAll('select')].map(c => c.options[c.selectedIndex].text)"


@pytest.mark.parametrize("study", MAPS)
def test_the_page_shows_every_cell_that_a_dial_leads_to(tab: lab.Tab, tmp_path: Path, study: str):
    """By keys alone: its mean, interval, verdict, and a dot a seed."""
    page, keys, data = opened(tab, tmp_path, study), tab.page.keyboard, cells(study)._front.data
    there = {
        tuple(names[k] for (_, names), k in zip(data["dials"], cell[0], strict=True)): cell
        for cell in data["cells"]
    }
    seen = set()
    for _ in range(len(data["dials"])):
        keys.press("Tab")
        for key in ("End", "Home", *["ArrowDown"] * 3):
            keys.press(key)
            now = tuple(page.evaluate(CHOSEN))
            _, mean, low, high, verdict, seeds = there[now]
            words = f"{mean:+.3f} ({low:+.3f} to {high:+.3f}), {verdict}".replace("-", "−")
            assert words in page.locator(".mtl-answer").inner_text()
            assert now[0] in page.locator(".now").inner_text()
            assert page.locator(".now .seed").count() == len(seeds)
            seen.add(now)
    assert len(seen) > len(data["dials"])


def test_a_choice_without_a_cell_gives_way(tab: lab.Tab, tmp_path: Path):
    """A new head was measured for the million only; a line that is clicked becomes the cell."""
    page = opened(tab, tmp_path, "size_map")
    a, _, way = page.locator("select").all()
    way.select_option("new head")
    assert "|A| 1,000,000" in page.locator(".mtl-answer").inner_text()
    way.select_option("all layers")
    page.locator(".line").first.click()
    assert page.evaluate(CHOSEN)[0] == "1,000"
    assert "new head" not in way.inner_text()
    assert "0" not in a.inner_text().split()


def test_it_can_be_read_everywhere(tab: lab.Tab, tmp_path: Path):
    """At 150 % of a projector's 1366 × 768 pixels, on a phone; light and dark; at once."""
    for study in MAPS:
        page = opened(tab, tmp_path, study)
        kernelless.check_sizes(tab, page, tall=800)
    for style in (kernelless.LIGHT, kernelless.DARK):
        opened(tab, tmp_path, "relatedness", style)
        found = axe.Axe().run(tab.page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


# ------------------------------------------------------------------------------------ trained here


def test_a_cell_trained_here_is_what_the_study_would_train(tab: lab.Tab, tmp_path: Path):
    widget = Cells("digits_size_map", SIZES, fixed={}, seed=77, shown=[(100, 10, "all layers")])
    _, live, _ = widget.children
    live.children[0].click()
    live.thread.join(600)
    assert "Done" in live.children[1].value
    only = {"a": [0, 100], "b": [10], "way": ["from scratch", "all layers"]}
    rows = studies.run("digits_size_map", [77], only=only, fresh=True, store=tmp_path, jobs=1)
    score = rows.set_index("way")["accuracy"]
    difference = score["all layers"] - score["from scratch"]
    value = widget._front.value
    assert f"seed 77 here gives {difference:+.3f}" in value["said"]
    assert value["here"] == {",".join(map(str, value["cell"])): [difference]}
    stored = widget.differences((100, 10, "all layers"))
    reach = t.ppf(0.975, 9) * stored.std() * np.sqrt(1 + 1 / 10)
    low, high = stored.mean() - reach, stored.mean() + reach
    assert f"between {low:+.3f} and {high:+.3f}" in value["said"]
    assert ("it does." in value["said"]) == (low <= difference <= high)
    assert widget._seed == 78
    tab.page.goto(kernelless.write(tmp_path, "cells", widget._front.attributes()))
    page = tab.page.locator(".mtl-cell")
    assert value["said"] in page.locator(".mtl-answer").inner_text()
    assert page.locator(".now .mine").count() == 1
    page.locator("select").first.press("End")
    assert "seed 77" not in page.locator(".mtl-answer").inner_text()


def test_a_run_of_a_cell_says_how_far_it_is_and_can_be_stopped():
    widget = Cells("digits_size_map", SIZES, seed=77, shown=[(100, 10, "all layers")])
    _, live, _ = widget.children
    button, progress = live.children
    before = widget._front.value
    button.click()
    end = time.monotonic() + 60
    while "step" not in progress.value and time.monotonic() < end:
        time.sleep(0.01)
    assert re.search(r"step [\d,]+ of [\d,]+$", progress.value)
    button.click()
    live.thread.join(60)
    assert (button.description, progress.value) == ("Train this cell here", "Stopped.")
    assert widget._front.value == before, "a run that was stopped must leave no dot"


def test_a_row_that_is_trained_alone_is_that_of_the_study(tmp_path):
    cell = {"a": 100, "b": 10, "way": "all layers"}
    with threads(1):
        scores = studies.train_row("digits_size_map", 3, cell)
    only = {key: [value] for key, value in cell.items()}
    row = studies.run("digits_size_map", [3], only=only, fresh=True, store=tmp_path, jobs=1)
    assert scores["accuracy"] == row["accuracy"].item()
    with pytest.raises(ValueError, match="grid"):
        studies.train_row("digits_size_map", 3, {**cell, "b": 11})


def test_the_picture_shows_the_cells_that_were_asked_for():
    bundle = cells("relatedness").static()
    for name in ("What A is nearly B, |B| 1,000", "What A is sounds, |B| 100, Way new head"):
        assert name in bundle["text/plain"]
    assert "studies relatedness --fresh" in bundle["text/html"]


def test_dots_stand_at_the_chosen_place():
    table = pd.DataFrame(
        {"mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]}, index=["10", "30"]
    )
    axes = figures.dots(
        {"one": table}, chosen="30", seeds=[0.15, 0.25], xlabel="labels", ylabel="gain"
    ).axes[0]
    drawn = [line.get_xydata() for line in axes.lines]
    stored = next(xy for xy in drawn if len(xy) == 2 and set(xy[:, 1]) == {0.15, 0.25})
    assert (abs(stored[:, 0] - 1) < 0.45).all()


def test_the_names_of_kinds_do_not_collide():
    widget = cells("relatedness")
    figure = widget._draw(widget._shown)
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(boxes) > 3
        for one, other in itertools.pairwise(boxes):
            assert other.x0 - one.x1 > 8  # pixels


def test_a_way_may_have_another_name_for_the_reader():
    dials = {"way": "Other tasks", "count": "How many", "width": "Width"}
    shown, names = [("same family, but the nearest", 9, 8)], lesson_05_amounts.READ_AS
    widget = Cells("companions", dials, seed=200, shown=shown, names=names)
    data, name = widget._front.data, names["same family, but the nearest"]
    assert name in data["dials"][0][1]
    pages = [str(data), *widget.static().values()]
    assert not any("but the nearest" in page for page in pages)
    plain = " ".join(name.split())  # texts of pictures have plain spaces
    assert sum(plain in " ".join(page.replace("\\xa0", " ").split()) for page in pages) >= 2


def test_it_refuses_keys_and_cells_that_are_not_there():
    with pytest.raises(ValueError, match="each key once"):
        Cells("size_map", {"a": "|A|"}, seed=0, shown=[(1_000,)])
    with pytest.raises(ValueError, match=re.escape("shown")):
        Cells("size_map", SIZES, seed=0, shown=[(2_000, 30, "all layers")])
