"""Training: `fit` for one network, `fit_many` for many.

`fit` reads from top to bottom: lay everything out on the device (`engine.Run`), then take one step
(`engine.step`) after another, with a look at the loss now and then.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import joblib
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtl_course import engine
from mtl_course.base import check_writable, threads, whole
from mtl_course.checkpoints import load, save
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.devices import (
    Cores,
    Machine,
    borrowed,
    check_dtype,
    check_gradients,
    machine,
    on_cpu,
    prepare,
)
from mtl_course.evaluation import check_fit, evaluate, predict
from mtl_course.networks import Network, frozen, signature
from mtl_course.side_by_side import groupable

__all__ = ["evaluate", "fit", "fit_many", "load", "machine", "predict", "save"]

_log = logging.getLogger(__name__)

BATCH_SIZE = 64
LEARNING_RATE = 3e-3

_LOOK_EVERY = 10  # steps between two looks at whether the cores are ours
_READ_EVERY = 50  # steps between two looks at the loss, each of which waits for the device
_SAVE_EVERY = 250  # steps between two checkpoints
_BEFORE_RECORDING = 3  # steps, in which CUDA's libraries set up what a recording must not


@on_cpu()
def fit(
    network: Network,
    data: Dataset,
    *,
    steps: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    backward: Callable[[Tensor], None] | None = None,
    device: str | None = None,
    precision: str | None = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Trains `network` on `data`, in place, with AdamW: a short warm-up, then linearly down to 0.

    Datasets with classes get softmax's loss, datasets with tasks the lecture's (M2, M4). Frozen
    layers do not move; when the whole trunk is frozen its features are computed once. Every batch
    has `batch_size` images (all of them, if there are fewer), from a shuffled order that depends on
    `seed` alone. An interruption (Ctrl-C, the stop button) keeps the network trained so far.
    On a CPU it takes one thread, and two where batches are large (`devices.Machine.worth`) while
    no other process takes a core; never more than torch is set to. On one thread two runs agree bit
    for bit. Wherever it trains, the network comes back on the device where it lay.

    steps: updates. learning_rate: the highest one, after the warm-up.
    backward: is given the terms of the loss, float32 (tasks,), or (1,) with classes, and adds to
        the weights' `grad` what the step then goes down; None: the gradient of their sum.
    checkpoint: a file that is written as training goes and, if it is there, gone on from; on the
        CPU, on one thread, the result is then bit for bit that of a run without a break.
    Returns: the history, one row a step: `loss`, and with tasks also a column for each task's
        part of it. Its `attrs["interrupted"]` tells whether the run was cut short, and
        `attrs["labels"]`, a dict, from how many known labels each task has learned (an image that
        came twice counts twice). The network keeps the history of all its training as
        `network.history`.
    Raises: ValueError for arguments that do not fit together, where gradients are switched off, or
        under another default dtype than float32; OSError if no checkpoint can be written there;
        FloatingPointError when the loss is no longer finite, with the step, the task and what to
        do.
    """
    settings = _settings(steps, batch_size, learning_rate)
    place = machine(device, precision)
    _check(network, data)
    if checkpoint:
        check_writable(Path(checkpoint).parent, "choose another path for the checkpoint")
    prepare(progress)
    count = place.worth(network, data.images[:batch_size])
    with threads(count), place.stream(), borrowed(network, place.device):
        run = engine.Run([network], [data], [seed], place, backward or sum_backward, **settings)
        about, keep = _describe(network, data, place, seed=seed, **settings), None
        if checkpoint:
            run.resume(checkpoint, about)
            keep = functools.partial(run.save, checkpoint, about)
        resumed = run.done > 0
        _train(run, progress, keep)
        return _remember(network, data, run.terms, run.rows, run.done, about, resumed)


def sum_backward(terms: Tensor) -> None:
    """Adds the gradient of the lecture's loss, the sum of its terms (tasks,), to the weights'."""
    terms.sum().backward()


def _settings(steps: int, batch_size: int, learning_rate: float) -> dict:
    check_dtype()
    check_gradients()
    steps, batch_size = (whole("steps", steps, least=1), whole("batch_size", batch_size, least=1))
    if not (isinstance(learning_rate, (int, float)) and 0 < learning_rate < float("inf")):
        raise ValueError(f"learning_rate must be a number above 0; got {learning_rate!r}.")
    return {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}


