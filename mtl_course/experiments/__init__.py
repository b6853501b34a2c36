"""What is run: each study of the course as a grid and one short function, a file a lesson.

Reported studies and the studies that tuned them never share a seed, and tuning never sees a
reported test set: on digits it scores on a part of the pool that was held back, on scenes on draws
of development seeds.
"""

from mtl_course.experiments import answers, dials, digits, lecture

STUDIES = digits.STUDIES | dials.STUDIES | lecture.STUDIES | answers.STUDIES
