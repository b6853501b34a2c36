"""Lesson 07: the studies of lessons 02, 04 and 05 once more, on photographs.

None of its rows ship: who has the photographs trains. Each study is made for the folder that they
lie in and for a `Scale`, and `studies.run` takes it as it takes the name of one that ships. Without
rates it is the study that chooses them, on photographs that no reported score touches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_course import photographs
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset, Split, hide
from mtl_course.networks import Network, backbone, imagenet_file, separate
from mtl_course.studies._runner import run
from mtl_course.studies._store import Study
from mtl_course.studies.common import (
    DEVELOPMENT,
    Scores,
    accuracy,
    cells,
    completed,
    fitting,
)
from mtl_course.studies.lesson_04 import treat
from mtl_course.training import Fit, evaluate, fit
from mtl_course.transfer import adapt, pretrain

WAYS = ("from scratch", "new head", "all layers")
SHARED, SEPARATE = "one shared network", "four networks"
MASKED, ZERO = "half unknown: mask", "half unknown: call it 0"
NOT_IMAGENET = "Not ImageNet's weights: this trunk learned the lesson's small images"


class Scale(NamedTuple):
    """How much is trained. All steps are of up to 64 images."""

    seeds: int
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
    "quick": Scale(3, 50, 25, (20, 100), 8, 3, (30,), 120, 32, tuned=False, jobs=1),
    "class": Scale(3, 4_000, 1_000, (50, 500, 4_000), 16, 400, (300, 3_000), 5_000, 64,
                   tuned=True, jobs=None),
    "full": Scale(10, 20_000, 2_000, (50, 150, 500, 1_500, 4_000), 32, 1_000,
                  (300, 3_000, 10_000), 10_000, 96, tuned=True, jobs=None),
}  # fmt: skip
"""quick takes seconds and trains too little to learn from; class and full are for a GPU."""

TRIED = {"own": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), "backbone": (1e-5, 1e-4, 3e-4, 1e-3, 1e-2)}
"""Learning rates, the same for every way of a study."""
UNTUNED = {"own": 3e-3, "backbone": 1e-3}
"""At quick scale."""

Rates = Mapping[tuple[str, int], float]
"""A learning rate for each way and number of labelled photographs."""


# ---------------------------------------------------------------------- CIFAR-10 → STL-10


def cifar_to_stl(folder: Path, scale: Scale, rates: Rates | None = None) -> Study:
    """T2 on photographs: A = CIFAR-10, B = so many labelled photographs of STL-10.

    Each seed has its own half of CIFAR-10's photographs, and its own trunk.
    """
    return _study(
        "CIFAR-10 → STL-10",
        cells(way=WAYS, labels=_there_are(photographs.stl10(folder), scale.labels)),
        functools.partial(_cifar_trunk, folder, scale),
        functools.partial(_stl, folder, scale, rates),
        rates,
        "accuracy",
    )


def _cifar_trunk(folder: Path, scale: Scale, seed: int, *, fit: Fit = fit) -> Network:
    a = photographs.cifar10(folder).train
    own = a.sample(len(a) // 2, seed=derive_seed(seed, "A"))
    settings = {"steps": scale.a_steps, "batch_size": 64, "progress": False}
    return pretrain(
        own, seed=derive_seed(seed, "A network"), width=scale.width, **settings, fit=fit
    )


def _stl(
    folder: Path,
    scale: Scale,
    rates: Rates | None,
    source: Network,
    seed: int,
    way: str,
    labels: int,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    pool, test = _split(photographs.stl10(folder), rates)
    sample = pool.sample(labels, seed=derive_seed(seed, "B"))
    rate = rate or rates[way, labels]
    target = _adapted(source, sample, seed, way, scale.steps, rate, fit=fit)
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


def imagenet_to_coco(folder: Path, scale: Scale, rates: Rates | None = None) -> Study:
    """A = ImageNet, B = so many photographs of COCO with the lecture's four labels.

    Give `studies.run` a trunk as its source, such as `imagenet_trunk` makes: it serves all seeds.
    """
    return _study(
        "ImageNet → COCO",
        cells(way=WAYS, images=_there_are(_roads(folder, scale), scale.coco_labels)),
        _no_trunk,
        functools.partial(_coco, folder, scale, rates),
        rates,
        "auc",
    )


def _no_trunk(seed: int, *, fit: Fit = fit) -> None:
    raise ValueError("source: give studies.run a trunk, such as imagenet_trunk makes.")


def _coco(
    folder: Path,
    scale: Scale,
    rates: Rates | None,
    source: Network,
    seed: int,
    way: str,
    images: int,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    pool, test = _split(_roads(folder, scale), rates)
    sample = pool.sample(images, seed=derive_seed(seed, "B"))
    rate = rate or rates[way, images]
    return _means(_adapted(source, sample, seed, way, scale.backbone_steps, rate, fit=fit), test)


# ---------------------------------------------------------------------- many tasks, and '?'


def together(folder: Path, scale: Scale, rates: Rates | None = None) -> Study:
    """M4 and M7 on COCO, with the course's own small networks.

    One shared network or four; and with half of the labels hidden, the mask or "no" in their place.
    """
    images = _there_are(_roads(folder, scale), [scale.coco])
    return _study(
        "COCO, together",
        cells(way=[SHARED, SEPARATE, MASKED, ZERO], images=images),
        functools.partial(_own_roads, folder, scale, rates, images[0]),
        functools.partial(_together, folder, scale, rates),
        rates,
        "auc",
    )


def _own_roads(
    folder: Path, scale: Scale, rates: Rates | None, images: int, seed: int, *, fit: Fit = fit
) -> Dataset:
    """A seed's photographs: drawn once, they lie in memory once for all its ways."""
    pool = _split(_roads(folder, scale), rates).train
    return pool.sample(images, seed=derive_seed(seed, "images"))


