"""The runner: every cell of a study's grid over paired seeds, in parallel, as rows that are kept.

What is run stands in `experiments`. One row is one trained network: its configuration, its seed,
its scores, and what it was trained with. Rows that ship with the course lie in ``assets/studies``;
rows that you train go to `results_folder`. `python -m mtl_course.studies --help` trains any of them
again.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib
import inspect
import itertools
import json
import logging
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import filelock
import joblib
import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from mtl_course import golden, training
from mtl_course.base import (
    HOME,
    Interrupted,
    atomic,
    printable_output,
    results_folder,
    threads,
    whole,
    writable,
)
from mtl_course.plans import Plan, carry_out, carry_out_together
from mtl_course.verdicts import gain, interval, predicted

__all__ = ["SHIPPED", "Study", "gain", "interval", "predicted", "recipe", "run", "study"]

SHIPPED = HOME / "assets" / "studies"
OTHERS = "other_seeds"  # the folder in it with rows of seeds that are in no figure

_GROUPS_TOGETHER = 10  # on a GPU; ten A's of 1,000,000 scenes of 32 × 32 are 31 GB

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


def study(name: str) -> Study:
    """The study of that name in `experiments`.

    Raises: ValueError if there is none, with the names that there are.
    """
    known = importlib.import_module("mtl_course.experiments").STUDIES
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(sorted(known))}; got {name!r}.")
    return known[name]


# ---------------------------------------------------------------------- running


def run(
    name: str | Study,
    seeds: Iterable[int] | None = None,
    *,
    only: Mapping[str, Sequence] | None = None,
    fresh: bool = False,
    shipped: bool = True,
    store: Path | str | None = None,
    source: object = None,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The rows of a study: stored ones are read, missing ones are trained and stored.

    Shipped rows are used as they are, also when training or a setting has changed since; a warning
    says so then.

    name: of a study in `experiments`; or a study of your own, whose rows are not stored.
    seeds: None takes those that ship with the course. only: ``{"labels": [100]}`` keeps the cells
    with these values. fresh: True trains every row, and keeps them apart, in the folder ``fresh``
    of the store, from which only a call that was broken off goes on. With a source, none is kept.
    shipped: False leaves aside the rows that ship with the course.
    store: the folder for new rows, each of which is in it as soon as it is trained; None takes
    `results_folder()`.
    source: what all cells share in place of the study's own, such as another trunk. Rows that ship
    have another source and are left out.
    jobs: processes of one thread each; None takes one a core. They run where joblib is set to run
    them: within ``joblib.parallel_config("dask")`` the same call uses a Dask cluster. On a GPU
    there are none, but networks of one shape train side by side.
    Returns: one row a trained network, sorted by cell and seed; `attrs["keys"]` names the columns
        of a cell.
    Raises: ValueError for an unknown study, key or value, a damaged file of shipped rows, a store
        that cannot be written to, or a source where the cells of a seed do not share one;
        KeyboardInterrupt, when interrupted, which says what is kept.
    """
    chosen, own = (name, True) if isinstance(name, Study) else (study(name), False)
    name = chosen.question if own else name
    seeds = chosen.seeds if seeds is None else seeds
    seeds = list(dict.fromkeys(whole("seeds", seed, least=0) for seed in seeds))
    if not seeds:
        raise ValueError("seeds must hold at least one seed.")
    if source is not None and chosen.shared_by is not None:
        raise ValueError(f"source: in {name} each {chosen.shared_by} has a source of its own.")
    cells = _cells(chosen, only or {})
    wanted = {(seed, *cell.values()): (seed, cell) for seed in seeds for cell in cells}
    store = results_folder() if store is None else Path(store)
    unfinished = _unfinished(store, name) if fresh and source is None and not own else None
    kept = unfinished if fresh or own else store / f"{name}.csv"
    if unfinished is not None:
        rows = _begun(unfinished, chosen, set(wanted))
    elif kept is not None:
        ours = [SHIPPED, SHIPPED / OTHERS] if shipped and source is None else []
        rows = _stored(name, chosen, ours, kept)
    else:
        rows = pd.DataFrame()
    have = set(_marks(rows, chosen))
    missing = [cell for mark, cell in wanted.items() if mark not in have]
    if missing and kept is not None and not writable(kept.parent):
        raise ValueError(f"store: {kept.parent} cannot be written to; name another folder.")
    left = len(missing)
    try:
        with contextlib.closing(_train(name, chosen, missing, source, jobs, progress)) as training:
            for new in training:
                rows = pd.concat([rows, new], ignore_index=True)
                if kept is not None:
                    _append(kept, new, chosen)
                left -= 1
    except KeyboardInterrupt:
        done = (
            f"Interrupted: {len(wanted) - left} of {len(wanted)} networks of {name!r} are trained"
        )
        raise Interrupted(
            f"{done}, and none is kept: the same call begins anew."
            if kept is None
            else f"{done}; new ones are kept in {kept}, and the same call goes on from there."
        ) from None
    rows = rows[[mark in wanted for mark in _marks(rows, chosen)]]
    if unfinished is not None:
        _finish(unfinished, rows, chosen)
    order = {tuple(cell.values()): i for i, cell in enumerate(cells)}
    place = [order[mark[1:]] for mark in _marks(rows, chosen)]
    rows = rows.iloc[np.lexsort((rows["seed"], place))].reset_index(drop=True)
    rows.attrs["keys"] = chosen.keys
    return rows


