"""What the lessons claim, and whether ten other seeds say the same.

A claim is a comparison in one cell of a study. Each is made twice: with the seeds whose rows ship,
and with ten others, whose rows ship too. So is a random tenth of all cells of a lesson's studies,
set against their baselines, drawn by lot and not by looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from mtl_course import studies
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import headline, lesson_02, lesson_05, lesson_06

OTHER_SEEDS = range(10, 20)
SHARE = 0.1  # of all comparisons are drawn by lot


class Comparison(NamedTuple):
    """What one way gains over another in one cell of a study.

    cell: every key of the study; `column` names the way.
    over: the other way; None takes the study's own baseline. score: None takes the study's own.
    column: where the two ways stand.
    against: study and cell of the other way, in place of `over`, where more than a name differs.
    """

    study: str
    cell: Mapping[str, object]
    over: object = None
    score: str | None = None
    column: str = "way"
    against: tuple[str, Mapping[str, object]] | None = None

    def baseline(self) -> tuple[str, Mapping[str, object]] | None:
        """Study and cell of the other way. What means nothing to a baseline is blank there.

        Returns: None if the study's grid does not hold it.
        """
        if self.against is not None:
            name, asked = self.against
            return (name, asked) if asked in studies.study(name).grid else None
        chosen = studies.study(self.study)
        other = {**self.cell, self.column: chosen.over if self.over is None else self.over}
        there = [cell for cell in (other | dict(chosen.blank), other) if cell in chosen.grid]
        return (self.study, there[0]) if there else None

    def found(
        self,
        seeds: Iterable[int] | None = None,
        rows: Mapping[str, pd.DataFrame] | None = None,
        **where: object,
    ) -> pd.Series:
        """What `studies.gain` finds in this cell: seeds, mean, low, high, verdict, detectable.

        rows: by study; where there are none, what `studies.run` gives for `seeds` and `where`.
        Raises: ValueError if the study has no such cell of the other way, or no seed has both.
        """
        if (other := self.baseline()) is None:
            raise ValueError(f"over: {self.study} has nothing to set {self.cell} against.")
        pair = {"this way": (self.study, self.cell), "the other": other}
        known = dict(rows or {})
        for name in {name for name, _ in pair.values()} - set(known):
            cells = [cell for study, cell in pair.values() if study == name]
            known[name] = _rows(name, cells, seeds, **where)
        score = self.score or studies.study(self.study).score
        both = [
            known[name][(known[name][list(cell)] == pd.Series(cell)).all(axis=1)][
                ["seed", score]
            ].assign(way=way)
            for way, (name, cell) in pair.items()
        ]
        table = pd.concat(both).assign(study=self.study, cell=str(self))
        keys = ["cell", "way"]
        return studies.gain(table, "this way", "the other", score=score, keys=keys).iloc[0]

    def __str__(self) -> str:
        chosen = studies.study(self.study)
        over = chosen.over if self.over is None else self.over
        if self.against is not None:
            name, cell = self.against
            over = f"{name + ', ' if name != self.study else ''}{_told(cell)}"
        return f"{self.study}, {self.score or chosen.score}: {_told(self.cell)}, over {over}"


def _rows(
    name: str, cells: Sequence[Mapping[str, object]], seeds: Iterable[int] | None, **where: object
) -> pd.DataFrame:
    """The rows of these cells: in one run, so that they share a source, if that asks for no more.

    Two cells that differ in two keys are the corners of a square, whose others nobody asked for.
    """
    only = {key: list(dict.fromkeys(cell[key] for cell in cells)) for key in cells[0]}
    grid = studies.study(name).grid
    asked = [cell for cell in grid if all(cell[key] in only[key] for key in only)]
    if len(asked) == len(cells):
        return studies.run(name, seeds, only=only, **where)
    each = [{key: [value] for key, value in cell.items()} for cell in cells]
    return pd.concat([studies.run(name, seeds, only=cell, **where) for cell in each])


def _told(cell: Mapping[str, object]) -> str:
    return ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}"
        for key, value in cell.items()
    )


class Lesson(NamedTuple):
    """What a lesson claims.

    claims: comparisons by what is claimed. studies: of which a tenth is drawn, by `seed`.
    expensive: further claims, whose ten other seeds take hours and do not ship.
    complete: studies all of whose cells are trained again, for claims about all of them together.
    """

    claims: Mapping[str, Comparison]
    studies: Sequence[str]
    seed: int
    expensive: Mapping[str, Comparison] = {}
    complete: Sequence[str] = ()


def _size(a: int, b: int, way: str = "all layers", over: str | None = None) -> Comparison:
    return Comparison("size_map", {"a": a, "b": b, "way": way}, over)


def _related(a: str, task: str = lesson_02.TARGET, labels: int = 1_000) -> Comparison:
    cell = {"a": a, "task": task, "way": "all layers", "layers": lesson_02.ALL, "labels": labels}
    return Comparison("relatedness", cell)


def _written(a: str) -> Comparison:
    cell = {"a": a, "way": "all layers", "layers": lesson_02.ALL, "labels": 30}
    return Comparison("digits_relatedness", cell)


def _under(score: str) -> Comparison:
    cell = {"way": "new head", "images": headline.THOUSAND}
    return Comparison("shifted", cell, "all layers", score)


def _new(task: str) -> Comparison:
    return Comparison("new_tasks", {"task": task, **_NEW_CELL})


def _company(way: str, task: str, images: int) -> Comparison:
    return Comparison("company", {"way": way, "task": task, "images": images})


def _joint(way: str, a: int, over: str) -> Comparison:
    own = {"a": 0 if over == "from scratch" else a, "b": lesson_05.THOUSAND, "way": over}
    return Comparison("amounts", {"a": a, "way": way}, against=("size_map", own))


def _many(
    way: str,
    count: int,
    width: int = lesson_05.WIDTH_OF_COMPANY,
    over: Mapping[str, object] | None = None,
) -> Comparison:
    cell = {"way": way, "count": count, "width": width}
    return Comparison("companions", cell, against=None if over is None else ("companions", over))


_ALONE = {"way": lesson_05.ALONE, "count": 0, "width": lesson_05.WIDTH_OF_COMPANY}
_NINE = _ALONE | {"way": lesson_05.FAMILY, "count": 9}


def _wide(
    width: int, of_each: int, images: int, way: str = lesson_05.SHARED, asked: str = "the four"
) -> Comparison:
    """One shared network of this width over four, `of_each` wide."""
    more = {"images": images, "asked": asked}
    four = {"way": lesson_05.SEPARATE, "width": of_each, **more}
    return Comparison("widths", {"way": way, "width": width, **more}, against=("widths", four))


def _traded(share: float, over: float, score: str) -> Comparison:
    return Comparison("weights", {"share": share}, over, score, column="share")


def _fought(way: str, asked: str, score: str | None = None) -> Comparison:
    return Comparison("aggregators", {"way": way, "asked": asked}, score=score)


def _helped(study: str, task: str) -> Comparison:
    """What a task's relative gains it, in a pair or one after the other."""
    return Comparison(study, {"way": lesson_06.RELATIVES[task], "task": task})


