"""Paint driving scenes: the ground, then every sprite, the farthest first; count what is visible.

All of it is exact arithmetic on whole numbers: the same picture on a CPU and on a GPU.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from mtl_course.scenes._sprites import PARTS, SCALES
from mtl_course.scenes._stencils import FULL, grounds, stencils
from mtl_course.scenes._world import CHOICES, SCENE_VALUES, SHADES, SKY, SLOTS, World, lookup

CONTRAST = 14  # gray levels by which a pixel of a thing differs from what is behind it, if seen

_CLOTHES = "c82d32 ebe1d2 2850aa f5be32 2d2d37 3c825a 9650a0 5a5f69"
_TROUSERS, _SKIN = "2d375f 28282d 786e5f 553c32", "f0c8aa d7a582 96694b 644637"
_CARS = "be2328 cd3c2d 2855af 4682c8 ebebee d7d7dc 282a30 e6be28"
_WALLS = "b95f4b a55046 d2bea0 c3c8cd 969ba5 e1d7be a08c78 7d8291"
_COLORS = {  # of each part: what it may be, red, green and blue in hexadecimal
    "pedestrian": (_CLOTHES, _TROUSERS, _SKIN, "32231e 78502d d2b46e 1e1e23"),
    "car": (_CARS, "3c4b5f", "161619", "fffacd eb1e1e"),
    "stop sign": ("cd1923", "f0f0ee", "73767a"),
    "traffic light": ("232628", "4b463e", "ff3228 ffc828 3cf082 3cf082", "73767a"),
    "cyclist": (_CLOTHES, _TROUSERS, _SKIN, "1e1e23 aa2828"),
    "round sign": ("cd1923", "f0f0ee", "73767a"),
    "yellow diamond": ("f5c31e", "f0f0ee", "73767a"),
    "lamp post": ("ffebaa", "55585c"),
    "mailbox": ("1e4baa cd282d f0be1e 286e4b", "19191e", "695a4b"),
    "building": (_WALLS, "ffe182 4b5a6e", "783c32 50525a", "503c32"),
    "tree": ("417837 2d5f32 55873c c8782d", "78a550 96af5a", "5f4632"),
    "cloud": ("fafafc", "cdd2dc"),
    "sun": ("ffeb96",),
}
# The part that is a light itself, and that the night does not darken; of windows, every other one.
_SHINES = {"traffic light": 2, "lamp post": 0, "car": 3, "sun": 0, "building": 1}

_EARTH = ((98, 140, 72), (172, 152, 108), (226, 230, 236), (142, 138, 134))
_UPPER_SKY = ((105, 160, 225), (88, 78, 135), (16, 20, 48))  # day, dusk, night
_LOWER_SKY = ((195, 218, 240), (245, 165, 110), (44, 48, 86))
_LIGHT = ((64, 64, 64), (52, 43, 44), (27, 29, 40))  # 64ths of what a thing's color is by day
_FOG = ((206, 211, 216), (172, 144, 142), (46, 49, 62))
_FOGGED = (0, 34, 58)  # 64ths of fog in front of the farthest things: none, thin, thick
_LAYER_FOG = (32, 64, 64, 8, 64, 8, 30, 30)  # 64ths of it in front of each of `_stencils.LAYERS`
_NOISE = (2, 4, 8)  # gray levels, standard deviation
_STEP = 7  # between two places at which a window of noise may start

# A pixel is one int64 with four lanes of 16 bits: red, green, blue, and its owner, the slot + 1 of
# the thing that is seen there, or 0. A weighted sum of colors, in 64ths, never leaves its lane.
_LANES = 1 | 1 << 16 | 1 << 32
_COLOR = 255 * _LANES
_HALF = FULL // 2 * _LANES  # added before >> 6, it rounds to the nearest
_OWNER = 48
_EXACT = 2**52  # a whole number x below it is the low bits of the float64 x + 2⁵²


def paint(world: World) -> tuple[Tensor, Tensor]:
    """Return pictures of n scenes, and how many pixels of each thing can be seen in them.

    Returns: uint8 (n, 3, size, size); int64 (n, slots).
    """
    (n, slots), size, device = world.present.shape, world.size, world.present.device
    # The canvas has a margin on both sides, into which a sprite may stick out; none is too high.
    margin, first, start, lengths, offset, weights, face, thin = stencils(size, str(device))
    wide = size + 2 * margin
    canvas, row = _earth_and_sky(world)  # (n, size, wide), (n,)
    scene, slot, turns = _in_turn(world)  # (things,)

    entry = first[slot] + world.look[scene, slot] * len(SCALES) + world.distance[scene, slot]
    foot = (row[scene] * size + world.y[scene, slot]) * wide + margin + world.x[scene, slot]
    length = lengths[entry]
    total = int(length.sum())
    # From here on tensors are (total,): every pixel of every thing.
    which = torch.repeat_interleave(length, output_size=total)
    skip = start[entry] - length.cumsum(0) + length
    pixel = skip.index_select(0, which) + torch.arange(total, device=device)
    spot = foot.index_select(0, which) + offset.index_select(0, pixel)
    # A pixel that a thing covers by more than half is its own, where its face does, or nobody's;
    # of others the owner stays. Masks have all bits or none.
    owners = slot + 1 << _OWNER
    owns, keeps = -face.long(), -thin.long() << _OWNER
    palettes = _palettes(world, scene, slot).double().unbind(dim=1)
    *parts, through = weights

    pixels = canvas.view(-1)
    counts = _sums(length, turns).tolist()
    # Pixels of the things that are painted in this turn: few enough for a processor's cache.
    for thing, point, here in zip(*(t.split(counts) for t in (which, pixel, spot)), strict=True):
        behind = pixels.index_select(0, here)
        color = behind & _COLOR
        new = torch.full(color.shape, _EXACT + _HALF, dtype=torch.float64, device=device)
        new.addcmul_(color.double(), through.index_select(0, point))
        for palette, part in zip(palettes, parts, strict=True):
            new.addcmul_(palette.index_select(0, thing), part.index_select(0, point))
        new = new.view(torch.int64).bitwise_right_shift_(6).bitwise_and_(_COLOR)
        lanes = (new.view(torch.int16) - color.view(torch.int16)).abs_() >= CONTRAST
        owner = owners.index_select(0, thing) & owns.index_select(0, point)
        owner *= lanes.view(torch.int32) != 0  # any of the four
        kept = behind & keeps.index_select(0, point)
        pixels.scatter_(0, here, new.bitwise_or_(owner).bitwise_or_(kept))

    canvas[:, :, :margin] = canvas[:, :, -margin:] = 0  # nothing is seen in the margin
    visible = pixels.index_select(0, spot) >> _OWNER == (slot + 1).index_select(0, which)
    seen = torch.zeros(n, slots, dtype=torch.int64, device=device)
    seen[scene, slot] = _sums(visible, length)
    lanes = canvas[:, :, margin:-margin].index_select(0, row).view(torch.int16)
    clean = lanes.view(n, size, size, 4).permute(0, 3, 1, 2)[:, :3].contiguous()
    return clean.add_(_grain(world)).clamp_(0, 255).to(torch.uint8), seen


def _in_turn(world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Order the things in the pictures: the farthest of each scene, then the second farthest, …

    Returns: scene and slot, int64 (things,) each; how many things each turn has, int64 (turns,).
    """
    shown = world.present & (world.x >= 0) & (world.x < world.size)
    slots = torch.arange(len(SLOTS), device=shown.device)
    sky = torch.tensor([slot.kind in SKY for slot in SLOTS], device=shown.device)
    near = torch.where(sky, -1, len(SCALES) - world.distance)
    near = torch.where(shown, near, len(SCALES) + 1)  # (n, slots)
    order = (near * len(SLOTS) + slots).argsort(dim=1)
    turn, scene = (slots[:, None] < shown.sum(dim=1)).nonzero(as_tuple=True)
    return scene, order[scene, turn], torch.bincount(turn)


