"""What is run: each study of the course as a grid and one short function.

Reported studies and the studies that tuned them never share a seed, and tuning never sees a
reported test set: on digits it scores on a part of the pool that was held back, on scenes on draws
of development seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_course import scenes
from mtl_course.base import HOME, stream
from mtl_course.datasets import (
    UNKNOWN,
    Dataset,
    handwritten_digits,
    hide,
    one_label,
    printed_digits,
)
from mtl_course.networks import Network, shared
from mtl_course.plans import Fit, Plan, carry_out
from mtl_course.studies import Study
from mtl_course.training import evaluate, load, predict
from mtl_course.transfer import LEARNING_RATES, WAYS, adaptation, pretraining

# ---------------------------------------------------------------------- lesson 01: digits

PRINTED = 60_000  # images of A
PRETRAINING = 500  # steps of 128 images on A
STEPS = 300  # steps of up to 64 images on B, the same for every way
LABELS = (10, 30, 100, 300, 800)  # handwritten images with a label
PLATEAU = 1000  # steps: three times as many gain less than 0.01, see "digits_plateau"
SAME_COMPUTE = STEPS + PRETRAINING * 128 // 64  # steps on B that cost what A and B cost together
C = 10.0  # the support-vector machine's, the best of a grid, see "digits_tuning"

CONTROLS = {
    "from scratch, to its plateau": PLATEAU,
    "from scratch, A's compute added": SAME_COMPUTE,
}
MACHINE = "support vectors on pixels"
ZERO_SHOT = "zero-shot"


def _cells(**grid: Sequence) -> list[dict[str, object]]:
    """Every combination, in order, one mapping each."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


Scores = Plan[dict[str, object]]
"""A plan that trains what one row needs, and returns the row's scores."""


def printed_source(seed: int) -> Plan[Network]:
    """Task A of one seed: its own 60,000 printed digits, its own trunk."""
    printed = printed_digits(PRINTED, seed=stream(seed, "A"))
    settings = {"steps": PRETRAINING, "batch_size": 128, "progress": False}
    return pretraining(printed, seed=stream(seed, "A network"), **settings)


def _digits(source: Network, seed: int, way: str, labels: int) -> Scores:
    """One network of lesson 01, scored on the 897 handwritten digits of the test."""
    written = handwritten_digits()
    if way == ZERO_SHOT:
        return {"accuracy": _accuracy(source, written.test), "steps": 0}
    sample = written.train.sample(labels, seed=stream(seed, "B"))
    if way == MACHINE:
        return {"accuracy": _support_vectors(sample, written.test, C), "steps": 0}
    how, steps = ("from scratch", CONTROLS[way]) if way in CONTROLS else (way, STEPS)
    settings = {"steps": steps, "seed": stream(seed, "B network"), "progress": False}
    target = yield from adaptation(source, sample, how, **settings)
    return {"accuracy": _accuracy(target, written.test), "steps": steps}


def _accuracy(network: Network, data: Dataset) -> float:
    return float(evaluate(_whole(network), data)["accuracy"].iloc[0])


def _whole(network: Network) -> Network:
    """The network, unless its training was cut short: a row of half a run would be a lie."""
    if network.history.attrs["interrupted"]:
        raise KeyboardInterrupt
    return network


def _support_vectors(train: Dataset, test: Dataset, c: float) -> float:
    """Accuracy of scikit-learn's support-vector machine (radial kernel) on raw pixels."""
    from sklearn.svm import SVC

    pixels = [data.images.flatten(1).numpy() / 255 for data in (train, test)]
    machine = SVC(C=c).fit(pixels[0], train.labels.numpy())
    return float(machine.score(pixels[1], test.labels.numpy()))


def _development() -> tuple[Dataset, Dataset]:
    """Where choices are made: the pool's first 600 to learn from, its last 300 to score on."""
    pool = handwritten_digits().train
    return pool.subset(slice(600)), pool.subset(slice(600, None))


