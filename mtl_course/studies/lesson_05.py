"""Lesson 05, when does multi-task learning make sense: company (M5), amounts (M6), width (M7).

Every network answers questions about driving scenes. Where tasks have images of their own, an image
is labelled for one task only and its other labels are '?'.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch

from mtl_course import scenes
from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.networks import Network, separate, shared, trainable
from mtl_course.scenes import SETTLED, TASKS
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
from mtl_course.studies.lesson_02 import LARGEST, STEPS_OF_A, TARGET
from mtl_course.training import Fit, fit

STEPS = 300  # of 64 images a task, the same for every way
BATCH = 64
RATES_TRIED = (3e-3, 1e-2, 3e-2, 1e-1)  # on development seeds, the same for every way
LOWER_RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # where a way was best at the lower end
MORE_RATES = (1e-4, 3e-4, *LOWER_RATES, 1e-1)  # for ways with ten times the steps
WIDTH_OF_COMPANY = 8

# ---------------------------------------------------------------------- M5: which company

ALONE = "alone"
LONGER = "alone, four times the steps"
RELATIVES = "its own family"
OTHERS = "the other three"
UNRELATED = "unrelated"
RANDOM = "random labels"
COMPANY = (ALONE, RELATIVES, OTHERS, UNRELATED, RANDOM)
FASTER = "the other three, at the rate of alone"
FAMILIES = {
    "pedestrian": ("adult", "pedestrian near", "pedestrian in dark clothes"),
    "car": ("car from the side", "car near", "red car"),
    "stop sign": ("stop sign near", "stop sign far", "stop sign on the left"),
    "traffic light": ("red light", "green light", "traffic light near"),
}
STRANGERS = ("night", "fog", "road bends left")  # weather, and left or right
FEW, MANY = 300, 3_000  # images to learn from
COMPANY_RATES = {ALONE: 3e-2, RELATIVES: 1e-2, OTHERS: 1e-2, UNRELATED: 3e-2, RANDOM: 3e-2}
"""The best of a small grid on development seeds: see the rows of the study "company_tuning"."""


class Together(NamedTuple):
    """What the cells of one seed and size share: labelled scenes, and one network for all four.

    scenes: with the four answers, those of their families, and the strangers'.
    """

    scenes: Dataset
    four: Network | None


def _together(seed: int, images: int, *, fit: Fit = fit) -> Together:
    both = _labelled(seed, images)
    four = _learned(only(both, scenes.THE_FOUR), seed, STEPS, COMPANY_RATES[OTHERS], fit=fit)
    return Together(both, four)


def _labelled(seed: int, images: int) -> Dataset:
    families = itertools.chain.from_iterable(FAMILIES.values())
    tasks = (*scenes.THE_FOUR, *families, *STRANGERS)
    return draw(images, derive_seed(seed, "scenes to learn from"), tasks)


def only(data: Dataset, tasks: tuple[str, ...]) -> Dataset:
    """The same images with the labels of these tasks."""
    columns = [data.tasks.index(task) for task in tasks]
    return replace(data, labels=data.labels[:, columns], tasks=tasks)


def _learned(data: Dataset, seed: int, steps: int, rate: float, *, fit: Fit = fit) -> Network:
    """One network for all tasks of `data`. Whatever they are, its trunk starts alike."""
    own = derive_seed(seed, "network")
    network = shared(data.tasks, width=WIDTH_OF_COMPANY, seed=own)
    fit(network, data, **fitting(own, steps, rate), batch_size=BATCH)
    return network


def in_company(data: Dataset, seed: int, way: str, task: str) -> Dataset:
    """The labels of `task`, and beside it those of its company, on the same images."""
    if way in (ALONE, LONGER):
        return only(data, (task,))
    if way in (RELATIVES, UNRELATED):
        return only(data, (task, *(FAMILIES[task] if way == RELATIVES else STRANGERS)))
    # `OTHERS` and `FASTER`, or `RANDOM`
    together = only(data, (task, *(other for other in scenes.THE_FOUR if other != task)))
    return shuffled(together, seed) if way == RANDOM else together


def shuffled(data: Dataset, seed: int, spared: int = 1) -> Dataset:
    """The labels of every task but the first ones dealt to other images, each task's by itself."""
    generator = torch.Generator("cpu").manual_seed(derive_seed(seed, "random labels"))
    labels = data.labels.clone()
    for column in range(spared, labels.shape[1]):
        known = (labels[:, column] != UNKNOWN).nonzero()[:, 0]
        other = known[torch.randperm(len(known), generator=generator, device="cpu")]
        labels[known, column] = data.labels[other, column]
    return replace(data, labels=labels)


