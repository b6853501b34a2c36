"""Lesson 05, how much data the tasks have (M6): joint training with A, and up to 99 other tasks.

Each task has images of its own, whose labels for all other tasks are '?'.
"""

import itertools
from collections.abc import Sequence

import pandas as pd
import torch

from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, Dataset, only
from mtl_course.scenes import SETTLED, TASKS
from mtl_course.studies import common, lesson_05
from mtl_course.studies.common import BATCH, BATCH_OF_A, STEPS, THOUSAND, WIDTH, Study, cells
from mtl_course.studies.lesson_02 import LARGEST, STEPS_OF_A, TARGET
from mtl_course.studies.lesson_05 import ALONE, RANDOM
from mtl_course.training import Fit, fit

LOWER_RATES = common.RATES_TRIED[:-1]
MORE_RATES = (1e-4, 3e-4, *common.RATES_TRIED)  # for ways with ten times the steps


def joined(parts: Sequence[Dataset], counts: Sequence[int] = ()) -> Dataset:
    """Return the images of several datasets in one, each labeled for the tasks of its own part.

    counts: of images from each part, which are repeated if it has fewer; default: all, once.
    """
    counts, first = list(counts) or [len(part) for part in parts], parts[0].images
    images = first.new_empty(sum(counts), *first.shape[1:])  # (m, channels, height, width)
    labels = []
    for part, rows in zip(parts, images.split(counts), strict=True):
        again = torch.arange(len(rows), device=first.device) % len(part)
        torch.index_select(part.images, 0, again, out=rows)
        labels.append(part.labels[again] - UNKNOWN)
    tasks = itertools.chain.from_iterable(part.tasks for part in parts)
    return Dataset(images, torch.block_diag(*labels) + UNKNOWN, tasks=tuple(tasks))


# ---------------------------------------------------------------------- joint training with A

MIXED, AS_OFTEN = "joint, as it comes", "joint, B as often as alone"
JOINT_RATES = {MIXED: 1e-2, AS_OFTEN: 3e-3}  # the best of "amounts_tuning"


def a_and_b(seed: int, a: int, way: str) -> Dataset:
    """Return A's scenes with four answers and B's with one, each as often as training sees it.

    That is as many images as lesson 02 sees in pretraining on A and adapting to B. `MIXED` gives
    every image the same share of them, `AS_OFTEN` sees B as often as adapting does.
    """
    of_a = common.draw(a, derive_seed(seed, "A"))
    of_b = common.draw(THOUSAND, derive_seed(seed, "B"), [TARGET])
    views = STEPS * BATCH  # of B
    total = STEPS_OF_A[a] * BATCH_OF_A + views
    if way == MIXED:
        views = round(total * THOUSAND / (a + THOUSAND))
    return joined([of_a, of_b], [total - views, views])


def _amounts(
    nothing: None, seed: int, a: int, way: str, rate: float | None = None, *, fit: Fit = fit
) -> common.Scores:
    """Score B's task once a network has learned it together with A's four."""
    data, own, rate = (
        a_and_b(seed, a, way),
        derive_seed(seed, "A network"),
        rate or JOINT_RATES[way],
    )
    steps = len(data) // BATCH_OF_A
    network = common.train(data, own, steps, rate, batch=BATCH_OF_A, fit=fit)
    return {**common.scored(network, seed, TARGET), "steps": steps}


