"""A decision aid: the lecture's questions, answered by the nearest cells that were measured.

It never says a bare yes. It says what was measured nearest to a case, with its interval, and how
far the case is from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from mtl_course import studies
from mtl_course.base import check_count
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import lesson_05
from mtl_course.studies.lesson_02 import (
    ALL,
    KINDS_OF_A,
    QUESTIONS,
    RELATED,
    SHUFFLED,
    SOUNDS,
    TARGET,
)

INPUTS = {
    "the same": "the four",
    "the same pixels, in another order": SHUFFLED,
    "something else altogether": SOUNDS,
}
"""What A's x may be, and the A that was measured for it (T1)."""

KINSHIPS = tuple(kind for kind in KINDS_OF_A if kind in QUESTIONS or kind == "random labels")
"""What A may have been asked (T3), from nearest to farthest."""


def transfer(a: int, b: int, *, x: str = "the same", kinship: str = "the four") -> pd.DataFrame:
    """Does it make sense to go from A to B? The lecture's three questions, T2, T1 and T3.

    a, b: how many labelled examples there are. x: one of `INPUTS`. kinship: one of `KINSHIPS`.
    Returns: one row a question, with the nearest measured cell, what all layers gained over from
        scratch there in area under the ROC curve (mean, low, high, verdict), and how far the case
        is from it: "times" is the larger ratio of a size of the case to the measured one.
    Raises: ValueError if a size is below 1, or `x` or `kinship` is not in its list.
    """
    if min(a, b) < 1:
        raise ValueError(f"a and b must be at least 1; got {a} and {b}.")
    for name, value, known in (("x", x, INPUTS), ("kinship", kinship, KINSHIPS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
    sizes, kinds = _measured()

    def far(cell: dict) -> float:
        return max(_apart(a, cell["a"]), _apart(b, cell["b"]))

    size = min(sizes.to_dict("records"), key=far)
    labels = min(kinds["labels"].unique(), key=lambda count: _apart(b, count))
    kinds = kinds[kinds["labels"] == labels].set_index("a")
    beside = f", {RELATED:,} → {labels:,}"
    near = max(_apart(a, RELATED), _apart(b, labels))
    rows = [
        ("T2: is there a lot more data for A?", f"{a:,} → {b:,}", size,
         f"{size['a']:,} → {size['b']:,}", far(size)),
        ("T1: have A and B the same input x?", x, kinds.loc[INPUTS[x]],
         f"A: {INPUTS[x]}{beside}", near),
        ("T3: could A's features help?", kinship, kinds.loc[kinship],
         f"A: {kinship}{beside}", near),
    ]  # fmt: skip
    return _as_table(rows)


def _as_table(rows: Sequence[tuple]) -> pd.DataFrame:
    """rows: question, your case, what was measured there, its name, how far away it is."""
    return pd.DataFrame(
        [
            {
                "question": question, "your case": case, "nearest measured": nearest,
                "times": round(math.exp(far_away), 1),
                **{key: cell[key] for key in ("mean", "low", "high", "verdict")},
            }
            for question, case, cell, nearest, far_away in rows
        ]
    ).set_index("question")  # fmt: skip


def _apart(one: float, other: float) -> float:
    return abs(math.log(one / other))


def _measured() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The size map, and the gains by what A is; both corrected for the number of their cells."""
    how = {"way": "all layers", "over": "from scratch", "score": "auc", "corrected": True}
    sizes = studies.gain(studies.run("size_map"), across=["a"], **how)
    rows = studies.run("relatedness")
    rows = rows[(rows["task"] == TARGET) & rows["layers"].isin([0, ALL])]
    return sizes, studies.gain(rows, across=["a", "layers"], **how)


# ---------------------------------------------------------------------- multi-task learning

KIN = (lesson_05.FAMILY, lesson_05.STRANGE, lesson_05.ALL_KINDS)
"""What the other tasks may be about (M5)."""


def multi_task(
    tasks: int, labels: int, *, others: int, kin: str = lesson_05.ALL_KINDS, width: int = 8
) -> pd.DataFrame:
    """Does it make sense to learn tasks together? The lecture's three questions, M5, M6 and M7.

    tasks: how many there are. labels: examples of the task that you care about. others: examples
        of all other tasks together. kin: one of `KIN`. width: channels of the first block.
    Returns: one row a question, as `transfer` does, with the gain of together over alone (M5), over
        one after the other (M6), and of one network over one each (M7). "times" is the largest
        ratio among examples, examples of another task, tasks and width.
    Raises: ValueError if `tasks` is below 2, another number below 1, or `kin` is not in its list.
    """
    for name, value, least in (
        ("tasks", tasks, 2), ("labels", labels, 1), ("others", others, 1), ("width", width, 1)
    ):  # fmt: skip
        check_count(name, value, least=least)
    if kin not in KIN:
        raise ValueError(f"kin must be one of {', '.join(map(repr, KIN))}; got {kin!r}.")
    friends, amounts, widths = _measured_together()
    friends = friends[friends["way"] == kin]
    asked = "four about cars" if kin == lesson_05.FAMILY else "the four"
    widths = widths[widths["asked"] == asked]

    def nearest(table: pd.DataFrame, **case: int) -> tuple[dict, float]:
        def far(cell: dict) -> float:
            return max(_apart(value, cell[key]) for key, value in case.items())

        cell = min(table.to_dict("records"), key=far)
        return cell, far(cell)

    few, four = lesson_05.THOUSAND, len(THE_FOUR)
    friend, far_1 = nearest(friends, count=tasks - 1, width=width)
    far_1 = max(far_1, _apart(labels, few), _apart(others / (tasks - 1), few))
    amount, far_2 = nearest(amounts, a=others)
    far_2 = max(
        far_2,
        _apart(labels, few),
        _apart(tasks - 1, four),
        _apart(width, lesson_05.WIDTH_OF_COMPANY),
    )
    wide, far_3 = nearest(widths, width=width, images=labels)
    far_3 = max(far_3, _apart(tasks, four))
    rows = [
        ("M5: could they share features? (together − alone)", f"{tasks - 1} others, {kin}", friend,
         f"{friend['count']} others, {kin}, {few:,} examples each, width {friend['width']}", far_1),
        ("M6: are the amounts similar? (together − one after the other)",
         f"{others:,} beside {labels:,}", amount,
         f"{amount['a']:,} with the four answers beside {few:,}, "
         f"width {lesson_05.WIDTH_OF_COMPANY}", far_2),
        ("M7: is the network big enough? (one network − one each)", f"width {width}, {labels:,}",
         wide, f"width {wide['width']}, {wide['images']:,} with all answers, {asked}", far_3),
    ]  # fmt: skip
    return _as_table(rows)


def _measured_together() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The gains of companions, of joint training by |A|, and of one shared network by its width.

    Each table is corrected for the number of its cells.
    """
    how = {"score": "auc", "corrected": True}
    rows = studies.run("companions")
    friends = [
        studies.gain(rows, kind, over=lesson_05.ALONE, across=["count"], **how).assign(way=kind)
        for kind in KIN
    ]
    joint = lesson_05.beside_transfer(studies.run("amounts"), studies.run("size_map"))
    amounts = studies.gain(joint, lesson_05.MIXED, over="all layers", **how)
    widths = studies.gain(studies.run("widths"), lesson_05.SHARED, over=lesson_05.SEPARATE, **how)
    return pd.concat(friends), amounts, widths
