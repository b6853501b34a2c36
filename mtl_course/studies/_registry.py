"""All studies of the course by name."""

from mtl_course.studies import (
    headline,
    lesson_01,
    lesson_02,
    lesson_02_digits,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_06,
)

_EARLY = (lesson_01, lesson_02, lesson_02_digits, headline)
_LATE = (lesson_03, lesson_04, lesson_05, lesson_06)
STUDIES = {name: own for module in _EARLY + _LATE for name, own in module.STUDIES.items()}
