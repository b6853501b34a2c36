"""Images and their labels: the `Dataset`, hiding labels, printed digits and handwritten digits.

Everything starts here. A `Dataset` keeps its images as bytes and is checked once, when it is made;
a batch becomes floating point only when `normalise` meets it on the device that trains.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtl_course.base import stream, whole

UNKNOWN = -1
"""The label of a question nobody has answered, the lecture's '?' (M4)."""


# ---------------------------------------------------------------------- the dataset


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
        n = whole("n", n, least=1)
        if n > len(self):
            raise ValueError(f"n must be at most the {len(self):,} images there are; got {n:,}.")
        generator = np.random.default_rng(stream(seed, "sample"))
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


# ---------------------------------------------------------------------- other labels


def hide(
    data: Dataset, fraction: float | Sequence[float], *, seed: int, weight: Tensor | None = None
) -> Dataset:
    """The same images with some of their labels made UNKNOWN: the lecture's '?' (M4).

    Of the n labels of a task that are known, round(fraction × n) are hidden. Which ones depends on
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
    weight = _weights(weight, data).detach().cpu().double() if weight is not None else None
    labels = data.labels.clone()
    for j, share in enumerate(_fractions(fraction, len(data.tasks))):
        generator = np.random.default_rng(stream(seed, f"hide {data.tasks[j]}"))
        luck = generator.gumbel(size=len(data))
        # The order of log(weight) + Gumbel noise is that of drawing in proportion to weight.
        even = 0.0 if weight is None else weight[:, j].log().numpy()
        order = np.lexsort((luck, even + luck))[::-1].copy()
        order = torch.from_numpy(order)
        known = order[(data.labels[:, j].cpu() != UNKNOWN)[order]]
        labels[known[: round(share * len(known))], j] = UNKNOWN
    if not (labels != UNKNOWN).any():
        raise ValueError(f"fraction hides every label, so nothing can be learned; got {fraction}.")
    return replace(data, labels=labels)


def _fractions(fraction: float | Sequence[float], tasks: int) -> list[float]:
    try:
        shares = np.asarray(fraction, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"fraction must be a number or one a task; got {fraction!r}.") from None
    if shares.shape not in ((), (tasks,)):
        raise ValueError(f"fraction must be one number or {tasks}, one a task; got {fraction}.")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"fraction must be in [0, 1]; got {fraction}.")
    return np.broadcast_to(shares, tasks).tolist()


def _weights(weight: Tensor, data: Dataset) -> Tensor:
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        got = getattr(weight, "dtype", type(weight).__name__)
        raise ValueError(f"weight must be a tensor of floating point; got {got}.")
    if weight.shape != data.labels.shape:
        want = tuple(data.labels.shape)
        raise ValueError(f"weight must have shape {want}; got {tuple(weight.shape)}.")
    wrong = weight[~(weight.isfinite() & (weight >= 0))]
    if len(wrong):
        raise ValueError(f"weight must be finite and at least 0; got {wrong[0].item()}.")
    return weight


def one_label(data: Dataset, *, seed: int) -> Dataset:
    """The same images with one class each, as softmax regression wants them (against M3).

    The classes are the tasks and "none of them". An image's class is one of the tasks whose answer
    is 1, drawn at random, or "none of them"; an unknown answer counts as not 1.

    Raises: ValueError if `data` has no tasks, or one that is called "none of them".
    """
    if not data.tasks:
        raise ValueError("data must have tasks; it has one class an image already.")
    generator = np.random.default_rng(stream(seed, "one label"))
    lots = torch.from_numpy(generator.random(data.labels.shape)).to(data.labels.device)
    highest, task = lots.masked_fill(data.labels != 1, -1).max(dim=1)  # (m,)
    labels = task.masked_fill(highest < 0, len(data.tasks))
    return replace(data, labels=labels, classes=(*data.tasks, "none of them"), tasks=())


# ---------------------------------------------------------------------- pixels


def stored(folder: str | os.PathLike) -> Dataset:
    """A dataset that was written to disk, its images left there until they are asked for.

    folder: holds images.npy, labels.npy and names.json, as `python -m mtl_course.scenes` writes.
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


