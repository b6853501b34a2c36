"""Lesson 02, when does transfer make sense: sizes (T2), input (T1) and features (T3), on scenes.

A is the lecture's four answers, or what a study puts in their place, and B the question `TARGET`.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from mtl_course import scenes
from mtl_course.analysis import similarity
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.networks import Network, shared
from mtl_course.studies import common, spectrograms
from mtl_course.studies.common import THOUSAND, WIDTH, Scores, Study, cells
from mtl_course.studies.headline import FAR
from mtl_course.training import Fit, fit

TARGET = "two cars"  # what B asks
RATES = {  # the best of "dials_tuning"
    TARGET: {"from scratch": 3e-2, "new head": 3e-3, "all layers": 3e-3, "head then all": 3e-3},
    FAR: {"from scratch": 3e-2, "all layers": 3e-2},
}
LONGER = "from scratch, ten times the steps"
FASTER = "all layers, the rate of from scratch"
SLOWER = "from scratch, the rate of all layers"
_CONTROLS = {  # what is done, and whose rate it takes
    LONGER: ("from scratch", "from scratch"),
    FASTER: ("all layers", "from scratch"),
    SLOWER: ("from scratch", "all layers"),
}

# T2, by the number of scenes. Each of A's is seen at least once: a larger A gets more training.
STEPS_OF_A = {1_000: 500, 10_000: 1_000, 100_000: 1_500, 1_000_000: 7_812}
STEPS_OF_B = {30: 300, 100: 300, 300: 300, 1_000: 300, 3_000: 600, 10_000: 1_000, 30_000: 1_000}
LARGEST = max(STEPS_OF_A)

# What the size map cannot tell apart: a larger A, and more training on it.
SIZES_APART, STEPS_APART = (10_000, 100_000), (1_000, 2_500)

NOTHING = "nothing"  # T1 and T3, from scratch: there is no A
ALL = 3  # blocks of the trunk
RELATED = 30_000  # scenes, or sounds, of A
RELATED_STEPS = 1_000
QUESTIONS = {  # what A asks about its scenes, from nearest to farthest
    "B itself": (TARGET,),
    "nearly B": ("car", "red car", "white car", "car from the side"),
    "the four": scenes.THE_FOUR,
    "other things": ("tree", "building", "cloud", "lamp post"),
    "brightness": ("day", "dusk", "night", "fog"),
}
SHUFFLED, SOUNDS, RANDOM = "shuffled pixels", "sounds", "random labels"
KINDS_OF_A = (*QUESTIONS, RANDOM, SHUFFLED, SOUNDS)

CLAIMED = (  # of `claims`, what the lesson lists
    "T2, 1,000,000 → 1,000: A gains",
    "T2, 1,000,000 → 30,000: A gains",
    "… also over ten times the steps there",
    "T2 reversed, 1,000 → 30,000: A gains",
    "… at the rate of from scratch",
    "2,500 steps of A each: 100,000 scenes gain over 10,000",
    "B = 100: new head beats all layers",
    "B = 30,000: new head beats all layers",
    "T1: shuffled pixels gain",
    "T1: sounds gain",
    "T3: B itself gains",
    "T3: other things gain",
    "… held frozen",
)


def trunk(seed: int, a: int | str, steps_of_a: int | None = None, *, fit: Fit = fit) -> Network:
    """Return a network that has learned A; of 0 or `NOTHING`, B's own untrained one.

    a: a number of scenes with the four answers, or one of `KINDS_OF_A`. steps_of_a: None takes
    those in `STEPS_OF_A`.
    """
    if a in (0, NOTHING):
        return shared([TARGET], width=WIDTH, seed=derive_seed(seed, "B network"))
    data = images_of(seed, a, RELATED) if isinstance(a, str) else images_of(seed, "the four", a)
    own, steps = derive_seed(seed, "A network"), steps_of_a or STEPS_OF_A.get(a, RELATED_STEPS)
    return common.train(data, own, steps, common.RATE_OF_A, batch=common.BATCH_OF_A, fit=fit)


def images_of(seed: int, a: str, count: int = RELATED) -> Dataset:
    """Draw the scenes, or the sounds, that this kind of A learns from."""
    own = derive_seed(seed, "A")
    if a == SOUNDS:
        return spectrograms.draw(count, own)
    return spoiled(common.draw(count, own, QUESTIONS.get(a, scenes.THE_FOUR)), seed, a)


def spoiled(data: Dataset, seed: int, a: str) -> Dataset:
    """Deal the labels to other images (`RANDOM`), or permute all pixels alike (`SHUFFLED`)."""
    generator = torch.Generator("cpu").manual_seed(derive_seed(seed, a))
    if a == RANDOM:
        order = torch.randperm(len(data), generator=generator, device="cpu")
        return replace(data, labels=data.labels[order])
    if a == SHUFFLED:
        flat = data.images.flatten(2)  # (m, channels, pixels)
        order = torch.randperm(flat.shape[2], generator=generator, device="cpu")
        return replace(data, images=flat[:, :, order].view_as(data.images))
    return data


def controlled(way: str, rates: Mapping[str, float]) -> tuple[str, float]:
    """Return what a way or a control does, and its learning rate. rates: of the ways."""
    how, whose = _CONTROLS.get(way, (way, way))
    return how, rates[whose]


def _size_map(source: Network, seed: int, a: int, b: int, way: str, *, fit: Fit = fit) -> Scores:
    how, rate = controlled(way, RATES[TARGET])
    steps = STEPS_OF_B[b] * (10 if way == LONGER else 1)
    train = common.draw(b, derive_seed(seed, "B"), [TARGET])
    target = common.adapted(source, train, how, seed, steps, rate, fit=fit)
    return {**common.scored(target, seed, TARGET), "steps": steps}


def _apart(
    source: Network, seed: int, a: int, steps_of_a: int, b: int, way: str, *, fit: Fit = fit
) -> Scores:
    return _size_map(source, seed, a, b, way, fit=fit)


def _relatedness(
    source: Network, seed: int, a: str, task: str, way: str, labels: int,
    layers: int = ALL, rate: float | None = None, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Train one network that learns `task` with the first blocks of this trunk."""
    how, tuned = controlled(way, RATES[task])
    train, steps = common.draw(labels, derive_seed(seed, "B"), [task]), STEPS_OF_B[labels]
    target = common.adapted(source, train, how, seed, steps, rate or tuned, layers=layers, fit=fit)
    same = similarities(source, target, common.draw_test(seed, [task], 500))
    return common.scored(target, seed, task) | same


