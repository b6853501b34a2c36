"""Lesson 06, who helps whom: six tasks in pairs, learned together or one after the other.

Each task has 1,000 images of its own, which are labeled for it alone.
"""

import numpy as np
import pandas as pd

from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.networks import Network
from mtl_course.studies import common, lesson_05, statistics
from mtl_course.studies.common import BATCH, THOUSAND, WIDTH, Scores, Study, cells
from mtl_course.studies.lesson_05 import ALONE
from mtl_course.studies.lesson_05_amounts import OTHER_TASKS_RATES, STEPS_A_TASK, joined
from mtl_course.training import Fit, fit
from mtl_course.transfer import adapt

SIX = ("two cars", "car from the side", "red light", "green light", "adult", "two pedestrians")
"""Two tasks of each of three families."""
RELATED = {SIX[k]: SIX[k ^ 1] for k in range(6)}
NEXT = {SIX[k]: SIX[(k + 1) % 6] for k in range(6)}  # with whom the rates are tuned
ORDERED_PAIRS = [(task, other) for task in SIX for other in SIX if task != other]
PAIRS_RATES = {ALONE: 1e-2, "together": 1e-2}  # the best of "pairs_tuning"
AFFINITY_RATES = {ALONE: 1e-2, "adapted": 1e-2}  # the best of "affinity_tuning"
RATE_OF_SOURCE = OTHER_TASKS_RATES[ALONE]


def images_of(seed: int, *tasks: str) -> Dataset:
    """Draw 1,000 images for each of these tasks, each labeled for its own task only."""
    own = {task: derive_seed(seed, f"scenes for {task}") for task in tasks}
    return joined([common.draw(THOUSAND, own[task], [task]) for task in tasks])


def _train(data: Dataset, seed: int, rate: float, fit: Fit) -> Network:
    """Return a network that starts, and is scored, for the first task of `data`."""
    own, steps = derive_seed(seed, f"network for {data.tasks[0]}"), STEPS_A_TASK * len(data.tasks)
    return common.train(data, own, steps, rate, fit=fit)


