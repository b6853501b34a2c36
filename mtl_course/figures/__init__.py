"""The figures of the course in one house style, and `show`, which gives each its alt text."""

from mtl_course.figures._maps import arrows, compass, gain_map, matrices
from mtl_course.figures._pictures import Part, answers, architecture, filters, sheet, surgery
from mtl_course.figures._series import (
    by_task,
    calibration,
    crosses,
    curves,
    dots,
    gains,
    history,
    ladder,
)
from mtl_course.figures._style import COLORS, bundle, image, show
