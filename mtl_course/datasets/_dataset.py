"""The `Dataset`: m images with their labels, checked once, when it is made.

A `Dataset` keeps its images as bytes; a batch becomes floating point only when `normalise` meets it
on the device that trains.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

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
        matrix transposed, as Y of shape (tasks, m).
    Raises: ValueError when a shape, a dtype, a label or a name is not as stated here.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "tasks", tuple(self.tasks))
        check_tensor("images", self.images, torch.uint8, ", values 0 … 255")
        if self.images.ndim != 4 or 0 in self.images.shape:
            shape = f"(m, channels, height, width) and not be empty; got {tuple(self.images.shape)}"
            raise ValueError(f"images must have shape {shape}.")
        if bool(self.classes) == bool(self.tasks):
            raise ValueError("give either classes or tasks: the names of what the labels mean.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"class and task names must differ; got {', '.join(self.names)}.")
        check_tensor("labels", self.labels, torch.int8 if self.tasks else torch.int64)
        check_labels(self.labels, (len(self), len(self.names)), bool(self.classes))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> tuple[str, ...]:
        """What a network that learns this dataset answers: one output per name."""
        return self.classes or self.tasks

    def subset(self, rows: Tensor | Sequence[int] | slice) -> Self:
        """Return the images and labels at `rows`, in that order.

        Raises: ValueError if no row is left or `rows` are not whole numbers (a mask is not).
        """
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, device="cpu")  # from where every device takes them
            if len(rows) and (rows.dtype == torch.bool or rows.is_floating_point()):
                raise ValueError(f"rows must be row numbers; got {rows.dtype}.")
            rows = rows.long()
        return replace(self, images=self.images[rows], labels=self.labels[rows])

    def sample(self, n: int, seed: int) -> Self:
        """Draw n images without replacement, with classes as evenly over them as n allows.

        Raises: ValueError if `n` is larger than the dataset, or too small for one image a class.
        """
        n = check_count("n", n, least=1)
        if n > len(self):
            raise ValueError(f"n must be at most the {len(self):,} images there are; got {n:,}.")
        generator = np.random.default_rng(derive_seed(seed, "sample"))
        order = generator.permutation(len(self))
        if self.classes:  # its first n rows are to take every class in turn
            labels = self.labels.cpu().numpy()[order]
            present, turn = np.unique(labels), np.empty(len(order))
            if n < (least := len(present)):
                raise ValueError(f"n must be at least {least}, one image for each class; got {n}.")
            for label in generator.permutation(present):
                turn[labels == label] = np.arange((labels == label).sum())
            lottery = generator.permutation(len(self.classes))  # of which classes get one more
            order = order[np.lexsort((lottery[labels], turn))]
        return self.subset(order[:n])


def check_tensor(name: str, value: object, dtype: torch.dtype, words: str = "") -> None:
    """Raise ValueError if `value` is no tensor of this dtype. words: what else to say of it."""
    if not isinstance(value, Tensor) or value.dtype != dtype:
        got = getattr(value, "dtype", type(value).__name__)
        raise ValueError(f"{name} must be a tensor of {dtype}{words}; got {got}.")


def check_labels(labels: Tensor, shape: tuple[int, int], classes: bool) -> None:
    """Raise ValueError if labels are not those of m images: each a class, or one for each task.

    shape: (m, names), of the classes or of the tasks.
    """
    want = shape[:1] if classes else shape
    if tuple(labels.shape) != want:
        raise ValueError(f"labels must have shape {want}; got {tuple(labels.shape)}.")
    low, high = (0, shape[1] - 1) if classes else (UNKNOWN, 1)
    if len(wrong := labels[(labels < low) | (labels > high)]):
        allowed = f"0 … {high}, one per class" if classes else "0, 1 or UNKNOWN (-1)"
        raise ValueError(f"labels must be {allowed}; got {wrong[0].item()}.")


def normalise(images: Tensor) -> Tensor:
    """Scale bytes to numbers, on whatever device they lie: 0 … 255 becomes −1 … 1.

    images: uint8 (m, channels, height, width). Returns: float32, the same shape.
    The scale is fixed, not fitted: task A and task B see the same x (T1).
    """
    return images.float().div_(127.5).sub_(1)


class Split(NamedTuple):
    """What may be learned from, and what is touched once, at the end."""

    train: Dataset
    test: Dataset


def stored(folder: str | Path) -> Dataset:
    """Open a dataset on disk; its images stay there until they are needed.

    folder: holds images.npy, labels.npy and names.json, as `python -m mtl_course scenes` writes.
    Raises: FileNotFoundError; ValueError if a file is damaged or they do not fit together.
    """
    folder = Path(folder)
    if not (folder / "names.json").exists():
        raise FileNotFoundError(f"folder {folder} holds no dataset: names.json is not there.")
    try:
        names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        # "c" maps the file copy-on-write: torch wants memory that it could write to
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("images", "labels")]
        return Dataset(*map(torch.from_numpy, arrays), **names)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise ValueError(f"folder {folder} is damaged ({error}): write it again.") from error
