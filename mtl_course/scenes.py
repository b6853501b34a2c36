"""Driving scenes: pictures of a road with their yes/no answers, as many as you like (M1–M4).

A scene is imagined, painted and asked about. `_imagine` draws its facts from a hash of (seed,
index), `_paint` puts the ground and then every sprite on it, the farthest first, and counts which
pixels of what can still be seen; the rules in `TASKS` turn facts into answers. All of it is exact
arithmetic on whole numbers, so a scene is the same whoever draws it, in whatever company, on a CPU
or on a GPU.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtl_course import sprites
from mtl_course.base import atomic, one_thread, stream, whole
from mtl_course.datasets import Dataset
from mtl_course.sprites import BENDS, HORIZONS, KINDS, PARTS, SCALES, WIDTHS

VISIBLE = 7
"""Pixels of a 32 × 32 picture in which a thing must be seen for the answer to be 1; in other sizes
the same share of the picture."""

CONTRAST = 14
"""Grey levels, of 255, by which a pixel of a thing must differ from what is behind it, in fog and
darkness, to be seen."""

_CHUNK = 1024  # scenes of 32 × 32 painted together on a CPU, fewer of larger ones
_CHUNK_GPU = 65_536


# ---------------------------------------------------------------------- what may be in a scene


class _Slot(NamedTuple):
    """Room for one thing in a scene.

    chance: of 64 scenes, how many have it. nearest, farthest: numbers of `sprites.SCALES`.
    aside: how far from the middle of the road, in 64ths of half its width; things of the sky
        have their height there instead, in 64ths of the sky.
    """

    kind: str
    chance: int
    nearest: int
    farthest: int
    aside: tuple[int, int]


_SKY = ("cloud", "sun")
_SLOTS = (
    *[_Slot("cloud", 26, 3, 8, (28, 58))] * 2,
    _Slot("sun", 24, 3, 7, (28, 58)),
    *[_Slot("building", 30, 6, 9, (110, 230))] * 3,
    *[_Slot("tree", 28, 3, 9, (95, 210))] * 3,
    *[_Slot("lamp post", 22, 2, 8, (72, 96))] * 2,
    _Slot("mailbox", 28, 0, 6, (72, 96)),
    _Slot("yellow diamond", 28, 0, 6, (70, 100)),
    _Slot("round sign", 25, 0, 6, (70, 100)),
    _Slot("stop sign", 34, 0, 6, (70, 100)),
    *[_Slot("traffic light", 24, 0, 6, (66, 96))] * 2,
    *[_Slot("car", 23, 1, 8, (18, 40))] * 2,
    _Slot("car", 18, 3, 8, (0, 150)),
    _Slot("cyclist", 26, 0, 6, (36, 76)),
    *[_Slot("pedestrian", 20, 0, 4, (66, 116))] * 2,
    _Slot("pedestrian", 16, 1, 5, (0, 66)),
)
_KIND = [list(KINDS).index(slot.kind) for slot in _SLOTS]
_MARKS = ("there", "distance", "aside", "side", "look", "shade", *(f"part {i}" for i in range(4)))

_GLOBALS = {
    "time": (0, 0, 0, 0, 0, 1, 2, 2),  # day, dusk, night
    "fog": (0, 0, 0, 0, 0, 1, 1, 2),
    "horizon": tuple(range(len(HORIZONS))),
    "bend": tuple(range(len(BENDS))),
    "width": tuple(range(len(WIDTHS))),
    "earth": (0, 0, 1, 2, 3, 3, 3, 3),  # grass, grass, dry, snow, paved
    "line": (0, 1, 1),
    "kerb": (0, 1),
    "noise": (0, 0, 1, 2),
    "light": (0, 0, 0, 1, 1, 2, 2, 2),  # what every traffic light of a scene shows
    "tint": tuple(range(16)),
    "grain": tuple(range(4096)),
}

# ---------------------------------------------------------------------- colours, red green blue

_CLOTHES = ((200, 45, 50), (235, 225, 210), (40, 80, 170), (245, 190, 50),
            (45, 45, 55), (60, 130, 90), (150, 80, 160), (90, 95, 105))  # fmt: skip
_TROUSERS = ((45, 55, 95), (40, 40, 45), (120, 110, 95), (85, 60, 50))
_SKIN = ((240, 200, 170), (215, 165, 130), (150, 105, 75), (100, 70, 55))
_HAIR = ((50, 35, 30), (120, 80, 45), (210, 180, 110), (30, 30, 35))
_CARS = ((190, 35, 40), (205, 60, 45), (40, 85, 175), (70, 130, 200),
         (235, 235, 238), (215, 215, 220), (40, 42, 48), (230, 190, 40))  # fmt: skip
_WHITE_LAMP, _RED_LAMP = (255, 250, 205), (235, 30, 30)
_CROWNS = ((65, 120, 55), (45, 95, 50), (85, 135, 60), (200, 120, 45))
_WALLS = ((185, 95, 75), (165, 80, 70), (210, 190, 160), (195, 200, 205),
          (150, 155, 165), (225, 215, 190), (160, 140, 120), (125, 130, 145))  # fmt: skip
_LIT, _DARK = (255, 225, 130), (75, 90, 110)
_GREY = ((115, 118, 122),)
_WHITE = ((240, 240, 238),)

_COLOURS: dict[str, Sequence[Sequence[tuple[int, int, int]]]] = {  # choices for each part
    "pedestrian": (_CLOTHES, _TROUSERS, _SKIN, _HAIR),
    "car": (_CARS, ((60, 75, 95),), ((22, 22, 25),), (_WHITE_LAMP, _RED_LAMP)),
    "stop sign": (((205, 25, 35),), _WHITE, _GREY, _GREY),
    "traffic light": (
        ((35, 38, 40),),
        ((75, 70, 62),),
        ((255, 50, 40), (255, 200, 40), (60, 240, 130), (60, 240, 130)),
        _GREY,
    ),
    "cyclist": (_CLOTHES, _TROUSERS, _SKIN, ((30, 30, 35), (170, 40, 40))),
    "round sign": (((205, 25, 35),), _WHITE, _GREY, _GREY),
    "yellow diamond": (((245, 195, 30),), _WHITE, _GREY, _GREY),
    "lamp post": (((255, 235, 170),), ((85, 88, 92),), _GREY, _GREY),
    "mailbox": (((30, 75, 170), (205, 40, 45), (240, 190, 30), (40, 110, 75)),
                ((25, 25, 30),), ((105, 90, 75),), _GREY),
    "building": (_WALLS, (_LIT, _DARK), ((120, 60, 50), (80, 82, 90)), ((80, 60, 50),)),
    "tree": (_CROWNS, ((120, 165, 80), (150, 175, 90)), ((95, 70, 50),), _GREY),
    "cloud": (((250, 250, 252),), ((205, 210, 220),), _GREY, _GREY),
    "sun": (((255, 235, 150),), _GREY, _GREY, _GREY),
}  # fmt: skip
_CHOICES = 8  # every list of choices divides it

_SHINES = {"traffic light": 2, "lamp post": 0, "car": 3, "sun": 0, "building": 1}
"""The part of a thing that is a light itself; the night does not darken it."""

_EARTH = ((98, 140, 72), (172, 152, 108), (226, 230, 236), (142, 138, 134))
_UPPER_SKY = ((105, 160, 225), (88, 78, 135), (16, 20, 48))  # day, dusk, night
_LOWER_SKY = ((195, 218, 240), (245, 165, 110), (44, 48, 86))
_LIGHT = ((64, 64, 64), (52, 43, 44), (27, 29, 40))  # 64ths of what a thing's colour is by day
_FOG = ((206, 211, 216), (172, 144, 142), (46, 49, 62))
_FOGGED = (0, 34, 58)  # 64ths of fog in front of the farthest things: none, thin, thick
_NOISE = (2, 4, 8)  # grey levels, standard deviation
_LAYER_FOG = (32, 64, 64, 8, 64, 8, 30, 30)  # 64ths of it in front of each of `sprites.LAYERS`


# ---------------------------------------------------------------------- imagine


class World(NamedTuple):
    """The facts behind n scenes, before anything is painted: whole numbers, int64.

    scene: (n,) each: the time, the fog, the road, what stands for the choices in `_GLOBALS`.
    there: bool (n, slots). distance, x, y, look, shade: (n, slots); x and y are the pixel where a
        thing stands. choice: (n, slots, PARTS), the colour of each part among those it may have.
    """

    size: int
    scene: dict[str, Tensor]
    there: Tensor
    distance: Tensor
    x: Tensor
    y: Tensor
    look: Tensor
    shade: Tensor
    choice: Tensor


def _draws(key: int, index: Tensor, count: int) -> Tensor:
    """`count` random numbers for each scene: SplitMix64 of (key, index, number), its top 31 bits.

    index: int64 (n,). Returns: int64 (n, count) in [0, 2³¹). int64 wraps around as uint64 does.
    Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    number = torch.arange(1, count + 1, device=index.device)
    z = (index[:, None] * count + number) * -7046029254386353131 + key  # the golden ratio · 2⁶⁴
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return (z >> 33) & 0x7FFFFFFF