def _cells(chosen: Study, only: Mapping[str, Sequence]) -> list[Mapping[str, object]]:
    for key, values in only.items():
        if key not in chosen.keys:
            raise ValueError(f"only: there is no key {key!r}; there are {', '.join(chosen.keys)}.")
        known = {cell[key] for cell in chosen.grid}
        if strange := [value for value in values if value not in known]:
            raise ValueError(f"only: {key} has no {strange[0]!r}; it has {sorted(known)}.")
    cells = [c for c in chosen.grid if all(c[key] in values for key, values in only.items())]
    if not cells:
        raise ValueError("only leaves no cell of the grid.")
    return cells


def _marks(rows: pd.DataFrame, chosen: Study) -> list[tuple]:
    """What makes a row the one it is: its seed and its cell."""
    if rows.empty:
        return []
    return list(rows[["seed", *chosen.keys]].astype(object).itertuples(index=False, name=None))


def _train(
    name: str,
    chosen: Study,
    missing: Sequence[tuple],
    source: object,
    jobs: int | None,
    progress: bool,
) -> Iterator[pd.DataFrame]:
    """Trains what is missing; yields each row as soon as its network is trained."""
    groups: dict[tuple, list] = {}
    for seed, cell in missing:
        groups.setdefault((seed, cell.get(chosen.shared_by)), []).append(cell)
    if jobs is not None:
        whole("jobs", jobs, least=1)
    if not groups:
        return
    if golden.digest(chosen.golden) != golden.stored(chosen.golden):
        _warn_once(
            "training gives other numbers here than where the shipped rows were made: "
            + "; ".join(golden.differences(chosen.golden))
        )
    train = _side_by_side if training.machine().device.type == "cuda" else _in_processes
    with tqdm(
        total=len(missing), desc=name, unit="network", disable=not progress, leave=False
    ) as bar:
        for row in train(chosen, groups, source, jobs):
            bar.update()
            yield pd.DataFrame([{"study": name, **row}])


def _in_processes(
    chosen: Study, groups: Mapping, source: object, jobs: int | None
) -> Iterator[dict]:
    """A network a task, each on one thread, wherever joblib is set to send them.

    What the cells of a group share is made first, for as many groups at once as there are
    processes.

    groups: cells, by their seed and the value of the key that their source depends on.
    """
    # More than one where somebody has asked for it: joblib.parallel_config("dask"), say.
    networks = sum(map(len, groups.values()))
    jobs = jobs or max(joblib.effective_n_jobs(None), min(joblib.cpu_count(), networks))
    settings = {"n_jobs": jobs, "return_as": "generator_unordered", "batch_size": 1}
    known = {torch.__version__: _recipe_here(chosen)}
    with joblib.Parallel(**settings) as parallel, warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and warns; where warnings are errors, that
        # would end the thread that hands out the work, and the study would wait for ever.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")
        # What joblib says when the study is interrupted; `run` says it better.
        warnings.filterwarnings("ignore", ".* tasks which were still being processed")
        for now in _waves(groups, jobs):
            if source is None:
                sources = dict(parallel(joblib.delayed(_source)(chosen, *group) for group in now))
            else:
                sources = dict.fromkeys(now, (source, 0.0))
            yield from parallel(
                joblib.delayed(_row)(chosen, sources[group], group[0], cell, known)
                for group in now
                for cell in groups[group]
            )


