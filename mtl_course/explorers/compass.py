"""The gradient compass: at what angle to a combination of them do the tasks' gradients lie?"""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mtl_course import figures
from mtl_course.aggregators import AGGREGATORS, aggregator
from mtl_course.base import derive_seed
from mtl_course.devices import seeded
from mtl_course.explorers._frame import Explorer, dropdown, output, table
from mtl_course.gradients import cosines

_SUM = "plain sum"
_WAYS = (_SUM, *AGGREGATORS)


class Compass(Explorer):
    """The tasks' gradients at a step of training, and where each way to combine them goes.

    A way combines the gradients into a direction. A task whose gradient lies more than 90° from it
    is opposed: a small step against the direction raises its loss.
    It opens at the step where the plain sum is farthest from the gradient of a task.
    looks: floating point (tasks, weights), a gradient a row, by step, as `aggregators.Watch` keeps
        them. cosines: of each way (a row) with each task, by step.
    Raises: ValueError if there is no look, or a look has not a row for each task.
    """

    def __init__(self, looks: Mapping[int, Tensor], tasks: Sequence[str]) -> None:
        if not looks:
            raise ValueError("looks must hold the gradients of at least one step.")
        for step, each in looks.items():
            if each.ndim != 2 or len(each) != len(tasks):
                got = tuple(each.shape)
                raise ValueError(f"looks must be ({len(tasks)}, weights); at {step} it is {got}.")
        self._looks = {step: each.detach().float().cpu() for step, each in looks.items()}
        self._tasks = list(tasks)
        self.cosines = {step: self._of_ways(each) for step, each in self._looks.items()}
        controls = [dropdown("Step", list(looks), None), dropdown("Way to combine", _WAYS, None)]
        self._step, self._way = controls
        self._step.value = min(looks, key=lambda step: self.cosines[step].loc[_SUM].min())
        self._answer, self._dial, self._table = map(output, ("answer", "picture", "picture"))
        both = widgets.HBox([self._dial, self._table], layout={"flex_flow": "row wrap"})
        super().__init__("compass", [*controls, self._answer, both], controls)

    def angles(self, step: int, way: str) -> pd.DataFrame:
        """Return each task's angle to the way's direction, in degrees, and its relative length.

        The angle is nan if the gradient or the direction is 0.
        """
        angles = np.degrees(np.arccos(self.cosines[step].loc[way].clip(-1, 1)))
        lengths = self._looks[step].norm(dim=1)
        lengths = lengths / (lengths.max() if lengths.any() else 1.0)
        return pd.DataFrame({"angle": angles, "length": lengths.tolist()})

    def static(self) -> dict[str, str]:
        """Return the chosen step, with a compass for each way."""
        step = self._step.value
        panels = {way: self.angles(step, way) for way in _WAYS}
        text = " ".join(f"{way}: {_in_words(table)}." for way, table in panels.items())
        alt = f"A compass for each way to combine the gradients of step {step}. {text}"
        titled = {f"step {step}: {way}": table for way, table in panels.items()}
        return figures.bundle(figures.compass(titled), alt)

    def _of_ways(self, each: Tensor) -> pd.DataFrame:
        with seeded(derive_seed(0, "step 0")):  # the order in which PCGrad takes the tasks
            combined = [aggregator(name)(each) for name in AGGREGATORS]
        both = cosines(torch.cat([torch.stack([each.sum(dim=0), *combined]), each])).double()
        return pd.DataFrame(both[: len(_WAYS), len(_WAYS) :].numpy(), list(_WAYS), self._tasks)

    def _update(self) -> None:
        step, way = self._step.value, self._way.value
        text = _in_words(angles := self.angles(step, way))
        self._answer.value = f"Step {step}, {way}: {text}."
        alt = f"A compass whose needle is the direction of {way} at step {step}: {text}"
        self._dial.value = figures.image(figures.compass({f"step {step}: {way}": angles}), alt)
        numbers = cosines(self._looks[step]).double().numpy()
        between = pd.DataFrame(numbers, self._tasks, self._tasks)
        page = _table("Cosines between the tasks’ gradients", between)
        page += _table("Cosine of each way with each task’s gradient", self.cosines[step], way)
        self._table.value = page


def _table(caption: str, values: pd.DataFrame, chosen: str = "") -> str:
    texts = values.map(lambda c: f"{'▼ ' if c < 0 else ''}{c:+.2f}" if pd.notna(c) else "none")
    return table(f"{caption}, ▼ below 0", ["", *values.columns], texts.itertuples(), chosen)


def _in_words(table: pd.DataFrame) -> str:
    texts = []
    for task, angle, length in table.itertuples():
        text = f"{angle:.0f}°{' (opposed)' if angle > 90 else ''}"
        if pd.isna(angle):
            text = "no angle, for the direction is 0" if length else "has no gradient"
        texts.append(f"{task} {text}")
    return ", ".join(texts)
