"""Lesson 06, when tasks fight: gradients, loss weights, aggregators, and who helps whom.

Beyond the lecture, on driving scenes.
"""

from __future__ import annotations

import itertools

import pandas as pd
import torch

from mtl_course import aggregators, scenes
from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.networks import Network, separate, shared
from mtl_course.studies._store import Study
from mtl_course.studies.common import (
    DEVELOPMENT,
    TEST_SCENES,
    Scores,
    cells,
    draw,
    each_scored,
    fitting,
    nothing_shared,
    scored,
)
from mtl_course.studies.lesson_05 import (
    ALONE,
    ASKED,
    BATCH,
    MANY_RATES,
    RANDOM,
    RATES_TRIED,
    STEPS,
    STEPS_OF_MANY,
    THOUSAND,
    WIDTH_OF_COMPANY,
    only,
    shuffled,
)
from mtl_course.training import Fit, fit
from mtl_course.transfer import adapt

STRANGERS = "four strangers"
SETS = ASKED | {STRANGERS: ("two cars", "stop sign", "road bends left", "round tree")}
"""Four tasks each: the lecture's, four of one family, and four that have little in common."""


def _roads(seed: int, *, fit: Fit = fit) -> Dataset:
    """1,000 scenes, with the labels of every set."""
    tasks = tuple(dict.fromkeys(itertools.chain.from_iterable(SETS.values())))
    return draw(THOUSAND, derive_seed(seed, "scenes to learn from"), tasks)


# ---------------------------------------------------------------------- cosines

LOOKS = (0, 10, 30, 100, 200, 299)  # steps before which the gradients are looked at
PROBED = 512  # images, the same at each look
WATCHED_RATE = 1e-2  # of the lecture's four in lesson 05, at this width and number of scenes
PAIRS_OF_FOUR = tuple(itertools.combinations(range(1, 5), 2))


def asked(roads: Dataset, seed: int, way: str) -> Dataset:
    """The scenes with the labels of one set; in `RANDOM` the four's, each dealt to other images."""
    if way == RANDOM:
        return shuffled(only(roads, scenes.THE_FOUR), seed, spared=0)
    return only(roads, SETS[way])


def _gradients(roads: Dataset, seed: int, way: str, images: int, *, fit: Fit = fit) -> Scores:
    """The cosine of each pair of tasks at each look, and the mean of all: "cosine"."""
    data = asked(roads.subset(slice(images)), seed, way)
    own = derive_seed(seed, "network")
    network = shared(data.tasks, width=WIDTH_OF_COMPANY, seed=own)
    watch = aggregators.Watch(network, data.subset(slice(PROBED)), LOOKS)
    settings = fitting(own, STEPS, WATCHED_RATE) | {"batch_size": BATCH, "backward": watch}
    fit(network, data, **settings)
    looks = watch.found
    found = {
        f"{step}: {i} and {j}": float(looks[step][i - 1, j - 1])
        for step in LOOKS
        for i, j in PAIRS_OF_FOUR
    }
    return {"cosine": sum(found.values()) / len(found), **found}


def cosine_matrices(rows: pd.DataFrame, way: str) -> dict[int, pd.DataFrame]:
    """The mean over seeds of each look's cosines, 4 × 4, by step.

    rows: of the study "gradients".
    """
    names = SETS.get(way, scenes.THE_FOUR)
    mean = rows[rows["way"] == way].mean(numeric_only=True)
    matrices = {}
    for step in LOOKS:
        matrix = pd.DataFrame(1.0, index=names, columns=names)
        for i, j in PAIRS_OF_FOUR:
            matrix.iloc[i - 1, j - 1] = matrix.iloc[j - 1, i - 1] = mean[f"{step}: {i} and {j}"]
        matrices[step] = matrix
    return matrices


# ---------------------------------------------------------------------- loss weights

RIVALS = ("stop sign", "traffic light")
SHARES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # of all weight, for the first
NARROW = 2  # channels: where lesson 05 found that sharing costs most
WEIGHTED_RATE = 3e-2  # of four tasks at this width in lesson 05


def _weights(roads: Dataset, seed: int, share: float, *, fit: Fit = fit) -> Scores:
    """Both tasks' scores when the loss gives the first this share of its weight."""
    data, own = only(roads, RIVALS), derive_seed(seed, "network")
    network = shared(data.tasks, width=NARROW, seed=own)
    backward = aggregators.weighted((share, 1 - share))
    settings = fitting(own, STEPS, WEIGHTED_RATE) | {"batch_size": BATCH, "backward": backward}
    fit(network, data, **settings)
    return each_scored(network, seed)


# ---------------------------------------------------------------------- aggregators

