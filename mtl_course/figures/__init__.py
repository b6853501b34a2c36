"""The figures of the course in one house style, and `show`, which gives each its alt text."""

from mtl_course.figures._numbers import (
    by_task,
    curves,
    dots,
    gain_map,
    gains,
    ladder,
    matrices,
    points,
)
from mtl_course.figures._pictures import (
    Part,
    answers,
    architecture,
    arrows,
    compass,
    filters,
    sheet,
    surgery,
)
from mtl_course.figures._runs import by_seed, calibration, history
from mtl_course.figures._style import COLORS, bundle, image, show, url
