"""Guards mtl_course.experiments: what the scene studies hide, treat and score."""

import pandas as pd
import pytest
import torch

from mtl_course import networks, scenes, training
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.studies import lesson_04


@pytest.fixture(scope="module")
def roads() -> lesson_04.Roads:
    train, test = scenes.draw(200, seed=1, jobs=1), scenes.draw(300, seed=2, jobs=1)
    return lesson_04.Roads(train, test, scenes.effort(200, seed=1))


def test_the_scenes_of_a_seed_are_separate_draws(monkeypatch):
    monkeypatch.setattr(lesson_04, "SCENES", 64)
    monkeypatch.setattr(lesson_04, "TEST_SCENES", 96)
    one, again, other = (lesson_04.roads(seed) for seed in (3, 3, 4))
    assert torch.equal(one.train.images, again.train.images)
    pictures = [p.numpy().tobytes() for r in (one, other) for d in r[:2] for p in d.images]
    assert len(set(pictures)) == 2 * (64 + 96)
    assert one.effort.shape == one.train.labels.shape


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


def _seen(monkeypatch, data: Dataset, way: str) -> list[Dataset]:
    """What `treat` gives to `fit`."""
    given = []

    def fit(network: networks.Network, data: Dataset, **settings: float) -> None:
        given.append(data)
        network.history = pd.DataFrame()
        network.history.attrs["interrupted"] = False

    monkeypatch.setattr(plans, "fit", fit)
    lesson_04.treat(data, way, seed=0, rate=1e-2, steps=3)
    return given


def test_each_treatment_learns_from_what_it_says(roads, monkeypatch):
    partly = lesson_04.partly_known(roads, 0, lesson_04.HIDDEN[0], 0.25)
    unknown = partly.labels == UNKNOWN
    (masked,) = _seen(monkeypatch, partly, "mask")
    assert torch.equal(masked.labels, partly.labels)
    (zeros,) = _seen(monkeypatch, partly, "call it 0")
    assert torch.equal(zeros.labels, partly.labels.clamp(min=0))
    (kept,) = _seen(monkeypatch, partly, "drop the image")
    assert torch.equal(kept.labels, partly.labels[~unknown.any(dim=1)])
    first, second = _seen(monkeypatch, partly, "guess it")
    assert torch.equal(first.labels, partly.labels)
    assert torch.equal(second.labels[~unknown], partly.labels[~unknown])
    untrained = networks.shared(partly.tasks, width=lesson_04.SCENE_WIDTH, seed=0)
    guess = (training.predict(untrained, partly) > 0).to(torch.int8)
    assert torch.equal(second.labels[unknown], guess[unknown])


def test_dropping_all_but_a_few_images_trains_nothing(roads):
    partly = lesson_04.partly_known(roads, 0, lesson_04.HIDDEN[0], 0.8)
    assert lesson_04.treat(partly, "drop the image", seed=0, rate=1e-2, steps=3) is None


def test_a_softmax_says_one_thing_and_tuned_thresholds_say_more(roads):
    """Against sklearn, and against thresholds looked for one by one."""
    from sklearn.metrics import roc_auc_score

    tasks = roads.train.tasks
    data = Dataset(roads.train.images, torch.zeros(200).long(), classes=(*tasks, "none of them"))
    network = networks.classifier(data, width=4, seed=0)
    plain = lesson_04.softmax_answers(network, roads, tuned=False)
    chance = [training.predict(network, d).softmax(dim=1)[:, :4] for d in roads[:2]]
    truth = roads.test.labels.numpy()
    assert plain["auc"] == pytest.approx(
        sum(roc_auc_score(truth[:, j], chance[1][:, j]) for j in range(4)) / 4
    )
    assert plain["yes"] <= 0.25  # one of four tasks at most
    same = roads._replace(test=roads.train)  # scored where the thresholds were looked for
    tuned = lesson_04.softmax_answers(network, same, tuned=True)
    for j, task in enumerate(tasks):
        right = [
            ((chance[0][:, j] > cut) == (roads.train.labels[:, j] == 1)).double().mean().item()
            for cut in chance[0][:, j].unique()
        ]
        assert max(right) - 0.01 <= tuned[task] <= max(right) + 1e-9
