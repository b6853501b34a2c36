"""Predict before you run: a guess that the student commits, and that the lesson scores and keeps.

They are kept in `storage.results_folder`, or in the file ``MTL_COURSE_PREDICTIONS`` names.
"""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import ipywidgets as widgets
import pandas as pd
import torch

from mtl_course import figures
from mtl_course.base import atomic
from mtl_course.explorers._frame import Explorer, dropdown, output
from mtl_course.storage import results_folder

_CONFIDENCE = {"a coin toss": 0.5, "rather sure": 0.75, "very sure": 0.95}
_NOBODY = "(choose)"
_COLUMNS = ["question", "guess", "confidence", "truth"]


class Prediction(Explorer):
    """A question with its answers, and how sure one is. Raises: ValueError for fewer than two."""

    def __init__(self, question: str, answers: Sequence[str]) -> None:
        if len(answers) < 2:
            raise ValueError(f"answers must hold at least two; got {len(answers)}.")
        self.question, self._answers = question, tuple(answers)
        self._guess = dropdown("Your prediction", [_NOBODY, *answers])
        self._sure = dropdown("How sure are you?", list(_CONFIDENCE))
        self._answer, heading = output("answer"), widgets.HTML(f"<b>{escape(question)}</b>")
        controls = [self._guess, self._sure]
        super().__init__("predict", [heading, *controls, self._answer], controls)

    def static(self) -> dict[str, str]:
        """Return the question and its answers, to be answered on paper."""
        items = "".join(f"<li>{escape(text)}</li>" for text in self._answers)
        page = f"<p><b>{escape(self.question)}</b></p><ul>{items}</ul>"
        return {"text/html": page, "text/plain": f"{self.question} {' / '.join(self._answers)}"}

    def _update(self) -> None:
        kept = f"Kept: “{escape(self._guess.value)}”, {self._sure.value}."
        self._answer.value = "No prediction yet." if self._guess.value == _NOBODY else kept

    def score(self, truth: str) -> str:
        """Return how the prediction fared, given the true answer, and keep it for `so_far`.

        Its Brier score is (1 − p)² if it was right and p² if not, at confidence p; 0 is best.
        """
        guess = self._guess.value
        if guess == _NOBODY:
            return f"Nobody made a prediction. The measured answer: {truth}."
        confidence, right = _CONFIDENCE[self._sure.value], guess == truth
        kept = so_far().set_index("question")  # of one that is answered again, the last guess
        kept.loc[self.question] = guess, confidence, truth
        with atomic(_file()) as draft:
            kept.to_csv(draft)
        return (
            f"You predicted “{guess}”, {self._sure.value} ({confidence:.0%}): "
            f"{'right' if right else 'wrong'}. The measured answer: {truth}. "
            f"Brier score {(confidence - right) ** 2:.2f} (0 is best)."
        )


def so_far() -> pd.DataFrame:
    """Return every scored prediction, one row a question: its last guess, confidence and truth.

    Raises: ValueError if the file of predictions is damaged.
    """
    if not (path := _file()).exists():
        return pd.DataFrame(columns=_COLUMNS)
    try:
        return pd.read_csv(path, keep_default_na=False, dtype={"confidence": float})[_COLUMNS]
    except (KeyError, ValueError) as error:  # also what pandas raises when it cannot parse
        raise ValueError(f"{path} is damaged ({error}): delete it, and predict anew.") from error


def show_calibration() -> None:
    """Display how often the student was right, by how sure they were, with 95 % intervals."""
    if (table := so_far()).empty:
        print("Nobody has made a prediction yet. Go back, choose, and run the scores again.")
        return
    confidence, right = table["confidence"], (table["guess"] == table["truth"]).astype(float)
    text = "; ".join(
        f"{sure:.0%} sure: right {int(times.sum())} times of {len(times)}"
        for sure, times in right.groupby(confidence)
    )
    brier = f"Mean Brier score {((confidence - right) ** 2).mean():.2f}"
    text += f". {brier}; who always says 50 % gets 0.25."
    columns = (torch.tensor(v.to_numpy(), device="cpu")[:, None] for v in (confidence, right))
    figures.show(
        figures.calibration(*columns, ["your predictions"]),
        f"How often your predictions were right, by how sure you were. {text}",
    )
    print(text)


def _file() -> Path:
    return Path(os.environ.get("MTL_COURSE_PREDICTIONS") or results_folder() / "predictions.csv")
