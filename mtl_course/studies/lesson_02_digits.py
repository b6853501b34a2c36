"""Lesson 02 once more, on handwriting: A is print of several sizes and kinds, B real digits."""

from dataclasses import replace

import torch

from mtl_course.base import derive_seed
from mtl_course.datasets import LETTERS, Dataset, handwritten_digits, printed_digits
from mtl_course.networks import Network, classifier
from mtl_course.studies import common, lesson_02, spectrograms
from mtl_course.studies.common import STEPS, Scores, Study, cells
from mtl_course.studies.lesson_01_digits import LABELS, PRETRAINING, PRINTED, pretrained
from mtl_course.studies.lesson_02 import ALL, NOTHING, RANDOM, RELATED, SHUFFLED, SLOWER, SOUNDS
from mtl_course.training import Fit, fit
from mtl_course.transfer import LEARNING_RATES

PRINTED_SIZES = (100, 1_000, 10_000, PRINTED)
KINDS_OF_PRINT = ("digits", "letters", "thickness", RANDOM, SHUFFLED, SOUNDS)


def _trunk(seed: int, a: int | str, *, fit: Fit = fit) -> Network:
    """Return a network that has learned A, in as many steps whatever its size.

    a: a number of printed digits or a kind of print. Of 0 or `NOTHING`, B's own untrained network.
    """
    if a in (0, NOTHING):
        digit = print_of(seed, "digits", 1)
        return classifier(digit, width=16, seed=derive_seed(seed, "B network"))
    data = print_of(seed, a) if isinstance(a, str) else print_of(seed, "digits", a)
    return pretrained(data, seed, fit)


def print_of(seed: int, a: str, count: int = PRINTED) -> Dataset:
    """Draw what this kind of A learns from. Thickness: ten classes of equal size, by their ink."""
    own = derive_seed(seed, "A")
    if a == SOUNDS:
        return spectrograms.draw(min(count, RELATED), own, size=8, channels=1)
    characters = {"characters": LETTERS} if a == "letters" else {}
    data = printed_digits(count, own, device=common.for_drawing(), **characters)
    if a == "thickness":
        ink = data.images.float().mean(dim=(1, 2, 3))
        cuts = ink.quantile(torch.linspace(0.1, 0.9, 9, device=ink.device))
        return replace(data, labels=torch.bucketize(ink, cuts))
    return lesson_02.spoiled(data, seed, a)


def _written(
    source: Network, seed: int, a: int | str, way: str,
    labels: int = 0, layers: int | None = None, b: int = 0, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Train one network with the first blocks of this trunk. b: what the size map calls labels."""
    written = handwritten_digits()
    sample = written.train.sample(labels or b, seed=derive_seed(seed, "B"))
    how, rate = lesson_02.controlled(way, LEARNING_RATES)
    target = common.adapted(source, sample, how, seed, STEPS, rate, layers=layers, fit=fit)
    same = lesson_02.similarities(source, target, written.test.subset(slice(500)))
    return {"accuracy": common.accuracy(target, written.test), **same}


_TWO = ("all layers", "new head")
_COMPARED = {
    "source": _trunk, "train": _written, "seeds": range(10), "shared_by": "a",
    "over": "from scratch",
    "settings": {"steps of A": PRETRAINING, "steps": STEPS, "rates": LEARNING_RATES},
}  # fmt: skip
STUDIES = {
    "digits_size_map": Study(
        "Printed → handwritten digits: what does A gain, by the size of A and of B?",
        grid=[
            *cells(a=[0], b=LABELS, way=["from scratch"]),
            *cells(a=PRINTED_SIZES, b=LABELS, way=["all layers"]),
        ],
        blank={"a": 0}, **_COMPARED,
    ),
    "digits_relatedness": Study(
        "Handwritten digits: what must A have in common with them?",
        grid=[
            *cells(a=[NOTHING], way=["from scratch", SLOWER], layers=[0], labels=[30, 300]),
            *cells(a=KINDS_OF_PRINT, way=_TWO, layers=[ALL], labels=[30, 300]),
            *cells(a=["digits", "thickness"], way=_TWO, layers=range(1, ALL), labels=[300]),
        ],
        golden="dials", blank={"a": NOTHING, "layers": 0}, **_COMPARED,
    ),
}  # fmt: skip
