"""Lesson 07: the studies of lessons 02, 04 and 05 once more, on photographs.

None of its rows ship: who has the photographs trains. Each study is made for the folder that they
lie in and for a `Scale`, and `studies.run` takes it as it takes the name of one that ships.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mtl_course import photographs, studies
from mtl_course.base import stream
from mtl_course.datasets import UNKNOWN, Dataset, Split, hide
from mtl_course.experiments.common import (
    DEVELOPMENT,
    Scores,
    accuracy,
    cells,
    completed,
    fitting,
    nothing_shared,
)
from mtl_course.networks import Network, backbone, imagenet_file, separate, shared
from mtl_course.plans import Fit, Plan
from mtl_course.studies import Study
from mtl_course.training import evaluate, fit
from mtl_course.transfer import adaptation, pretraining

WAYS = ("from scratch", "new head", "all layers")
SHARED, SEPARATE = "one shared network", "four networks"
MASKED, ZERO = "half unknown: mask", "half unknown: call it 0"
NOT_IMAGENET = "Not ImageNet's weights: this trunk learned the lesson's small images"


class Scale(NamedTuple):
    """How much is trained. All steps are of up to 64 images."""

    seeds: int
    backbone_seeds: int  # a backbone costs more
    a_steps: int  # on CIFAR-10
    steps: int  # of the course's own networks on STL-10 and on COCO
    labels: tuple[int, ...]  # labelled photographs of STL-10
    width: int  # of the course's own networks
    backbone_steps: int
    coco_labels: tuple[int, ...]  # labelled photographs of COCO for a backbone
    coco: int  # and for the course's own networks
    size: int  # pixels on a side of COCO's photographs
    tuned: bool  # learning rates are chosen on development seeds, not taken over
    jobs: int | None  # processes; to start them takes longer than what quick trains


SCALES = {
    "quick": Scale(3, 3, 60, 40, (20, 100), 8, 4, (30,), 150, 32, False, 1),
    "class": Scale(3, 3, 4_000, 1_000, (50, 500, 4_000), 16, 400, (300, 3_000), 10_000, 64, True,
                   None),
    "full": Scale(10, 10, 20_000, 2_000, (50, 150, 500, 1_500, 4_000), 32, 1_000,
                  (300, 3_000, 30_000), 100_000, 128, True, None),
}  # fmt: skip
"""quick takes seconds and trains too little to learn from; class and full are for a GPU."""

TRIED = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # learning rates, the same for every way
UNTUNED = {"own": 3e-3, "backbone": 1e-3}  # at quick scale

Rates = Mapping[str, float] | None


# ---------------------------------------------------------------------- CIFAR-10 → STL-10


def cifar_to_stl(folder: Path, scale: Scale, rates: Rates = None) -> Study:
    """T2 on photographs: A = CIFAR-10, B = so many labelled photographs of STL-10.

    Each seed has its own half of CIFAR-10's photographs, and its own trunk.
    rates: a learning rate a way; None makes the study that chooses them.
    """
    return _study(
        "CIFAR-10 → STL-10: which way to transfer, for how many labels?",
        cells(way=WAYS, labels=_there_are(photographs.stl10(folder), scale.labels)),
        functools.partial(_cifar_trunk, folder, scale),
        functools.partial(_stl, folder, scale, rates),
        rates,
        "accuracy",
    )


def _cifar_trunk(folder: Path, scale: Scale, seed: int) -> Plan[Network]:
    a = photographs.cifar10(folder).train
    own = a.sample(len(a) // 2, seed=stream(seed, "A"))
    settings = {"steps": scale.a_steps, "batch_size": 64, "progress": False}
    return pretraining(own, seed=stream(seed, "A network"), width=scale.width, **settings)


def _stl(
    folder: Path,
    scale: Scale,
    rates: Rates,
    source: Network,
    seed: int,
    way: str,
    labels: int,
    rate: float | None = None,
) -> Scores:
    pool, test = _split(photographs.stl10(folder), rate)
    settings = {"steps": scale.steps, "learning_rate": rate or rates[way], "progress": False}
    sample = pool.sample(labels, seed=stream(seed, "B"))
    target = yield from adaptation(source, sample, way, seed=stream(seed, "B network"), **settings)
    return {"accuracy": accuracy(target, test)}


# ---------------------------------------------------------------------- ImageNet → COCO


def imagenet_trunk(folder: Path, scale: Scale, seed: int) -> tuple[Network, str]:
    """A ResNet-18 that has learned ImageNet, and a banner for figures where it has not.

    Without its weights (`networks.backbone` says where to get them) another stands in, which has
    learned what lies in the folder as CIFAR-10.
    """
    tasks = tuple(photographs.COCO_NAMES)
    if imagenet_file("resnet18").exists():
        return backbone("resnet18", tasks, seed=seed), ""
    a = photographs.cifar10(folder).train
    network = backbone("resnet18", a.names, pretrained=False, seed=seed)
    settings = {"steps": scale.backbone_steps, "batch_size": 64, "learning_rate": 1e-3}
    fit(network, a, seed=seed, progress=False, **settings)
    return network, NOT_IMAGENET


def imagenet_to_coco(folder: Path, scale: Scale, rates: Rates = None) -> Study:
    """A = ImageNet, B = so many photographs of COCO with the lecture's four labels.

    Give the trunk of `imagenet_trunk` to `studies.run` as its source: it serves all seeds.
    """
    return _study(
        "ImageNet → COCO's four labels: which way to transfer, for how many photographs?",
        cells(way=WAYS, images=_there_are(_roads(folder, scale), scale.coco_labels)),
        nothing_shared,
        functools.partial(_coco, folder, scale, rates),
        rates,
        "auc",
    )


def _coco(
    folder: Path,
    scale: Scale,
    rates: Rates,
    source: Network,
    seed: int,
    way: str,
    images: int,
    rate: float | None = None,
) -> Scores:
    pool, test = _split(_roads(folder, scale), rate)
    settings = {
        "steps": scale.backbone_steps,
        "learning_rate": rate or rates[way],
        "progress": False,
    }
    sample = pool.sample(images, seed=stream(seed, "B"))
    target = yield from adaptation(source, sample, way, seed=stream(seed, "B network"), **settings)
    return _means(target, test)


# ---------------------------------------------------------------------- many tasks, and '?'


def together(folder: Path, scale: Scale, rates: Rates = None) -> Study:
    """M4 and M7 on COCO, with the course's own small networks.

    One shared network or four; and with half of the labels hidden, the mask or "no" in their place.
    """
    return _study(
        "COCO's four labels: one network or four, and what to do with '?'",
        cells(
            way=[SHARED, SEPARATE, MASKED, ZERO],
            images=_there_are(_roads(folder, scale), [scale.coco]),
        ),
        nothing_shared,
        functools.partial(_together, folder, scale, rates),
        rates,
        "auc",
    )


def _together(
    folder: Path,
    scale: Scale,
    rates: Rates,
    nothing: None,
    seed: int,
    way: str,
    images: int,
    rate: float | None = None,
) -> Scores:
    pool, test = _split(_roads(folder, scale), rate)
    data = pool.sample(images, seed=stream(seed, "images"))
    if way in (MASKED, ZERO):
        data = hide(data, 0.5, seed=stream(seed, "hidden"))
    if way == ZERO:
        data = replace(data, labels=data.labels.masked_fill(data.labels == UNKNOWN, 0))
    make = separate if way == SEPARATE else shared
    network = make(data.tasks, width=scale.width, seed=stream(seed, "network"))
    yield Fit(network, data, fitting(stream(seed, "batches"), scale.steps, rate or rates[way]))
    return _means(network, test)


# ---------------------------------------------------------------------- what they share


def chosen_rates(
    make: Callable[..., Study], folder: Path, scale: Scale, source: Network | None = None
) -> dict[str, float]:
    """A learning rate for each way of a study that one of the functions above makes.

    At quick scale one for all of them, untuned. Else the best of `TRIED` on development seeds,
    scored on a fifth of the training photographs that was held back.
    """
    tuning = make(folder, scale)
    if not scale.tuned:
        rate = UNTUNED["backbone" if make is imagenet_to_coco else "own"]
        return {cell["way"]: rate for cell in tuning.grid}
    rows = studies.run(tuning, source=source, jobs=scale.jobs)
    means = rows.groupby(["way", "rate"])[tuning.score].mean()
    return {way: float(rate) for way, rate in means.groupby("way").idxmax()}


def _study(
    question: str,
    grid: Sequence[Mapping[str, object]],
    source: Callable[..., object],
    train: Callable[..., object],
    rates: Rates,
    score: str,
) -> Study:
    if rates is None:
        middle = grid[len(grid) // 2]
        keys = [key for key in middle if key != "way"]
        grid = [c for c in grid if all(c[key] == middle[key] for key in keys)]
        grid = [cell | {"rate": rate} for cell in grid for rate in TRIED]
    seeds = range(10) if rates else DEVELOPMENT[:3]
    return Study(question, grid, source, train, seeds, settings={}, score=score)


def _roads(folder: Path, scale: Scale) -> Split:
    return photographs.coco(folder, size=scale.size)


def _there_are(data: Split, sizes: Sequence[int]) -> list[int]:
    """Those of `sizes` that a part of the photographs is enough for; else as many as there are."""
    most = len(_split(data, rate=1.0).train)
    return [size for size in sizes if size <= most] or [most]


def _split(data: Split, rate: float | None) -> Split:
    """What is learned from and scored on: the test set, or while a rate is chosen a held-back part.

    rate: what is being tried, or None.
    """
    if rate is None:
        return data
    cut = len(data.train) * 4 // 5
    return Split(data.train.subset(slice(cut)), data.train.subset(slice(cut, None)))


def _means(network: Network, test: Dataset) -> dict[str, float]:
    """Over the tasks; one whose test labels are all alike has no area under the curve."""
    table = evaluate(completed(network), test)
    return {name: float(table[name].mean()) for name in ("accuracy", "auc")}