def _digits_tuning(source: Network, seed: int, way: str, labels: int, setting: float) -> Scores:
    """One candidate for a learning rate (for the support-vector machine: for C)."""
    pool, held_back = _development()
    sample = pool.sample(labels, seed=stream(seed, "B"))
    if way == MACHINE:
        return {"accuracy": _support_vectors(sample, held_back, setting), "steps": 0}
    target = yield from adaptation(
        source, sample, way, steps=STEPS, seed=stream(seed, "B network"),
        learning_rate=setting, progress=False,
    )  # fmt: skip
    return {"accuracy": _accuracy(target, held_back), "steps": STEPS}


def _digits_plateau(source: Network, seed: int, way: str, labels: int, steps: int) -> Scores:
    """From scratch, for longer and longer."""
    pool, held_back = _development()
    sample = pool.sample(labels, seed=stream(seed, "B"))
    settings = {"steps": steps, "seed": stream(seed, "B network"), "progress": False}
    target = yield from adaptation(source, sample, way, **settings)
    return {"accuracy": _accuracy(target, held_back)}


# ---------------------------------------------------------------------- lessons 03, 04: scenes

SCENES = 2_000  # images to learn from
MANY_SCENES = 20_000
TEST_SCENES = 4_000  # fully labelled, drawn from a stream of their own
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


def roads(seed: int) -> Roads:
    """The scenes of one seed: those to learn from and those of the test are separate draws."""
    own = stream(seed, "scenes to learn from")
    return Roads(
        scenes.draw(SCENES, own, jobs=1),
        scenes.draw(TEST_SCENES, stream(seed, "scenes to be scored on"), jobs=1),
        scenes.effort(SCENES, own),
    )


def _many_roads(seed: int) -> Roads:
    own = stream(seed, "many scenes to learn from")
    train = scenes.draw(MANY_SCENES, own, jobs=1)
    test = scenes.draw(TEST_SCENES, stream(seed, "scenes to be scored on"), jobs=1)
    return Roads(train, test, torch.ones(len(train), len(train.tasks)))


