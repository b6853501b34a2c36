"""Labels made unknown (M4), one where there were many (against M3), and a choice among them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mtl_course.base import derive_seed
from mtl_course.datasets._dataset import UNKNOWN, Dataset


def hide(
    data: Dataset, fraction: float | Sequence[float], *, seed: int, weight: Tensor | None = None
) -> Dataset:
    """Return the same images with some of their labels made UNKNOWN: the lecture's '?' (M4).

    Of the n known labels of a task, round(fraction × n) are hidden. Which ones depends on
    (seed, the task's name), not on the other tasks, and from one seed a larger fraction hides what
    a smaller one hides and more.

    fraction: a number in [0, 1], or one for each task, in order.
    weight: floating point (m, tasks), finite, at least 0; None hides at random. With weights the
        labels of a task are drawn one after another, each in proportion to its weight among those
        left; weight 0 is hidden only after all others. That is hiding *not* at random.
    Raises: ValueError if `data` has classes, `fraction` or `weight` is not as stated here, or no
        known label would be left.
    Source: P. Efraimidis and P. Spirakis, Weighted random sampling with a reservoir, 2006.
    """
    if not data.tasks:
        raise ValueError("data must have tasks; a class cannot be hidden.")
    weight = torch.ones(data.labels.shape, device="cpu") if weight is None else weight
    _check_weight(weight, data)
    log_weight = weight.detach().cpu().double().log().numpy()
    labels = data.labels.clone()
    for j, share in enumerate(_fractions(fraction, len(data.tasks))):
        generator = np.random.default_rng(derive_seed(seed, f"hide {data.tasks[j]}"))
        luck = generator.gumbel(size=len(data))
        # The order of log(weight) + Gumbel noise is that of drawing in proportion to weight.
        order = torch.from_numpy(np.lexsort((luck, luck + log_weight[:, j]))[::-1].copy())
        known = order[(data.labels[:, j].cpu() != UNKNOWN)[order]]
        labels[known[: round(share * len(known))], j] = UNKNOWN
    if not (labels != UNKNOWN).any():
        raise ValueError(f"fraction hides every label, so nothing can be learned; got {fraction}.")
    return replace(data, labels=labels)


def _fractions(fraction: float | Sequence[float], tasks: int) -> list[float]:
    try:
        shares = np.asarray(fraction, dtype=float)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.shape not in ((), (tasks,)):
        raise ValueError(f"fraction must be one number or {tasks}, one a task; got {fraction!r}.")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"fraction must be in [0, 1]; got {fraction}.")
    return np.broadcast_to(shares, tasks).tolist()


def _check_weight(weight: Tensor, data: Dataset) -> None:
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        got = getattr(weight, "dtype", type(weight).__name__)
        raise ValueError(f"weight must be a tensor of floating point; got {got}.")
    if (shape := tuple(weight.shape)) != (want := tuple(data.labels.shape)):
        raise ValueError(f"weight must have shape {want}; got {shape}.")
    if len(wrong := weight[~(weight.isfinite() & (weight >= 0))]):
        raise ValueError(f"weight must be finite and at least 0; got {wrong[0].item()}.")


def one_label(data: Dataset, *, seed: int) -> Dataset:
    """Return the same images with one class each, as softmax regression wants them (against M3).

    The classes are the tasks and "none of them". An image's class is one of the tasks whose answer
    is 1, drawn at random, or "none of them"; an unknown answer counts as not 1.

    Raises: ValueError if `data` has no tasks, or one that is called "none of them".
    """
    if not data.tasks:
        raise ValueError("data must have tasks; it has one class an image already.")
    generator = np.random.default_rng(derive_seed(seed, "one label"))
    lots = torch.from_numpy(generator.random(data.labels.shape)).to(data.labels.device)
    highest, task = lots.masked_fill(data.labels != 1, -1).max(dim=1)  # (m,)
    labels = task.masked_fill(highest < 0, len(data.tasks))
    return replace(data, labels=labels, classes=(*data.tasks, "none of them"), tasks=())


def only(data: Dataset, names: Sequence[str]) -> Dataset:
    """Return the images of these classes alone; with tasks, all images with these tasks' labels.

    names: of classes or tasks. Their order is that of the new classes or tasks.
    Raises: ValueError for a name that `data` does not have, or one given twice.
    """
    if unknown := [name for name in names if name not in data.names]:
        raise ValueError(f"names must be of {', '.join(data.names)}; got {unknown[0]!r}.")
    columns = torch.tensor([data.names.index(name) for name in names])
    if data.tasks:
        return replace(data, labels=data.labels[:, columns], tasks=tuple(names))
    hits = data.labels.cpu()[:, None] == columns  # (m, names)
    chosen = data.subset(hits.any(dim=1).nonzero().flatten())
    labels = hits[hits.any(dim=1)].int().argmax(dim=1).to(chosen.labels.device)
    return replace(chosen, labels=labels, classes=tuple(names))