def _check(network: Network, data: Dataset) -> None:
    check_fit(network, data)
    if frozen(network):
        raise ValueError("network is frozen, so there is nothing to train: free the head at least.")
    if data.tasks and not (data.labels != UNKNOWN).any():
        raise ValueError("data must hold at least one known label; all of them are UNKNOWN.")


def _train(run: engine.Run, progress: bool, keep: Callable[[], None] | None = None) -> None:
    """Takes the steps of a run that are left; `keep` is called now and then."""
    first, steps = run.done, len(run.rows)
    step, cores = functools.partial(engine.step, run), Cores()
    # Another's backward may ask the CPU in between, which a recording would leave out.
    records = run.place.device.type == "cuda" and run.backward is sum_backward
    bar = tqdm(total=steps, initial=first, desc="training", disable=not progress, leave=False)
    try:
        for done in range(first + 1, steps + 1):
            step()
            if done - first == _BEFORE_RECORDING and records:
                step = engine.recorded(step)
            if done % _LOOK_EVERY == 0:
                cores.look()
            if done % _READ_EVERY == 0 or done == steps:
                bar.set_postfix(loss=f"{run.read(max(0, done - _READ_EVERY), done):.3f}")
                bar.update(done - bar.n)
                if keep and (done % _SAVE_EVERY == 0 or done == steps):
                    keep()
    except KeyboardInterrupt:
        _log.warning(
            "Interrupted after %d of %d steps: the network stays as it is now.", run.done, steps
        )
    finally:
        bar.close()
        run.finish()


# ---------------------------------------------------------------------- many networks


