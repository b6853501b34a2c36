"""Who trains the rows of a study: processes of one thread each, or a GPU, many side by side."""

import gc
import platform
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import joblib
import torch

from mtl_course import training
from mtl_course.base import threads
from mtl_course.studies._store import Study, recipe
from mtl_course.studies._together import together

_SOURCES_AT_ONCE = 10  # on a GPU; ten A's of 1,000,000 scenes of 32 × 32 are 31 GB

Row = tuple[int, Mapping[str, object]]  # what a row is about: a seed and a cell
Done = tuple[Hashable, object, dict]  # a work's key, what it returned, where and in what time


def in_processes(
    chosen: Study, rows: Sequence[Row], source: object, jobs: int | None
) -> Iterator[dict]:
    """Train each network on one thread, in processes, wherever joblib is set to send them."""
    # More than one where somebody has asked for it: joblib.parallel_config("dask"), say.
    jobs = jobs or max(joblib.effective_n_jobs(None), min(joblib.cpu_count(), len(rows)))
    settings = {"n_jobs": jobs, "return_as": "generator_unordered", "batch_size": 1}
    recipes = {torch.__version__: recipe(chosen, here=True)}
    with joblib.Parallel(**settings) as parallel, warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and warns; where warnings are errors, that
        # would end the thread that hands out the work, and the study would wait for ever.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")
        # What joblib says when the study is interrupted; `run` says it better.
        warnings.filterwarnings("ignore", ".* tasks which were still being processed")

        def do(works: Mapping[Hashable, Callable]) -> Iterable[Done]:
            return parallel(joblib.delayed(_alone)(*w, chosen, recipes) for w in works.items())

        for wave in _waves(chosen, rows, jobs):
            for _, row in _trained(chosen, wave, source, do):
                yield row


@threads(1)
def _alone(key: Hashable, work: Callable, chosen: Study, recipes: Mapping[str, str]) -> Done:
    """Do one work. recipes: by version of torch; a worker with another one makes a golden run."""
    start = time.perf_counter()
    result = work(fit=training.fit)
    seconds = time.perf_counter() - start
    return key, result, _about(seconds, recipes.get(torch.__version__) or recipe(chosen, here=True))


def side_by_side(
    chosen: Study, rows: Sequence[Row], source: object, jobs: int | None
) -> Iterator[dict]:
    """Train networks of one kind in one pass, on the GPU, whatever `jobs` says."""

    def do(works: Mapping[Hashable, Callable]) -> Iterator[Done]:
        start = time.perf_counter()
        for count, (key, result) in enumerate(together(works), start=1):
            share = (time.perf_counter() - start) / count  # of what all took together
            yield key, result, _about(share, recipe(chosen, here=True))

    def halved(rows: Sequence[Row]) -> Iterator[dict]:
        """Train all at once; without the memory for that, half after half."""
        left = list(rows)
        try:
            for row, trained in _trained(chosen, rows, source, do):
                left.remove(row)
                yield trained
            return
        except torch.OutOfMemoryError:
            if len(left) == 1:
                raise
        gc.collect()
        torch.cuda.empty_cache()
        for half in (left[: len(left) // 2], left[len(left) // 2 :]):
            yield from halved(half)

    for wave in _waves(chosen, rows, _SOURCES_AT_ONCE):
        yield from halved(wave)


def group_of(chosen: Study, seed: int, cell: Mapping[str, object]) -> tuple:
    """Return what the source of a row depends on, as items: it is ``source(**dict(group))``."""
    return (("seed", seed), *((key, cell[key]) for key in chosen.shared))


def _waves(chosen: Study, rows: Sequence[Row], count: int) -> Iterator[list[Row]]:
    """Yield the rows of `count` sources, those of one kind together: they take equally long."""
    kinds: dict[tuple, dict[tuple, list[Row]]] = {}
    for row in rows:
        group = group_of(chosen, *row)
        kinds.setdefault(group[1:], {}).setdefault(group, []).append(row)
    groups = [group for kind in kinds.values() for group in kind.values()]
    for first in range(0, len(groups), count):
        yield [row for group in groups[first : first + count] for row in group]


def _trained(
    chosen: Study, rows: Sequence[Row], source: object, do: Callable[[Mapping], Iterable[Done]]
) -> Iterator[tuple[Row, dict]]:
    """Make what the rows share, then train them. Yields: what a row is about, and the row."""
    sources = dict.fromkeys((group_of(chosen, *row) for row in rows), (source, 0.0))
    if source is None:
        works = {group: partial(chosen.source, **dict(group)) for group in sources}
        sources = {group: (made, about["seconds"]) for group, made, about in do(works)}
    # The seeds of a cell are of one kind: begun one after another, they soon train together.
    rows = sorted(rows, key=lambda row: chosen.grid.index(row[1]))
    groups = [group_of(chosen, *row) for row in rows]
    works = {
        i: partial(chosen.train, sources[groups[i]][0], seed=seed, **cell)
        for i, (seed, cell) in enumerate(rows)
    }
    for i, scores, about in do(works):
        (seed, cell), seconds = rows[i], about.pop("seconds")
        seconds = {"seconds": seconds, "source_seconds": sources[groups[i]][1]}
        yield rows[i], {**cell, "seed": seed, **scores, **seconds, **about}


def _about(seconds: float, recipe: str) -> dict[str, object]:
    """Return how something was trained, and in what time."""
    machine = training.machine()
    return {
        "seconds": round(seconds, 3),
        "device": machine.device.type,
        "precision": machine.precision,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "recipe": recipe,
    }
