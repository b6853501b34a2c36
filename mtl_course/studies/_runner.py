"""The runner: every cell of a study over paired seeds, in parallel, as rows that are kept.

One row is one trained network: its cell, seed and scores, and what it was trained with. Rows that
ship lie in ``assets/studies``; those of `python -m mtl_course studies` go to `results_folder`.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from mtl_course import training
from mtl_course.base import ASSETS, check_count
from mtl_course.devices import on_cpu
from mtl_course.storage import Interrupted, results_folder, writable
from mtl_course.studies import _store, golden
from mtl_course.studies._registry import STUDIES
from mtl_course.studies._store import Study, marks
from mtl_course.studies._workers import group_of, in_processes, side_by_side

SHIPPED = ASSETS / "studies"
OTHERS = "other_seeds"  # the folder in it with rows of seeds that are in no figure


def study(name: str) -> Study:
    """Return the study of that name. Raises: ValueError if there is none, with all names."""
    if name not in STUDIES:
        raise ValueError(f"name must be one of {', '.join(sorted(STUDIES))}; got {name!r}.")
    return STUDIES[name]


def recipe(name: str) -> str:
    """Return the version of how rows of a study are made: 8 hexadecimal digits. It trains nothing.

    They are a digest of the golden run in ``assets`` and of the study's settings. When training,
    drawing or a setting changes, so do they.
    """
    return _store.recipe(study(name))


def cost(name: str) -> str:
    """Return what the shipped rows of a study took: networks and, on a CPU, minutes of one core."""
    path, chosen = SHIPPED / f"{name}.csv", study(name)
    if not path.exists():
        return ""
    rows = pd.read_csv(path)
    seconds = (
        rows["seconds"].sum() + rows.groupby(["seed", *chosen.shared])["source_seconds"].max().sum()
    )
    on_cpu = set(rows["device"]) == {"cpu"}
    return f" ({len(rows)} networks" + f", {seconds / 60:.0f} minutes of one core" * on_cpu + ")"


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
    """Return the rows of a study: stored ones are read, missing ones are trained and stored.

    Shipped rows are used as they are, also when training or a setting has changed since; a warning
    says so then.

    name: of a study in `STUDIES`; or a study of your own, whose rows are not stored.
    seeds: None takes those that ship with the course. only: ``{"labels": [100]}`` keeps the cells
    with these values.
    fresh: True trains all rows, but those that an interrupted call has left, and keeps them in the
    folder ``fresh`` of the store, by device and precision. With a source, none is kept.
    shipped: False leaves aside the rows that ship with the course.
    store: the folder for new rows, each of which is in it as soon as it is trained; None takes
    `results_folder()`.
    source: what all cells share in place of the study's own, such as another trunk. Rows that ship
    have another source and are left out.
    jobs: processes of one thread each; None takes one a core. They run where joblib is set to run
    them, on a Dask cluster within ``joblib.parallel_config("dask")``. On a GPU there are none, but
    networks of one kind train side by side.
    Returns: one row a trained network, sorted by cell and seed; `attrs["keys"]` names the columns
        of a cell.
    Raises: ValueError for an unknown study, key or value, a damaged file of shipped rows, a store
        that cannot be written to, or a source where the cells of a seed do not share one;
        KeyboardInterrupt, when interrupted, which says what is kept.
    """
    own = isinstance(name, Study)
    chosen, name = (name, name.question) if own else (study(name), name)
    seeds = chosen.seeds if seeds is None else seeds
    seeds = sorted({check_count("seeds", seed, least=0) for seed in seeds})
    if not seeds:
        raise ValueError("seeds must hold at least one seed.")
    if source is not None and chosen.shared:
        by = " and ".join(chosen.shared)
        raise ValueError(f"source: in {name} each {by} has a source of its own.")
    cells = _cells(chosen, only or {})
    wanted = {(seed, *cell.values()): (seed, cell) for cell in cells for seed in seeds}

    store = results_folder() if store is None else Path(store)
    kept, rows = store / f"{name}.csv", pd.DataFrame()
    if own or (fresh and source is not None):
        kept = None  # nobody could tell what the rows came from
    elif fresh:
        here = training.machine()  # machines do not mix
        kept = store / "fresh" / f"{name}.{here.device.type}-{here.precision}.csv"
        rows = _store.resumed(kept, chosen, wanted)
    else:
        folders = [SHIPPED, SHIPPED / OTHERS] if shipped and source is None else []
        rows = _store.stored(name, chosen, folders, kept, ships=SHIPPED in kept.parents)
    have = set(marks(rows, chosen))
    missing = [cell for mark, cell in wanted.items() if mark not in have]
    if missing and kept and not writable(kept.parent):
        raise ValueError(f"store: {kept.parent} cannot be written to; name another folder.")
    try:
        with contextlib.closing(_train(name, chosen, missing, source, jobs, progress)) as trained:
            for new in trained:
                if kept:
                    _store.append(kept, new, chosen)
                rows = pd.concat([rows, new], ignore_index=True)
    except KeyboardInterrupt:
        done = len(wanted.keys() & set(marks(rows, chosen)))
        stored = f"new ones are in {kept}, and the same call resumes from there"
        what = stored if kept else "and none is kept: the same call begins anew"
        text = f"Interrupted: {done} of {len(wanted)} networks of {name!r} are trained, {what}."
        raise Interrupted(text) from None
    place = {mark: i for i, mark in enumerate(marks(rows, chosen))}
    rows = rows.iloc[[place[mark] for mark in wanted]].reset_index(drop=True)
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


def train_row(
    name: str, seed: int, cell: Mapping[str, object], fit: training.Fit = training.fit
) -> dict[str, object]:
    """Return the scores of one row, trained as `run` does, with a `fit` that may be watched.

    Raises: ValueError for an unknown study, or a cell that its grid does not hold.
    """
    chosen = study(name)
    if cell not in chosen.grid:
        raise ValueError(f"cell must be in the grid of {name}; got {dict(cell)}.")
    source = chosen.source(**dict(group_of(chosen, seed, cell)), fit=fit)
    return chosen.train(source, seed=seed, fit=fit, **cell)


def _train(
    name: str, chosen: Study, missing: Sequence, source: object, jobs: int | None, progress: bool
) -> Iterator[pd.DataFrame]:
    """Train what is missing. Yields: each row as soon as its network is trained."""
    if jobs is not None:
        check_count("jobs", jobs, least=1)
    if not missing:
        return
    if lines := golden.differences(chosen.golden):
        _store.warn_once(
            "training gives other numbers here than where the shipped rows were made: "
            + "; ".join(lines[:3])
            + f"; and {len(lines) - 3} more" * (len(lines) > 3)
        )
    train = side_by_side if training.machine().device.type == "cuda" else in_processes
    bar = tqdm(total=len(missing), desc=name, unit="network", disable=not progress, leave=False)
    with bar, _quiet(training.__name__):
        for row in train(chosen, missing, source, jobs):
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
