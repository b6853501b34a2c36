"""`fit_many`: what many calls of `fit` would do, side by side on a GPU, in processes on a CPU."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import joblib
import pandas as pd
from tqdm.auto import tqdm

from mtl_course import devices
from mtl_course.base import check_count, threads
from mtl_course.datasets import Dataset
from mtl_course.networks import Network, frozen, signature
from mtl_course.training._fit import BATCH_SIZE, LEARNING_RATE, fit, sum_backward, take_steps
from mtl_course.training._history import describe, remember
from mtl_course.training._run import Run, check_settings, check_trainable
from mtl_course.training._side_by_side import groupable

_log = logging.getLogger(__name__)


@devices.on_cpu()
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
    """Do for K networks of one kind what K calls of `fit` would do, in less time.

    Each has its own weights and seed, and its own `data`, unless one dataset is given for all. On a
    GPU the course's own networks train side by side in one pass, and agree with what `fit` does up
    to rounding; others, such as backbones, train one after another. Elsewhere each trains in a
    process of one thread, `jobs` at once (None: one a core), and agrees with `fit` on one thread
    bit for bit.

    Returns: the histories, in order.
    Raises: ValueError if there are not as many networks, datasets and seeds, or if the networks
        differ in layers, answers or what is frozen; and what `fit` raises.
    """
    settings = check_settings(steps, batch_size, learning_rate)
    data = [data] * len(networks) if isinstance(data, Dataset) else list(data)
    if not len(networks) == len(data) == len(seeds) > 0:
        got = f"{len(networks)} networks, {len(data)} datasets and {len(seeds)} seeds"
        raise ValueError(f"networks, data and seeds must be as many, and at least one; got {got}.")
    for network, own in zip(networks, data, strict=True):
        check_trainable(network, own)
        if kind(network, own) != kind(networks[0], data[0]):
            raise ValueError(
                "networks must have the same layers, answers, frozen parts and images."
            )
    machine = devices.machine(device, precision)
    if machine.device.type == "cpu":
        settings |= {"device": "cpu", "precision": machine.precision}
        return _in_processes(networks, data, seeds, jobs, progress, settings)
    devices.prepare(progress)
    return _side_by_side(networks, data, seeds, machine, progress, settings)


def kind(network: Network, data: Dataset) -> tuple:
    """Return what networks must share to train together: layers, answers, and size of images."""
    return network.names, signature(network), tuple(data.images.shape[1:]), bool(data.tasks)


def _side_by_side(
    networks: Sequence[Network],
    data: Sequence[Dataset],
    seeds: Sequence[int],
    machine: devices.Machine,
    progress: bool,
    settings: dict,
) -> list[pd.DataFrame]:
    """Train networks with equal batch sizes in one pass, if their layers can be grouped."""
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
            stack.enter_context(threads(1))
            stack.enter_context(machine.own_stream())
            for network in own[0]:
                stack.enter_context(devices.borrowed(network, machine.device))
            run = Run(*own, machine, sum_backward, **settings)
            take_steps(run, progress)
            losses, batches, done = run.losses.cpu(), run.batches.cpu(), run.done
        for place, k in enumerate(group):
            about = describe(networks[k], data[k], machine, seed=seeds[k], **settings)
            part = (losses, batches) if len(group) == 1 else (losses[:, place], batches[:, place])
            histories[k] = remember(networks[k], data[k], *part, done, about)
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
    """Train each in a process of one thread, which sends back what `fit` has changed."""
    jobs = joblib.cpu_count() if jobs is None else check_count("jobs", jobs, least=1)
    trained = joblib.Parallel(n_jobs=min(jobs, len(seeds)), return_as="generator")(
        joblib.delayed(_elsewhere)(network, own, seed, settings)
        for network, own, seed in zip(networks, data, seeds, strict=True)
    )
    bar = tqdm(trained, total=len(seeds), desc="training", unit="network", disable=not progress,
               leave=False)  # fmt: skip
    for network, (state, runs, history) in zip(networks, bar, strict=True):
        network.load_state_dict(state)
        network.eval()
        network._runs, network.history = runs, history
    return [network._runs[-1][1] for network in networks]


def _elsewhere(network: Network, data: Dataset, seed: int, settings: dict) -> tuple:
    """Train a network in a worker."""
    with threads(1):
        fit(network, data, seed=seed, progress=False, **settings)
    return network.state_dict(), network._runs, network.history