def _sums(values: Tensor, counts: Tensor) -> Tensor:
    """Return sums of the first counts[0] values, of the next counts[1], …, int64 as `counts`."""
    before = torch.nn.functional.pad(values.cumsum(0), (1, 0))
    return before[torch.nn.functional.pad(counts.cumsum(0), (1, 0))].diff()


def _palettes(world: World, scene: Tensor, slot: Tensor) -> Tensor:
    """Return the color of each part in its scene's light and fog, packed, int64 (things, PARTS)."""
    time = world.scene["time"][scene]
    light = time * len(SHADES) + world.shade[scene, slot] - SHADES.start  # (things,)
    parts = torch.arange(PARTS, device=scene.device)
    where = (slot[:, None], parts, world.choice[scene, slot], light[:, None])  # (things, PARTS)
    color = _colors(str(scene.device))[where]
    away = 64 - lookup(SCALES, world.distance[scene, slot])
    thick = lookup(_FOGGED, world.scene["fog"][scene]) * away // (64 - SCALES[-1])
    return _in_fog(color, thick[:, None], time)


@functools.lru_cache(maxsize=8)
def _colors(device: str) -> Tensor:
    """Return the packed colors of all parts, int64 (slots, PARTS, CHOICES, times · shades)."""
    color = torch.zeros(len(SLOTS), PARTS, CHOICES, 3, dtype=torch.int64, device=device)
    shines = torch.zeros(len(SLOTS), PARTS, CHOICES, 1, dtype=torch.bool, device=device)
    for slot, (kind, *_) in enumerate(SLOTS):
        for part, choices in enumerate(_COLORS[kind]):
            values = torch.tensor([*bytes.fromhex(choices)], device=device).view(-1, 3)
            color[slot, part] = values.repeat(CHOICES // len(values), 1)
        if kind in _SHINES:
            shines[slot, _SHINES[kind], :: 2 if kind == "building" else 1] = True
    light, shade = torch.tensor(_LIGHT, device=device), torch.tensor(SHADES, device=device)
    light = (light[:, None] * shade[:, None] >> 6).view(-1, 3)  # (times · shades, 3)
    color = color[..., None, :]
    return _pack(torch.where(shines[..., None], color, color * light >> 6))


def _pack(color: Tensor) -> Tensor:
    """Return int64 (…, 3) in 0 … 255 as int64 (…), with no owner."""
    red, green, blue = color.unbind(dim=-1)
    return red | green << 16 | blue << 32


def _in_fog(color: Tensor, thick: Tensor, time: Tensor) -> Tensor:
    """Mix int64 (k, parts), packed, with `thick` 64ths of the fog of this time (k,)."""
    fog = _pack(lookup(_FOG, time))[:, None]
    return color * (64 - thick) + fog * thick >> 6 & _COLOR


def _earth_and_sky(world: World) -> tuple[Tensor, Tensor]:
    """Return a canvas with sky, ground and road.

    Returns: int64 (n, size, size + 2 margin), packed; int64 (n,), where in it each scene is.
    """
    scene, device = world.scene, world.present.device
    time, tint = scene["time"], scene["tint"][:, None]
    earth = lookup(_EARTH, scene["earth"])  # (n, 3)
    road = (82 + tint).expand(-1, 3)
    kerb = torch.where(scene["kerb"][:, None] > 0, 172 + tint, earth)
    line = torch.where(scene["line"][:, None] > 0, 225 + tint, road)
    upper, lower = lookup(_UPPER_SKY, time) + tint // 2, lookup(_LOWER_SKY, time) - tint // 2
    light = lookup(_LIGHT, time)
    lit = [layer * light >> 6 for layer in (earth, earth, road, road, line, kerb)]
    thick = lookup(_FOGGED, scene["fog"])[:, None] * torch.tensor(_LAYER_FOG, device=device) >> 6
    # Packed colors, weighted and summed, are whole numbers below 2⁴⁷: float64 multiplies them
    # without an error, in whatever order. Scenes that share a ground are multiplied at once.
    layers = _in_fog(_pack(torch.stack([upper, lower, *lit], dim=1)), thick, time).double()
    pictures = grounds(world.size, str(device))  # (horizons, bends, widths, layers, pixels)
    _, bends, widths, *_ = pictures.shape
    which = (scene["horizon"] * bends + scene["bend"]) * widths + scene["width"]
    order = which.argsort(stable=True)
    pictures = pictures.flatten(0, 2)
    counts = torch.bincount(which, minlength=len(pictures)).tolist()
    canvas = torch.empty(len(which), pictures.shape[-1], dtype=torch.float64, device=device)
    for rows, picture, out in zip(order.split(counts), pictures, canvas.split(counts), strict=True):
        torch.mm(layers[rows], picture, out=out)
    canvas = canvas.add_(_EXACT + _HALF).view(torch.int64)
    canvas.bitwise_right_shift_(6).bitwise_and_(_COLOR)
    return canvas.view(len(which), world.size, -1), order.argsort()


def _grain(world: World) -> Tensor:
    """Return the camera's noise, windows into a fixed strip: int16 (n, 3, size, size)."""
    values = world.size * world.size * 3
    strip = _noise(values, str(world.present.device))  # (levels, length)
    start = world.scene["noise"] * strip.shape[1] + world.scene["grain"] * _STEP
    windows = strip.view(-1).as_strided((strip.numel() - values, values), (1, 1))
    return windows.index_select(0, start).view(-1, 3, world.size, world.size)


@functools.lru_cache(maxsize=8)
def _noise(values: int, device: str) -> Tensor:
    """Return fixed strips of noise, one a level: int16 (levels, length)."""
    length = values + _STEP * len(SCENE_VALUES["grain"])
    strip = np.random.default_rng(0).standard_normal(length)
    return torch.from_numpy(np.outer(_NOISE, strip).round().astype(np.int16)).to(device)
