"""What stands in a driving scene and how it looks: sprites, drawn once as stencils.

A stencil says how much of each pixel each part of a sprite covers, in 64ths; the colours come
later, from a palette. Stencils are counted on 8 × 8 points a pixel and are whole numbers, so that
`world` can paint in exact arithmetic: the same picture on every processor, CPU or GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

POINTS = 8  # counted along each side of a pixel
FULL = POINTS * POINTS  # a pixel that is covered all over: weights are in 64ths
PARTS = 4  # colours in the palette of a sprite

SCALES = (64, 56, 48, 41, 35, 30, 26, 22, 19, 16)
"""How large a sprite is at each distance, the nearest first, in 64ths of its full size."""

Where = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A shape: which points (x to the right of the middle, y up from the ground) lie in it."""


class Sprite(NamedTuple):
    """One look of one kind of thing.

    shapes: (part, shape), painted in this order. Lengths are shares of the picture's side, for
        the nearest distance.
    width, height: of the box that holds all shapes.
    telling: the parts by which the thing is known; a sign is its face, not its pole.
    nearest: the distance, a number of `SCALES`, nearer than which it never stands.
    """

    shapes: Sequence[tuple[int, Where]]
    width: float
    height: float
    telling: Sequence[int] = (0, 1, 2, 3)
    nearest: int = 0


# ---------------------------------------------------------------------- shapes


def _box(left: float, right: float, low: float, high: float) -> Where:
    return lambda x, y: (x >= left) & (x < right) & (y >= low) & (y < high)