def normalise(images: Tensor) -> Tensor:
    """Bytes to numbers, on whatever device they lie: 0 … 255 becomes −1 … 1.

    images: uint8 (m, channels, height, width). Returns: float32, the same shape.
    The scale is fixed, not fitted: task A and task B see the same x (T1).
    """
    return images.float().div_(127.5).sub_(1)


# ---------------------------------------------------------------------- printed digits (task A)

DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHJK")
"""Ten letters, without I, which is a 1 in many typefaces."""

TYPEFACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{style}10" for style in ("r", "b", "ti", "ss", "tt")),
)
"""The typefaces task A is printed in: text faces that every matplotlib ships."""

_BLOCK = 1024  # images drawn together; image i is row i % _BLOCK of block i // _BLOCK
_PAPER = 32  # pixels on a side before the picture is averaged down to 8 × 8
_GLYPH = 64  # pixels on a side of a stored glyph, which fills the middle half


def printed_digits(
    count: int,
    seed: int,
    start: int = 0,
    device: str = "cpu",
    characters: Sequence[str] = DIGITS,
) -> Dataset:
    """Task A of lesson 01: digits printed in many typefaces, as many as you like.

    Each is a glyph in a random typeface, turned, sheared, stretched, moved, thinned or fattened,
    drawn on 32 × 32 pixels, averaged down to 8 × 8 as the handwritten digits were, and given a
    random contrast. Image i is a pure function of (seed, i): drawing [start, start + count) gives
    the same images as a slice of a longer draw.

    characters: what is printed in place of the ten digits, such as `LETTERS`.
    Returns: images uint8 (count, 1, 8, 8) and labels int64 (count,), a class a character, on
        `device`.
    Raises: ValueError if `count` is below 1, `seed` or `start` is negative, or `characters` are
        not two or more single characters.
    """
    count, start = whole("count", count, least=1), whole("start", start, least=0)
    seed, characters = whole("seed", seed, least=0), tuple(characters)
    if len(characters) < 2 or any(len(character) != 1 for character in characters):
        raise ValueError(f"characters must be two or more single ones; got {characters}.")
    glyphs = _glyphs(characters).to(device)
    images, labels = [], []
    for draws, rows in _blocks(seed, start, count):
        digit = (draws[:, 0] * len(characters)).astype(np.int64)
        face = (draws[:, 1] * len(TYPEFACES)).astype(np.int64)
        moves = torch.from_numpy(2 * draws[:, 2:] - 1).to(device)  # (block, 9) in [-1, 1)
        block = _print(glyphs[torch.from_numpy(face), torch.from_numpy(digit)], moves)
        images.append(block[rows])
        labels.append(torch.from_numpy(digit)[rows].to(device))
    return Dataset(torch.cat(images), torch.cat(labels), classes=characters)


