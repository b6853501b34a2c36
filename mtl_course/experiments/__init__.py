"""What is run: each study of the course as a grid and one short function, a file a lesson.

Reported studies and the studies that tuned them never share a seed, and tuning never sees a
reported test set: on digits it scores on a part of the pool that was held back, on scenes on draws
of development seeds.
"""

from mtl_course.experiments.answers import STUDIES as _LESSONS_03_AND_04
from mtl_course.experiments.company import STUDIES as _LESSON_05
from mtl_course.experiments.conflict import STUDIES as _LESSON_06
from mtl_course.experiments.dials import STUDIES as _LESSON_02
from mtl_course.experiments.digits import STUDIES as _LESSON_01
from mtl_course.experiments.lecture import STUDIES as _THE_LECTURES

STUDIES = _LESSON_01 | _LESSON_02 | _THE_LECTURES | _LESSONS_03_AND_04 | _LESSON_05 | _LESSON_06
