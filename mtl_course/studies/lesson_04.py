"""Lessons 03 and 04: four answers to an image, some of them unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_course import scenes
from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, Dataset, hide, one_label
from mtl_course.networks import Network, shared
from mtl_course.studies._store import Study
from mtl_course.studies.common import (
    DEVELOPMENT,
    TEST_SCENES,
    Scores,
    cells,
    completed,
    draw,
    fitting,
)
from mtl_course.training import Fit, evaluate, fit, predict

SCENES = 2_000  # images to learn from
MANY_SCENES = 20_000
SCENE_STEPS = 300  # of 64 images, the same for every way
SCENE_WIDTH = 8
TREATMENTS = ("mask", "call it 0", "drop the image", "guess it")
LONGER = "mask, twice the steps"  # what "guess it" costs, which trains two networks
HIDDEN = ("at random", "hard ones more often")
FRACTIONS = (0.25, 0.5, 0.8, 0.95)  # of the labels are unknown
ALL_KNOWN = "all known"
ONE_LABEL = "one label an image"  # which of the four is known is drawn for each image
FEWER = "a quarter of the images"  # as many labels as ONE_LABEL has, four an image
TOO_FEW = 50  # images: where dropping leaves fewer, nothing is trained
SCENE_RATES = {"mask": 1e-2, "call it 0": 1e-2, "drop the image": 1e-2, "guess it": 1e-2}
"""The best of a small grid on development data, the same grid for every way: see the rows of the
study "unknown_tuning"."""


class Roads(NamedTuple):
    """What the cells of one seed share: scenes to learn from, and to be scored on."""

    train: Dataset
    test: Dataset
    effort: Tensor


def roads(seed: int, *, fit: Fit = fit) -> Roads:
    """The scenes of one seed: those to learn from and those of the test are separate draws."""
    own = derive_seed(seed, "scenes to learn from")
    return Roads(
        draw(SCENES, own),
        draw(TEST_SCENES, derive_seed(seed, "scenes to be scored on")),
        scenes.effort(SCENES, own),
    )


def _many_roads(seed: int, *, fit: Fit = fit) -> Roads:
    own = derive_seed(seed, "many scenes to learn from")
    train = draw(MANY_SCENES, own)
    test = draw(TEST_SCENES, derive_seed(seed, "scenes to be scored on"))
    return Roads(train, test, torch.ones(len(train), len(train.tasks)))


def partly_known(roads: Roads, seed: int, hidden: str, fraction: float) -> Dataset:
    """The scenes to learn from, with labels hidden as `hidden` says."""
    if hidden == ALL_KNOWN:
        return roads.train
    if hidden == FEWER:
        return roads.train.subset(slice(len(roads.train) // len(roads.train.tasks)))
    if hidden == ONE_LABEL:
        generator = torch.Generator("cpu").manual_seed(derive_seed(seed, "hide"))
        lottery = torch.rand(roads.train.labels.shape, generator=generator, device="cpu")
        lost = (lottery < lottery.amax(dim=1, keepdim=True)).to(roads.train.labels.device)
        return replace(roads.train, labels=roads.train.labels.masked_fill(lost, UNKNOWN))
    weight = roads.effort if hidden == HIDDEN[1] else None
    return hide(roads.train, fraction, seed=derive_seed(seed, "hide"), weight=weight)


def treat(
    data: Dataset,
    treatment: str,
    seed: int,
    rate: float,
    steps: int,
    width: int = SCENE_WIDTH,
    *,
    fit: Fit = fit,
) -> Network | None:
    """A network that learns from `data`, its '?' treated in one of the four ways (M4).

    "mask" leaves them out of the loss; "call it 0" says no; "drop the image" keeps images without
    any; "guess it" trains a first network with the mask and lets it fill them in, then trains a
    second one from the same first weights. Returns: None where dropping leaves fewer than
    `TOO_FEW` images.
    """
    unknown = data.labels == UNKNOWN
    if treatment == "call it 0":
        data = replace(data, labels=data.labels.masked_fill(unknown, 0))
    elif treatment == "drop the image":
        rows = (~unknown.any(dim=1)).nonzero()[:, 0]
        if len(rows) < TOO_FEW:
            return None
        data = data.subset(rows)
    elif treatment == "guess it":
        first = completed(treat(data, "mask", seed, rate, steps, width, fit=fit))
        guess = (predict(first, data) > 0).to(data.labels.device, torch.int8)
        data = replace(data, labels=torch.where(unknown, guess, data.labels))
    network = shared(data.tasks, width=width, seed=seed)
    fit(network, data, **fitting(seed, steps, rate))
    return network


def _unknown(
    roads: Roads,
    seed: int,
    way: str,
    hidden: str,
    fraction: float,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    """One network of lesson 04, scored on fully labelled scenes."""
    data = partly_known(roads, seed, hidden, fraction)
    way, steps = ("mask", 2 * SCENE_STEPS) if way == LONGER else (way, SCENE_STEPS)
    rate = SCENE_RATES[way] if rate is None else rate
    network = treat(data, way, derive_seed(seed, "network"), rate, steps, fit=fit)
    whole_images = int((data.labels != UNKNOWN).all(dim=1).sum())
    about = {"steps": steps, "whole_images": whole_images}
    if network is None:
        return {"accuracy": float("nan"), "auc": float("nan"), "yes": float("nan"), **about}
    return {**_scores(completed(network), roads.test), **about}


def _scores(network: Network, test: Dataset) -> dict[str, float]:
    """Means over the tasks, then the accuracy of each; yes: how often the network says so."""
    table = evaluate(network, test)
    yes = (predict(network, test) > 0).double().mean().item()
    means = {name: float(table[name].mean()) for name in ("accuracy", "auc")}
    return {**means, "yes": yes, **table["accuracy"].to_dict()}


_UNKNOWN_CELLS = [
    *cells(way=["mask"], hidden=[ALL_KNOWN], fraction=[0.0]),
    *cells(way=["mask"], hidden=[ONE_LABEL, FEWER], fraction=[0.75]),
    *cells(way=TREATMENTS, hidden=HIDDEN, fraction=FRACTIONS),
    *cells(way=[LONGER], hidden=HIDDEN[:1], fraction=[0.5, 0.8]),
]
_UNKNOWN_SETTINGS = {
    "scenes": SCENES, "test": TEST_SCENES, "steps": SCENE_STEPS, "width": SCENE_WIDTH,
    "too few": TOO_FEW,
}  # fmt: skip

# ---------------------------------------------------------------------- lesson 03: four answers

FOUR_WAYS = ("four sigmoids", "one softmax", "one softmax, tuned thresholds")
FOUR_RATES = dict.fromkeys(FOUR_WAYS, 1e-2)
"""The best of a small grid on development seeds: see the rows of the study "four_tuning"."""


def _four_answers(
    roads: Roads, seed: int, way: str, images: int, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """One network of lesson 03: a yes or no to each task, by four sigmoids or by one softmax.

    Both have the same trunk with the same first weights.
    """
    rate = FOUR_RATES[way] if rate is None else rate
    roads = roads._replace(train=roads.train.subset(slice(images)))
    own = derive_seed(seed, "network")
    data = roads.train
    if way != FOUR_WAYS[0]:
        data = one_label(roads.train, seed=derive_seed(seed, "which label"))
    network = shared(data.names, width=SCENE_WIDTH, seed=own)
    fit(network, data, **fitting(own, SCENE_STEPS, rate))
    if way == FOUR_WAYS[0]:
        scores = _scores(completed(network), roads.test)
    else:
        scores = softmax_answers(completed(network), roads, tuned=way == FOUR_WAYS[2])
    return {**scores, "steps": SCENE_STEPS}


def _many_scenes(
    roads: Roads, seed: int, way: str, width: int, steps: int, *, fit: Fit = fit
) -> Scores:
    """A small network with ten times the scenes of the other studies."""
    network = shared(roads.train.tasks, width=width, seed=seed)
    settings = fitting(derive_seed(seed, "network"), steps, SCENE_RATES["mask"])
    fit(network, roads.train, **settings)
    return _scores(completed(network), roads.test)


def softmax_answers(network: Network, roads: Roads, tuned: bool) -> dict[str, float]:
    """How well a softmax over the tasks answers each of them.

    It says yes to the class with the highest probability; or, `tuned`, to every task whose
    probability exceeds a threshold, the best one for that task on the scenes it learned from.
    """
    from sklearn.metrics import roc_auc_score

    tasks = roads.train.tasks
    chance = [predict(network, data).softmax(dim=1)[:, : len(tasks)] for data in roads[:2]]
    truth = [data.labels.cpu() == 1 for data in roads[:2]]
    if tuned:
        cuts = chance[0].quantile(torch.linspace(0, 1, 201, device="cpu"), dim=0)  # (201, tasks)
        right = ((chance[0] > cuts[:, None]) == truth[0]).double().mean(dim=1)
        yes = chance[1] > cuts.gather(0, right.argmax(dim=0, keepdim=True))
    else:
        top = predict(network, roads.test).argmax(dim=1, keepdim=True)
        yes = top == torch.arange(len(tasks), device="cpu")
    accuracy = (yes == truth[1]).double().mean(dim=0)
    auc = roc_auc_score(truth[1].numpy(), chance[1].numpy())
    means = {"accuracy": accuracy.mean().item(), "auc": float(auc)}
    each = dict(zip(tasks, accuracy.tolist(), strict=True))
    return {**means, "yes": yes.double().mean().item(), **each}


STUDIES = {
    "four_answers": Study(
        "One image, four answers: four sigmoids or one softmax?",
        grid=cells(way=FOUR_WAYS, images=[500, SCENES]),
        source=roads,
        train=_four_answers,
        seeds=range(10),
        settings=_UNKNOWN_SETTINGS | {"rates": FOUR_RATES, "trunk": "shared"},
        golden="scenes",
    ),
    "four_tuning": Study(
        "The learning rates of four sigmoids and of one softmax, on development seeds.",
        grid=cells(way=FOUR_WAYS, images=[SCENES], rate=[3e-3, 1e-2, 3e-2]),
        source=roads,
        train=_four_answers,
        seeds=DEVELOPMENT[:4],
        settings=_UNKNOWN_SETTINGS | {"trunk": "shared"},
        golden="scenes",
    ),
    "many_scenes": Study(
        "How well does a small network answer the four tasks with 20,000 scenes?",
        grid=cells(way=FOUR_WAYS[:1], width=[16], steps=[2000]),
        source=_many_roads,
        train=_many_scenes,
        seeds=range(10),
        settings={"scenes": MANY_SCENES, "test": TEST_SCENES, "rate": SCENE_RATES["mask"]},
        golden="scenes",
    ),
    "unknown": Study(
        "Labels that are '?': mask, call it 0, drop the image, or guess?",
        grid=_UNKNOWN_CELLS,
        source=roads,
        train=_unknown,
        seeds=range(10),
        settings=_UNKNOWN_SETTINGS | {"rates": SCENE_RATES},
        golden="scenes",
    ),
    "unknown_tuning": Study(
        "The learning rate of each treatment of '?', on development seeds.",
        grid=cells(
            way=TREATMENTS, hidden=HIDDEN[:1], fraction=[0.25, 0.5], rate=[3e-3, 1e-2, 3e-2]
        ),
        source=roads,
        train=_unknown,
        seeds=DEVELOPMENT[:3],
        settings=_UNKNOWN_SETTINGS,
        golden="scenes",
    ),
}
