"""Guards mtl_course.studies.lesson_02, .lesson_02_digits and .advice: what each study varies."""

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_course import networks, scenes, studies
from mtl_course.base import derive_seed
from mtl_course.studies import advice, common, headline, lesson_02, lesson_02_digits

SHIPPED = studies.SHIPPED


def test_every_kind_of_a_asks_what_it_says():
    for kind, tasks in lesson_02.QUESTIONS.items():
        data = lesson_02.images_of(3, kind, count=64)
        assert data.tasks == tasks
        assert torch.equal(data.images, scenes.draw(64, derive_seed(3, "A"), jobs=1).images)


def test_random_labels_are_those_of_other_images():
    real, random = (
        lesson_02.images_of(3, kind, count=400) for kind in ("the four", lesson_02.RANDOM)
    )
    assert torch.equal(real.images, random.images)
    assert torch.equal(real.labels.sum(dim=0), random.labels.sum(dim=0))
    assert sorted(map(tuple, real.labels.tolist())) == sorted(map(tuple, random.labels.tolist()))
    same = (real.labels == random.labels).double().mean(dim=0)
    share = real.labels.double().mean(dim=0)
    assert torch.allclose(same, share**2 + (1 - share) ** 2, atol=0.1), "they still know x"


def test_all_images_of_a_seed_are_shuffled_alike():
    real, shuffled = (
        lesson_02.images_of(3, kind, count=50) for kind in ("the four", lesson_02.SHUFFLED)
    )
    assert torch.equal(real.labels, shuffled.labels)
    one, other = real.images.flatten(1), shuffled.images.flatten(1)
    assert torch.equal(one.sort(dim=1).values, other.sort(dim=1).values)
    # One order for all: a pixel's values over the images stand together somewhere else.
    columns = {tuple(column) for column in real.images[:, 0].flatten(1).T.tolist()}
    assert all(tuple(c) in columns for c in shuffled.images[:, 0].flatten(1).T.tolist())
    assert (one != other).any(dim=1).all()
    again, stranger = (lesson_02.images_of(seed, lesson_02.SHUFFLED, count=50) for seed in (3, 4))
    assert torch.equal(again.images, shuffled.images)
    assert not torch.equal(stranger.images, shuffled.images)


def test_a_of_the_size_map_is_seen_at_least_once_and_larger_ones_for_longer():
    for scenes_of_a, steps in lesson_02.STEPS_OF_A.items():
        assert steps * 128 >= scenes_of_a - 128
    assert list(lesson_02.STEPS_OF_A.values()) == sorted(lesson_02.STEPS_OF_A.values())


def test_a_and_b_and_the_test_share_no_scene(monkeypatch):
    """Of one seed, and of two."""
    drawn = []
    real = scenes.draw

    def draw(count, seed, **settings):
        data = real(min(count, 200), seed, **settings)
        drawn.append((seed, {image.numpy().tobytes() for image in data.images}))
        return data

    monkeypatch.setattr(scenes, "draw", draw)
    monkeypatch.setattr(common, "fitting", lambda seed, *_: {"seed": seed, "steps": 1})
    for seed in (0, 1):
        source = lesson_02.trunk(seed, 1_000)
        cell = {"a": 1_000, "b": 100, "way": "all layers"}
        lesson_02._size_map(source, seed, **cell)
    seeds, pictures = zip(*drawn, strict=True)
    assert len(set(seeds)) == 6  # A, B and the test of two seeds
    assert sum(map(len, pictures)) == len(set().union(*pictures))


@pytest.mark.parametrize(
    ("way", "how", "steps", "rate_of"),
    [
        ("all layers", "all layers", 300, "all layers"),
        (lesson_02.FASTER, "all layers", 300, "from scratch"),
        (lesson_02.LONGER, "from scratch", 3_000, "from scratch"),
    ],
)
def test_a_control_changes_what_its_name_says_and_nothing_else(
    monkeypatch, way, how, steps, rate_of
):
    calls = []

    def adapt(source, data, how, *, fit, **settings):
        calls.append((how, settings))
        network = networks.new_head(source, data, seed=0)
        fit(network, data, **settings | {"steps": 1})
        return network

    monkeypatch.setattr(common, "adapt", adapt)
    lesson_02._size_map(lesson_02.trunk(0, 0), 0, a=0, b=100, way=way)
    ((got, settings),) = calls
    rate = lesson_02.RATES[lesson_02.TARGET][rate_of]
    assert (got, settings["steps"], settings["learning_rate"]) == (how, steps, rate)
    assert settings["seed"] == derive_seed(0, "B network")


