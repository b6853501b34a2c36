"""Guards mtl_course.studies.lesson_03: its scenes, and what a softmax answers."""

import pytest
import torch

from mtl_course import networks, scenes, training
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.studies import common, lesson_03


def test_the_scenes_of_a_seed_are_separate_draws(monkeypatch):
    monkeypatch.setattr(lesson_03, "SCENES", 64)
    monkeypatch.setattr(common, "TEST_SCENES", 96)
    one, again, other = (lesson_03.roads(seed) for seed in (3, 3, 4))
    assert torch.equal(one.train.images, again.train.images)
    pictures = [p.numpy().tobytes() for r in (one, other) for d in r[:2] for p in d.images]
    assert len(set(pictures)) == 2 * (64 + 96)
    assert one.effort.shape == one.train.labels.shape


def test_the_network_that_ships_answers_well():
    """As the ten of its study, on scenes that none of them has seen."""
    test = scenes.draw(1_000, seed=derive_seed(3, "unseen"), jobs=1)
    scores = lesson_03.answers(lesson_03.pretrained(), test)
    assert scores["accuracy"] > 0.88
    assert min(scores[task] for task in scenes.THE_FOUR) > 0.75


def test_a_softmax_says_one_thing_and_tuned_thresholds_say_more():
    """Against sklearn, and against thresholds looked for one by one."""
    from sklearn.metrics import roc_auc_score

    train, test = scenes.draw(200, seed=1, jobs=1), scenes.draw(300, seed=2, jobs=1)
    roads = lesson_03.Roads(train, test)
    tasks = roads.train.tasks
    data = Dataset(roads.train.images, torch.zeros(200).long(), classes=(*tasks, "none of them"))
    network = networks.classifier(data, width=4, seed=0)
    plain = lesson_03.softmax_answers(network, roads, tuned=False)
    chance = [training.predict(network, d).softmax(dim=1)[:, :4] for d in roads[:2]]
    truth = roads.test.labels.numpy()
    assert plain["auc"] == pytest.approx(
        sum(roc_auc_score(truth[:, j], chance[1][:, j]) for j in range(4)) / 4
    )
    assert plain["yes"] <= 0.25  # one of four tasks at most
    same = roads._replace(test=roads.train)  # scored where the thresholds were looked for
    tuned = lesson_03.softmax_answers(network, same, tuned=True)
    for j, task in enumerate(tasks):
        right = [
            ((chance[0][:, j] > cut) == (roads.train.labels[:, j] == 1)).double().mean().item()
            for cut in chance[0][:, j].unique()
        ]
        assert max(right) - 0.01 <= tuned[task] <= max(right) + 1e-9
