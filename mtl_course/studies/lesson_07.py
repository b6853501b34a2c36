"""Lesson 07: the studies of lessons 02, 04 and 05 once more, on photographs. None of its rows ship.

Each function makes a study for the folder with the photographs and for a `Scale`; `studies.run`
takes it in place of a name. Without rates it is the study that chooses them, on photographs that no
reported score touches.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mtl_course import photographs
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset, Split, hide
from mtl_course.networks import Network, backbone, imagenet_file, separate
from mtl_course.studies._runner import run
from mtl_course.studies._store import Study
from mtl_course.studies.common import DEVELOPMENT, Scores, adapted, cells, completed, fitting
from mtl_course.studies.lesson_04 import treat
from mtl_course.training import Fit, evaluate, fit
from mtl_course.transfer import pretrain

WAYS = ("from scratch", "new head", "all layers")
SHARED, SEPARATE = "one shared network", "four networks"
MASKED, ZERO = "half unknown: mask", "half unknown: call it 0"
NOT_IMAGENET = "Not ImageNet's weights: this trunk learned the lesson's small images"


class Scale(NamedTuple):
    """How much is trained. All steps are of up to 64 images."""

    seeds: int
    a_steps: int  # on CIFAR-10
    steps: int  # of the course's own networks on STL-10 and on COCO
    labels: tuple[int, ...]  # labeled photographs of STL-10
    width: int  # of the course's own networks
    backbone_steps: int
    coco_labels: tuple[int, ...]  # labeled photographs of COCO for a backbone
    coco: int  # and for the course's own networks
    size: int  # pixels on a side of COCO's photographs
    tuned: bool  # learning rates are chosen on development seeds, not taken over
    jobs: int | None  # processes; quick trains in less time than they take to start


SCALES = {
    "quick": Scale(3, 50, 25, (20, 100), 8, 3, (30,), 120, 32, tuned=False, jobs=1),
    "class": Scale(3, 4_000, 1_000, (50, 500, 4_000), 16, 400, (300, 3_000), 5_000, 64,
                   tuned=True, jobs=None),
    "full": Scale(10, 20_000, 2_000, (50, 150, 500, 1_500, 4_000), 32, 1_000,
                  (300, 3_000, 10_000), 10_000, 96, tuned=True, jobs=None),
}  # fmt: skip
"""quick takes seconds and trains too little to learn from; class and full are for a GPU."""

# Learning rates, the same for every way of a study.
TRIED = {"own": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), "backbone": (1e-5, 1e-4, 3e-4, 1e-3, 1e-2)}
Rates = Mapping[tuple[str, int], float]  # for each way and number of labeled photographs


def cifar_to_stl(folder: Path, scale: Scale, rates: Rates | None = None) -> Study:
    """Return the study of T2 on photographs: A = CIFAR-10, B = a few labeled ones of STL-10.

    Each seed has its own half of CIFAR-10's photographs, and its own trunk.
    """

    def trunk(seed: int, *, fit: Fit = fit) -> Network:
        a = photographs.cifar10(folder).train
        half, own = a.sample(len(a) // 2, derive_seed(seed, "A")), derive_seed(seed, "A network")
        settings = {"steps": scale.a_steps, "width": scale.width, "batch_size": 64}
        return pretrain(half, seed=own, progress=False, fit=fit, **settings)

    read, train = partial(photographs.stl10, folder), partial(_adapt, scale.steps)
    grid = cells(way=WAYS, labels=_available(read(), scale.labels))
    return _study("CIFAR-10 → STL-10", grid, read, trunk, train, rates, "accuracy")


def imagenet_trunk(folder: Path, scale: Scale, seed: int) -> tuple[Network, str]:
    """Return a ResNet-18 that has learned ImageNet, and a banner for figures where it has not.

    Without its weights another stands in, which has learned what lies in the folder as CIFAR-10.
    """
    if imagenet_file("resnet18").exists():
        return backbone("resnet18", tuple(photographs.COCO_NAMES), seed=seed), ""
    a = photographs.cifar10(folder).train
    network = backbone("resnet18", a.names, pretrained=False, seed=seed)
    fit(network, a, batch_size=64, **fitting(seed, scale.backbone_steps, 1e-3))
    return network, NOT_IMAGENET


def imagenet_to_coco(folder: Path, scale: Scale, rates: Rates | None = None) -> Study:
    """Return the study of A = ImageNet, B = a few photographs of COCO with the lecture's tasks.

    Its source is a trunk for all seeds that `studies.run` is given, as `imagenet_trunk` returns.
    """
    read = partial(photographs.coco, folder, size=scale.size)
    grid = cells(way=WAYS, images=_available(read(), scale.coco_labels))
    train = partial(_adapt, scale.backbone_steps)
    return _study("ImageNet → COCO", grid, read, _no_trunk, train, rates, "auc")


def _no_trunk(seed: int, *, fit: Fit = fit) -> None:
    raise ValueError("source: give studies.run a trunk, such as imagenet_trunk returns.")


def _adapt(steps: int, source: Network, data: Dataset, count: int, seed: int, **cell) -> Network:
    sample = data.sample(count, seed=derive_seed(seed, "B"))
    return adapted(source, sample, seed=seed, steps=steps, **cell)


def together(folder: Path, scale: Scale, rates: Rates | None = None) -> Study:
    """Return the study of M4 and M7 on COCO, with the course's own small networks.

    One shared network or four; and with half of the labels hidden, the mask or "no" in their place.
    """
    read = partial(photographs.coco, folder, size=scale.size)
    (most,) = _available(read(), [scale.coco])

    def sample(seed: int, *, fit: Fit = fit) -> Dataset:
        """Return a seed's photographs, which lie in memory once for all its ways."""
        return _parts(read(), rates).train.sample(most, seed=derive_seed(seed, "images"))

    def train(source: Dataset, *_, seed: int, how: str, rate: float, fit: Fit) -> Network:
        own = derive_seed(seed, "network")
        if how == SEPARATE:
            network = separate(source.tasks, width=scale.width, seed=own)
            fit(network, source, **fitting(own, scale.steps, rate))
            return network
        if how in (MASKED, ZERO):
            source = hide(source, 0.5, seed=derive_seed(seed, "hidden"))
        treatment = "call it 0" if how == ZERO else "mask"
        return treat(source, treatment, own, rate, scale.steps, scale.width, fit=fit)

    grid = cells(way=[SHARED, SEPARATE, MASKED, ZERO], images=[most])
    return _study("COCO, together", grid, read, sample, train, rates, "auc")


