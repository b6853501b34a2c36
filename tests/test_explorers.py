"""Guards mtl_course.explorers without a browser; tests/test_browser.py presses the widgets."""

import pytest

from mtl_course import datasets, studies, training, transfer
from mtl_course.explorers.adapt import Adapt
from mtl_course.explorers.predict import Prediction


def test_a_prediction_is_scored_by_brier():
    prediction = Prediction("Which?", ["new head", "all layers"])
    guess, sure = prediction.children[1:3]
    guess.value, sure.value = "new head", "very sure"
    assert "Kept" in prediction.children[3].value
    assert "right" in prediction.score("new head")
    assert "0.00" in prediction.score("new head")  # (1 − 0.95)² = 0.0025
    assert "wrong" in prediction.score("all layers")
    assert "0.90" in prediction.score("all layers")  # 0.95²


def test_nobody_at_the_keyboard_is_said():
    assert "Nobody" in Prediction("Which?", ["a", "b"]).score("a")


def test_a_question_needs_two_answers():
    with pytest.raises(ValueError, match="answers"):
        Prediction("Which?", ["a"])


def test_try_it_yourself_trains_what_it_says():
    written = datasets.handwritten_digits()
    source = transfer.pretrain(written.train, steps=2, width=2, seed=0, progress=False)
    explorer = Adapt(source, written, studies.run("digits"), steps=3)
    way, labels, button, said = explorer.children
    assert "10 seeds" in said.value
    way.value, labels.value = "new head", 30
    button.click()
    assert "Run 1: accuracy" in said.value
    assert f"{8 * 2 * 10 + 10} weights trained" in said.value
    assert not button.disabled
    training.evaluate(source, written.test)  # the source is still whole
