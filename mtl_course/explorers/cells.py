"""The cells of a study: choose one, see what was measured, and train it on the spot."""

import functools
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from mtl_course import figures, studies
from mtl_course.base import threads
from mtl_course.explorers._frame import Explorer, Live, Run, dropdown, output
from mtl_course.studies.claims import Comparison
from mtl_course.studies.statistics import predicted

Cell = tuple  # a value for each dial


class Cells(Explorer):
    """What one way gains over the study's baseline: a cell, its interval, its ten seeds.

    "Train this cell here" trains both networks as `studies.run` would, and adds its dot.
    dials: keys of the study, and what the reader calls them; the gain is drawn along the first.
    fixed: values for all other keys. seed: in no row, of the first run; each press takes the next.
    shown: cells for the static picture, a value for each dial; the widget opens at the first.
    names: what the reader sees in place of a value.
    Raises: ValueError if dials and fixed are not the study's keys, or shown was not measured.
    """

    def __init__(
        self,
        study: str,
        dials: Mapping[str, str],
        *,
        fixed: Mapping[str, object] | None = None,
        seed: int,
        shown: Sequence[Cell],
        names: Mapping[str, str] | None = None,
    ) -> None:
        fixed, chosen = dict(fixed or {}), studies.study(study)
        if sorted([*dials, *fixed]) != sorted(chosen.keys):
            raise ValueError(f"dials and fixed must be {', '.join(chosen.keys)}, each key once.")
        self._name, self._over, self._score = study, chosen.over, chosen.score
        self._dials, self._seed, self._shown = list(dials.values()), seed, list(shown)
        self._rows, self._names = studies.run(study), names or {}
        self._comparisons: dict[Cell, Comparison] = {
            tuple(cell[key] for key in dials): comparison
            for cell in chosen.grid
            if cell["way"] != chosen.over and fixed.items() <= cell.items()
            # What is blank for the baseline is blank for other controls of it, which have no dial.
            if not chosen.blank.items() & cell.items()
            if (comparison := Comparison(study, cell)).baseline()
        }
        if unknown := [cell for cell in shown if cell not in self._comparisons]:
            raise ValueError(f"shown must hold cells that were measured; got {unknown[0]}.")
        # The mean gain of a cell, its interval and verdict, computed when it is first shown.
        rows, self._filling = {study: self._rows}, False
        self._gain = functools.cache(lambda cell: self._comparisons[cell].found(rows=rows))
        self._here: dict[Cell, list[float]] = {}  # the differences that were trained here
        self._answer, self._picture = output("answer"), output("picture")
        self._controls = [dropdown(name, ()) for name in self._dials]
        self._fill(shown[0])
        live = Live("Train this cell here", self._answer, self._train, self._cell)
        children = [*self._controls, live, self._answer, self._picture]
        super().__init__("cells", children, self._controls)

    def differences(self, cell: Cell) -> pd.Series:
        """Return what this way's network scored above the baseline's, by seed."""
        mine, other = (rows.set_index("seed")[self._score] for rows in self._both(cell))
        return (mine - other).dropna()

    def static(self) -> dict[str, str]:
        """Return the chosen cells, each among its neighbors along the first dial."""
        text = " ".join(f"{self._title(cell)}: {self._in_words(cell)}." for cell in self._shown)
        alt = f"Gains over {self._over} along {self._dials[0]}, with 95 % intervals, each cell by "
        again = f"python -m mtl_course studies {self._name} --fresh"
        return figures.bundle(self._draw(self._shown), f"{alt}itself. {text}", again)

    def _parts(self, cell: Cell) -> list[Mapping[str, object]]:
        """Return the two cells of the study that are compared: this way's, and the baseline's."""
        return [self._comparisons[cell].cell, self._comparisons[cell].baseline()[1]]

    def _both(self, cell: Cell) -> list[pd.DataFrame]:
        return [self._rows.merge(pd.DataFrame([part])) for part in self._parts(cell)]

    def _cell(self) -> Cell:
        return tuple(control.value for control in self._controls)

    def _fill(self, cell: Cell) -> None:
        """Give each dial the values that go with those before it; keep what can be kept."""
        there = list(self._comparisons)
        for i, (control, wanted) in enumerate(zip(self._controls, cell, strict=True)):
            options = tuple({self._text(c[i]): c[i] for c in there}.items())
            control.options = options
            control.value = wanted if wanted in [value for _, value in options] else there[0][i]
            there = [c for c in there if c[i] == control.value]

    def _title(self, cell: Cell, first: int = 0) -> str:
        names = self._dials[first:]
        return ", ".join(f"{n} {self._text(value)}" for n, value in zip(names, cell, strict=True))

    def _in_words(self, cell: Cell) -> str:
        return "{mean:+.3f} ({low:.3f} to {high:.3f}), {verdict}".format(**self._gain(cell))

    def _update(self) -> None:
        if self._filling:  # not the reader's choice
            return
        self._filling = True
        self._fill(self._cell())
        self._filling, cell = False, self._cell()
        seconds = sum((r["seconds"] + r["source_seconds"]).median() for r in self._both(cell))
        self._answer.value = (
            f"{self._title(cell)}, over {self._over}: {self._in_words(cell)}; "
            f"{self._gain(cell)['seeds']} seeds, this cell by itself. To train it here takes about "
            f"{seconds:.0f} s on one core of the machine that trained the rows."
        )
        self._show(cell)

    def _show(self, cell: Cell) -> None:
        seeds, here = self.differences(cell), self._here.get(cell, [])
        alt = f"Gains along {self._dials[0]}; {self._title(cell)}: {self._in_words(cell)}. "
        alt += f"Its seeds lie from {seeds.min():+.3f} to {seeds.max():+.3f}."
        if here:
            alt += f" Trained here: {', '.join(f'{value:+.3f}' for value in here)}."
        self._picture.value = figures.image(self._draw([cell], here), alt)

    def _draw(self, cells: Sequence[Cell], here: Sequence[float] = ()) -> Figure:
        """Draw cells, each among its neighbors along the first dial."""
        panels = {}
        for cell in cells:
            line = {self._text(c[0]): self._gain(c) for c in self._comparisons if c[1:] == cell[1:]}
            panels[self._title(cell[1:], 1)] = pd.DataFrame(line.values(), list(line))
        score, seeds = self._score.replace("auc", "AUC"), self.differences(cells[0])
        axes = {"xlabel": self._dials[0], "ylabel": f"gain in {score}"}
        return figures.dots(panels, chosen=self._text(cells[0][0]), seeds=seeds, here=here, **axes)

    @threads(1)  # as the rows were trained
    def _train(self, run: Run, *cell: object) -> str:
        seed, scores = self._seed, []
        self._seed += 1
        for part in self._parts(cell):
            run.tell("Drawing what it learns from …")
            scores.append(studies.train_row(self._name, seed, part, fit=run.fit)[self._score])
        run.check()  # a run that was stopped leaves no dot
        self._here.setdefault(cell, []).append(difference := scores[0] - scores[1])
        if cell == self._cell():
            self._show(cell)
        table = self.differences(cell).rename("gain").reset_index().assign(cell="this")
        low, high = predicted(table, ["cell"], "gain").loc[0, ["low", "high"]]
        inside = "it does" if low <= difference <= high else "it does not"
        return (
            f"{self._title(cell)}: seed {seed} here gives {difference:+.3f}. One further seed "
            f"lands between {low:+.3f} and {high:+.3f} 95 times in 100; {inside}."
        )

    def _text(self, value: object) -> str:
        return f"{value:,}" if isinstance(value, int) else self._names.get(value, str(value))
