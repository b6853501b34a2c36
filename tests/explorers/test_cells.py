"""Guards mtl_course.explorers.cells, studies.train_row and figures.dots."""

import itertools
import re
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from mtl_course import figures, studies
from mtl_course.base import threads
from mtl_course.explorers.cells import Cells
from mtl_course.studies import lesson_02, lesson_05, lesson_05_amounts

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


def cells(study: str = "size_map") -> Cells:
    return Cells(study, seed=200, **MAPS[study])


def parts(widget: Cells) -> tuple:
    """The dials, the run, what is said, and the picture."""
    *controls, live, said, drawn = widget.children
    return controls, live, said, drawn


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


def test_a_cell_is_what_the_rows_say():
    widget = cells()
    _, _, said, drawn = parts(widget)
    cell, other = ({"a": 1_000_000, "b": 1_000, "way": "all layers"},
                   {"a": 0, "b": 1_000, "way": "from scratch"})  # fmt: skip
    differences = by_hand("size_map", cell, other)
    assert len(differences) == 10
    pd.testing.assert_series_equal(
        widget.differences(tuple(cell.values())).sort_index(), differences, check_names=False
    )
    reach = t.ppf(0.975, 9) * differences.std() / np.sqrt(10)
    mean = differences.mean()
    words = f"{mean:+.3f} ({mean - reach:.3f} to {mean + reach:.3f}), supported"
    assert words in said.value
    assert words in drawn.value
    assert f"from {differences.min():+.3f} to {differences.max():+.3f}" in drawn.value


@pytest.mark.parametrize("study", MAPS)
def test_every_dial_leads_to_cells_that_were_measured(study):
    widget = cells(study)
    controls, _, said, drawn = parts(widget)
    grid = [tuple(cell[key] for key in MAPS[study]["dials"]) for cell in studies.study(study).grid]
    seen = set()
    for control in controls:
        for value in [value for _, value in control.options]:
            control.value = value
            now = tuple(c.value for c in controls)
            assert now in grid
            assert control.value == value
            for other, chosen in zip(controls, now, strict=True):
                shown = f"{chosen:,}" if isinstance(chosen, int) else chosen
                assert f"{other.description} {shown}" in said.value
            seen.add(drawn.value)
    assert len(seen) > len(controls)


def test_a_choice_without_a_cell_gives_way():
    """A new head was measured for the million only."""
    widget = cells()
    (a, _, way), _, said, _ = parts(widget)
    way.value = "new head"
    assert "1,000,000" in said.value
    a.value = 1_000
    assert "new head" not in [value for _, value in way.options]
    assert "Way all layers" in said.value


def test_controls_without_a_have_no_place_on_its_dials():
    """From scratch with other steps has no A either, and is no gain from an A of 0."""
    (a, *_), *_ = parts(cells())
    assert 0 not in [value for _, value in a.options]


def test_it_tells_what_a_run_would_cost():
    rows = pd.read_csv(studies.SHIPPED / "size_map.csv")
    seconds = rows["seconds"] + rows["source_seconds"]
    one = (rows["a"] == 1_000_000) & (rows["b"] == 1_000) & (rows["way"] == "all layers")
    two = (rows["a"] == 0) & (rows["b"] == 1_000) & (rows["way"] == "from scratch")
    expected = seconds[one].median() + seconds[two].median()
    assert f"about {expected:.0f} s on one core" in parts(cells())[2].value


def test_a_cell_trained_here_is_what_the_study_would_train(tmp_path):
    widget = Cells("digits_size_map", SIZES, fixed={}, seed=77, shown=[(100, 10, "all layers")])
    _, live, said, drawn = parts(widget)
    live.children[0].click()
    live.thread.join(600)
    assert "Done" in live.children[1].value
    only = {"a": [0, 100], "b": [10], "way": ["from scratch", "all layers"]}
    rows = studies.run("digits_size_map", [77], only=only, fresh=True, store=tmp_path, jobs=1)
    score = rows.set_index("way")["accuracy"]
    difference = score["all layers"] - score["from scratch"]
    assert f"seed 77 here gives {difference:+.3f}" in said.value
    assert f"Trained here: {difference:+.3f}" in drawn.value
    stored = widget.differences((100, 10, "all layers"))
    reach = t.ppf(0.975, 9) * stored.std() * np.sqrt(1 + 1 / 10)
    low, high = stored.mean() - reach, stored.mean() + reach
    assert f"between {low:+.3f} and {high:+.3f}" in said.value
    assert ("it does." in said.value) == (low <= difference <= high)
    assert widget._seed == 78


def test_a_run_of_a_cell_says_how_far_it_is_and_can_be_stopped():
    widget = Cells("digits_size_map", SIZES, seed=77, shown=[(100, 10, "all layers")])
    _, live, said, drawn = parts(widget)
    button, progress = live.children
    before = said.value, drawn.value
    button.click()
    end = time.monotonic() + 60
    while "step" not in progress.value and time.monotonic() < end:
        time.sleep(0.01)
    assert re.search(r"step [\d,]+ of [\d,]+$", progress.value)
    button.click()
    live.thread.join(60)
    assert (button.description, progress.value) == ("Train this cell here", "Stopped.")
    assert (said.value, drawn.value) == before, "a run that was stopped must leave no dot"


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
        {"one": table}, chosen="30", seeds=[0.15, 0.25], here=[0.4], xlabel="labels", ylabel="gain"
    ).axes[0]
    drawn = [line.get_xydata() for line in axes.lines]
    stored = next(xy for xy in drawn if len(xy) == 2 and set(xy[:, 1]) == {0.15, 0.25})
    assert (abs(stored[:, 0] - 1) < 0.45).all()
    assert any(len(xy) == 1 and xy[0, 1] == 0.4 for xy in drawn)


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
    controls, _, said, drawn = parts(widget)
    assert controls[0].value == "same family, but the nearest"
    name = names["same family, but the nearest"]
    assert name in [shown for shown, _ in controls[0].options]
    pages = [said.value, drawn.value, *widget.static().values()]
    assert not any("but the nearest" in page for page in pages)
    plain = " ".join(name.split())  # texts of pictures have plain spaces
    assert sum(plain in " ".join(page.split()) for page in pages) >= 3


def test_it_refuses_keys_and_cells_that_are_not_there():
    with pytest.raises(ValueError, match="each key once"):
        Cells("size_map", {"a": "|A|"}, seed=0, shown=[(1_000,)])
    with pytest.raises(ValueError, match=re.escape("shown")):
        Cells("size_map", SIZES, seed=0, shown=[(2_000, 30, "all layers")])