def partly_known(roads: Roads, seed: int, hidden: str, fraction: float) -> Dataset:
    """The scenes to learn from, with labels hidden as `hidden` says."""
    if hidden == ALL_KNOWN:
        return roads.train
    if hidden == FEWER:
        return roads.train.subset(slice(len(roads.train) // len(roads.train.tasks)))
    if hidden == ONE_LABEL:
        generator = torch.Generator().manual_seed(stream(seed, "hide"))
        lottery = torch.rand(roads.train.labels.shape, generator=generator)
        lost = lottery < lottery.amax(dim=1, keepdim=True)
        return replace(roads.train, labels=roads.train.labels.masked_fill(lost, UNKNOWN))
    weight = roads.effort if hidden == HIDDEN[1] else None
    return hide(roads.train, fraction, seed=stream(seed, "hide"), weight=weight)


def treat(data: Dataset, treatment: str, seed: int, rate: float, steps: int) -> Network | None:
    """A network that learns from `data`, its '?' treated in one of the four ways (M4).

    "mask" leaves them out of the loss; "call it 0" says no; "drop the image" keeps images without
    any; "guess it" trains a first network with the mask and lets it fill them in, then trains a
    second one from the same first weights. Returns: None where dropping leaves fewer than
    `TOO_FEW` images.
    """
    return carry_out(treated(data, treatment, seed, rate, steps))


def treated(
    data: Dataset, treatment: str, seed: int, rate: float, steps: int
) -> Plan[Network | None]:
    """What `treat` does, as a plan."""
    unknown = data.labels == UNKNOWN
    if treatment == "call it 0":
        data = replace(data, labels=data.labels.masked_fill(unknown, 0))
    elif treatment == "drop the image":
        rows = (~unknown.any(dim=1)).nonzero()[:, 0]
        if len(rows) < TOO_FEW:
            return None
        data = data.subset(rows)
    elif treatment == "guess it":
        first = _whole((yield from treated(data, "mask", seed, rate, steps)))
        guess = (predict(first, data) > 0).to(torch.int8)
        data = replace(data, labels=torch.where(unknown, guess, data.labels))
    network = shared(data.tasks, width=SCENE_WIDTH, seed=seed)
    yield Fit(network, data, _settings(seed, steps, rate))
    return network


def _settings(seed: int, steps: int, rate: float) -> dict[str, object]:
    return {"steps": steps, "seed": seed, "learning_rate": rate, "progress": False}


def _unknown(
    roads: Roads, seed: int, way: str, hidden: str, fraction: float, rate: float | None = None
) -> Scores:
    """One network of lesson 04, scored on fully labelled scenes."""
    data = partly_known(roads, seed, hidden, fraction)
    way, steps = ("mask", 2 * SCENE_STEPS) if way == LONGER else (way, SCENE_STEPS)
    rate = SCENE_RATES[way] if rate is None else rate
    network = yield from treated(data, way, stream(seed, "network"), rate, steps)
    whole_images = int((data.labels != UNKNOWN).all(dim=1).sum())
    about = {"steps": steps, "whole_images": whole_images}
    if network is None:
        return {"accuracy": float("nan"), "auc": float("nan"), "yes": float("nan"), **about}
    return {**_scores(_whole(network), roads.test), **about}


def _scores(network: Network, test: Dataset) -> dict[str, float]:
    """Means over the tasks, then the accuracy of each; yes: how often the network says so."""
    table = evaluate(network, test)
    yes = (predict(network, test) > 0).double().mean().item()
    means = {name: float(table[name].mean()) for name in ("accuracy", "auc")}
    return {**means, "yes": yes, **table["accuracy"].to_dict()}


_UNKNOWN_CELLS = [
    *_cells(way=["mask"], hidden=[ALL_KNOWN], fraction=[0.0]),
    *_cells(way=["mask"], hidden=[ONE_LABEL, FEWER], fraction=[0.75]),
    *_cells(way=TREATMENTS, hidden=HIDDEN, fraction=FRACTIONS),
    *_cells(way=[LONGER], hidden=HIDDEN[:1], fraction=[0.5, 0.8]),
]
_UNKNOWN_SETTINGS = {
    "scenes": SCENES, "test": TEST_SCENES, "steps": SCENE_STEPS, "width": SCENE_WIDTH,
    "too few": TOO_FEW,
}  # fmt: skip

# ---------------------------------------------------------------------- the lecture's figures

MILLION = 1_000_000  # scenes of A, with the four answers
THOUSAND = 1_000  # scenes of B, with one
NEW_TASK = ("cyclist",)
MILLION_WIDTH = 16
MILLION_BATCH = 128  # so that A is seen once
MILLION_RATE = SCENE_RATES["mask"]
MILLION_RATES = {"all layers": 3e-2, "from scratch": 3e-2}
"""The best of a small grid on development seeds: see the rows of the study "headline_tuning"."""
TRUNK = HOME / "assets" / "trunk.pt"
"""A network that has learned the four tasks from 1,000,000 scenes; `python -m mtl_course.headline
--ship` makes it again."""


def million(count: int = MILLION, device: str = "cpu", progress: bool = True) -> Dataset:
    """Task A of the headline: one draw for all seeds."""
    return scenes.draw(count, stream(0, "a million scenes"), device=device, progress=progress)


def untrained() -> Network:
    """The network that learns A, before it does."""
    return shared(scenes.THE_FOUR, width=MILLION_WIDTH, seed=stream(0, "a million scenes"))


def _trunk(seed: int) -> Network:
    """One trunk for all seeds: what is found holds given this trunk."""
    return load(untrained(), TRUNK)


def _headline(
    source: Network, seed: int, way: str, images: int, rate: float | None = None
) -> Scores:
    """One network that answers a new question, from 1,000 scenes of its own."""
    train = scenes.draw(images, stream(seed, "a thousand scenes"), tasks=NEW_TASK, jobs=1)
    settings = _settings(stream(seed, "B network"), SCENE_STEPS, rate or MILLION_RATES[way])
    target = yield from adaptation(source, train, way, **settings)
    seen = stream(seed, "scenes to be scored on")
    test = scenes.draw(TEST_SCENES, seen, tasks=NEW_TASK, jobs=1)
    scores = evaluate(_whole(target), test)[["accuracy", "auc"]].iloc[0]
    return {**scores.to_dict(), "steps": SCENE_STEPS}


_MILLION_SETTINGS = {
    "A": MILLION, "task": NEW_TASK, "width": MILLION_WIDTH, "batch": MILLION_BATCH,
    "rate": MILLION_RATE, "test": TEST_SCENES, "steps": SCENE_STEPS,
}  # fmt: skip

# ---------------------------------------------------------------------- lesson 03: four answers

FOUR_WAYS = ("four sigmoids", "one softmax", "one softmax, tuned thresholds")
FOUR_RATES = dict.fromkeys(FOUR_WAYS, 1e-2)
"""The best of a small grid on development seeds: see the rows of the study "four_tuning"."""


def _four_answers(
    roads: Roads, seed: int, way: str, images: int, rate: float | None = None
) -> Scores:
    """One network of lesson 03: a yes or no to each task, by four sigmoids or by one softmax.

    Both have the same trunk with the same first weights.
    """
    rate = FOUR_RATES[way] if rate is None else rate
    roads = roads._replace(train=roads.train.subset(slice(images)))
    own = stream(seed, "network")
    data = roads.train
    if way != FOUR_WAYS[0]:
        data = one_label(roads.train, seed=stream(seed, "which label"))
    network = shared(data.names, width=SCENE_WIDTH, seed=own)
    yield Fit(network, data, _settings(own, SCENE_STEPS, rate))
    if way == FOUR_WAYS[0]:
        scores = _scores(_whole(network), roads.test)
    else:
        scores = softmax_answers(_whole(network), roads, tuned=way == FOUR_WAYS[2])
    return {**scores, "steps": SCENE_STEPS}


def _many_scenes(roads: Roads, seed: int, way: str, width: int, steps: int) -> Scores:
    """A small network with ten times the scenes of the other studies."""
    network = shared(roads.train.tasks, width=width, seed=seed)
    settings = _settings(stream(seed, "network"), steps, SCENE_RATES["mask"])
    yield Fit(network, roads.train, settings)
    return _scores(_whole(network), roads.test)


def softmax_answers(network: Network, roads: Roads, tuned: bool) -> dict[str, float]:
    """How well a softmax over the tasks answers each of them.

    It says yes to the class with the highest probability; or, `tuned`, to every task whose
    probability exceeds a threshold, the best one for that task on the scenes it learned from.
    """
    from sklearn.metrics import roc_auc_score

    tasks = roads.train.tasks
    chance = [predict(network, data).softmax(dim=1)[:, : len(tasks)] for data in roads[:2]]
    truth = [data.labels == 1 for data in roads[:2]]
    if tuned:
        cuts = chance[0].quantile(torch.linspace(0, 1, 201), dim=0)  # (201, tasks)
        right = ((chance[0] > cuts[:, None]) == truth[0]).double().mean(dim=1)
        yes = chance[1] > cuts.gather(0, right.argmax(dim=0, keepdim=True))
    else:
        top = predict(network, roads.test).argmax(dim=1, keepdim=True)
        yes = top == torch.arange(len(tasks))
    accuracy = (yes == truth[1]).double().mean(dim=0)
    auc = roc_auc_score(truth[1].numpy(), chance[1].numpy())
    means = {"accuracy": accuracy.mean().item(), "auc": float(auc)}
    each = dict(zip(tasks, accuracy.tolist(), strict=True))
    return {**means, "yes": yes.double().mean().item(), **each}


_DEVELOPMENT = range(1000, 1006)  # seeds that no reported study uses
_SOURCE = {"printed": PRINTED, "pretraining": PRETRAINING}
_TUNED_ON = (30, 100, 500)  # labels; the development pool has 600

STUDIES = {
    "digits": Study(
        "Printed → handwritten digits: which way to transfer, for how many labels?",
        grid=[
            *_cells(way=[ZERO_SHOT], labels=[0]),
            *_cells(way=[*WAYS, *CONTROLS, MACHINE], labels=LABELS),
        ],
        source=printed_source,
        train=_digits,
        seeds=range(10),
        settings=_SOURCE | {"steps": STEPS, "controls": CONTROLS, "C": C, "rates": LEARNING_RATES},
    ),
    "digits_tuning": Study(
        "The learning rate of each way and the C of the support vectors, on development data.",
        grid=[
            *_cells(way=WAYS, labels=_TUNED_ON, setting=[3e-4, 1e-3, 3e-3, 1e-2, 3e-2]),
            *_cells(way=[MACHINE], labels=_TUNED_ON, setting=[0.1, 1.0, 10.0, 100.0, 1000.0]),
        ],
        source=printed_source,
        train=_digits_tuning,
        seeds=_DEVELOPMENT,
        settings=_SOURCE | {"steps": STEPS},
    ),
    "digits_plateau": Study(
        "How many steps from scratch takes until more do not help, on development data.",
        grid=_cells(way=["from scratch"], labels=_TUNED_ON, steps=[300, 1000, 3000]),
        source=printed_source,
        train=_digits_plateau,
        seeds=_DEVELOPMENT,
        settings=_SOURCE | {"rate": LEARNING_RATES["from scratch"]},
    ),
    "headline": Study(
        "A = 1,000,000 scenes, B = 1,000: what does the lecture's own example gain?",
        grid=_cells(way=list(MILLION_RATES), images=[THOUSAND]),
        source=_trunk,
        train=_headline,
        seeds=range(10),
        settings=_MILLION_SETTINGS | {"rates": MILLION_RATES},
        golden="scenes",
    ),
    "headline_tuning": Study(
        "The learning rates of the headline's two ways, on development seeds.",
        grid=_cells(
            way=list(MILLION_RATES), images=[THOUSAND], rate=[1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
        ),
        source=_trunk,
        train=_headline,
        seeds=_DEVELOPMENT[:4],
        settings=_MILLION_SETTINGS,
        golden="scenes",
    ),
    "four_answers": Study(
        "One image, four answers: four sigmoids or one softmax?",
        grid=_cells(way=FOUR_WAYS, images=[500, SCENES]),
        source=roads,
        train=_four_answers,
        seeds=range(10),
        settings=_UNKNOWN_SETTINGS | {"rates": FOUR_RATES, "trunk": "shared"},
        golden="scenes",
    ),
    "four_tuning": Study(
        "The learning rates of four sigmoids and of one softmax, on development seeds.",
        grid=_cells(way=FOUR_WAYS, images=[SCENES], rate=[3e-3, 1e-2, 3e-2]),
        source=roads,
        train=_four_answers,
        seeds=_DEVELOPMENT[:4],
        settings=_UNKNOWN_SETTINGS | {"trunk": "shared"},
        golden="scenes",
    ),
    "many_scenes": Study(
        "How well does a small network answer the four tasks with 20,000 scenes?",
        grid=_cells(way=FOUR_WAYS[:1], width=[16], steps=[2000]),
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
        grid=_cells(
            way=TREATMENTS, hidden=HIDDEN[:1], fraction=[0.25, 0.5], rate=[3e-3, 1e-2, 3e-2]
        ),
        source=roads,
        train=_unknown,
        seeds=_DEVELOPMENT[:3],
        settings=_UNKNOWN_SETTINGS,
        golden="scenes",
    ),
}
