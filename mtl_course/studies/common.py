"""What the studies of all lessons share: grids, settings, scores, seeds set aside for choices."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pandas as pd

from mtl_course import scenes
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.devices import for_drawing
from mtl_course.networks import Network
from mtl_course.studies._store import Study
from mtl_course.training import Fit, evaluate, fit

DEVELOPMENT = range(1000, 1006)
"""Seeds that no reported study uses: where choices are made."""

RATES_TRIED = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # on development seeds, the same for every way

TEST_SCENES = 4_000  # fully labelled, drawn from a stream of their own


def cells(**grid: Sequence) -> list[dict[str, object]]:
    """Every combination, in order, one mapping each."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def tuning(chosen: Study, question: str, **changes: object) -> Study:
    """Return the study that chose another's learning rates, on development seeds.

    changes: its grid, seeds and settings, and what else differs from the other.
    """
    return dataclasses.replace(chosen, question=question, over=None, blank={}, **changes)


def draw(count: int, seed: int, tasks: Sequence[str] = scenes.THE_FOUR) -> Dataset:
    """Draw scenes on the device that learns from them, in one thread: a worker has no more."""
    return scenes.draw(count, seed, tasks=tasks, device=for_drawing(), jobs=1)


Scores = dict[str, object]
"""What one row measures, by column."""


def accuracy(network: Network, data: Dataset) -> float:
    """The share of images, or of the first task's, that a network trained to its end gets right."""
    return float(evaluate(completed(network), data)["accuracy"].iloc[0])


def completed(network: Network) -> Network:
    """The network, unless its training was cut short: a row of half a run would be a lie.

    Raises: KeyboardInterrupt if it was.
    """
    if network.history.attrs["interrupted"]:
        raise KeyboardInterrupt
    return network


def fitting(seed: int, steps: int, rate: float) -> dict[str, object]:
    """Return the settings that a study gives `fit` besides the network and its data."""
    return {"steps": steps, "seed": seed, "learning_rate": rate, "progress": False}


def nothing_shared(seed: int, *, fit: Fit = fit) -> None:
    """The source of a study whose cells share nothing: each draws its own images."""


def scored(network: Network, seed: int, task: str) -> dict[str, float]:
    """Accuracy and area under the ROC curve of one of its tasks on the test scenes of a seed."""
    return _by_task(network, seed).loc[task, ["accuracy", "auc"]].to_dict()


def each_scored(network: Network, seed: int) -> dict[str, float]:
    """The means of both scores over the tasks, then each task's area under the curve, by number."""
    table = _by_task(network, seed)
    means = {name: float(table[name].mean()) for name in ("accuracy", "auc")}
    return means | {f"auc {number}": value for number, value in enumerate(table["auc"], start=1)}


def _by_task(network: Network, seed: int) -> pd.DataFrame:
    own = derive_seed(seed, "scenes to be scored on")
    test = draw(TEST_SCENES, own, network.names)
    return evaluate(completed(network), test)
