"""Lesson 02, when does transfer make sense: dials for sizes (T2), input (T1) and features (T3).

On driving scenes A is the lecture's four answers, or what a dial puts in their place, and B the
question `TARGET`; on digits B is real handwriting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from mtl_course import scenes
from mtl_course.analysis import similarity
from mtl_course.base import derive_seed
from mtl_course.datasets import LETTERS, Dataset, handwritten_digits, printed_digits
from mtl_course.devices import for_drawing
from mtl_course.networks import Network, classifier, shared
from mtl_course.studies import spectrograms
from mtl_course.studies._store import Study
from mtl_course.studies.common import (
    DEVELOPMENT,
    RATES_TRIED,
    TEST_SCENES,
    Scores,
    accuracy,
    cells,
    completed,
    draw,
    fitting,
    scored,
)
from mtl_course.studies.headline import FAR
from mtl_course.studies.lesson_01 import PRETRAINING, STEPS
from mtl_course.training import Fit, fit
from mtl_course.transfer import LEARNING_RATES, WAYS, adapt

TARGET = "two cars"  # what B asks
WIDTH = 8
RATE_OF_A = 1e-2
RATES = {
    TARGET: {"from scratch": 3e-2, "new head": 3e-3, "all layers": 3e-3, "head then all": 3e-3},
    FAR: {"from scratch": 3e-2, "all layers": 3e-2},
}
"""The best of a small grid on development seeds: see the rows of the study "dials_tuning"."""

NOTHING = "nothing"  # from scratch: there is no A
ALL = 3  # blocks of the trunk

# ---------------------------------------------------------------------- T2: sizes

STEPS_OF_A = {1_000: 500, 10_000: 1_000, 100_000: 1_500, 1_000_000: 7_812}
"""Steps of 128 images by |A|: each scene is seen at least once, and few scenes not for ever. So the
dial turns A and the training that it gets."""
STEPS_OF_B = {30: 300, 100: 300, 300: 300, 1_000: 300, 3_000: 600, 10_000: 1_000, 30_000: 1_000}
"""Steps of up to 64 images by |B|, the same for every way."""
LONGER = "from scratch, ten times the steps"
FASTER = "all layers, the rate of from scratch"
SLOWER = "from scratch, the rate of all layers"
LARGEST = max(STEPS_OF_A)


def sized(seed: int, a: int, *, fit: Fit = fit) -> Network:
    """A trunk that has learned the four tasks from so many scenes; of 0, the untrained network."""
    network = shared(scenes.THE_FOUR, width=WIDTH, seed=derive_seed(seed, "A network"))
    if a:
        data = draw(a, derive_seed(seed, "A"))
        _learning(network, data, STEPS_OF_A[a], seed, fit)
    return network


def _learning(network: Network, data: Dataset, steps: int, seed: int, fit: Fit) -> None:
    settings = fitting(derive_seed(seed, "A network"), steps, RATE_OF_A)
    fit(network, data, **settings, batch_size=128)


def _size_map(source: Network, seed: int, a: int, b: int, way: str, *, fit: Fit = fit) -> Scores:
    """One cell of the size map."""
    how, rate = _how(way, RATES[TARGET])
    steps = STEPS_OF_B[b] * (10 if way == LONGER else 1)
    train = draw(b, derive_seed(seed, "B"), [TARGET])
    settings = fitting(derive_seed(seed, "B network"), steps, rate)
    target = adapt(source, train, how, **settings, fit=fit)
    return {**scored(target, seed, TARGET), "steps": steps}


def _how(way: str, rates: Mapping[str, float]) -> tuple[str, float]:
    """What a way or a control does, and at which rate."""
    if way == FASTER:
        return "all layers", rates["from scratch"]
    if way == SLOWER:
        return "from scratch", rates["all layers"]
    how = "from scratch" if way == LONGER else way
    return how, rates[how]


# ---------------------------------------------------------------------- T1 and T3: what A is

RELATED = 30_000  # scenes, or sounds, of A
RELATED_STEPS = 1_000  # of 128 images
QUESTIONS = {
    "B itself": (TARGET,),
    "nearly B": ("car", "red car", "white car", "car from the side"),
    "the four": scenes.THE_FOUR,
    "other things": ("tree", "building", "cloud", "lamp post"),
    "brightness": ("day", "dusk", "night", "fog"),
}
"""What A asks about its scenes, from nearest to farthest."""
SHUFFLED, SOUNDS, RANDOM = "shuffled pixels", "sounds", "random labels"
KINDS_OF_A = (*QUESTIONS, RANDOM, SHUFFLED, SOUNDS)


def related(seed: int, a: str, *, fit: Fit = fit) -> Network:
    """A trunk that has learned this kind of A; of `NOTHING`, what from scratch starts from."""
    if a == NOTHING:
        return shared([TARGET], width=WIDTH, seed=derive_seed(seed, "B network"))  # its own start
    data = images_of(seed, a, RELATED)
    network = shared(data.tasks, width=WIDTH, seed=derive_seed(seed, "A network"))
    _learning(network, data, RELATED_STEPS, seed, fit)
    return network


def images_of(seed: int, a: str, count: int = RELATED) -> Dataset:
    """What A learns from. The pixels of a seed are all shuffled alike."""
    own = derive_seed(seed, "A")
    if a == SOUNDS:
        return spectrograms.draw(count, own)
    data = draw(count, own, QUESTIONS.get(a, scenes.THE_FOUR))
    return _spoilt(data, seed, a)


def _spoilt(data: Dataset, seed: int, a: str) -> Dataset:
    """Images with the labels of others, or all their pixels in one other order; or as they were."""
    generator = torch.Generator("cpu").manual_seed(derive_seed(seed, a))
    if a == RANDOM:
        return replace(
            data, labels=data.labels[torch.randperm(len(data), generator=generator, device="cpu")]
        )
    if a == SHUFFLED:
        flat = data.images.flatten(2)  # (m, channels, pixels)
        order = torch.randperm(flat.shape[2], generator=generator, device="cpu")
        return replace(data, images=flat[:, :, order].view_as(data.images))
    return data


def _relatedness(
    source: Network,
    seed: int,
    a: str,
    task: str,
    way: str,
    layers: int,
    labels: int,
    *,
    fit: Fit = fit,
) -> Scores:
    """One network that learns `task` with the first blocks of this trunk.

    Scores also say how alike source and target see 500 test scenes, block by block (CKA).
    """
    how, rate = _how(way, RATES[task])
    return _dialled(source, seed, task, how, layers, labels, rate, fit=fit)


def _dialled(
    source: Network,
    seed: int,
    task: str,
    way: str,
    layers: int,
    labels: int,
    rate: float,
    *,
    fit: Fit = fit,
) -> Scores:
    train = draw(labels, derive_seed(seed, "B"), [task])
    settings = fitting(derive_seed(seed, "B network"), STEPS_OF_B[labels], rate)
    target = adapt(source, train, way, layers=layers, **settings, fit=fit)
    seen = draw(500, derive_seed(seed, "scenes to be scored on"), [task])
    return {**scored(target, seed, task), **_alike(source, target, seen)}


def _alike(source: Network, target: Network, data: Dataset) -> dict[str, float]:
    alike = similarity(source, completed(target), data)
    return {f"cka {block}": value for block, value in enumerate(alike, start=1)}


def _tuning(
    source: Network,
    seed: int,
    a: str,
    task: str,
    way: str,
    labels: int,
    rate: float,
    *,
    fit: Fit = fit,
) -> Scores:
    return _dialled(source, seed, task, way, ALL, labels, rate, fit=fit)


_RELATED_CELLS = [
    *cells(a=[NOTHING], task=[TARGET, FAR], way=[WAYS[0]], layers=[0], labels=[100, 1_000]),
    *cells(a=[NOTHING], task=[TARGET], way=[SLOWER], layers=[0], labels=[100, 1_000]),
    *cells(
        a=KINDS_OF_A, task=[TARGET], way=["all layers", "new head"], layers=[ALL],
        labels=[100, 1_000],
    ),
    *cells(
        a=["the four", "brightness"], task=[TARGET], way=["all layers", "new head"],
        layers=range(1, ALL), labels=[1_000],
    ),
    *cells(
        a=["the four", "other things", "brightness", RANDOM], task=[FAR], way=["all layers"],
        layers=[ALL], labels=[100, 1_000],
    ),
]  # fmt: skip

# ---------------------------------------------------------------------- the same on handwriting

PRINTED_SIZES = (100, 1_000, 10_000, 60_000)
WRITTEN_SIZES = (10, 30, 100, 300, 800)
KINDS_OF_PRINT = ("digits", "letters", "thickness", RANDOM, SHUFFLED, SOUNDS)


def _printed_sized(seed: int, a: int, *, fit: Fit = fit) -> Network:
    """A trunk that has learned so many printed digits, in as many steps whatever their number."""
    data = printed_digits(max(a, 1), derive_seed(seed, "A"), device=for_drawing())
    return _printed_trunk(data, seed, bool(a), fit=fit)


def _printed_trunk(data: Dataset, seed: int, learns: bool, *, fit: Fit = fit) -> Network:
    """The trunk after A; or, where nothing is learned, what from scratch on B starts from."""
    own = derive_seed(seed, "A network" if learns else "B network")
    network = classifier(data, width=16, seed=own)
    if learns:
        settings = {"steps": PRETRAINING, "batch_size": 128, "seed": own, "progress": False}
        fit(network, data, **settings)
    return network


def _digits_size_map(
    source: Network, seed: int, a: int, b: int, way: str, *, fit: Fit = fit
) -> Scores:
    return _written(source, seed, way, None, b, fit=fit)


def _written(
    source: Network, seed: int, way: str, layers: int | None, labels: int, *, fit: Fit = fit
) -> Scores:
    written = handwritten_digits()
    sample = written.train.sample(labels, seed=derive_seed(seed, "B"))
    how, rate = _how(way, LEARNING_RATES)
    settings = fitting(derive_seed(seed, "B network"), STEPS, rate)
    target = adapt(source, sample, how, layers=layers, **settings, fit=fit)
    alike = _alike(source, target, written.test.subset(slice(500)))
    return {"accuracy": accuracy(target, written.test), **alike}


def _printed_related(seed: int, a: str, *, fit: Fit = fit) -> Network:
    """A trunk that has learned this kind of print; of `NOTHING`, an untrained one."""
    return _printed_trunk(print_of(seed, a), seed, a != NOTHING, fit=fit)


def print_of(seed: int, a: str, count: int = 60_000) -> Dataset:
    """What A learns from on digits. Thickness: ten classes, as many digits each, by their ink."""
    own = derive_seed(seed, "A")
    if a == SOUNDS:
        return spectrograms.draw(min(count, RELATED), own, size=8, channels=1)
    if a == "letters":
        return printed_digits(count, own, device=for_drawing(), characters=LETTERS)
    data = printed_digits(count, own, device=for_drawing())
    if a == "thickness":
        ink = data.images.float().mean(dim=(1, 2, 3))
        cuts = ink.quantile(torch.linspace(0.1, 0.9, 9, device=ink.device))
        return replace(data, labels=torch.bucketize(ink, cuts))
    return _spoilt(data, seed, a)


def _digits_relatedness(
    source: Network, seed: int, a: str, way: str, layers: int, labels: int, *, fit: Fit = fit
) -> Scores:
    return _written(source, seed, way, layers, labels, fit=fit)


_PRINT_CELLS = [
    *cells(a=[NOTHING], way=[WAYS[0], SLOWER], layers=[0], labels=[30, 300]),
    *cells(a=KINDS_OF_PRINT, way=["all layers", "new head"], layers=[ALL], labels=[30, 300]),
    *cells(
        a=["digits", "thickness"], way=["all layers", "new head"], layers=range(1, ALL),
        labels=[300],
    ),
]  # fmt: skip

_SETTINGS = {"width": WIDTH, "rate of A": RATE_OF_A, "test": TEST_SCENES}
_SIZES = {"steps of A": list(STEPS_OF_A.items()), "steps of B": list(STEPS_OF_B.items())}
_RELATED = {
    "A": RELATED, "steps of A": RELATED_STEPS, "questions": QUESTIONS,
    "steps of B": [STEPS_OF_B[labels] for labels in (100, 1_000)],
}  # fmt: skip
_PRINT = {"steps of A": PRETRAINING, "steps": STEPS, "rates": LEARNING_RATES}

STUDIES = {
    "size_map": Study(
        "What does A gain for B, by the size of A and the size of B?",
        grid=[
            *cells(a=[0], b=STEPS_OF_B, way=[WAYS[0]]),
            *cells(a=[0], b=[100, 1_000, 30_000], way=[LONGER]),
            *cells(a=STEPS_OF_A, b=STEPS_OF_B, way=["all layers"]),
            *cells(a=[LARGEST], b=STEPS_OF_B, way=["new head", "head then all"]),
            *cells(a=[min(STEPS_OF_A), LARGEST], b=[1_000, 30_000], way=[FASTER]),
        ],
        source=sized,
        train=_size_map,
        seeds=range(10),
        settings=_SETTINGS | _SIZES | {"rates": RATES[TARGET], "task": TARGET},
        golden="dials",
        shared_by="a",
        over="from scratch",
        blank={"a": 0},
        score="auc",
    ),
    "relatedness": Study(
        "What must A have in common with B, and how much of its trunk?",
        grid=_RELATED_CELLS,
        source=related,
        train=_relatedness,
        seeds=range(10),
        settings=_SETTINGS | _RELATED | {"rates": RATES},
        golden="dials",
        shared_by="a",
        over="from scratch",
        blank={"a": NOTHING, "layers": 0},
        score="auc",
    ),
    "dials_tuning": Study(
        "The learning rate of each way in lesson 02, on development seeds.",
        grid=[
            *cells(a=["the four"], task=[TARGET], way=WAYS, labels=[100, 1_000], rate=RATES_TRIED),
            *cells(
                a=["the four"], task=[FAR], way=["from scratch", "all layers"],
                labels=[100, 1_000], rate=RATES_TRIED,
            ),
        ],
        source=related,
        train=_tuning,
        seeds=DEVELOPMENT[:3],
        settings=_SETTINGS | _RELATED,
        golden="dials",
        shared_by="a",
    ),
    "digits_size_map": Study(
        "Printed → handwritten digits: what does A gain, by the size of A and of B?",
        grid=[
            *cells(a=[0], b=WRITTEN_SIZES, way=[WAYS[0]]),
            *cells(a=PRINTED_SIZES, b=WRITTEN_SIZES, way=["all layers"]),
        ],
        source=_printed_sized,
        train=_digits_size_map,
        seeds=range(10),
        settings=_PRINT,
        shared_by="a",
        over="from scratch",
        blank={"a": 0},
    ),
    "digits_relatedness": Study(
        "Handwritten digits: what must A have in common with them?",
        grid=_PRINT_CELLS,
        source=_printed_related,
        train=_digits_relatedness,
        seeds=range(10),
        settings=_PRINT,
        golden="dials",
        shared_by="a",
        over="from scratch",
        blank={"a": NOTHING, "layers": 0},
    ),
}  # fmt: skip