def _imagine(key: int, index: Tensor, size: int) -> World:
    """The scenes with these numbers. index: int64 (n,)."""
    device, slots = index.device, len(_SLOTS)
    draws = _draws(key, index, len(_GLOBALS) + slots * len(_MARKS))
    scene = {
        name: torch.tensor(values, device=device)[draws[:, i] * len(values) >> 31]
        for i, (name, values) in enumerate(_GLOBALS.items())
    }
    own = draws[:, len(_GLOBALS) :].view(-1, len(_MARKS), slots)
    mark = dict(zip(_MARKS, own.unbind(dim=1), strict=True))  # (n, slots) each

    def among(name: str, low: Sequence[int], high: Sequence[int]) -> Tensor:
        """A whole number from `low` to `high`, both included, which differ by slot."""
        low, high = torch.tensor(low, device=device), torch.tensor(high, device=device)
        return low + (mark[name] * (high - low + 1) >> 31)

    there = mark["there"] * 64 >> 31 < torch.tensor([s.chance for s in _SLOTS], device=device)
    distance = among("distance", [s.nearest for s in _SLOTS], [s.farthest for s in _SLOTS])
    aside = among("aside", [s.aside[0] for s in _SLOTS], [s.aside[1] for s in _SLOTS])
    right = mark["side"] >> 30  # 0 on the left, 1 on the right
    look = among("look", [0] * slots, [len(KINDS[s.kind]) - 1 for s in _SLOTS])
    choice = torch.stack([mark[f"part {i}"] * _CHOICES >> 31 for i in range(PARTS)], dim=-1)
    for slot, (kind, *_) in enumerate(_SLOTS):
        if kind == "traffic light":  # all of a scene's lights agree
            look[:, slot] = scene["light"]
            choice[:, slot, 2] = scene["light"]
        elif kind == "car":  # who comes towards us keeps to the left and shows white lamps
            choice[:, slot, 3] = right[:, slot]
        elif kind == "lamp post":  # the lamp hangs over the road
            look[:, slot] = right[:, slot]

    scale = torch.tensor(SCALES, device=device)[distance]  # (n, slots)
    horizon = torch.tensor(HORIZONS, device=device)[scene["horizon"]][:, None]
    width = torch.tensor(WIDTHS, device=device)[scene["width"]][:, None]
    y = (horizon * (64 - scale) + 64 * scale) * size >> 12
    middle = sprites.road(size, str(device))[scene["bend"][:, None], distance]
    x = middle + ((2 * right - 1) * aside * width * scale * size >> 18)
    sky = torch.tensor([slot.kind in _SKY for slot in _SLOTS], device=device)
    y = torch.where(sky, horizon * aside * size >> 12, y).clamp_(max=size - 1)
    x = torch.where(sky, mark["shade"] * size >> 31, x)
    shade = 50 + (mark["shade"] * 15 >> 31)  # 64ths of the light that falls on a thing
    return World(size, scene, there, distance, x, y, look, shade, choice)


