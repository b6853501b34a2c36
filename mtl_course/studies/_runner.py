"""The runner: every cell of a study over paired seeds, in parallel, as rows that are kept.

One row is one trained network: its configuration, its seed, its scores, and what it was trained
with. Rows that ship with the course lie in ``assets/studies``; rows that you train go to
`results_folder`. `python -m mtl_course studies --help` trains any of them again.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from mtl_course import training
from mtl_course.base import HOME, check_count, threads
from mtl_course.devices import on_cpu
from mtl_course.storage import Interrupted, results_folder, writable
from mtl_course.studies import _store, golden
from mtl_course.studies._registry import STUDIES
from mtl_course.studies._store import Study, marks, recipe_here
from mtl_course.studies._together import together

SHIPPED = HOME / "assets" / "studies"
OTHERS = "other_seeds"  # the folder in it with rows of seeds that are in no figure

_GROUPS_TOGETHER = 10  # on a GPU; ten A's of 1,000,000 scenes of 32 × 32 are 31 GB


def study(name: str) -> Study:
    """Return the study of that name.

    Raises: ValueError if there is none, with the names that there are.
    """
    if name not in STUDIES:
        raise ValueError(f"name must be one of {', '.join(sorted(STUDIES))}; got {name!r}.")
    return STUDIES[name]


# ---------------------------------------------------------------------- running


@on_cpu()
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
    of the store, from which only an interrupted call resumes. With a source, none is kept.
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
    seeds = list(dict.fromkeys(check_count("seeds", seed, least=0) for seed in seeds))
    if not seeds:
        raise ValueError("seeds must hold at least one seed.")
    if source is not None and chosen.shared_by is not None:
        raise ValueError(f"source: in {name} each {chosen.shared_by} has a source of its own.")
    cells = _cells(chosen, only or {})
    wanted = {(seed, *cell.values()): (seed, cell) for seed in seeds for cell in cells}
    store = results_folder() if store is None else Path(store)
    unfinished = (
        _store.unfinished_file(store, name, training.machine())
        if fresh and source is None and not own
        else None
    )
    kept = unfinished if fresh or own else store / f"{name}.csv"
    if unfinished is not None:
        rows = _store.begun(unfinished, chosen, set(wanted))
    elif kept is not None:
        ours = [SHIPPED, SHIPPED / OTHERS] if shipped and source is None else []
        rows = _store.stored(name, chosen, ours, kept, ships=SHIPPED in kept.parents)
    else:
        rows = pd.DataFrame()
    have = set(marks(rows, chosen))
    missing = [cell for mark, cell in wanted.items() if mark not in have]
    if missing and kept is not None and not writable(kept.parent):
        raise ValueError(f"store: {kept.parent} cannot be written to; name another folder.")
    left = len(missing)
    try:
        with contextlib.closing(_train(name, chosen, missing, source, jobs, progress)) as trained:
            for new in trained:
                rows = pd.concat([rows, new], ignore_index=True)
                if kept is not None:
                    _store.append(kept, new, chosen)
                left -= 1
    except KeyboardInterrupt:
        done = f"{len(wanted) - left} of {len(wanted)} networks of {name!r} are trained"
        what = (
            "and none is kept: the same call begins anew"
            if kept is None
            else f"new ones are in {kept}, and the same call resumes from there"
        )
        raise Interrupted(f"Interrupted: {done}, {what}.") from None
    rows = rows[[mark in wanted for mark in marks(rows, chosen)]]
    if unfinished is not None:
        _store.finish(unfinished, rows, chosen)
    order = {tuple(cell.values()): i for i, cell in enumerate(cells)}
    place = [order[mark[1:]] for mark in marks(rows, chosen)]
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
        check_count("jobs", jobs, least=1)
    if not groups:
        return
    if golden.digest(chosen.golden) != golden.stored(chosen.golden):
        lines = golden.differences(chosen.golden)
        _store.warn_once(
            "training gives other numbers here than where the shipped rows were made: "
            + "; ".join(lines[:3])
            + f"; and {len(lines) - 3} more" * (len(lines) > 3)
        )
    train = _side_by_side if training.machine().device.type == "cuda" else _in_processes
    bar = tqdm(total=len(missing), desc=name, unit="network", disable=not progress, leave=False)
    with bar, _quiet(training.__name__):
        for row in train(chosen, groups, source, jobs):
            bar.update()
            yield pd.DataFrame([{"study": name, **row}])


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep to itself what training says when it is interrupted: `run` says what is kept."""
    loud = logging.getLogger(logger)
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        yield
    finally:
        loud.setLevel(level)


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
    known = {torch.__version__: recipe_here(chosen)}
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
    """Train networks of one kind in one pass, on the GPU, whatever `jobs` says."""
    for now in _waves(groups, _GROUPS_TOGETHER):
        yield from _wave(chosen, [(g, cell) for g in now for cell in groups[g]], source)


