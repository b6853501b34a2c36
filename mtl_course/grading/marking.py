"""One submission: rebuilt, run in the sandbox, checked from outside, and written down.

The results are a record (seed, versions, limits, what each check said) and the rebuilt notebook,
with outputs for the teaching assistant and, under each check, points that nbgrader takes from
there. Only the grader writes points.
"""

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
from nbgrader.utils import is_grade, is_solution

from mtl_course.base import derive_seed
from mtl_course.grading import sandbox, wire
from mtl_course.grading.checks import Student, Wrong
from mtl_course.grading.intake import Quarantined, read, rebuild, valid
from mtl_course.grading.sandbox import Died, Kernel, Limits


@dataclass(frozen=True)
class Assignment:
    """What submissions are graded by: their notebook, the file of checks, their inputs' seed."""

    name: str
    released: Path
    checks: Path
    seed: int
    limits: Limits
    due: str = ""
    earlier: Mapping[str, Sequence[str]] = field(default_factory=dict)  # released texts, by cell

    def conditions(self) -> dict:
        """Return what a score depends on besides the submission, and a digest of it."""
        names = ("mtl_course", "torch", "numpy", "ipython", "nbgrader")
        versions = {name: version(name) for name in names}
        versions |= {"python": platform.python_version(), "bubblewrap": sandbox.version()}
        conditions = {"seed": self.seed, "limits": asdict(self.limits), "versions": versions}
        files = self.released.read_bytes() + self.checks.read_bytes()
        digest = hashlib.sha256(files + json.dumps(conditions).encode()).hexdigest()
        return conditions | {"digest": digest, "due": self.due}

    def exercises(self) -> Mapping[str, Sequence[Callable[[Student, np.random.Generator], None]]]:
        """Return checks by exercise. Raises: ValueError if the notebook has other exercises."""
        exercises = runpy.run_path(str(self.checks))["EXERCISES"]
        odd = set(exercises) ^ set(_check_cells(nbformat.read(self.released, as_version=4)))
        if odd:
            both = f"{self.checks.name} and {self.released.name}"
            raise ValueError(f"{both} must have the same exercises: {', '.join(sorted(odd))}.")
        return exercises


def mark(assignment: Assignment, folder: Path) -> tuple[dict, NotebookNode | None]:
    """Return the record of the submission in `folder`, and its notebook, marked.

    If it is quarantined, or grading it failed, the record says why, and there is no notebook.
    """
    start = time.monotonic()
    record = {"assignment": assignment.name, "against": assignment.conditions(), "notes": []}
    try:
        cells, record["digest"] = read(folder, f"{assignment.name}.ipynb")
        released = nbformat.read(assignment.released, as_version=4)
        notebook, notes = rebuild(released, cells, assignment.earlier)
        with closing(_Session(notebook, assignment.limits, notes)) as session:
            results = _check(assignment, notebook, Student(session.kernel), notes)
        for cell in notebook.cells:
            if cell.cell_type == "markdown" and is_solution(cell):
                cell.source = _harmless(cell.source)
        notes = sorted({_line(note) for note in notes})
        seconds = round(time.monotonic() - start, 1)
        return record | {"exercises": results, "notes": notes, "seconds": seconds}, notebook
    except Quarantined as error:
        return record | {"quarantined": str(error), "exercises": {}}, None
    except Exception as error:  # which must not cost the others their grades
        why = _line(f"grading it failed, and is tried again: {type(error).__name__}: {error}")
        return record | {"failed": why, "digest": None, "exercises": {}}, None