def _company(
    together: Together,
    seed: int,
    way: str,
    task: str,
    images: int,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    """How well one task is answered by a network that learned it in this company."""
    network = together.four if way == OTHERS else None
    if network is None:
        if rate is None:
            rate = COMPANY_RATES[ALONE if way in (LONGER, FASTER) else way]
        data = in_company(together.scenes, seed, way, task)
        steps = STEPS * (4 if way == LONGER else 1)
        network = _learned(data, seed, steps, rate, fit=fit)
    return scored(network, seed, task)


def _scenes_alone(seed: int, *, fit: Fit = fit) -> Together:
    """For tuning, where each rate needs a network of its own."""
    return Together(_labelled(seed, 1_000), None)


# ---------------------------------------------------------------------- M6: amounts

THOUSAND = 1_000  # images of B, as in lesson 02
MIXED, AS_OFTEN = "joint, as it comes", "joint, B as often as alone"
JOINT_RATES = {MIXED: 1e-2, AS_OFTEN: 3e-3}
"""The best of a small grid on development seeds: see the rows of the study "amounts_tuning"."""
BATCH_OF_A = 128


def side_by_side(seed: int, a: int, way: str) -> Dataset:
    """A's scenes with four answers, B's with one, the other labels '?', as often as they are seen.

    All that the pretraining of lesson 02 sees of A, and its adapt of B, in one dataset that is
    seen once: the same number of images. `MIXED` gives every image the same share of them,
    `AS_OFTEN` sees B as often as adapt does.
    """
    tasks = (*scenes.THE_FOUR, TARGET)
    one = draw(a, derive_seed(seed, "A"))
    other = draw(THOUSAND, derive_seed(seed, "B"), [TARGET])
    of_b = STEPS * BATCH
    total = STEPS_OF_A[a] * BATCH_OF_A + of_b
    if way == MIXED:
        of_b = round(total * THOUSAND / (a + THOUSAND))
    images = one.images.new_empty(total, *one.images.shape[1:])
    labels = one.labels.new_full((total, len(tasks)), UNKNOWN)
    for part, rows, columns in (
        (one, slice(None, total - of_b), slice(None, -1)),
        (other, slice(total - of_b, None), slice(-1, None)),
    ):
        again = torch.arange(len(images[rows]), device=images.device) % len(part)
        torch.index_select(part.images, 0, again, out=images[rows])
        labels[rows, columns] = part.labels[again]
    return Dataset(images, labels, tasks=tasks)


def _amounts(
    nothing: None, seed: int, a: int, way: str, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """B's question, learned together with A's four."""
    data = side_by_side(seed, a, way)
    own = derive_seed(seed, "A network")
    network = shared(data.tasks, width=WIDTH_OF_COMPANY, seed=own)
    rate = JOINT_RATES[way] if rate is None else rate
    steps = len(data) // BATCH_OF_A
    fit(network, data, **fitting(own, steps, rate), batch_size=BATCH_OF_A)
    return {**scored(network, seed, TARGET), "steps": steps}


def beside_transfer(joint: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """The rows of "amounts" with those of "size_map" for the same B, A's and seeds in one table."""
    same = sizes[
        (sizes["b"] == THOUSAND)
        & sizes["way"].isin(["from scratch", "all layers", "head then all"])
        & sizes["seed"].isin(joint["seed"])
    ]
    both = pd.concat([joint, same[["study", "a", "way", "seed", "accuracy", "auc", "steps"]]])
    both.attrs = joint.attrs
    return both


# ---------------------------------------------------------------------- M6: a hundred tasks

FAMILY, STRANGE, ALL_KINDS = "same family", "other families", "all families"
DISTANT = "same family, but the nearest"
NEAREST = ("car", "exactly one car")  # each settles the target for some images
COMPANIONS = {
    FAMILY: (3, 9), DISTANT: (3, 9), STRANGE: (3, 9, 30), RANDOM: (3, 9),
    ALL_KINDS: (3, 9, 30, 99),
}  # fmt: skip
OTHER_WIDTHS = (2, 4, 16)
STEPS_OF_MANY = 150  # of 64 images, for each task
LONGER_ALONE = "alone, ten times the steps"
LARGE_BATCHES = "same family, as few steps as alone"
SAME_IMAGES = "same family, on the same images"
HIDDEN = "same family, their labels hidden"
MANY_RATES = {
    ALONE: 1e-2, LONGER_ALONE: 3e-2, FAMILY: 1e-2, STRANGE: 3e-3, RANDOM: 3e-3, ALL_KINDS: 1e-2,
    LARGE_BATCHES: 1e-2, SAME_IMAGES: 1e-3, DISTANT: 1e-2, HIDDEN: 1e-2,
}  # fmt: skip
"""The best of a small grid on development seeds: see the rows of the study "companions_tuning"."""


def companions(seed: int, kind: str, count: int) -> tuple[str, ...]:
    """So many other tasks of this kind, drawn for a seed; a smaller company is part of a larger."""
    family = TASKS[TARGET].family
    mixed = ("traffic",)  # asks about cars and others at once
    wanted = {
        ALL_KINDS: lambda task, own: True,
        FAMILY: lambda task, own: own == family,
        DISTANT: lambda task, own: own == family and task not in NEAREST,
    }.get(kind, lambda task, own: own not in (family, *mixed))
    known = [task for task in SETTLED if task != TARGET and wanted(task, TASKS[task].family)]
    generator = torch.Generator("cpu").manual_seed(derive_seed(seed, "companions"))
    order = torch.randperm(len(known), generator=generator, device="cpu")[:count].tolist()
    return tuple(known[k] for k in order)


def hundred(seed: int, kind: str, count: int) -> Dataset:
    """1,000 images for the target and for each companion, each labelled for its own task only.

    kind: of the companions; `HIDDEN` takes those of the family, and none of their labels.
    """
    tasks = (TARGET, *companions(seed, FAMILY if kind == HIDDEN else kind, count))
    parts = [draw(THOUSAND, derive_seed(seed, "B"), [TARGET])]
    if count:
        own = derive_seed(seed, "scenes of companions")
        parts.append(draw(THOUSAND * count, own, tasks[1:]))
    labels = parts[0].labels.new_full((THOUSAND * len(tasks), len(tasks)), UNKNOWN)
    labels[:THOUSAND, 0] = parts[0].labels[:, 0]
    for k in range(1, len(tasks)):
        rows = slice(THOUSAND * (k - 1), THOUSAND * k)
        labels[THOUSAND * k : THOUSAND * (k + 1), k] = parts[1].labels[rows, k - 1]
    if kind == HIDDEN:
        labels[:, 1:] = UNKNOWN
    data = Dataset(torch.cat([part.images for part in parts]), labels, tasks=tasks)
    return shuffled(data, seed) if kind == RANDOM else data


def on_the_same(seed: int, count: int) -> Dataset:
    """The target's 1,000 images with the labels of its relatives too."""
    tasks = (TARGET, *companions(seed, FAMILY, count))
    return draw(THOUSAND, derive_seed(seed, "B"), tasks)


def _companions(
    nothing: None,
    seed: int,
    way: str,
    count: int,
    width: int = WIDTH_OF_COMPANY,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    """The target's score once each of its images has been seen as often as alone.

    With more tasks there are as many more steps of 64 images; or, in `LARGE_BATCHES`, as few steps
    as alone, of 64 images a task. In `SAME_IMAGES` the companions bring labels and no images, so
    that those of the target are seen as often as in `LONGER_ALONE`; in `HIDDEN` they bring images
    and no labels.
    """
    kind = way if way in (*COMPANIONS, HIDDEN) else FAMILY
    data = on_the_same(seed, count) if way == SAME_IMAGES else hundred(seed, kind, count)
    own = derive_seed(seed, "B network")
    network = shared(data.tasks, width=width, seed=own)
    if rate is None:
        rate = MANY_RATES[way]
    steps, batch = STEPS_OF_MANY * (count + 1), BATCH
    if way == LONGER_ALONE:
        steps = 10 * steps
    if way == LARGE_BATCHES:
        steps, batch = STEPS_OF_MANY, BATCH * (count + 1)
    fit(network, data, **fitting(own, steps, rate), batch_size=batch)
    return {**scored(network, seed, TARGET), "steps": steps}


# ---------------------------------------------------------------------- M7: how wide

SHARED, SEPARATE = "one shared network", "four networks"
SHARED_LONGER = "one shared network, four times the steps"
WIDTHS = (2, 4, 8, 16, 32)
SIZES = (1_000, 4_000)
ASKED = {"the four": scenes.THE_FOUR, "four about cars": ("car", *FAMILIES["car"])}
WIDTH_RATES = {
    SHARED: {8: 3e-2, 16: 3e-2, 32: 1e-2},
    SHARED_LONGER: {16: 3e-2},
    SEPARATE: {8: 3e-2, 16: 3e-2},
}
"""By the largest width, the best of a small grid on development seeds: see the rows of the study
"widths_tuning"."""


def _roads(seed: int, *, fit: Fit = fit) -> Dataset:
    tasks = tuple(dict.fromkeys(itertools.chain.from_iterable(ASKED.values())))
    return draw(max(SIZES), derive_seed(seed, "scenes to learn from"), tasks)


def _rate(way: str, width: int) -> float:
    rates = WIDTH_RATES[way]
    return rates[min(largest for largest in rates if width <= largest)]


def _widths(
    roads: Dataset,
    seed: int,
    way: str,
    width: int,
    images: int,
    asked: str = "the four",
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    """Four answers by one network, or by four side by side, each of this width.

    Scores: means over the four, then the area under the curve of each; parameters: of all networks.
    """
    data = only(roads.subset(slice(images)), ASKED[asked])
    own = derive_seed(seed, "network")
    network = (separate if way == SEPARATE else shared)(data.tasks, width=width, seed=own)
    rate = _rate(way, width) if rate is None else rate
    steps = STEPS * (4 if way == SHARED_LONGER else 1)
    fit(network, data, **fitting(own, steps, rate), batch_size=BATCH)
    return {**each_scored(network, seed), "parameters": trainable(network), "steps": steps}


_SETTINGS = {"test": TEST_SCENES, "steps": STEPS, "batch": BATCH, "width": WIDTH_OF_COMPANY}
_COMPANY = _SETTINGS | {"strangers": STRANGERS, "families": FAMILIES}
_AMOUNTS = _SETTINGS | {"steps of A": list(STEPS_OF_A.items()), "target": TARGET}
_MANY = {"test": TEST_SCENES, "steps": STEPS_OF_MANY, "batch": BATCH, "width": WIDTH_OF_COMPANY}
_WIDE = {"test": TEST_SCENES, "steps": STEPS, "batch": BATCH, "drawn": max(SIZES), "asked": ASKED}

STUDIES = {
    "company": Study(
        "Does a task gain from the other three, from unrelated tasks, from random labels?",
        grid=[
            *cells(way=[*COMPANY, FASTER], task=scenes.THE_FOUR, images=[FEW, MANY]),
            *cells(way=[LONGER], task=scenes.THE_FOUR, images=[MANY]),
        ],
        source=_together,
        train=_company,
        seeds=range(10),
        settings=_COMPANY | {"rates": COMPANY_RATES},
        golden="scenes",
        shared_by="images",
        over=ALONE,
        score="auc",
    ),
    "company_tuning": Study(
        "The learning rate of each company, on development seeds.",
        grid=cells(way=COMPANY, task=scenes.THE_FOUR, images=[THOUSAND], rate=RATES_TRIED),
        source=_scenes_alone,
        train=_company,
        seeds=DEVELOPMENT[:3],
        settings=_COMPANY,
        golden="scenes",
        score="auc",
    ),
    "amounts": Study(
        "A and B learned jointly, from 1,000 to 1,000,000 scenes of A: what is left for B?",
        grid=[
            *cells(a=STEPS_OF_A, way=[MIXED]),
            *cells(a=[a for a in STEPS_OF_A if a < LARGEST], way=[AS_OFTEN]),
        ],
        source=nothing_shared,
        train=_amounts,
        seeds=range(10),
        settings=_AMOUNTS | {"rates": JOINT_RATES},
        golden="scenes",
        over=MIXED,
        score="auc",
    ),
    "amounts_tuning": Study(
        "The learning rate of joint training, on development seeds.",
        grid=cells(a=[10_000], way=[MIXED, AS_OFTEN], rate=[LOWER_RATES[0], *RATES_TRIED]),
        source=nothing_shared,
        train=_amounts,
        seeds=DEVELOPMENT[:3],
        settings=_AMOUNTS,
        golden="scenes",
        score="auc",
    ),
    "companions": Study(
        "1,000 examples, and up to 99 companions of 1,000 each: what do they bring?",
        grid=[
            *cells(way=[ALONE, LONGER_ALONE], count=[0], width=[WIDTH_OF_COMPANY]),
            *cells(way=[LARGE_BATCHES, SAME_IMAGES, HIDDEN], count=[9], width=[WIDTH_OF_COMPANY]),
            *[
                cell
                for kind, counts in COMPANIONS.items()
                for cell in cells(way=[kind], count=counts, width=[WIDTH_OF_COMPANY])
            ],
            *cells(way=[ALONE], count=[0], width=OTHER_WIDTHS),
            *cells(way=[FAMILY, STRANGE], count=[9], width=OTHER_WIDTHS),
        ],
        source=nothing_shared,
        train=_companions,
        seeds=range(10),
        settings=_MANY | {"rates": MANY_RATES},
        golden="scenes",
        over=ALONE,
        blank={"count": 0},
        score="auc",
    ),
    "companions_tuning": Study(
        "The learning rate alone and with companions, on development seeds.",
        grid=[
            *cells(way=[ALONE], count=[0], rate=LOWER_RATES),
            *cells(way=[*COMPANIONS, LARGE_BATCHES], count=[9], rate=LOWER_RATES),
            *cells(way=[LONGER_ALONE], count=[0], rate=MORE_RATES),
            *cells(way=[SAME_IMAGES, HIDDEN], count=[9], rate=MORE_RATES),
        ],
        source=nothing_shared,
        train=_companions,
        seeds=DEVELOPMENT[:3],
        settings=_MANY,
        golden="scenes",
        score="auc",
    ),
    "widths": Study(
        "How wide must one shared network be to match four networks?",
        grid=[
            *cells(way=[SHARED], width=WIDTHS, images=SIZES, asked=["the four"]),
            *cells(way=[SEPARATE], width=WIDTHS[:-1], images=SIZES, asked=["the four"]),
            *cells(way=[SHARED_LONGER], width=WIDTHS[:4], images=SIZES, asked=["the four"]),
            *cells(
                way=[SHARED, SEPARATE],
                width=WIDTHS[:-1],
                images=SIZES[:1],
                asked=["four about cars"],
            ),
        ],
        source=_roads,
        train=_widths,
        seeds=range(10),
        settings=_WIDE | {"rates": WIDTH_RATES},
        golden="scenes",
        over=SEPARATE,
        score="auc",
    ),
    "widths_tuning": Study(
        "The learning rate of one shared network and of four, on development seeds.",
        grid=[
            *cells(way=[SHARED, SEPARATE], width=[2, 8, 16], images=[1_000], rate=RATES_TRIED),
            *cells(way=[SHARED], width=[32], images=[1_000], rate=RATES_TRIED),
            *cells(way=[SHARED_LONGER], width=[2, 8, 16], images=[1_000], rate=RATES_TRIED),
        ],
        source=_roads,
        train=_widths,
        seeds=DEVELOPMENT[:3],
        settings=_WIDE,
        golden="scenes",
        score="auc",
    ),
}
