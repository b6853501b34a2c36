"""The surgery table: what each part of a network starts from, and whether it trains; try it out."""

import itertools
import math
import time
from collections import namedtuple
from collections.abc import Mapping, Sequence

import pandas as pd
from torch import nn

from mtl_course import figures
from mtl_course.base import derive_seed
from mtl_course.datasets import Split
from mtl_course.explorers._frame import Explorer, Live, Run, dropdown, output, table
from mtl_course.networks import Network, blocks, freeze, frozen, reinitialized, trainable
from mtl_course.studies import predicted
from mtl_course.studies.lesson_01_digits import ZERO_SHOT
from mtl_course.training import evaluate
from mtl_course.transfer import LEARNING_RATES, WAYS

_BLOCK = ("from A, trains", "from A, frozen", "random, trains")
_HEAD = ("new head, trains", "A's head, trains", "A's head, frozen")
_RANDOM = (_BLOCK[2], _HEAD[0])  # all other parts are from A
_LESSON = {  # the ways of the lesson, by the choice for every block and the one for the head
    (_BLOCK[2], _HEAD[0]): "from scratch",
    (_BLOCK[1], _HEAD[0]): "new head",
    (_BLOCK[0], _HEAD[0]): "all layers",
    (_BLOCK[1], _HEAD[2]): ZERO_SHOT,
}
_Measured = namedtuple("_Measured", "mean low high seeds")


class _Choice(tuple[str, ...]):
    """One of `_BLOCK` for each block of the trunk, then one of `_HEAD`."""

    @property
    def way(self) -> str | None:
        return _LESSON.get((*set(self[:-1]), self[-1]))

    def rate(self, rates: Mapping[str, float]) -> float:
        like = "from scratch" if self[0] == _BLOCK[2] else "all layers"
        return rates.get(self.way, rates[like])

    def __str__(self) -> str:
        return self.way or " | ".join(part.removesuffix(", trains") for part in self)


class SurgeryTable(Explorer):
    """Each block of the trunk, and the head: from A or random, trained or frozen; then train it.

    Each press draws other labeled images and trains another network, kept in `network`; a table
    sets all runs beside what the rows say of the same choice.
    The learning rate is the tuned one of a way of the lesson; else that of "from scratch" after a
    random first block, whose features are all to be learned, and that of "all layers" without.
    source: a network that has learned A; it stays as it was. Its head can be kept if `data`, B,
        has the same classes. rates: the learning rate of each way.
    rows: the study's, with way, labels, seed and accuracy. steps: of each run.
    Raises: ValueError if `source` has several trunks, or if `rows` lack a way of the lesson, a
        number of labels of it, or a second seed.
    """

    def __init__(
        self, source: Network, data: Split, rows: pd.DataFrame, steps: int,
        rates: Mapping[str, float] = LEARNING_RATES,
    ) -> None:  # fmt: skip
        self._source, self._data, self._steps, self._rates = source, data, steps, rates
        heads = _HEAD if source.names == data.train.names else _HEAD[:1]
        self._measured = _measure(rows)
        self._counts = sorted({labels for way, labels in self._measured if way in WAYS})
        self.network: Network | None = None  # of the last run
        self._presses, self._runs = itertools.count(1), []
        self._blocks = [f"block {i + 1}" for i in range(len(blocks(source)))]
        options = dict.fromkeys(self._blocks, _BLOCK) | {"head": heads}
        options |= {"labeled images": self._counts}
        controls = [dropdown(name, values, "340px") for name, values in options.items()]
        *self._parts, self._labels = controls
        self._answer, self._boxes, self._table = map(output, ("answer", "picture", "picture"))
        live = Live("Train", self._answer, self._train, self._chosen)
        children = [*controls, live, self._answer, self._boxes, self._table]
        super().__init__("surgery", children, controls)

    def static(self) -> dict[str, str]:
        """Return the four ways of the lesson, the weights they train, and what the rows say."""
        rows, few, many = {}, self._counts[0], self._counts[-1]
        choices = {
            way: _Choice((*[block] * len(self._blocks), head))
            for (block, head), way in _LESSON.items()
        }
        for way in WAYS:
            stages = ("new head", "all layers") if way == "head then all" else (way,)
            networks = [self._operate(choices[stage]) for stage in stages]
            trains = ", then ".join(f"{trainable(network):,}" for network in networks)
            low, high = (self._measured[way, labels].mean for labels in (few, many))
            scores = f"{low:.3f} with {few} labels, {high:.3f} with {many}"
            title = f"{way}: {trains} weights train; accuracy {scores}"
            rows[title] = self._describe(choices[stages[0]], *networks)
        text = " ".join(f"{title}: {_in_words(parts)}." for title, parts in rows.items())
        alt = f"The network as a row of boxes, once for each way of the lesson. {text}"
        return figures.bundle(figures.surgery(rows), alt)

    def _operate(self, choice: _Choice, seed: int = 0) -> Network:
        network = reinitialized(self._source, self._data.train, seed)
        for part, own, learned in zip(choice, _parts(network), _parts(self._source), strict=True):
            if part not in _RANDOM:
                own.load_state_dict(learned.state_dict())
            if part.endswith("frozen"):
                freeze(own)
        return network

    def _describe(self, choice: _Choice, *stages: Network) -> list[figures.Part]:
        """Return the parts of a network, which trains in one stage or in several."""
        parts, names = [], (*self._blocks, "head")
        for name, part, *own in zip(names, choice, *map(_parts, stages), strict=True):
            states = dict.fromkeys("frozen" if frozen(stage) else "trains" for stage in own)
            origin = "random" if part in _RANDOM else "from A"
            weights = sum(p.numel() for p in own[0].parameters())
            parts.append(figures.Part(name, origin, ", then ".join(states), weights))
        return parts

    def _chosen(self) -> tuple[_Choice, int]:
        choice = _Choice(control.value for control in self._parts)
        return choice, 0 if choice.way == ZERO_SHOT else self._labels.value

    def _update(self) -> None:
        choice, labels = self._chosen()
        network = self._operate(choice)
        parts, trains = self._describe(choice, network), trainable(network)
        count = f"{trains:,} of {sum(part.weights for part in parts):,} weights train"
        rate = f"a learning rate of {choice.rate(self._rates):g}"
        how = f"{count} on {labels} labeled images, at {rate}"
        if not trains:
            how = f"nothing trains, Train only evaluates, without the {self._labels.value} images"
        self._answer.value = f"{choice}: {how}. {self._stored(choice, labels)}"
        boxes = figures.surgery({f"{choice}: {count}": parts})
        self._boxes.value = figures.image(boxes, f"{_in_words(parts)}. {count}.")

    def _stored(self, choice: _Choice, labels: int) -> str:
        if (stored := self._measured.get((choice.way, labels))) is None:
            return "Not one of the lesson's ways: nothing was measured for it."
        return (
            f"The lesson measured a mean accuracy of {stored.mean:.3f} in {stored.seeds} seeds; "
            f"19 of 20 further runs should lie in {stored.low:.3f} to {stored.high:.3f}."
        )

    def _train(self, run: Run, choice: _Choice, labels: int) -> str:
        start, number = time.perf_counter(), next(self._presses)
        network = self._operate(choice, seed := derive_seed(number, "try it yourself"))
        if trains := trainable(network):
            settings = {
                "steps": self._steps,
                "seed": seed,
                "learning_rate": choice.rate(self._rates),
            }
            run.fit(network, self._data.train.sample(labels, seed=seed), **settings)
        accuracy = evaluate(network, self._data.test)["accuracy"].iloc[0]
        run.check()
        self.network, stored = network, self._measured.get((choice.way, labels))
        self._runs.append((number, choice, labels, accuracy, stored))
        self._table.value, seconds = _table(self._runs), time.perf_counter() - start
        text = (
            f"Run {number}, {choice}, {labels} labeled images: accuracy {accuracy:.3f} "
            f"after {seconds:.1f} s, {trains:,} weights trained. {self._stored(choice, labels)}"
        )
        if stored is not None:
            same = [run[3] for run in self._runs if run[1:3] == (choice, labels)]
            inside = sum(stored.low <= score <= stored.high for score in same)
            text += f" Of your runs like this, {inside} of {len(same)} fall inside that interval."
        return text


