"""What the studies of all lessons share: amounts, grids, settings, scenes and scores."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import pandas as pd

from mtl_course import scenes
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.devices import machine
from mtl_course.networks import Network, shared
from mtl_course.studies._store import Study
from mtl_course.training import Fit, evaluate, fit
from mtl_course.transfer import adapt

DEVELOPMENT = range(1000, 1006)  # seeds that no reported study uses: choices are made on them
BATCH, BATCH_OF_A = 64, 128  # images a step; all of them where there are fewer
STEPS = 300  # the same for every way
WIDTH = 8  # channels of the first block
THOUSAND = 1_000  # scenes of B
TEST_SCENES = 4_000  # fully labelled, drawn from a seed of their own
RATE_OF_A = 1e-2
RATES_TRIED = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # on development seeds, the same for every way

Scores = dict[str, object]  # what one row measures, by column


def cells(**grid: Sequence) -> list[dict[str, object]]:
    """Return every combination, in order, one mapping each."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def tuning(
    chosen: Study, question: str, grid: Sequence, seeds: Sequence = DEVELOPMENT[:3], **changes
) -> Study:
    """Return the study that chose another's learning rates, on development seeds.

    changes: what else differs. Without settings, it has the other's less what was chosen.
    """
    settings = {k: v for k, v in chosen.settings.items() if k not in ("rates", "doubled")}
    changes = {"settings": settings, "over": None, "blank": {}} | changes
    return dataclasses.replace(chosen, question=question, grid=grid, seeds=seeds, **changes)


def nothing_shared(seed: int, *, fit: Fit = fit) -> None:
    """Return no source: each cell of the study draws its own images."""


def for_drawing() -> str:
    """Return the device on which a study draws images: a GPU that trains on them, or the CPU."""
    # Apple's MPS lacks the 64-bit arithmetic that drawing needs.
    return "cuda" if machine().device.type == "cuda" else "cpu"


def draw(count: int, seed: int, tasks: Sequence[str] = scenes.THE_FOUR) -> Dataset:
    """Draw scenes on the device that learns from them, in one thread: a worker has no more."""
    return scenes.draw(count, seed, tasks=tasks, device=for_drawing(), jobs=1)


def draw_test(seed: int, tasks: Sequence[str] = scenes.THE_FOUR, count: int = 0) -> Dataset:
    """Draw the scenes that a seed's networks are scored on. count: 0 takes `TEST_SCENES`."""
    return draw(count or TEST_SCENES, derive_seed(seed, "scenes to be scored on"), tasks)


def fitting(seed: int, steps: int, rate: float | None) -> dict[str, object]:
    """Return the settings that a study gives `fit` besides the network and its data."""
    return {"steps": steps, "seed": seed, "learning_rate": rate, "progress": False}


def train(
    data: Dataset, seed: int, steps: int, rate: float, *,
    build: Callable[..., Network] = shared, width: int = WIDTH, batch: int = BATCH, fit: Fit = fit,
) -> Network:  # fmt: skip
    """Return a network trained on `data`, whose batches and first weights `seed` decides.

    Its trunk starts alike for any tasks. build: `networks.shared` or `networks.separate`.
    """
    network = build(data.names, width=width, seed=seed)
    fit(network, data, **fitting(seed, steps, rate), batch_size=batch)
    return network


def adapted(
    source: Network, data: Dataset, how: str, seed: int, steps: int, rate: float | None, **settings
) -> Network:
    """Return a network for B, made by `transfer.adapt` with the head and batches of this seed."""
    settings |= fitting(derive_seed(seed, "B network"), steps, rate)
    return adapt(source, data, how, **settings)


def completed(network: Network) -> Network:
    """Return the network. Raises: KeyboardInterrupt if its training was interrupted."""
    if network.history.attrs["interrupted"]:
        raise KeyboardInterrupt
    return network


def accuracy(network: Network, data: Dataset) -> float:
    """Return the share of images that a network gets right; with tasks, of the first task's."""
    return float(evaluate(completed(network), data)["accuracy"].iloc[0])


def scored(network: Network, seed: int, task: str) -> dict[str, float]:
    """Return accuracy and area under the ROC curve of one task on the test scenes of a seed."""
    return _by_task(network, seed).loc[task, ["accuracy", "auc"]].to_dict()


def each_scored(network: Network, seed: int) -> dict[str, float]:
    """Return the means of both scores over the tasks, then each task's auc, by number."""
    table = _by_task(network, seed)
    means = {name: float(table[name].mean()) for name in ("accuracy", "auc")}
    return means | {f"auc {number}": value for number, value in enumerate(table["auc"], start=1)}


def _by_task(network: Network, seed: int) -> pd.DataFrame:
    return evaluate(completed(network), draw_test(seed, network.names))


def support_vectors(train: Dataset, test: Dataset, c: float, gamma: float | str = "scale") -> float:
    """Return the accuracy of scikit-learn's support-vector machine, radial kernel, on pixels."""
    from sklearn.svm import SVC

    pixels = [data.images.flatten(1).cpu().numpy() / 255 for data in (train, test)]
    classifier = SVC(C=c, gamma=gamma).fit(pixels[0], train.labels.cpu().numpy())
    return float(classifier.score(pixels[1], test.labels.cpu().numpy()))
