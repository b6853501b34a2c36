"""Ways to combine the tasks' gradients on the trunk they share, and to watch them (lesson 06).

Each is a `backward` for `training.fit`: it takes the task losses and adds to each weight's `grad`.
The aggregators are torchjd's (Quinton and Rey 2024), which the extra ``aggregators`` installs.
"""

import itertools
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.devices import seeded
from mtl_course.gradients import of_each_task
from mtl_course.networks import Network
from mtl_course.training import sum_backward

Backward = Callable[[Tensor], None]

AGGREGATORS = ("PCGrad", "MGDA", "CAGrad", "UPGrad")
CAGRAD_C = 0.5  # how far from the mean it may go; its authors' scripts use 0.4 to 0.9


class Watch:
    """A `backward` for the plain sum that also records the tasks' gradients now and then.

    data: the batch whose gradients are recorded, the same every time. at: the steps before which
    they are, counted from 0. gradients: float32 (tasks, weights of the trunk), by step.
    """

    def __init__(self, network: Network, data: Dataset, at: Collection[int]) -> None:
        self._network, self._data, self._at, self._step = network, data, set(at), 0
        self.gradients: dict[int, Tensor] = {}

    def __call__(self, task_losses: Tensor) -> None:
        """Record if it is time, then add the gradient of the sum. task_losses: float32 (tasks,)."""
        if self._step in self._at:
            self.gradients[self._step] = of_each_task(self._network, self._data).cpu()
        self._step += 1
        sum_backward(task_losses)


def weighted(weights: Sequence[float]) -> Backward:
    """Return a `backward` for Σⱼ wⱼ times task j's part of the loss. weights: one a task, ≥ 0.

    Raises: ValueError for a weight below 0, or if none is above it.
    """
    factors = torch.tensor(weights, dtype=torch.float32, device="cpu")
    if factors.ndim != 1 or not (factors >= 0).all() or not factors.any():
        raise ValueError(f"weights must be numbers of 0 or above, not all 0; got {weights!r}.")

    def backward(task_losses: Tensor) -> None:
        if len(task_losses) != len(factors):
            raise ValueError(f"weights must be one a task, {len(task_losses)}; got {len(factors)}.")
        sum_backward(task_losses * factors.to(task_losses.device))

    return backward


def uncertain(tasks: int, learning_rate: float) -> Backward:
    """Return a `backward` for Σⱼ ½ exp(−sⱼ) Lⱼ + ½ sⱼ, where sⱼ is learned (Kendall et al. 2018).

    This is torchjd's form; for classification the paper leaves the first ½ out, which moves each sⱼ
    by log 2. tasks: their number. learning_rate: of the sⱼ, in an Adam of their own, constant.
    """
    from torchjd.scalarization import UW

    with torch.device("cpu"):  # whatever the default is
        combine = UW(tasks).float()
    optimizer = torch.optim.Adam(combine.parameters(), learning_rate)

    def backward(task_losses: Tensor) -> None:
        combine.to(task_losses.device)
        optimizer.zero_grad()
        combine(task_losses).backward()
        optimizer.step()

    return backward


def aggregated(network: Network, name: str, seed: int = 0) -> Backward:
    """Return a `backward` in which one of torchjd's aggregators combines the trunk's gradients.

    The head's weights serve one task each, so there is nothing to combine there.

    name: one of `AGGREGATORS`. PCGrad projects away what conflicts, pair by pair (Yu et al. 2020);
        MGDA takes the shortest vector among the gradients' weighted means (Sener and Koltun 2018);
        CAGrad the best for the worst task near the mean (Liu et al. 2021); UPGrad the mean of the
        gradients, each projected so that it opposes none (Quinton and Rey 2024).
    seed: decides PCGrad's order of the tasks, which it draws anew at each step.
    Raises: ValueError for another name, or if the whole trunk is frozen.
    """
    from torchjd.autojac import backward as jacobians
    from torchjd.autojac import jac_to_grad

    combine, parts = aggregator(name), (network.trunk, network.head)
    trunk, head = ([p for p in part.parameters() if p.requires_grad] for part in parts)
    steps = itertools.count()
    if not trunk:
        raise ValueError("network must have a trunk that trains, or there is nothing to combine.")

    def backward(task_losses: Tensor) -> None:
        torch.autograd.backward(task_losses.sum(), inputs=head, retain_graph=True)
        jacobians(task_losses, inputs=trunk, parallel_chunk_size=1)
        with seeded(derive_seed(seed, f"step {next(steps)}")):
            jac_to_grad(trunk, combine)

    return backward


def aggregator(name: str) -> Callable[[Tensor], Tensor]:
    """Return torchjd's aggregator of that name: gradients (tasks, weights) → (weights,).

    Raises: ValueError if it is not one of `AGGREGATORS`.
    """
    from torchjd import aggregation

    if name not in AGGREGATORS:
        raise ValueError(f"name must be one of {', '.join(AGGREGATORS)}; got {name!r}.")
    settings = {"c": CAGRAD_C} if name == "CAGrad" else {}
    return getattr(aggregation, name)(**settings)
