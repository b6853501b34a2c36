"""The cells of a study: turn its dials, see what was measured, and train a cell on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import pandas as pd

from mtl_course import figures, studies
from mtl_course.base import threads
from mtl_course.explorers._frame import LABELS, Explorer, Live, Run, answer, picture
from mtl_course.studies.claims import Comparison
from mtl_course.studies.statistics import predicted

Cell = tuple
"""A value for each dial."""


class Cells(Explorer):
    """What one way gains over the study's baseline: a cell, its interval, its ten dots.

    "Train this cell here" trains both networks of a cell with a seed that is in no row, as
    `studies.run` would, and adds its dot.

    study: its name. dials: the keys of the study that can be turned, and what the reader calls
        them; the gain is drawn along the first. fixed: values for all its other keys.
    seed: of the first run; each press takes the next one.
    shown: cells for the static picture, a value for each dial; the widget opens at the first.
    Raises: ValueError if dials and fixed are not the study's keys, or if no such cell has a
        baseline.
    """

    def __init__(
        self,
        study: str,
        dials: Mapping[str, str],
        *,
        fixed: Mapping[str, object] | None = None,
        seed: int,
        shown: Sequence[Cell],
    ) -> None:
        fixed = dict(fixed or {})
        self._study, chosen = study, studies.study(study)
        if set(dials) | set(fixed) != set(chosen.keys) or set(dials) & set(fixed):
            raise ValueError(f"dials and fixed must be {', '.join(chosen.keys)}, each key once.")
        self._dials, self._seed, self._shown = dict(dials), seed, list(shown)
        self._rows = studies.run(study)
        known = [
            Comparison(study, cell)
            for cell in chosen.grid
            if cell["way"] != chosen.over and fixed.items() <= cell.items()
            # What is blank for the baseline is blank for other controls of it, which have no dial.
            if not chosen.blank.items() & cell.items()
        ]
        self._known = {tuple(c.cell[key] for key in dials): c for c in known if c.baseline()}
        if strange := [cell for cell in shown if cell not in self._known]:
            raise ValueError(f"shown must hold cells that were measured; got {strange[0]}.")
        self._found: dict[Cell, pd.Series] = {}
        self._here: dict[Cell, list[float]] = {}  # the differences that were trained here
        self._said, self._drawn = answer(), picture()
        self._controls = [
            widgets.Dropdown(description=name, style=LABELS, layout={"width": "440px"})
            for name in dials.values()
        ]
        self._filling = False
        self._fill(shown[0])
        live = Live("Train this cell here", self._said, self._train, lambda: {"cell": self._now()})
        super().__init__("cells", [*self._controls, live, self._said, self._drawn])
        for control in self._controls:
            control.observe(self._turned, "value")
        self._tell()

    def differences(self, cell: Cell) -> pd.Series:
        """What this way's network scored above the baseline's, by seed."""
        score = studies.study(self._study).score
        mine, other = (rows.set_index("seed")[score] for rows in self._both(cell))
        return (mine - other).dropna()

    def static(self) -> dict[str, str]:
        """The chosen cells, each among its neighbours along the first dial."""
        panels = {self._name(cell[1:], 1): self._along(cell) for cell in self._shown}
        first = self._shown[0]
        drawn = figures.dots(
            panels, chosen=_text(first[0]), seeds=self.differences(first), **self._axes()
        )
        told = " ".join(f"{self._name(cell)}: {self._in_words(cell)}." for cell in self._shown)
        return figures.bundle(
            drawn,
            f"Gains over {studies.study(self._study).over} along {next(iter(self._dials.values()))}"
            f", with 95 % intervals, each cell by itself. {told}",
            again=f"python -m mtl_course studies {self._study} --fresh",
        )

    def _parts(self, cell: Cell) -> list[Mapping[str, object]]:
        """The two cells of the study that are compared: this way's, and the baseline's."""
        return [self._known[cell].cell, self._known[cell].baseline()[1]]

    def _both(self, cell: Cell) -> list[pd.DataFrame]:
        """The rows of either."""
        rows = self._rows
        return [
            rows[(rows[list(part)] == pd.Series(part)).all(axis=1)] for part in self._parts(cell)
        ]

    def _axes(self) -> dict[str, str]:
        score = studies.study(self._study).score.replace("auc", "AUC")
        return {"xlabel": next(iter(self._dials.values())), "ylabel": f"gain in {score}"}

    def _now(self) -> Cell:
        return tuple(control.value for control in self._controls)

    def _fill(self, cell: Cell) -> None:
        """Gives each dial the values that go with those before it; keeps what can be kept."""
        before: Cell = ()
        for control, wanted in zip(self._controls, cell, strict=True):
            there = [c[len(before)] for c in self._known if c[: len(before)] == before]
            values = list(dict.fromkeys(there))
            options = [(_text(value), value) for value in values]
            if list(control.options) != options:
                control.options = options
            control.value = wanted if wanted in values else values[0]
            before = (*before, control.value)

    def _turned(self, _: object) -> None:
        if not self._filling:  # what filling changes is no turn of the reader's
            self._filling = True
            self._fill(self._now())
            self._filling = False
            self._tell()

    def _measured(self, cell: Cell) -> pd.Series:
        if cell not in self._found:
            self._found[cell] = self._known[cell].found(rows={self._study: self._rows})
        return self._found[cell]

    def _along(self, cell: Cell) -> pd.DataFrame:
        """The cells that differ from this one in the first dial alone."""
        line = {c[0]: self._measured(c) for c in self._known if c[1:] == cell[1:]}
        table = pd.DataFrame(line).T[["mean", "low", "high"]].astype(float)
        return table.set_axis([_text(value) for value in table.index])

    def _name(self, cell: Cell, first: int = 0) -> str:
        names = list(self._dials.values())[first:]
        return ", ".join(f"{n} {_text(value)}" for n, value in zip(names, cell, strict=True))

    def _in_words(self, cell: Cell) -> str:
        found = self._measured(cell)
        return f"{found['mean']:+.3f} ({found['low']:.3f} to {found['high']:.3f}), " + str(
            found["verdict"]
        )

    def _seconds(self, cell: Cell) -> float:
        """What the two networks of a cell and their sources took on one core, the median row."""
        return sum((rows["seconds"] + rows["source_seconds"]).median() for rows in self._both(cell))

    def _tell(self) -> None:
        cell, over = self._now(), studies.study(self._study).over
        found = self._measured(cell)
        self._said.value = (
            f"{self._name(cell)}, over {over}: {self._in_words(cell)}; {found['seeds']} seeds, this"
            f" cell by itself. To train it here takes about {self._seconds(cell):.0f} s on one core"
            " of the machine that trained the rows."
        )
        self._draw(cell)

    def _draw(self, cell: Cell) -> None:
        seeds, here = self.differences(cell), self._here.get(cell, [])
        alt = (
            f"Gains along {next(iter(self._dials.values()))}; {self._name(cell)}: "
            f"{self._in_words(cell)}. Its seeds lie from {seeds.min():+.3f} to {seeds.max():+.3f}."
        )
        if here:
            alt += f" Trained here: {', '.join(f'{value:+.3f}' for value in here)}."
        drawn = figures.dots(
            {self._name(cell[1:], 1): self._along(cell)},
            chosen=_text(cell[0]), seeds=seeds, here=here, **self._axes(),
        )  # fmt: skip
        self._drawn.value = figures.image(drawn, alt)

    @threads(1)  # as the rows were trained
    def _train(self, run: Run, cell: Cell) -> str:
        seed = self._seed
        self._seed += 1
        scores = []
        for part in self._parts(cell):
            run.tell("Drawing what it learns from …")
            row = studies.train_row(self._study, seed, part, fit=run.fit)
            scores.append(row[studies.study(self._study).score])
        run.check()  # a run that was stopped leaves no dot
        difference = scores[0] - scores[1]
        self._here.setdefault(cell, []).append(difference)
        if cell == self._now():
            self._draw(cell)
        table = self.differences(cell).rename("gain").reset_index().assign(cell="this")
        low, high = predicted(table, ["cell"], "gain").loc[0, ["low", "high"]]
        inside = "it does" if low <= difference <= high else "it does not"
        return (
            f"{self._name(cell)}: seed {seed} here gives {difference:+.3f}. One further seed lands "
            f"between {low:+.3f} and {high:+.3f} 95 times in 100; {inside}."
        )


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
