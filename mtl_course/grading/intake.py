"""From a submission to a notebook that can be graded: the released one, with a student's answers.

A submission is whatever a stranger put into a folder. Only texts are taken from it: of answer
cells, and of code cells that the student added.
"""

import copy
import errno
import hashlib
import json
import os
import re
import stat
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path

import nbformat
from dateutil import parser as dates
from nbformat import NotebookNode
from nbgrader.utils import is_solution

FILE_LIMIT = 20_000_000  # bytes of a submitted notebook; its outputs are dropped
_CELL_COUNT = 1000
TEXT_LIMIT = 20_000  # characters of a cell


class Quarantined(ValueError):
    """A submission cannot be graded. The text tells the teaching assistant why."""


def submissions(submitted: Path, name: str) -> dict[str, Path]:
    """Return the folders that hold a submission of this assignment, by student.

    Raises: FileNotFoundError if nothing was collected.
    """
    if not submitted.is_dir():
        raise FileNotFoundError(f"{submitted} is missing: it holds STUDENT/{name}.")
    folders = [path for path in sorted(submitted.iterdir()) if not path.is_symlink()]
    return {student_id(p.name): p / name for p in folders if os.path.lexists(p / name)}


def misplaced(submitted: Path, name: str, names: Sequence[str]) -> dict[str, str]:
    """Return why there is nothing to grade in a student's folder that is not empty.

    names: of all assignments.
    """
    reasons = {}
    for path in sorted(submitted.iterdir()):
        if path.name.startswith(".") and path.is_file():  # the system's
            continue
        student = student_id(path.name)
        try:
            there = sorted(p.name for p in path.iterdir() if p.name not in names)
        except OSError as error:
            reasons[student] = f"its folder cannot be read: {error.strerror}"
            continue
        if path.is_symlink():
            reasons[student] = "its folder is a link"
        elif there and not os.path.lexists(path / name):
            reasons[student] = f"no folder {name}; there is {', '.join(there)[:200]}"
    return reasons


def read(folder: Path, name: str) -> tuple[list[dict], str]:
    """Return a submitted notebook's cells, and its digest. Raises: Quarantined if it has none."""
    raw = read_bytes(folder, name)
    try:
        notebook = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Quarantined(f"{name} is no notebook ({type(error).__name__})") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise Quarantined(f"{name} is no notebook of version 4")
    if len(cells) > _CELL_COUNT:
        raise Quarantined(f"{name} has more than {_CELL_COUNT} cells")
    return cells, hashlib.sha256(raw).hexdigest()


def read_bytes(folder: Path, name: str) -> bytes:
    """Return a file's contents. Raises: Quarantined if it is missing, a link, or too large."""
    try:
        if folder.is_symlink():
            raise Quarantined("its folder is a link")
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG((about := os.fstat(handle)).st_mode):
                raise Quarantined(f"{name} is no file")
            if about.st_nlink > 1:  # perhaps to the solution
                raise Quarantined(f"{name} is a hard link: hand in a copy")
            raw = file.read(FILE_LIMIT + 1)
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.EMLINK)
        why = f"{name} is a link" if link else f"{name} cannot be read: {error.strerror}"
        raise Quarantined(why) from None
    if len(raw) > FILE_LIMIT:
        raise Quarantined(f"{name} is larger than {FILE_LIMIT // 1_000_000} MB")
    return raw


def submission_time(folder: Path) -> tuple[str, list[str]]:
    """Return when a submission was handed in, as nbgrader writes it, and notes about its time."""
    try:
        text = read_bytes(folder, "timestamp.txt")[:100].decode("utf-8-sig").strip()
    except ValueError:  # there is none
        return "", []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", dates.UnknownTimezoneWarning)
            time = dates.parse(text)
    except (ValueError, OverflowError, dates.UnknownTimezoneWarning):
        return "", [f"its timestamp cannot be read, and counts as none: {text!r}"]
    time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    return time.strftime("%Y-%m-%d %H:%M:%S UTC"), []


def student_id(folder: str) -> str:
    """Return a folder's name with what nbgrader or its pages would misread as %XX."""
    special = r"[%*?\[\]{}+/\\<>&\"'\x00-\x1f\x7f\ud800-\udfff]|^[\s.]|\s$"
    return re.sub(special, lambda c: "".join(f"%{b:02X}" for b in os.fsencode(c[0])), folder)


def texts(released: NotebookNode, earlier: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the texts that nbgrader's cells have in this release, or had in earlier ones."""
    found = {name: list(before) for name, before in earlier.items()}
    for cell in released.cells:
        if (name := _grade_id(cell)) and cell.source not in found.setdefault(name, []):
            found[name].append(cell.source)
    return found


def rebuild(
    released: NotebookNode, cells: list[dict], earlier: Mapping[str, Sequence[str]] = {}
) -> tuple[NotebookNode, list[str]]:
    """Return the released notebook with the answers in `cells`, and notes for the assistant.

    earlier: texts of earlier releases, from `texts`: a cell that has one was not edited.
    Of answer cells with one name (copied, or split) those are kept, in order, whose text is not the
    released one. A code cell that the student added follows the cell that it followed; text that
    was added below a written answer is part of it. A missing
    answer cell is left empty: its released text would undo one in a cell of the student's own.
    """
    notes: set[str] = set()
    originals = {_grade_id(cell): cell for cell in released.cells if _grade_id(cell)}
    unwritten = texts(released, earlier)
    written = {n for n, c in originals.items() if c.cell_type == "markdown" and is_solution(c)}
    answers: dict[str, list[str]] = {}
    added: dict[str | None, list[str]] = {}  # by the cell before it
    previous = None
    for cell in cells:
        name, text = _grade_id(cell), _text(cell)
        fits = text is not None and len(text) <= TEXT_LIMIT
        if name not in originals:
            if text and fits and cell.get("cell_type") == "code":
                added.setdefault(previous, []).append(text)
            elif text and fits and cell.get("cell_type") == "markdown" and previous in written:
                answers.setdefault(previous, []).append(text)
            continue
        previous = name
        if not is_solution(originals[name]):
            if text not in unwritten[name]:
                notes.add(f"{name} was edited, and stands as released")
        elif fits:
            if name in answers:
                notes.add(f"{name} is there more than once")
            answers.setdefault(name, []).append(text)
        else:
            notes.add(f"{name} has no text, or too much of it")

    rebuilt = copy.deepcopy(released)
    rebuilt.cells = [nbformat.v4.new_code_cell(text) for text in added.get(None, [])]
    for cell in copy.deepcopy(released.cells):
        name = _grade_id(cell)
        more = added.get(name, []) if name else []
        if is_solution(cell):
            own = [text for text in answers.get(name, []) if text not in unwritten[name]]
            if name not in answers:
                notes.add(f"{name} is missing")
            if cell.cell_type == "markdown":
                cell.source = "\n\n".join(own) or cell.source
            elif own or name not in answers:
                cell.source, more = "".join(own[:1]), own[1:] + more
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        rebuilt.cells += [cell, *map(nbformat.v4.new_code_cell, more)]
    return rebuilt, sorted(notes)


def _grade_id(cell: dict) -> str | None:
    try:
        name = cell["metadata"]["nbgrader"]["grade_id"]
    except (KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _text(cell: dict) -> str | None:
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return valid(source) if isinstance(source, str) else None


def valid(text: str) -> str:
    """Return text without halves of surrogate pairs, which only JSON takes for text."""
    return text.encode("utf-8", "replace").decode("utf-8")