@on_cpu()
def fit_many(
    networks: Sequence[Network],
    data: Dataset | Sequence[Dataset],
    *,
    steps: int,
    seeds: Sequence[int],
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    device: str | None = None,
    precision: str | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> list[pd.DataFrame]:
    """Does for K networks of one kind what K calls of `fit` would do, in less time.

    Each has its own weights and seed, and its own `data`, unless one dataset is given for all. On a
    GPU those that the course builds train side by side in one pass, and agree with what `fit` does
    up to rounding; others, such as backbones, train one after another. Elsewhere each trains in a
    process of one thread, `jobs` at once (None: as many as there are cores), and agrees with `fit`
    on one thread bit for bit.

    Returns: the histories, in order.
    Raises: ValueError if networks, data and seeds are not as many, or if networks differ in their
        layers, their answers or what is frozen; and what `fit` raises.
    """
    settings = _settings(steps, batch_size, learning_rate)
    data = [data] * len(networks) if isinstance(data, Dataset) else list(data)
    if not len(networks) == len(data) == len(seeds) > 0:
        got = f"{len(networks)} networks, {len(data)} datasets and {len(seeds)} seeds"
        raise ValueError(f"networks, data and seeds must be as many, and at least one; got {got}.")
    first = kind(networks[0], data[0])
    for network, own in zip(networks, data, strict=True):
        _check(network, own)
        if kind(network, own) != first:
            raise ValueError(
                "networks must have the same layers, answers, frozen parts and images."
            )
    place = machine(device, precision)
    if place.device.type != "cpu":
        prepare(progress)
        return _side_by_side(networks, data, seeds, place, progress, settings)
    settings |= {"device": str(place.device), "precision": place.precision}
    return _in_processes(networks, data, seeds, jobs, progress, settings)


def kind(network: Network, data: Dataset) -> tuple:
    """Return what networks must share to train together: layers, answers, and size of images."""
    return network.names, signature(network), tuple(data.images.shape[1:]), bool(data.tasks)


def _side_by_side(
    networks: Sequence[Network],
    data: Sequence[Dataset],
    seeds: Sequence[int],
    place: Machine,
    progress: bool,
    settings: dict,
) -> list[pd.DataFrame]:
    """Train those whose batches have one size in one pass, if their layers can be grouped."""
    groups: dict[int, list[int]] = {}
    for k, own in enumerate(data):
        groups.setdefault(min(settings["batch_size"], len(own)), []).append(k)
    parts = list(groups.values())
    if not all(groupable(n.head if frozen(n.trunk) else n) for n in networks):
        _log.warning(
            "These networks have layers that do not train side by side: one after another."
        )
        parts = [[k] for k in range(len(networks))]
    histories: dict[int, pd.DataFrame] = {}
    for group in parts:
        own = [[values[k] for k in group] for values in (networks, data, seeds)]
        with contextlib.ExitStack() as stack:
            for context in (
                threads(1),
                place.stream(),
                *(borrowed(n, place.device) for n in own[0]),
            ):
                stack.enter_context(context)
            run = engine.Run(*own, place, sum_backward, **settings)
            _train(run, progress)
            terms, rows, done = run.terms.cpu(), run.rows.cpu(), run.done
        for at, k in enumerate(group):
            about = _describe(networks[k], data[k], place, seed=seeds[k], **settings)
            part = (terms, rows) if len(group) == 1 else (terms[:, at], rows[:, at])
            histories[k] = _remember(networks[k], data[k], *part, done, about)
        if done < settings["steps"] and len(histories) < len(networks):
            raise KeyboardInterrupt  # there would be networks that nobody has begun to train
    return [histories[k] for k in range(len(networks))]


def _in_processes(
    networks: Sequence[Network],
    data: Sequence[Dataset],
    seeds: Sequence[int],
    jobs: int | None,
    progress: bool,
    settings: dict,
) -> list[pd.DataFrame]:
    """Each trains in a process of one thread, which sends back what `fit` has changed."""
    jobs = min(joblib.cpu_count() if jobs is None else whole("jobs", jobs, least=1), len(seeds))
    work = [
        joblib.delayed(_elsewhere)(network, own, seed, settings)
        for network, own, seed in zip(networks, data, seeds, strict=True)
    ]
    trained = joblib.Parallel(n_jobs=jobs, return_as="generator")(work)
    bar = tqdm(trained, total=len(seeds), desc="training", unit="network", disable=not progress,
               leave=False)  # fmt: skip
    for network, (state, runs, history) in zip(networks, bar, strict=True):
        network.load_state_dict(state)
        network.eval()
        network._runs, network.history = runs, history
    return [network._runs[-1][1] for network in networks]


def _elsewhere(network: Network, data: Dataset, seed: int, settings: dict) -> tuple:
    """Runs in a worker."""
    with threads(1):
        fit(network, data, seed=seed, progress=False, **settings)
    return network.state_dict(), network._runs, network.history


# ---------------------------------------------------------------------- what is remembered


def _describe(network: Network, data: Dataset, place: Machine, **settings: float) -> dict:
    """What must agree for a run to go on from a checkpoint."""
    stride = max(1, len(data) // 1000)  # a digest of every image would cost more than a step
    content = hashlib.sha256(data.images[::stride].cpu().numpy().tobytes())
    content.update(data.labels.cpu().numpy().tobytes())
    trains = [name for name, p in network.named_parameters() if p.requires_grad]
    about = {"images": len(data), "data": content.hexdigest(), "trains": " ".join(trains)}
    return about | {"precision": place.precision, **settings}


def _remember(
    network: Network,
    data: Dataset,
    terms: Tensor,
    rows: Tensor,
    done: int,
    about: dict,
    resumed: bool = False,
) -> pd.DataFrame:
    """The history of this run, which `network.history` joins to those of earlier runs.

    terms: (steps, terms). rows: int64 (steps, batch).
    """
    history = pd.DataFrame(terms[:done].cpu().numpy(), columns=list(data.tasks) or ["loss"])
    if data.tasks:
        history.insert(0, "loss", history.sum(axis=1))
    history.index.name = "step"
    seen = _labels_seen(data, rows[:done].cpu())
    history.attrs = {"interrupted": done < len(rows), "labels": seen}
    runs = getattr(network, "_runs", [])
    if resumed and runs and runs[-1][0] == about:
        runs = runs[:-1]  # the same run, gone on with: its steps are all in this history
    network._runs = [*runs, (about, history)]
    network.history = pd.concat([part for _, part in network._runs], ignore_index=True)
    labels = {task: sum(h.attrs["labels"][task] for _, h in network._runs) for task in data.tasks}
    network.history.attrs = history.attrs | {"labels": labels}
    return history


def _labels_seen(data: Dataset, rows: Tensor) -> dict[str, int]:
    """How many known labels each task has among the images of these batches.

    rows: int64 (steps so far, batch).
    """
    visits = torch.bincount(rows.flatten(), minlength=len(data))
    known = data.labels.cpu() != UNKNOWN
    return {task: int(visits[known[:, j]].sum()) for j, task in enumerate(data.tasks)}
