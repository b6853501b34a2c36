"""A decision aid: the lecture's questions, answered by the nearest cells that were measured.

It never says a bare yes, but what was measured nearest to a case, and how far from it that is.
"""

import math
from collections.abc import Callable

import pandas as pd

from mtl_course import studies
from mtl_course.base import check_count
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import claims, lesson_02, lesson_05, lesson_05_amounts
from mtl_course.studies.claims import Comparison
from mtl_course.studies.common import THOUSAND, WIDTH
from mtl_course.studies.lesson_05_amounts import ALL_FAMILIES, MIXED, OTHER_FAMILIES, SAME_FAMILY

INPUTS = {
    "the same": "the four",
    "the same pixels, in another order": lesson_02.SHUFFLED,
    "something else altogether": lesson_02.SOUNDS,
}
"""What A's x may be, and the A that was measured for it (T1)."""

KINSHIPS = (*lesson_02.QUESTIONS, lesson_02.RANDOM)
"""What A's labels may be (T3), from nearest to farthest."""

KIN = (SAME_FAMILY, OTHER_FAMILIES, ALL_FAMILIES)
"""What the other tasks may be about (M5)."""

_CORRECTED = {"score": "auc", "corrected": True}


def transfer(
    a: int, b: int, *, x: str = "the same", kinship: str = "the four", known: dict | None = None
) -> pd.DataFrame:
    """Return what rows say to the lecture's T2, T1 and T3: does it make sense to go from A to B?

    a, b: how many labeled examples there are. x: one of `INPUTS`. kinship: one of `KINSHIPS`.
    known: keeps the tables of rows, for those who ask about many cases with the same one.
    Returns: one row a question, with the nearest measured cell, what all layers gained over from
        scratch there in area under the ROC curve (mean, low, high, verdict), and how far the case
        is from it: "times" is the larger ratio of a size of the case to the measured one.
    Raises: ValueError if a size is below 1, or `x` or `kinship` is not in its list.
    """
    if min(a, b) < 1:
        raise ValueError(f"a and b must be at least 1; got {a} and {b}.")
    _check_choice("x", x, INPUTS)
    _check_choice("kinship", kinship, KINSHIPS)
    known = {} if known is None else known
    size, far = _nearest(_kept(known, by_size), a=a, b=b)
    kinds = _kept(known, by_kind)
    labels = _nearest(kinds, labels=b)[0]["labels"]
    kinds = {row["a"]: row for row in kinds if row["labels"] == labels}
    far_kinds = max(_distance(a, lesson_02.RELATED), _distance(b, labels))
    measured = f"{lesson_02.RELATED:,} → {labels:,}"
    table = {
        "T2: is there a lot more data for A?": (
            f"{a:,} → {b:,}", size, f"{size['a']:,} → {size['b']:,}", far
        ),
        "T1: have A and B the same input x?": (
            x, kinds[INPUTS[x]], f"A: {INPUTS[x]}, {measured}", far_kinds
        ),
        "T3: could A's features help?": (
            kinship, kinds[kinship], f"A: {kinship}, {measured}", far_kinds
        ),
    }  # fmt: skip
    return _as_table(table)


def by_size() -> pd.DataFrame:
    """Return what all layers gain over from scratch, by |A| and |B| (T2), corrected."""
    how = {"way": "all layers", "over": "from scratch", **_CORRECTED}
    return studies.gain(studies.run("size_map"), across=["a"], **how)


def by_kind(way: str = "all layers", task: str = lesson_02.TARGET) -> pd.DataFrame:
    """Return what a way gains over from scratch, by what A is: T1 and T3, the whole trunk copied.

    Intervals are corrected for their number. For all layers of `TARGET` the last rows, `NOTHING`,
    are its control: from scratch at its rate, for as many steps.
    """
    rows = studies.run("relatedness", only={"task": [task], "layers": [0, lesson_02.ALL]})
    how = {"over": "from scratch", "score": "auc"}
    table = studies.gain(rows, way, across=["a", "layers"], corrected=True, **how)
    table["a"] = pd.Categorical(table["a"], (*lesson_02.KINDS_OF_A, lesson_02.NOTHING))
    table = table.sort_values(["a", "labels"]).astype({"a": str})
    if (way, task) != ("all layers", lesson_02.TARGET):
        return table
    return pd.concat([table, studies.gain(rows, lesson_02.SLOWER, **how)], ignore_index=True)


