"""Assignments that a class can be graded on: released, run in a sandbox, checked from outside it.

nbgrader provides the pipeline: assignments, gradebook, marks by hand, feedback. On its own it would
run a student's code with the grader's rights. Three parts are therefore added: a Python that is
shut in (`sandbox`), checks that run outside it (`checks`, `wire`), and an intake that takes only the
text of answers from a submission (`intake`). `marking` applies them to one submission, `course` to
a class.
"""