def chosen_rates(
    make: Callable[..., Study], folder: Path, scale: Scale, source: Network | None = None
) -> Rates:
    """Return a learning rate for each cell of a study that one of the functions above makes.

    The best of `TRIED` for each way and size, by the mean over development seeds, scored on a
    held-back fifth of the training photographs; at quick scale one for all, untuned.
    """
    study = make(folder, scale)
    *keys, _ = study.keys  # the last is the rate
    if not scale.tuned:
        rate = 1e-3 if make is imagenet_to_coco else 3e-3
        return {tuple(cell[key] for key in keys): rate for cell in study.grid}
    scores = run(study, source=source, jobs=scale.jobs).groupby([*keys, "rate"])[study.score]
    return scores.mean().unstack("rate").idxmax(axis=1).to_dict()


def _study(
    question: str, grid: Sequence[Mapping[str, object]], read: Callable[[], Split],
    source: Callable[..., object], train: Callable[..., Network], rates: Rates | None, score: str,
) -> Study:  # fmt: skip
    """Return the study at these rates; without any, the one that tries some in each cell."""

    def train_cell(
        source: object, seed: int, way: str, rate: float = 0, *, fit: Fit = fit, **size: int
    ) -> Scores:
        (count,) = size.values()
        rate, data = rate or rates[way, count], _parts(read(), rates)
        network = train(source, data.train, count, seed=seed, how=way, rate=rate, fit=fit)
        table = evaluate(completed(network), data.test)
        # Means over the tasks; one whose test labels are all alike has no AUC, and is left out.
        return {name: float(table[name].mean()) for name in dict.fromkeys(["accuracy", score])}

    seeds = range(10)
    if rates is None:
        question, seeds = f"{question}, rates", DEVELOPMENT[:3]
        tried = TRIED["backbone" if source is _no_trunk else "own"]
        grid = [cell | {"rate": rate} for cell in grid for rate in tried]
    return Study(question, grid, source, train_cell, seeds, settings={}, score=score)


def _parts(data: Split, rates: Rates | None) -> Split:
    """Return what to learn from and to score on: while rates are chosen, both for training."""
    if rates is not None:
        return data
    cut = len(data.train) * 4 // 5
    return Split(data.train.subset(slice(cut)), data.train.subset(slice(cut, None)))


def _available(data: Split, sizes: Sequence[int]) -> list[int]:
    """Return those sizes that the training photographs suffice for; else as many as there are."""
    most = len(_parts(data, rates=None).train)
    return [size for size in sizes if size <= most] or [most]
