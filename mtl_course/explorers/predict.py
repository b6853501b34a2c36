"""Predict before you run: a guess that is kept when it is made, and scored where its answer stands.

Predictions are kept in ``predictions.csv`` in `storage.results_folder`, or in the file that the
environment variable ``MTL_COURSE_PREDICTIONS`` names.
"""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import filelock
import ipywidgets as widgets
import pandas as pd
import torch

from mtl_course import figures
from mtl_course.base import atomic
from mtl_course.explorers._frame import Explorer, button, dropdown, output
from mtl_course.storage import results_folder

_CONFIDENCE = {"a coin toss": 0.5, "rather sure": 0.75, "very sure": 0.95}
_CHOOSE = "(choose)"
_COLUMNS = ["question", "guess", "confidence", "truth"]


class Prediction(Explorer):
    """A question whose measured answer stays folded until somebody has predicted, or asks for it.

    *Commit* keeps the prediction at once; whoever comes back later finds it kept. `reveal` gives
    the place where the answer will stand, which another cell may show, under the figure.
    Raises: ValueError if there are fewer than two answers.
    """

    def __init__(self, question: str, answers: Sequence[str]) -> None:
        if len(answers) < 2:
            raise ValueError(f"answers must hold at least two; got {len(answers)}.")
        self.question, self._answers = question, tuple(answers)
        self._guess = dropdown("Your prediction", [_CHOOSE, *answers])
        self._sure = dropdown("How sure are you?", list(_CONFIDENCE))
        self._commit, self._skip = button("Commit"), button("Show the answer without predicting")
        self._commit.on_click(lambda _: self._keep())
        self._skip.on_click(lambda _: self._unfold())
        self._answer, heading = output("answer"), widgets.HTML(f"<b>{escape(question)}</b>")
        self._places: list[Answer] = []
        self._shown = False
        controls, buttons = [self._guess, self._sure], widgets.HBox([self._commit, self._skip])
        super().__init__("predict", [heading, *controls, buttons, self._answer], controls)
        if (kept := _kept_of(question)) is not None and kept["guess"] in answers:
            self._guess.value = kept["guess"]
            self._sure.value = next(k for k, v in _CONFIDENCE.items() if v == kept["confidence"])
            self._committed()

    def static(self) -> dict[str, str]:
        """Return the question and its answers, to be answered on paper."""
        items = "".join(f"<li>{escape(text)}</li>" for text in self._answers)
        page = f"<p><b>{escape(self.question)}</b></p><ul>{items}</ul>"
        return {"text/html": page, "text/plain": f"{self.question} {' / '.join(self._answers)}"}

    def reveal(self, truth: str | None, text: str = "", figure: object = None) -> "Answer":
        """Return the place where the answer appears once there is a prediction.

        truth: the measured answer, one of the question's; None where ten other seeds did not keep
            it, and nothing is scored. text: what was measured, in words.
        figure: a matplotlib figure that shows it, with its `alt`.
        Raises: ValueError if `truth` is none of the answers.
        """
        if truth is not None and truth not in self._answers:
            raise ValueError(f"truth must be one of {', '.join(self._answers)}; got {truth!r}.")
        place = Answer(self, truth, figure, text)
        self._places.append(place)
        if self._shown:
            place.unfold()
        return place

    def _update(self) -> None:
        chosen = self._guess.value != _CHOOSE
        self._commit.disabled = not chosen or self._shown
        if not self._shown:
            words = f"“{escape(self._guess.value)}”, {self._sure.value}: press Commit to keep it."
            self._answer.value = words if chosen else f"No prediction yet ({self._sure.value})."

    def _keep(self) -> None:
        _keep(self.question, self._guess.value, _CONFIDENCE[self._sure.value], "")
        self._committed()

    def _committed(self) -> None:
        said = f"Kept: “{escape(self._guess.value)}”, {self._sure.value}."
        self._unfold(f"{said} The answer stands below, where it was measured.")

    def _unfold(self, text: str = "Not predicted. The answer stands below.") -> None:
        self._shown, self._answer.value = True, text
        for control in (self._guess, self._sure, self._commit, self._skip):
            control.disabled = True
        for place in self._places:
            place.unfold()

    def _score(self, truth: str | None) -> str:
        """Return how the prediction fared. Its Brier score is (1 − p)² if right and p² if not."""
        guess, sure = self._guess.value, self._sure.value
        if truth is None:
            return "Ten other seeds did not keep this verdict, so no prediction is scored on it."
        if guess == _CHOOSE or _kept_of(self.question) is None:
            return f"The measured answer: {truth}. You made no prediction."
        confidence, right = _CONFIDENCE[sure], guess == truth
        _keep(self.question, guess, confidence, truth)
        return (
            f"The measured answer: {truth}. You predicted “{guess}”, {sure} ({confidence:.0%}): "
            f"{'right' if right else 'wrong'}, Brier score {(confidence - right) ** 2:.2f} "
            f"(0 is best). {_running()}"
        )


