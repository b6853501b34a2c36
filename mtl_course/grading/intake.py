"""From a submission to a notebook that can be graded: the released one, with a student's answers.

A submission is whatever a stranger put into a folder. Nothing is taken from it but the text of its
answer cells, and of code cells that the student added; all else is the released notebook's own.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import nbformat
from nbformat import NotebookNode

LARGEST = 20_000_000  # bytes of a submitted notebook; its outputs are dropped
_LONGEST = 20_000  # characters of an answer
_MOST = 200  # cells that a student added


class Quarantined(ValueError):
    """A submission cannot be graded. The text tells the teaching assistant why."""


def read(folder: Path, name: str) -> tuple[list[dict], str]:
    """The cells of `name` in a submission's folder, and its digest.

    Raises: Quarantined if it is missing, a link, too large, or not a notebook.
    """
    raw = read_bytes(folder, name)
    try:
        notebook = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Quarantined(f"{name} is no notebook ({type(error).__name__})") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise Quarantined(f"{name} is no notebook of version 4")
    return cells, hashlib.sha256(raw).hexdigest()


def read_bytes(folder: Path, name: str) -> bytes:
    """What the file `name` in a submission's folder holds.

    Raises: Quarantined if it is missing, a link, no file, or too large.
    """
    try:
        if folder.is_symlink():
            raise Quarantined("its folder is a link")
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Quarantined(f"{name} is no file")
            raw = file.read(LARGEST + 1)
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.EMLINK)
        why = f"{name} is a link" if link else f"{name} cannot be read: {error.strerror}"
        raise Quarantined(why) from None
    if len(raw) > LARGEST:
        raise Quarantined(f"{name} is larger than {LARGEST // 1_000_000} MB")
    return raw


def rebuilt(released: NotebookNode, cells: list[dict]) -> tuple[NotebookNode, list[str]]:
    """The released notebook with the answers in `cells`, and what a teaching assistant should know.

    Of answer cells with one name, as copying and splitting make them, all stand there, in order,
    that differ from the released text. A code cell that the student added stands behind the cell
    that it stood behind. An answer cell that is missing is empty: what stands there as released
    would undo an answer in a cell of the student's own.
    """
    notes: list[str] = []
    known = {_id(cell): cell for cell in released.cells if _id(cell)}
    answers, added, last = {}, {}, None
    room = _MOST
    for cell in cells:
        name, text = _id(cell), _text(cell)
        if name in known:
            last = name
            released_text = known[name].source
            if kind(known[name]) != "answer":
                if text != released_text:
                    notes.append(f"{name} was edited, and stands as released")
            elif text is None or len(text) > _LONGEST:
                notes.append(f"{name} has no text, or too much of it")
            else:
                if name in answers:
                    notes.append(f"{name} is there more than once")
                answers.setdefault(name, []).append(text)
                del answers[name][20:]
        elif cell.get("cell_type") == "code" and text and len(text) <= _LONGEST and room:
            room -= 1
            added.setdefault(last, []).append(text)
    if not room:
        notes.append(f"of the student's own cells the first {_MOST} are taken")

    made = copy.deepcopy(released)
    made.cells = list(_new_cells(added.get(None, [])))
    for cell in copy.deepcopy(released.cells):
        name = _id(cell)
        if kind(cell) == "answer":
            texts = [text for text in answers.get(name, []) if text != cell.source]
            if name not in answers:
                notes.append(f"{name} is missing")
            if cell.cell_type == "markdown":
                cell.source = "\n\n".join(texts) or cell.source
            elif texts or name not in answers:
                cell.source, *more = texts or [""]
                added[name] = more + added.get(name, [])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        made.cells.append(cell)
        if name:
            made.cells.extend(_new_cells(added.get(name, [])))
    return made, sorted(set(notes))


def _new_cells(texts: list[str]) -> list[NotebookNode]:
    return [nbformat.v4.new_code_cell(text) for text in texts]


def _id(cell: dict) -> str | None:
    try:
        name = cell["metadata"]["nbgrader"]["grade_id"]
    except (KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def kind(cell: NotebookNode) -> str:
    """Whether a student writes it ("answer"), it is locked and graded ("check"), or "given"."""
    about = cell.metadata.get("nbgrader", {})
    if about.get("solution"):
        return "answer"
    return "check" if about.get("grade") else "given"


def _text(cell: dict) -> str | None:
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return whole(source) if isinstance(source, str) else None


def whole(text: str) -> str:
    """Without halves of surrogate pairs, which are text to JSON, and to nothing else."""
    return text.encode("utf-8", "replace").decode("utf-8")
