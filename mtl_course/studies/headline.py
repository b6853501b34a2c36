"""The lecture's own example: A = 1,000,000 scenes, B = 1,000."""

import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mtl_course import scenes
from mtl_course.base import ASSETS, derive_seed
from mtl_course.datasets import Dataset
from mtl_course.networks import Network, shared
from mtl_course.storage import Interrupted
from mtl_course.studies import common
from mtl_course.studies.common import STEPS, THOUSAND, Scores, Study, cells
from mtl_course.studies.statistics import gain
from mtl_course.training import Fit, evaluate, fit, load, machine, save, sum_backward
from mtl_course.transfer import WAYS

MILLION = 1_000_000  # scenes of A, with the four answers, each seen once
MILLION_WIDTH = 16
NEW_TASK = ("cyclist",)
MILLION_RATES = {"all layers": 3e-2, "from scratch": 3e-2}  # the best of "headline_tuning"
NEAR = "pedestrian on the road"  # what A asks, and a little more
FAR = "round sign"  # what looks like one of A's things, and is none
NEW_TASK_RATES = {  # the best of "new_tasks_tuning"
    NEAR: {"from scratch": 3e-2, "new head": 1e-2, "all layers": 3e-3, "head then all": 3e-3},
    "two cars": {"from scratch": 1e-2, "all layers": 3e-3},
    "lit windows": {"from scratch": 3e-2, "all layers": 1e-1},
    FAR: {"from scratch": 1e-2, "all layers": 3e-2},
}
WEATHER = ("clear day", "night", "thick fog")
SHIFTED_TEST = 20_000  # scenes, of which each weather gets its share
TRUNK = ASSETS / "trunk.pt"
"""A network that has learned A; `python -m mtl_course headline --ship` makes it again."""


def million(count: int = MILLION, device: str = "cpu", progress: bool = True) -> Dataset:
    """Draw task A: one draw for all seeds."""
    return scenes.draw(count, derive_seed(0, "a million scenes"), device=device, progress=progress)


def untrained() -> Network:
    """Return the network that learns A, before it does."""
    return shared(scenes.THE_FOUR, width=MILLION_WIDTH, seed=derive_seed(0, "a million scenes"))


class _TwoThreads:
    """The plain `backward`, on two threads while this process has two cores to itself.

    A step on 128 scenes at width 16 then takes two thirds of its time. But torch's threads spin
    while they wait for each other: where one has to share its core, two train more slowly than one.
    """

    def __init__(self) -> None:
        self._most, self._step, self._clocks = min(2, torch.get_num_threads()), 0, (0.0, 0.0)

    def __call__(self, task_losses: Tensor) -> None:
        before, self._clocks = self._clocks, (time.perf_counter(), time.process_time())  # seconds
        wall, used = (now - then for now, then in zip(self._clocks, before, strict=True))
        if self._step % 500 == 0:  # a first try, or another one
            torch.set_num_threads(self._most)
        elif self._step % 10 == 0 and used < 1.75 * wall:
            torch.set_num_threads(1)
        self._step += 1
        sum_backward(task_losses)


def pretrained(file: Path, count: int, device: str | None = None, progress: bool = True) -> Network:
    """Return the network trained on A, from `file`, or train it and save it there.

    An interrupted run resumes from the file beside it. count: scenes of A.
    Raises: what `training.fit` and `training.load` raise, and Interrupted.
    """
    network, run, steps = untrained(), file.with_suffix(".run.pt"), count // common.BATCH_OF_A
    if file.exists():
        return load(network, file)
    roads = million(count, device=str(machine(device).device), progress=progress)
    history = fit(
        network, roads, steps=steps, seed=0, device=device, checkpoint=run, progress=progress,
        batch_size=common.BATCH_OF_A, learning_rate=common.RATE_OF_A,
        backward=_TwoThreads() if machine(device).device.type == "cpu" else None,
    )  # fmt: skip
    if history.attrs["interrupted"]:
        resume = f"{run} keeps the last checkpoint: run the same command to resume"
        kept = resume if run.exists() else "nothing is kept yet"
        raise Interrupted(f"Interrupted after {len(history)} of {steps} steps on A: {kept}.")
    save(network, file)
    run.unlink()
    return network


def _trunk(seed: int, *, fit: Fit = fit) -> Network:
    """Return one trunk for all seeds: every result is given this trunk."""
    return load(untrained(), TRUNK)


