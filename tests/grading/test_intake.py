"""What is taken from a submission: answers, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small_course
from grader import HONEST
from nbformat import NotebookNode
from notebook_files import read

from mtl_course.grading import intake


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