def _waves(groups: Iterable[tuple], count: int) -> Iterator[list[tuple]]:
    """So many groups at once, those of one kind together: their sources take equally long."""
    kinds: dict[object, list[tuple]] = {}
    for group in groups:
        kinds.setdefault(group[1], []).append(group)
    order = list(itertools.chain.from_iterable(kinds.values()))
    for first in range(0, len(order), count):
        yield order[first : first + count]


def _side_by_side(
    chosen: Study, groups: Mapping, source: object, jobs: int | None
) -> Iterator[dict]:
    """All networks of one shape in one pass, on the GPU, whatever `jobs` says."""
    for now in _waves(groups, _GROUPS_TOGETHER):
        start = time.perf_counter()
        if source is None:
            asked = {group: _plan(_shared(chosen, *group)) for group in now}
            sources = dict(carry_out_together(asked))
        else:
            sources = dict.fromkeys(now, source)
        source_seconds = (time.perf_counter() - start) / len(now)
        start = time.perf_counter()
        plans = {
            (group, number): _plan(chosen.train(sources[group], seed=group[0], **cell))
            for group in now
            for number, cell in enumerate(groups[group])
        }
        for done, ((group, number), scores) in enumerate(carry_out_together(plans), start=1):
            seconds = (time.perf_counter() - start) / done  # a share of what all took together
            cell = groups[group][number]
            yield _as_row(_recipe_here(chosen), group[0], cell, scores, seconds, source_seconds)


def _plan(outcome: object) -> Plan:
    """What a study's function returned, as a plan also where it needs no training."""
    return (yield from outcome) if inspect.isgenerator(outcome) else outcome


def row_plan(name: str, seed: int, cell: Mapping[str, object]) -> Plan[dict[str, object]]:
    """What `run` trains for one row, as a plan, so that it can be watched. Returns: its scores.

    Raises: ValueError for an unknown study, or a cell that its grid does not hold.
    """
    chosen = study(name)
    if cell not in chosen.grid:
        raise ValueError(f"cell must be in the grid of {name}; got {dict(cell)}.")
    source = yield from _plan(_shared(chosen, seed, cell.get(chosen.shared_by)))
    return (yield from _plan(chosen.train(source, seed=seed, **cell)))


def _shared(chosen: Study, seed: int, value: object) -> object:
    """What the cells of one group share, or a plan that makes it."""
    if chosen.shared_by is None:
        return chosen.source(seed=seed)
    return chosen.source(seed=seed, **{chosen.shared_by: value})


def _source(chosen: Study, seed: int, value: object) -> tuple[tuple, tuple]:
    """What the cells of one group share, and the seconds it took. Runs in a worker."""
    with threads(1):
        return (seed, value), _timed(lambda: carry_out(_plan(_shared(chosen, seed, value))))


def _row(chosen: Study, source: tuple, seed: int, cell: Mapping, known: Mapping[str, str]) -> dict:
    """Trains one cell of one seed. Runs in a worker.

    known: recipes by version of torch, so that only a worker with another one needs to ask again.
    """
    shared, source_seconds = source
    with threads(1):
        plan = _plan(chosen.train(shared, seed=seed, **cell))
        scores, seconds = _timed(lambda: carry_out(plan))
        recipe = known.get(torch.__version__) or _recipe_here(chosen)
        return _as_row(recipe, seed, cell, scores, seconds, source_seconds)


def _as_row(
    recipe: str, seed: int, cell: Mapping, scores: Mapping, seconds: float, source_seconds: float
) -> dict:
    place = training.machine()
    about = {
        "seconds": round(seconds, 3),
        "source_seconds": round(source_seconds, 3),
        "device": place.device.type,
        "precision": place.precision,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "recipe": recipe,
    }
    return {**cell, "seed": seed, **scores, **about}


