"""Guards mtl_course.studies.lesson_04: which labels are hidden, and how each treatment learns."""

import pytest
import torch

from mtl_course import networks, scenes, training
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.studies import lesson_04


@pytest.fixture(scope="module")
def roads() -> lesson_04.Roads:
    train = scenes.draw(200, seed=1, jobs=1)
    return lesson_04.Roads(train, train, scenes.effort(200, seed=1))


@pytest.mark.parametrize("hidden", lesson_04.HIDDEN)
def test_the_stated_share_of_each_task_is_hidden(roads, hidden):
    partly = lesson_04.partly_known(roads, 0, hidden, 0.8)
    unknown = partly.labels == UNKNOWN
    assert unknown.sum(dim=0).tolist() == [160] * 4
    assert torch.equal(partly.labels[~unknown], roads.train.labels[~unknown])


def test_hard_questions_are_skipped_more_often(roads):
    share = {}
    for hidden in lesson_04.HIDDEN:
        unknown = lesson_04.partly_known(roads, 0, hidden, 0.5).labels == UNKNOWN
        share[hidden] = roads.effort[unknown].mean() / roads.effort[~unknown].mean()
    assert share[lesson_04.HIDDEN[1]] > 1.5 > share[lesson_04.HIDDEN[0]]


def test_one_label_an_image_costs_as_much_as_a_quarter_of_the_images(roads):
    one = lesson_04.partly_known(roads, 0, lesson_04.ONE_LABEL, 0.75).labels != UNKNOWN
    few = lesson_04.partly_known(roads, 0, lesson_04.FEWER, 0.75)
    assert one.sum(dim=1).tolist() == [1] * 200
    assert one.sum() == few.labels.numel() == 200
    assert one.sum(dim=0).min() > 30  # every task gets about a quarter


def _learned(data: Dataset, way: str) -> list[Dataset]:
    """Return the data that `treat` trains on, network by network."""
    given = []

    def fit(network: networks.Network, data: Dataset, **settings: float) -> None:
        given.append(data)
        training.fit(network, data, **settings)

    lesson_04.treat(data, way, seed=0, rate=1e-2, steps=3, fit=fit)
    return given


def test_each_treatment_learns_from_what_it_says(roads):
    partly = lesson_04.partly_known(roads, 0, lesson_04.HIDDEN[0], 0.25)
    unknown = partly.labels == UNKNOWN
    (masked,) = _learned(partly, "mask")
    assert torch.equal(masked.labels, partly.labels)
    (zeros,) = _learned(partly, "call it 0")
    assert torch.equal(zeros.labels, partly.labels.clamp(min=0))
    (kept,) = _learned(partly, "drop the image")
    assert torch.equal(kept.labels, partly.labels[~unknown.any(dim=1)])
    first, second = _learned(partly, "guess it")
    assert torch.equal(first.labels, partly.labels)
    assert torch.equal(second.labels[~unknown], partly.labels[~unknown])
    network = lesson_04.treat(partly, "mask", seed=0, rate=1e-2, steps=3)
    guess = (training.predict(network, partly) > 0).to(torch.int8)
    assert set(guess[unknown].tolist()) == {0, 1}
    assert torch.equal(second.labels[unknown], guess[unknown])


def test_dropping_all_but_a_few_images_trains_nothing(roads):
    partly = lesson_04.partly_known(roads, 0, lesson_04.HIDDEN[0], 0.8)
    assert lesson_04.treat(partly, "drop the image", seed=0, rate=1e-2, steps=3) is None
