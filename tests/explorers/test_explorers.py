"""Guards mtl_course.explorers without a browser; tests/test_browser.py presses the widgets.

The larger explorers have files of their own: test_cells, test_compass, test_label_sheet,
test_scene_maker, test_surgery.
"""

import html
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_course import figures, networks, scenes, storage, training
from mtl_course.explorers import _frame, predict
from mtl_course.explorers.predict import Prediction


@pytest.fixture(autouse=True)
def _predictions_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_COURSE_PREDICTIONS", str(tmp_path / "kept" / "predictions.csv"))


# ---------------------------------------------------------------------------------- predictions

GAINS = pd.DataFrame(
    {"labels": [10, 100], "mean": [0.2, 0.1], "low": [0.1, 0.05], "high": [0.3, 0.2]}
)


def committed(question: str, guess: str, sure: str) -> Prediction:
    """A prediction that somebody has committed."""
    made = Prediction(question, ["new head", "all layers"])
    assert made._commit.disabled, "nothing is chosen"
    made._guess.value, made._sure.value = guess, sure
    made._commit.click()
    return made


def scored(question: str, guess: str, sure: str, truth: str) -> str:
    return html.unescape(committed(question, guess, sure).reveal(truth)._answer.value)


@pytest.mark.parametrize(
    ("truth", "words"),
    [("new head", ["right", "0.00"]), ("all layers", ["wrong", "0.90"])],  # (1 − 0.95)², 0.95²
)
def test_a_prediction_is_scored_by_brier(truth, words):
    said = scored("Which?", "new head", "very sure", truth)
    assert all(word in said for word in [*words, f"The measured answer: {truth}"])


def test_the_answer_is_folded_until_somebody_commits():
    question = Prediction("Which?", ["new head", "all layers"])
    figure = figures.gains({"a": GAINS}, "labels", xlabel="labels", ylabel="gain")
    figure.alt = "A gain that lies above 0 at both numbers of labels."
    place = question.reveal("new head", "The head wins.", figure)
    assert "Folded" in place._answer.value
    assert not place._page.value
    question._guess.value = "all layers"
    question._commit.click()
    assert "wrong" in place._answer.value
    assert "<img" in place._page.value
    assert "The head wins." in place._page.value


def test_a_prediction_is_kept_at_once_and_found_after_a_restart():
    committed("Which?", "new head", "rather sure")
    assert predict.so_far().empty, "its answer is not known"
    again = Prediction("Which?", ["new head", "all layers"])  # the cell is run again
    assert "Kept: “new head”, rather sure" in again._answer.value
    assert again._guess.disabled, "a prediction that was committed can be changed"
    assert "right" in again.reveal("new head")._answer.value
    assert predict.so_far()["confidence"].tolist() == [0.75]


def test_the_answer_can_be_seen_without_a_prediction(capsys):
    question = Prediction("Which?", ["a", "b"])
    place = question.reveal("a")
    question._skip.click()
    assert "The measured answer: a. You made no prediction." in place._answer.value
    assert predict.so_far().empty
    predict.show_calibration()
    assert "Nobody" in capsys.readouterr().out


def test_what_other_seeds_did_not_keep_is_not_scored():
    said = scored("Which?", "new head", "very sure", None)
    assert "no prediction is scored" in said
    assert predict.so_far().empty


def test_a_truth_that_is_no_answer_is_refused():
    with pytest.raises(ValueError, match="truth must be one of a, b"):
        Prediction("Which?", ["a", "b"]).reveal("c")


def test_what_is_committed_does_not_give_the_answer_away():
    """A page without a kernel shows it behind a fold; plain text does not show it at all."""
    still = Prediction("Which?", ["a", "b"]).reveal("b", text="It is b.").static()
    shown = re.sub("<details>.*</details>", "", still["text/html"], flags=re.DOTALL)
    assert "It is b" in still["text/html"]
    assert not shown
    assert "b." not in still["text/plain"].replace("run this cell.", "")


