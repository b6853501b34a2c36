"""Guards scenes._painting: a picture is what a slow painter paints."""

import pytest
import torch
from scene_helpers import colors, unpacked, world_of

from mtl_course.scenes import TASKS, VISIBLE, _painting, _stencils, _world, draw, effort
from mtl_course.scenes._sprites import SCALES
from mtl_course.scenes._world import HORIZONS


def mix(color, other, weight):
    """`weight` 64ths of `other` over `color`."""
    return tuple((c * (64 - weight) + o * weight) // 64 for c, o in zip(color, other, strict=True))


def dim(color, light):
    return tuple(c * x // 64 for c, x in zip(color, light, strict=True))


def slow_ground(scene, size, ground):
    """The picture before any thing: [row][column] of a color, without the margins."""
    time, tint = scene["time"], scene["tint"]
    earth, road = _painting._EARTH[scene["earth"]], (82 + tint,) * 3
    kerb = (172 + tint,) * 3 if scene["kerb"] else earth
    line = (225 + tint,) * 3 if scene["line"] else road
    upper = tuple(c + tint // 2 for c in _painting._UPPER_SKY[time])
    lower = tuple(c - tint // 2 for c in _painting._LOWER_SKY[time])
    light = _painting._LIGHT[time]
    layers = [upper, lower, *(dim(x, light) for x in (earth, earth, road, road, line, kerb))]
    thick = [_painting._FOGGED[scene["fog"]] * share // 64 for share in _painting._LAYER_FOG]
    layers = [mix(c, _painting._FOG[time], t) for c, t in zip(layers, thick, strict=True)]
    picture = []
    for row in ground:  # [column][layer], 64ths
        picture.append(
            [
                tuple(
                    (sum(w * c[rgb] for w, c in zip(weights, layers, strict=True)) + 32) // 64
                    for rgb in range(3)
                )
                for weights in row
            ]
        )
    return picture


def slow_palette(scene, thing):
    """The color of each part of one thing in the light and the fog of its scene."""
    kind, palette = thing["kind"], []
    for part in range(len(_painting._COLORS[kind])):
        choices = colors(kind, part)
        choice = thing["choice"][part] % len(choices)
        color = choices[choice]
        shines = _painting._SHINES.get(kind) == part
        if kind == "building" and choice == 1:  # a dark window
            shines = False
        if not shines:
            light = tuple(x * thing["shade"] // 64 for x in _painting._LIGHT[scene["time"]])
            color = dim(color, light)
        away = 64 - SCALES[thing["distance"]]
        thick = _painting._FOGGED[scene["fog"]] * away // (64 - SCALES[-1])
        palette.append(mix(color, _painting._FOG[scene["time"]], thick))
    return palette


def slow_paint(scene, things, size, ground, stencils):
    """One scene, pixel by pixel: its picture, and how many pixels of each thing are seen."""
    picture = slow_ground(scene, size, ground)
    owner = [[None] * size for _ in range(size)]
    in_picture = [thing for thing in things if 0 <= thing["x"] < size]
    sky = [thing for thing in in_picture if thing["kind"] in ("cloud", "sun")]
    ground_things = [thing for thing in in_picture if thing not in sky]
    ground_things.sort(key=lambda thing: -thing["distance"])  # stable: then by slot
    for thing in sky + ground_things:
        palette = slow_palette(scene, thing)
        for right, down, parts, behind, face in stencils[
            thing["kind"], thing["look"], thing["distance"]
        ]:
            x, y = thing["x"] + right, thing["y"] + down
            if not 0 <= x < size:
                continue  # the margin
            old = picture[y][x]
            weighted = [(behind, old), *zip(parts, palette, strict=False)]
            new = tuple((sum(w * c[rgb] for w, c in weighted) + 32) // 64 for rgb in range(3))
            picture[y][x] = new
            if behind < 32:  # it covers more than half
                clear = max(abs(a - b) for a, b in zip(new, old, strict=True)) >= _painting.CONTRAST
                owner[y][x] = thing["slot"] if face and clear else None
    seen = [0] * len(_world.SLOTS)
    for row in owner:
        for slot in row:
            if slot is not None:
                seen[slot] += 1
    return picture, seen


@pytest.mark.parametrize(("size", "count"), [(32, 30), (16, 8), (45, 6)])
def test_pictures_are_those_of_a_slow_painter(monkeypatch, size, count):
    monkeypatch.setattr(
        _painting, "_grain", lambda w: torch.zeros(len(w.x), 3, size, size, dtype=torch.int16)
    )
    world = world_of(count, seed=6, size=size)
    pictures, pixels = _painting.paint(world)
    stencils, margin = unpacked(size), _stencils.stencils(size, "cpu").margin
    grounds = _stencils.grounds(size, "cpu").long()
    grounds = grounds.unflatten(-1, (size, size + 2 * margin))
    for i in range(count):
        scene = {name: values[i].item() for name, values in world.scene.items()}
        things = [
            {
                "slot": slot,
                "kind": _world.SLOTS[slot].kind,
                "choice": world.choice[i, slot].tolist(),
            }
            | {
                name: getattr(world, name)[i, slot].item()
                for name in ("distance", "x", "y", "look", "shade")
            }
            for slot in world.present[i].nonzero()[:, 0].tolist()
        ]
        ground = grounds[scene["horizon"], scene["bend"], scene["width"], :, :, margin:-margin]
        picture, seen = slow_paint(scene, things, size, ground.permute(1, 2, 0).tolist(), stencils)
        assert pictures[i].permute(1, 2, 0).tolist() == [[list(p) for p in r] for r in picture], i
        assert pixels[i].tolist() == seen, f"scene {i}: other pixels are seen"


def lone(kind, size=32, x=16, **scene):
    """A world of one scene that holds one thing, by day and in clear air unless told otherwise."""
    world = world_of(1, seed=0, size=size)
    slot = next(i for i, s in enumerate(_world.SLOTS) if s.kind == kind)
    there = torch.zeros_like(world.present)
    there[0, slot] = True
    facts = {name: torch.zeros_like(values) for name, values in world.scene.items()}
    facts |= {name: torch.tensor([value]) for name, value in scene.items()}
    fixed = {"distance": _world.SLOTS[slot].nearest, "x": x, "y": size - 2, "shade": 64}
    fixed = {name: torch.full_like(world.x, value) for name, value in fixed.items()}
    zero = {"look": torch.zeros_like(world.look), "choice": torch.zeros_like(world.choice)}
    return world._replace(scene=facts, present=there, **fixed, **zero), slot


def test_pixels_in_the_margin_are_not_seen():
    seen = {}
    for x in (-1, 0, 16, 31, 32):
        world, slot = lone("car", x=x)
        seen[x] = _painting.paint(world)[1][0, slot].item()
    assert seen[-1] == seen[32] == 0, "what stands outside of the picture is not painted"
    for x in (0, 31):  # the middle column is seen, and one half
        assert 0.4 * seen[16] < seen[x] < 0.7 * seen[16]


def test_a_thing_that_looks_like_what_is_behind_it_is_not_seen():
    for scene, is_seen in [({}, True), ({"time": 2, "fog": 2}, False)]:
        world, slot = lone("building", **scene)
        world.distance.fill_(9)
        world.y.fill_(HORIZONS[0] * 32 // 64)
        world.choice.fill_(1)  # no light behind the windows
        assert (_painting.paint(world)[1][0, slot] >= VISIBLE) == is_seen, scene


def test_a_sign_is_its_face_and_not_its_pole():
    stencils = unpacked(32)
    for kind in ("stop sign", "round sign", "yellow diamond", "traffic light"):
        world, slot = lone(kind)
        face = sum(own for *_, own in stencils[kind, 0, 0])
        touched = sum(behind < 32 for *_, behind, _ in stencils[kind, 0, 0])
        assert 0 < _painting.paint(world)[1][0, slot] <= face < touched, kind


@pytest.mark.parametrize("level", range(3))
def test_noise_has_the_level_that_is_stated(monkeypatch, level):
    world = world_of(300, seed=8)
    noisy = _painting.paint(world)[0].double()
    with monkeypatch.context() as patch:
        zero = torch.zeros(300, 3, 32, 32, dtype=torch.int16)
        patch.setattr(_painting, "_grain", lambda _: zero.clone())
        clean = _painting.paint(world)[0].double()
    rows = world.scene["noise"] == level
    inner = (clean > 60) & (clean < 195) & rows[:, None, None, None]  # nothing is cut off here
    noise = (noisy - clean)[inner]
    assert noise.std() == pytest.approx(_painting._NOISE[level], rel=0.03)
    assert abs(noise.mean()) < 0.1
    first, second = rows.nonzero()[:2, 0]
    assert not torch.equal((noisy - clean)[first], (noisy - clean)[second])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("size", [32, 48])
def test_a_gpu_draws_the_same_scenes(size):
    here = draw(500, seed=4, size=size, tasks=list(TASKS))
    there = draw(500, seed=4, size=size, tasks=list(TASKS), device="cuda")
    assert there.images.device.type == there.labels.device.type == "cuda"
    assert torch.equal(there.labels.cpu(), here.labels)
    assert (there.images.cpu().int() - here.images.int()).abs().max() <= 1
    weights = effort(500, seed=4, size=size, device="cuda")
    assert torch.allclose(weights.cpu(), effort(500, seed=4, size=size))