def multi_task(
    tasks: int,
    labels: int,
    *,
    others: int | None,
    kin: str = KIN[-1],
    width: int = 8,
    known: dict | None = None,
) -> pd.DataFrame:
    """Return what rows say to M5, M6 and M7: does it make sense to learn tasks together?

    Each answer comes from a study of the same design (`OWN_IMAGES` or `SAME_IMAGES`) and says
    "not measured" where there is none.

    tasks: how many there are. labels: examples of the task that you care about. others: examples
        of all other tasks together, on images of their own; None if all labels stand on the same
        images. kin: one of `KIN`. width: channels of the first block of the shared network.
    known: as in `transfer`.
    Returns: one row a question, as `transfer` does, with the design and the gain of together over
        alone (M5), over one after the other (M6), and of one network over one each (M7). M6 has a
        number if the others are `LOPSIDED`; where amounts are `SIMILAR`, M5 is the answer. "times"
        is the largest ratio among examples, examples of another task, tasks and width.
    Raises: ValueError if `tasks` is below 2, another number below 1, or `kin` is not in its list.
    """
    check_count("tasks", tasks, least=2)
    for name, value in (("labels", labels), ("others", others), ("width", width)):
        if value is not None:
            check_count(name, value, least=1)
    _check_choice("kin", kin, KIN)
    known = {} if known is None else known
    if others is None:
        design, found = SAME_IMAGES, _on_the_same_images(tasks, labels, kin, width, known)
    else:
        found = _with_images_of_their_own(tasks, labels, others, kin, width, known)
        design = OWN_IMAGES
    cases = (f"{tasks - 1} others, {kin}", f"{_amounts(tasks, labels, others)} beside {labels:,}",
             f"width {width}, {labels:,}")  # fmt: skip
    answers = zip(_QUESTIONS, cases, found, strict=True)
    table = _as_table({question: (case, *about) for question, case, about in answers})
    table.insert(0, "labels stand on", design)
    return table


OWN_IMAGES, SAME_IMAGES = "images of their own", "the same images"
_QUESTIONS = (
    "M5: could they share features? (together − alone)",
    "M6: are the amounts similar? (together − one after the other)",
    "M7: is the network big enough? (one network − one each)",
)
_NOT_MEASURED = {}, "not measured", math.nan
LOPSIDED = 4  # times as many examples: another task's, on average, beside your own task's
SIMILAR = "amounts are similar: M5 answers"


def _amounts(tasks: int, labels: int, others: int | None) -> str:
    """Return how many examples the other tasks have: of each one where amounts are similar."""
    each = (others or labels) / (tasks - 1)
    if others is None or tasks == 2 or not labels / LOPSIDED < each < LOPSIDED * labels:
        return f"{others or labels:,}"
    return f"{tasks - 1} × {'' if each.is_integer() else 'about '}{each:,.0f}"


def _with_images_of_their_own(
    tasks: int, labels: int, others: int, kin: str, width: int, known: dict
) -> tuple[tuple, tuple, tuple]:
    """Return the nearest rows of "companions" and of "amounts"; M7 was not measured like this.

    "amounts" sets your task beside one large data set A. It says nothing of many tasks with about
    as many examples each: those are the networks of "companions".
    """
    m5, far = _nearest(_kept(known, companions, kin), count=tasks - 1, width=width)
    m6, far_6 = _nearest(_kept(known, joint), a=others)
    far_labels = _distance(labels, THOUSAND)
    far = max(far, far_labels, _distance(others / (tasks - 1), THOUSAND))
    far_6 = max(far_6, far_labels, _distance(tasks - 1, len(THE_FOUR)), _distance(width, WIDTH))
    about = f"{m5['count']} others, {kin}, {THOUSAND:,} each, width {m5['width']}"
    with_a = f"{m6['a']:,} with four answers beside {THOUSAND:,}, width {WIDTH}"
    each = others / (tasks - 1)
    if each >= LOPSIDED * labels:
        amounts = m6, with_a, far_6
    else:
        amounts = ({}, SIMILAR, math.nan) if each > labels / LOPSIDED else _NOT_MEASURED
    return (m5, about, far), amounts, _NOT_MEASURED