def test_predictions_are_kept_from_lesson_to_lesson():
    scored('A "first", with a comma?', "new head", "very sure", "new head")
    said = scored("A second?", "all layers", "a coin toss", "new head")
    assert "So far 1 of 2 right, mean Brier score 0.13" in said  # (0.05² + 0.5²) / 2
    table = predict.so_far()
    assert table["question"].tolist() == ['A "first", with a comma?', "A second?"]
    assert table["confidence"].tolist() == [0.95, 0.5]
    assert (table["guess"] == table["truth"]).tolist() == [True, False]


def test_two_notebooks_keep_their_predictions_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: predict._keep(f"Question {k}?", "a", 0.5, "a"), range(24)))
    assert len(predict.so_far()) == 24


def test_predictions_in_a_read_only_course_lie_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MTL_COURSE_PREDICTIONS")
    (tmp_path / "file").touch()
    monkeypatch.setattr(storage, "HOME", tmp_path / "file")
    monkeypatch.setattr(storage.platformdirs, "user_data_path", lambda name: tmp_path / name)
    assert predict.so_far().empty
    scored("Which?", "new head", "very sure", "new head")
    assert (tmp_path / "mtl_course" / "predictions.csv").exists()
    assert predict.so_far()["question"].tolist() == ["Which?"]


