"""The lecture's own figures: A = 1,000,000 scenes, B = 1,000."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mtl_course import scenes
from mtl_course.base import HOME, derive_seed
from mtl_course.datasets import Dataset
from mtl_course.networks import Network, shared
from mtl_course.storage import Interrupted
from mtl_course.studies._store import Study
from mtl_course.studies.common import (
    DEVELOPMENT,
    RATES_TRIED,
    TEST_SCENES,
    Scores,
    cells,
    completed,
    draw,
    fitting,
    scored,
)
from mtl_course.studies.lesson_04 import SCENE_RATES, SCENE_STEPS
from mtl_course.studies.statistics import gain
from mtl_course.training import Fit, evaluate, fit, load, machine, save
from mtl_course.transfer import WAYS, adapt

MILLION = 1_000_000  # scenes of A, with the four answers
THOUSAND = 1_000  # scenes of B, with one
NEW_TASK = ("cyclist",)
MILLION_WIDTH = 16
MILLION_BATCH = 128  # so that A is seen once
MILLION_RATE = SCENE_RATES["mask"]
MILLION_RATES = {"all layers": 3e-2, "from scratch": 3e-2}
"""The best of a small grid on development seeds: see the rows of the study "headline_tuning"."""
NEAR = "pedestrian on the road"  # what A asks, and a little more
FAR = "round sign"  # what looks like one of A's things, and is none
NEW_TASKS = (NEAR, "two cars", "lit windows", FAR)
NEW_TASK_RATES = {
    NEAR: {"from scratch": 3e-2, "new head": 1e-2, "all layers": 3e-3, "head then all": 3e-3},
    "two cars": {"from scratch": 1e-2, "all layers": 3e-3},
    "lit windows": {"from scratch": 3e-2, "all layers": 1e-1},
    FAR: {"from scratch": 1e-2, "all layers": 3e-2},
}
"""The best of a small grid on development seeds: see the rows of the study "new_tasks_tuning"."""
SHIFTED_TEST = 20_000  # scenes, of which each sky gets its share

TRUNK = HOME / "assets" / "trunk.pt"
"""A network that has learned the four tasks from 1,000,000 scenes; `python -m mtl_course headline
--ship` makes it again."""


def million(count: int = MILLION, device: str = "cpu", progress: bool = True) -> Dataset:
    """Task A of the headline: one draw for all seeds."""
    return scenes.draw(count, derive_seed(0, "a million scenes"), device=device, progress=progress)


def untrained() -> Network:
    """The network that learns A, before it does."""
    return shared(scenes.THE_FOUR, width=MILLION_WIDTH, seed=derive_seed(0, "a million scenes"))


def pretrained(file: Path, count: int, device: str | None = None, progress: bool = True) -> Network:
    """Return the network trained on A, from `file`, or train it and save it there.

    An interrupted run is in the file beside it, and resumes from there.
    count: scenes of A; each is seen once. Raises: what `training.fit` and `training.load` raise.
    """
    network, run = untrained(), file.with_suffix(".run.pt")
    if file.exists():
        return load(network, file)
    roads = million(count, device=str(machine(device).device), progress=progress)
    history = fit(
        network, roads, steps=count // MILLION_BATCH, seed=0,
        batch_size=MILLION_BATCH, learning_rate=MILLION_RATE,
        device=device, checkpoint=run, progress=progress,
    )  # fmt: skip
    if history.attrs["interrupted"]:
        there = f"{run} keeps the last checkpoint: run the same command to resume"
        there = there if run.exists() else "nothing is kept yet"
        steps = f"{len(history)} of {count // MILLION_BATCH}"
        raise Interrupted(f"Interrupted after {steps} steps on A: {there}.")
    save(network, file)
    run.unlink()
    return network


def _trunk(seed: int, *, fit: Fit = fit) -> Network:
    """One trunk for all seeds: what is found holds given this trunk."""
    return load(untrained(), TRUNK)


def _headline(
    source: Network, seed: int, way: str, images: int, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """One network that answers a new question, from 1,000 scenes of its own."""
    rate = MILLION_RATES[way] if rate is None else rate
    return _new_task(source, seed, NEW_TASK[0], way, images, rate, fit=fit)


def _new_task(
    source: Network,
    seed: int,
    task: str,
    way: str,
    images: int,
    rate: float | None = None,
    *,
    fit: Fit = fit,
) -> Scores:
    rate = NEW_TASK_RATES[task][way] if rate is None else rate
    train = draw(images, derive_seed(seed, "a thousand scenes"), [task])
    settings = fitting(derive_seed(seed, "B network"), SCENE_STEPS, rate)
    target = adapt(source, train, way, **settings, fit=fit)
    return {**scored(target, seed, task), "steps": SCENE_STEPS}


def _shifted(source: Network, seed: int, way: str, images: int, *, fit: Fit = fit) -> Scores:
    """One network that learns from clear days, scored by clear day, by night and in fog.

    Scores: accuracy and auc by clear day, then the same by night and in thick fog.
    """
    weather = ("clear day", "night", "thick fog")
    rate = NEW_TASK_RATES[NEAR][way]

    def drawn(count: int, role: str) -> Dataset:
        return draw(count, derive_seed(seed, role), [NEAR, *weather])

    def under(sky: str, data: Dataset) -> Dataset:
        right = data.labels[:, data.tasks.index(sky)] == 1
        return Dataset(data.images[right], data.labels[right][:, :1], tasks=[NEAR])

    train = under(weather[0], drawn(8 * images, "a thousand scenes")).subset(slice(images))
    settings = fitting(derive_seed(seed, "B network"), SCENE_STEPS, rate)
    target = completed(adapt(source, train, way, **settings, fit=fit))
    test, scores = drawn(SHIFTED_TEST, "scenes to be scored on"), {}
    for sky in weather:
        table = evaluate(target, under(sky, test))[["accuracy", "auc"]].iloc[0]
        ending = "" if sky == weather[0] else f" {sky}"
        scores |= {f"{name}{ending}": value for name, value in table.items()}
    return {**scores, "steps": SCENE_STEPS}


_MILLION_SETTINGS = {
    "A": MILLION, "task": NEW_TASK, "width": MILLION_WIDTH, "batch": MILLION_BATCH,
    "rate": MILLION_RATE, "test": TEST_SCENES, "steps": SCENE_STEPS,
}  # fmt: skip

STUDIES = {
    "headline": Study(
        "A = 1,000,000 scenes, B = 1,000: what does the lecture's own example gain?",
        grid=cells(way=list(MILLION_RATES), images=[THOUSAND]),
        source=_trunk,
        train=_headline,
        seeds=range(10),
        settings=_MILLION_SETTINGS | {"rates": MILLION_RATES},
        golden="scenes",
        over="from scratch",
        score="auc",
    ),
    "headline_tuning": Study(
        "The learning rates of the headline's two ways, on development seeds.",
        grid=cells(way=list(MILLION_RATES), images=[THOUSAND], rate=RATES_TRIED),
        source=_trunk,
        train=_headline,
        seeds=DEVELOPMENT[:4],
        settings=_MILLION_SETTINGS,
        golden="scenes",
    ),
    "new_tasks": Study(
        "A = 1,000,000 scenes with the four answers, B = 1,000 with another: which B gains?",
        grid=cells(task=NEW_TASKS, way=list(MILLION_RATES), images=[THOUSAND]),
        source=_trunk,
        train=_new_task,
        seeds=range(10),
        settings=_MILLION_SETTINGS | {"rates": NEW_TASK_RATES},
        golden="dials",
        over="from scratch",
        score="auc",
    ),
    "new_tasks_tuning": Study(
        "The learning rates of each way for each new question, on development seeds.",
        grid=[
            *cells(task=NEW_TASKS, way=list(MILLION_RATES), images=[THOUSAND], rate=RATES_TRIED),
            *cells(
                task=[NEAR], way=["new head", "head then all"], images=[THOUSAND], rate=RATES_TRIED
            ),
        ],
        source=_trunk,
        train=_new_task,
        seeds=DEVELOPMENT[:3],
        settings=_MILLION_SETTINGS,
        golden="dials",
    ),
    "shifted": Study(
        "Learned from clear days, asked by night and in fog: which way keeps its score?",
        grid=cells(way=WAYS, images=[100, THOUSAND]),
        source=_trunk,
        train=_shifted,
        seeds=range(10),
        settings=_MILLION_SETTINGS | {"rates": NEW_TASK_RATES[NEAR], "seen": SHIFTED_TEST},
        golden="dials",
        over="from scratch",
        score="auc",
    ),
}


def report(rows: pd.DataFrame) -> str:
    """Return a table of what all layers gain over from scratch, given this trunk."""
    tables = {
        f"all layers − from scratch, {score}": gain(
            rows, "all layers", over="from scratch", score=score
        )
        for score in ("accuracy", "auc")
    }
    return pd.concat(tables).droplevel(-1).round(3).to_string()
