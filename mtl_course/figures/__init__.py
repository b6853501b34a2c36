"""The pictures of the course in one house style, and `show`, which gives each its alt text."""

from mtl_course.figures._pictures import Part, answers, architecture, filters, sheet, surgery
from mtl_course.figures._results import (
    arrows,
    by_task,
    calibration,
    compass,
    crosses,
    curves,
    dots,
    gain_map,
    gains,
    history,
    ladder,
    matrices,
)
from mtl_course.figures._style import COLOURS, MARKERS, bundle, image, show

__all__ = [
    "COLOURS",
    "MARKERS",
    "Part",
    "answers",
    "architecture",
    "arrows",
    "bundle",
    "by_task",
    "calibration",
    "compass",
    "crosses",
    "curves",
    "dots",
    "filters",
    "gain_map",
    "gains",
    "history",
    "image",
    "ladder",
    "matrices",
    "sheet",
    "show",
    "surgery",
]
