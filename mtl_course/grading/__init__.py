"""Assignments for a class: released, run in a sandbox, and checked from outside it.

nbgrader provides assignments, gradebook, marks by hand and feedback, but would run a student's code
with the grader's rights. Here a `sandbox` runs it, `checks` call it from outside (`wire`), and only
the text of answers is taken (`intake`): for one submission (`marking`), for a class (`course`).
"""