class Answer(Explorer):
    """The place of an answer: folded until its question was answered, then figure and score."""

    def __init__(self, question: Prediction, truth: str | None, figure: object, text: str) -> None:
        self._question, self._truth, self._text = question, truth, text
        self._bundle = {} if figure is None else figures.bundle(figure, figure.alt)
        self._page, self._answer = output("picture"), output("answer")
        super().__init__("reveal", [self._page, self._answer])

    def static(self) -> dict[str, str]:
        """Return the answer behind a fold, so that nobody reads it by accident."""
        page = self._bundle.get("text/html", "")
        truth = self._truth or "not scored"
        words = f"<p>{escape(self._text)}</p><p>Measured: {escape(truth)}.</p>"
        page = f"<details><summary>Show what was measured</summary>{page}{words}</details>"
        return {"text/html": page, "text/plain": "The answer is folded: run this cell."}

    def unfold(self) -> None:
        """Show figure, words and score."""
        text = f"<p>{escape(self._text)}</p>" if self._text else ""
        self._page.value = self._bundle.get("text/html", "") + text
        self._answer.value = escape(self._question._score(self._truth))

    def _update(self) -> None:
        self._answer.value = (
            "Folded until you commit your prediction above. (You have? Then run this cell again.) "
            f"“{escape(self._question.question)}”"
        )


def so_far() -> pd.DataFrame:
    """Return every scored prediction, one row a question: its last guess, confidence and truth.

    Raises: ValueError if the file of predictions is damaged.
    """
    rows = _all()
    return rows[rows["truth"] != ""].reset_index(drop=True)


def show_calibration() -> None:
    """Display how often the student was right, by how sure they were, with 95 % intervals."""
    if (table := so_far()).empty:
        print("Nobody has made a prediction yet. Go back, choose, and commit.")
        return
    confidence, right = table["confidence"], (table["guess"] == table["truth"]).astype(float)
    text = "; ".join(
        f"{sure:.0%} sure: right {int(times.sum())} times of {len(times)}"
        for sure, times in right.groupby(confidence)
    )
    text += f". {_running()} Whoever always says 50 % gets 0.25."
    columns = (torch.tensor(v.to_numpy(), device="cpu")[:, None] for v in (confidence, right))
    figures.show(
        figures.calibration(*columns, ["your predictions"]),
        f"How often your predictions were right, by how sure you were. {text}",
    )
    print(text)


def _running() -> str:
    table = so_far()
    right = table["guess"] == table["truth"]
    brier = ((table["confidence"] - right) ** 2).mean()
    return f"So far {int(right.sum())} of {len(table)} right, mean Brier score {brier:.2f}."


def _all() -> pd.DataFrame:
    if not (path := _file()).exists():
        return pd.DataFrame(columns=_COLUMNS)
    try:
        return pd.read_csv(path, keep_default_na=False, dtype={"confidence": float})[_COLUMNS]
    except (KeyError, ValueError) as error:  # also what pandas raises when it cannot parse
        raise ValueError(f"{path} is damaged ({error}): delete it, and predict anew.") from error


def _kept_of(question: str) -> pd.Series | None:
    rows = _all()
    rows = rows[rows["question"] == question]
    return rows.iloc[-1] if len(rows) else None


def _keep(*row: object) -> None:
    """Keep a prediction in place of an earlier one to the same question."""
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock")):
        others = _all()
        rows = [*others[others["question"] != row[0]].to_numpy().tolist(), row]
        with atomic(path) as draft:
            pd.DataFrame(rows, columns=_COLUMNS).to_csv(draft, index=False)


def _file() -> Path:
    kept = os.environ.get("MTL_COURSE_PREDICTIONS")
    return Path(kept).expanduser() if kept else results_folder() / "predictions.csv"