def similarities(source: Network, target: Network, data: Dataset) -> dict[str, float]:
    """Return how alike source and target see these images, block by block: "cka 1" …"""
    alike = similarity(source, common.completed(target), data)
    return {f"cka {block}": value for block, value in enumerate(alike, start=1)}


_SETTINGS = {"width": WIDTH, "rate of A": common.RATE_OF_A, "test": common.TEST_SCENES}
_FEW = (100, 1_000)  # labels of B
_TWO = ("all layers", "new head")
_COMPARED = {
    "seeds": range(10), "golden": "dials", "shared_by": "a", "over": "from scratch", "score": "auc",
}  # fmt: skip

STUDIES = {
    "size_map": Study(
        "What does A gain for B, by the size of A and the size of B?",
        grid=[
            *cells(a=[0], b=STEPS_OF_B, way=["from scratch"]),
            *cells(a=[0], b=[100, 1_000, 30_000], way=[LONGER]),
            *cells(a=STEPS_OF_A, b=STEPS_OF_B, way=["all layers"]),
            *cells(a=[LARGEST], b=STEPS_OF_B, way=["new head", "head then all"]),
            *cells(a=[min(STEPS_OF_A), LARGEST], b=[1_000, 30_000], way=[FASTER]),
        ],
        source=trunk, train=_size_map, blank={"a": 0}, **_COMPARED,
        settings=_SETTINGS | {
            "steps of A": list(STEPS_OF_A.items()), "steps of B": list(STEPS_OF_B.items()),
            "rates": RATES[TARGET], "task": TARGET,
        },
    ),
    "steps_of_a": Study(
        "Is it A's size that helps B, or how long A was trained?",
        # At 1,000 steps on 10,000 scenes, all layers stands in the size map.
        grid=[
            cell
            for cell in cells(a=SIZES_APART, steps_of_a=STEPS_APART, b=[THOUSAND], way=_TWO)
            if (cell["a"], cell["steps_of_a"]) != (min(SIZES_APART), min(STEPS_APART))
        ],
        source=trunk, train=_apart, seeds=range(10), golden="dials",
        shared_by=("a", "steps_of_a"), score="auc",
        settings=_SETTINGS | {
            "steps of B": STEPS_OF_B[THOUSAND], "rates": RATES[TARGET], "task": TARGET,
        },
    ),
    "relatedness": Study(
        "What must A have in common with B, and how much of its trunk?",
        grid=[
            *cells(a=[NOTHING], task=[TARGET, FAR], way=["from scratch"], layers=[0], labels=_FEW),
            *cells(a=[NOTHING], task=[TARGET], way=[SLOWER], layers=[0], labels=_FEW),
            *cells(a=KINDS_OF_A, task=[TARGET], way=_TWO, layers=[ALL], labels=_FEW),
            *cells(a=["the four", "brightness"], task=[TARGET], way=_TWO, layers=range(1, ALL),
                   labels=[1_000]),
            *cells(a=["the four", "other things", "brightness", RANDOM], task=[FAR],
                   way=["all layers"], layers=[ALL], labels=_FEW),
        ],
        source=trunk, train=_relatedness, blank={"a": NOTHING, "layers": 0}, **_COMPARED,
        settings=_SETTINGS | {
            "A": RELATED, "steps of A": RELATED_STEPS, "questions": QUESTIONS, "rates": RATES,
            "steps of B": [STEPS_OF_B[labels] for labels in _FEW],
        },
    ),
}  # fmt: skip
STUDIES["dials_tuning"] = common.tuning(
    STUDIES["relatedness"],
    "The learning rate of each way in lesson 02, on development seeds.",
    grid=[
        {"a": "the four", "task": task, **cell}
        for task, rates in RATES.items()
        for cell in cells(way=rates, labels=_FEW, rate=common.RATES_TRIED)
    ],
)