def _on_the_same_images(
    tasks: int, labels: int, kin: str, width: int, known: dict
) -> tuple[tuple, tuple, tuple]:
    """Return the nearest rows of "companions" (related tasks) or of "big_enough" (others).

    All amounts are equal, and one after the other was not measured.
    """
    if kin == SAME_FAMILY:
        m5 = _kept(known, companions, lesson_05_amounts.SAME_IMAGES)
        m5, _ = _nearest(m5, count=tasks - 1, width=width)
        far = (_distance(tasks - 1, m5["count"]), _distance(labels, THOUSAND),
               _distance(width, m5["width"]))  # fmt: skip
        about = f"{m5['count']} others, {kin}, {THOUSAND:,} images, width {m5['width']}"
        return (m5, about, max(far)), _NOT_MEASURED, _NOT_MEASURED
    if kin != OTHER_FAMILIES:
        return _NOT_MEASURED, _NOT_MEASURED, _NOT_MEASURED
    m7, far = _nearest(_kept(known, big_enough), width=width, images=labels)
    rivals = f"one of width {m7['width']} − four of width {WIDTH}, {m7['images']:,} images"
    return _NOT_MEASURED, _NOT_MEASURED, (m7, rivals, max(far, _distance(tasks, len(THE_FOUR))))


def companions(kind: str, over: str = lesson_05.ALONE) -> pd.DataFrame:
    """Return what other tasks of a kind bring, by their number and the width.

    Intervals are corrected for their number, but for those that were named before: claims.
    """
    rows = studies.run("companions")
    table = studies.gain(rows, kind, over=over, across=["count"], **_CORRECTED)
    return claims.settled(table, lambda **cell: Comparison("companions", {"way": kind} | cell))


def joint(way: str = MIXED, first: str = "all layers") -> pd.DataFrame:
    """Return what joint training gains over A first, then B, by |A|, corrected as `companions`."""
    rows = lesson_05_amounts.beside_transfer(studies.run("amounts"), studies.run("size_map"))
    table = studies.gain(rows, way, over=first, **_CORRECTED)
    over = {"b": THOUSAND, "way": first}
    return claims.settled(
        table, lambda a: Comparison("amounts", {"a": a, "way": way}, ["size_map", {"a": a} | over])
    )


def big_enough() -> pd.DataFrame:
    """Return what one shared network gains over four of width 8, by its width, each a claim."""
    rows, over = studies.run("big_enough"), {"way": lesson_05.SEPARATE, "width": WIDTH}
    how = {"over": lesson_05.SEPARATE, "across": ["width"], **_CORRECTED}
    return claims.settled(
        studies.gain(rows, lesson_05.SHARED, **how),
        lambda **cell: Comparison("big_enough", {"way": lesson_05.SHARED} | cell, over),
    )


def _kept(known: dict, make: Callable[..., pd.DataFrame], *of: str) -> list[dict]:
    """Return the rows of a table, which is made once for each `known`."""
    if (make, *of) not in known:
        known[make, *of] = make(*of).to_dict("records")
    return known[make, *of]


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")


def _distance(one: float, other: float) -> float:
    """Return how far two sizes are apart: the logarithm of their ratio."""
    return abs(math.log(one / other))


def _nearest(rows: list[dict], **case: int) -> tuple[dict, float]:
    """Return the row that is nearest to a case, and its distance in the column farthest off.

    Of rows that are as far off there, the one that is nearer in the next column.
    """

    def far(row: dict) -> list[float]:
        return sorted((_distance(value, row[key]) for key, value in case.items()), reverse=True)

    row = min(rows, key=far)
    return row, far(row)[0]


def _as_table(answers: dict[str, tuple]) -> pd.DataFrame:
    """Return a row a question. answers: your case, the measured row, its name, the distance.

    A row that is empty was not measured, or needs no number.
    """
    rows = {
        question: {"your case": case, "nearest measured": name, "times": round(math.exp(far), 1)}
        | {key: row.get(key, math.nan) for key in ("mean", "low", "high")}
        | {"verdict": row.get("verdict", "")}
        for question, (case, row, name, far) in answers.items()
    }
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name="question"))
