"""The decision aid: the lecture's questions about a case of the reader's, answered from rows.

In the page it is `decision_aid.js`, which looks up what `studies.advice` says of each case.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from mtl_course.explorers._frame import Explorer, Front, table
from mtl_course.networks import shared
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import advice, lesson_05
from mtl_course.studies.common import WIDTH

_WIDTH = "Width of the network, its price"
_SAME_IMAGES = "on the same images"
_EACH = {  # labels of each other task, by how many the reader's own task has
    _SAME_IMAGES: None,
    "a tenth as many, own images": 0.1,
    "as many, own images": 1,
    "10 times as many, own images": 10,
    "100 times as many, own images": 100,
}
_NAMES = {"same family": "related (same family)", "other families": "unrelated (other families)",
          "all families": "some of each (all families)"}  # fmt: skip


class _Topic(NamedTuple):
    """What the aid asks about its reader's case, and the notebook with the evidence."""

    dials: Mapping[str, Sequence]  # what one may choose, by its name
    start: Sequence  # a value for each dial
    evidence: str


_TOPICS = {
    "transfer": _Topic(
        {
            "Examples of A": (1_000, 10_000, 50_000, 100_000, 1_000_000),
            "Examples of B": (30, 100, 200, 1_000, 10_000, 30_000),
            "A’s x": tuple(advice.INPUTS),
            "A’s labels ask about": advice.KINSHIPS,
        },
        (50_000, 200, "the same", "other things"),
        "evidence/02_when_transfer_makes_sense.ipynb",
    ),
    "multi_task": _Topic(
        {
            "Tasks": (2, 4, 10, 100),
            "Labels of your own task": (100, 1_000, 4_000),
            "Labels of each other task": tuple(_EACH),
            "The other tasks are": advice.KIN,
            _WIDTH: (8, 16, 32),
        },
        (10, 1_000, "as many, own images", "same family", 8),
        "evidence/05_when_multi_task_makes_sense.ipynb",
    ),
}


class DecisionAid(Explorer):
    """What was measured nearest to a case: mean, interval and verdict, question by question.

    topic: "transfer" (T1 to T3) or "multi_task" (M5 to M7), a function of `advice`.
    Raises: ValueError for another topic.
    """

    def __init__(self, topic: str) -> None:
        if topic not in _TOPICS:
            raise ValueError(f"topic must be one of {', '.join(_TOPICS)}; got {topic!r}.")
        self._topic, self._known = topic, {}
        about = _TOPICS[topic]
        answers: dict[tuple, int] = {}  # each once, numbered
        at, times = [], []
        for case in itertools.product(*about.dials.values()):  # those of the last dial change first
            rows = list(_rows(self.ask(*case)))
            at.append([answers.setdefault(row[:-1], len(answers)) for row in rows])
            times.append([row[-1] for row in rows])
        data = {
            "dials": [[name, [_text(v, name) for v in dial]] for name, dial in about.dials.items()],
            "questions": self.ask(*about.start).index.tolist(),
            "answers": list(answers),
            "at": at,
            "times": times,
            "evidence": about.evidence,
        }
        start = [
            list(values).index(value)
            for values, value in zip(about.dials.values(), about.start, strict=True)
        ]
        super().__init__("decision-aid", [Front("decision_aid", data, start)])

    def ask(self, *case: object) -> pd.DataFrame:
        """Return what `advice` says of a case, a value for each dial."""
        if self._topic == "transfer":
            a, b, x, kinship = case
            return advice.transfer(a, b, x=x, kinship=kinship, known=self._known)
        tasks, labels, each, kin, width = case
        others = None if _EACH[each] is None else round((tasks - 1) * labels * _EACH[each])
        more = {"kin": kin, "width": width, "known": self._known}
        return advice.multi_task(tasks, labels, others=others, **more)

    def static(self) -> dict[str, str]:
        """Return the answers to the case that it opens with, as a table."""
        about = _TOPICS[self._topic]
        case, answers = zip(about.dials, about.start, strict=True), self.ask(*about.start)
        caption, rows = "; ".join(f"{name}: {_text(value, name)}" for name, value in case), []
        for question, found in zip(answers.index, _rows(answers), strict=True):
            name, mean, low, high, verdict, _ = found
            gain = f"{mean:+.3f} ({low:.3f} to {high:.3f})" if verdict else ""
            rows.append((question, name, verdict, gain))
        heads = ("question", "nearest measured", "verdict", "gain in AUC, 95 % interval")
        text = "; ".join(f"{question} {', '.join(filter(None, rest))}" for question, *rest in rows)
        return {"text/html": table(caption, heads, rows), "text/plain": f"{caption}. {text}"}


def _rows(answers: pd.DataFrame) -> Iterator[tuple]:
    """Yield what was measured, mean, low, high, verdict and times; None where no number is."""
    columns = ("nearest measured", "mean", "low", "high", "verdict", "times")
    for name, *gain, verdict, times in zip(*(answers[c].tolist() for c in columns), strict=True):
        *gain, times = (None if value != value else round(value, 6) for value in (*gain, times))
        yield name, *gain, verdict, times


def _text(value: object, dial: str = "") -> str:
    if dial == _WIDTH and value > WIDTH:  # its price, in multiplications of the smallest
        one, ours = (lesson_05.multiplications(shared(THE_FOUR, width=w)) for w in (WIDTH, value))
        return f"{value}: {ours / one:.1f} × the multiplications"
    return f"{value:,}" if isinstance(value, int) else _NAMES.get(value, str(value))