def test_print_has_as_many_digits_of_each_thickness():
    data = lesson_02_digits.print_of(3, "thickness", count=2_000)
    counts = torch.bincount(data.labels, minlength=10)
    assert counts.min() > 150
    ink = data.images.float().mean(dim=(1, 2, 3))
    means = [ink[data.labels == k].mean() for k in range(10)]
    assert means == sorted(means)


def test_letters_are_printed_like_digits():
    data = lesson_02_digits.print_of(3, "letters", count=200)
    assert data.classes == tuple("ABCDEFGHJK")
    assert data.images.shape == (200, 1, 8, 8)
    assert not torch.equal(data.images, lesson_02_digits.print_of(3, "digits", count=200).images)


# ---------------------------------------------------------------------- what was chosen

CHOSEN = [
    ("dials_tuning", task, way, rate)
    for task, rates in lesson_02.RATES.items()
    for way, rate in rates.items()
] + [
    ("new_tasks_tuning", task, way, rate)
    for task, rates in headline.NEW_TASK_RATES.items()
    for way, rate in rates.items()
]


@pytest.mark.parametrize(("study", "task", "way", "rate"), CHOSEN)
def test_each_learning_rate_is_the_best_on_development_seeds(study, task, way, rate):
    rows = pd.read_csv(SHIPPED / f"{study}.csv")
    mine = rows[(rows["task"] == task) & (rows["way"] == way)]
    means = mine.groupby("rate")["auc"].mean()
    assert rate == means.idxmax(), means
    assert not set(rows["seed"]) & set(studies.STUDIES["size_map"].seeds)


# ---------------------------------------------------------------------- advice


def test_advice_names_the_nearest_cells_and_how_far_they_are():
    table = advice.transfer(1_000_000, 1_000)
    assert table["times"].tolist() == [1.0, 33.3, 33.3], "the kinds of A have 30,000 scenes"
    assert table["nearest measured"].iloc[0] == "1,000,000 → 1,000"
    assert advice.transfer(30_000, 100)["times"].tolist()[1:] == [1.0, 1.0]
    far = advice.transfer(20_000, 500_000, x="something else altogether", kinship="brightness")
    assert far["nearest measured"].iloc[0] == "10,000 → 30,000"
    assert far["times"].iloc[0] == pytest.approx(500 / 30, abs=0.1)
    assert "sounds" in far["nearest measured"].iloc[1]
    assert "brightness" in far["nearest measured"].iloc[2]


def test_advice_shows_intervals_of_rows_that_ship():
    rows = studies.run("size_map", only={"b": [1_000], "a": [0, 1_000_000]})
    ways = rows.pivot_table(index="seed", columns="way", values="auc")
    found = advice.transfer(1_000_000, 1_000).iloc[0]
    assert found["mean"] == pytest.approx((ways["all layers"] - ways["from scratch"]).mean())
    assert found["low"] < found["mean"] < found["high"]
    assert set(advice.transfer(5, 5)["verdict"]) <= {
        "supported", "opposite", "no difference", "cannot tell",
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"a": 0}, {"b": -1}, {"x": "music"}, {"kinship": "cousin"}])
def test_advice_refuses_what_it_does_not_know(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        advice.transfer(**{"a": 1_000, "b": 100} | wrong)


# ---------------------------------------------------------------------- the shipped rows


def test_each_kind_of_a_shares_the_rows_of_from_scratch():
    rows = studies.run("relatedness")
    scratch = rows[rows["way"] == "from scratch"]
    assert set(scratch["a"]) == {lesson_02.NOTHING}
    assert not scratch.duplicated(["task", "labels", "seed"]).any()


def test_a_frozen_trunk_sees_as_its_source_does():
    rows = studies.run("relatedness", only={"way": ["new head"], "layers": [lesson_02.ALL]})
    np.testing.assert_allclose(rows[["cka 1", "cka 2", "cka 3"]], 1, atol=1e-6)
