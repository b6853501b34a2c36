"""Guards scenes._drawing: a scene is a function of its number; its facts, effort, and to order."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_helpers import SIZES, same

from mtl_course import datasets, scenes
from mtl_course.base import derive_seed
from mtl_course.scenes import TASKS, THE_FOUR, _drawing, _painting, draw, effort, facts, write
from mtl_course.scenes._sprites import KINDS


@pytest.fixture(scope="module")
def long():
    return draw(300, seed=4, tasks=list(TASKS), jobs=1)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1024])
@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_scene_does_not_depend_on_how_it_is_drawn(long, monkeypatch, chunk, jobs):
    monkeypatch.setattr(_drawing, "_CHUNK", chunk)
    part = draw(40, seed=4, start=100, tasks=list(TASKS), jobs=jobs)
    assert same(part, long.subset(slice(100, 140)))


@given(st.integers(0, 299).flatmap(lambda k: st.tuples(st.just(k), st.integers(1, 300 - k))))
@settings(max_examples=30, deadline=None)
def test_a_draw_is_a_slice_of_a_longer_draw(long, place):
    start, count = place
    part = draw(count, seed=4, start=start, tasks=list(TASKS), jobs=1)
    assert same(part, long.subset(slice(start, start + count)))


@pytest.mark.parametrize("size", SIZES)
def test_scenes_of_every_size_are_slices_too(size, monkeypatch):
    longer = draw(12, seed=4, size=size, jobs=1)
    assert longer.images.shape == (12, 3, size, size)
    monkeypatch.setattr(_drawing, "_CHUNK", 1)
    assert same(draw(5, seed=4, start=6, size=size), longer.subset(slice(6, 11)))


def test_scenes_far_along_are_slices_too(monkeypatch):
    far = draw(20, seed=4, start=10_000_000, jobs=1)
    monkeypatch.setattr(_drawing, "_CHUNK", 3)
    assert same(draw(9, seed=4, start=10_000_011), far.subset(slice(11, 20)))
    assert not same(far, draw(20, seed=4, jobs=1))


def test_a_draw_depends_on_its_seed_alone(long):
    torch.rand(3)
    np.random.rand(3)
    assert same(draw(300, seed=4, tasks=list(TASKS)), long)
    shuffled = draw(300, seed=4, tasks=list(TASKS)[::-1])
    assert torch.equal(shuffled.labels, long.labels.flip(1))


def test_no_scene_repeats_within_or_between_seeds_and_roles(long):
    seeds = [4, 5, *(derive_seed(0, role) for role in ("A", "B", "test"))]
    draws = [draw(300, seed=seed, jobs=1) for seed in seeds]
    assert len({image.numpy().tobytes() for data in draws for image in data.images}) == 1500


def test_scenes_are_bytes_with_yes_or_no_labels():
    data = draw(5, seed=0)
    assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int8)
    assert (data.images.shape, data.labels.shape) == ((5, 3, 32, 32), (5, 4))
    assert data.tasks == THE_FOUR


def test_drawing_takes_one_thread_a_piece_and_gives_the_others_back(monkeypatch):
    seen, real = [], _painting.paint

    def paint(world):
        seen.append(torch.get_num_threads())
        return real(world)

    monkeypatch.setattr(_drawing, "paint", paint)
    monkeypatch.setattr(_drawing, "_CHUNK", 8)
    torch.set_num_threads(2)
    try:
        draw(32, seed=0, jobs=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [1] * 4


@pytest.mark.parametrize(("size", "most"), [(32, 64), (64, 16), (128, 4), (600, 1)])
def test_scenes_come_in_pieces_of_bounded_size(monkeypatch, size, most):
    monkeypatch.setattr(_drawing, "_CHUNK", 64)
    monkeypatch.setattr(_drawing, "paint", lambda world: (world.x, world.x))
    rows = [rows for rows, *_ in _drawing._pieces(2 * most + 1, 0, 0, size, "cpu", 1)]
    assert rows == [slice(0, most), slice(most, 2 * most), slice(2 * most, 2 * most + 1)]


def test_pieces_are_not_painted_long_before_they_are_taken(monkeypatch):
    painted, real = itertools.count(), _painting.paint

    def paint(world):
        next(painted)
        return real(world)

    monkeypatch.setattr(_drawing, "paint", paint)
    monkeypatch.setattr(_drawing, "_CHUNK", 1)
    pieces = _drawing._pieces(500, 0, 0, 16, "cpu", 2)
    for _ in range(10):
        next(pieces)
        time.sleep(0.01)  # a slow disk
    pieces.close()
    assert next(painted) < 30, "pieces pile up in memory"


def test_facts_are_slices_too_and_do_not_change_the_picture(monkeypatch):
    whole = facts(60, seed=5)
    monkeypatch.setattr(_drawing, "_CHUNK", 8)
    part = facts(25, seed=5, start=30)
    want = whole[whole["scene"].between(30, 54)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, want)
    assert list(whole)[:4] == ["scene", "time", "fog", "thing"]
    assert set(whole["thing"]) <= set(KINDS)


@pytest.mark.parametrize("size", [32, 64])
def test_effort_is_what_its_docstring_says(size):
    table = facts(400, seed=5, size=size)
    scene = table.groupby("scene")[["time", "fog"]].first()
    factor = np.where(scene["time"] == "night", 2.0, 1.0) * np.where(scene["fog"] > 0, 2.0, 1.0)
    weights = effort(400, seed=5, size=size)
    assert weights.dtype == torch.float32
    assert weights.shape == (400, 4)
    for column, task in enumerate(THE_FOUR):
        seen = table[(table["thing"] == task) & table["seen"]]
        largest = seen.groupby("scene")["pixels"].max().reindex(range(400))
        small = (40 * (size / 32) ** 2 / largest).clip(0.5, 8).fillna(1)
        np.testing.assert_allclose(weights[:, column], factor * small, rtol=1e-6)
    again = effort(30, seed=5, size=size, start=100, tasks=("car",))
    assert torch.equal(again, weights[100:130, 1:2])
    assert len(datasets.hide(draw(400, seed=5), 0.5, seed=0, weight=weights).labels) == 400


def test_effort_is_for_kinds_of_things():
    with pytest.raises(ValueError, match=r"tasks must be kinds.*'night'"):
        effort(1, 0, tasks=("car", "night"))


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"count": 0}, "count must be at least 1; got 0"),
        ({"count": -3}, "count"),
        ({"count": 2.0}, "count must be a whole number"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"start": -1}, "start"),
        ({"start": None}, "start"),
        ({"size": 15}, "size must be at least 16"),
        ({"size": 32.0}, "size"),
        ({"jobs": 0}, "jobs"),
        ({"tasks": ("cart",)}, "tasks: there is no task 'cart'; did you mean .*car"),
        ({"tasks": ("red lights",)}, "red light"),
        ({"tasks": ("zzzzzz",)}, "no task 'zzzzzz'; see scenes.TASKS"),
        ({"tasks": (3,)}, "no task 3"),
        ({"tasks": ("car", "night", "car")}, "tasks must differ; 'car'"),
        ({"tasks": "car"}, "tasks must be a sequence.*'car'"),
        ({"tasks": ()}, "tasks must be a sequence of one or more"),
    ],
)
def test_draw_names_the_argument_that_is_wrong(arguments, word):
    with pytest.raises(ValueError, match=word):
        draw(**{"count": 2, "seed": 0} | arguments)


@pytest.mark.parametrize("function", [facts, effort, write])
@pytest.mark.parametrize(
    ("name", "value"), [("count", 0), ("seed", -1), ("start", -1), ("size", 15), ("size", "big")]
)
def test_its_neighbours_name_the_argument_that_is_wrong(tmp_path, function, name, value):
    settings = {"count": 2, "seed": 0, name: value}
    if function is write:
        if name == "start":
            return  # it has none
        settings |= {"folder": tmp_path / "roads", "progress": False}
    with pytest.raises(ValueError, match=name):
        function(**settings)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_named(tmp_path):
    for absent, what in (("cuda:99", "is not on this machine"), ("abacus", "must be like 'cpu'")):
        with pytest.raises(ValueError, match=f"device .*{what}"):
            draw(4, seed=0, device=absent)
        with pytest.raises(ValueError, match=what):
            write(tmp_path / "roads", 4, seed=0, device=absent, progress=False)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- to order


ORDERED = ("pedestrian", "car", "stop sign", "traffic light", "cyclist", "round sign")
NOTHING = dict.fromkeys(ORDERED)


@pytest.mark.parametrize("kind", ORDERED)
def test_a_thing_to_order_is_there_as_near_as_it_was_asked_for(kind):
    """On eight roads by day: seen when near, and the nearer the more of it."""
    for start in range(8):
        counts = []
        for far in scenes.distances(kind):
            data, pixels = scenes.compose(5, NOTHING | {kind: far}, start=start, tasks=ORDERED)
            counts.append(pixels[kind])
            assert dict(zip(ORDERED, data.labels[0].tolist(), strict=True)) == {
                other: int(other == kind and pixels[kind] >= scenes.VISIBLE) for other in ORDERED
            }
        assert counts[0] >= scenes.VISIBLE
        assert counts[0] > counts[-1]


def test_nothing_ordered_is_the_scene_that_is_drawn():
    drawn = scenes.draw(40, seed=3)
    facts = scenes.facts(40, seed=3).groupby("scene")[["time", "fog"]].first()
    for start in (0, 17, 39):
        time, fog = facts.loc[start]
        data, pixels = scenes.compose(3, {}, time=time, fog=int(fog), start=start)
        assert torch.equal(data.images[0], drawn.images[start])
        assert torch.equal(data.labels[0], drawn.labels[start])
        assert pixels == {}


def test_night_and_fog_to_order_dim_the_same_scene():
    order = NOTHING | {"pedestrian": 0}
    (day, _), (night, _) = (scenes.compose(1, order, time=time) for time in ("day", "night"))
    assert night.images.double().mean() < day.images.double().mean() - 20
    far = NOTHING | {"car": scenes.distances("car")[-1]}
    seen = [scenes.compose(1, far, fog=fog)[1]["car"] for fog in (0, 2)]
    assert seen[1] < seen[0]


def test_what_cannot_be_ordered_is_refused():
    with pytest.raises(ValueError, match="no 'tram'"):
        scenes.compose(0, {"tram": 1})
    with pytest.raises(ValueError, match="has the distances 0 to"):
        scenes.compose(0, {"stop sign": 99})
    with pytest.raises(ValueError, match="time must be"):
        scenes.compose(0, {}, time="noon")
    with pytest.raises(ValueError, match="fog in"):
        scenes.compose(0, {}, fog=3)