def _together(
    folder: Path,
    scale: Scale,
    rates: Rates | None,
    source: Dataset,
    seed: int,
    way: str,
    images: int,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    data = source
    if way in (MASKED, ZERO):
        data = hide(data, 0.5, seed=derive_seed(seed, "hidden"))
    own, rate = derive_seed(seed, "network"), rate or rates[way, images]
    if way == SEPARATE:
        network = separate(data.tasks, width=scale.width, seed=own)
        fit(network, data, **fitting(own, scale.steps, rate))
    else:
        treatment = "call it 0" if way == ZERO else "mask"
        network = treat(data, treatment, own, rate, scale.steps, scale.width, fit=fit)
    return _means(network, _split(_roads(folder, scale), rates).test)


# ---------------------------------------------------------------------- what they share


def _adapted(
    source: Network,
    sample: Dataset,
    seed: int,
    way: str,
    steps: int,
    rate: float,
    *,
    fit: Fit = fit,
) -> Network:
    settings = fitting(derive_seed(seed, "B network"), steps, rate)
    return adapt(source, sample, way, **settings, fit=fit)


def chosen_rates(
    make: Callable[..., Study], folder: Path, scale: Scale, source: Network | None = None
) -> Rates:
    """A learning rate for each cell of a study that one of the functions above makes.

    At quick scale one for all of them, untuned. Else for each way and size the best of `TRIED`, by
    the mean over development seeds, scored on a fifth of the training photographs that was held
    back.
    """
    study = make(folder, scale)
    *keys, _ = study.keys  # the last is the rate
    if not scale.tuned:
        rate = UNTUNED["backbone" if make is imagenet_to_coco else "own"]
        return {tuple(cell[key] for key in keys): rate for cell in study.grid}
    rows = run(study, source=source, jobs=scale.jobs)
    means = rows.groupby([*keys, "rate"])[study.score].mean().unstack("rate")
    return {cell: float(rate) for cell, rate in means.idxmax(axis=1).items()}


def _study(
    question: str,
    grid: Sequence[Mapping[str, object]],
    source: Callable[..., object],
    train: Callable[..., object],
    rates: Rates | None,
    score: str,
) -> Study:
    if rates is not None:
        return Study(question, grid, source, train, range(10), settings={}, score=score)
    tried = TRIED["backbone" if source is _no_trunk else "own"]
    grid = [cell | {"rate": rate} for cell in grid for rate in tried]
    return Study(f"{question}, rates", grid, source, train, DEVELOPMENT[:3], {}, score=score)


def _roads(folder: Path, scale: Scale) -> Split:
    return photographs.coco(folder, size=scale.size)


def _there_are(data: Split, sizes: Sequence[int]) -> list[int]:
    """Those of `sizes` that a part of the photographs is enough for; else as many as there are."""
    most = len(_split(data, rates=None).train)
    return [size for size in sizes if size <= most] or [most]


def _split(data: Split, rates: Rates | None) -> Split:
    """What is learned from and scored on: while rates are chosen, parts of the training set."""
    if rates is not None:
        return data
    cut = len(data.train) * 4 // 5
    return Split(data.train.subset(slice(cut)), data.train.subset(slice(cut, None)))


def _means(network: Network, test: Dataset) -> dict[str, float]:
    """Over the tasks; one whose test labels are all alike has no area under the curve."""
    table = evaluate(completed(network), test)
    return {name: float(table[name].mean()) for name in ("accuracy", "auc")}
