"""The rows of a study: what names them, by which recipe they were made, and how they are kept.

A file of rows is changed under a lock and written whole or not at all. Rows that ship are used
whatever their recipe; of the reader's own, those of another recipe are moved aside.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import filelock
import pandas as pd

from mtl_course.base import atomic
from mtl_course.devices import Machine
from mtl_course.storage import writable
from mtl_course.studies import golden

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """A grid and the function that trains one cell of it.

    question: what the study asks, one sentence.
    grid: one mapping a cell, all with the same keys.
    source: ``source(seed=…)`` makes what the cells of one seed share: a network pretrained on A, or
        the images that all of them learn from.
    train: ``train(source, seed=…, **cell)`` trains one network and returns its scores. Either may
        be a plan (`plans`), so that a GPU trains many at once.
    seeds: the seeds whose rows ship with the course.
    settings: every constant the rows depend on; when one changes, older rows are stale.
    golden: which golden run guards the rows, see the module `golden`.
    shared_by: the key that `source` depends on besides the seed, ``source(seed=…, key=…)``: cells
        that agree in it share a source, such as the trunk of one A.
    over: the way that the others are set against; None where there is none.
    blank: what stands in the columns that mean nothing to that way; "from scratch" has no A.
    score: what they are compared by.
    """

    question: str
    grid: Sequence[Mapping[str, object]]
    source: Callable[..., object]
    train: Callable[..., dict[str, object]]
    seeds: Sequence[int]
    settings: Mapping[str, object]
    golden: str = "digits"
    shared_by: str | None = None
    over: str | None = None
    blank: Mapping[str, object] = field(default_factory=dict)
    score: str = "accuracy"

    @property
    def keys(self) -> list[str]:
        """The columns that name a cell."""
        return list(self.grid[0])


def marks(rows: pd.DataFrame, chosen: Study) -> list[tuple]:
    """Return what makes each row the one it is: its seed and its cell."""
    if rows.empty:
        return []
    return list(rows[["seed", *chosen.keys]].astype(object).itertuples(index=False, name=None))


# ---------------------------------------------------------------------- the recipe


def recipe(chosen: Study) -> str:
    """Return the recipe of rows that ship: a digest of the stored golden run and the settings."""
    return _recipe(chosen, golden.stored(chosen.golden))


def recipe_here(chosen: Study) -> str:
    """Return the recipe of rows that this machine trains: another where it gives other numbers."""
    return _recipe(chosen, golden.digest(chosen.golden))


def _recipe(chosen: Study, digest: str) -> str:
    settings = json.dumps(chosen.settings, sort_keys=True)
    return hashlib.sha256((digest + settings).encode()).hexdigest()[:8]


# ---------------------------------------------------------------------- keeping rows


def stored(
    name: str, chosen: Study, shipped: Sequence[Path], kept: Path, ships: bool
) -> pd.DataFrame:
    """Return the shipped rows and those that are kept, each cell and seed once.

    shipped: folders. kept: a file. ships: it shall ship too.
    Shipped rows of another recipe stand behind all others, and are used with a warning.
    Raises: ValueError if a file that ships is damaged.
    """
    current, others = [], []
    for path in (folder / f"{name}.csv" for folder in shipped):
        if path != kept:  # whoever ships rows has these trained again
            rows, wrong = _read(path, chosen)
            if wrong and wrong.rows is None:
                raise ValueError(f"{path} is damaged ({wrong.why}): restore it from git.")
            current.append(rows)
            if wrong:
                others.append(wrong.rows)
    rows = _once([*current, _own(kept, chosen, ships)], chosen)
    both = _once([rows, *others], chosen)
    if used := len(both) - len(rows):
        there = ", ".join(sorted(both["recipe"].iloc[len(rows) :].unique()))
        warn_once(
            f"{name}: {used} shipped rows have the recipe {there}, and today's is "
            f"{recipe(chosen)}: training or a setting has changed since they were made. They stay "
            "in use, but new rows may not be comparable with them. To compare: "
            f"python -m mtl_course studies {name} --fresh trains all rows again into results/fresh."
        )
    return both


def _once(parts: Sequence[pd.DataFrame], chosen: Study) -> pd.DataFrame:
    """Join the parts to one table, with the first of the rows of one cell and seed."""
    parts = [part for part in parts if len(part)]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return rows[~pd.Index(marks(rows, chosen)).duplicated()] if len(rows) else rows


class _Wrong(NamedTuple):
    """What cannot be used of a file: its rows of another recipe, or None, if it is damaged."""

    why: str
    rows: pd.DataFrame | None


def _read(
    path: Path, chosen: Study, *, made_here: bool = False
) -> tuple[pd.DataFrame, _Wrong | None]:
    """Read the rows of a file that have the stored recipe, and what else is in it.

    made_here: rows with the recipe of this machine are as good.
    """
    needed = ["study", *chosen.keys, "seed", "recipe"]
    if not path.exists():
        return pd.DataFrame(), None
    try:
        rows = pd.read_csv(path, dtype={"recipe": str})
        if lost := set(needed) - set(rows.columns):
            raise ValueError(f"the columns {', '.join(sorted(lost))} are missing")
        if rows[needed].isna().any(axis=None):
            raise ValueError("a row is cut short")
    except (ValueError, pd.errors.ParserError) as error:
        return pd.DataFrame(), _Wrong(str(error), None)
    other = rows["recipe"] != recipe(chosen)
    if made_here and other.any():  # the golden run takes seconds
        other &= rows["recipe"] != recipe_here(chosen)
    why = ", ".join(sorted(rows.loc[other, "recipe"].unique()))
    return rows[~other], _Wrong(why, rows[other]) if other.any() else None


def _own(path: Path, chosen: Study, ships: bool = False) -> pd.DataFrame:
    """Read the reader's own rows. What cannot be used is moved aside, never overwritten.

    Where they ship it stays: rows that are trained now take the place of older ones.
    """
    if not path.exists():
        return pd.DataFrame()
    # Windows replaces no file that somebody is reading.
    with _locked(path) if writable(path.parent) else contextlib.nullcontext():
        rows, wrong = _read(path, chosen, made_here=True)
        if wrong and ships:
            if wrong.rows is None:
                raise ValueError(f"{path} is damaged ({wrong.why}): restore it from git.")
        elif wrong:
            aside = _aside(path, "damaged" if wrong.rows is None else "older")
            if len(rows):
                _write(path, rows)
            what = "is damaged" if wrong.rows is None else "has rows of an older recipe"
            _log.warning("%s %s (%s): kept as %s.", path, what, wrong.why, aside)
    return rows


def _aside(path: Path, why: str) -> Path:
    """Moves a file to a free name beside it. Returns: the new path."""
    number = 1
    while (target := path.with_name(f"{path.stem}.{why}-{number}.csv")).exists():
        number += 1
    return path.rename(target)


def _locked(path: Path) -> filelock.BaseFileLock:
    """Return the lock of a file: two that change it at once would lose each other's rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))