SUM, WEIGHTED, UNCERTAIN = "plain sum", "sum, one task doubled", "uncertainty"
WIDE, EACH = "plain sum, width 16", "one network each"
RIVALS_OF_SUM = (UNCERTAIN, *aggregators.AGGREGATORS)
FOUGHT = ("the four", STRANGERS)
DOUBLED = tuple(f"task {number} counts twice" for number in range(1, 5))
AGGREGATOR_RATES: dict[str, dict[str, float]] = {
    "the four": {
        SUM: 0.03,
        UNCERTAIN: 0.01,
        "PCGrad": 0.03,
        "MGDA": 0.01,
        "CAGrad": 0.03,
        "UPGrad": 0.03,
        WIDE: 0.03,
        EACH: 0.03,
        WEIGHTED: 0.03,
    },
    STRANGERS: {
        SUM: 0.01,
        UNCERTAIN: 0.01,
        "PCGrad": 0.01,
        "MGDA": 0.03,
        "CAGrad": 0.01,
        "UPGrad": 0.01,
        WIDE: 0.01,
        EACH: 0.03,
        WEIGHTED: 0.03,
    },
}
DOUBLED_TASK: dict[str, str] = {"the four": DOUBLED[1], STRANGERS: DOUBLED[1]}
"""The best of a small grid on development seeds: see the rows of "aggregators_tuning"."""


def combined(network: Network, way: str, rate: float, seed: int) -> aggregators.Backward | None:
    """How this way goes down the four terms of the loss; None: their plain sum."""
    if way in DOUBLED:
        return aggregators.weighted([2.0 if way == other else 1.0 for other in DOUBLED])
    if way == UNCERTAIN:
        return aggregators.uncertain(len(network.names), rate)
    return aggregators.aggregated(network, way, seed) if way in aggregators.AGGREGATORS else None