def _blocks(seed: int, start: int, count: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Random numbers for whole blocks, and which of their rows were asked for.

    Yields: float32 (_BLOCK, 11) in [0, 1), and a slice of its rows.
    """
    for block in range(start // _BLOCK, (start + count - 1) // _BLOCK + 1):
        sequence = np.random.SeedSequence(seed, spawn_key=(block,))
        draws = np.random.Generator(np.random.SFC64(sequence)).random((_BLOCK, 11), np.float32)
        first = block * _BLOCK
        yield draws, slice(max(start - first, 0), min(start + count - first, _BLOCK))


def _print(glyphs: Tensor, moves: Tensor) -> Tensor:
    """Glyphs under a random affine map, with random weight of the strokes and random contrast.

    glyphs: float32 (m, 64, 64), the signed distance to the outline, in pixels of the paper.
    moves: float32 (m, 9) in [-1, 1). Returns: uint8 (m, 1, 8, 8).
    """
    turn, shear = moves[:, 0] * 0.20, moves[:, 1] * 0.35  # radians; sideways per unit of height
    wide, tall = 0.85 + moves[:, 2] * 0.20, 1 + moves[:, 3] * 0.10
    right, down = moves[:, 4] * 0.15, moves[:, 5] * 0.08  # of half the paper
    cos, sin = turn.cos(), turn.sin()
    # Where on the glyph each point of the paper lies: the inverse of the map that moves the glyph.
    affine = torch.stack(
        [
            torch.stack([(cos + shear * sin) / wide, (sin - shear * cos) / wide, right], dim=1),
            torch.stack([-sin / tall, cos / tall, down], dim=1),
        ],
        dim=1,
    )  # (m, 2, 3)
    affine = affine / 2  # a glyph fills the middle half of its own picture
    size = (len(glyphs), 1, _PAPER, _PAPER)
    points = torch.nn.functional.affine_grid(affine, size, align_corners=False)  # (m, 32, 32, 2)
    distance = torch.nn.functional.grid_sample(
        glyphs[:, None], points, padding_mode="border", align_corners=False
    )  # (m, 1, 32, 32)
    thicker = (0.9 + moves[:, 6] * 1.1)[:, None, None, None]  # pixels of the paper
    ink = (distance + thicker + 0.5).clamp_(0, 1)
    ink = torch.nn.functional.avg_pool2d(ink, _PAPER // 8)  # (m, 1, 8, 8)
    contrast = (0.92 + moves[:, 7] * 0.08)[:, None, None, None]
    gamma = (moves[:, 8] * 0.3).exp()[:, None, None, None]
    return (ink.pow(gamma) * contrast * 255).round_().to(torch.uint8)


@functools.lru_cache(maxsize=2)
def _glyphs(characters: tuple[str, ...]) -> Tensor:
    """Each in every typeface, as the signed distance from its outline (inside is positive).

    Returns: float32 (typefaces, characters, 64, 64), in pixels of the 32 × 32 paper.
    """
    import matplotlib
    from matplotlib.ft2font import FT2Font, LoadFlags

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    size = (len(TYPEFACES), len(characters), _GLYPH, _GLYPH)
    glyphs = torch.empty(size, dtype=torch.float32, device="cpu")
    for face, name in enumerate(TYPEFACES):
        font = FT2Font(str(folder / f"{name}.ttf"))
        font.set_size(144, 72)  # 144 pixels to the em: outlines stay sharp when shrunk
        for number, character in enumerate(characters):
            font.set_text(character, flags=LoadFlags.NO_HINTING)
            font.draw_glyphs_to_bitmap()
            glyphs[face, number] = _distance(np.asarray(font.get_image()) > 127)
    return glyphs


def _distance(ink: np.ndarray) -> Tensor:
    """The signed distance to the outline of one glyph, its height scaled to the paper's.

    ink: bool (any height, any width). Returns: float32 (64, 64), in pixels of the paper.
    """
    from scipy.ndimage import distance_transform_edt

    ink = ink[ink.any(axis=1)][:, ink.any(axis=0)]
    height, width = ink.shape
    side = 2 * height  # the glyph fills the middle half
    sheet = np.zeros((side, side), bool)
    top, left = height // 2, height - width // 2
    sheet[top : top + height, left : left + width] = ink
    signed = distance_transform_edt(sheet) - distance_transform_edt(~sheet)
    signed = torch.from_numpy(signed.astype(np.float32))[None, None] * (_PAPER / height)
    return torch.nn.functional.interpolate(signed, (_GLYPH, _GLYPH), mode="area")[0, 0]


# ---------------------------------------------------------------------- handwritten digits (task B)


class Split(NamedTuple):
    """What may be learned from, and what is touched once, at the end."""

    train: Dataset
    test: Dataset


_POOL = 900  # images; neighbours share a writer, so the split is one cut, not a shuffle


def handwritten_digits() -> Split:
    """Task B of lesson 01: the 1,797 real handwritten digits that scikit-learn ships.

    The first 900 are the pool to learn from, the last 897 the test. Writers sit next to each other
    in the file; a random split would put the same hand on both sides.

    Returns: `train` and `test`, images uint8 (m, 1, 8, 8), labels int64 (m,), ten classes.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = torch.from_numpy(digits.images).float()[:, None]  # 0 … 16 inked pixels of 4 × 4
    images = (grey * (255 / 16)).round().to(torch.uint8)  # (1797, 1, 8, 8)
    everything = Dataset(images, torch.from_numpy(digits.target).long(), classes=DIGITS)
    return Split(everything.subset(slice(_POOL)), everything.subset(slice(_POOL, None)))
