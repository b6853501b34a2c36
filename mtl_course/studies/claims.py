"""What the lessons claim, and whether ten other seeds say the same.

A claim is a comparison in one cell of a study; ``assets/claims.json`` lists them. Each is made with
the study's seeds and with ten others, whose rows ship too. So is a random tenth of all cells.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from mtl_course import studies
from mtl_course.base import ASSETS

OTHER_SEEDS = range(10, 20)
SAMPLE_SHARE, SAMPLE_SEED = 0.1, 2026  # of the random sample of comparisons


class Comparison(NamedTuple):
    """What one way gains over another in one cell of a study.

    cell: every key of the study; `column` names the way. score: None takes the study's own.
    over: the other way; or a mapping, of all keys in which the other cell differs; or a list, of
        another study and its cell. None takes the study's own baseline.
    """

    study: str
    cell: Mapping[str, object]
    over: object = None
    score: str | None = None
    column: str = "way"

    def baseline(self) -> tuple[str, Mapping[str, object]] | None:
        """Return study and cell of the other way; None if the study's grid does not hold it.

        What means nothing to the other way is blank there.
        """
        name, chosen, over = self.study, studies.study(self.study), self.over
        if isinstance(over, list):
            name, cells = over[0], [over[1]]
        elif isinstance(over, Mapping):
            cells = [{**self.cell, **over}]
        else:
            other = {**self.cell, self.column: chosen.over if over is None else over}
            cells = [other | dict(chosen.blank), other]
        grid = studies.study(name).grid
        return next(((name, cell) for cell in cells if cell in grid), None)

    def found(
        self, seeds: Iterable[int] | None = None, rows: Mapping | None = None, **where: object
    ) -> pd.Series:
        """Return `studies.gain` of this cell: seeds, mean, low, high, verdict, detectable.

        rows: tables by study; for others, what `studies.run` gives for `seeds` and `where`.
        Raises: ValueError if the study has no such cell of the other way, or no seed has both.
        """
        if (other := self.baseline()) is None:
            raise ValueError(f"over: {self.study} has nothing to compare {self.cell} with.")
        pair, tables = {"this way": (self.study, self.cell), "the other": other}, dict(rows or {})
        for name in {self.study, other[0]} - set(tables):
            cells = [cell for study, cell in pair.values() if study == name]
            tables[name] = _rows(name, cells, seeds, **where)
        score = self.score or studies.study(self.study).score
        both = pd.concat(
            _of_cell(tables[name], cell)[["seed", score]].assign(way=way)
            for way, (name, cell) in pair.items()
        ).assign(study=self.study, cell=str(self))
        keys = ["cell", "way"]
        return studies.gain(both, "this way", "the other", score=score, keys=keys).iloc[0]

    def __str__(self) -> str:
        chosen = studies.study(self.study)
        over = chosen.over if self.over is None else self.over
        if isinstance(over, list):
            over = f"{over[0]}, {_in_words(over[1])}"
        elif isinstance(over, Mapping):
            over = _in_words(over)
        return f"{self.study}, {self.score or chosen.score}: {_in_words(self.cell)}, over {over}"


def _of_cell(rows: pd.DataFrame, cell: Mapping[str, object]) -> pd.DataFrame:
    return rows[np.logical_and.reduce([rows[key] == value for key, value in cell.items()])]


def _in_words(cell: Mapping[str, object]) -> str:
    texts = {key: f"{value:,}" if isinstance(value, int) else value for key, value in cell.items()}
    return ", ".join(f"{key} {text}" for key, text in texts.items())


def _rows(
    name: str, cells: Sequence[Mapping[str, object]], seeds: Iterable[int] | None, **where: object
) -> pd.DataFrame:
    """Return the rows of these cells, of one run where it has no others: it trains a source once.

    Two cells that differ in two keys are the corners of a square; one run would train its others.
    """
    grid, each = studies.study(name).grid, [{k: [v] for k, v in cell.items()} for cell in cells]
    only = {key: list(dict.fromkeys(cell[key] for cell in cells)) for key in cells[0]}
    square = [cell for cell in grid if all(cell[key] in only[key] for key in only)]
    runs = [only] if len(square) == len(cells) else each
    return pd.concat([studies.run(name, seeds, only=only, **where) for only in runs])


class Lesson(NamedTuple):
    """What a lesson claims, and of which studies."""

    claims: Mapping[str, Comparison]  # by what is claimed
    studies: Sequence[str]  # whose comparisons are sampled
    expensive: Mapping[str, Comparison] = {}  # claims whose ten other seeds take hours: none ship
    complete: Sequence[str] = ()  # trained again in every cell: claims about all cells together


def _lesson(claims: Mapping, studies: Sequence, expensive: Mapping = {}, **more: object) -> Lesson:
    own, other = (
        {claim: Comparison(**each) for claim, each in table.items()}
        for table in (claims, expensive)
    )
    return Lesson(own, studies, other, **more)


_REGISTER = json.loads((ASSETS / "claims.json").read_text(encoding="utf-8"))
LESSONS = {name: _lesson(**about) for name, about in _REGISTER.items()}
"""By lesson: what it claims, as it stood before its other seeds were trained."""


def settled(
    gains: pd.DataFrame, named: Callable[..., Comparison], rows: Mapping | None = None
) -> pd.DataFrame:
    """Return a map of gains whose cells that are claims have the claim's interval and verdict.

    A map of many cells is corrected for their number. A claim was named before it was measured,
    and is not; it has one verdict, wherever it stands.

    gains: as `studies.gain` returns them. named: the comparison of a row, from its cell's keys.
    rows: tables by study, to read in place of rows that ship.
    """
    found, own = ["seeds", "mean", "low", "high", "verdict", "detectable"], gains.copy()
    mine = [named(**cell) for cell in own.drop(columns=found).to_dict("records")]
    every = [c for lesson in LESSONS.values() for c in (lesson.claims | lesson.expensive).values()]
    known = {_pair(c): c for c in every if c.study in {one.study for one in mine}}
    for i, one in zip(own.index, mine, strict=True):
        if claim := known.get(_pair(one)):
            own.loc[i, found] = claim.found(rows=rows)[found]
    return own


def _pair(one: Comparison) -> tuple:
    """Return what two comparisons share that are the same: both cells, in words, and the score."""
    both = [(one.study, one.cell), one.baseline() or ("", {})]
    words = (f"{study}: {_in_words(dict(sorted(cell.items())))}" for study, cell in both)
    return one.score, *words


def random_sample(lesson: str) -> dict[str, Comparison]:
    """Return a random tenth of a lesson's comparisons, by what they compare."""
    every = comparisons(lesson)
    count, rng = max(1, round(SAMPLE_SHARE * len(every))), np.random.default_rng(SAMPLE_SEED)
    drawn = rng.choice(len(every), count, replace=False)
    return {str(every[k]): every[k] for k in sorted(drawn)}


