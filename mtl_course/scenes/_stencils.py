"""Sprites and grounds as stencils: how much of each pixel each part covers, in 64ths.

They count 8 × 8 points a pixel: whole numbers, so that painting is exact on every processor.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtl_course.scenes._sprites import KINDS, PARTS, SCALES, Kind, Look
from mtl_course.scenes._world import BENDS, HORIZONS, SLOTS, WIDTHS, slots_of

POINTS = 8  # counted along each side of a pixel
FULL = POINTS * POINTS  # a pixel that is covered all over: weights are in 64ths
LAYERS = ("sky", "low sky", "far ground", "ground", "far road", "road", "line", "kerb")


class Stencils(NamedTuple):
    """All looks at all distances, one after another; entry e holds pixels start[e] onwards."""

    margin: int  # pixels by which the widest sprite sticks out of its foot
    first: Tensor  # int64 (slots,): look l at distance d is entry first + l * len(SCALES) + d
    start: Tensor  # int64 (entries,)
    length: Tensor  # int64 (entries,)
    offset: Tensor  # int64 (pixels,), from the foot, on a canvas with a margin on both sides
    weights: Tensor  # float64 (PARTS + 1, pixels), of each part and of what is behind; sum: FULL
    face: Tensor  # bool (pixels,), where its face covers more than half
    thin: Tensor  # bool (pixels,), where what is behind covers at least half


@functools.lru_cache(maxsize=8)
def stencils(size: int, device: str) -> Stencils:
    """Return the stencils for pictures of `size` × `size` pixels, drawn once for a device."""
    first, length, pieces = {}, [], []
    for name, kind in KINDS.items():
        first[name] = len(length)
        nearest = min(SLOTS[slot].nearest for slot in slots_of(name))
        for look, (distance, scale) in itertools.product(kind.looks, enumerate(SCALES)):
            if distance >= nearest:
                pieces.append(_stencil(look, kind, size * scale / 64))
            length.append(len(pieces[-1][0]) if distance >= nearest else 0)
    right, down, weights, face = map(np.concatenate, zip(*pieces, strict=True))
    margin = int(np.abs(right).max())
    first, start = [first[slot.kind] for slot in SLOTS], np.cumsum(length) - length
    offset, thin = down * (size + 2 * margin) + right, weights[:, PARTS] * 2 >= FULL
    weights = weights.T.astype(np.float64, order="C")
    arrays = (first, start, length, offset, weights, face, thin)
    return Stencils(margin, *(torch.tensor(array, device=device) for array in arrays))


def _stencil(look: Look, kind: Kind, unit: float) -> tuple[np.ndarray, ...]:
    """Return one look at one distance, where the picture's side has `unit` pixels.

    Returns: right and down (pixels,) of the pixels that it touches, the weights of its parts and of
        what is behind (pixels, PARTS + 1), and where its face covers more than half.
    """
    width, height = kind.box
    reach, rise = int(width * unit / 2) + 1, int(height * unit) + 1
    x = (np.arange(-reach * POINTS, (reach + 1) * POINTS) + 0.5 - POINTS / 2) / (POINTS * unit)
    y = (rise * POINTS - np.arange(rise * POINTS) - 0.5) / (POINTS * unit)  # the top row first
    x, y = x[None, :], y[:, None]
    part = np.full((y.size, x.size), PARTS)
    for number, shape in look:
        part[np.broadcast_to(shape(x, y), part.shape)] = number
    weights = _counts(part, PARTS + 1)  # (rise, 2 reach + 1, PARTS + 1)
    down, right = np.nonzero(weights[..., PARTS] < FULL)
    weights = weights[down, right]
    face = weights[:, kind.face].sum(axis=-1) * 2 > FULL
    return right - reach, down - rise + 1, weights, face


def _counts(points: np.ndarray, numbers: int) -> np.ndarray:
    """Return how many points of each pixel have each number, (rows, columns, numbers)."""
    rows, columns = (length // POINTS for length in points.shape)
    tiles = points.reshape(rows, POINTS, columns, POINTS)
    return np.stack([(tiles == number).sum(axis=(1, 3)) for number in range(numbers)], axis=-1)


@functools.lru_cache(maxsize=8)
def grounds(size: int, device: str) -> Tensor:
    """Return the weights of sky, ground and road, in 64ths, drawn once, with the margins.

    Returns: float64 (horizons, bends, widths, layers, size · (size + 2 margin)).
    """
    margin = stencils(size, device).margin
    roads = itertools.product(HORIZONS, BENDS, WIDTHS)
    pictures = [_ground(size, margin, *(share / 64 for share in road)) for road in roads]
    shape = (len(HORIZONS), len(BENDS), len(WIDTHS), len(LAYERS), -1)
    return torch.tensor(np.stack(pictures), device=device).view(shape)


def _ground(size: int, margin: int, horizon: float, bend: float, width: float) -> np.ndarray:
    points = (np.arange(-margin * POINTS, (size + margin) * POINTS) + 0.5) / (size * POINTS)
    x, y = points[None, :], points[margin * POINTS : (margin + size) * POINTS, None]
    near = np.clip((y - horizon) / (1 - horizon), 0, 1)  # 0 at the horizon, 1 at the bottom
    off = np.abs(x - 0.5 - bend * (1 - near) ** 2)
    dash = (near * 9 / (near + 0.35)) % 1 < 0.55
    half = width * near  # of the road
    which = [y < horizon, (off < 0.035 * near) & dash, off < half, off < half * 1.18]
    weights = _counts(np.select(which, [1, 6, 5, 7], default=3), len(LAYERS))
    rows = (np.arange(size) + 0.5) / size
    far = np.where(rows < horizon, 1 - rows / horizon, 1 - (rows - horizon) / (1 - horizon))
    for upper in (0, 2, 4):  # sky, ground and road fade from one color into another
        part = (weights[..., upper + 1] * far[:, None] ** (1 if upper == 0 else 3)).astype(int)
        weights[..., upper] += part
        weights[..., upper + 1] -= part
    return weights.reshape(-1, len(LAYERS)).T.astype(np.float64)
