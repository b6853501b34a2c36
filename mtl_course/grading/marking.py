"""One submission: rebuilt, run in the sandbox, asked from outside, and written down.

What comes of it are a record (seed, versions, limits, what each check said) and a marked notebook:
the rebuilt one with the outputs that a teaching assistant reads and, under each check, the points.
Only the grader writes points. nbgrader takes them from there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import re
import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import nbformat
import numpy as np
from nbformat import NotebookNode

from mtl_course.base import derive_seed
from mtl_course.grading import sandbox, wire
from mtl_course.grading.checks import Student, Wrong
from mtl_course.grading.intake import Quarantined, kind, read, rebuilt, whole
from mtl_course.grading.sandbox import Died, Kernel, Limits

Check = Callable[[Student, np.random.Generator], None]


@dataclass(frozen=True)
class Assignment:
    """What a submission is held against.

    released: the notebook that students were given. checks: the file of hidden checks.
    seed: of the inputs that checks draw, one for the whole class.
    """

    name: str
    released: Path
    checks: Path
    seed: int
    limits: Limits = field(default_factory=Limits)

    def about(self) -> dict:
        """What a score depends on besides the submission: seed, limits, versions, and a digest."""
        names = ("mtl_course", "torch", "numpy", "ipython", "nbgrader")
        about = {
            "seed": self.seed,
            "limits": asdict(self.limits),
            "versions": {"python": platform.python_version(), "bubblewrap": sandbox.version()}
            | {name: version(name) for name in names},
        }
        files = self.released.read_bytes() + self.checks.read_bytes()
        about["digest"] = hashlib.sha256(files + json.dumps(about).encode()).hexdigest()
        return about

    def exercises(self) -> Mapping[str, Sequence[Check]]:
        """The hidden checks, by exercise.

        Raises: ValueError if they are not those of the notebook's exercises.
        """
        exercises = runpy.run_path(str(self.checks))["EXERCISES"]
        odd = set(exercises) ^ set(_check_cells(nbformat.read(self.released, as_version=4)))
        if odd:
            raise ValueError(
                f"{self.checks.name} and {self.released.name} must have the same exercises: "
                f"{', '.join(sorted(odd))}."
            )
        return exercises


def mark(assignment: Assignment, folder: Path) -> tuple[dict, NotebookNode | None]:
    """Marks the submission in `folder`.

    Returns: its record, and the marked notebook, or None if the submission is quarantined or
        grading it failed: then the record says why.
    """
    start = time.monotonic()
    record = {"assignment": assignment.name, "against": assignment.about(), "notes": []}
    try:
        notebook = _marked(assignment, folder, record)
        return record | {"seconds": round(time.monotonic() - start, 1)}, notebook
    except Quarantined as error:
        return record | {"quarantined": str(error), "exercises": {}}, None
    except Exception as error:  # one that stumbles must not cost the others their grades
        why = _line(f"grading it failed, and is tried again: {type(error).__name__}: {error}")
        return record | {"failed": why, "digest": None, "exercises": {}}, None


def _marked(assignment: Assignment, folder: Path, record: dict) -> NotebookNode:
    """The marked notebook; what is found goes into the record."""
    cells, record["digest"] = read(folder, f"{assignment.name}.ipynb")
    released = nbformat.read(assignment.released, as_version=4)
    notebook, record["notes"] = rebuilt(released, cells)
    with closing(_Sitting(notebook, assignment.limits, record["notes"])) as sitting:
        record["exercises"] = _ask(assignment, notebook, Student(sitting.kernel), record["notes"])
    record["notes"] = sorted({_line(note) for note in record["notes"]})
    for name, cell in _check_cells(notebook).items():
        cell.outputs = _verdict(record["exercises"][name])
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and kind(cell) == "answer":
            cell.source = _harmless(cell.source)
    return notebook


def points(record: dict) -> tuple[float, float]:
    """What the checks gave, and what they could have given."""
    exercises = record["exercises"].values()
    return sum(e["score"] for e in exercises), sum(e["points"] for e in exercises)


# ---------------------------------------------------------------------- running and asking


class _Sitting:
    """A notebook that runs in one sandbox after another, until its time is over.

    A cell that ends its sandbox is left out from then on, so that the others are heard. The graded
    cells never run.
    """

    def __init__(self, notebook: NotebookNode, limits: Limits, notes: list[str]) -> None:
        self._notes = notes
        self._limits, self._end = limits, time.monotonic() + limits.whole
        self._cells = [c for c in notebook.cells if c.cell_type == "code" and kind(c) != "check"]
        self._current: Kernel | None = None

    def close(self) -> None:
        if self._current is not None:
            self._current.kill()

    def kernel(self) -> Kernel:
        """One in which the cells have run. Raises: Died if no time is left."""
        while True:
            if time.monotonic() > self._end:
                late = "stopped: no time is left for this notebook"
                self._notes.append(late)
                raise Died(late)
            if self._current is not None and not self._current.dead:
                return self._current
            self._current = Kernel(self._limits)
            self._run(self._current)

    def _run(self, kernel: Kernel) -> None:
        room = 10 * self._limits.said  # of the whole notebook
        for cell in list(self._cells):
            left = self._end - time.monotonic()
            if left < 0:
                kernel.kill()
                return
            try:
                shown = kernel.ask({"cell": cell.source}, min(self._limits.seconds, left))
            except Died as died:
                cell.outputs = [_text(f"This cell was {died}, and is left out.\n")]
                name = cell.metadata.get("nbgrader", {}).get("grade_id", "a cell of the student's")
                self._notes.append(f"{name} was {died}")
                self._cells.remove(cell)
                return
            cell.outputs = _kept(shown, max(0, min(self._limits.said, room)))
            room -= sum(len(str(output)) for output in cell.outputs)


def _check_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells under which points are written, by exercise."""
    cells = [c for c in notebook.cells if kind(c) == "check" and c.cell_type == "code"]
    return {cell.metadata.nbgrader.grade_id: cell for cell in cells}


