"""A decision aid: the lecture's questions, answered by the nearest cells that were measured.

It never says a bare yes. It says what was measured nearest to a case, with its interval, and how
far the case is from it.
"""

from __future__ import annotations

import math

import pandas as pd

from mtl_course import studies
from mtl_course.experiments.dials import (
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