def _aggregators(
    roads: Dataset, seed: int, way: str, asked: str, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """All four answers, and the worst of them."""
    if rate is None:
        rate = AGGREGATOR_RATES[asked][way]
    data, own = only(roads, SETS[asked]), derive_seed(seed, "network")
    width = WIDTH_OF_COMPANY * (2 if way == WIDE else 1)
    network = (separate if way == EACH else shared)(data.tasks, width=width, seed=own)
    backward = combined(network, DOUBLED_TASK[asked] if way == WEIGHTED else way, rate, own)
    settings = fitting(own, STEPS, rate) | {"batch_size": BATCH}
    fit(network, data, **settings, backward=backward)
    scores = each_scored(network, seed)
    return scores | {"worst": min(scores[f"auc {number}"] for number in range(1, 5))}


# ---------------------------------------------------------------------- who helps whom

SIX = (
    "two cars", "car from the side", "red light", "green light", "adult", "two pedestrians",
)  # fmt: skip
"""Two tasks of each of three families."""
RELATIVES = {SIX[k]: SIX[k ^ 1] for k in range(6)}
NEXT = {SIX[k]: SIX[(k + 1) % 6] for k in range(6)}  # with whom the rates are tuned
TOGETHER_RATES = {ALONE: 1e-2, "together": 1e-2}
ADAPTED_RATES = {ALONE: 1e-2, "adapted": 1e-2}
"""The best of a small grid on development seeds: see the rows of "pairs_tuning" and
"affinity_tuning"."""
ORDERED = [(task, other) for task in SIX for other in SIX if task != other]


def _of_its_own(seed: int, task: str) -> Dataset:
    """1,000 images labelled for this task."""
    return draw(THOUSAND, derive_seed(seed, f"scenes for {task}"), [task])


def in_pair(seed: int, task: str, partner: str) -> Dataset:
    """1,000 images for each of two tasks, each labelled for its own task only."""
    parts = [_of_its_own(seed, name) for name in (task, partner)]
    labels = parts[0].labels.new_full((2 * THOUSAND, 2), UNKNOWN)
    for k, part in enumerate(parts):
        labels[k * THOUSAND : (k + 1) * THOUSAND, k] = part.labels[:, 0]
    return Dataset(torch.cat([part.images for part in parts]), labels, tasks=(task, partner))


def _pairs(
    nothing: None, seed: int, way: str, task: str, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """`task` alone, or with the partner that `way` names; its own images are seen as often."""
    alone = way == ALONE
    data = _of_its_own(seed, task) if alone else in_pair(seed, task, way)
    own = derive_seed(seed, f"network for {task}")
    network = shared(data.tasks, width=WIDTH_OF_COMPANY, seed=own)
    if rate is None:
        rate = TOGETHER_RATES[ALONE if alone else "together"]
    steps = STEPS_OF_MANY * len(data.tasks)
    fit(network, data, **fitting(own, steps, rate), batch_size=BATCH)
    return scored(network, seed, task)


def _learned(seed: int, way: str, *, fit: Fit = fit) -> Network | None:
    """A network that has learned the task that `way` names."""
    if way == ALONE:
        return None
    data, own = _of_its_own(seed, way), derive_seed(seed, f"network for {way}")
    network = shared(data.tasks, width=WIDTH_OF_COMPANY, seed=own)
    settings = fitting(own, STEPS_OF_MANY, MANY_RATES[ALONE]) | {"batch_size": BATCH}
    fit(network, data, **settings)
    return network


def _affinity(
    source: Network | None,
    seed: int,
    way: str,
    task: str,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    """`task` from scratch, or from a trunk that has learned what `way` names."""
    data, own = _of_its_own(seed, task), derive_seed(seed, f"network for {task}")
    if rate is None:
        rate = ADAPTED_RATES[ALONE if source is None else "adapted"]
    settings = fitting(own, STEPS_OF_MANY, rate) | {"batch_size": BATCH}
    if source is None:
        network = shared(data.tasks, width=WIDTH_OF_COMPANY, seed=own)
        fit(network, data, **settings)
    else:
        network = adapt(source, data, "all layers", **settings, fit=fit)
    return scored(network, seed, task)


def gains_by_pair(rows: pd.DataFrame) -> pd.DataFrame:
    """What each partner gains each task over alone: a row a seed, a column (task, partner).

    rows: of the study "pairs" or "affinity".
    """
    table = rows.pivot(index="seed", columns=["task", "way"], values="auc")
    return pd.DataFrame({(a, b): table[a, b] - table[a, ALONE] for a, b in ORDERED})


_SETTINGS = {"test": TEST_SCENES, "steps": STEPS, "batch": BATCH, "width": WIDTH_OF_COMPANY}
_LOOKED = _SETTINGS | {"looks": LOOKS, "probed": PROBED, "rate": WATCHED_RATE, "sets": SETS}
_TRADED = _SETTINGS | {"width": NARROW, "rate": WEIGHTED_RATE, "rivals": RIVALS, "sets": SETS}
_COMBINED = _SETTINGS | {"sets": SETS, "CAGrad's c": aggregators.CAGRAD_C}
_PAIRED = _SETTINGS | {"steps": STEPS_OF_MANY}

STUDIES = {
    "gradients": Study(
        "At what angles do the tasks' gradients meet, for friends, strangers and random labels?",
        grid=cells(way=[*SETS, RANDOM], images=[THOUSAND]),
        source=_roads,
        train=_gradients,
        seeds=range(10),
        settings=_LOOKED,
        golden="scenes",
        over=RANDOM,
        score="cosine",
    ),
    "weights": Study(
        "What does moving the loss's weight from one task to another buy, and cost?",
        grid=cells(share=SHARES),
        source=_roads,
        train=_weights,
        seeds=range(10),
        settings=_TRADED,
        golden="scenes",
        score="auc",
    ),
    "aggregators": Study(
        "Do aggregators and learned weights beat a plain sum that was tuned as well?",
        grid=cells(way=[SUM, WEIGHTED, *RIVALS_OF_SUM, WIDE, EACH], asked=FOUGHT),
        source=_roads,
        train=_aggregators,
        seeds=range(10),
        settings=_COMBINED | {"rates": AGGREGATOR_RATES, "doubled": DOUBLED_TASK},
        golden="scenes",
        over=SUM,
        score="auc",
    ),
    "aggregators_tuning": Study(
        "Learning rates and weights for the plain sum and its rivals, on development seeds.",
        grid=cells(way=[SUM, *DOUBLED, *RIVALS_OF_SUM, WIDE, EACH], asked=FOUGHT, rate=RATES_TRIED),
        source=_roads,
        train=_aggregators,
        seeds=DEVELOPMENT[:3],
        settings=_COMBINED,
        golden="scenes",
        score="auc",
    ),
    "pairs": Study(
        "Six tasks, two at a time: who helps whom?",
        grid=[*cells(way=[ALONE], task=SIX), *({"way": b, "task": a} for a, b in ORDERED)],
        source=nothing_shared,
        train=_pairs,
        seeds=range(10),
        settings=_PAIRED | {"rates": TOGETHER_RATES},
        golden="scenes",
        over=ALONE,
        score="auc",
    ),
    "pairs_tuning": Study(
        "The learning rate alone and in pairs, on development seeds.",
        grid=[
            {**cell, "rate": rate}
            for rate in RATES_TRIED
            for cell in (
                *cells(way=[ALONE], task=SIX),
                *({"way": partner, "task": task} for task, partner in NEXT.items()),
            )
        ],
        source=nothing_shared,
        train=_pairs,
        seeds=DEVELOPMENT,
        settings=_PAIRED,
        golden="scenes",
        score="auc",
    ),
    "affinity": Study(
        "The same six tasks, one after the other: does transfer foretell who helps whom?",
        grid=[*cells(way=[ALONE], task=SIX), *({"way": b, "task": a} for a, b in ORDERED)],
        source=_learned,
        train=_affinity,
        seeds=range(30, 40),  # others than in "pairs", so that the two share no luck
        settings=_PAIRED | {"rates": ADAPTED_RATES, "rate of the source": MANY_RATES[ALONE]},
        golden="dials",
        shared_by="way",
        over=ALONE,
        score="auc",
    ),
    "affinity_tuning": Study(
        "The learning rate of adapting to a second task, on development seeds.",
        grid=[
            {"way": partner, "task": task, "rate": rate}
            for rate in (1e-3, *RATES_TRIED)
            for task, partner in NEXT.items()
        ],
        source=_learned,
        train=_affinity,
        seeds=DEVELOPMENT,
        settings=_PAIRED | {"rate of the source": MANY_RATES[ALONE]},
        golden="dials",
        shared_by="way",
        score="auc",
    ),
}
