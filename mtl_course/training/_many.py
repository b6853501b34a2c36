"""`fit_many`: what many calls of `fit` would do, side by side on a GPU."""

import logging
from collections.abc import Sequence

import pandas as pd

from mtl_course import devices
from mtl_course.datasets import Dataset
from mtl_course.networks import Network, frozen, signature
from mtl_course.training import _run
from mtl_course.training._fit import BATCH_SIZE, LEARNING_RATE, train
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
    progress: bool = True,
) -> list[pd.DataFrame]:
    """Do for K networks of one kind what K calls of `fit` would do, on a GPU in less time.

    Each has its own weights and seed, and its own `data`, unless one dataset is given for all. On a
    GPU the course's own networks train side by side in one pass, and agree with what `fit` does up
    to rounding. Others, such as backbones, and on a CPU all, train one after another.

    Returns: the histories, in order.
    Raises: ValueError if there are not as many networks, datasets and seeds, or if the networks
        differ in layers, answers or what is frozen; and what `fit` raises; KeyboardInterrupt, when
        interrupted before all networks have begun to train.
    """
    settings = _run.check_settings(steps, batch_size, learning_rate)
    data = [data] * len(networks) if isinstance(data, Dataset) else list(data)
    if not len(networks) == len(data) == len(seeds) > 0:
        got = f"{len(networks)} networks, {len(data)} datasets and {len(seeds)} seeds"
        raise ValueError(f"networks, data and seeds must be as many, and at least one; got {got}.")
    for network, own in zip(networks, data, strict=True):
        _run.check_trainable(network, own)
        if kind(network, own) != kind(networks[0], data[0]):
            raise ValueError("networks must have the same layers, answers, frozen parts, images.")
    machine = devices.machine(device, precision)
    alone = [[k] for k in range(len(networks))]
    parts = alone if machine.device.type == "cpu" else _groups(networks, data, batch_size)
    works = list(zip(networks, data, seeds, strict=True))
    return _in_parts(parts, works, machine, progress, settings)


def kind(network: Network, data: Dataset) -> tuple:
    """Return what networks must share to train together: layers, answers, and size of images."""
    return network.names, signature(network), tuple(data.images.shape[1:]), bool(data.tasks)


def _groups(networks: Sequence[Network], data: Sequence[Dataset], batch_size: int) -> list[list]:
    """Return the numbers of networks that train in one pass: those with equal batch sizes."""
    groups: dict[int, list[int]] = {}
    able = all(groupable(n.head if frozen(n.trunk) else n) for n in networks)
    if not able:
        _log.warning("These networks have layers that do not train side by side: one by one.")
    for k, own in enumerate(data):
        groups.setdefault(min(batch_size, len(own)) if able else -k, []).append(k)
    return list(groups.values())


def _in_parts(
    parts: list, works: list[tuple], machine: devices.Machine, progress: bool, settings: dict
) -> list[pd.DataFrame]:
    """Train the networks of each part in one pass. works: network, data and seed of each."""
    histories: dict[int, pd.DataFrame] = {}
    for part in parts:
        found = train([works[k] for k in part], machine, settings, progress)
        histories |= zip(part, found, strict=True)
        if histories[part[0]].attrs["interrupted"] and len(histories) < len(works):
            raise KeyboardInterrupt  # there are networks that nobody has begun to train
    return [histories[k] for k in range(len(works))]
