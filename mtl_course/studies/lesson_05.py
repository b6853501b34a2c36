"""Lesson 05, when does multi-task learning make sense: which tasks together (M5), how wide (M7).

Every network learns from driving scenes that are labeled for all of its tasks. `lesson_05_amounts`
has the studies in which each task has images of its own (M6).
"""

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn

from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, Dataset, only
from mtl_course.networks import Network, separate, shared, trainable
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import common
from mtl_course.studies.common import BATCH, STEPS, THOUSAND, WIDTH, Scores, Study, cells
from mtl_course.training import Fit, fit, predict

HIGHER_RATES = common.RATES_TRIED[1:]
REPORTED = {"seeds": range(10), "golden": "scenes", "score": "auc"}  # of a `Study`


def draw_for(task_sets: Iterable[Sequence[str]], count: int, seed: int) -> Dataset:
    """Draw scenes to learn from, labeled for every task of these sets."""
    tasks = dict.fromkeys(itertools.chain.from_iterable(task_sets))
    return common.draw(count, derive_seed(seed, "scenes to learn from"), tuple(tasks))


def shuffled(data: Dataset, seed: int, start: int = 1) -> Dataset:
    """Return the same images with random labels: each task's known labels, in another order.

    start: the first task whose labels are shuffled, counted from 0; those before it keep theirs.
    """
    generator = torch.Generator("cpu").manual_seed(derive_seed(seed, "random labels"))
    labels = data.labels.clone()  # (m, tasks)
    for column in range(start, labels.shape[1]):
        known = (labels[:, column] != UNKNOWN).nonzero()[:, 0]
        other = known[torch.randperm(len(known), generator=generator, device="cpu")]
        labels[known, column] = data.labels[other, column]
    return replace(data, labels=labels)


# ---------------------------------------------------------------------- M5: which tasks together

ALONE = "alone"
LONGER = "alone, four times the steps"
RELATED = "its own family"
OTHER_THREE = "the other three"
FASTER = "the other three, at the rate of alone"
UNRELATED = "unrelated"
RANDOM = "random labels"
GROUPS = (ALONE, RELATED, OTHER_THREE, UNRELATED, RANDOM)
RELATED_TASKS = {
    "pedestrian": ("adult", "pedestrian near", "pedestrian in dark clothes"),
    "car": ("car from the side", "car near", "red car"),
    "stop sign": ("stop sign near", "stop sign far", "stop sign on the left"),
    "traffic light": ("red light", "green light", "traffic light near"),
}
UNRELATED_TASKS = ("night", "fog", "road bends left")  # weather, and left or right
FEW, MANY = 300, 3_000  # images to learn from
# The best of "company_tuning":
GROUP_RATES = {ALONE: 3e-2, RELATED: 1e-2, OTHER_THREE: 1e-2, UNRELATED: 3e-2, RANDOM: 3e-2}


class Source(NamedTuple):
    """What the cells of one seed and size share."""

    scenes: Dataset  # labeled for every task of every group
    four: Network | None  # has learned `THE_FOUR`; None where each cell trains its own


def _source(seed: int, images: int, *, fit: Fit = fit) -> Source:
    data, own = _scenes_only(seed, images).scenes, derive_seed(seed, "network")
    four, rate = only(data, THE_FOUR), GROUP_RATES[OTHER_THREE]
    return Source(data, common.train(four, own, STEPS, rate, fit=fit))


def _scenes_only(seed: int, images: int = THOUSAND, *, fit: Fit = fit) -> Source:
    task_sets = (THE_FOUR, *RELATED_TASKS.values(), UNRELATED_TASKS)
    return Source(draw_for(task_sets, images, seed), None)


def grouped(data: Dataset, seed: int, way: str, task: str) -> Dataset:
    """Return the same images with the labels of `task`, then of those it is learned with."""
    three = tuple(other for other in THE_FOUR if other != task)
    others = {ALONE: (), LONGER: (), RELATED: RELATED_TASKS[task], UNRELATED: UNRELATED_TASKS}
    data = only(data, (task, *others.get(way, three)))
    return shuffled(data, seed) if way == RANDOM else data


