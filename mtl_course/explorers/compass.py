"""The gradient compass: at what angle to the way they are combined do the tasks' gradients lie?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import pandas as pd
import torch
from torch import Tensor

from mtl_course import figures
from mtl_course.aggregators import AGGREGATORS, aggregator
from mtl_course.base import derive_seed
from mtl_course.devices import seeded
from mtl_course.explorers._frame import LABELS, TABLE, Explorer, answer, picture
from mtl_course.gradients import cosines

_SUM = "plain sum"


class Compass(Explorer):
    """The tasks' gradients at a step of training, and where each way to combine them goes.

    A direction is what a way makes of the gradients, and the step goes along minus it: a task whose
    gradient lies more than 90° from the direction is opposed, and a small step raises its loss.
    It opens at the look where the plain sum is farthest from the gradient of a task.
    looks: floating point (tasks, weights), a gradient a row, by step, as `aggregators.Watch` keeps
        them.
    tasks: their names.
    Raises: ValueError if there is no look, or a look has not a row for each task.
    """

    def __init__(self, looks: Mapping[int, Tensor], tasks: Sequence[str]) -> None:
        if not looks:
            raise ValueError("looks must hold the gradients of at least one step.")
        for step, each in looks.items():
            if each.ndim != 2 or len(each) != len(tasks):
                got = tuple(each.shape)
                raise ValueError(f"looks must be ({len(tasks)}, weights); at {step} it is {got}.")
        looks = {step: each.detach().float().cpu() for step, each in looks.items()}
        self._looks, self._tasks = looks, tuple(tasks)
        # For each step the cosine of each way's direction (a row) with each task's gradient.
        self.cosines = {step: self._meet(each) for step, each in looks.items()}
        farthest = min(looks, key=lambda step: self.cosines[step].loc[_SUM].min())
        self._step = widgets.Dropdown(
            options=list(looks), value=farthest, description="Step", style=LABELS
        )
        self._way = widgets.Dropdown(
            options=[_SUM, *AGGREGATORS], description="Way to combine", style=LABELS
        )
        self._said, self._dial, self._table = answer(), picture(), picture()
        both = widgets.HBox([self._dial, self._table], layout={"flex_flow": "row wrap"})
        super().__init__("compass", [self._step, self._way, self._said, both])
        for control in (self._step, self._way):
            control.observe(self._tell, "value")
        self._tell(None)

    def angles(self, step: int, way: str) -> pd.DataFrame:
        """One row a task: its angle to the way's direction, in degrees, and its relative length.

        The angle is nan if the gradient or the direction is 0.
        """
        each = self._looks[step]
        cosine = torch.tensor(self.cosines[step].loc[way].to_numpy(), device="cpu")
        angle, length = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))), each.norm(dim=1)
        longest = length.max() if length.any() else 1.0
        columns = {"angle": angle.tolist(), "length": (length / longest).tolist()}
        return pd.DataFrame(columns, index=list(self._tasks))

    def static(self) -> dict[str, str]:
        """The chosen step, a compass for each way."""
        step = self._step.value
        panels = {way: self.angles(step, way) for way in (_SUM, *AGGREGATORS)}
        told = " ".join(f"{way}: {_in_words(table)}." for way, table in panels.items())
        alt = f"A compass for each way to combine the gradients of step {step}. {told}"
        return figures.bundle(figures.compass(panels), alt)

    def _meet(self, each: Tensor) -> pd.DataFrame:
        ways = {_SUM: each.sum(dim=0)}
        with seeded(derive_seed(0, "step 0")):  # in what order PCGrad takes the tasks
            ways |= {name: aggregator(name)(each) for name in AGGREGATORS}
        both = cosines(torch.cat([torch.stack(list(ways.values())), each]))
        return pd.DataFrame(
            both[: len(ways), len(ways) :].double().numpy(), list(ways), list(self._tasks)
        )

    def _tell(self, _: object) -> None:
        step, way = self._step.value, self._way.value
        table = self.angles(step, way)
        self._said.value = f"Step {step}, {way}: {_in_words(table)}."
        alt = f"A compass whose needle is the direction of {way} at step {step}: {_in_words(table)}"
        drawn = figures.compass({f"step {step}: {way}": table})
        self._dial.value = figures.image(drawn, alt)
        self._table.value = self._tables(step, way)

    def _tables(self, step: int, way: str) -> str:
        """The cosines between the tasks, and of each way with each task."""
        tasks = list(self._tasks)
        between = pd.DataFrame(cosines(self._looks[step]).double().numpy(), tasks, tasks)
        return (
            TABLE
            + _as_html(between, "Cosines between the tasks’ gradients", None)
            + _as_html(self.cosines[step], "Cosine of each way with each task’s gradient", way)
        )


def _as_html(table: pd.DataFrame, caption: str, chosen: str | None) -> str:
    """▼ stands beside a cosine below 0."""
    head = "".join(f'<th scope="col">{name}</th>' for name in table)
    body = "".join(
        f'<tr{" class=chosen" if name == chosen else ""}><th scope="row">{name}</th>'
        + "".join(f"<td>{'▼ ' if value < 0 else ''}{_signed(value)}</td>" for value in row)
        + "</tr>"
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    )
    return (
        f'<table class="mtl-table"><caption>{caption}, ▼ below 0</caption>'
        f"<tr><td></td>{head}</tr>{body}</table>"
    )


def _signed(cosine: float) -> str:
    return "none" if pd.isna(cosine) else f"{cosine:+.2f}"


def _in_words(table: pd.DataFrame) -> str:
    def of(task: str, angle: float, length: float) -> str:
        if length == 0:
            return f"{task} has no gradient"
        if pd.isna(angle):
            return f"{task} no angle, for the direction is 0"
        return f"{task} {angle:.0f}°{' (opposed)' if angle > 90 else ''}"

    return ", ".join(of(task, *row) for task, row in table.iterrows())
