"""What the lessons claim, and whether ten other seeds say the same.

A claim is a comparison in one cell of a study. Each is made twice: with the seeds whose rows ship,
and with ten others, whose rows ship too. So is a random tenth of all comparisons that a lesson's
studies hold, drawn by lot and not by looks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mtl_course import studies
from mtl_course.experiments import dials, lecture

OTHER_SEEDS = range(10, 20)
ROWS = studies.SHIPPED / "other_seeds"
SHARE = 0.1  # of all comparisons are drawn by lot


class Comparison(NamedTuple):
    """What one way gains over another in one cell of a study.

    cell: every key of the study; `column` names the way.
    over: the other way; None takes the study's own baseline. score: None takes the study's own.
    column: where the two ways stand.
    other: where another study, on the same draws, has the other way: its name and its cell.
    """

    study: str
    cell: Mapping[str, object]
    over: str | None = None
    score: str | None = None
    column: str = "way"
    other: tuple[str, Mapping[str, object]] | None = None

    def baseline(self) -> tuple[str, Mapping[str, object]] | None:
        """The study and the cell of the other way. What means nothing to it is set to nothing.

        Returns: None if the study's grid does not hold it.
        """
        if self.other is not None:
            return self.other
        chosen = studies.study(self.study)
        cell = {**self.cell, self.column: self.over or chosen.over}
        there = [each for each in (cell | dict(chosen.nothing), cell) if each in chosen.grid]
        return (self.study, there[0]) if there else None

    def found(
        self,
        seeds: Iterable[int] | None = None,
        rows: Mapping[str, pd.DataFrame] | None = None,
        **where: object,
    ) -> pd.Series:
        """The gain with its interval and verdict, as `studies.gain` gives it.

        rows: by study; where there are none, what `studies.run` gives for `seeds` and `where`.
        Raises: ValueError if the study has no such cell of the other way.
        """
        if self.baseline() is None:
            raise ValueError(f"over: {self.study} has no {self.over!r} to set {self.cell} against.")
        sides = ((self.study, self.cell), self.baseline())
        stored = dict(rows or {})
        for name in {name for name, _ in sides} - set(stored):  # both at once: they share sources
            cells = [cell for study, cell in sides if study == name]
            only = {key: list(dict.fromkeys(c[key] for c in cells)) for key in cells[0]}
            stored[name] = studies.run(name, seeds, only=only, **where)
        score = self.score or studies.study(self.study).score
        both = [
            stored[name][(stored[name][list(cell)] == pd.Series(cell)).all(axis=1)].assign(way=way)
            for (name, cell), way in zip(sides, ("this way", "the other"), strict=True)
        ]
        columns = ["study", "cell", "way", "seed", score]
        bare = [part.assign(study=self.study, cell="this one")[columns] for part in both]
        return studies.gain(pd.concat(bare), "this way", over="the other", score=score).iloc[0]

    def __str__(self) -> str:
        cell = ", ".join(
            f"{value:,}" if isinstance(value, int) else str(value) for value in self.cell.values()
        )
        return f"{cell}, over {self.over or studies.study(self.study).over}"


class Lesson(NamedTuple):
    """claims: comparisons by what is claimed. studies: of which a tenth is drawn, by `seed`."""

    claims: Mapping[str, Comparison]
    studies: Sequence[str]
    seed: int


def _size(a: int, b: int, way: str = "all layers", over: str | None = None) -> Comparison:
    return Comparison("size_map", {"a": a, "b": b, "way": way}, over)


def _related(a: str, task: str = dials.TARGET, labels: int = 1_000) -> Comparison:
    cell = {"a": a, "task": task, "way": "all layers", "layers": dials.ALL, "labels": labels}
    return Comparison("relatedness", cell)


def _written(a: str) -> Comparison:
    cell = {"a": a, "way": "all layers", "layers": dials.ALL, "labels": 30}
    return Comparison("digits_relatedness", cell)


def _under(score: str) -> Comparison:
    cell = {"way": "new head", "images": lecture.THOUSAND}
    return Comparison("shifted", cell, "all layers", score)


def _new(task: str) -> Comparison:
    return Comparison("new_tasks", {"task": task, **_NEW_CELL})


_NEW_CELL = {"way": "all layers", "images": lecture.THOUSAND}
_LITTLE, _MILLION = min(dials.STEPS_OF_A), dials.LARGEST
LESSONS = {
    "02": Lesson(
        {
            "T2, 1,000,000 → 1,000: A gains": _size(_MILLION, 1_000),
            "… also over ten times the steps": _size(_MILLION, 1_000, over=dials.LONGER),
            "T2, 1,000,000 → 30,000: A gains": _size(_MILLION, 30_000),
            "… also over ten times the steps there": _size(_MILLION, 30_000, over=dials.LONGER),
            "T2 reversed, 1,000 → 30,000: A gains": _size(_LITTLE, 30_000),
            "… at the rate of from scratch": _size(_LITTLE, 30_000, dials.FASTER),
            "B = 100: new head beats all layers": _size(_MILLION, 100, "new head", "all layers"),
            "B = 30,000: new head beats all layers": _size(
                _MILLION, 30_000, "new head", "all layers"
            ),
            "T1, the same x: the four gain": _related("the four"),
            "T1: shuffled pixels gain": _related(dials.SHUFFLED),
            "T1: sounds gain": _related(dials.SOUNDS),
            "T3: B itself gains": _related("B itself"),
            "T3: other things gain": _related("other things"),
            "T3: random labels gain": _related(dials.RANDOM),
            "given the shipped trunk: pedestrian on the road gains": _new(lecture.NEAR),
            "given the shipped trunk: two cars gains": _new("two cars"),
            "given the shipped trunk: lit windows gains": _new("lit windows"),
            "given the shipped trunk: cyclist gains": Comparison("headline", _NEW_CELL),
            "clear days, asked on clear days: new head beats all layers": _under("auc"),
            "… asked at night": _under("auc night"),
            "… asked in thick fog": _under("auc thick fog"),
            "handwriting, 30: digits gain": _written("digits"),
            "handwriting, 30: thickness gains": _written("thickness"),
        },
        studies=("size_map", "relatedness", "digits_size_map", "digits_relatedness", "new_tasks",
                 "shifted"),
        seed=2026,
    ),
}  # fmt: skip
"""By lesson: what it claims, each comparison named before its other seeds were trained."""


def lot(lesson: str) -> dict[str, Comparison]:
    """A random tenth of a lesson's comparisons, by what they compare.

    The comparisons are all cells of its studies against their baselines, where they have one.
    """
    own = LESSONS[lesson]
    every = [Comparison(name, cell) for name in own.studies for cell in studies.study(name).grid]
    every = [each for each in every if each.baseline() not in (None, (each.study, each.cell))]
    drawn = np.random.default_rng(own.seed).choice(
        len(every), round(SHARE * len(every)), replace=False
    )
    return {f"{every[k].study}: {every[k]}": every[k] for k in sorted(drawn)}


def table(
    claims: Mapping[str, Comparison],
    rows: Mapping[str, pd.DataFrame] | None = None,
    store: Path | str = ROWS,
) -> pd.DataFrame:
    """What each comparison found with its own seeds, and with ten others.

    rows: by study, rows to read in place of those that ship.
    store: the folder of the others' rows; those that are missing are trained.
    Returns: one row a comparison: mean, low, high, verdict, then the same of the others, and
        whether the verdict stayed.
    """
    parts = []
    for compared in claims.values():
        own = compared.found(rows=rows)
        other = compared.found(OTHER_SEEDS, shipped=False, store=store)
        parts.append(
            {(when, name): found[name]
             for when, found in (("these seeds", own), ("ten others", other))
             for name in ("mean", "low", "high", "verdict")}
            | {("the verdict", "stays"): own["verdict"] == other["verdict"]}
        )  # fmt: skip
    found = pd.DataFrame(parts, index=pd.Index(claims, name="claim"))
    return found.set_axis(pd.MultiIndex.from_tuples(found.columns), axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the ten other seeds of a lesson's claims and of its lot, where they are missing."""
    parser = argparse.ArgumentParser(prog="python -m mtl_course.claims", description=main.__doc__)
    parser.add_argument("lesson", choices=LESSONS)
    parser.add_argument("--fresh", action="store_true", help="again, into results/fresh")
    asked = parser.parse_args(arguments)
    store = studies.RESULTS / "fresh" / ROWS.name if asked.fresh else ROWS
    for claims in (LESSONS[asked.lesson].claims, lot(asked.lesson)):
        found = table(claims, store=store)
        sys.stdout.write(found.round(3).to_string() + "\n")


if __name__ == "__main__":
    main()
