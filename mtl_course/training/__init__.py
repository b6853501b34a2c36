"""Training: `fit` for one network, `fit_many` for many, and networks on disk."""

from collections.abc import Callable

import pandas as pd

from mtl_course.devices import machine
from mtl_course.evaluation import evaluate, predict
from mtl_course.training._checkpoints import load, save
from mtl_course.training._fit import BATCH_SIZE, fit, sum_backward
from mtl_course.training._many import fit_many, kind

Fit = Callable[..., pd.DataFrame]
"""`fit`, or what stands in for it: something that trains a network and returns the history."""

__all__ = [
    "BATCH_SIZE",
    "Fit",
    "evaluate",
    "fit",
    "fit_many",
    "kind",
    "load",
    "machine",
    "predict",
    "save",
    "sum_backward",
]
