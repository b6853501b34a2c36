"""Try it yourself: choose a way and a number of labels, train the network in front of you."""

from __future__ import annotations

import time

import ipywidgets as widgets
import pandas as pd

from mtl_course.base import stream
from mtl_course.datasets import Split
from mtl_course.networks import Network, trainable
from mtl_course.studies import interval
from mtl_course.training import evaluate
from mtl_course.transfer import WAYS, adapt


class Adapt(widgets.VBox):
    """Adapts `source` to handwritten digits by the chosen way, and sets the score beside the rows'.

    rows: the study's rows, for comparison. Each press draws other labelled images.
    """

    def __init__(self, source: Network, written: Split, rows: pd.DataFrame, steps: int) -> None:
        self._source, self._written, self._rows, self._steps = source, written, rows, steps
        self._presses = 0
        counts = sorted(set(rows.loc[rows["way"].isin(WAYS), "labels"]))
        style = {"description_width": "140px"}
        self._way = widgets.Dropdown(options=WAYS, description="Way", style=style)
        self._labels = widgets.Dropdown(options=counts, description="Labelled images", style=style)
        self._train = widgets.Button(description="Train", tooltip="Train this network here")
        self._said = widgets.HTML().add_class("mtl-try-answer")
        super().__init__([self._way, self._labels, self._train, self._said])
        self.add_class("mtl-try")
        for control in (self._way, self._labels):
            control.observe(self._tell, "value")
        self._train.on_click(self._run)
        self._tell(None)

    def _tell(self, _: object) -> None:
        self._said.value = f"Measured before: {self._measured()}. Press Train for one more run."

    def _measured(self) -> str:
        here = (self._rows["way"] == self._way.value) & (self._rows["labels"] == self._labels.value)
        mean, low, high = interval(self._rows.loc[here, "accuracy"])
        return f"{mean:.3f} ({low:.3f} to {high:.3f}, {here.sum()} seeds)"

    def _run(self, _: object) -> None:
        self._train.disabled = True
        self._said.value = "Training …"
        try:
            self._presses += 1
            start = time.perf_counter()
            seed = stream(self._presses, "try it yourself")
            sample = self._written.train.sample(self._labels.value, seed=seed)
            target = adapt(
                self._source, sample, self._way.value, steps=self._steps, seed=seed, progress=False
            )
            score = evaluate(target, self._written.test)["accuracy"].iloc[0]
            seconds = time.perf_counter() - start
            self._said.value = (
                f"Run {self._presses}: accuracy {score:.3f} after {seconds:.1f} s, "
                f"{trainable(target):,} weights trained. Measured before: {self._measured()}."
            )
        finally:
            self._train.disabled = False
