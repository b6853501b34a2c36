"""The rows of a study: what names them, by which recipe they were made, and how they are kept.

A file of rows is changed under a lock and written whole or not at all. Rows that ship are used
whatever their recipe; of the reader's own, those of another recipe are moved aside.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import pandas as pd

from mtl_course.base import atomic
from mtl_course.storage import writable
from mtl_course.studies import golden

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """A grid and the function that trains one cell of it.

    question: what the study asks, one sentence.
    grid: one mapping a cell, all with the same keys.
    source: ``source(seed=…, fit=…)`` makes what the cells of one seed share: a network pretrained
        on A, or the images that all of them learn from.
    train: ``train(source, seed=…, fit=…, **cell)`` trains one network and returns its scores.
    seeds: the seeds whose rows ship with the course.
    settings: every constant the rows depend on; when one changes, older rows are stale.
    golden: which golden run guards the rows, see the module `golden`.
    shared_by: a key, or several, that `source` takes as well: cells that agree in them share one
        source.
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
    shared_by: str | Sequence[str] | None = None
    over: str | None = None
    blank: Mapping[str, object] = field(default_factory=dict)
    score: str = "accuracy"

    @property
    def keys(self) -> list[str]:
        """The columns that name a cell."""
        return list(self.grid[0])

    @property
    def shared(self) -> list[str]:
        """The keys that a source depends on, besides the seed."""
        by = self.shared_by or []
        return [by] if isinstance(by, str) else list(by)


def marks(rows: pd.DataFrame, chosen: Study) -> list[tuple]:
    """Return what makes each row the one it is: its seed and its cell."""
    if rows.empty:
        return []
    return list(rows[["seed", *chosen.keys]].astype(object).itertuples(index=False, name=None))


def recipe(chosen: Study, *, here: bool = False) -> str:
    """Return the recipe of rows that ship: a digest of the stored golden run and the settings.

    here: of rows that this machine trains, which is another where it gives other numbers.
    """
    digest = (golden.digest if here else golden.stored)(chosen.golden)
    settings = json.dumps(chosen.settings, sort_keys=True)
    return hashlib.sha256((digest + settings).encode()).hexdigest()[:8]


# ---------------------------------------------------------------------- reading rows


def stored(
    name: str, chosen: Study, shipped: Sequence[Path], kept: Path, ships: bool
) -> pd.DataFrame:
    """Return the shipped rows and those that are kept, each cell and seed once.

    Shipped rows of another recipe come after all others, and are used with a warning.

    shipped: folders. kept: a file. ships: whether it ships, too.
    Raises: ValueError if a file that ships is damaged.
    """
    files = [folder / f"{name}.csv" for folder in shipped]
    # Whoever ships rows has those of another recipe trained again.
    parts, now = [_read(file, chosen) for file in files if file != kept], recipe(chosen)
    current = [part[part["recipe"] == now] for part in parts] + [own(kept, chosen, ships)]
    parts = [*current, *(part[part["recipe"] != now] for part in parts)]
    parts = [part for part in parts if len(part)] or [pd.DataFrame()]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows[~pd.Index(marks(rows, chosen)).duplicated()]
    used = rows[rows.index >= sum(map(len, current))]
    if len(used):
        warn_once(
            f"{name}: {len(used)} shipped rows have the recipe "
            f"{', '.join(sorted(used['recipe'].unique()))}, and today's is {now}: training or a "
            "setting has changed since they were made. They stay in use, but new rows may not be "
            f"comparable with them. To compare: python -m mtl_course studies {name} --fresh trains "
            "all rows again into results/fresh."
        )
    return rows


