"""Assignments that a class can be graded on: released, run in a sandbox, checked from outside it.

The pipeline (assignments, gradebook, marks by hand, feedback) is nbgrader's. Three things are
added, for nbgrader alone runs a student's code with the grader's rights: a kernel that is shut in
(`sandbox`), checks that run outside it (`checks`, `wire`), and an intake that takes nothing but the
text of answers from a submission (`intake`). `marking` puts them together for one submission, and
`course` for a class.
"""
