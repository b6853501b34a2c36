"""`fit_many`: what many calls of `fit` would do, side by side on a GPU."""

import logging
from collections.abc import Sequence

import pandas as pd

from mtl_course import devices
from mtl_course.datasets import Dataset
from mtl_course.networks import Network, frozen, signature
from mtl_course.training import _run
from mtl_course.training._fit import BATCH_SIZE, LEARNING_RATE, sum_backward, take_steps
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
    works = list(zip(networks, data, seeds, strict=True))
    return _in_groups(works, machine, settings, progress, machine.device.type != "cpu")


def kind(network: Network, data: Dataset) -> tuple:
    """Return what networks must share to train together: layers, answers, and size of images."""
    return network.names, signature(network), tuple(data.images.shape[1:]), bool(data.tasks)


def _in_groups(
    works: list[tuple], machine: devices.Machine, settings: dict, progress: bool, together: bool
) -> list[pd.DataFrame]:
    """Train networks, `together` those with equal batch sizes in one pass, else one by one.

    works: network, data and seed of each.
    """
    if together and not all(groupable(n.head if frozen(n.trunk) else n) for n, _, _ in works):
        _log.warning("These networks have layers that do not train side by side: one by one.")
        together = False
    groups: dict[int, list[int]] = {}
    for k, (_, data, _) in enumerate(works):
        batch = min(settings["batch_size"], len(data))
        groups.setdefault(batch if together else -k, []).append(k)
    devices.prepare(progress)
    histories: dict[int, pd.DataFrame] = {}
    for group in groups.values():
        own = [works[k] for k in group]
        with _run.borrowing(own, machine, sum_backward, settings) as run:
            take_steps(run, progress)
            histories |= zip(group, run.histories(), strict=True)
        if histories[group[0]].attrs["interrupted"] and len(histories) < len(works):
            raise KeyboardInterrupt  # there are networks that nobody has begun to train
    return [histories[k] for k in range(len(works))]
