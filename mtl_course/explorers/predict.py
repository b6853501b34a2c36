"""Predict before you run: a guess that the student commits and the lesson scores later."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

_CONFIDENCE = {"a coin toss": 0.5, "rather sure": 0.75, "very sure": 0.95}
_NOBODY = "(choose)"


class Prediction(widgets.VBox):
    """A question with a few answers, and how sure the student is.

    Raises: ValueError if there are fewer than two answers.
    """

    def __init__(self, question: str, answers: Sequence[str]) -> None:
        if len(answers) < 2:
            raise ValueError(f"answers must hold at least two; got {len(answers)}.")
        wide = widgets.Layout(width="420px")
        style = {"description_width": "140px"}
        self._guess = widgets.Dropdown(
            options=[_NOBODY, *answers], description="Your prediction", layout=wide, style=style
        )
        self._sure = widgets.Dropdown(
            options=list(_CONFIDENCE), description="How sure are you?", layout=wide, style=style
        )
        self._said = widgets.HTML("No prediction yet.").add_class("mtl-predict-answer")
        super().__init__([widgets.HTML(f"<b>{question}</b>"), self._guess, self._sure, self._said])
        self.add_class("mtl-predict")
        for control in (self._guess, self._sure):
            control.observe(self._tell, "value")

    def _tell(self, _: object) -> None:
        made = self._guess.value != _NOBODY
        kept = f"Kept: “{self._guess.value}”, {self._sure.value}."
        self._said.value = kept if made else "No prediction yet."

    def score(self, truth: str) -> str:
        """What came of the prediction, given the true answer.

        With a guess there is also its Brier score: (1 − p)² when it was right and p² when it was
        wrong, where p is the confidence; 0 is best.
        """
        guess = self._guess.value
        if guess == _NOBODY:
            return f"Nobody made a prediction. The measured answer: {truth}."
        sure = _CONFIDENCE[self._sure.value]
        brier = (sure - float(guess == truth)) ** 2
        right = "right" if guess == truth else "wrong"
        return (
            f"You predicted “{guess}”, {self._sure.value} ({sure:.0%}): {right}. "
            f"The measured answer: {truth}. Brier score {brier:.2f} (0 is best)."
        )