def _timed(function: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


# ---------------------------------------------------------------------- keeping rows


def _stored(name: str, chosen: Study, shipped: Sequence[Path], kept: Path) -> pd.DataFrame:
    """The shipped rows and those that are kept, each cell and seed once.

    shipped: folders. Rows of another recipe stand behind all others, and are used with a warning.
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
    rows = _once([*current, _own(kept, chosen)], chosen)
    both = _once([rows, *others], chosen)
    if used := len(both) - len(rows):
        there = ", ".join(sorted(both["recipe"].iloc[len(rows) :].unique()))
        _warn_once(
            f"{name}: {used} shipped rows have the recipe {there}, and today's is {recipe(name)}: "
            "training or a setting has changed since they were made. They are used as they are, "
            "and rows that are trained now may not be comparable with them. To train them again: "
            f"python -m mtl_course.studies {name} --fresh"
        )
    return both


def _once(parts: Sequence[pd.DataFrame], chosen: Study) -> pd.DataFrame:
    """The parts as one table; of rows of one cell and seed, the first."""
    parts = [part for part in parts if len(part)]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return rows[~pd.Index(_marks(rows, chosen)).duplicated()] if len(rows) else rows


class _Wrong(NamedTuple):
    """What cannot be used of a file: its rows of another recipe, or None, if it is damaged."""

    why: str
    rows: pd.DataFrame | None


def _read(
    path: Path, chosen: Study, *, made_here: bool = False
) -> tuple[pd.DataFrame, _Wrong | None]:
    """The rows of a file that have the stored recipe, and what else is in it.

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
    other = rows["recipe"] != _recipe(chosen, golden.stored(chosen.golden))
    if made_here and other.any():  # the golden run takes seconds
        other &= rows["recipe"] != _recipe_here(chosen)
    why = ", ".join(sorted(rows.loc[other, "recipe"].unique()))
    return rows[~other], _Wrong(why, rows[other]) if other.any() else None


def _own(path: Path, chosen: Study) -> pd.DataFrame:
    """The reader's own rows. What cannot be used is moved aside, never overwritten.

    In ``assets`` it stays: rows that are trained to be shipped take the place of older ones.
    """
    rows, wrong = _read(path, chosen, made_here=True)
    if not wrong:
        return rows
    if SHIPPED in path.parents:
        if wrong.rows is None:
            raise ValueError(f"{path} is damaged ({wrong.why}): restore it from git.")
        return rows
    with _locked(path):
        rows, wrong = _read(path, chosen, made_here=True)  # another process may have been quicker
        if wrong:
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
    """A lock for those who change a file: two at once would each lose the other's rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))


def _write(path: Path, rows: pd.DataFrame) -> None:
    with atomic(path) as file:
        rows.to_csv(file, index=False, lineterminator="\n")


def _append(path: Path, rows: pd.DataFrame, chosen: Study) -> None:
    """Adds rows to a file; they take the place of those of the same cell and seed."""
    with _locked(path):
        if path.exists():
            rows = pd.concat([pd.read_csv(path, dtype={"recipe": str}), rows], ignore_index=True)
        _write(path, rows.drop_duplicates(["seed", *chosen.keys], keep="last"))


# ---------------------------------------------------------------------- rows of a fresh run


def _unfinished(store: Path, name: str) -> Path:
    """Where a fresh run keeps its rows until it has all; machines and precisions do not mix."""
    place = training.machine()
    return store / "fresh" / f"{name}.unfinished-{place.device.type}-{place.precision}.csv"


def _begun(path: Path, chosen: Study, wanted: set[tuple]) -> pd.DataFrame:
    """The rows that a fresh run which was broken off has left, as far as they are wanted."""
    rows = _own(path, chosen)
    rows = rows[[mark in wanted for mark in _marks(rows, chosen)]] if len(rows) else rows
    if len(rows):
        _log.warning(
            "fresh=True goes on with %d of %d networks that a run which was broken off has left in "
            "%s; delete that file to begin anew.", len(rows), len(wanted), path,
        )  # fmt: skip
    return rows


def _finish(path: Path, rows: pd.DataFrame, chosen: Study) -> None:
    """Moves the rows of a fresh run that has all of them, so that the next trains them again."""
    with _locked(path):
        _write(path.with_name(path.name.replace(".unfinished-", ".finished-")), rows)
        if path.exists():
            left, done = pd.read_csv(path, dtype={"recipe": str}), set(_marks(rows, chosen))
            left = left[[mark not in done for mark in _marks(left, chosen)]]
            if len(left):  # of a run with other seeds or cells
                _write(path, left)
            else:
                path.unlink()


# ---------------------------------------------------------------------- the recipe


def recipe(name: str) -> str:
    """The version of how rows of a study are made: 8 hexadecimal digits. Nothing is trained.

    They are a digest of the golden run in ``assets`` and of the study's settings. When training,
    drawing or a setting changes, so do they.
    """
    chosen = study(name)
    return _recipe(chosen, golden.stored(chosen.golden))


def _recipe_here(chosen: Study) -> str:
    """The recipe of rows that this machine trains: another where it gives other numbers."""
    return _recipe(chosen, golden.digest(chosen.golden))


def _recipe(chosen: Study, digest: str) -> str:
    settings = json.dumps(chosen.settings, sort_keys=True)
    return hashlib.sha256((digest + settings).encode()).hexdigest()[:8]


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning(message)


# ---------------------------------------------------------------------- the command


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the rows of a study that are missing; broken off, it goes on there when run again."""
    parser = argparse.ArgumentParser(prog="python -m mtl_course.studies", description=main.__doc__)
    parser.add_argument("name", nargs="?", help="a study; without it, the studies are listed")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those that ship")
    parser.add_argument("--only", action="append", default=[], metavar="KEY=VALUE",
                        help="only these cells, such as labels=100; may be repeated")  # fmt: skip
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--fresh", action="store_true",
                       help="train the shipped rows again, into results/fresh")  # fmt: skip
    place.add_argument("--ship", action="store_true", help="store in assets, for the course")
    parser.add_argument("--jobs", type=int, help="processes; default: one a core")
    parser.add_argument("--golden", action="store_true", help="renew assets/golden_run.json")
    printable_output()
    asked = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    if asked.golden:
        parser.exit(message=f"{golden.FILE}: {golden.write()}\n")
    if asked.name is None:
        known = importlib.import_module("mtl_course.experiments").STUDIES
        parser.exit(
            message="".join(f"{name}: {s.question}{cost(name)}\n" for name, s in known.items())
        )
    try:
        chosen = study(asked.name)
        store = SHIPPED if asked.ship else results_folder() / ("fresh" if asked.fresh else "")
        rows = run(asked.name, asked.seeds, only=_only(chosen, asked.only),
                   shipped=not asked.fresh, store=store, jobs=asked.jobs)  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt as stop:
        parser.exit(130, f"{str(stop) or 'Interrupted.'}\n")
    scores = [score for score in ("accuracy", "auc") if score in rows]
    table = rows.groupby(chosen.keys, sort=False)[scores].agg(["count", "mean", "min", "max"])
    sys.stdout.write(table.round(3).to_string() + "\n")
    parser.exit()


def cost(name: str) -> str:
    """What the shipped rows of a study took: networks and, on a CPU, minutes of one core."""
    path, chosen = SHIPPED / f"{name}.csv", study(name)
    if not path.exists():
        return ""
    rows = pd.read_csv(path)
    groups = ["seed", *([chosen.shared_by] if chosen.shared_by else [])]
    seconds = rows["seconds"].sum() + rows.groupby(groups)["source_seconds"].max().sum()
    on_cpu = set(rows["device"]) == {"cpu"}
    return f" ({len(rows)} networks" + f", {seconds / 60:.0f} minutes of one core" * on_cpu + ")"


def _only(chosen: Study, pairs: Sequence[str]) -> dict[str, list]:
    """``labels=100`` as ``{"labels": [100]}``, in the type that the grid has."""
    only: dict[str, list] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        same = [cell[key] for cell in chosen.grid if str(cell.get(key)) == text]
        only.setdefault(key, []).append(same[0] if same else text)
    return only


if __name__ == "__main__":
    importlib.import_module("mtl_course.studies").main()
