"""Assignments for a class: released, run in a sandbox, and checked from outside it.

nbgrader provides assignments, gradebook, marks by hand and feedback, but would run a student's code
with the grader's rights. So a sandboxed Python (`sandbox`) runs it, checks call it from outside
(`checks`, `wire`), and only the text of answers is taken from a submission (`intake`). `marking`
does all this for one submission, `course` for a class.
"""
