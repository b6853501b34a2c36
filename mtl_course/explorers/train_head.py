"""A new head, trained in the page: how does its accuracy depend on the number of labels?

The page is `train_head.js`; here are the lesson's curves, and the features that ship.
"""

import pandas as pd

from mtl_course import figures, studies
from mtl_course.explorers._frame import Explorer, Front
from mtl_course.studies import lesson_01

_WAYS = ("from scratch", "new head", "all layers")


class TrainHead(Explorer):
    """Task B's new head on A's frozen trunk, trained anew for each number and draw of labels (T2).

    The head and its training are those of "new head" in the study "clothes": 200 steps of AdamW
    on batches of up to 64. There are three differences: all heads share one A, the labels are drawn
    from 2,000 photographs in place of 5,000, and features are rounded to 16 levels.
    rows: of the study, for its curves.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows[rows["way"].isin(_WAYS)]
        curves: dict[str, list] = {way: [] for way in _WAYS}
        for (way, labels), cell in self._rows.groupby(["way", "labels"]):
            if len(cell) > 1:
                ends = studies.interval(cell["accuracy"])
                curves[way].append([labels, *(round(float(end), 4) for end in ends)])
        data = {"curves": curves, "kinds": list(lesson_01.B)}
        data |= {"steps": lesson_01.STEPS, "rate": lesson_01.RATE}
        start = {"labels": 10, "draw": 0}
        self._front = Front("train_head", data, start, "assets/clothes/features.json")
        super().__init__("train-head", [self._front])

    def static(self) -> dict[str, str]:
        """Return the lesson's curves, without the reader's points."""
        return figures.bundle(figures.curves(self._rows, "labels", _WAYS, labels=lesson_01.AXES))