_NEW_CELL = {"way": "all layers", "images": headline.THOUSAND}
_LITTLE, _MILLION = min(lesson_02.STEPS_OF_A), lesson_02.LARGEST
LESSONS = {
    "02": Lesson(
        {
            "T2, 1,000,000 → 1,000: A gains": _size(_MILLION, 1_000),
            "… also over ten times the steps": _size(_MILLION, 1_000, over=lesson_02.LONGER),
            "T2, 1,000,000 → 30,000: A gains": _size(_MILLION, 30_000),
            "… also over ten times the steps there": _size(_MILLION, 30_000, over=lesson_02.LONGER),
            "T2 reversed, 1,000 → 30,000: A gains": _size(_LITTLE, 30_000),
            "… at the rate of from scratch": _size(_LITTLE, 30_000, lesson_02.FASTER),
            "B = 100: new head beats all layers": _size(_MILLION, 100, "new head", "all layers"),
            "B = 30,000: new head beats all layers": _size(
                _MILLION, 30_000, "new head", "all layers"
            ),
            "T1, the same x: the four gain": _related("the four"),
            "T1: shuffled pixels gain": _related(lesson_02.SHUFFLED),
            "T1: sounds gain": _related(lesson_02.SOUNDS),
            "T3: B itself gains": _related("B itself"),
            "T3: other things gain": _related("other things"),
            "T3: random labels gain": _related(lesson_02.RANDOM),
            "T3, round signs, 100: the four gain": _related("the four", headline.FAR, 100),
            "given the shipped trunk: pedestrian on the road gains": _new(headline.NEAR),
            "given the shipped trunk: two cars gains": _new("two cars"),
            "given the shipped trunk: lit windows gains": _new("lit windows"),
            "given the shipped trunk: cyclist gains": Comparison("headline", _NEW_CELL),
            "given the shipped trunk: round sign gains": _new(headline.FAR),
            "clear days, asked on clear days: new head beats all layers": _under("auc"),
            "… asked at night": _under("auc night"),
            "… asked in thick fog": _under("auc thick fog"),
            "handwriting, 30: digits gain": _written("digits"),
            "handwriting, 30: letters gain": _written("letters"),
            "handwriting, 30: thickness gains": _written("thickness"),
        },
        studies=("size_map", "relatedness", "digits_size_map", "digits_relatedness", "new_tasks",
                 "shifted"),
        seed=2026,
    ),
    "05": Lesson(
        {
            **{
                f"M5, {images:,} scenes: {way} help “{task}”": _company(way, task, images)
                for images in (lesson_05.FEW, lesson_05.MANY)
                for way in (lesson_05.RELATIVES, lesson_05.OTHERS)
                for task in THE_FOUR
            },
            "M6, 10,000 and 1,000: joint gains over A first, then B": _joint(
                lesson_05.MIXED, 10_000, "all layers"
            ),
            "… with B as often as alone": _joint(lesson_05.AS_OFTEN, 10_000, "all layers"),
            "M6: 3 relatives help": _many(lesson_05.FAMILY, 3),
            "M6: 9 relatives help": _many(lesson_05.FAMILY, 9),
            "… over ten times the steps alone": _many(
                lesson_05.FAMILY, 9, over=_ALONE | {"way": lesson_05.LONGER_ALONE}
            ),
            "… without the two nearest": _many(lesson_05.DISTANT, 9),
            "… at width 2": _many(lesson_05.FAMILY, 9, 2),
            "… at width 16": _many(lesson_05.FAMILY, 9, 16),
            "… on the same images": _many(lesson_05.SAME_IMAGES, 9),
            "… with their labels hidden": _many(lesson_05.HIDDEN, 9),
            "… over those with their labels hidden": _many(
                lesson_05.FAMILY, 9, over=_ALONE | {"way": lesson_05.HIDDEN, "count": 9}
            ),
            "… in as few steps as alone": _many(lesson_05.LARGE_BATCHES, 9),
            "M6: ten times the steps alone help": _many(lesson_05.LONGER_ALONE, 0),
            "M6: 9 strangers help": _many(lesson_05.STRANGE, 9),
            "… over random labels": _many(
                lesson_05.STRANGE, 9, over=_ALONE | {"way": lesson_05.RANDOM, "count": 9}
            ),
            "… strangers at width 16": _many(lesson_05.STRANGE, 9, 16),
            "M6: 9 with random labels help": _many(lesson_05.RANDOM, 9),
            "M7, 1,000 scenes: sharing gains at width 2": _wide(2, 2, 1_000),
            "M7, 1,000 scenes: sharing gains at width 16": _wide(16, 16, 1_000),
            "M7, 4,000 scenes: sharing gains at width 16": _wide(16, 16, 4_000),
            "M7, 1,000 scenes, equal parameters: sharing gains at 32 over 16": _wide(32, 16, 1_000),
            "M7, 4,000 scenes, equal parameters: sharing gains at 32 over 16": _wide(32, 16, 4_000),
            "M7, 1,000 scenes, four times the steps: sharing gains at width 8": _wide(
                8, 8, 1_000, lesson_05.SHARED_LONGER
            ),
            "M7, 4,000 scenes, four times the steps: sharing gains at width 8": _wide(
                8, 8, 4_000, lesson_05.SHARED_LONGER
            ),
            "M7, 4,000 scenes, four times the steps: sharing gains at width 16": _wide(
                16, 16, 4_000, lesson_05.SHARED_LONGER
            ),
            "M7, four about cars, equal parameters: sharing gains at 16 over 8": _wide(
                16, 8, 1_000, asked="four about cars"
            ),
        },
        studies=("company", "amounts", "companions", "widths"),
        seed=2026,
        expensive={
            "M6: 99 of all families help": _many(lesson_05.ALL_KINDS, 99),
            "… over 9 relatives": _many(lesson_05.ALL_KINDS, 99, over=_NINE),
            "M6, 1,000,000 and 1,000: joint gains over alone": _joint(
                lesson_05.MIXED, _MILLION, "from scratch"
            ),
            "… joint gains over A first, then B": _joint(lesson_05.MIXED, _MILLION, "all layers"),
            "… over A first, then B's head, then all": _joint(
                lesson_05.MIXED, _MILLION, "head then all"
            ),
        },
    ),
    "06": Lesson(
        {
            **{
                f"gradients, {way}: the cosine is larger than under random labels": Comparison(
                    "gradients", {"way": way, "images": lesson_05.THOUSAND}
                )
                for way in lesson_06.SETS
            },
            "weights, 0.9 for stop signs: stop signs gain over 0.5": _traded(0.9, 0.5, "auc 1"),
            "… traffic lights gain": _traded(0.9, 0.5, "auc 2"),
            "weights, all for stop signs: stop signs gain over 0.5": _traded(1.0, 0.5, "auc 1"),
            **{
                f"{asked}: {way} gains over a plain sum": _fought(way, asked)
                for asked in lesson_06.FOUGHT
                for way in (lesson_06.WEIGHTED, *lesson_06.RIVALS_OF_SUM, lesson_06.WIDE,
                            lesson_06.EACH)
            },
            **{
                f"{asked}: {way} gains in the worst task": _fought(way, asked, "worst")
                for asked in lesson_06.FOUGHT
                for way in lesson_06.RIVALS_OF_SUM
            },
            **{
                f"{asked}: one network each gains over a plain sum, width 16": Comparison(
                    "aggregators",
                    {"way": lesson_06.EACH, "asked": asked},
                    lesson_06.WIDE,
                )
                for asked in lesson_06.FOUGHT
            },
            **{
                f"“{lesson_06.RELATIVES[task]}” helps “{task}”, {how}": _helped(study, task)
                for study, how in (("pairs", "together"), ("affinity", "one after the other"))
                for task in lesson_06.SIX
            },
        },
        studies=("gradients", "aggregators", "pairs", "affinity"),
        seed=2026,
        complete=("pairs",),
    ),
}  # fmt: skip
"""By lesson: what it claims, as it stood before its other seeds were trained."""