def _ask(
    assignment: Assignment, notebook: NotebookNode, student: Student, notes: list[str]
) -> dict[str, dict]:
    """What each check says, and the points."""
    cells, found = _check_cells(notebook), {}
    for name, checks in assignment.exercises().items():
        parts = []
        for check in checks:
            draw = np.random.default_rng(derive_seed(assignment.seed, f"{name}: {check.__name__}"))
            said = ""
            try:
                check(student, draw)
            except Wrong as wrong:
                said = _line(str(wrong)) or "It is wrong."
            except sandbox.Refused:  # no fault of the student's
                raise
            except Exception as error:  # an answer that the check's author did not think of
                said = "The check can make nothing of the answer."
                notes.append(f"{check.__name__} of {name}: {type(error).__name__}: {error}"[:300])
            about = (check.__doc__ or check.__name__).strip().splitlines()[0]
            parts.append({"about": about, "passed": not said, "said": said})
        possible = float(cells[name].metadata.nbgrader.points)
        score = round(possible * sum(part["passed"] for part in parts) / len(parts), 2)
        found[name] = {"points": possible, "score": score, "parts": parts}
    return found


# ---------------------------------------------------------------------- what is kept


def _text(text: str) -> NotebookNode:
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def _verdict(exercise: dict) -> list[NotebookNode]:
    """What stands under a check: a line a part, and the points."""
    lines = [
        f"{'✓' if part['passed'] else '✗'} {part['about']}"
        + ("" if part["passed"] else f"\n  {part['said']}")
        for part in exercise["parts"]
    ]
    score = {"text/plain": str(exercise["score"])}
    return [_text("\n".join(lines) + "\n"), nbformat.v4.new_output("execute_result", score)]


def _kept(shown: object, room: int) -> list[NotebookNode]:
    """Text and PNG pictures, as much as there is room for: nothing that a page would run."""
    pairs = shown if isinstance(shown, list) else []
    pairs = [one for one in pairs if isinstance(one, list) and [*map(type, one)] == [str, str]]
    kept = []
    for of_type, text in wire.cut(pairs, room):
        if of_type == "image/png" and _is_png(text):
            kept.append(nbformat.v4.new_output("display_data", {"image/png": text.strip()}))
        elif of_type == "text/plain" and text.strip():
            kept.append(_text(whole(text)))
    return kept


def _line(text: str) -> str:
    """On one line, and nothing but what can be seen."""
    return "".join(c if c.isprintable() else " " for c in whole(text))[:1000]


def _is_png(text: str) -> bool:
    try:
        return base64.b64decode(text.strip(), validate=True).startswith(b"\x89PNG\r\n\x1a\n")
    except ValueError:
        return False


def _harmless(text: str) -> str:
    """Markdown in which no HTML begins, no link, and no formula that makes one."""
    text = re.sub(r"(<)(?=[A-Za-z/!?])|(\])(?=[(:\[])", r"\g<0> ", text)
    return re.sub(r"\\(href|require|unicode|cssId|class|style)\b", r"\\text{\1}", text)
