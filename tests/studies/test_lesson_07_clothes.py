"""Guards studies.lesson_07_clothes: whose photographs, which questions, which rates."""

import pandas as pd
import pytest
import torch

from mtl_course import studies, training
from mtl_course.datasets import CLOTHES, UNKNOWN
from mtl_course.studies import lesson_01
from mtl_course.studies import lesson_07_clothes as lesson_07

SHIPPED = studies.SHIPPED


def rows_of(name: str) -> pd.DataFrame:
    """Read the rows that ship: `studies.run` would train what is missing."""
    return pd.read_csv(SHIPPED / f"{name}.csv")


def pictures(data) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.images}


def test_no_photograph_serves_a_and_b_or_both_learning_and_the_test():
    """But for the few that Fashion-MNIST itself holds twice."""
    a, pool, test = lesson_07.parts()
    for data, each in ((a, 1_100), (pool, 500), (test, 100)):
        counts = data.labels.bincount(minlength=10).tolist()
        assert [counts[CLOTHES.index(kind)] for kind in CLOTHES] == [each] * 10
    tuned = lesson_07._learn_and_score(tries=True)
    sides = [pictures(data) for data in (a, *tuned, test)]
    for i, one in enumerate(sides):
        for other in sides[i + 1 :]:
            assert len(one & other) <= 2
    assert pictures(tuned.train) | pictures(tuned.test) == pictures(pool)


def test_choices_are_made_without_the_test(monkeypatch):
    scored = []

    def score(network, data):
        scored.append(pictures(data))
        return 0.5

    monkeypatch.setattr(lesson_07.common, "accuracy", score)
    monkeypatch.setattr(lesson_07, "STEPS", 1)
    network = lesson_07.source(0, fit=lambda network, data, **how: None)
    _, pool, test = map(pictures, lesson_07.parts())
    lesson_07._photographs(network, 0, "from scratch", 20)
    lesson_07._photographs(network, 0, "from scratch", 20, rate=1e-3)
    reported, tried = scored
    assert reported == test and tried < pool


def test_the_backbone_sees_color_and_the_small_network_what_was_published():
    seen = []

    def fit(network, data, **how):
        seen.append((tuple(data.images.shape[1:]), how["steps"], how["batch_size"]))
        return training.fit(network, data, **how | {"steps": 1, "batch_size": 2})

    network = lesson_07.source(0, fit=lambda network, data, **how: None)
    for way in (lesson_07.IMAGENET_HEAD, lesson_07.OTHER_HEAD):
        row = lesson_07._photographs(network, 0, way, 20, fit=fit)
        assert row["chosen rate"] == lesson_07.RATES[way][0]
    assert seen == [((3, 96, 96), 400, 64), ((1, 28, 28), 400, 64)]


def test_the_questions_are_answered_by_kind_or_left_open():
    _, pool, _ = lesson_07.parts()
    data = lesson_07.asked(pool)
    assert data.tasks == tuple(lesson_07.QUESTIONS)
    answers = {
        kind: dict(zip(data.tasks, data.labels[pool.labels == number][0].tolist(), strict=True))
        for number, kind in enumerate(CLOTHES)
    }
    shoes = {kind for kind in CLOTHES if answers[kind]["worn on the feet"] == 1}
    assert shoes == {"sandal", "sneaker", "ankle boot"}
    assert answers["pullover"]["long sleeves"] == 1 and answers["T-shirt"]["long sleeves"] == 0
    # A dress or a shirt may have either; a coat may reach anywhere.
    assert answers["dress"]["long sleeves"] == answers["shirt"]["long sleeves"] == UNKNOWN
    assert answers["coat"]["covers the legs"] == UNKNOWN
    assert answers["coat"]["opens at the front"] == 1
    for kind in range(10):  # the kind decides, or nothing does
        assert (data.labels[pool.labels == kind] == data.labels[pool.labels == kind][0]).all()


def test_question_marks_are_called_no_only_where_that_is_the_way():
    seen = {}

    def fit(network, data, **how):
        seen[way] = data.labels
        return training.fit(network, data, **how | {"steps": 1})

    for way in lesson_07.QUESTION_RATES:
        lesson_07._questions(None, 3, way, 100, fit=fit)
    mask, five, zero = seen.values()
    assert torch.equal(mask, five) and (mask == UNKNOWN).any()
    assert torch.equal(zero, mask.clamp_min(0))


@pytest.mark.parametrize("way", lesson_07.RATES)
def test_each_rate_is_the_best_that_was_tried(way):
    tried = rows_of("photographs_tuning")
    assert not set(tried["seed"]) & set(studies.study("photographs").seeds)
    tried = tried[tried["way"] == way]
    means = tried.groupby(["labels", "rate"])["accuracy"].mean().unstack("labels")
    chosen = lesson_07.RATES[way]
    assert chosen[1] == means[1_000].idxmax(), means
    if 50 in means:  # a backbone from scratch has 1,000 labels only
        assert chosen[0] == means[50].idxmax(), means


@pytest.mark.parametrize("way", lesson_07.QUESTION_RATES)
def test_each_rate_of_the_questions_is_the_best_that_was_tried(way):
    tried = rows_of("questions_tuning")
    assert not set(tried["seed"]) & set(studies.study("questions").seeds)
    means = tried[tried["way"] == way].groupby("rate")["auc"].mean()
    assert lesson_07.QUESTION_RATES[way] == means.idxmax(), means


def test_rows_were_trained_at_the_chosen_rates_and_steps():
    for row in rows_of("photographs").to_dict("records"):
        assert row["chosen rate"] == lesson_07.RATES[row["way"]][row["labels"] > 50]
        large = row["way"] in (lesson_07.IMAGENET_ALL, lesson_07.BACKBONE_SCRATCH)
        steps = lesson_07.LARGE_STEPS if large else lesson_07.STEPS
        assert row["steps"] == (0 if row["way"] == lesson_01.SUPPORT_VECTORS else steps)
    for row in rows_of("questions").to_dict("records"):
        assert row["chosen rate"] == lesson_07.QUESTION_RATES[row["way"]]
