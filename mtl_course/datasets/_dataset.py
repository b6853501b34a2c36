"""The `Dataset`: m images with their labels, checked once, when it is made.

A `Dataset` keeps its images as bytes; a batch becomes floating point only when `normalise` meets it
on the device that trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtl_course.base import check_count, derive_seed

UNKNOWN = -1
"""The label of a question nobody has answered, the lecture's '?' (M4)."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """m images with their labels, either of one question with many classes or of many yes/no tasks.

    images: uint8 (m, channels, height, width).
    labels: int64 (m,), a class index each, when `classes` names the classes;
        int8 (m, tasks) in {0, 1, UNKNOWN} when `tasks` names the tasks. The lecture writes this
        matrix turned over, as Y of shape (tasks, m).
    Raises: ValueError when a shape, a dtype, a label or a name is not as stated here.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "tasks", tuple(self.tasks))
        _check_images(self.images)
        if bool(self.classes) == bool(self.tasks):
            raise ValueError("give either classes or tasks: the names of what the labels mean.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"class and task names must differ; got {', '.join(self.names)}.")
        dtype, shape = (
            (torch.int8, (len(self), len(self.tasks)))
            if self.tasks
            else (torch.int64, (len(self),))
        )
        if not isinstance(self.labels, Tensor) or self.labels.dtype != dtype:
            got = getattr(self.labels, "dtype", type(self.labels).__name__)
            raise ValueError(f"labels must be a tensor of {dtype}; got {got}.")
        if tuple(self.labels.shape) != shape:
            raise ValueError(f"labels must have shape {shape}; got {tuple(self.labels.shape)}.")
        low, high = (UNKNOWN, 1) if self.tasks else (0, len(self.classes) - 1)
        wrong = self.labels[(self.labels < low) | (self.labels > high)]
        if len(wrong):
            allowed = "0, 1 or UNKNOWN (-1)" if self.tasks else f"0 … {high}, one per class"
            raise ValueError(f"labels must be {allowed}; got {wrong[0].item()}.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> tuple[str, ...]:
        """What a network that learns this dataset answers: one output per name."""
        return self.classes or self.tasks

    def subset(self, rows: Tensor | Sequence[int] | slice) -> Dataset:
        """The images and labels at `rows`, in that order.

        Raises: ValueError if no row is left or `rows` are not whole numbers (a mask is not).
        """
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, device="cpu")  # from where every device takes them
            if len(rows) and (rows.dtype == torch.bool or rows.is_floating_point()):
                raise ValueError(f"rows must be row numbers; got {rows.dtype}.")
            rows = rows.long()
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def sample(self, n: int, seed: int) -> Dataset:
        """n images drawn without replacement; with classes, as even over the classes as n allows.

        Raises: ValueError if `n` is larger than the dataset, or too small for one image a class.
        """
        n = check_count("n", n, least=1)
        if n > len(self):
            raise ValueError(f"n must be at most the {len(self):,} images there are; got {n:,}.")
        generator = np.random.default_rng(derive_seed(seed, "sample"))
        order = generator.permutation(len(self))
        if self.classes:
            order = self._stratified(order, n, generator)
        return self.subset(order[:n])

    def _stratified(self, order: np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
        """`order` re-sorted so that its first n rows take every class in turn."""
        labels = self.labels.cpu().numpy()
        present = np.unique(labels)
        if n < len(present):
            raise ValueError(
                f"n must be at least {len(present)}, one image for each class; got {n}."
            )
        labels = labels[order]
        turn = np.empty(len(order))
        for label in generator.permutation(present):  # which classes get one more is drawn too
            mine = labels == label
            turn[mine] = np.arange(mine.sum())
        lottery = generator.permutation(len(self.classes))
        return order[np.lexsort((lottery[labels], turn))]


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        got = getattr(images, "dtype", type(images).__name__)
        raise ValueError(f"images must be a tensor of torch.uint8, values 0 … 255; got {got}.")
    if images.ndim != 4:
        shape = tuple(images.shape)
        raise ValueError(f"images must have shape (m, channels, height, width); got {shape}.")
    if 0 in images.shape:
        raise ValueError(f"images must not be empty; got shape {tuple(images.shape)}.")


def normalise(images: Tensor) -> Tensor:
    """Bytes to numbers, on whatever device they lie: 0 … 255 becomes −1 … 1.

    images: uint8 (m, channels, height, width). Returns: float32, the same shape.
    The scale is fixed, not fitted: task A and task B see the same x (T1).
    """
    return images.float().div_(127.5).sub_(1)


class Split(NamedTuple):
    """What may be learned from, and what is touched once, at the end."""

    train: Dataset
    test: Dataset
