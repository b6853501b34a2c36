"""Lesson 04: labels that are '?', hidden in several ways and treated in four."""

from dataclasses import replace

import pandas as pd
import torch

from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, Dataset, hide
from mtl_course.networks import Network
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import common
from mtl_course.studies.common import STEPS, WIDTH, Scores, Study, cells
from mtl_course.studies.lesson_03 import SETTINGS, TOO_FEW, Roads, answers, roads
from mtl_course.training import Fit, fit, predict

TREATMENTS = ("mask", "call it 0", "drop the image", "guess it")
LONGER = "mask, twice the steps"  # what "guess it" costs, which trains two networks
HIDDEN = ("at random", "hard ones more often")
ALL_KNOWN = "all known"
ONE_LABEL = "one label an image"  # which of the four is known is drawn for each image
FEWER = "a quarter of the images"  # as many labels as ONE_LABEL has, four an image
RATES = dict.fromkeys(TREATMENTS, 1e-2)  # the best of "unknown_tuning"


def partly_known(roads: Roads, seed: int, hidden: str, fraction: float) -> Dataset:
    """Return the scenes to learn from, with labels hidden as `hidden` says.

    hidden: one of `HIDDEN`, which hide this fraction; or `ALL_KNOWN`, `ONE_LABEL` or `FEWER`.
    """
    train, own = roads.train, derive_seed(seed, "hide")
    if hidden == ALL_KNOWN:
        return train
    if hidden == FEWER:
        return train.subset(slice(len(train) // len(train.tasks)))
    if hidden == ONE_LABEL:
        generator = torch.Generator("cpu").manual_seed(own)
        lottery = torch.rand(train.labels.shape, generator=generator, device="cpu")
        lost = (lottery < lottery.amax(dim=1, keepdim=True)).to(train.labels.device)
        return replace(train, labels=train.labels.masked_fill(lost, UNKNOWN))
    return hide(train, fraction, seed=own, weight=roads.effort if hidden == HIDDEN[1] else None)


def treat(
    data: Dataset, treatment: str, seed: int, rate: float, steps: int, width: int = WIDTH,
    *, fit: Fit = fit,
) -> Network | None:  # fmt: skip
    """Return a network that learns from `data`, its '?' treated in one of the four ways (M4).

    "mask" leaves them out of the loss; "call it 0" says no; "drop the image" keeps images without
    any, and returns None if they are fewer than `TOO_FEW`; "guess it" trains a first network with
    the mask and lets it fill them in, then trains a second one from the same first weights.
    """
    unknown = data.labels == UNKNOWN
    if treatment == "call it 0":
        data = replace(data, labels=data.labels.masked_fill(unknown, 0))
    elif treatment == "drop the image":
        complete = (~unknown.any(dim=1)).nonzero()[:, 0]
        if len(complete) < TOO_FEW:
            return None
        data = data.subset(complete)
    elif treatment == "guess it":
        first = common.completed(treat(data, "mask", seed, rate, steps, width, fit=fit))
        guess = (predict(first, data) > 0).to(data.labels.device, torch.int8)
        data = replace(data, labels=torch.where(unknown, guess, data.labels))
    return common.train(data, seed, steps, rate, width=width, fit=fit)


def _unknown(
    roads: Roads, seed: int, way: str, hidden: str,
    fraction: float, rate: float | None = None, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Train one network and score it on fully labelled scenes."""
    data = partly_known(roads, seed, hidden, fraction)
    way, steps = ("mask", 2 * STEPS) if way == LONGER else (way, STEPS)
    own = derive_seed(seed, "network")
    network = treat(data, way, own, rate or RATES[way], steps, fit=fit)
    if network is None:
        scores = dict.fromkeys(("accuracy", "auc", "yes"), float("nan"))
    else:
        scores = answers(common.completed(network), roads.test)
    whole_images = int((data.labels != UNKNOWN).all(dim=1).sum())
    return {**scores, "steps": steps, "whole_images": whole_images}


AXES = {
    "fraction": "share of labels unknown",
    "auc": "AUC, mean of four tasks",
    "accuracy": "accuracy, mean of four tasks",
    "yes": "how often the network says yes",
}


def along(rows: pd.DataFrame, hidden: str) -> pd.DataFrame:
    """Return the rows of one way to hide, and for each treatment those where nothing is hidden."""
    start = [rows[rows["hidden"] == ALL_KNOWN].assign(way=way) for way in TREATMENTS]
    return pd.concat([*start, rows[rows["hidden"] == hidden]])


def no_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how often the answer is 0 in each seed's test, by task, a row a seed.

    A network that never says yes is right just as often, so its row tells; the test of a seed
    without such a network is drawn again.
    """
    never = rows[rows["yes"] == 0].drop_duplicates("seed").set_index("seed")[list(THE_FOUR)]
    for seed in sorted(set(rows["seed"]) - set(never.index)):
        never.loc[seed] = (common.draw_test(seed).labels == 0).double().mean(dim=0).tolist()
    return never.sort_index()


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of always giving the more frequent answer, by task, a row a seed."""
    no = no_answers(rows)
    return no.where(no > 0.5, 1 - no)


def lines(rows: pd.DataFrame) -> dict[str, tuple[float, str]]:
    """Return what each score is without learning, for `figures.curves`."""
    frequent = "always the\nmore frequent\nanswer"
    return {
        "auc": (0.5, "coin toss"),
        "accuracy": (float(usual(rows).to_numpy().mean()), frequent),
        "yes": (float(1 - no_answers(rows).to_numpy().mean()), "how often yes is true"),
    }


_UNKNOWN = Study(
    "Labels that are '?': mask, call it 0, drop the image, or guess?",
    grid=[
        *cells(way=["mask"], hidden=[ALL_KNOWN], fraction=[0.0]),
        *cells(way=["mask"], hidden=[ONE_LABEL, FEWER], fraction=[0.75]),
        *cells(way=TREATMENTS, hidden=HIDDEN, fraction=[0.25, 0.5, 0.8, 0.95]),
        *cells(way=[LONGER], hidden=HIDDEN[:1], fraction=[0.5, 0.8]),
    ],
    source=roads, train=_unknown, seeds=range(10), golden="scenes", over="mask", score="auc",
    settings=SETTINGS | {"rates": RATES},
)  # fmt: skip
STUDIES = {
    "unknown": _UNKNOWN,
    "unknown_tuning": common.tuning(
        _UNKNOWN, "The learning rate of each treatment of '?', on development seeds.",
        grid=cells(
            way=TREATMENTS, hidden=HIDDEN[:1], fraction=[0.25, 0.5], rate=common.RATES_TRIED[1:4]
        ),
    ),
}  # fmt: skip
