"""Imagine the facts of a driving scene, from a hash of (seed, index), before anything is painted.

All of it is exact arithmetic on whole numbers: the same scene on a CPU and on a GPU.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_course.scenes._sprites import KINDS, PARTS, SCALES


class Slot(NamedTuple):
    """Room for one thing in a scene."""

    kind: str
    chance: int  # of 64 scenes, how many have it
    nearest: int  # a number of `_sprites.SCALES`
    farthest: int
    inner: int  # from the middle of the road, in 64ths of half its width; in the sky the height
    outer: int


SKY = ("cloud", "sun")
SLOTS = (
    *[Slot("cloud", 26, 3, 8, 28, 58)] * 2,
    Slot("sun", 24, 3, 7, 28, 58),
    *[Slot("building", 30, 6, 9, 110, 230)] * 3,
    *[Slot("tree", 28, 3, 9, 95, 210)] * 3,
    *[Slot("lamp post", 22, 2, 8, 72, 96)] * 2,
    Slot("mailbox", 28, 0, 6, 72, 96),
    Slot("yellow diamond", 28, 0, 6, 70, 100),
    Slot("round sign", 25, 0, 6, 70, 100),
    Slot("stop sign", 34, 0, 6, 70, 100),
    *[Slot("traffic light", 24, 0, 6, 66, 96)] * 2,
    *[Slot("car", 23, 1, 8, 18, 40)] * 2,
    Slot("car", 18, 3, 8, 0, 150),
    Slot("cyclist", 26, 0, 6, 36, 76),
    *[Slot("pedestrian", 20, 0, 4, 66, 116)] * 2,
    Slot("pedestrian", 16, 1, 5, 0, 66),
)
_THING_DRAWS = ("present", "distance", "lateral", "side", "look", "shade",
                *(f"part {i}" for i in range(PARTS)))  # fmt: skip

HORIZONS = (26, 29, 32)  # of 64: the height of the horizon, down from the top
BENDS = (-24, -11, 0, 11, 24)  # of 64: how far the road's far end lies to the right
WIDTHS = (20, 29)  # of 64: half of the road, at the bottom of the picture
SCENE_VALUES = {  # equally likely
    "time": (0, 0, 0, 0, 0, 1, 2, 2),  # day, dusk, night
    "fog": (0, 0, 0, 0, 0, 1, 1, 2),  # none, thin, thick
    "horizon": range(len(HORIZONS)),
    "bend": range(len(BENDS)),
    "width": range(len(WIDTHS)),
    "earth": (0, 0, 1, 2, 3, 3, 3, 3),  # grass, dry grass, snow, paved
    "line": (0, 1, 1),
    "kerb": (0, 1),
    "noise": (0, 0, 1, 2),
    "light": (0, 0, 0, 1, 1, 2, 2, 2),  # what every traffic light of a scene shows
    "tint": range(16),
    "grain": range(4096),
}

CHOICES = 8  # of a part's colors; the number of its colors divides it
SHADES = range(50, 65)  # 64ths of the light that falls on a thing


def slots_of(kind: str) -> list[int]:
    """Return the slots that hold things of this kind."""
    return [number for number, slot in enumerate(SLOTS) if slot.kind == kind]


def lookup(table: Sequence, index: Tensor) -> Tensor:
    """Return the entries of a small table at `index`, on its device."""
    return torch.tensor(table, device=index.device)[index]


class World(NamedTuple):
    """The facts behind n scenes, before anything is painted: whole numbers, int64."""

    size: int
    scene: dict[str, Tensor]  # (n,) each, one of its `SCENE_VALUES`
    present: Tensor  # bool (n, slots)
    distance: Tensor  # (n, slots)
    x: Tensor  # (n, slots), the pixel where a thing stands
    y: Tensor
    look: Tensor  # (n, slots)
    shade: Tensor  # (n, slots), one of `SHADES`
    choice: Tensor  # (n, slots, PARTS), the color of each part among `CHOICES`


def imagine(
    key: int, index: Tensor, size: int, things: Mapping[str, int | None] | None = None, **scene: int
) -> World:
    """Return the scenes with these numbers, but for what is given instead of drawn.

    index: int64 (n,). scene: values of `World.scene`. things: by kind the distance of its one
        thing, which stands inside of the picture, or None for none of it.
    """
    device = index.device
    draws = _random_numbers(key, index, len(SCENE_VALUES) + len(SLOTS) * len(_THING_DRAWS))
    values = {
        name: lookup(values, draws[:, i] * len(values) >> 31)
        for i, (name, values) in enumerate(SCENE_VALUES.items())
    }
    values |= {name: torch.full_like(index, value) for name, value in scene.items()}
    own = draws[:, len(SCENE_VALUES) :].unflatten(1, (len(_THING_DRAWS), len(SLOTS)))
    draw = dict(zip(_THING_DRAWS, own.unbind(dim=1), strict=True))  # (n, slots) each
    chance, nearest, farthest, inner, outer = torch.tensor([s[1:] for s in SLOTS], device=device).T

    present = draw["present"] * 64 >> 31 < chance
    distance = nearest + (draw["distance"] * (farthest - nearest + 1) >> 31)
    given = []  # slots
    for kind, number in (things or {}).items():
        present[:, slots_of(kind)] = False
        if number is not None:
            given.append(slots_of(kind)[0])
            present[:, given[-1]], distance[:, given[-1]] = True, number
    right = draw["side"] >> 30  # 0 on the left, 1 on the right
    looks = torch.tensor([len(KINDS[slot.kind].looks) for slot in SLOTS], device=device)
    look = draw["look"] * looks >> 31
    choice = torch.stack([draw[f"part {i}"] * CHOICES >> 31 for i in range(PARTS)], dim=-1)
    for slot, (kind, *_) in enumerate(SLOTS):
        if kind == "traffic light":  # all of a scene's lights agree
            look[:, slot] = choice[:, slot, 2] = values["light"]
        elif kind == "car":  # one that comes towards us keeps to the left and shows white lamps
            choice[:, slot, 3] = right[:, slot]
        elif kind == "lamp post":  # the lamp hangs over the road
            look[:, slot] = right[:, slot]

    scale = lookup(SCALES, distance)
    horizon = lookup(HORIZONS, values["horizon"])[:, None]
    bend = lookup(BENDS, values["bend"])[:, None]
    width = lookup(WIDTHS, values["width"])[:, None]
    lateral = inner + (draw["lateral"] * (outer - inner + 1) >> 31)
    y = (horizon * (64 - scale) + 64 * scale) * size >> 12
    middle = (32 * 64 * 64 + bend * (64 - scale) ** 2) * size >> 18  # of the road, a parabola
    x = middle + ((2 * right - 1) * lateral * width * scale * size >> 18)
    sky = torch.tensor([slot.kind in SKY for slot in SLOTS], device=device)
    y = torch.where(sky, horizon * lateral * size >> 12, y).clamp_(max=size - 1)
    x = torch.where(sky, draw["shade"] * size >> 31, x)
    x[:, given] = x[:, given].clamp(size // 8, size - 1 - size // 8)
    shade = SHADES.start + (draw["shade"] * len(SHADES) >> 31)
    return World(size, values, present, distance, x, y, look, shade, choice)


def _random_numbers(key: int, index: Tensor, count: int) -> Tensor:
    """Return `count` random numbers for each scene: SplitMix64 of (key, index, number), 31 bits.

    index: int64 (n,). Returns: int64 (n, count) in [0, 2³¹). int64 wraps around as uint64 does.
    Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    number = torch.arange(1, count + 1, device=index.device)
    z = (index[:, None] * count + number) * -7046029254386353131 + key  # the golden ratio · 2⁶⁴
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return (z >> 33) & 0x7FFFFFFF