def _pairs(
    nothing: None, seed: int, way: str, task: str, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """Score `task`, learned alone or with the task `way`; its images are seen as often."""
    alone = way == ALONE
    rate = rate or PAIRS_RATES[ALONE if alone else "together"]
    network = _train(images_of(seed, task, *([] if alone else [way])), seed, rate, fit)
    return common.scored(network, seed, task)


def _source(seed: int, way: str, *, fit: Fit = fit) -> Network | None:
    """Return a network that has learned the task `way`; None for alone."""
    return None if way == ALONE else _train(images_of(seed, way), seed, RATE_OF_SOURCE, fit)


def _affinity(
    source: Network | None, seed: int, way: str, task: str, rate: float | None = None,
    *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Score `task`, learned from scratch or by a trunk that has learned the task `way`."""
    data = images_of(seed, task)
    rate = rate or AFFINITY_RATES[ALONE if source is None else "adapted"]
    if source is None:
        network = _train(data, seed, rate, fit)
    else:
        settings = common.fitting(derive_seed(seed, f"network for {task}"), STEPS_A_TASK, rate)
        network = adapt(source, data, "all layers", **settings, batch_size=BATCH, fit=fit)
    return common.scored(network, seed, task)


def gains_by_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what each other task gains a task over alone, in area under the ROC curve.

    rows: of the study "pairs" or "affinity". Returns: a row a seed, a column (task, other task).
    """
    table = rows.pivot(index="seed", columns=["task", "way"], values="auc")
    return pd.DataFrame({(a, b): table[a, b] - table[a, ALONE] for a, b in ORDERED_PAIRS})


AXES = {"partner": "partner", "task": "task", "mean": "gain in AUC over alone"}


def by_partner(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what each partner gains each task over alone, corrected for the thirty cells."""
    named = rows.assign(partner=rows["way"])
    named["way"] = named["way"].where(named["way"] == ALONE, "with a partner")
    named = named[["task", "partner", "way", "seed", "auc"]]
    how = {"over": ALONE, "across": ["partner"], "score": "auc", "corrected": True}
    gains = statistics.gain(named, "with a partner", keys=["task", "partner"], **how)
    return gains.sort_values(["task", "partner"], key=lambda column: column.map(SIX.index))


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean, low and high of what related and unrelated partners gain, and of the difference.

    Each is the mean over tasks, by seed.
    """
    gains = gains_by_pair(rows)
    related = np.array([RELATED[task] == other for task, other in gains])
    means = [gains.loc[:, chosen].mean(axis=1) for chosen in (related, ~related)]
    parts = {"related": means[0], "unrelated": means[1], "difference": means[0] - means[1]}
    table = {name: statistics.interval(values) for name, values in parts.items()}
    return pd.DataFrame(table, index=["mean", "low", "high"]).T


def sorted_pairs(together: pd.DataFrame, after: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return each pair's gain in both studies, with intervals, sorted by that of `together`."""
    gains = {"learned together": gains_by_pair(together), "partner first": gains_by_pair(after)}
    order = gains["learned together"].mean().sort_values(ascending=False).index
    tables = {}
    for name, table in gains.items():
        intervals = [statistics.interval(table[pair]) for pair in order]
        tables[name] = pd.DataFrame(intervals, columns=["mean", "low", "high"])
        tables[name]["pair"] = [
            f"{other} → {task}" + " (related)" * (RELATED[task] == other) for task, other in order
        ]
    return tables


def agreement(
    together: pd.DataFrame, after: pd.DataFrame, *, centered: bool = True
) -> dict[str, float]:
    """Return how well the maps of two studies agree, and how well they could.

    centered: each task's own mean is taken out, seed by seed.
    """
    maps = [gains_by_pair(rows) for rows in (together, after)]
    if centered:
        maps = [table - table.T.groupby(level=0).transform("mean").T for table in maps]
    rho, low, high = statistics.rank_correlation(*maps)
    parts = [statistics.reliability(table) for table in maps]
    ceiling = np.prod(parts) ** 0.5 if min(parts) > 0 else np.nan
    p = statistics.permutation_p_value(*(table.mean() for table in maps))
    return {"ρ": rho, "low": low, "high": high, "ceiling": ceiling, "Mantel's p": p}


_SETTINGS = {"test": common.TEST_SCENES, "steps": STEPS_A_TASK, "batch": BATCH, "width": WIDTH}
_GRID = [*cells(way=[ALONE], task=SIX), *({"way": b, "task": a} for a, b in ORDERED_PAIRS)]
_NEXT_GRID = [{"way": other, "task": task} for task, other in NEXT.items()]

_PAIRS = Study(
    "Six tasks, two at a time: who helps whom?",
    grid=_GRID, source=common.nothing_shared, train=_pairs, over=ALONE, **lesson_05.REPORTED,
    settings=_SETTINGS | {"rates": PAIRS_RATES},
)  # fmt: skip
_AFFINITY = Study(
    "The same six tasks, one after the other: does transfer predict who helps whom?",
    grid=_GRID, source=_source, train=_affinity, shared_by="way", over=ALONE, score="auc",
    seeds=range(30, 40),  # others than in "pairs", so that chance does not make the two agree
    settings=_SETTINGS | {"rate of the source": RATE_OF_SOURCE, "rates": AFFINITY_RATES},
    golden="dials",
)  # fmt: skip

STUDIES = {
    "pairs": _PAIRS,
    "pairs_tuning": common.tuning(
        _PAIRS, "The learning rate alone and in pairs, on development seeds.",
        grid=[
            cell | {"rate": rate}
            for rate in lesson_05.HIGHER_RATES
            for cell in (*cells(way=[ALONE], task=SIX), *_NEXT_GRID)
        ], seeds=common.DEVELOPMENT,
    ),
    "affinity": _AFFINITY,
    "affinity_tuning": common.tuning(
        _AFFINITY, "The learning rate of adapting to a second task, on development seeds.",
        grid=[cell | {"rate": rate} for rate in common.RATES_TRIED for cell in _NEXT_GRID],
        seeds=common.DEVELOPMENT,
    ),
}  # fmt: skip