def _disc(x0: float, y0: float, across: float, tall: float | None = None) -> Where:
    """An ellipse of the width `across` and the height `tall` around (x0, y0)."""
    a, b = across / 2, (tall or across) / 2
    return lambda x, y: ((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 < 1


def _ring(x0: float, y0: float, across: float, thick: float) -> Where:
    outer, inner = _disc(x0, y0, across), _disc(x0, y0, across - 2 * thick)
    return lambda x, y: outer(x, y) & ~inner(x, y)


def _diamond(x0: float, y0: float, across: float) -> Where:
    return lambda x, y: np.abs(x - x0) + np.abs(y - y0) < across / 2


def _octagon(x0: float, y0: float, across: float) -> Where:
    half = across / 2  # corners are cut where |x| + |y| exceeds √2 · half
    return lambda x, y: (
        (np.abs(x - x0) < half)
        & (np.abs(y - y0) < half)
        & (np.abs(x - x0) + np.abs(y - y0) < 1.4142 * half)
    )


def _slant(low: tuple[float, float], high: tuple[float, float], thick: float) -> Where:
    """A bar of the width `thick` from the point `low` up to the point `high`."""
    (x0, y0), (x1, y1) = low, high
    lean = (x1 - x0) / (y1 - y0)
    return lambda x, y: (y >= y0) & (y < y1) & (np.abs(x - x0 - lean * (y - y0)) < thick / 2)


def _gable(left: float, right: float, low: float, high: float) -> Where:
    """A triangle that stands on the line from (left, low) to (right, low)."""
    middle, half = (left + right) / 2, (right - left) / 2
    return lambda x, y: (y >= low) & (np.abs(x - middle) * (high - low) < half * (high - y))


def _mirrored(sprite: Sprite) -> Sprite:
    def turned(shape: Where) -> Where:
        return lambda x, y: shape(-x, y)

    return sprite._replace(shapes=[(part, turned(shape)) for part, shape in sprite.shapes])


# ---------------------------------------------------------------------- the things


def _pedestrian(tall: float, stride: float) -> Sprite:
    """Parts: top, trousers, skin, hair."""
    leg = 0.16 * tall
    return Sprite(
        [
            (1, _slant((-stride * tall, 0.0), (-0.05 * tall, 0.5 * tall), leg)),
            (1, _slant((stride * tall, 0.0), (0.05 * tall, 0.5 * tall), leg)),
            (2, _slant((-0.2 * tall, 0.42 * tall), (-0.13 * tall, 0.76 * tall), 0.09 * tall)),
            (2, _slant((0.2 * tall, 0.42 * tall), (0.13 * tall, 0.76 * tall), 0.09 * tall)),
            (0, _disc(0, 0.62 * tall, 0.34 * tall, 0.42 * tall)),
            (2, _disc(0, 0.89 * tall, 0.2 * tall, 0.22 * tall)),
            (3, _box(-0.1 * tall, 0.1 * tall, 0.93 * tall, tall)),
        ],
        width=0.6 * tall,
        height=tall,
    )


def _car_end(tall: float, wide: float) -> Sprite:
    """A car or van from the front or the back. Parts: body, glass, tyres, lamps."""
    half = wide / 2
    return Sprite(
        [
            (2, _box(-half, -0.6 * half, 0, 0.25 * tall)),
            (2, _box(0.6 * half, half, 0, 0.25 * tall)),
            (0, _box(-half, half, 0.12 * tall, 0.6 * tall)),
            (0, _box(-0.8 * half, 0.8 * half, 0.55 * tall, tall)),
            (1, _box(-0.66 * half, 0.66 * half, 0.6 * tall, 0.9 * tall)),
            (3, _disc(-0.72 * half, 0.42 * tall, 0.2 * wide, 0.2 * tall)),
            (3, _disc(0.72 * half, 0.42 * tall, 0.2 * wide, 0.2 * tall)),
        ],
        width=wide,
        height=tall,
        nearest=1,
    )


_CAR_SIDE = Sprite(  # driving to the left. Parts: body, glass, tyres, lamps
    [
        (0, _box(-0.31, 0.31, 0.045, 0.15)),
        (0, _disc(0.03, 0.14, 0.42, 0.22)),
        (1, _disc(0.03, 0.15, 0.33, 0.15)),
        (0, _box(-0.31, 0.31, 0.045, 0.145)),
        (0, _box(0.01, 0.05, 0.1, 0.22)),
        (2, _disc(-0.19, 0.05, 0.13)),
        (2, _disc(0.19, 0.05, 0.13)),
        (3, _box(-0.31, -0.27, 0.09, 0.135)),
    ],
    width=0.64,
    height=0.26,
    nearest=1,
)

_CYCLIST = Sprite(  # riding to the left. Parts: top, trousers, skin and helmet, bicycle
    [
        (3, _ring(-0.15, 0.1, 0.2, 0.026)),
        (3, _ring(0.15, 0.1, 0.2, 0.026)),
        (3, _slant((-0.15, 0.1), (-0.1, 0.26), 0.026)),
        (3, _slant((0.02, 0.08), (0.06, 0.22), 0.026)),
        (3, _box(-0.1, 0.07, 0.17, 0.195)),
        (1, _slant((0.0, 0.05), (0.055, 0.26), 0.07)),
        (0, _slant((0.07, 0.22), (-0.03, 0.4), 0.12)),
        (2, _slant((-0.12, 0.24), (-0.03, 0.37), 0.045)),
        (2, _disc(-0.05, 0.44, 0.11)),
    ],
    width=0.52,
    height=0.5,
)

_POLE = _box(-0.018, 0.018, 0, 0.42)

_STOP_SIGN = Sprite(  # parts: red, white, pole
    [
        (2, _POLE),
        (1, _octagon(0, 0.53, 0.27)),
        (0, _octagon(0, 0.53, 0.235)),
        (1, _box(-0.092, 0.092, 0.497, 0.563)),
    ],
    width=0.28,
    height=0.68,
    telling=(0, 1),
)

_ROUND_SIGN = Sprite(  # "no vehicles": a red ring around white. Parts: red, white, pole
    [(2, _POLE), (0, _disc(0, 0.53, 0.27)), (1, _disc(0, 0.53, 0.155))],
    width=0.28,
    height=0.68,
    telling=(0, 1),
)

_DIAMOND = Sprite(  # "priority road". Parts: yellow, white, pole
    [(2, _POLE), (1, _diamond(0, 0.53, 0.3)), (0, _diamond(0, 0.53, 0.22))],
    width=0.3,
    height=0.68,
    telling=(0, 1),
)


def _traffic_light(lit: int) -> Sprite:
    """Parts: housing, dark lamps, the lit lamp (0 red at the top, 1 yellow, 2 green), pole."""
    lamps = [(2 if i == lit else 1, _disc(0, 0.67 - 0.115 * i, 0.105)) for i in range(3)]
    return Sprite(
        [(3, _box(-0.02, 0.02, 0, 0.4)), (0, _box(-0.082, 0.082, 0.36, 0.75)), *lamps],
        width=0.17,
        height=0.76,
        telling=(0, 1, 2),
    )


_LAMP_POST = Sprite(  # parts: lamp, pole
    [
        (1, _box(-0.018, 0.018, 0, 0.8)),
        (1, _box(-0.018, 0.12, 0.77, 0.8)),
        (0, _disc(0.12, 0.76, 0.15, 0.08)),
    ],
    width=0.42,
    height=0.82,
    nearest=2,
)

_MAILBOX = Sprite(  # parts: box, slot, post
    [
        (2, _box(-0.025, 0.025, 0, 0.14)),
        (0, _box(-0.085, 0.085, 0.11, 0.28)),
        (0, _disc(0, 0.28, 0.17, 0.09)),
        (1, _box(-0.055, 0.055, 0.225, 0.25)),
    ],
    width=0.18,
    height=0.34,
)


def _building(wide: float, tall: float, columns: int, rows: int, gable: float) -> Sprite:
    """Parts: wall, windows, roof, door."""
    half = wide / 2
    shapes: list[tuple[int, Where]] = [(0, _box(-half, half, 0, tall))]
    for i in range(columns):
        for j in range(rows):
            left = -half + wide * (i + 0.25) / columns
            low = tall * (0.12 + 0.86 * (j + 0.2) / rows)
            size = (wide * 0.5 / columns, tall * 0.48 / rows)
            shapes.append((1, _box(left, left + size[0], low, low + size[1])))
    shapes.append((3, _box(-0.06, 0.06, 0, 0.16)))
    roof = _gable(-1.1 * half, 1.1 * half, tall, tall + gable)
    shapes.append((2, roof if gable else _box(-half, half, tall - 0.03, tall + 0.02)))
    return Sprite(shapes, width=1.1 * wide, height=tall + gable + 0.02, nearest=6)


def _tree(round_crown: bool) -> Sprite:
    """Parts: crown, its light side, trunk."""
    trunk = (2, _box(-0.04, 0.04, 0, 0.36))
    if round_crown:
        crown = [(0, _disc(0, 0.53, 0.46, 0.5)), (1, _disc(-0.06, 0.6, 0.24, 0.26))]
    else:
        crown = [
            (0, _gable(-0.22, 0.22, 0.18, 0.58)),
            (0, _gable(-0.17, 0.17, 0.44, 0.86)),
            (1, _gable(-0.1, 0.0, 0.48, 0.74)),
        ]
    return Sprite([trunk, *crown], width=0.48, height=0.88, nearest=3)


_CLOUD = Sprite(  # parts: white, shade
    [
        (1, _disc(0, 0.07, 0.5, 0.12)),
        (0, _disc(-0.09, 0.11, 0.24, 0.14)),
        (0, _disc(0.08, 0.12, 0.28, 0.16)),
    ],
    width=0.5,
    height=0.22,
    nearest=3,
)

_SUN = Sprite([(0, _disc(0, 0.09, 0.18))], width=0.18, height=0.18, nearest=3)  # by night, the moon

KINDS: dict[str, Sequence[Sprite]] = {
    "pedestrian": (
        _pedestrian(0.58, 0.05),
        _pedestrian(0.58, 0.17),
        _pedestrian(0.52, 0.11),
        _pedestrian(0.4, 0.08),  # a child
    ),
    "car": (_car_end(0.3, 0.4), _car_end(0.42, 0.42), _CAR_SIDE, _mirrored(_CAR_SIDE)),
    "stop sign": (_STOP_SIGN,),
    "traffic light": tuple(_traffic_light(lit) for lit in range(3)),
    "cyclist": (_CYCLIST, _mirrored(_CYCLIST)),
    "round sign": (_ROUND_SIGN,),
    "yellow diamond": (_DIAMOND,),
    "lamp post": (_LAMP_POST, _mirrored(_LAMP_POST)),
    "mailbox": (_MAILBOX,),
    "building": (
        _building(0.9, 0.5, 3, 1, gable=0.3),
        _building(1.1, 0.75, 4, 2, gable=0.0),
        _building(0.75, 1.35, 3, 4, gable=0.0),
    ),
    "tree": (_tree(True), _tree(False)),
    "cloud": (_CLOUD,),
    "sun": (_SUN,),
}
"""Every kind of thing, with its looks."""


# ---------------------------------------------------------------------- stencils


class Stencils(NamedTuple):
    """All sprites at all distances, one after another; entry e holds pixels start[e] onwards.

    first: the number of a kind's first look; look l at distance d is entry
        ``(first[kind] + l) * len(SCALES) + d``.
    aside: pixels by which the widest sprite sticks out of its foot.
    start, length: int64 (entries,).
    offset: int64 (pixels,), from the foot of the sprite, on a canvas with such a margin on
        both sides.
    weights: int64 (pixels,), bytes from the lowest: the weight of each part, the weight of what
        is behind (all of them add up to FULL), and 1 where parts that tell what it is cover more
        than half, else 0.
    """

    first: dict[str, int]
    aside: int
    start: Tensor
    length: Tensor
    offset: Tensor
    weights: Tensor


@functools.lru_cache(maxsize=8)
def stencils(size: int, device: str) -> Stencils:
    """The stencils for pictures of `size` × `size` pixels, on `device`; drawn once."""
    if device != "cpu":
        first, aside, *tensors = stencils(size, "cpu")
        return Stencils(first, aside, *(tensor.to(device) for tensor in tensors))
    first, looks = {}, []
    for kind, sprites in KINDS.items():
        first[kind] = len(looks)
        looks += sprites
    parts = [
        _stencil(look, size * scale / 64 if distance >= look.nearest else 0.0)
        for look in looks
        for distance, scale in enumerate(SCALES)
    ]
    length = torch.tensor([len(right) for right, *_ in parts], device="cpu")
    right, down, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    aside = int(np.abs(right).max())
    offset = down * (size + 2 * aside) + right
    start = length.cumsum(0) - length
    return Stencils(first, aside, start, length, *map(torch.from_numpy, (offset, weights)))


def _stencil(sprite: Sprite, unit: float) -> tuple[np.ndarray, ...]:
    """One sprite at one distance, `unit` pixels to the picture's side; nothing for 0 pixels.

    Returns: right, down and weights of the pixels that it touches.
    """
    if not unit:
        return tuple(np.empty((3, 0), np.int64))
    reach, rise = int(sprite.width * unit / 2) + 1, int(sprite.height * unit) + 1
    x = (np.arange(-reach * POINTS, (reach + 1) * POINTS) + 0.5 - POINTS / 2) / (POINTS * unit)
    y = (rise * POINTS - np.arange(rise * POINTS) - 0.5) / (POINTS * unit)  # the top row first
    x, y = x[None, :], y[:, None]
    part = np.full((y.size, x.size), PARTS)
    for number, shape in sprite.shapes:
        part[np.broadcast_to(shape(x, y), part.shape)] = number
    tiles = part.reshape(rise, POINTS, 2 * reach + 1, POINTS)
    weights = np.stack([(tiles == number).sum(axis=(1, 3)) for number in range(PARTS)], axis=-1)
    down, right = np.nonzero(weights.sum(axis=-1))
    weights = weights[down, right]  # (pixels, PARTS)
    behind = FULL - weights.sum(axis=-1)
    telling = weights[:, list(sprite.telling)].sum(axis=-1) * 2 > FULL
    columns = [*weights.T, behind, telling]
    packed = sum(column.astype(np.int64) << 8 * i for i, column in enumerate(columns))
    return right - reach, down - rise + 1, packed


# ---------------------------------------------------------------------- the ground they stand on

HORIZONS = (26, 29, 32)  # of 64: the height of the horizon, down from the top
BENDS = (-24, -11, 0, 11, 24)  # of 64: how far the road's far end lies to the right
WIDTHS = (20, 29)  # of 64: half of the road, at the bottom of the picture
LAYERS = ("sky", "low sky", "far ground", "ground", "far road", "road", "line", "kerb")


@functools.lru_cache(maxsize=8)
def grounds(size: int, device: str) -> Tensor:
    """Sky, ground and road for every horizon, bend and width, drawn once, with the margins.

    Returns: float64 (horizons · bends · widths, layers, size · (size + 2 aside)), whole 64ths that
        add up to 1.
    """
    if device != "cpu":
        return grounds(size, "cpu").to(device)
    aside = stencils(size, "cpu").aside
    pictures = [
        _ground(size, aside, horizon / 64, bend / 64, width / 64)
        for horizon in HORIZONS
        for bend in BENDS
        for width in WIDTHS
    ]
    return torch.from_numpy(np.stack(pictures))


def road(size: int, device: str) -> Tensor:
    """Where the middle of the road lies. Returns: int64 (bends, SCALES), pixels from the left."""
    near = torch.tensor(SCALES, device=device)  # the far end is at distance 0, the near end at 64
    bends = torch.tensor(BENDS, device=device)[:, None]
    return (32 * 64 * 64 + bends * (64 - near) ** 2) * size // (64 * 64 * 64)


def _ground(size: int, aside: int, horizon: float, bend: float, width: float) -> np.ndarray:
    points = (np.arange(-aside * POINTS, (size + aside) * POINTS) + 0.5) / (size * POINTS)
    x, y = points[None, :], points[aside * POINTS : (aside + size) * POINTS, None]
    near = np.clip((y - horizon) / (1 - horizon), 0, 1)  # 0 at the horizon, 1 at the bottom
    off = np.abs(x - 0.5 - bend * (1 - near) ** 2)
    layer = np.where(y < horizon, 1, 3) + 0 * x.astype(int)
    layer[(y >= horizon) & (off < width * near * 1.18)] = 7
    layer[(y >= horizon) & (off < width * near)] = 5
    dash = (near * 9 / (near + 0.35)) % 1 < 0.55
    layer[(y >= horizon) & (off < 0.035 * near) & dash] = 6
    tiles = layer.reshape(size, POINTS, size + 2 * aside, POINTS)
    numbers = range(len(LAYERS))
    weights = np.stack([(tiles == number).sum(axis=(1, 3)) for number in numbers], axis=-1)
    rows = (np.arange(size) + 0.5) / size
    far = np.where(rows < horizon, 1 - rows / horizon, 1 - (rows - horizon) / (1 - horizon))
    for upper in (0, 2, 4):  # sky, ground and road fade from one colour into another
        part = (weights[..., upper + 1] * far[:, None] ** (1 if upper == 0 else 3)).astype(int)
        weights[..., upper] += part
        weights[..., upper + 1] -= part
    return weights.reshape(-1, len(LAYERS)).T.astype(np.float64)