def own(path: Path, chosen: Study, ships: bool = False) -> pd.DataFrame:
    """Return the rows of a reader's file that this machine could have trained.

    What cannot be used is moved aside, never overwritten; but not in a file that ships, in which
    rows that are trained now take the place of older ones.
    """
    if not path.exists():
        return pd.DataFrame()
    # Windows replaces no file that somebody is reading.
    with _locked(path) if writable(path.parent) else contextlib.nullcontext():
        try:
            rows = _read(path, chosen)
        except ValueError as error:
            if ships:
                raise
            aside = _aside(path, "damaged")
            _log.warning("%s is damaged (%s): kept as %s.", path, error.__cause__, aside)
            return pd.DataFrame()
        older = rows["recipe"] != recipe(chosen)
        if older.any():  # the golden run takes seconds
            older &= rows["recipe"] != recipe(chosen, here=True)
        if older.any() and not ships:
            why, aside = ", ".join(sorted(rows["recipe"][older].unique())), _aside(path, "older")
            if not older.all():
                _write(path, rows[~older])
            _log.warning("%s has rows of an older recipe (%s): kept as %s.", path, why, aside)
    return rows[~older]


def _read(path: Path, chosen: Study) -> pd.DataFrame:
    """Return the rows of a file; none if it does not exist. Raises: ValueError if it is damaged."""
    needed = ["study", *chosen.keys, "seed", "recipe"]
    if not path.exists():
        return pd.DataFrame(columns=needed)
    try:
        about = path.stat()
        rows = _parsed(path, about.st_mtime_ns, about.st_size).copy()
        if lost := set(needed) - set(rows.columns):
            raise ValueError(f"the columns {', '.join(sorted(lost))} are missing")
        if rows[needed].isna().any(axis=None):
            raise ValueError("a row is cut short")
    except ValueError as error:  # pandas' own are ValueErrors, too
        raise ValueError(f"{path} is damaged ({error}): restore it from git.") from error
    return rows


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed: int, size: int) -> pd.DataFrame:
    """Parse a file once while it does not change: a table of claims asks for it a hundred times."""
    return pd.read_csv(path, dtype={"recipe": str})


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, unless this process has said it already."""
    _log.warning(message)


# ---------------------------------------------------------------------- keeping rows


def append(path: Path, rows: pd.DataFrame, chosen: Study) -> None:
    """Add rows to a file; they take the place of those of the same cell and seed."""
    with _locked(path):
        before = pd.read_csv(path, dtype={"recipe": str}) if path.exists() else rows[:0]
        rows = pd.concat([before, rows], ignore_index=True) if len(before) else rows
        _write(path, rows.drop_duplicates(["seed", *chosen.keys], keep="last"))


def _write(path: Path, rows: pd.DataFrame) -> None:
    with atomic(path) as file:
        rows.to_csv(file, index=False, lineterminator="\n")


def _locked(path: Path) -> filelock.BaseFileLock:
    """Return the lock of a file: two that change it at once would lose each other's rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))


def _aside(path: Path, why: str) -> Path:
    """Move a file to a free name beside it. Returns: the new path."""
    names = (path.with_name(f"{path.stem}.{why}-{number}.csv") for number in itertools.count(1))
    return path.rename(next(name for name in names if not name.exists()))


def resumed(path: Path, chosen: Study, wanted: Container[tuple]) -> pd.DataFrame:
    """Return the wanted rows that an interrupted fresh run has left.

    If it has left all of them it was finished: they go to ``….before.csv``, to be trained again.
    """
    rows = own(path, chosen)
    rows = rows[[mark in wanted for mark in marks(rows, chosen)]]
    if len(rows) < len(wanted):
        if len(rows):
            text = "fresh=True resumes an interrupted run: %d of %d networks are in %s already; "
            _log.warning(text + "delete that file to start over.", len(rows), len(wanted), path)
        return rows
    with _locked(path):
        rows = _read(path, chosen)
        done = pd.Series([mark in wanted for mark in marks(rows, chosen)], rows.index)
        _write(path.with_suffix(".before.csv"), rows[done])
        _write(path, rows[~done])
    return rows[:0]
