"""The history of a network's training: its losses, and from how many labels it has learned."""

from __future__ import annotations

import hashlib

import pandas as pd
import torch
from torch import Tensor

from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.devices import Machine
from mtl_course.networks import Network


def describe(network: Network, data: Dataset, machine: Machine, **settings: float) -> dict:
    """Return what must agree for a run to resume from a checkpoint."""
    stride = max(1, len(data) // 1000)  # a digest of every image would cost more than a step
    content = hashlib.sha256(data.images[::stride].cpu().numpy().tobytes())
    content.update(data.labels.cpu().numpy().tobytes())
    trains = [name for name, p in network.named_parameters() if p.requires_grad]
    about = {"images": len(data), "data": content.hexdigest(), "trains": " ".join(trains)}
    return about | {"precision": machine.precision, **settings}


def remember(
    network: Network,
    data: Dataset,
    losses: Tensor,
    batches: Tensor,
    done: int,
    about: dict,
    resumed: bool = False,
) -> pd.DataFrame:
    """Return the history of this run, which `network.history` joins to those of earlier runs.

    losses: float32 (steps, tasks). batches: int64 (steps, batch).
    """
    history = pd.DataFrame(losses[:done].cpu().numpy(), columns=list(data.tasks) or ["loss"])
    if data.tasks:
        history.insert(0, "loss", history.sum(axis=1))
    history.index.name = "step"
    seen = _labels_seen(data, batches[:done].cpu())
    history.attrs = {"interrupted": done < len(batches), "labels": seen}
    runs = getattr(network, "_runs", [])
    if resumed and runs and runs[-1][0] == about:
        runs = runs[:-1]  # the same run, resumed: its steps are all in this history
    network._runs = [*runs, (about, history)]
    network.history = pd.concat([part for _, part in network._runs], ignore_index=True)
    labels = {task: sum(h.attrs["labels"][task] for _, h in network._runs) for task in data.tasks}
    network.history.attrs = history.attrs | {"labels": labels}
    return history


def _labels_seen(data: Dataset, batches: Tensor) -> dict[str, int]:
    """Return how many known labels each task has among the images of these batches.

    batches: int64 (steps so far, batch).
    """
    visits = torch.bincount(batches.flatten(), minlength=len(data))
    known = data.labels.cpu() != UNKNOWN
    return {task: int(visits[known[:, j]].sum()) for j, task in enumerate(data.tasks)}
