"""What tests of several files of scenes need."""

import functools
import itertools

import torch

from mtl_course.base import derive_seed
from mtl_course.scenes import _painting, _stencils, _world
from mtl_course.scenes._sprites import KINDS, SCALES

SIZES = [16, 32, 48, 77]  # the smallest, the usual, one that divides evenly, and an odd one


def same(one, other):
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def world_of(count, seed, size=32):
    """Return the scenes that `draw` paints, imagined but not painted."""
    return _world.imagine(derive_seed(seed, "scenes"), torch.arange(count), size)


def colors(kind, part):
    """Return what a part of a thing may look like: [(red, green, blue), …]."""
    values = bytes.fromhex(_painting._COLORS[kind][part])
    return [tuple(values[i : i + 3]) for i in range(0, len(values), 3)]


@functools.cache
def unpacked(size):
    """Return every stencil: {(kind, look, distance): [(right, down, parts, behind, face), …]}."""
    stencils = _stencils.stencils(size, "cpu")
    wide, every = size + 2 * stencils.margin, {}
    for kind, (looks, *_) in KINDS.items():
        first = stencils.first[_world.slots_of(kind)[0]]
        for look, distance in itertools.product(range(len(looks)), range(len(SCALES))):
            entry = first + look * len(SCALES) + distance
            rows = slice(stencils.start[entry], stencils.start[entry] + stencils.length[entry])
            columns = (stencils.offset[rows], stencils.weights[:, rows].T, stencils.face[rows])
            pixels = []
            for offset, weights, face in zip(*(c.tolist() for c in columns), strict=True):
                down, right = divmod(offset + stencils.margin, wide)
                *parts, behind = map(int, weights)
                pixels.append((right - stencils.margin, down, parts, behind, face))
            every[kind, look, distance] = pixels
    return every