@pytest.mark.parametrize("given", ["", "~/p.csv"])
def test_the_file_of_predictions_is_named_as_people_name_files(given, monkeypatch, tmp_path):
    monkeypatch.setenv("MTL_COURSE_PREDICTIONS", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    want = tmp_path / "p.csv" if given else storage.results_folder() / "predictions.csv"
    assert predict._file() == want


def test_calibration_counts_by_confidence(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("mtl_course.figures.show", lambda _, alt: shown.append(alt))
    for number, truth in enumerate(["new head", "new head", "all layers"]):
        scored(f"Question {number}?", "new head", "rather sure", truth)
    scored("And?", "all layers", "very sure", "all layers")
    predict.show_calibration()
    brier = np.mean([0.25**2, 0.25**2, 0.75**2, 0.05**2])
    for said in (capsys.readouterr().out, shown[0]):
        assert "75% sure: right 2 times of 3" in said
        assert "95% sure: right 1 times of 1" in said
        assert f"{brier:.2f}" in said


def test_a_damaged_file_of_predictions_is_said():
    committed("Which?", "new head", "very sure")
    predict._file().write_text("question,guess\nWhich?,new head\n", encoding="utf-8")
    with pytest.raises(ValueError, match="delete it"):
        predict.so_far()


def test_a_question_needs_two_answers():
    with pytest.raises(ValueError, match="answers"):
        Prediction("Which?", ["a"])


# ----------------------------------------------------------------------------- frames and runs


@pytest.mark.parametrize("widget", [Prediction("Which way?", ["a < b", "b"])])
def test_where_no_widget_runs_its_picture_stands(widget, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    widget._ipython_display_()
    picture, bundle = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert not bundle["text/html"] and not bundle["text/plain"]  # or both would be read
    assert "a &lt; b" in picture["text/html"]
    assert "run this cell" in picture["text/html"]


def live(work, *asked) -> tuple[_frame.Live, list]:
    """A button with its run, and what it has said."""
    said = _frame.output("answer")
    return _frame.Live("Train", said, work, lambda: asked), said


@pytest.fixture(scope="module")
def roads():
    return scenes.draw(64, seed=1)


def test_a_run_trains_what_fit_trains(roads):
    kept = []

    def work(run: _frame.Run, steps: int) -> str:
        kept.append(networks.shared(roads.tasks, width=2, seed=0))
        return f"loss {run.fit(kept[0], roads, steps=steps, seed=3)['loss'].iloc[-1]:.4f}"

    pressed, said = live(work, 6)
    pressed.children[0].click()
    pressed.thread.join()
    alone = networks.shared(roads.tasks, width=2, seed=0)
    history = training.fit(alone, roads, steps=6, seed=3, progress=False)
    assert said.value == f"loss {history['loss'].iloc[-1]:.4f}"
    for one, other in zip(alone.parameters(), kept[0].parameters(), strict=True):
        assert torch.equal(one, other)
    assert "Done in" in pressed.children[1].value


def test_a_run_tells_how_far_it_is_and_can_be_stopped(roads):
    ended = []

    def work(run: _frame.Run) -> str:
        try:
            run.fit(networks.shared(roads.tasks, width=2, seed=0), roads, steps=5_000, seed=0)
        finally:
            ended.append(True)
        return "never"

    pressed, said = live(work)
    button, progress = pressed.children
    button.click()
    assert button.description == "Stop"
    end = time.monotonic() + 300
    while "of 5,000" not in progress.value and time.monotonic() < end:
        time.sleep(0.01)
    assert re.search(r"step \d+ of 5,000", progress.value)
    button.click()
    assert (button.description, progress.value) == ("Train", "Stopped.")
    pressed.thread.join(300)
    assert ended
    assert (said.value, progress.value) == ("", "Stopped.")


def test_what_a_stopped_run_says_last_does_not_stay():
    """The press comes while the run is telling a step."""
    telling = threading.Event()

    class Slow:
        said = ""

        @property
        def value(self) -> str:
            return self.said

        @value.setter
        def value(self, text: str) -> None:
            if text == "step 1":
                telling.set()
                time.sleep(0.3)
            self.said = text

    def work(run: _frame.Run) -> str:
        run.tell("step 1")
        run.check()
        return "never"

    pressed, said = live(work)
    pressed._progress = slow = Slow()
    pressed.children[0].click()
    assert telling.wait(300)
    pressed.children[0].click()
    pressed.thread.join(300)
    assert slow.value == "Stopped."
    assert (said.value, pressed.children[0].description) == ("", "Train")


def test_a_stopped_run_is_not_heard():
    """What it says between the press and its next step."""

    def work(run: _frame.Run) -> str:
        started.set()
        run.stop.wait(300)
        run.tell("step 2")
        return "the end"

    started = threading.Event()
    pressed, said = live(work)
    pressed.children[0].click()
    assert started.wait(300)
    pressed.children[0].click()
    pressed.thread.join(300)
    assert (said.value, pressed.children[1].value) == ("", "Stopped.")


def test_a_stopped_run_leaves_the_next_one_alone():
    """The first cannot be stopped at once: what it would have said comes too late."""
    go, started = threading.Event(), []

    def work(run: _frame.Run) -> str:
        started.append(run)
        if len(started) == 1:
            go.wait(300)
            return "the first"
        return "the second"

    pressed, said = live(work)
    button, progress = pressed.children
    button.click()
    first = pressed.thread
    while not started:
        time.sleep(0.01)
    button.click()
    button.click()
    time.sleep(0.3)
    assert "Waiting" in progress.value
    go.set()
    first.join(300)
    pressed.thread.join(300)
    assert said.value == "the second"
    assert "Done" in progress.value


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_that_fails_says_why_and_can_be_tried_again():
    tries = []

    def work(run: _frame.Run) -> str:
        tries.append(run)
        if len(tries) == 1:
            raise ValueError("labels must be < 5")
        return "well"

    pressed, said = live(work)
    button, progress = pressed.children
    button.click()
    pressed.thread.join()
    assert progress.value == "The run failed: labels must be &lt; 5"
    button.click()
    pressed.thread.join()
    assert said.value == "well"


# ---------------------------------------------------------------------------------- modules

FOLDER = Path(_frame.__file__).parent


def declared(module: Path) -> set[str]:
    """The names that a module declares at its top."""
    text = module.read_text(encoding="utf-8")
    found = re.findall(r"^(?:async )?(?:function\*?|class|const|let) (\w+)", text, re.MULTILINE)
    lists = re.findall(r"^(?:const|let) \[(.+?)\] =", text, re.MULTILINE)
    return {*found, *(name for names in lists for name in names.split(", "))}


def test_no_module_declares_what_the_page_before_it_has():
    """A name that is declared twice is a syntax error, and the widget stays empty."""
    page = declared(FOLDER / "_page.js")
    modules = [path for path in sorted(FOLDER.glob("*.js")) if path.name != "_page.js"]
    assert {"make", "choice", "COLORS"} <= page and len(modules) > 4
    assert not {path.name: both for path in modules if (both := declared(path) & page)}