def _new_task(
    source: Network, seed: int, way: str, images: int,
    task: str = NEW_TASK[0], rate: float | None = None, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Train one network that answers a new question, from a thousand scenes of its own."""
    tuned = NEW_TASK_RATES.get(task, MILLION_RATES)
    train = common.draw(images, derive_seed(seed, "a thousand scenes"), [task])
    target = common.adapted(source, train, way, seed, STEPS, rate or tuned[way], fit=fit)
    return {**common.scored(target, seed, task), "steps": STEPS}


def _shifted(source: Network, seed: int, way: str, images: int, *, fit: Fit = fit) -> Scores:
    """Train one network on clear days, and score it by clear day, by night and in thick fog."""
    clear, tasks = WEATHER[0], [NEAR, *WEATHER]
    train = common.draw(8 * images, derive_seed(seed, "a thousand scenes"), tasks)
    train = _under(clear, train).subset(slice(images))
    target = common.adapted(source, train, way, seed, STEPS, NEW_TASK_RATES[NEAR][way], fit=fit)
    test, scores = common.draw_test(seed, tasks, SHIFTED_TEST), {}
    for weather in WEATHER:
        table = evaluate(common.completed(target), _under(weather, test))
        ending = "" if weather == clear else f" {weather}"
        scores |= {f"{name}{ending}": table[name].iloc[0] for name in ("accuracy", "auc")}
    return {**scores, "steps": STEPS}


def _under(weather: str, data: Dataset) -> Dataset:
    """Return the scenes in this weather, with the labels of the first task."""
    right = data.labels[:, data.tasks.index(weather)] == 1
    return Dataset(data.images[right], data.labels[right][:, :1], tasks=data.tasks[:1])


_SETTINGS = {
    "A": MILLION, "task": NEW_TASK, "width": MILLION_WIDTH, "batch": common.BATCH_OF_A,
    "rate": common.RATE_OF_A, "test": common.TEST_SCENES, "steps": STEPS,
}  # fmt: skip
_COMPARED = {"source": _trunk, "seeds": range(10), "over": "from scratch", "score": "auc"}
_CELL = {"way": list(MILLION_RATES), "images": [THOUSAND]}
_HEADLINE = Study(
    "A = 1,000,000 scenes, B = 1,000: what does the lecture's own example gain?",
    grid=cells(**_CELL), train=_new_task, golden="scenes", **_COMPARED,
    settings=_SETTINGS | {"rates": MILLION_RATES},
)  # fmt: skip
_NEW_TASKS = Study(
    "A = 1,000,000 scenes with the four answers, B = 1,000 with another: which B gains?",
    grid=cells(task=NEW_TASK_RATES, **_CELL), train=_new_task, golden="dials", **_COMPARED,
    settings=_SETTINGS | {"rates": NEW_TASK_RATES},
)  # fmt: skip
STUDIES = {
    "headline": _HEADLINE,
    "headline_tuning": common.tuning(
        _HEADLINE, "The learning rates of the headline's two ways, on development seeds.",
        grid=cells(**_CELL, rate=common.RATES_TRIED), seeds=common.DEVELOPMENT[:4],
    ),
    "new_tasks": _NEW_TASKS,
    "new_tasks_tuning": common.tuning(
        _NEW_TASKS, "The learning rates of each way for each new question, on development seeds.",
        grid=[
            *cells(task=NEW_TASK_RATES, **_CELL, rate=common.RATES_TRIED),
            *cells(task=[NEAR], way=["new head", "head then all"], images=[THOUSAND],
                   rate=common.RATES_TRIED),
        ], seeds=common.DEVELOPMENT[:3],
    ),
    "shifted": Study(
        "Learned from clear days, asked by night and in fog: which way keeps its score?",
        grid=cells(way=WAYS, images=[100, THOUSAND]), train=_shifted, golden="dials", **_COMPARED,
        settings=_SETTINGS | {"rates": NEW_TASK_RATES[NEAR], "seen": SHIFTED_TEST},
    ),
}  # fmt: skip


def report(rows: pd.DataFrame) -> str:
    """Return a table of what all layers gain over from scratch, given this trunk."""
    compared = partial(gain, rows, "all layers", over="from scratch")
    gains = {f"all layers − from scratch, {s}": compared(score=s) for s in ("accuracy", "auc")}
    return pd.concat(gains).droplevel(-1).round(3).to_string()
