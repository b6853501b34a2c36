"""A decision aid: the lecture's questions, answered by the nearest cells that were measured.

It never says a bare yes, but what was measured nearest to a case, and how far from it that is.
"""

import math

import pandas as pd

from mtl_course import studies
from mtl_course.base import check_count
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import lesson_02, lesson_05, lesson_05_amounts
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


def transfer(a: int, b: int, *, x: str = "the same", kinship: str = "the four") -> pd.DataFrame:
    """Return what rows say to the lecture's T2, T1 and T3: does it make sense to go from A to B?

    a, b: how many labeled examples there are. x: one of `INPUTS`. kinship: one of `KINSHIPS`.
    Returns: one row a question, with the nearest measured cell, what all layers gained over from
        scratch there in area under the ROC curve (mean, low, high, verdict), and how far the case
        is from it: "times" is the larger ratio of a size of the case to the measured one.
    Raises: ValueError if a size is below 1, or `x` or `kinship` is not in its list.
    """
    if min(a, b) < 1:
        raise ValueError(f"a and b must be at least 1; got {a} and {b}.")
    _check_choice("x", x, INPUTS)
    _check_choice("kinship", kinship, KINSHIPS)
    how = {"way": "all layers", "over": "from scratch", **_CORRECTED}
    size, far = _nearest(studies.gain(studies.run("size_map"), across=["a"], **how), a=a, b=b)
    kinds = by_kind()
    labels = _nearest(kinds, labels=b)[0]["labels"]
    kinds = kinds[kinds["labels"] == labels].set_index("a")
    far_kinds = max(_distance(a, lesson_02.RELATED), _distance(b, labels))
    measured = f"{lesson_02.RELATED:,} → {labels:,}"
    table = {
        "T2: is there a lot more data for A?": (
            f"{a:,} → {b:,}", size, f"{size['a']:,} → {size['b']:,}", far
        ),
        "T1: have A and B the same input x?": (
            x, kinds.loc[INPUTS[x]], f"A: {INPUTS[x]}, {measured}", far_kinds
        ),
        "T3: could A's features help?": (
            kinship, kinds.loc[kinship], f"A: {kinship}, {measured}", far_kinds
        ),
    }  # fmt: skip
    return _as_table(table)


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
    tasks: int, labels: int, *, others: int, kin: str = KIN[-1], width: int = 8
) -> pd.DataFrame:
    """Return what rows say to M5, M6 and M7: does it make sense to learn tasks together?

    tasks: how many there are. labels: examples of the task that you care about. others: examples
        of all other tasks together. kin: one of `KIN`. width: channels of the first block.
    Returns: one row a question, as `transfer` does, with the gain of together over alone (M5), over
        one after the other (M6), and of one network over one each (M7). "times" is the largest
        ratio among examples, examples of another task, tasks and width.
    Raises: ValueError if `tasks` is below 2, another number below 1, or `kin` is not in its list.
    """
    check_count("tasks", tasks, least=2)
    for name, value in (("labels", labels), ("others", others), ("width", width)):
        check_count(name, value, least=1)
    _check_choice("kin", kin, KIN)
    related, amounts, widths = _measured()
    asked = "four about cars" if kin == SAME_FAMILY else "the four"
    m5, far = _nearest(related[related["way"] == kin], count=tasks - 1, width=width)
    m6, far_6 = _nearest(amounts, a=others)
    m7, far_7 = _nearest(widths[widths["asked"] == asked], width=width, images=labels)
    far_labels, four = _distance(labels, THOUSAND), len(THE_FOUR)
    far_6 = max(far_6, far_labels, _distance(tasks - 1, four), _distance(width, WIDTH))
    table = {
        "M5: could they share features? (together − alone)": (
            f"{tasks - 1} others, {kin}", m5,
            f"{m5['count']} others, {kin}, {THOUSAND:,} examples each, width {m5['width']}",
            max(far, far_labels, _distance(others / (tasks - 1), THOUSAND)),
        ),
        "M6: are the amounts similar? (together − one after the other)": (
            f"{others:,} beside {labels:,}", m6,
            f"{m6['a']:,} with the four answers beside {THOUSAND:,}, width {WIDTH}", far_6,
        ),
        "M7: is the network big enough? (one network − one each)": (
            f"width {width}, {labels:,}", m7,
            f"width {m7['width']}, {m7['images']:,} with all answers, {asked}",
            max(far_7, _distance(tasks, four)),
        ),
    }  # fmt: skip
    return _as_table(table)


def _measured() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the gains of other tasks, of joint training by |A|, and of a network by its width."""
    names = ("companions", "amounts", "size_map", "widths")
    others, joint, sizes, widths = (studies.run(name) for name in names)
    how = {"over": lesson_05.ALONE, "across": ["count"], **_CORRECTED}
    related = pd.concat({kin: studies.gain(others, kin, **how) for kin in KIN}, names=["way"])
    joint = lesson_05_amounts.beside_transfer(joint, sizes)
    joint = studies.gain(joint, MIXED, over="all layers", **_CORRECTED)
    widths = studies.gain(widths, lesson_05.SHARED, over=lesson_05.SEPARATE, **_CORRECTED)
    return related.reset_index("way"), joint, widths


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")


def _distance(one: float, other: float) -> float:
    """Return how far two sizes are apart: the logarithm of their ratio."""
    return abs(math.log(one / other))


def _nearest(table: pd.DataFrame, **case: int) -> tuple[dict, float]:
    """Return the row that is nearest to a case, and its distance in the column farthest off.

    Of rows that are as far off there, the one that is nearer in the next column.
    """

    def far(row: dict) -> list[float]:
        return sorted((_distance(value, row[key]) for key, value in case.items()), reverse=True)

    row = min(table.to_dict("records"), key=far)
    return row, far(row)[0]


def _as_table(answers: dict[str, tuple]) -> pd.DataFrame:
    """Return a row a question. answers: your case, the measured row, its name, the distance."""
    rows = {
        question: {"your case": case, "nearest measured": name, "times": round(math.exp(far), 1)}
        | {key: row[key] for key in ("mean", "low", "high", "verdict")}
        for question, (case, row, name, far) in answers.items()
    }
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name="question"))
