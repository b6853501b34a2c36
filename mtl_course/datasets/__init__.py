"""Images and their labels: the `Dataset`, hiding labels, digits and clothes."""

from mtl_course.datasets._clothes import CLOTHES, clothes
from mtl_course.datasets._dataset import UNKNOWN, Dataset, Split, check_labels, normalise, stored
from mtl_course.datasets._digits import DIGITS, LETTERS, handwritten_digits, printed_digits
from mtl_course.datasets._labels import hide, one_label, only
