"""Studies: what the lessons measure, as rows of trained networks; and what the rows say.

What is run stands in a file a lesson (`lesson_01` …). Reported studies and the studies that tuned
them never share a seed, and tuning never sees a reported test set: on digits it scores on a part of
the pool that was held back, on scenes on draws of development seeds.
"""

from mtl_course.studies._registry import STUDIES
from mtl_course.studies._runner import OTHERS, SHIPPED, cost, recipe, run, study, train_row
from mtl_course.studies._store import Study
from mtl_course.studies.statistics import gain, interval, predicted

__all__ = [
    "OTHERS",
    "SHIPPED",
    "STUDIES",
    "Study",
    "cost",
    "gain",
    "interval",
    "predicted",
    "recipe",
    "run",
    "study",
    "train_row",
]
