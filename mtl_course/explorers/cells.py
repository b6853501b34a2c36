"""The cells of a study: choose one, see what was measured, and train it on the spot."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from mtl_course import figures, studies
from mtl_course.base import threads
from mtl_course.explorers._frame import Explorer, Front, Live, Run, output
from mtl_course.studies.claims import Comparison
from mtl_course.studies.statistics import predicted

Cell = tuple  # a value for each dial


class Cells(Explorer):
    """What one way gains over the study's baseline: a cell, its interval, its ten seeds.

    In the page it is `cells.js`. "Train this cell here", which needs a kernel, trains both networks
    as `studies.run` would, and adds its dot.
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
        self._parts: dict[Cell, list[Mapping]] = {  # this way's cell of the study, the baseline's
            tuple(cell[key] for key in dials): [cell, baseline[1]]
            for cell in chosen.grid
            if cell["way"] != chosen.over and fixed.items() <= cell.items()
            # What is blank for the baseline is blank for other controls of it, which have no dial.
            if not chosen.blank.items() & cell.items()
            if (baseline := Comparison(study, cell).baseline())
        }
        if unknown := [cell for cell in shown if cell not in self._parts]:
            raise ValueError(f"shown must hold cells that were measured; got {unknown[0]}.")
        self._differences, self._gains, self._seconds = self._measured()
        self._values = [list(dict.fromkeys(values)) for values in zip(*self._parts, strict=True)]
        self._front = Front(
            "cells", self._data(), {"cell": self._at(shown[0]), "here": {}, "said": ""}
        )
        self._cost = output("cost")
        live = Live("Train this cell here", None, self._train, self._cell)
        super().__init__("cells", [self._front, live, self._cost], [self._front])

    def differences(self, cell: Cell) -> pd.Series:
        """Return what this way's network scored above the baseline's, by seed."""
        return self._differences[cell]

    def static(self) -> dict[str, str]:
        """Return the chosen cells, each among its neighbors along the first dial."""
        text = " ".join(f"{self._title(cell)}: {self._in_words(cell)}." for cell in self._shown)
        alt = f"Gains over {self._over} along {self._dials[0]}, with 95 % intervals, each cell by "
        again = f"python -m mtl_course studies {self._name} --fresh"
        return figures.bundle(self._draw(self._shown), f"{alt}itself. {text}", again)

    def _measured(self) -> tuple[dict, dict, dict]:
        """Return, by cell, its seeds' differences, its row of `studies.gain`, a run's seconds."""
        keys = list(studies.study(self._name).keys)
        groups, none = dict(list(self._rows.groupby(keys))), self._rows.iloc[:0]
        both, differences, seconds = [], {}, {}
        for number, (cell, pair) in enumerate(self._parts.items()):
            tables = [groups.get(tuple(part[key] for key in keys), none) for part in pair]
            mine, other = (table.set_index("seed")[self._score] for table in tables)
            differences[cell] = (mine - other).dropna()
            seconds[cell] = sum((t["seconds"] + t["source_seconds"]).median() for t in tables)
            for table, way in zip(tables, ("this way", "the other"), strict=True):
                about = {"way": way, "cell": number, "study": self._name}
                both.append(table[["seed", self._score]].assign(**about))
        how = {"score": self._score, "keys": ["cell", "way"]}
        gains = studies.gain(pd.concat(both), "this way", "the other", **how).set_index("cell")
        return differences, dict(zip(self._parts, gains.sort_index().iloc, strict=True)), seconds

    def _data(self) -> dict:
        """Return what the page shows: each cell as it says."""
        cells = []
        for cell, gain in self._gains.items():
            ends = [round(float(gain[name]), 6) for name in ("mean", "low", "high")]
            seeds = self._differences[cell].round(4).tolist()
            cells.append([self._at(cell), *ends, gain["verdict"], seeds])
        names = [list(map(self._text, values)) for values in self._values]
        score = self._score.replace("auc", "AUC")
        dials = list(map(list, zip(self._dials, names, strict=True)))
        return {"dials": dials, "cells": cells, "over": self._over, "score": score}

    def _at(self, cell: Cell) -> list[int]:
        """Return the number of each of its values."""
        return [values.index(value) for values, value in zip(self._values, cell, strict=True)]

    def _cell(self) -> Cell:
        at = self._front.value["cell"]
        return tuple(values[k] for values, k in zip(self._values, at, strict=True))

    def _title(self, cell: Cell, first: int = 0) -> str:
        names = self._dials[first:]
        return ", ".join(f"{n} {self._text(value)}" for n, value in zip(names, cell, strict=True))

    def _in_words(self, cell: Cell) -> str:
        return "{mean:+.3f} ({low:.3f} to {high:.3f}), {verdict}".format(**self._gains[cell])

    def _update(self) -> None:
        self._cost.value = (
            f"To train it here takes about {self._seconds[self._cell()]:.0f} s on one core of the "
            "machine that trained the rows."
        )

    def _draw(self, cells: Sequence[Cell]) -> Figure:
        """Draw cells, each among its neighbors along the first dial."""
        panels = {}
        for cell in cells:
            line = {self._text(c[0]): gain for c, gain in self._gains.items() if c[1:] == cell[1:]}
            panels[self._title(cell[1:], 1)] = pd.DataFrame(line.values(), list(line))
        score, seeds = self._score.replace("auc", "AUC"), self.differences(cells[0])
        axes = {"xlabel": self._dials[0], "ylabel": f"gain in {score}"}
        return figures.dots(panels, chosen=self._text(cells[0][0]), seeds=seeds, **axes)

    @threads(1)  # as the rows were trained
    def _train(self, run: Run, *cell: object) -> None:
        seed, scores = self._seed, []
        self._seed += 1
        for part in self._parts[cell]:
            run.tell("Drawing what it learns from …")
            scores.append(studies.train_row(self._name, seed, part, fit=run.fit)[self._score])
        run.check()  # a run that was stopped leaves no dot
        difference = scores[0] - scores[1]
        table = self.differences(cell).rename("gain").reset_index().assign(cell="this")
        low, high = predicted(table, ["cell"], "gain").loc[0, ["low", "high"]]
        inside = "it does" if low <= difference <= high else "it does not"
        said = (
            f"{self._title(cell)}: seed {seed} here gives {difference:+.3f}. One further seed "
            f"lands between {low:+.3f} and {high:+.3f} 95 times in 100; {inside}."
        )
        place, value = ",".join(map(str, self._at(cell))), self._front.value
        here = value["here"] | {place: [*value["here"].get(place, []), difference]}
        self._front.value = value | {"here": here, "said": said}

    def _text(self, value: object) -> str:
        return f"{value:,}" if isinstance(value, int) else self._names.get(value, str(value))