def _write(path: Path, rows: pd.DataFrame) -> None:
    with atomic(path) as file:
        rows.to_csv(file, index=False, lineterminator="\n")


def append(path: Path, rows: pd.DataFrame, chosen: Study) -> None:
    """Add rows to a file; they take the place of those of the same cell and seed."""
    with _locked(path):
        if path.exists():
            rows = pd.concat([pd.read_csv(path, dtype={"recipe": str}), rows], ignore_index=True)
        _write(path, rows.drop_duplicates(["seed", *chosen.keys], keep="last"))


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, unless this process has said it already."""
    _log.warning(message)


# ---------------------------------------------------------------------- rows of a fresh run


def unfinished_file(folder: Path, name: str, place: Machine) -> Path:
    """Return where a fresh run keeps its rows until it has all; machines do not mix."""
    return folder / "fresh" / f"{name}.unfinished-{place.device.type}-{place.precision}.csv"


def begun(path: Path, chosen: Study, wanted: set[tuple]) -> pd.DataFrame:
    """Return the rows that an interrupted fresh run has left, as far as they are wanted."""
    rows = _own(path, chosen)
    rows = rows[[mark in wanted for mark in marks(rows, chosen)]] if len(rows) else rows
    if len(rows):
        _log.warning(
            "fresh=True resumes an interrupted run: %d of %d networks are in %s already; delete "
            "that file to start over.", len(rows), len(wanted), path,
        )  # fmt: skip
    return rows


def finish(path: Path, rows: pd.DataFrame, chosen: Study) -> None:
    """Move the rows of a fresh run that has all of them, so that the next trains them again."""
    with _locked(path):
        _write(path.with_name(path.name.replace(".unfinished-", ".finished-")), rows)
        if path.exists():
            left, done = pd.read_csv(path, dtype={"recipe": str}), set(marks(rows, chosen))
            left = left[[mark not in done for mark in marks(left, chosen)]]
            if len(left):  # of a run with other seeds or cells
                _write(path, left)
            else:
                path.unlink()