def _parts(network: Network) -> list[nn.Module]:
    return [*blocks(network), network.head]


def _in_words(parts: Sequence[figures.Part]) -> str:
    return "; ".join(f"{p.name} {p.origin}, {p.state}, {p.weights:,} weights" for p in parts)


def _measure(rows: pd.DataFrame) -> dict[tuple[str, int], _Measured]:
    """Return the mean accuracy and where another run should land, by way and number of labels."""
    rows = rows[rows["way"].isin((*WAYS, ZERO_SHOT))]
    cells = dict(iter(rows.groupby(["way", "labels"])))
    wanted = set(itertools.product(WAYS, {n for way, n in cells if way in WAYS})) or {None}
    if not wanted <= cells.keys() or min(map(len, cells.values())) < 2:
        raise ValueError("rows must hold each way of the lesson, for two seeds or more a cell.")
    table = predicted(rows, ["way", "labels"]).set_index(["way", "labels"])
    return {key: _Measured(**row) for key, row in table.to_dict("index").items()}


def _table(runs: Sequence[tuple]) -> str:
    lowest = min(min(accuracy, stored.low if stored else 1) for *_, accuracy, stored in runs)
    first = min(0.9, math.floor(10 * lowest) / 10)  # where the scale begins
    wide = 180 / (1 - first)  # pixels for an accuracy of 1
    heads = ("run", "blocks | head", "labels", "accuracy", "lesson's mean", f"{first:g} to 1")
    rows = []
    for *run, accuracy, stored in runs:
        mean = "{:.3f} ({:.3f} to {:.3f})".format(*stored) if stored else "not measured"
        bar = ""
        if stored:
            left, right = wide * (stored.low - first), wide * (stored.high - first)
            bar = f'<rect x="{left:.1f}" y="3" width="{right - left:.1f}" height="12" fill="#999"/>'
        at = wide * (accuracy - first)
        dot = f'<circle cx="{at:.1f}" cy="9" r="4" fill="{figures.COLORS[0]}"/>'
        svg = '<svg aria-hidden="true" width="190" height="18" viewBox="-5 0 190 18">'
        rows.append((*run, f"{accuracy:.3f}", mean, f"{svg}{bar}{dot}</svg>"))
    caption = "At the right, a dot is your run, and a bar is where 19 of 20 runs should land."
    return table(f"Your runs. {caption}", heads, rows)
