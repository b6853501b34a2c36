"""Lesson 02 once more, on handwriting: A is print of several sizes and kinds, B real digits."""

from __future__ import annotations

from dataclasses import replace

import torch

from mtl_course.base import derive_seed
from mtl_course.datasets import LETTERS, Dataset, handwritten_digits, printed_digits
from mtl_course.devices import for_drawing
from mtl_course.networks import Network, classifier
from mtl_course.studies import spectrograms
from mtl_course.studies._store import Study
from mtl_course.studies.common import STEPS, Scores, accuracy, adapted, cells
from mtl_course.studies.lesson_01 import LABELS, PRETRAINING, PRINTED
from mtl_course.studies.lesson_02 import (
    ALL,
    NOTHING,
    RANDOM,
    RELATED,
    SHUFFLED,
    SLOWER,
    SOUNDS,
    controlled,
    similarities,
    spoiled,
)
from mtl_course.training import Fit, fit
from mtl_course.transfer import LEARNING_RATES, pretrain

PRINTED_SIZES = (100, 1_000, 10_000, PRINTED)
KINDS_OF_PRINT = ("digits", "letters", "thickness", RANDOM, SHUFFLED, SOUNDS)


def _sized(seed: int, a: int, *, fit: Fit = fit) -> Network:
    """Return a network that has learned `a` printed digits, in as many steps for every `a`."""
    data = printed_digits(max(a, 1), derive_seed(seed, "A"), device=for_drawing())
    return _source(data, seed, a > 0, fit)


def _related(seed: int, a: str, *, fit: Fit = fit) -> Network:
    """Return a network that has learned this kind of print; of `NOTHING`, an untrained one."""
    return _source(print_of(seed, a), seed, a != NOTHING, fit)


def _source(data: Dataset, seed: int, learns: bool, fit: Fit) -> Network:
    """Return a network that has learned A; if it does not, what from scratch on B starts from."""
    if not learns:
        return classifier(data, width=16, seed=derive_seed(seed, "B network"))
    own = derive_seed(seed, "A network")
    return pretrain(data, steps=PRETRAINING, seed=own, progress=False, fit=fit)


def print_of(seed: int, a: str, count: int = PRINTED) -> Dataset:
    """Draw what this kind of A learns from. Thickness: ten classes of equal size, by their ink."""
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
    return spoiled(data, seed, a)


def _size_map(source: Network, seed: int, a: int, b: int, way: str, *, fit: Fit = fit) -> Scores:
    """Train one cell of the size map."""
    return _written(source, seed, way, b, fit=fit)


def _relatedness(
    source: Network, seed: int, a: str, way: str, layers: int, labels: int, *, fit: Fit = fit
) -> Scores:
    """Train one network with the first blocks of this trunk."""
    return _written(source, seed, way, labels, layers, fit=fit)


def _written(
    source: Network, seed: int, way: str, labels: int, layers: int | None = None, *, fit: Fit
) -> Scores:
    written = handwritten_digits()
    sample = written.train.sample(labels, seed=derive_seed(seed, "B"))
    how, rate = controlled(way, LEARNING_RATES)
    target = adapted(source, sample, how, seed, STEPS, rate, layers=layers, fit=fit)
    same = similarities(source, target, written.test.subset(slice(500)))
    return {"accuracy": accuracy(target, written.test), **same}


_TWO = ("all layers", "new head")
_COMPARED = {
    "seeds": range(10), "shared_by": "a", "over": "from scratch",
    "settings": {"steps of A": PRETRAINING, "steps": STEPS, "rates": LEARNING_RATES},
}  # fmt: skip

STUDIES = {
    "digits_size_map": Study(
        "Printed → handwritten digits: what does A gain, by the size of A and of B?",
        grid=[
            *cells(a=[0], b=LABELS, way=["from scratch"]),
            *cells(a=PRINTED_SIZES, b=LABELS, way=["all layers"]),
        ],
        source=_sized,
        train=_size_map,
        blank={"a": 0},
        **_COMPARED,
    ),
    "digits_relatedness": Study(
        "Handwritten digits: what must A have in common with them?",
        grid=[
            *cells(a=[NOTHING], way=["from scratch", SLOWER], layers=[0], labels=[30, 300]),
            *cells(a=KINDS_OF_PRINT, way=_TWO, layers=[ALL], labels=[30, 300]),
            *cells(a=["digits", "thickness"], way=_TWO, layers=range(1, ALL), labels=[300]),
        ],
        source=_related,
        train=_relatedness,
        golden="dials",
        blank={"a": NOTHING, "layers": 0},
        **_COMPARED,
    ),
}
