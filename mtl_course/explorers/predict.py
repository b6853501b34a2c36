"""Predict before you run: a guess that the student commits, and that the lesson scores and keeps.

Kept guesses lie in ``predictions.csv`` on the student's own machine (`storage.results_folder`), from
lesson to lesson. The environment variable ``MTL_COURSE_PREDICTIONS`` names another file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import ipywidgets as widgets
import pandas as pd
import torch

from mtl_course import figures
from mtl_course.base import atomic
from mtl_course.explorers._frame import LABELS, Explorer, answer
from mtl_course.storage import results_folder

_CONFIDENCE = {"a coin toss": 0.5, "rather sure": 0.75, "very sure": 0.95}
_NOBODY = "(choose)"
_COLUMNS = ("question", "guess", "confidence", "truth")


class Prediction(Explorer):
    """A question with a few answers, and how sure the student is.

    Raises: ValueError if there are fewer than two answers.
    """

    def __init__(self, question: str, answers: Sequence[str]) -> None:
        if len(answers) < 2:
            raise ValueError(f"answers must hold at least two; got {len(answers)}.")
        self.question, self._answers = question, tuple(answers)
        wide = widgets.Layout(width="440px")
        self._guess = widgets.Dropdown(
            options=[_NOBODY, *answers], description="Your prediction", layout=wide, style=LABELS
        )
        self._sure = widgets.Dropdown(
            options=list(_CONFIDENCE), description="How sure are you?", layout=wide, style=LABELS
        )
        self._said = answer("No prediction yet.")
        asked = widgets.HTML(f"<b>{escape(question)}</b>")
        super().__init__("predict", [asked, self._guess, self._sure, self._said])
        for control in (self._guess, self._sure):
            control.observe(self._tell, "value")

    def static(self) -> dict[str, str]:
        """The question and its answers, to be answered on paper."""
        items = "".join(f"<li>{escape(text)}</li>" for text in self._answers)
        page = f"<p><b>{escape(self.question)}</b></p><ul>{items}</ul>"
        plain = f"{self.question} {' / '.join(self._answers)}"
        return {"text/html": page, "text/plain": plain}

    def _tell(self, _: object) -> None:
        made = self._guess.value != _NOBODY
        kept = f"Kept: “{escape(self._guess.value)}”, {self._sure.value}."
        self._said.value = kept if made else "No prediction yet."

    def score(self, truth: str) -> str:
        """What came of the prediction, given the true answer; it is then kept for `so_far`.

        With a guess there is also its Brier score: (1 − p)² when it was right and p² when it was
        wrong, where p is the confidence; 0 is best.
        """
        guess = self._guess.value
        if guess == _NOBODY:
            return f"Nobody made a prediction. The measured answer: {truth}."
        sure = _CONFIDENCE[self._sure.value]
        _keep(self.question, guess, sure, truth)
        brier = (sure - float(guess == truth)) ** 2
        right = "right" if guess == truth else "wrong"
        return (
            f"You predicted “{guess}”, {self._sure.value} ({sure:.0%}): {right}. "
            f"The measured answer: {truth}. Brier score {brier:.2f} (0 is best)."
        )


# ---------------------------------------------------------------------- all of them


def so_far() -> pd.DataFrame:
    """Every prediction that was scored, one row a question: its last guess, confidence and truth.

    Raises: ValueError if the file of predictions is damaged.
    """
    path = _file()
    if not path.exists():
        return pd.DataFrame(columns=list(_COLUMNS))
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype={"confidence": float})
        return table[list(_COLUMNS)]
    except (KeyError, ValueError) as error:  # also what pandas raises when it cannot parse
        message = f"{path} is damaged ({error}): delete it, and predict anew."
        raise ValueError(message) from error


def show_calibration() -> None:
    """Displays how often the student was right, by how sure they were, with 95 % intervals."""
    table = so_far()
    if table.empty:
        print("Nobody has made a prediction yet. Go back, choose, and run the scores again.")
        return
    right = (table["guess"] == table["truth"]).astype(float)
    brier = ((table["confidence"] - right) ** 2).mean()
    by = right.groupby(table["confidence"]).agg(["sum", "size"]).astype(int)
    told = "; ".join(
        f"{sure:.0%} sure: right {row['sum']} times of {row['size']}" for sure, row in by.iterrows()
    )
    columns = (
        torch.tensor(values.to_numpy(), device="cpu")[:, None]
        for values in (table["confidence"], right)
    )
    figures.show(
        figures.calibration(*columns, ["your predictions"]),
        f"How often your predictions were right, by how sure you were. {told}. Mean Brier score "
        f"{brier:.2f}; who always says 50 % gets 0.25.",
    )
    print(f"{told}. Mean Brier score {brier:.2f}; who always says 50 % gets 0.25.")


def _keep(*row: object) -> None:
    """A question that is answered again keeps its last answer."""
    others = [kept for kept in so_far().itertuples(index=False) if kept.question != row[0]]
    with atomic(_file()) as draft:
        pd.DataFrame([*others, row], columns=list(_COLUMNS)).to_csv(draft, index=False)


def _file() -> Path:
    named = os.environ.get("MTL_COURSE_PREDICTIONS")
    return Path(named) if named else results_folder() / "predictions.csv"
