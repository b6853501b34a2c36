"""Training: `fit` for one network, `fit_many` for many, and networks on disk."""

from mtl_course.devices import machine
from mtl_course.evaluation import evaluate, predict
from mtl_course.training._checkpoints import load, save
from mtl_course.training._fit import BATCH_SIZE, Fit, fit, sum_backward
from mtl_course.training._many import fit_many, kind
