"""Who trains the rows of a study: processes of one thread each, or a GPU, many side by side."""

from __future__ import annotations

import functools
import gc
import platform
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence

import joblib
import torch

from mtl_course import training
from mtl_course.base import threads
from mtl_course.studies._store import Study, recipe_here
from mtl_course.studies._together import together

_SOURCES_AT_ONCE = 10  # on a GPU; ten A's of 1,000,000 scenes of 32 × 32 are 31 GB

Row = tuple[int, Mapping[str, object]]
"""What a row is about: a seed and a cell."""

Group = tuple[tuple[str, object], ...]
"""What a source depends on, as items: a seed, and perhaps the value of a key."""


def group_of(chosen: Study, seed: int, cell: Mapping[str, object]) -> Group:
    """Return the group of a row; rows of one group share ``chosen.source(**dict(group))``."""
    return (("seed", seed), *((key, cell[key]) for key in [chosen.shared_by] if key))


def _waves(chosen: Study, rows: Sequence[Row], count: int) -> Iterator[dict[Group, list[Row]]]:
    """Yield the rows of `count` groups, those of one kind together: they take equally long."""
    kinds: dict[Group, dict[Group, list[Row]]] = {}
    for row in rows:
        group = group_of(chosen, *row)
        kinds.setdefault(group[1:], {}).setdefault(group, []).append(row)
    groups = [group for kind in kinds.values() for group in kind.items()]
    for first in range(0, len(groups), count):
        yield dict(groups[first : first + count])


def _row(
    chosen: Study, row: Row, scores: Mapping, seconds: float, source_seconds: float, recipe: str
) -> dict[str, object]:
    """Return a row as it is kept: what it is about, its scores, and how it was trained."""
    (seed, cell), machine = row, training.machine()
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


# ---------------------------------------------------------------------- in processes


def in_processes(
    chosen: Study, rows: Sequence[Row], source: object, jobs: int | None
) -> Iterator[dict]:
    """Train each network on one thread, in processes, wherever joblib is set to send them.

    What the rows of a group share is made first, for as many groups at once as there are processes.
    """
    # More than one where somebody has asked for it: joblib.parallel_config("dask"), say.
    jobs = jobs or max(joblib.effective_n_jobs(None), min(joblib.cpu_count(), len(rows)))
    settings = {"n_jobs": jobs, "return_as": "generator_unordered", "batch_size": 1}
    recipes = {torch.__version__: recipe_here(chosen)}
    with joblib.Parallel(**settings) as parallel, warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and warns; where warnings are errors, that
        # would end the thread that hands out the work, and the study would wait for ever.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")
        # What joblib says when the study is interrupted; `run` says it better.
        warnings.filterwarnings("ignore", ".* tasks which were still being processed")
        for wave in _waves(chosen, rows, jobs):
            sources = dict.fromkeys(wave, (source, 0.0))
            if source is None:
                sources = dict(parallel(joblib.delayed(_source)(chosen, group) for group in wave))
            yield from parallel(
                joblib.delayed(_trained)(chosen, row, *sources[group], recipes)
                for group, own in wave.items()
                for row in own
            )


@threads(1)
def _source(chosen: Study, group: Group) -> tuple[Group, tuple[object, float]]:
    """Make what the rows of a group share. Returns: the group, and it with the seconds it took."""
    start = time.perf_counter()
    source = chosen.source(**dict(group), fit=training.fit)
    return group, (source, time.perf_counter() - start)


@threads(1)
def _trained(
    chosen: Study, row: Row, source: object, source_seconds: float, recipes: Mapping[str, str]
) -> dict[str, object]:
    """Train a network. Returns: its row.

    recipes: by version of torch, so that only a worker with another one makes a golden run.
    """
    (seed, cell), start = row, time.perf_counter()
    scores = chosen.train(source, seed=seed, fit=training.fit, **cell)
    seconds = time.perf_counter() - start
    recipe = recipes.get(torch.__version__) or recipe_here(chosen)
    return _row(chosen, row, scores, seconds, source_seconds, recipe)


# ---------------------------------------------------------------------- on a GPU


def side_by_side(
    chosen: Study, rows: Sequence[Row], source: object, jobs: int | None
) -> Iterator[dict]:
    """Train networks of one kind in one pass, on the GPU, whatever `jobs` says."""
    for wave in _waves(chosen, rows, _SOURCES_AT_ONCE):
        yield from _halved(chosen, [row for own in wave.values() for row in own], source)


def _halved(chosen: Study, rows: Sequence[Row], source: object) -> Iterator[dict]:
    """Train a network for each row; without the memory for all, half after half."""
    left = list(rows)
    try:
        for row, trained in _at_once(chosen, rows, source):
            left.remove(row)
            yield trained
        return
    except torch.OutOfMemoryError:
        if len(left) == 1:
            raise
    gc.collect()
    torch.cuda.empty_cache()
    half = len(left) // 2
    yield from _halved(chosen, left[:half], source)
    yield from _halved(chosen, left[half:], source)


def _at_once(chosen: Study, rows: Sequence[Row], source: object) -> Iterator[tuple[Row, dict]]:
    """Train a network for each row. Yields: what it is about, and the row."""
    start = time.perf_counter()
    sources = dict.fromkeys((group_of(chosen, *row) for row in rows), source)
    if source is None:
        works = {group: functools.partial(chosen.source, **dict(group)) for group in sources}
        sources = dict(together(works))
    source_seconds = (time.perf_counter() - start) / len(sources)
    start = time.perf_counter()
    # The seeds of a cell are of one kind: begun one after another, they soon train together.
    rows = sorted(rows, key=lambda row: chosen.grid.index(row[1]))
    works = {
        i: functools.partial(chosen.train, sources[group_of(chosen, seed, cell)], seed=seed, **cell)
        for i, (seed, cell) in enumerate(rows)
    }
    for done, (i, scores) in enumerate(together(works), start=1):
        seconds = (time.perf_counter() - start) / done  # a share of what all took together
        row = _row(chosen, rows[i], scores, seconds, source_seconds, recipe_here(chosen))
        yield rows[i], row
