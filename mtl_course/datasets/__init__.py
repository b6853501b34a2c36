"""Images and their labels: the `Dataset`, hiding labels, printed digits and handwritten digits."""

from mtl_course.datasets._dataset import UNKNOWN, Dataset, Split, normalise
from mtl_course.datasets._digits import (
    DIGITS,
    LETTERS,
    TYPEFACES,
    handwritten_digits,
    printed_digits,
)
from mtl_course.datasets._labels import hide, one_label
from mtl_course.datasets._stored import stored

__all__ = [
    "DIGITS",
    "LETTERS",
    "TYPEFACES",
    "UNKNOWN",
    "Dataset",
    "Split",
    "handwritten_digits",
    "hide",
    "normalise",
    "one_label",
    "printed_digits",
    "stored",
]