def _wave(chosen: Study, asked: Sequence[tuple], source: object) -> Iterator[dict]:
    """Train a network for each group and cell; without the memory for all, half after half."""
    left = list(asked)
    try:
        for pair, row in _at_once(chosen, asked, source):
            left.remove(pair)
            yield row
        return
    except torch.OutOfMemoryError:
        if len(left) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(left) // 2
    yield from _wave(chosen, left[:half], source)
    yield from _wave(chosen, left[half:], source)


def _at_once(chosen: Study, asked: Sequence[tuple], source: object) -> Iterator[tuple[tuple, dict]]:
    """Train them all at once. Yields: group and cell, and the row."""
    now = list(dict.fromkeys(group for group, _ in asked))
    start = time.perf_counter()
    if source is None:
        sources = dict(together({group: _shared(chosen, *group) for group in now}))
    else:
        sources = dict.fromkeys(now, source)
    source_seconds = (time.perf_counter() - start) / len(now)
    start = time.perf_counter()
    works = {
        number: _cell(chosen, sources[group], group[0], cell)
        for number, (group, cell) in enumerate(asked)
    }
    for done, (number, scores) in enumerate(together(works), start=1):
        seconds = (time.perf_counter() - start) / done  # a share of what all took together
        (seed, _), cell = asked[number]
        row = _as_row(recipe_here(chosen), seed, cell, scores, seconds, source_seconds)
        yield asked[number], row


def train_row(
    name: str, seed: int, cell: Mapping[str, object], fit: training.Fit = training.fit
) -> dict[str, object]:
    """Return the scores of one row, trained as `run` does, with a `fit` that may be watched.

    Raises: ValueError for an unknown study, or a cell that its grid does not hold.
    """
    chosen = study(name)
    if cell not in chosen.grid:
        raise ValueError(f"cell must be in the grid of {name}; got {dict(cell)}.")
    source = _shared(chosen, seed, cell.get(chosen.shared_by))(fit)
    return _cell(chosen, source, seed, cell)(fit)


def _shared(chosen: Study, seed: int, value: object) -> Callable[[training.Fit], object]:
    """Return the work that makes what the cells of one group share."""
    key = {chosen.shared_by: value} if chosen.shared_by else {}
    return lambda fit: chosen.source(seed=seed, fit=fit, **key)


def _cell(
    chosen: Study, source: object, seed: int, cell: Mapping
) -> Callable[[training.Fit], dict]:
    """Return the work that trains one cell of one seed."""
    return lambda fit: chosen.train(source, seed=seed, fit=fit, **cell)


def _source(chosen: Study, seed: int, value: object) -> tuple[tuple, tuple]:
    """What the cells of one group share, and the seconds it took. Runs in a worker."""
    with threads(1):
        return (seed, value), _timed(_shared(chosen, seed, value))


def _row(chosen: Study, source: tuple, seed: int, cell: Mapping, known: Mapping[str, str]) -> dict:
    """Trains one cell of one seed. Runs in a worker.

    known: recipes by version of torch, so that only a worker with another one needs to ask again.
    """
    shared, source_seconds = source
    with threads(1):
        scores, seconds = _timed(_cell(chosen, shared, seed, cell))
        recipe = known.get(torch.__version__) or recipe_here(chosen)
        return _as_row(recipe, seed, cell, scores, seconds, source_seconds)


def _as_row(
    recipe: str, seed: int, cell: Mapping, scores: Mapping, seconds: float, source_seconds: float
) -> dict:
    machine = training.machine()
    about = {
        "seconds": round(seconds, 3),
        "source_seconds": round(source_seconds, 3),
        "device": machine.device.type,
        "precision": machine.precision,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "recipe": recipe,
    }
    return {**cell, "seed": seed, **scores, **about}


def _timed(work: Callable[[training.Fit], object]) -> tuple[object, float]:
    start = time.perf_counter()
    return work(training.fit), time.perf_counter() - start


# ---------------------------------------------------------------------- the recipe


def recipe(name: str) -> str:
    """The version of how rows of a study are made: 8 hexadecimal digits. Nothing is trained.

    They are a digest of the golden run in ``assets`` and of the study's settings. When training,
    drawing or a setting changes, so do they.
    """
    return _store.recipe(study(name))


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
