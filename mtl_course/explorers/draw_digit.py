"""Draw a digit, and four networks say what it is, in the page (`draw_digit.js`).

The networks are in ``assets/digits``, made by the script that lies there.
"""

import json

from mtl_course.base import ASSETS
from mtl_course.explorers._frame import Explorer, Front, table

_FILE = "digits/networks.json"
_TWO = ((9, 10), (10, 6), (16, 4), (21, 6), (22, 11), (19, 16), (9, 27), (23, 27))  # of 32 × 32


class DrawDigit(Explorer):
    """A's network before and after surgery, and one from scratch, on a digit that is drawn.

    They are networks of the study "digits": A is printed digits, B handwritten ones.
    """

    def __init__(self) -> None:
        start = {"strokes": [_TWO], "example": -1, "labels": 10}
        super().__init__("draw-digit", [Front("draw_digit", {}, start, f"assets/{_FILE}")])

    def static(self) -> dict[str, str]:
        """Return how much of the handwritten test each network gets right."""
        kept = json.loads((ASSETS / _FILE).read_text(encoding="utf-8"))["networks"]
        rows = [(each["way"], each["labels"], f"{each['accuracy']:.3f}") for each in kept]
        caption = "Accuracy on 897 handwritten digits, one network each"
        text = "; ".join(f"{way}, {labels} labels: {score}" for way, labels, score in rows)
        page = table(caption, ("network", "handwritten labels", "accuracy"), rows)
        return {"text/html": page, "text/plain": f"{caption}. {text}."}
