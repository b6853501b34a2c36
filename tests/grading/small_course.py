"""A small class for the tests of grading: an assignment with its checks, and submissions to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from notebook_files import NOTEBOOKS

NAME = "small"
POINTS = {"double": 4.0, "mean": 2.0}
"""Of the checks; the written answer gives 3 more, by hand."""

CHECKS = '''
"""Hidden checks of the small assignment."""

from mtl_course.grading.checks import same


def of_whole_numbers(student, draw):
    """Whole numbers are doubled."""
    for number in map(int, draw.integers(-1000, 1000, 8)):
        same(student.call("double", number), 2 * number, f"x = {number}")


def of_arrays(student, draw):
    """Arrays are doubled, whatever their shape."""
    for shape in ((1,), (3, 4), (0, 2)):
        x = draw.normal(size=shape)
        same(student.call("double", x), 2 * x, f"an array of shape {shape}")


def of_some_numbers(student, draw):
    """The mean of some numbers is theirs."""
    for count in (1, 2, 9):
        values = draw.normal(size=count)
        same(student.call("mean", values), values.mean(), f"{count} numbers")


EXERCISES = {"double": [of_whole_numbers, of_arrays], "mean": [of_some_numbers]}
'''

DOUBLE = "def double(x):\n    return 2 * x\n"
MEAN = "def mean(values):\n    return sum(values) / len(values)\n"


def _cell(kind: str, name: str, text: str, **about: object) -> NotebookNode:
    cell = (
        nbformat.v4.new_markdown_cell(text) if kind == "words" else nbformat.v4.new_code_cell(text)
    )
    flags = {
        "given": {"grade": False, "solution": False, "locked": True},
        "answer": {"grade": False, "solution": True, "locked": False},
        "check": {"grade": True, "solution": False, "locked": True},
        "words": {"grade": True, "solution": True, "locked": False},
    }[kind]
    flags |= {"grade_id": name, "schema_version": 3, "task": False} | about
    cell.metadata["nbgrader"] = flags
    return cell


def source() -> NotebookNode:
    """nbgrader's source of the assignment, with solutions."""
    begin, end = "    ### BEGIN SOLUTION\n", "    ### END SOLUTION\n"
    double, mean = (
        text.replace("    return", f"{begin}    return") + end for text in (DOUBLE, MEAN)
    )
    cells = [
        _cell("given", "setup", "import numpy as np"),
        _cell("answer", "double_answer", double),
        _cell("check", "double", "assert double(2) == 4, 'twice two'", points=POINTS["double"]),
        _cell("answer", "mean_answer", mean),
        _cell("check", "mean", "assert mean([1, 3]) == 2", points=POINTS["mean"]),
        _cell("words", "why", "Because it is. (Rubric: 3 points.)", points=3.0),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    return notebook


def make(folder: Path) -> Path:
    """The folder of a class, with nothing released or submitted yet."""
    place = folder / "instructor" / NAME / f"{NAME}.ipynb"
    place.parent.mkdir(parents=True)
    nbformat.write(source(), place)
    shutil.copy(NOTEBOOKS / "assignments" / "nbgrader_config.py", folder)
    checks = folder / "instructor" / f"{NAME}_checks.py"
    checks.write_text(CHECKS)
    (folder / "submitted").mkdir()
    return folder


def filled(course: Path, answers: dict[str, str], name: str = NAME) -> NotebookNode:
    """The released notebook with these texts in its answer cells."""
    notebook = nbformat.read(course / "student" / name / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution") and about["grade_id"] in answers:
            cell.source = answers[about["grade_id"]]
    return notebook


def submit(course: Path, student: str, notebook: NotebookNode | bytes, name: str = NAME) -> Path:
    """Puts a submission where a class's are collected. Returns: its folder."""
    folder = course / "submitted" / student / name
    folder.mkdir(parents=True)
    raw = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
    (folder / f"{name}.ipynb").write_bytes(raw)
    return folder


def points_of_its_own() -> NotebookNode:
    """An output from which nbgrader would read points."""
    return nbformat.v4.new_output("execute_result", {"text/plain": "4.0"}, execution_count=1)


def as_text(notebook: NotebookNode) -> str:
    """The notebook as a file's text."""
    return json.dumps(notebook)