def _company(
    source: Source, seed: int, way: str, task: str, images: int, rate: float | None = None,
    *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Score `task` once a network has learned it together with others."""
    network = source.four if way == OTHER_THREE else None
    if network is None:
        data = grouped(source.scenes, seed, way, task)
        rate = rate or GROUP_RATES[ALONE if way in (LONGER, FASTER) else way]
        own, steps = derive_seed(seed, "network"), STEPS * (4 if way == LONGER else 1)
        network = common.train(data, own, steps, rate, fit=fit)
    return common.scored(network, seed, task)


# ---------------------------------------------------------------------- M7: how wide

SHARED, SEPARATE = "one shared network", "four networks"
COMPARED = {  # widths of one network beside four of width 8
    8: "8\nequal width", 16: "16\nabout equal weights", 32: "32\nbig against small",
}  # fmt: skip
SHARED_LONGER = "one shared network, four times the steps"
WIDTHS = (2, 4, 8, 16, 32)
SIZES = (1_000, 4_000)
TASK_SETS = {"the four": THE_FOUR, "four about cars": ("car", *RELATED_TASKS["car"])}
WIDTH_RATES = {  # the best of "widths_tuning", by the largest width
    SHARED: {8: 3e-2, 16: 3e-2, 32: 1e-2},
    SHARED_LONGER: {16: 3e-2},
    SEPARATE: {8: 3e-2, 16: 3e-2},
}


def roads(seed: int, *, fit: Fit = fit) -> Dataset:
    """Draw scenes labeled for every set of tasks."""
    return draw_for(TASK_SETS.values(), max(SIZES), seed)


def _widths(
    roads: Dataset, seed: int, way: str, width: int, images: int, asked: str = "the four",
    rate: float | None = None, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Score four tasks, learned by one network or by four side by side, each of this width.

    Scores: means over the four, then the area under the curve of each; parameters: of all networks.
    """
    data = only(roads.subset(slice(images)), TASK_SETS[asked])
    build = separate if way == SEPARATE else shared
    rates, steps = WIDTH_RATES[way], STEPS * (4 if way == SHARED_LONGER else 1)
    rate = rate or rates[min(largest for largest in rates if width <= largest)]
    own = derive_seed(seed, "network")
    network = common.train(data, own, steps, rate, build=build, width=width, fit=fit)
    return {**common.each_scored(network, seed), "parameters": trainable(network), "steps": steps}


def multiplications(network: nn.Module) -> int:
    """Return how many multiplications the convolutions need for one answer about a scene."""
    kernels = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    sides = itertools.cycle((32, 16, 8))  # pixels; of the pictures that the kernels slide over
    return sum(k.weight.numel() * side**2 for k, side in zip(kernels, sides, strict=False))


def costs(rows: pd.DataFrame, test: Dataset) -> pd.DataFrame:
    """Return what each network of these rows scores, and what it costs: a row a way and width.

    Columns: AUC (its mean), weights, million multiplications (for one answer, of its convolutions),
    seconds (that the answers to `test` take here, on one core).
    """
    table, counts, seconds = rows.groupby(["way", "width"], sort=False), [], []
    table = table.agg(AUC=("auc", "mean"), weights=("parameters", "first"))
    for way, width in table.index:
        network = (separate if way == SEPARATE else shared)(test.names, width=width)
        counts.append(multiplications(network) / 1e6)
        start = time.perf_counter()
        predict(network, test)
        seconds.append(time.perf_counter() - start)
    return table.assign(**{"million multiplications": counts, "seconds": seconds})


_SETTINGS = {"test": common.TEST_SCENES, "steps": STEPS, "batch": BATCH}
_COMPANY = Study(
    "Does a task gain from the other three, from unrelated tasks, from random labels?",
    grid=[
        *cells(way=[*GROUPS, FASTER], task=THE_FOUR, images=[FEW, MANY]),
        *cells(way=[LONGER], task=THE_FOUR, images=[MANY]),
    ],
    source=_source, train=_company, shared_by="images", over=ALONE, **REPORTED,
    settings=_SETTINGS | {
        "width": WIDTH, "strangers": UNRELATED_TASKS, "families": RELATED_TASKS,
        "rates": GROUP_RATES,
    },
)  # fmt: skip
_WIDTHS = Study(
    "How wide must one shared network be to match four networks?",
    grid=[
        *cells(way=[SHARED], width=WIDTHS, images=SIZES, asked=["the four"]),
        *cells(way=[SEPARATE], width=WIDTHS[:-1], images=SIZES, asked=["the four"]),
        *cells(way=[SHARED_LONGER], width=WIDTHS[:4], images=SIZES, asked=["the four"]),
        *cells(way=[SHARED, SEPARATE], width=WIDTHS[:-1], images=SIZES[:1],
               asked=["four about cars"]),
    ],
    source=roads, train=_widths, over=SEPARATE, **REPORTED,
    settings=_SETTINGS | {"drawn": max(SIZES), "asked": TASK_SETS, "rates": WIDTH_RATES},
)  # fmt: skip

STUDIES = {
    "company": _COMPANY,
    "company_tuning": common.tuning(
        _COMPANY, "The learning rate for each group of tasks, on development seeds.",
        grid=cells(way=GROUPS, task=THE_FOUR, images=[THOUSAND], rate=HIGHER_RATES),
        source=_scenes_only, shared_by=None,
    ),
    "widths": _WIDTHS,
    "widths_tuning": common.tuning(
        _WIDTHS, "The learning rate of one shared network and of four, on development seeds.",
        grid=[
            *cells(way=[SHARED, SEPARATE], width=[2, 8, 16], images=[1_000], rate=HIGHER_RATES),
            *cells(way=[SHARED], width=[32], images=[1_000], rate=HIGHER_RATES),
            *cells(way=[SHARED_LONGER], width=[2, 8, 16], images=[1_000], rate=HIGHER_RATES),
        ],
    ),
}  # fmt: skip
