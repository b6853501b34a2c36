"""A driving scene imagined and painted, before anything is asked about it.

`imagine` draws the facts of a scene from a hash of (seed, index); `paint` puts the ground and then
every sprite on a canvas, the farthest first, and counts which pixels of what can still be seen. All
of it is exact arithmetic on whole numbers: the same picture whoever draws it, in whatever company,
on a CPU or on a GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtl_course.scenes import _sprites
from mtl_course.scenes._sprites import BENDS, HORIZONS, KINDS, PARTS, SCALES, WIDTHS

CONTRAST = 14
"""Grey levels, of 255, by which a pixel of a thing must differ from what is behind it, in fog and
darkness, to be seen."""


# ---------------------------------------------------------------------- what may be in a scene


class Slot(NamedTuple):
    """Room for one thing in a scene.

    chance: of 64 scenes, how many have it. nearest, farthest: numbers of `_sprites.SCALES`.
    aside: how far from the middle of the road, in 64ths of half its width; things of the sky
        have their height there instead, in 64ths of the sky.
    """

    kind: str
    chance: int
    nearest: int
    farthest: int
    aside: tuple[int, int]


_SKY = ("cloud", "sun")
SLOTS = (
    *[Slot("cloud", 26, 3, 8, (28, 58))] * 2,
    Slot("sun", 24, 3, 7, (28, 58)),
    *[Slot("building", 30, 6, 9, (110, 230))] * 3,
    *[Slot("tree", 28, 3, 9, (95, 210))] * 3,
    *[Slot("lamp post", 22, 2, 8, (72, 96))] * 2,
    Slot("mailbox", 28, 0, 6, (72, 96)),
    Slot("yellow diamond", 28, 0, 6, (70, 100)),
    Slot("round sign", 25, 0, 6, (70, 100)),
    Slot("stop sign", 34, 0, 6, (70, 100)),
    *[Slot("traffic light", 24, 0, 6, (66, 96))] * 2,
    *[Slot("car", 23, 1, 8, (18, 40))] * 2,
    Slot("car", 18, 3, 8, (0, 150)),
    Slot("cyclist", 26, 0, 6, (36, 76)),
    *[Slot("pedestrian", 20, 0, 4, (66, 116))] * 2,
    Slot("pedestrian", 16, 1, 5, (0, 66)),
)
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
CHOICES = 8  # every list of choices divides it

_SHINES = {"traffic light": 2, "lamp post": 0, "car": 3, "sun": 0, "building": 1}
"""The part of a thing that is a light itself; the night does not darken it."""

_EARTH = ((98, 140, 72), (172, 152, 108), (226, 230, 236), (142, 138, 134))
_UPPER_SKY = ((105, 160, 225), (88, 78, 135), (16, 20, 48))  # day, dusk, night
_LOWER_SKY = ((195, 218, 240), (245, 165, 110), (44, 48, 86))
_LIGHT = ((64, 64, 64), (52, 43, 44), (27, 29, 40))  # 64ths of what a thing's colour is by day
_SHADES = range(50, 65)  # 64ths of the light that falls on a thing
_FOG = ((206, 211, 216), (172, 144, 142), (46, 49, 62))
_FOGGED = (0, 34, 58)  # 64ths of fog in front of the farthest things: none, thin, thick
_NOISE = (2, 4, 8)  # grey levels, standard deviation
_LAYER_FOG = (32, 64, 64, 8, 64, 8, 30, 30)  # 64ths of it in front of each of `_sprites.LAYERS`


@functools.lru_cache(maxsize=32)
def slots_of(kind: str) -> list[int]:
    """The slots that hold things of this kind."""
    return [number for number, slot in enumerate(SLOTS) if slot.kind == kind]


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


class Order(NamedTuple):
    """What scenes are told to hold, in place of what their numbers draw.

    things: by kind the distance of its one thing, a number of `_sprites.SCALES`, or None where
        there is to be none; it stands inside of the picture. Other kinds stay as they are drawn.
    scene: the values of some of `World.scene`.
    """

    things: Mapping[str, int | None]
    scene: Mapping[str, int]


def imagine(key: int, index: Tensor, size: int, order: Order | None = None) -> World:
    """The scenes with these numbers, or as `order` changes them. index: int64 (n,)."""
    device, slots = index.device, len(SLOTS)
    draws = _draws(key, index, len(_GLOBALS) + slots * len(_MARKS))
    scene = {
        name: torch.tensor(values, device=device)[draws[:, i] * len(values) >> 31]
        for i, (name, values) in enumerate(_GLOBALS.items())
    }
    for name, value in (order.scene if order else {}).items():
        scene[name] = torch.full_like(scene[name], value)
    own = draws[:, len(_GLOBALS) :].view(-1, len(_MARKS), slots)
    mark = dict(zip(_MARKS, own.unbind(dim=1), strict=True))  # (n, slots) each

    def among(name: str, low: Sequence[int], high: Sequence[int]) -> Tensor:
        """A whole number from `low` to `high`, both included, which differ by slot."""
        low, high = torch.tensor(low, device=device), torch.tensor(high, device=device)
        return low + (mark[name] * (high - low + 1) >> 31)

    there = mark["there"] * 64 >> 31 < torch.tensor([s.chance for s in SLOTS], device=device)
    distance = among("distance", [s.nearest for s in SLOTS], [s.farthest for s in SLOTS])
    ordered = []  # slots
    for kind, far in (order.things if order else {}).items():
        there[:, slots_of(kind)] = False
        if far is not None:
            ordered.append(slots_of(kind)[0])
            there[:, ordered[-1]], distance[:, ordered[-1]] = True, far
    aside = among("aside", [s.aside[0] for s in SLOTS], [s.aside[1] for s in SLOTS])
    right = mark["side"] >> 30  # 0 on the left, 1 on the right
    look = among("look", [0] * slots, [len(KINDS[s.kind]) - 1 for s in SLOTS])
    choice = torch.stack([mark[f"part {i}"] * CHOICES >> 31 for i in range(PARTS)], dim=-1)
    for slot, (kind, *_) in enumerate(SLOTS):
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
    middle = _sprites.road(size, str(device))[scene["bend"][:, None], distance]
    x = middle + ((2 * right - 1) * aside * width * scale * size >> 18)
    sky = torch.tensor([slot.kind in _SKY for slot in SLOTS], device=device)
    y = torch.where(sky, horizon * aside * size >> 12, y).clamp_(max=size - 1)
    x = torch.where(sky, mark["shade"] * size >> 31, x)
    x[:, ordered] = x[:, ordered].clamp(size // 8, size - 1 - size // 8)
    shade = _SHADES.start + (mark["shade"] * len(_SHADES) >> 31)
    return World(size, scene, there, distance, x, y, look, shade, choice)


# ---------------------------------------------------------------------- paint

# A pixel is one int64 with four lanes of 16 bits: red, green, blue, and its owner, the slot + 1 of
# the thing that is seen there, or 0. A weighted sum of colours, in 64ths, never leaves its lane.
_LANES = 1 | 1 << 16 | 1 << 32
_COLOUR = 255 * _LANES
_HALF = _sprites.FULL // 2 * _LANES  # added before >> 6, it rounds to the nearest
_OWNER = 48
_EXACT = 2**52  # a whole number x below it is the low bits of the float64 x + 2⁵²


def _pack(colour: Tensor) -> Tensor:
    """colour: int64 (…, 3) in 0 … 255. Returns: int64 (…), with no owner."""
    red, green, blue = colour.unbind(dim=-1)
    return red | green << 16 | blue << 32


def paint(world: World) -> tuple[Tensor, Tensor]:
    """Pictures of n scenes, and how many pixels of each thing can be seen in them.

    Returns: uint8 (n, 3, size, size); int64 (n, slots).
    """
    n, slots = world.there.shape
    size, device = world.size, world.there.device
    stencils = _sprites.stencils(size, str(device))
    # The canvas has a margin on both sides, so that a sprite may stick out of the picture. None is
    # higher than its place in it.
    aside, wide = stencils.aside, size + 2 * stencils.aside
    canvas, row = _earth_and_sky(world)  # (n, size, wide), (n,)
    scene, slot, turns = _in_turn(world)  # (things,)

    first = torch.tensor([stencils.first[s.kind] for s in SLOTS], device=device)
    look, distance = world.look[scene, slot], world.distance[scene, slot]
    entry = (first[slot] + look) * len(SCALES) + distance
    foot = (row[scene] * size + world.y[scene, slot]) * wide + aside + world.x[scene, slot]
    length = stencils.length[entry]
    total = int(length.sum())
    # From here on tensors are (total,): every pixel of every thing.
    which = torch.repeat_interleave(length, output_size=total)
    skip = stencils.start[entry] - length.cumsum(0) + length
    pixel = skip.index_select(0, which) + torch.arange(total, device=device)
    spot = foot.index_select(0, which) + stencils.offset.index_select(0, pixel)
    owners = slot + 1 << _OWNER
    palettes = _palettes(world, scene, slot).double().unbind(dim=1)
    weights, through, tells, stays = _weights(size, str(device))

    pixels = canvas.view(-1)
    last = 0
    # Pixels of the things that are painted in this turn: few enough for a processor's cache.
    for count in _sums(length, turns).tolist():
        here = slice(last, last := last + count)
        thing, point = which[here], pixel[here]
        behind = pixels.index_select(0, spot[here])
        colour = behind & _COLOUR
        new = torch.full(colour.shape, _EXACT + _HALF, dtype=torch.float64, device=device)
        new.addcmul_(colour.double(), through.index_select(0, point))
        for palette, weight in zip(palettes, weights, strict=True):
            new.addcmul_(palette.index_select(0, thing), weight.index_select(0, point))
        new = new.view(torch.int64).bitwise_right_shift_(6).bitwise_and_(_COLOUR)
        lanes = (new.view(torch.int16) - colour.view(torch.int16)).abs_() >= CONTRAST
        mine = owners.index_select(0, thing) & tells.index_select(0, point)
        mine *= lanes.view(torch.int32) != 0  # any of the four
        owner = behind & stays.index_select(0, point)
        pixels.scatter_(0, spot[here], new.bitwise_or_(mine).bitwise_or_(owner))

    canvas[:, :, :aside] = canvas[:, :, -aside:] = 0  # nothing is seen in the margin
    hits = pixels.index_select(0, spot) >> _OWNER == (slot + 1).index_select(0, which)
    seen = torch.zeros(n, slots, dtype=torch.int64, device=device)
    seen[scene, slot] = _sums(hits, length)
    lanes = canvas[:, :, aside:-aside].index_select(0, row).view(torch.int16)
    clean = lanes.view(n, size, size, 4).permute(0, 3, 1, 2)[:, :3].contiguous()
    return clean.add_(_grain(world)).clamp_(0, 255).to(torch.uint8), seen


@functools.lru_cache(maxsize=8)
def _weights(size: int, device: str) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """The weights of all stencils, unpacked. A pixel that a thing covers by half is its own, if
    it tells what the thing is, or nobody's; of others the owner stays.

    Returns: (pixels,) each: of each part, and of what is behind, float64; where it tells what the
        thing is, and where the owner stays, int64 with all bits or none.
    """
    packed = _sprites.stencils(size, device).weights
    *parts, behind, tells = [packed >> 8 * i & 255 for i in range(PARTS + 2)]
    stays = behind * 2 >= _sprites.FULL
    return [part.double() for part in parts], behind.double(), -tells, (-1 << _OWNER) * stays


def _in_turn(world: World) -> tuple[Tensor, Tensor, Tensor]:
    """All things that are there: first the farthest of each scene, then the second farthest, …

    Returns: scene and slot, int64 (things,) each; how many things each turn has, int64 (turns,).
    """
    there = world.there & (world.x >= 0) & (world.x < world.size)
    device = there.device
    sky = torch.tensor([slot.kind in _SKY for slot in SLOTS], device=device)
    near = torch.where(sky, -1, len(SCALES) - world.distance)
    near = torch.where(there, near, len(SCALES) + 1)  # (n, slots)
    order = (near * len(SLOTS) + torch.arange(len(SLOTS), device=device)).argsort(dim=1)
    count = there.sum(dim=1)
    turn, scene = (torch.arange(len(SLOTS), device=device)[:, None] < count).nonzero(as_tuple=True)
    return scene, order[scene, turn], torch.bincount(turn)


def _sums(values: Tensor, counts: Tensor) -> Tensor:
    """Sums of the first counts[0] values, of the next counts[1], … Returns: int64, as counts."""
    before = torch.nn.functional.pad(values.cumsum(0), (1, 0))
    return before[torch.nn.functional.pad(counts.cumsum(0), (1, 0))].diff()


def _palettes(world: World, scene: Tensor, slot: Tensor) -> Tensor:
    """The colour of each part of each thing, in the light and the fog of its scene.

    Returns: int64 (things, PARTS), packed.
    """
    device, time = scene.device, world.scene["time"][scene]
    bright = time * len(_SHADES) + world.shade[scene, slot] - _SHADES.start  # (things,)
    choice = world.choice[scene, slot]  # (things, PARTS)
    parts = torch.arange(PARTS, device=device)
    colour = _colours(str(device))[slot[:, None], parts, choice, bright[:, None]]
    away = 64 - torch.tensor(SCALES, device=device)[world.distance[scene, slot]]
    fogged = torch.tensor(_FOGGED, device=device)[world.scene["fog"][scene]]
    thick = (fogged * away // (64 - SCALES[-1]))[:, None]
    return _in_fog(colour, thick, time)


@functools.lru_cache(maxsize=8)
def _colours(device: str) -> Tensor:
    """What each part of the thing in each slot may look like, by choice and by time and shade.

    Returns: int64 (slots, PARTS, CHOICES, times · shades), packed.
    """
    table = [
        [[choices[i % len(choices)] for i in range(CHOICES)] for choices in _COLOURS[slot.kind]]
        for slot in SLOTS
    ]
    colour = torch.tensor(table, device=device)[..., None, :]
    light = torch.tensor(_LIGHT, device=device)[:, None]  # (times, 1, 3)
    light = light * torch.tensor(_SHADES, device=device)[:, None] >> 6  # (times, shades, 3)
    shines = torch.tensor([_SHINES.get(slot.kind, -1) for slot in SLOTS], device=device)
    shines = shines[:, None] == torch.arange(PARTS, device=device)
    shines = shines[..., None].repeat(1, 1, CHOICES)  # (slots, PARTS, CHOICES)
    shines[slots_of("building"), :, 1::2] = False  # windows without a light
    lit = torch.where(shines[..., None, None], colour, colour * light.view(-1, 3) >> 6)
    return _pack(lit)


def _in_fog(colour: Tensor, thick: Tensor, time: Tensor) -> Tensor:
    """colour: int64 (k, parts), packed. thick: 64ths of fog. time: (k,). Returns: as colour."""
    fog = _pack(torch.tensor(_FOG, device=colour.device))[time][:, None]
    return colour * (64 - thick) + fog * thick >> 6 & _COLOUR


def _earth_and_sky(world: World) -> tuple[Tensor, Tensor]:
    """A canvas with sky, ground and road.

    Returns: int64 (n, size, size + 2 aside), packed; int64 (n,), where in it each scene is.
    """
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
    layers = _in_fog(_pack(torch.stack([upper, lower, *lit], dim=1)), thick, time)
    # Packed colours, weighted and summed, are whole numbers below 2⁴⁷: float64 multiplies them
    # without an error, in whatever order. Scenes that share a ground are multiplied at once.
    layers = layers.double()  # (n, layers)
    which = (scene["horizon"] * len(BENDS) + scene["bend"]) * len(WIDTHS) + scene["width"]
    order = which.argsort(stable=True)
    grounds = _sprites.grounds(world.size, str(device))
    counts = torch.bincount(which, minlength=len(grounds)).tolist()
    canvas = torch.empty(len(which), grounds.shape[-1], dtype=torch.float64, device=device)
    last = 0
    for ground, count in zip(grounds, counts, strict=True):
        rows = slice(last, last := last + count)
        torch.mm(layers[order[rows]], ground, out=canvas[rows])
    canvas = canvas.add_(_EXACT + _HALF).view(torch.int64)
    canvas.bitwise_right_shift_(6).bitwise_and_(_COLOUR)
    return canvas.view(len(which), world.size, -1), order.argsort()


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
