"""The surgery table: what each part of a network starts from, and whether it trains; try it out."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import ipywidgets as widgets
import pandas as pd
from torch import nn

from mtl_course import figures
from mtl_course.base import derive_seed
from mtl_course.datasets import Split
from mtl_course.explorers._frame import LABELS, TABLE, Explorer, Live, Run, answer, picture
from mtl_course.networks import Network, blocks, freeze, frozen, reinitialized, trainable
from mtl_course.studies import interval
from mtl_course.studies.lesson_01 import ZERO_SHOT
from mtl_course.training import evaluate
from mtl_course.transfer import LEARNING_RATES, WAYS

_BLOCK = ("from A, trains", "from A, frozen", "random, trains")
_HEAD = ("new head, trains", "A's head, trains", "A's head, frozen")
_LESSON = {  # the ways of the lesson, by the choice for every block and the one for the head
    (_BLOCK[2], _HEAD[0]): "from scratch",
    (_BLOCK[1], _HEAD[0]): "new head",
    (_BLOCK[0], _HEAD[0]): "all layers",
    (_BLOCK[1], _HEAD[2]): ZERO_SHOT,
}
Choice = tuple[str, ...]
"""One of `_BLOCK` for each block of the trunk, then one of `_HEAD`."""


class SurgeryTable(Explorer):
    """Each block of the trunk, and the head: from A or random, trained or frozen; then train it.

    Each press draws other labelled images and trains another network, kept in `network`. All runs
    of the session stand in a table, beside what the rows say of the same choice.
    The learning rate is the tuned one where the choice is a way of the lesson. For others none was
    tuned: with a random first block it is that of "from scratch", because what follows has to learn
    its features anew, as there; else it is that of "all layers", which spares what A has learned.

    source: a network that has learned A; it stays as it was. written: B, with the same classes.
    rows: the study's, with way, labels, seed and accuracy. steps: of each run.
    Raises: ValueError if `source` has other classes than `written`, or several trunks, or if `rows`
        lack a way of the lesson at some number of labels, or have only one seed of it.
    """

    def __init__(self, source: Network, written: Split, rows: pd.DataFrame, steps: int) -> None:
        if source.names != written.train.names:
            raise ValueError(f"source must have the classes of written; it has {source.names}.")
        self._source, self._written, self._steps = source, written, steps
        self._measured = _measured(rows)
        self._counts = sorted({labels for way, labels in self._measured if way in WAYS})
        self.network: Network | None = None  # of the last run
        self._presses, self._runs = 0, []
        self._names = [*(f"block {i + 1}" for i in range(len(blocks(source)))), "head"]
        options = [_BLOCK] * (len(self._names) - 1) + [_HEAD]
        self._parts = [_dropdown(*one) for one in zip(self._names, options, strict=True)]
        self._labels = _dropdown("labelled images", self._counts)
        self._said, self._boxes, self._table = answer(), picture(), picture()
        live = Live("Train", self._said, self._train, self._asked)
        controls = [*self._parts, self._labels]
        super().__init__("surgery", [*controls, live, self._said, self._boxes, self._table])
        for control in controls:
            control.observe(self._tell, "value")
        self._tell(None)

    def static(self) -> dict[str, str]:
        """The four ways of the lesson, their weights that train, and what the rows say of them."""
        choices = {way: (*[block] * len(self._names[1:]), head)
                   for (block, head), way in _LESSON.items()}  # fmt: skip
        rows = {}
        for way in WAYS:
            stages = ("new head", "all layers") if way == "head then all" else (way,)
            networks = [self._operated(choices[stage]) for stage in stages]
            trains = ", then ".join(f"{trainable(network):,}" for network in networks)
            few, many = (self._measured[way, n].mean for n in (self._counts[0], self._counts[-1]))
            scores = f"{few:.3f} with {self._counts[0]} labels, {many:.3f} with {self._counts[-1]}"
            title = f"{way}: {trains} weights train; accuracy {scores}"
            rows[title] = self._drawn(choices[stages[0]], *networks)
        told = " ".join(f"{title}: {_in_words(parts)}." for title, parts in rows.items())
        alt = f"The network as a row of boxes, once for each way of the lesson. {told}"
        return figures.bundle(figures.surgery(rows), alt)

    def _operated(self, choice: Choice, seed: int = 0) -> Network:
        """The network of a choice before it trains. What is random is as `reinitialized` draws it."""
        network = reinitialized(self._source, self._written.train, seed)
        for part, own, learned in zip(choice, _parts(network), _parts(self._source), strict=True):
            if _from_a(part):
                own.load_state_dict(learned.state_dict())
            if part.endswith("frozen"):
                freeze(own)
        return network

    def _drawn(self, choice: Choice, *stages: Network) -> list[figures.Part]:
        """The parts of a network, which trains in one stage or in several."""
        drawn = []
        for name, part, *own in zip(self._names, choice, *map(_parts, stages), strict=True):
            states = dict.fromkeys("frozen" if frozen(stage) else "trains" for stage in own)
            origin = "from A" if _from_a(part) else "random"
            weights = sum(p.numel() for p in own[0].parameters())
            drawn.append(figures.Part(name, origin, ", then ".join(states), weights))
        return drawn

    def _now(self) -> tuple[Choice, int]:
        """The choice, and how many labelled images it learns from."""
        choice = tuple(control.value for control in self._parts)
        return choice, 0 if _way(choice) == ZERO_SHOT else self._labels.value

    def _tell(self, _: object) -> None:
        choice, labels = self._now()
        network = self._operated(choice)
        parts, trains = self._drawn(choice, network), trainable(network)
        count = f"{trains:,} of {sum(part.weights for part in parts):,} weights train"
        how = f"{count} on {labels} labelled images, at a learning rate of {_rate(choice):g}"
        if not trains:
            how = f"nothing trains, Train only evaluates, without the {self._labels.value} images"
        self._said.value = f"{_short(choice)}: {how}. {self._known(choice, labels)}"
        drawn = figures.surgery({f"{_short(choice)}: {count}": parts})
        self._boxes.value = figures.image(drawn, f"{_in_words(parts)}. {count}.")

    def _known(self, choice: Choice, labels: int) -> str:
        """What the rows say of a choice."""
        stored = self._measured.get((_way(choice), labels))
        if stored is None:
            return "Not one of the lesson's ways: nothing was measured for it."
        mean, low, high, seeds = stored
        return (
            f"The lesson measured a mean accuracy of {mean:.3f} (95 % interval {low:.3f} to "
            f"{high:.3f}, {seeds} seeds)."
        )

    def _asked(self) -> dict:
        self._presses += 1
        choice, labels = self._now()
        return {"number": self._presses, "choice": choice, "labels": labels}

    def _train(self, run: Run, number: int, choice: Choice, labels: int) -> str:
        start, seed = time.perf_counter(), derive_seed(number, "try it yourself")
        network = self._operated(choice, seed)
        if trains := trainable(network):
            sample = self._written.train.sample(labels, seed=seed)
            rate = _rate(choice)
            run.fit(network, sample, steps=self._steps, seed=seed, learning_rate=rate)
        accuracy = evaluate(network, self._written.test)["accuracy"].iloc[0]
        run.check()
        seconds = time.perf_counter() - start
        self.network, stored = network, self._measured.get((_way(choice), labels))
        self._runs.append((number, _short(choice), labels, accuracy, stored))
        self._table.value = _table(self._runs)
        text = (
            f"Run {number}, {_short(choice)}, {labels} labelled images: accuracy {accuracy:.3f} "
            f"after {seconds:.1f} s, {trains:,} weights trained. {self._known(choice, labels)}"
        )
        if stored is not None:
            same = [r[3] for r in self._runs if r[1:3] == (_short(choice), labels)]
            inside = sum(stored.low <= score <= stored.high for score in same)
            text += f" Of your runs like this, {inside} of {len(same)} fall inside that interval."
        return text


def _dropdown(name: str, options: Sequence) -> widgets.Dropdown:
    wide = {"width": "340px"}
    return widgets.Dropdown(options=options, description=name, layout=wide, style=LABELS)


def _parts(network: Network) -> list[nn.Module]:
    return [*blocks(network), network.head]


def _from_a(part: str) -> bool:
    return part.startswith(("from A", "A's"))


def _way(choice: Choice) -> str | None:
    """The way of the lesson that a choice is, if it is one."""
    return _LESSON.get((*set(choice[:-1]), choice[-1]))


def _rate(choice: Choice) -> float:
    other = "from scratch" if choice[0] == _BLOCK[2] else "all layers"
    return LEARNING_RATES.get(_way(choice), LEARNING_RATES[other])


def _short(choice: Choice) -> str:
    return _way(choice) or " | ".join(part.removesuffix(", trains") for part in choice)


def _in_words(parts: Sequence[figures.Part]) -> str:
    return "; ".join(f"{p.name} {p.origin}, {p.state}, {p.weights:,} weights" for p in parts)


# ---------------------------------------------------------------------- what was measured


class _Measured(NamedTuple):
    mean: float
    low: float
    high: float
    seeds: int


def _measured(rows: pd.DataFrame) -> dict[tuple[str, int], _Measured]:
    """The mean accuracy and its 95 % interval, by way of the lesson and number of labels."""
    cells = dict(iter(rows[rows["way"].isin((*WAYS, ZERO_SHOT))].groupby(["way", "labels"])))
    counts = {labels for way, labels in cells if way in WAYS}
    wanted = set(itertools.product(WAYS, counts)) or {None}
    if not wanted <= cells.keys() or min(map(len, cells.values())) < 2:
        raise ValueError("rows must hold each way of the lesson, for two seeds or more a cell.")
    return {key: _Measured(*interval(cell["accuracy"]), len(cell)) for key, cell in cells.items()}


def _table(runs: Sequence[tuple]) -> str:
    """The runs so far, each with a dot on one scale for all, and the measured interval as a bar."""
    lowest = min(min(accuracy, stored.low if stored else 1) for *_, accuracy, stored in runs)
    first = min(0.9, math.floor(10 * lowest) / 10)  # where the scale begins
    heads = ("run", "blocks | head", "labels", "accuracy", "lesson's mean", f"{first:g} to 1")
    body = "".join(
        f'<tr><th scope="row">{number}</th><td>{short}</td><td>{labels}</td><td>{accuracy:.3f}</td>'
        f"<td>{'{:.3f} ({:.3f} to {:.3f})'.format(*stored) if stored else 'not measured'}</td>"
        f"<td>{_dot(accuracy, stored, first)}</td></tr>"
        for number, short, labels, accuracy, stored in runs
    )
    return (
        f'<table class="mtl-table">{TABLE}<caption>Your runs. At the right, a dot is your run and '
        "a bar the 95 % interval of the lesson's mean.</caption><tr>"
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr>{body}</table>"
    )


def _dot(accuracy: float, stored: _Measured | None, first: float) -> str:
    """A picture of one run, from `first` to 1; the table has its numbers."""
    wide = 180 / (1 - first)  # pixels for an accuracy of 1
    bar = ""
    if stored:
        left, right = wide * (stored.low - first), wide * (stored.high - first)
        bar = f'<rect x="{left:.1f}" y="3" width="{right - left:.1f}" height="12" fill="#999"/>'
    dot = f'<circle cx="{wide * (accuracy - first):.1f}" cy="9" r="4" fill="{figures.COLORS[0]}"/>'
    return f'<svg aria-hidden="true" width="190" height="18" viewBox="-5 0 190 18">{bar}{dot}</svg>'
