"""Guards scenes._sprites and scenes._stencils: what is painted, pixel by pixel."""

import itertools

import numpy as np
import pytest
import torch
from scene_helpers import SIZES, unpacked

from mtl_course.scenes import _stencils, _world
from mtl_course.scenes._sprites import KINDS, PARTS, SCALES
from mtl_course.scenes._stencils import FULL
from mtl_course.scenes._world import BENDS, HORIZONS, WIDTHS

LOOKS = [
    pytest.param(kind, look, id=f"{name} {i}")
    for name, kind in KINDS.items()
    for i, look in enumerate(kind.looks)
]


@pytest.mark.parametrize(("kind", "look"), LOOKS)
def test_the_box_of_a_kind_holds_all_its_shapes(kind, look):
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, 961), np.linspace(-0.3, 2, 921))
    width, height = kind.box
    outside = (np.abs(x) > width / 2) | (y > height)  # below the ground it is cut off
    for part, shape in look:
        assert part in range(PARTS)
        assert not (np.broadcast_to(shape(x, y), x.shape) & outside).any()
    assert set(kind.face) <= set(range(PARTS))


def test_a_stencil_covers_every_pixel_to_the_full():
    for (kind, look, distance), pixels in unpacked(32).items():
        assert bool(pixels) == (distance >= nearest(kind)), (kind, look, distance)
        assert len({(right, down) for right, down, *_ in pixels}) == len(pixels)
        for right, down, parts, behind, face in pixels:
            assert sum(parts) + behind == FULL
            assert behind < FULL, "a pixel that the thing does not touch"
            assert abs(right) <= _stencils.stencils(32, "cpu").margin
            assert down <= 0
            assert face == (sum(parts[part] for part in KINDS[kind].face) > FULL / 2)


def nearest(kind):
    """Return the smallest distance at which a thing of this kind may stand."""
    return min(slot.nearest for slot in _world.SLOTS if slot.kind == kind)


def covered(pixels, part):
    return sum(parts[part] for _, _, parts, _, _ in pixels) / FULL


@pytest.mark.parametrize("distance", [0, 3, 9])
def test_a_stencil_covers_as_much_as_the_shape_is_large(distance):
    size = 160  # large, so that counting points comes close to the area
    unit = size * SCALES[distance] / 64
    stencils = unpacked(size)
    octagon = 2 * (2**0.5 - 1) * unit**2  # of the width 1
    want = {
        ("stop sign", 0, 0): octagon * 0.235**2 - 0.184 * 0.066 * unit**2,
        ("round sign", 1, 0): np.pi / 4 * 0.155**2 * unit**2,
        ("round sign", 0, 0): np.pi / 4 * (0.27**2 - 0.155**2) * unit**2,
        ("yellow diamond", 0, 0): 0.22**2 / 2 * unit**2,
        ("traffic light", 2, 2): np.pi / 4 * 0.105**2 * unit**2,
    }
    for (kind, part, look), area in want.items():
        assert covered(stencils[kind, look, distance], part) == pytest.approx(area, rel=0.03), kind


def test_a_sprite_that_faces_the_other_way_is_the_mirrored_one():
    stencils = unpacked(32)
    for kind, one, other in [("car", 2, 3), ("cyclist", 0, 1), ("lamp post", 0, 1)]:
        for distance in range(nearest(kind), len(SCALES)):
            # Points lie evenly about the middle of a pixel, but edges belong to one side only.
            left, right = np.zeros((2, 65, 65, PARTS))
            for x, y, parts, *_ in stencils[kind, one, distance]:
                left[y, x + 32] = parts
            for x, y, parts, *_ in stencils[kind, other, distance]:
                right[y, 32 - x] = parts
            assert np.abs(left - right).sum() <= 0.02 * left.sum(), (kind, distance)


@pytest.mark.parametrize("size", SIZES)
def test_no_sprite_sticks_out_above_the_picture(size):
    # Its pixels would fall into the scene before it.
    highest = {
        key: min((p[1] for p in pixels), default=0) for key, pixels in unpacked(size).items()
    }
    for slot in set(_world.SLOTS):
        distances = range(slot.nearest, slot.farthest + 1)
        looks = range(len(KINDS[slot.kind].looks))
        for distance, look, horizon in itertools.product(distances, looks, HORIZONS):
            if slot.kind in _world.SKY:
                foot = horizon * slot.inner * size // 64**2
            else:
                foot = (horizon * (64 - SCALES[distance]) + 64 * SCALES[distance]) * size // 64**2
            top = min(foot, size - 1) + highest[slot.kind, look, distance]
            assert top >= 0, (slot.kind, look, distance, horizon)


@pytest.mark.parametrize("size", [16, 32, 48])
def test_the_ground_is_whole_and_the_road_lies_where_things_are_put(size):
    margin, grounds = _stencils.stencils(size, "cpu").margin, _stencils.grounds(size, "cpu")
    wide = size + 2 * margin
    assert grounds.shape == (3, 5, 2, len(_stencils.LAYERS), size * wide)
    assert (grounds.sum(dim=3) == FULL).all()
    assert torch.equal(grounds, grounds.round())
    assert grounds.min() >= 0
    grounds = grounds.unflatten(-1, (size, wide))
    for (h, horizon), (b, bend), (w, width), scale in itertools.product(
        enumerate(HORIZONS), enumerate(BENDS), enumerate(WIDTHS), SCALES[1:]
    ):
        row = (horizon * (64 - scale) + 64 * scale) * size // 64**2
        road = grounds[h, b, w, 4:7, row].sum(dim=0)  # with the line; (wide,)
        center = (road * torch.arange(wide)).sum() / road.sum() - margin
        middle = (32 * 64**2 + bend * (64 - scale) ** 2) * size // 64**3
        assert abs(center - middle) < 1, (horizon, bend, scale)
        half = width * scale * size / 64**2
        assert abs(road.sum() / FULL / 2 - half) < 0.5, (horizon, bend, scale)
    sky = grounds[:, 0, 0, :2].sum(dim=1)[..., 0] == FULL  # (horizons, size)
    assert [(s.sum() * 64 / size).item() for s in sky] == pytest.approx(HORIZONS, abs=64 / size)