def comparisons(lesson: str) -> list[Comparison]:
    """Return every cell of a lesson's studies that has a baseline, in the order of their grids."""
    names = LESSONS[lesson].studies
    every = [Comparison(name, cell) for name in names for cell in studies.study(name).grid]
    return [each for each in every if each.baseline() not in (None, (each.study, each.cell))]


def table(
    claims: Mapping[str, Comparison], rows: Mapping | None = None, **where: object
) -> pd.DataFrame:
    """Return what each comparison finds with its own seeds, and with ten others.

    rows: tables by study, to read in place of rows that ship.
    where: for `studies.run`, about the ten others; their rows are trained where they are missing.
    Returns: one row a comparison: mean, low, high, verdict, then the same of the others, and
        whether the verdict stayed.
    """
    columns, index = ["mean", "low", "high", "verdict"], pd.Index(claims, name="claim")
    own = pd.DataFrame([each.found(rows=rows)[columns] for each in claims.values()])
    others = pd.DataFrame([each.found(OTHER_SEEDS, **where)[columns] for each in claims.values()])
    stays = pd.DataFrame({"stays": own["verdict"].to_numpy() == others["verdict"].to_numpy()})
    parts = {"these seeds": own, "ten others": others, "the verdict": stays}
    parts = {name: part.set_axis(index).infer_objects() for name, part in parts.items()}
    return pd.concat(parts, axis=1)


def replicated(lesson: str, **where: object) -> Iterator[pd.DataFrame]:
    """Yield the tables of a lesson's claims and of its random sample, missing rows trained.

    where: for `studies.run`, about the ten other seeds.
    Raises: ValueError for a lesson that claims nothing.
    """
    if lesson not in LESSONS:
        raise ValueError(f"lesson must be one of {', '.join(LESSONS)}; got {lesson!r}.")
    chosen = LESSONS[lesson]
    for name in chosen.complete:
        studies.run(name, OTHER_SEEDS, **where)
    for claims in (chosen.claims, random_sample(lesson)):
        yield table(claims, **where)
