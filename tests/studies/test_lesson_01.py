"""Guards mtl_course.studies.lesson_01: what is compared on clothes, and by what it was chosen."""

import pytest
import torch

from mtl_course import networks, studies, training, transfer
from mtl_course.studies import lesson_01


def images(data) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.images}


def test_choices_are_made_without_the_test():
    train, held_back = lesson_01._development()
    test = lesson_01.only(lesson_01.photographs().test, lesson_01.B)
    assert (len(train), len(held_back), len(test)) == (3_500, 1_500, 2_000)
    # A few photographs are in Fashion-MNIST twice.
    assert len(images(train) & images(held_back)) <= 5
    assert len((images(train) | images(held_back)) & images(test)) <= 5


def test_a_and_b_have_no_kind_in_common_and_each_seed_has_its_own_a():
    assert sorted(lesson_01.A + lesson_01.B) == sorted(lesson_01.CLOTHES)
    first, second = lesson_01.task_a(0), lesson_01.task_a(1)
    assert first.classes == lesson_01.A
    assert len(first) == len(second) == 8_000
    assert images(first) != images(second)


@pytest.mark.parametrize("way", transfer.WAYS)
def test_the_rate_is_the_best_for_every_way(way):
    rows = studies.run("clothes_tuning", only={"way": [way]})
    assert rows.groupby("setting")["accuracy"].mean().idxmax() == lesson_01.RATE


def test_c_and_gamma_are_the_best_pair():
    rows = studies.run("clothes_tuning", only={"way": [lesson_01.SUPPORT_VECTORS]})
    means = rows.groupby(["setting", "gamma"])["accuracy"].mean()
    assert means.idxmax() == (lesson_01.C, lesson_01.GAMMA)


def test_from_scratch_has_reached_its_plateau():
    rows = studies.run("clothes_plateau")
    means = rows.pivot_table(index="steps", columns="labels", values="accuracy")
    more = means.loc[lesson_01.PLATEAU + 1 :] - means.loc[lesson_01.PLATEAU]
    assert len(more)
    assert (more < 0.01).all(axis=None)


def test_the_same_compute_counts_the_images_of_both_tasks():
    of_a, of_b = lesson_01.PRETRAINING * 128, lesson_01.STEPS * 64
    assert of_a + of_b == lesson_01.SAME_COMPUTE * 64


def test_a_distance_is_measured_from_a_networks_own_start():
    data = lesson_01.task_a(0)
    start = networks.classifier(data, width=2, seed=0)
    end = networks.classifier(data, width=2, seed=0)
    assert lesson_01._distance(start, end) == 0
    with torch.no_grad():
        for weight in end.trunk.parameters():
            weight.mul_(1.5)
    assert lesson_01._distance(start, end) == pytest.approx(0.5, rel=1e-5)


def test_the_network_that_ships_has_learned_a():
    network = lesson_01.pretrained()
    unseen = lesson_01.only(lesson_01.photographs().test, lesson_01.A)
    assert training.evaluate(network, unseen)["accuracy"].item() > 0.8


@pytest.mark.full  # its 600 steps take half a minute
def test_it_is_the_one_of_its_seed():
    """The weights of another processor differ by rounding; its answers hardly do."""
    unseen = lesson_01.only(lesson_01.photographs().test, lesson_01.A)
    answers = [
        training.predict(network, unseen).argmax(dim=1)
        for network in (lesson_01.pretrained(), lesson_01.source(seed=100))
    ]
    assert (answers[0] == answers[1]).double().mean() > 0.95
