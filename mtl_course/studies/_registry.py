"""All studies of the course by name."""

from mtl_course.studies import (
    headline,
    lesson_01,
    lesson_01_digits,
    lesson_02,
    lesson_02_digits,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_05_amounts,
    lesson_05_big_enough,
    lesson_06,
    lesson_06_pairs,
    lesson_07_clothes,
)

STUDIES = lesson_01.STUDIES | lesson_01_digits.STUDIES
STUDIES |= lesson_02.STUDIES | lesson_02_digits.STUDIES | headline.STUDIES
STUDIES |= lesson_03.STUDIES | lesson_04.STUDIES | lesson_05.STUDIES | lesson_05_amounts.STUDIES
STUDIES |= lesson_05_big_enough.STUDIES
STUDIES |= lesson_06.STUDIES | lesson_06_pairs.STUDIES | lesson_07_clothes.STUDIES
