"""The pictures of the course in one house style, and `show`, which gives each its alt text."""

from mtl_course.figures.house import COLOURS, MARKERS, bundle, image, show
from mtl_course.figures.pictures import Part, answers, architecture, filters, sheet, surgery
from mtl_course.figures.results import (
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