# ---------------------------------------------------------------------- paint

# A pixel is one int64 with four lanes of 16 bits: red, green, blue, and its owner, the slot + 1 of
# the thing that is seen there, or 0. A weighted sum of colours, in 64ths, never leaves its lane.
_LANES = 1 | 1 << 16 | 1 << 32
_COLOUR = 255 * _LANES
_HALF = sprites.FULL // 2 * _LANES  # added before >> 6, it rounds to the nearest
_OWNER = 48


def _pack(colour: Tensor) -> Tensor:
    """colour: int64 (…, 3) in 0 … 255. Returns: int64 (…), with no owner."""
    red, green, blue = colour.unbind(dim=-1)
    return red | green << 16 | blue << 32


def _paint(world: World) -> tuple[Tensor, Tensor]:
    """Pictures of n scenes, and how many pixels of each thing can be seen in them.

    Returns: uint8 (n, 3, size, size); int64 (n, slots).
    """
    n, slots = world.there.shape
    size, device = world.size, world.there.device
    stencils = sprites.stencils(size, str(device))
    # The canvas has a margin on both sides, so that a sprite may stick out of the picture. None is
    # higher than its place in it.
    aside, wide = stencils.aside, size + 2 * stencils.aside
    canvas = _earth_and_sky(world)  # (n, size, wide)
    scene, slot, turns = _in_turn(world)  # (things,)

    first = torch.tensor([stencils.first[s.kind] for s in _SLOTS], device=device)
    look, distance = world.look[scene, slot], world.distance[scene, slot]
    entry = (first[slot] + look) * len(SCALES) + distance
    foot = (scene * size + world.y[scene, slot]) * wide + aside + world.x[scene, slot]
    length = stencils.length[entry]
    total = int(length.sum())
    # From here on tensors are (total,): every pixel of every thing.
    which = torch.repeat_interleave(length, output_size=total)
    skip = stencils.start[entry] - length.cumsum(0) + length
    pixel = skip.index_select(0, which) + torch.arange(total, device=device)
    spot = foot.index_select(0, which) + stencils.offset.index_select(0, pixel)
    weights = stencils.weights.index_select(0, pixel)
    paint = torch.full_like(weights, _HALF)
    for part, palette in enumerate(_palettes(world, scene, slot).unbind(dim=1)):
        paint.addcmul_(palette.index_select(0, which), weights >> 8 * part & 255)
    through = weights >> 8 * PARTS & 255  # the weight of what is behind
    mine = (slot + 1 << _OWNER).index_select(0, which) * (weights >> 8 * PARTS + 8)

    pixels = canvas.view(-1)
    last = 0
    for count in _sums(
        length, turns
    ).tolist():  # pixels of the things that are painted in this turn
        here = slice(last, last := last + count)
        behind = pixels.index_select(0, spot[here])
        colour = behind & _COLOUR
        new = (paint[here] + colour * through[here]) >> 6 & _COLOUR
        # Bit 9 of a lane is set where its difference is CONTRAST or more, one way or the other.
        bias = (512 - CONTRAST) * _LANES
        differs = (new - colour + bias | colour - new + bias) & 512 * _LANES != 0
        owner = torch.where(through[here] * 2 < sprites.FULL, mine[here] * differs, behind - colour)
        pixels.index_copy_(0, spot[here], new + owner)

    canvas[:, :, :aside] = canvas[:, :, -aside:] = 0  # nothing is seen in the margin
    hits = pixels.index_select(0, spot) >> _OWNER == (slot + 1).index_select(0, which)
    seen = torch.zeros(n, slots, dtype=torch.int64, device=device)
    seen[scene, slot] = _sums(hits, length)
    lanes = canvas.view(torch.int16).view(n, size, wide, 4)[:, :, aside:-aside].permute(0, 3, 1, 2)
    return _grain(world).add_(lanes[:, :3]).clamp_(0, 255).to(torch.uint8), seen


