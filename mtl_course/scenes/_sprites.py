"""What stands in a driving scene and how it looks: each kind of thing, as shapes and parts."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

PARTS = 4  # colors in the palette of a sprite

SCALES = (64, 56, 48, 41, 35, 30, 26, 22, 19, 16)
"""The size of a sprite at each distance, the nearest first, in 64ths of its full size."""

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Return which points (x to the right of the middle, y up from the ground) lie in a shape."""

Look = Sequence[tuple[int, Shape]]  # parts of a thing and their shapes, painted in this order


class Kind(NamedTuple):
    """One kind of thing. Lengths are shares of the picture's side, when it is nearest."""

    looks: Sequence[Look]
    box: tuple[float, float]  # width and height, to hold all looks
    face: Sequence[int] = range(PARTS)  # by which it is recognized; a sign is not its pole


# ---------------------------------------------------------------------- shapes


def _box(left: float, right: float, low: float, high: float) -> Shape:
    return lambda x, y: (x >= left) & (x < right) & (y >= low) & (y < high)


def _disc(x0: float, y0: float, width: float, height: float | None = None) -> Shape:
    """Return an ellipse around (x0, y0), a circle without `height`."""
    a, b = width / 2, (height or width) / 2
    return lambda x, y: ((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 < 1


def _ring(x0: float, y0: float, width: float, thick: float) -> Shape:
    outer, inner = _disc(x0, y0, width), _disc(x0, y0, width - 2 * thick)
    return lambda x, y: outer(x, y) & ~inner(x, y)


def _diamond(x0: float, y0: float, width: float) -> Shape:
    return lambda x, y: np.abs(x - x0) + np.abs(y - y0) < width / 2


def _octagon(x0: float, y0: float, width: float) -> Shape:
    """Return a square whose corners are cut where |x| + |y| exceeds √2 · half its width."""
    cut = _diamond(x0, y0, 1.4142 * width)
    return lambda x, y: (np.maximum(np.abs(x - x0), np.abs(y - y0)) < width / 2) & cut(x, y)


def _slant(low: tuple[float, float], high: tuple[float, float], thick: float) -> Shape:
    """Return a bar of the width `thick` from the point `low` up to the point `high`."""
    (x0, y0), (x1, y1) = low, high
    lean = (x1 - x0) / (y1 - y0)
    return lambda x, y: (y >= y0) & (y < y1) & (np.abs(x - x0 - lean * (y - y0)) < thick / 2)


def _gable(left: float, right: float, low: float, high: float) -> Shape:
    """Return a triangle that stands on the line from (left, low) to (right, low)."""
    middle, half = (left + right) / 2, (right - left) / 2
    return lambda x, y: (y >= low) & (np.abs(x - middle) * (high - low) < half * (high - y))


def _both_ways(look: Look) -> tuple[Look, Look]:
    """Return the look and its mirror image."""
    return look, [(part, lambda x, y, shape=shape: shape(-x, y)) for part, shape in look]


# ---------------------------------------------------------------------- things


def _pedestrian(tall: float, stride: float) -> Look:
    """Parts: top, trousers, skin, hair."""
    return [
        (1, _slant((-stride * tall, 0.0), (-0.05 * tall, 0.5 * tall), 0.16 * tall)),
        (1, _slant((stride * tall, 0.0), (0.05 * tall, 0.5 * tall), 0.16 * tall)),
        (2, _slant((-0.2 * tall, 0.42 * tall), (-0.13 * tall, 0.76 * tall), 0.09 * tall)),
        (2, _slant((0.2 * tall, 0.42 * tall), (0.13 * tall, 0.76 * tall), 0.09 * tall)),
        (0, _disc(0, 0.62 * tall, 0.34 * tall, 0.42 * tall)),
        (2, _disc(0, 0.89 * tall, 0.2 * tall, 0.22 * tall)),
        (3, _box(-0.1 * tall, 0.1 * tall, 0.93 * tall, tall)),
    ]


def _car_end(tall: float, wide: float) -> Look:
    """Return a car or van from the front or the back. Parts: body, glass, tires, lamps."""
    half = wide / 2
    return [
        (2, _box(-half, -0.6 * half, 0, 0.25 * tall)),
        (2, _box(0.6 * half, half, 0, 0.25 * tall)),
        (0, _box(-half, half, 0.12 * tall, 0.6 * tall)),
        (0, _box(-0.8 * half, 0.8 * half, 0.55 * tall, tall)),
        (1, _box(-0.66 * half, 0.66 * half, 0.6 * tall, 0.9 * tall)),
        (3, _disc(-0.72 * half, 0.42 * tall, 0.2 * wide, 0.2 * tall)),
        (3, _disc(0.72 * half, 0.42 * tall, 0.2 * wide, 0.2 * tall)),
    ]


_CAR_SIDE = [  # driving to the left
    (0, _box(-0.31, 0.31, 0.045, 0.15)),
    (0, _disc(0.03, 0.14, 0.42, 0.22)),
    (1, _disc(0.03, 0.15, 0.33, 0.15)),
    (0, _box(-0.31, 0.31, 0.045, 0.145)),
    (0, _box(0.01, 0.05, 0.1, 0.22)),
    (2, _disc(-0.19, 0.05, 0.13)),
    (2, _disc(0.19, 0.05, 0.13)),
    (3, _box(-0.31, -0.27, 0.09, 0.135)),
]
_CYCLIST = [  # riding to the left. Parts: top, trousers, skin and helmet, bicycle
    (3, _ring(-0.15, 0.1, 0.2, 0.026)),
    (3, _ring(0.15, 0.1, 0.2, 0.026)),
    (3, _slant((-0.15, 0.1), (-0.1, 0.26), 0.026)),
    (3, _slant((0.02, 0.08), (0.06, 0.22), 0.026)),
    (3, _box(-0.1, 0.07, 0.17, 0.195)),
    (1, _slant((0.0, 0.05), (0.055, 0.26), 0.07)),
    (0, _slant((0.07, 0.22), (-0.03, 0.4), 0.12)),
    (2, _slant((-0.12, 0.24), (-0.03, 0.37), 0.045)),
    (2, _disc(-0.05, 0.44, 0.11)),
]

_POLE = (2, _box(-0.018, 0.018, 0, 0.42))
_STOP_SIGN = [  # parts: red, white, pole
    _POLE,
    (1, _octagon(0, 0.53, 0.27)),
    (0, _octagon(0, 0.53, 0.235)),
    (1, _box(-0.092, 0.092, 0.497, 0.563)),
]
_ROUND_SIGN = [_POLE, (0, _disc(0, 0.53, 0.27)), (1, _disc(0, 0.53, 0.155))]  # no vehicles
_DIAMOND = [_POLE, (1, _diamond(0, 0.53, 0.3)), (0, _diamond(0, 0.53, 0.22))]  # priority road


def _traffic_light(lit: int) -> Look:
    """Parts: housing, dark lamps, the lit lamp (0 red at the top, 1 yellow, 2 green), pole."""
    lamps = [(2 if i == lit else 1, _disc(0, 0.67 - 0.115 * i, 0.105)) for i in range(3)]
    return [(3, _box(-0.02, 0.02, 0, 0.4)), (0, _box(-0.082, 0.082, 0.36, 0.75)), *lamps]


_LAMP_POST = [  # parts: lamp, pole
    (1, _box(-0.018, 0.018, 0, 0.8)),
    (1, _box(-0.018, 0.12, 0.77, 0.8)),
    (0, _disc(0.12, 0.76, 0.15, 0.08)),
]
_MAILBOX = [  # parts: box, slot, post
    (2, _box(-0.025, 0.025, 0, 0.14)),
    (0, _box(-0.085, 0.085, 0.11, 0.28)),
    (0, _disc(0, 0.28, 0.17, 0.09)),
    (1, _box(-0.055, 0.055, 0.225, 0.25)),
]


def _building(wide: float, tall: float, columns: int, rows: int, gable: float) -> Look:
    """Parts: wall, windows, roof, door."""
    half, windows = wide / 2, []
    for i, j in itertools.product(range(columns), range(rows)):
        left, low = -half + wide * (i + 0.25) / columns, tall * (0.12 + 0.86 * (j + 0.2) / rows)
        right, high = left + wide * 0.5 / columns, low + tall * 0.48 / rows
        windows.append((1, _box(left, right, low, high)))
    flat = _box(-half, half, tall - 0.03, tall + 0.02)
    roof = _gable(-1.1 * half, 1.1 * half, tall, tall + gable) if gable else flat
    return [(0, _box(-half, half, 0, tall)), *windows, (3, _box(-0.06, 0.06, 0, 0.16)), (2, roof)]


_TRUNK = (2, _box(-0.04, 0.04, 0, 0.36))
_ROUND_TREE = [_TRUNK, (0, _disc(0, 0.53, 0.46, 0.5)), (1, _disc(-0.06, 0.6, 0.24, 0.26))]
_CONIFER = [  # parts: crown, its light side, trunk
    _TRUNK,
    (0, _gable(-0.22, 0.22, 0.18, 0.58)),
    (0, _gable(-0.17, 0.17, 0.44, 0.86)),
    (1, _gable(-0.1, 0.0, 0.48, 0.74)),
]
_CLOUD = [  # parts: white, shade
    (1, _disc(0, 0.07, 0.5, 0.12)),
    (0, _disc(-0.09, 0.11, 0.24, 0.14)),
    (0, _disc(0.08, 0.12, 0.28, 0.16)),
]

_PEDESTRIANS = ((0.58, 0.05), (0.58, 0.17), (0.52, 0.11), (0.4, 0.08))  # the last is a child
_BUILDINGS = ((0.9, 0.5, 3, 1, 0.3), (1.1, 0.75, 4, 2, 0.0), (0.75, 1.35, 3, 4, 0.0))

KINDS = {
    "pedestrian": Kind([_pedestrian(*sizes) for sizes in _PEDESTRIANS], box=(0.36, 0.58)),
    "car": Kind([_car_end(0.3, 0.4), _car_end(0.42, 0.42), *_both_ways(_CAR_SIDE)], (0.64, 0.42)),
    "stop sign": Kind([_STOP_SIGN], box=(0.28, 0.68), face=(0, 1)),
    "traffic light": Kind([_traffic_light(lit) for lit in range(3)], (0.17, 0.76), face=(0, 1, 2)),
    "cyclist": Kind(_both_ways(_CYCLIST), box=(0.52, 0.5)),
    "round sign": Kind([_ROUND_SIGN], box=(0.28, 0.68), face=(0, 1)),
    "yellow diamond": Kind([_DIAMOND], box=(0.3, 0.68), face=(0, 1)),
    "lamp post": Kind(_both_ways(_LAMP_POST), box=(0.42, 0.82)),
    "mailbox": Kind([_MAILBOX], box=(0.18, 0.34)),
    "building": Kind([_building(*sizes) for sizes in _BUILDINGS], box=(1.21, 1.37)),
    "tree": Kind([_ROUND_TREE, _CONIFER], box=(0.48, 0.88)),
    "cloud": Kind([_CLOUD], box=(0.5, 0.22)),
    "sun": Kind([[(0, _disc(0, 0.09, 0.18))]], box=(0.18, 0.18)),  # by night, the moon
}