class _Session:
    """A notebook that runs in one sandbox after another, until its time is over.

    A cell that ends its sandbox is left out from then on. The graded cells never run.
    """

    def __init__(self, notebook: NotebookNode, limits: Limits, notes: list[str]) -> None:
        self._limits, self._notes = limits, notes
        self._spent = 0.0  # seconds of computing, in sandboxes that have ended
        self._end = time.monotonic() + sandbox.PATIENCE * limits.total_seconds
        checks = _check_cells(notebook).values()
        self._cells = [c for c in notebook.cells if c.cell_type == "code" and c not in checks]
        self._kernel: Kernel | None = None

    def close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()

    def kernel(self) -> Kernel:
        """Return a kernel in which the cells have run. Raises: Died if no time is left."""
        while self._kernel is None or self._kernel.dead or self._left() < 0:
            if self._kernel is not None:
                self._kernel.close()
                self._spent, self._kernel = self._spent + self._kernel.seconds, None
            if self._left() < 0:
                self._notes.append("stopped: no time is left for this notebook")
                raise Died(self._notes[-1])
            self._kernel = Kernel(self._limits)
            self._run(self._kernel)
        return self._kernel

    def _left(self) -> float:
        """Return the seconds of computing that are left for this notebook."""
        now = 0 if self._kernel is None else self._kernel.seconds
        by_the_clock = (self._end - time.monotonic()) / sandbox.PATIENCE
        return min(self._limits.total_seconds - self._spent - now, by_the_clock)

    def _run(self, kernel: Kernel) -> None:
        room = 10 * self._limits.output  # characters, of all cells
        for cell in list(self._cells):
            if (left := self._left()) < 0:
                return
            try:
                outputs = kernel.request({"cell": cell.source}, min(self._limits.seconds, left))
            except Died as died:
                cell.outputs = [_text(f"This cell was {died}, and is left out.\n")]
                name = cell.metadata.get("nbgrader", {}).get("grade_id", "a cell of the student's")
                self._notes.append(f"{name} was {died}")
                self._cells.remove(cell)
                return
            cell.outputs = _kept(outputs, max(0, min(self._limits.output, room)))
            room -= sum(len(str(output)) for output in cell.outputs)


def _check_cells(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """Return the cells under which points are written, by exercise."""
    cells = [c for c in notebook.cells if c.cell_type == "code" and is_grade(c)]
    return {c.metadata.nbgrader.grade_id: c for c in cells if not is_solution(c)}


def _check(assignment: Assignment, notebook: NotebookNode, student: Student, notes: list) -> dict:
    """Return points, score and what each check said, by exercise; write them into the notebook."""
    cells, results = _check_cells(notebook), {}
    for name, checks in assignment.exercises().items():
        parts, lines = [], ""
        for check in checks:
            draw = np.random.default_rng(derive_seed(assignment.seed, f"{name}: {check.__name__}"))
            reason = ""
            try:
                check(student, draw)
            except Wrong as wrong:
                reason = _line(str(wrong)) or "It is wrong."
            except sandbox.Refused:  # no fault of the student's
                raise
            except Exception as error:  # an answer that the check's author did not think of
                reason = "The check can make nothing of the answer."
                notes.append(f"{check.__name__} of {name}: {type(error).__name__}: {error}"[:300])
            about = (check.__doc__ or check.__name__).strip().splitlines()[0]
            parts.append({"about": about, "passed": not reason, "said": reason})
            lines += f"✗ {about}\n  {reason}\n" if reason else f"✓ {about}\n"
        points = float(cells[name].metadata.nbgrader.points)
        score = round(points * sum(part["passed"] for part in parts) / len(parts), 2)
        results[name] = {"points": points, "score": score, "parts": parts}
        shown = nbformat.v4.new_output("execute_result", {"text/plain": str(score)})
        cells[name].outputs = [_text(lines), shown]
    return results


def _text(text: str) -> NotebookNode:
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def _kept(outputs: object, limit: int) -> list[NotebookNode]:
    """Return text and PNG pictures, up to `limit` characters: nothing that a page would run."""
    pairs = outputs if isinstance(outputs, list) else []
    pairs = [one for one in pairs if isinstance(one, list) and [*map(type, one)] == [str, str]]
    kept = []
    for of_type, text in wire.cut(pairs, limit):
        if of_type == "image/png" and _is_png(text):
            kept.append(nbformat.v4.new_output("display_data", {"image/png": text.strip()}))
        elif of_type == "text/plain" and text.strip():
            kept.append(_text(valid(text)))
    return kept


def _is_png(text: str) -> bool:
    try:
        return base64.b64decode(text.strip(), validate=True).startswith(b"\x89PNG\r\n\x1a\n")
    except ValueError:
        return False


def _line(text: str) -> str:
    """Return text on one line, in visible characters."""
    return "".join(c if c.isprintable() else " " for c in valid(text))[:1000]


def _harmless(text: str) -> str:
    """Return Markdown in which no HTML begins, no link, and no formula that makes one."""
    text = re.sub(r"(<)(?=[A-Za-z/!?])|(\])(?=[(:\[])", r"\g<0> ", text)
    return re.sub(r"\\(href|require|unicode|cssId|class|style)\b", r"\\text{\1}", text)