def _in_turn(world: World) -> tuple[Tensor, Tensor, Tensor]:
    """All things that are there: first the farthest of each scene, then the second farthest, …

    Returns: scene and slot, int64 (things,) each; how many things each turn has, int64 (turns,).
    """
    there = world.there & (world.x >= 0) & (world.x < world.size)
    device = there.device
    sky = torch.tensor([slot.kind in _SKY for slot in _SLOTS], device=device)
    near = torch.where(sky, -1, len(SCALES) - world.distance)
    near = torch.where(there, near, len(SCALES) + 1)  # (n, slots)
    order = (near * len(_SLOTS) + torch.arange(len(_SLOTS), device=device)).argsort(dim=1)
    count = there.sum(dim=1)
    turn, scene = (torch.arange(len(_SLOTS), device=device)[:, None] < count).nonzero(as_tuple=True)
    return scene, order[scene, turn], torch.bincount(turn)


def _sums(values: Tensor, counts: Tensor) -> Tensor:
    """Sums of the first counts[0] values, of the next counts[1], … Returns: int64, as counts."""
    before = torch.nn.functional.pad(values.cumsum(0), (1, 0))
    return before[torch.nn.functional.pad(counts.cumsum(0), (1, 0))].diff()


def _palettes(world: World, scene: Tensor, slot: Tensor) -> Tensor:
    """The colour of each part of each thing, in the light and the fog of its scene.

    Returns: int64 (things, PARTS), packed.
    """
    device = scene.device
    table = _colours(str(device))  # (slots, PARTS, _CHOICES, 3)
    parts = torch.arange(PARTS, device=device)
    shines = torch.tensor([_SHINES.get(s.kind, -1) for s in _SLOTS], device=device)
    shines = shines[slot][:, None] == parts  # (things, PARTS)
    choice = world.choice[scene, slot]  # (things, PARTS)
    dark = torch.tensor([s.kind == "building" for s in _SLOTS], device=device)
    shines &= ~(dark[slot][:, None] & (choice % 2 == 1))  # windows without a light
    colour = table[slot[:, None], parts, choice]  # (things, PARTS, 3)
    light = torch.tensor(_LIGHT, device=device)[world.scene["time"][scene]]  # (things, 3)
    light = light * world.shade[scene, slot][:, None] >> 6
    colour = torch.where(shines[..., None], colour, colour * light[:, None] >> 6)
    away = 64 - torch.tensor(SCALES, device=device)[world.distance[scene, slot]]
    fogged = torch.tensor(_FOGGED, device=device)[world.scene["fog"][scene]]
    thick = (fogged * away // (64 - SCALES[-1]))[:, None, None]
    return _pack(_in_fog(colour, thick, world.scene["time"][scene]))


@functools.lru_cache(maxsize=8)
def _colours(device: str) -> Tensor:
    """What each part of the thing in each slot may look like, by choice.

    Returns: int64 (slots, PARTS, _CHOICES, 3).
    """
    table = [
        [[choices[i % len(choices)] for i in range(_CHOICES)] for choices in _COLOURS[slot.kind]]
        for slot in _SLOTS
    ]
    return torch.tensor(table, device=device)


def _in_fog(colour: Tensor, thick: Tensor, time: Tensor) -> Tensor:
    """colour: int64 (k, parts, 3). thick: 64ths of fog, time: (k,). Returns: (k, parts, 3)."""
    fog = torch.tensor(_FOG, device=colour.device)[time][:, None]
    return colour * (64 - thick) + fog * thick >> 6


def _earth_and_sky(world: World) -> Tensor:
    """A canvas with sky, ground and road. Returns: int64 (n, size, size + 2 aside), packed."""
    scene, device = world.scene, world.there.device
    time, tint = scene["time"], scene["tint"][:, None]
    earth = torch.tensor(_EARTH, device=device)[scene["earth"]]  # (n, 3)
    road = (82 + tint).expand(-1, 3)
    kerb = torch.where(scene["kerb"][:, None] > 0, 172 + tint, earth)
    line = torch.where(scene["line"][:, None] > 0, 225 + tint, road)
    upper = torch.tensor(_UPPER_SKY, device=device)[time] + tint // 2
    lower = torch.tensor(_LOWER_SKY, device=device)[time] - tint // 2
    light = torch.tensor(_LIGHT, device=device)[time]
    lit = [layer * light >> 6 for layer in (earth, earth, road, road, line, kerb)]
    fogged = torch.tensor(_FOGGED, device=device)[scene["fog"]][:, None]
    thick = fogged * torch.tensor(_LAYER_FOG, device=device) >> 6  # (n, layers)
    layers = _in_fog(torch.stack([upper, lower, *lit], dim=1), thick[..., None], time)
    # Packed colours, weighted and summed, are whole numbers below 2⁴⁷: float64 multiplies them
    # without an error, in whatever order. Scenes that share a ground are multiplied at once.
    layers = _pack(layers).double()  # (n, layers)
    which = (scene["horizon"] * len(BENDS) + scene["bend"]) * len(WIDTHS) + scene["width"]
    order = which.argsort(stable=True)
    grounds = sprites.grounds(world.size, str(device))
    counts = torch.bincount(which, minlength=len(grounds)).tolist()
    canvas = torch.empty(len(which), grounds.shape[-1], dtype=torch.float64, device=device)
    last = 0
    for ground, count in zip(grounds, counts, strict=True):
        rows = slice(last, last := last + count)
        torch.mm(layers[order[rows]], ground, out=canvas[rows])
    # A whole number x below 2⁵² is the low bits of the float64 x + 2⁵².
    canvas = canvas.add_(2**52 + _HALF).view(torch.int64)
    canvas.bitwise_right_shift_(6).bitwise_and_(_COLOUR)
    return canvas.index_select(0, order.argsort()).view(len(which), world.size, -1)


def _grain(world: World) -> Tensor:
    """The camera's noise: a window into a fixed strip. Returns: int16 (n, 3, size, size)."""
    values = world.size * world.size * 3
    strip = _noise(values, str(world.there.device))  # (levels, length)
    start = world.scene["noise"] * strip.shape[1] + world.scene["grain"] * _STEP
    windows = strip.view(-1).as_strided((strip.numel() - values, values), (1, 1))
    return windows.index_select(0, start).view(-1, 3, world.size, world.size)


_STEP = 7  # between two places at which a window of noise may start


@functools.lru_cache(maxsize=8)
def _noise(values: int, device: str) -> Tensor:
    """Fixed strips of noise, one a level. Returns: int16 (levels, length)."""
    length = values + _STEP * len(_GLOBALS["grain"])
    strip = np.random.default_rng(0).standard_normal(length)
    return torch.from_numpy(np.outer(_NOISE, strip).round().astype(np.int16)).to(device)


# ---------------------------------------------------------------------- ask


class Facts(NamedTuple):
    """What can be asked about n scenes: the world behind them, and what can be seen of it.

    pixels: int64 (n, slots). seen: bool (n, slots), at least `VISIBLE` pixels.
    """

    world: World
    pixels: Tensor
    seen: Tensor

    def count(self, kind: str, *conditions: Condition) -> Tensor:
        """How many things of this kind are seen that meet all conditions. Returns: int64 (n,)."""
        met = self.seen
        for condition in conditions:
            met = met & condition(self)
        return met[:, _slots(kind)].sum(dim=1)


Condition = Callable[[Facts], Tensor]
"""What may hold of a thing. Returns: bool (n, slots)."""

Rule = Callable[[Facts], Tensor]
"""What may hold of a scene. Returns: bool (n,)."""


class Task(NamedTuple):
    """A yes/no question about a scene. family: the tasks that are about the same."""

    family: str
    rule: Rule


@functools.lru_cache(maxsize=32)
def _slots(kind: str) -> list[int]:
    return [number for number, slot in enumerate(_SLOTS) if slot.kind == kind]


def _left(facts: Facts) -> Tensor:
    return facts.world.x * 5 < facts.world.size * 2


def _right(facts: Facts) -> Tensor:
    return facts.world.x * 5 >= facts.world.size * 3


def _near(facts: Facts) -> Tensor:
    return facts.world.distance <= 3


def _far(facts: Facts) -> Tensor:
    return facts.world.distance >= 4


def _look(*looks: int) -> Condition:
    return lambda facts: torch.isin(facts.world.look, torch.tensor(looks).to(facts.world.look))


def _colour(*choices: int, part: int = 0, of: int = _CHOICES) -> Condition:
    """The thing's part has one of these colours, of the `of` that there are."""
    return lambda facts: torch.isin(
        facts.world.choice[..., part] % of, torch.tensor(choices).to(facts.world.choice)
    )


def _some(kind: str, *conditions: Condition, least: int = 1) -> Rule:
    return lambda facts: facts.count(kind, *conditions) >= least


def _scene(name: str, *values: int) -> Rule:
    return lambda facts: torch.isin(facts.world.scene[name], torch.tensor(values).to(facts.world.x))


def _all(*rules: Rule) -> Rule:
    return lambda facts: torch.stack([rule(facts) for rule in rules]).all(dim=0)


def _any(*rules: Rule) -> Rule:
    return lambda facts: torch.stack([rule(facts) for rule in rules]).any(dim=0)


def _not(rule: Rule) -> Rule:
    return lambda facts: ~rule(facts)


def _tasks() -> dict[str, Task]:
    where = {"on the left": _left, "on the right": _right, "near": _near, "far": _far}
    families = {
        "pedestrian": "pedestrians",
        "car": "cars",
        "stop sign": "stop signs",
        "traffic light": "traffic lights",
        "cyclist": "cyclists",
        "round sign": "look-alikes",
        "yellow diamond": "look-alikes",
        "lamp post": "look-alikes",
        "mailbox": "look-alikes",
        "building": "buildings",
        "tree": "trees",
        "cloud": "sky",
    }
    tasks = {kind: Task(family, _some(kind)) for kind, family in families.items()}
    for kind, family in families.items():
        for name, condition in where.items():
            if kind not in ("lamp post", "building", "tree", "cloud") or name.startswith("on"):
                tasks[f"{kind} {name}"] = Task(family, _some(kind, condition))

    def add(family: str, **rules: Rule) -> None:
        for name, rule in rules.items():
            tasks[name.replace("_", " ")] = Task(family, rule)

    add(
        "pedestrians",
        two_pedestrians=_some("pedestrian", least=2),
        exactly_one_pedestrian=_all(_some("pedestrian"), _not(_some("pedestrian", least=2))),
        child=_some("pedestrian", _look(3)),
        adult=_some("pedestrian", _look(0, 1, 2)),
        pedestrian_who_stands=_some("pedestrian", _look(0)),
        pedestrian_in_dark_clothes=_some("pedestrian", _colour(2, 4, 5, 7)),
        pedestrian_in_bright_clothes=_some("pedestrian", _colour(0, 1, 3, 6)),
        pedestrian_on_the_road=_some("pedestrian", _on_the_road),
        pedestrian_beside_the_road=_some("pedestrian", lambda facts: ~_on_the_road(facts)),
    )
    add(
        "cars",
        two_cars=_some("car", least=2),
        exactly_one_car=_all(_some("car"), _not(_some("car", least=2))),
        red_car=_some("car", _colour(0, 1)),
        blue_car=_some("car", _colour(2, 3)),
        white_car=_some("car", _colour(4, 5)),
        car_from_the_side=_some("car", _look(2, 3)),
        car_from_the_end=_some("car", _look(0, 1)),
        van=_some("car", _look(1)),
        car_that_comes_towards_us=_some("car", _look(0, 1), _colour(0, part=3, of=2)),
        car_that_drives_ahead=_some("car", _look(0, 1), _colour(1, part=3, of=2)),
    )
    add(
        "traffic lights",
        red_light=_some("traffic light", _look(0)),
        yellow_light=_some("traffic light", _look(1)),
        green_light=_some("traffic light", _look(2)),
        light_that_is_not_green=_some("traffic light", _look(0, 1)),
    )
    add(
        "cyclists",
        cyclist_who_rides_to_the_left=_some("cyclist", _look(0)),
        cyclist_who_rides_to_the_right=_some("cyclist", _look(1)),
        cyclist_in_dark_clothes=_some("cyclist", _colour(2, 4, 5, 7)),
    )
    add(
        "look-alikes",
        round_sign_or_stop_sign=_any(_some("round sign"), _some("stop sign")),
        any_look_alike=_any(_some("round sign"), _some("yellow diamond"), _some("mailbox")),
    )
    add(
        "buildings",
        two_buildings=_some("building", least=2),
        house_with_a_gable=_some("building", _look(0)),
        tower=_some("building", _look(2)),
        lit_windows=_some("building", _colour(0, part=1, of=2)),
        brick_building=_some("building", _colour(0, 1)),
    )
    add(
        "trees",
        two_trees=_some("tree", least=2),
        round_tree=_some("tree", _look(0)),
        conifer=_some("tree", _look(1)),
        tree_in_autumn=_some("tree", _colour(3, of=4)),
    )
    add(
        "road",
        road_bends_left=_scene("bend", 0, 1),
        road_bends_right=_scene("bend", 3, 4),
        road_is_straight=_scene("bend", 2),
        wide_road=_scene("width", 1),
        line_on_the_road=_scene("line", 1),
        kerb=_scene("kerb", 1),
        high_horizon=_scene("horizon", 0),
        snow=_scene("earth", 2),
        grass=_scene("earth", 0),
        paved_ground=_scene("earth", 3),
    )
    add(
        "sky",
        night=_scene("time", 2),
        day=_scene("time", 0),
        dusk=_scene("time", 1),
        fog=_scene("fog", 1, 2),
        thick_fog=_scene("fog", 2),
        noisy_picture=_scene("noise", 2),
        sun_or_moon=_some("sun"),
        clear_day=_all(_scene("time", 0), _scene("fog", 0)),
    )
    add(
        "traffic",
        more_pedestrians_than_cars=lambda f: f.count("pedestrian") > f.count("car"),
        pedestrian_and_car=_all(_some("pedestrian"), _some("car")),
        anyone_on_foot_or_bicycle=_any(_some("pedestrian"), _some("cyclist")),
        neither_pedestrian_nor_car=_not(_any(_some("pedestrian"), _some("car"))),
        must_stop=_any(_some("stop sign"), _some("traffic light", _look(0))),
        pedestrian_at_night=_all(_some("pedestrian"), _scene("time", 1, 2)),
        something_is_hidden=_hidden,
        many_things=lambda f: f.seen.sum(dim=1) >= 8,
    )
    return tasks


def _on_the_road(facts: Facts) -> Tensor:
    """Things whose slot is in the road; the same for every scene. Returns: bool (1, slots)."""
    road = [slot.aside[1] <= 66 for slot in _SLOTS]
    return torch.tensor([road], device=facts.seen.device)


def _hidden(facts: Facts) -> Tensor:
    """A pedestrian, car or cyclist is there, and cannot be seen."""
    lost = facts.world.there & ~facts.seen
    slots = [*_slots("pedestrian"), *_slots("car"), *_slots("cyclist")]
    return lost[:, slots].any(dim=1)


TASKS: dict[str, Task] = _tasks()
"""Every task by name: the lecture's four first."""

THE_FOUR = ("pedestrian", "car", "stop sign", "traffic light")
"""The lecture's tasks: y = (pedestrians, cars, stop signs, traffic lights)."""


# ---------------------------------------------------------------------- draw


def draw(
    count: int,
    seed: int,
    *,
    start: int = 0,
    tasks: Sequence[str] = THE_FOUR,
    size: int = 32,
    device: str = "cpu",
    jobs: int | None = None,
    progress: bool = False,
) -> Dataset:
    """`count` driving scenes with an answer to each task.

    Scene i is a function of (seed, i) alone: [start, start + count) is a slice of a longer draw,
    bit for bit, on every machine. An answer is 1 when `VISIBLE` pixels of the thing can be seen
    (`Facts`). tasks: names from `TASKS`. size: the side of the picture in pixels.
    jobs: threads that draw on a CPU; None takes one a core.

    Returns: images uint8 (count, 3, size, size), labels int8 (count, tasks) in {0, 1}, on `device`.
    Raises: ValueError if a count is not a whole number in its range, a task does not exist (with
        names that are near) or stands there twice.
    """
    count = whole("count", count, least=1)
    tasks = _known(tasks)
    images = torch.empty(count, 3, whole("size", size, least=16), size, dtype=torch.uint8,
                         device=device)  # fmt: skip
    labels = torch.empty(count, len(tasks), dtype=torch.int8, device=device)
    pieces = _pieces(count, seed, start, size, device, jobs)
    with tqdm(total=count, desc="drawing", unit="scene", disable=not progress, leave=False) as bar:
        for rows, part, facts in pieces:
            images[rows] = part
            labels[rows] = _answers(facts, tasks)
            bar.update(len(part))
    return Dataset(images, labels, tasks=tasks)


def facts(
    count: int, seed: int, *, start: int = 0, size: int = 32, device: str = "cpu"
) -> pd.DataFrame:
    """The facts behind the scenes that `draw` gives for the same arguments, one row a thing.

    Columns: scene (its index), time, fog (0 none, 1 thin, 2 thick), thing, look and distance
        (numbers of `sprites.KINDS` and `sprites.SCALES`), x and y (the pixel where it stands),
        pixels (how many of it are seen) and seen (at least `VISIBLE` are).
    """
    count = whole("count", count, least=1)
    parts = []
    for rows, _, piece in _pieces(count, seed, start, size, device, None):
        scene, slot = piece.world.there.nonzero(as_tuple=True)
        columns = {name: getattr(piece.world, name)[scene, slot] for name in _COLUMNS}
        columns |= {"pixels": piece.pixels[scene, slot], "seen": piece.seen[scene, slot]}
        table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
        table.insert(0, "scene", scene.cpu().numpy() + rows.start + start)
        table.insert(1, "time", [_TIMES[t] for t in piece.world.scene["time"][scene].tolist()])
        table.insert(2, "fog", piece.world.scene["fog"][scene].cpu().numpy())
        table.insert(3, "thing", [_SLOTS[s].kind for s in slot.tolist()])
        parts.append(table)
    order = pd.concat(parts, ignore_index=True)
    return order.sort_values("scene", kind="stable", ignore_index=True)


_COLUMNS = ("look", "distance", "x", "y")
_TIMES = ("day", "dusk", "night")


def effort(
    count: int,
    seed: int,
    *,
    start: int = 0,
    tasks: Sequence[str] = THE_FOUR,
    size: int = 32,
    device: str = "cpu",
) -> Tensor:
    """How hard each question of these scenes is to answer: weights for `datasets.hide`.

    The effort doubles by night, doubles in fog, and for a thing that is there grows as less of it
    can be seen: 40 / (its visible pixels), between 0.5 and 8 times that of a scene without it.
    Whoever skips questions in proportion skips small, dark and far things more often.

    tasks: names of kinds of things (`sprites.KINDS`), such as the lecture's four.
    Returns: float32 (count, tasks). Raises: ValueError for other tasks.
    """
    count, tasks = whole("count", count, least=1), _known(tasks)
    if strange := [task for task in tasks if task not in KINDS]:
        raise ValueError(f"tasks must be kinds of things for their effort; got {strange[0]!r}.")
    weights = torch.empty(count, len(tasks), device=device)
    for rows, _, piece in _pieces(count, seed, start, size, device, None):
        dark = 1 + (piece.world.scene["time"] == 2).float()
        foggy = 1 + (piece.world.scene["fog"] > 0).float()
        share = size * size / (32 * 32)
        for column, task in enumerate(tasks):
            largest = (piece.pixels * piece.seen)[:, _slots(task)].amax(dim=1) / share
            small = torch.where(largest > 0, (40 / largest).clamp(0.5, 8), 1.0)
            weights[rows, column] = dark * foggy * small
    return weights


def write(
    folder: Path | str,
    count: int,
    seed: int,
    *,
    tasks: Sequence[str] = THE_FOUR,
    size: int = 32,
    device: str = "cpu",
    progress: bool = True,
) -> None:
    """Draws scenes to disk, in bounded memory, for `datasets.stored` to open.

    Raises: FileExistsError if there is such a folder, and what `draw` raises.
    """
    count, tasks = whole("count", count, least=1), _known(tasks)
    shapes = {
        "images": ((count, 3, size, size), np.uint8),
        "labels": ((count, len(tasks)), np.int8),
    }
    if Path(folder).exists():
        raise FileExistsError(f"folder {folder} is there already: choose another or delete it.")
    with atomic(folder) as draft:
        draft.mkdir()
        arrays = {
            name: np.lib.format.open_memmap(draft / f"{name}.npy", "w+", dtype, shape)
            for name, (shape, dtype) in shapes.items()
        }
        with tqdm(total=count, desc="drawing", unit="scene", disable=not progress) as bar:
            for rows, images, facts in _pieces(count, seed, 0, size, device, None):
                arrays["images"][rows] = images.cpu().numpy()
                arrays["labels"][rows] = _answers(facts, tasks).cpu().numpy()
                bar.update(len(images))
        for name in list(arrays):
            arrays.pop(name).flush()  # and closed: Windows moves no folder with an open file
        (draft / "names.json").write_text(json.dumps({"tasks": tasks}), encoding="utf-8")


def _known(tasks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tasks, str):
        raise ValueError(f"tasks must be a sequence of names; got the single text {tasks!r}.")
    tasks = tuple(tasks)
    if not tasks:
        raise ValueError("tasks must hold at least one name.")
    for task in tasks:
        if task not in TASKS:
            near = difflib.get_close_matches(str(task), TASKS, n=3, cutoff=0.5)
            hint = f"near to it: {', '.join(near)}" if near else "see scenes.TASKS"
            raise ValueError(f"tasks: there is no task {task!r}; {hint}.")
        if tasks.count(task) > 1:
            raise ValueError(f"tasks must differ; {task!r} stands there twice.")
    return tasks


def _answers(facts: Facts, tasks: Sequence[str]) -> Tensor:
    """Returns: int8 (n, tasks) in {0, 1}."""
    return torch.stack([TASKS[task].rule(facts) for task in tasks], dim=1).to(torch.int8)


def _pieces(
    count: int, seed: int, start: int, size: int, device: str, jobs: int | None
) -> Iterator[tuple[slice, Tensor, Facts]]:
    """Scenes in pieces of bounded size: their rows from 0 to `count`, pictures and facts."""
    key, start = stream(seed, "scenes"), whole("start", start, least=0)
    whole("size", size, least=16)
    on_cpu = torch.device(device).type == "cpu"
    chunk = max(1, (_CHUNK if on_cpu else _CHUNK_GPU) * 32 * 32 // (size * size))
    jobs = joblib.cpu_count() if jobs is None else whole("jobs", jobs, least=1)

    def piece(first: int) -> tuple[slice, Tensor, Facts]:
        last = min(first + chunk, count)
        with torch.inference_mode():
            world = _imagine(key, torch.arange(start + first, start + last, device=device), size)
            images, pixels = _paint(world)
            seen = pixels * 32 * 32 >= VISIBLE * size * size
        return slice(first, last), images, Facts(world, pixels, seen)

    firsts = range(0, count, chunk)
    if not on_cpu or jobs == 1 or len(firsts) == 1:
        yield from map(piece, firsts)
        return
    with one_thread():  # a thread a piece, not several that share one
        yield from joblib.Parallel(jobs, backend="threading", return_as="generator_unordered")(
            joblib.delayed(piece)(first) for first in firsts
        )


# ---------------------------------------------------------------------- the command


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws driving scenes to a folder, which `mtl_course.datasets.stored` opens."""
    parser = argparse.ArgumentParser(prog="python -m mtl_course.scenes", description=main.__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=THE_FOUR, metavar="TASK")
    parser.add_argument("--size", type=int, default=32, help="pixels on a side; default: 32")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        write(asked.folder, asked.count, asked.seed, tasks=asked.tasks, size=asked.size,
              device=asked.device)  # fmt: skip
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    seconds = time.perf_counter() - start
    speed = f"{asked.count / seconds:,.0f} scenes a second"
    parser.exit(message=f"{asked.folder}: {asked.count:,} scenes in {seconds:.1f} s, {speed}\n")


if __name__ == "__main__":
    main()
