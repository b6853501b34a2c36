"""Driving scenes: pictures of a road with their yes/no answers, as many as you like (M1–M4)."""

from mtl_course.scenes._drawing import TIMES, compose, distances, draw, effort, facts, write
from mtl_course.scenes._tasks import SETTLED, TASKS, THE_FOUR, VISIBLE

__all__ = ["SETTLED", "TASKS", "THE_FOUR", "TIMES", "VISIBLE",
           "compose", "distances", "draw", "effort", "facts", "write"]  # fmt: skip