def random_sample(lesson: str) -> dict[str, Comparison]:
    """Return a random tenth of a lesson's comparisons, by what they compare.

    The comparisons are all cells of its studies against their baselines, where they have one.
    """
    every = comparisons(lesson)
    drawn = np.random.default_rng(LESSONS[lesson].seed).choice(
        len(every), round(SHARE * len(every)), replace=False
    )
    return {str(every[k]): every[k] for k in sorted(drawn)}


def comparisons(lesson: str) -> list[Comparison]:
    """Every cell of a lesson's studies against its baseline, in the order of their grids."""
    every = [
        Comparison(name, cell)
        for name in LESSONS[lesson].studies
        for cell in studies.study(name).grid
    ]
    return [each for each in every if each.baseline() not in (None, (each.study, each.cell))]


def table(
    claims: Mapping[str, Comparison],
    rows: Mapping[str, pd.DataFrame] | None = None,
    **where: object,
) -> pd.DataFrame:
    """What each comparison found with its own seeds, and with ten others.

    rows: by study, rows to read in place of those that ship.
    where: for `studies.run`, about the ten others; their rows are trained where they are missing.
    Returns: one row a comparison: mean, low, high, verdict, then the same of the others, and
        whether the verdict stayed.
    """
    parts = []
    for compared in claims.values():
        own, other = compared.found(rows=rows), compared.found(OTHER_SEEDS, **where)
        parts.append(
            {(when, name): found[name]
             for when, found in (("these seeds", own), ("ten others", other))
             for name in ("mean", "low", "high", "verdict")}
            | {("the verdict", "stays"): own["verdict"] == other["verdict"]}
        )  # fmt: skip
    found = pd.DataFrame(parts, index=pd.Index(claims, name="claim"))
    return found.set_axis(pd.MultiIndex.from_tuples(found.columns), axis=1)


def replicated(lesson: str, **where: object) -> Iterator[pd.DataFrame]:
    """Give out the tables of a lesson's claims and of its random sample, missing rows trained.

    Raises: ValueError for a lesson that claims nothing.
    """
    if lesson not in LESSONS:
        raise ValueError(f"lesson must be one of {', '.join(LESSONS)}; got {lesson!r}.")
    chosen = LESSONS[lesson]
    for name in chosen.complete:
        studies.run(name, OTHER_SEEDS, **where)
    for claims in (chosen.claims, random_sample(lesson)):
        yield table(claims, **where)