def beside_transfer(joint: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of "amounts", and those of "size_map" for the same B, A's and seeds."""
    ways = ["from scratch", "all layers", "head then all"]
    same = (sizes["b"] == THOUSAND) & sizes["way"].isin(ways) & sizes["seed"].isin(joint["seed"])
    columns = ["study", "a", "way", "seed", "accuracy", "auc", "steps"]
    both = pd.concat([joint, sizes.loc[same, columns]])
    both.attrs = joint.attrs
    return both


# ---------------------------------------------------------------------- up to 99 other tasks

SAME_FAMILY, OTHER_FAMILIES, ALL_FAMILIES = "same family", "other families", "all families"
NOT_NEAREST = "same family, but the nearest"
NEAREST = ("car", "exactly one car")  # each settles the target for some images
COUNTS = {  # of other tasks
    SAME_FAMILY: (3, 9), NOT_NEAREST: (3, 9), OTHER_FAMILIES: (3, 9, 30), RANDOM: (3, 9),
    ALL_FAMILIES: (3, 9, 30, 99),
}  # fmt: skip
OTHER_WIDTHS = (2, 4, 16)
STEPS_A_TASK = 150  # of 64 images
LONGER_ALONE = "alone, ten times the steps"
LARGE_BATCHES = "same family, as few steps as alone"
SAME_IMAGES = "same family, on the same images"
HIDDEN = "same family, their labels hidden"
READ_AS = {  # what figures and tables say in place of a way's name in the rows
    SAME_FAMILY: "related",
    NOT_NEAREST: "related, without\N{NO-BREAK SPACE}the two\N{NO-BREAK SPACE}nearest",
    LARGE_BATCHES: "related, few steps", SAME_IMAGES: "related, same images",
    HIDDEN: "related, hidden labels", OTHER_FAMILIES: "unrelated",
}  # fmt: skip
LADDER = {  # claims, and what the lesson's figure calls them
    "M6: 3 related tasks help": "3 related tasks",
    "M6: 9 related tasks help": "9 related tasks",
    "… without the two nearest": "9 related, without the two nearest",
    "M6: 9 unrelated tasks help": "9 unrelated tasks",
    "M6: 9 with random labels help": "control: 9 with random labels",
    "M6: ten times the steps alone help": "control: alone, ten times the steps",
}
OTHER_TASKS_RATES = {  # the best of "companions_tuning"
    ALONE: 1e-2, LONGER_ALONE: 3e-2, SAME_FAMILY: 1e-2, OTHER_FAMILIES: 3e-3, RANDOM: 3e-3,
    ALL_FAMILIES: 1e-2, LARGE_BATCHES: 1e-2, SAME_IMAGES: 1e-3, NOT_NEAREST: 1e-2, HIDDEN: 1e-2,
}  # fmt: skip


def other_tasks(seed: int, kind: str, count: int) -> tuple[str, ...]:
    """Return so many other tasks of a kind, drawn for a seed; fewer are the first of more.

    kind: of `COUNTS`, or a way that takes the tasks of the same family.
    """
    family = TASKS[TARGET].family
    pool = [task for task in SETTLED if task != TARGET]
    if kind in (OTHER_FAMILIES, RANDOM):  # "traffic" asks about cars and others at once
        pool = [task for task in pool if TASKS[task].family not in (family, "traffic")]
    elif kind != ALL_FAMILIES:
        without = NEAREST if kind == NOT_NEAREST else ()
        pool = [t for t in pool if TASKS[t].family == family and t not in without]
    generator = torch.Generator("cpu").manual_seed(derive_seed(seed, "companions"))
    order = torch.randperm(len(pool), generator=generator, device="cpu")[:count].tolist()
    return tuple(pool[k] for k in order)


def images_of_each(seed: int, kind: str, count: int) -> Dataset:
    """Return 1,000 images of the target and of each other task, each labeled for its own alone.

    kind: of the other tasks. `SAME_IMAGES` gives the target's images their labels too, and adds no
    images; `HIDDEN` hides their labels, `RANDOM` shuffles them.
    """
    tasks, own = other_tasks(seed, kind, count), derive_seed(seed, "B")
    if kind == SAME_IMAGES:
        return common.draw(THOUSAND, own, (TARGET, *tasks))
    parts = [common.draw(THOUSAND, own, [TARGET])]
    if tasks:
        others = common.draw(THOUSAND * count, derive_seed(seed, "scenes of companions"), tasks)
        for k, task in enumerate(tasks):
            rows = slice(THOUSAND * k, THOUSAND * (k + 1))
            parts.append(only(others.subset(rows), [task]))
    data = joined(parts)
    if kind == HIDDEN:
        data.labels[:, 1:] = UNKNOWN
    return lesson_05.shuffled(data, seed) if kind == RANDOM else data


def _companions(
    nothing: None, seed: int, way: str, count: int, width: int = WIDTH, rate: float | None = None,
    *, fit: Fit = fit,
) -> common.Scores:  # fmt: skip
    """Score the target once each of its images has been seen as often as alone.

    With more tasks there are as many more steps of 64 images; in `LARGE_BATCHES` as few as alone,
    of 64 images a task. `SAME_IMAGES` sees the target's images as often as `LONGER_ALONE`.
    """
    data = images_of_each(seed, way, count)
    steps, batch = STEPS_A_TASK * (count + 1), BATCH
    if way == LONGER_ALONE:
        steps = 10 * steps
    if way == LARGE_BATCHES:
        steps, batch = STEPS_A_TASK, BATCH * (count + 1)
    own, rate = derive_seed(seed, "B network"), rate or OTHER_TASKS_RATES[way]
    network = common.train(data, own, steps, rate, width=width, batch=batch, fit=fit)
    return {**common.scored(network, seed, TARGET), "steps": steps}


_SETTINGS = {"test": common.TEST_SCENES, "batch": BATCH, "width": WIDTH}
_AMOUNTS = Study(
    "A and B learned jointly, from 1,000 to 1,000,000 scenes of A: what is left for B?",
    grid=[
        *cells(a=STEPS_OF_A, way=[MIXED]),
        *cells(a=[a for a in STEPS_OF_A if a < LARGEST], way=[AS_OFTEN]),
    ],
    source=common.nothing_shared, train=_amounts, over=MIXED, **lesson_05.REPORTED,
    settings=_SETTINGS | {
        "steps": STEPS, "steps of A": list(STEPS_OF_A.items()), "target": TARGET,
        "rates": JOINT_RATES,
    },
)  # fmt: skip
_COMPANIONS = Study(
    "1,000 examples, and up to 99 other tasks of 1,000 each: what do they bring?",
    grid=[
        *cells(way=[ALONE, LONGER_ALONE], count=[0], width=[WIDTH]),
        *cells(way=[LARGE_BATCHES, SAME_IMAGES, HIDDEN], count=[9], width=[WIDTH]),
        *({"way": kind, "count": count, "width": WIDTH}
          for kind, counts in COUNTS.items() for count in counts),
        *cells(way=[ALONE], count=[0], width=OTHER_WIDTHS),
        *cells(way=[SAME_FAMILY, OTHER_FAMILIES], count=[9], width=OTHER_WIDTHS),
    ],
    source=common.nothing_shared, train=_companions, over=ALONE, blank={"count": 0},
    settings=_SETTINGS | {"steps": STEPS_A_TASK, "rates": OTHER_TASKS_RATES}, **lesson_05.REPORTED,
)  # fmt: skip

STUDIES = {
    "amounts": _AMOUNTS,
    "amounts_tuning": common.tuning(
        _AMOUNTS, "The learning rate of joint training, on development seeds.",
        grid=cells(a=[10_000], way=[MIXED, AS_OFTEN], rate=common.RATES_TRIED),
    ),
    "companions": _COMPANIONS,
    "companions_tuning": common.tuning(
        _COMPANIONS, "The learning rate alone and with other tasks, on development seeds.",
        grid=[
            *cells(way=[ALONE], count=[0], rate=LOWER_RATES),
            *cells(way=[*COUNTS, LARGE_BATCHES], count=[9], rate=LOWER_RATES),
            *cells(way=[LONGER_ALONE], count=[0], rate=MORE_RATES),
            *cells(way=[SAME_IMAGES, HIDDEN], count=[9], rate=MORE_RATES),
        ],
    ),
}  # fmt: skip
