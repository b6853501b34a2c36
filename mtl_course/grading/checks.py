"""Tools for hidden checks: a `Student` whose functions can be called, and `same` to compare.

A check is a function of (student, draw). It draws inputs, has the student's function called on them
in the sandbox, and raises `Wrong` if the answer is not right. The first line of its docstring tells
the student what it looks at. The text of `Wrong` tells on which input the answer is wrong, and
never how far off: with an answer of 0 that would be the right one. ``EXERCISES`` of a module of
checks maps each exercise to its checks, which share its points.
"""

from collections.abc import Callable

import numpy as np

from mtl_course.grading.sandbox import Died, Kernel


class Wrong(AssertionError):
    """An answer is not right. The text is for the student."""


class Student:
    """A student's notebook that has run in a sandbox, where its functions can be called.

    kernel: returns the kernel in which it has run; after a kernel died, a new one.
    """

    def __init__(self, kernel: Callable[[], Kernel]) -> None:
        self._kernel = kernel

    def call(self, name: str, *arguments: object) -> object:
        """Return what the student's function returns: arrays, numbers, text, lists and dicts.

        Tensors, arrays and tables arrive there as such; they come back as arrays and dicts of
        columns, and tuples as lists. Raises: Wrong if there is no such function, if it raises,
        takes too long, or returns anything else.
        """
        return self.run(f"answer = {name}(*arguments)", arguments=list(arguments))

    def run(self, code: str, /, **inputs: object) -> object:
        """Return what `code` leaves in `answer`; it sees the student's names and the inputs.

        The student's code can read it: put nothing of the answer there. Raises: Wrong, as `call`.
        """
        try:
            reply = self._kernel().request({"code": code, "inputs": inputs})
        except Died as died:
            raise Wrong(str(died)) from None
        if not isinstance(reply, dict) or list(reply) not in (["answer"], ["error"]):
            raise Wrong("What it returns cannot be checked.")
        if "error" in reply:
            raise Wrong(str(reply["error"])[:500])
        return reply["answer"]


def same(got: object, wanted: object, where: str, tolerance: float = 1e-5) -> None:
    """Raise Wrong unless `got` is `wanted`: kind, shape, and every value.

    where: the input, in words. tolerance: of numbers, both absolute and relative to `wanted`.
        Booleans, text, and numbers where integers are wanted are compared exactly.
    """
    if isinstance(wanted, str) or wanted is None:
        if type(got) is not type(wanted) or got != wanted:
            raise Wrong(f"{where}: not the right answer.")
        return
    if _has_text(got):  # which numpy would make as long, everywhere, as the longest
        raise Wrong(f"{where}: the answer must be numbers, and it has text.")
    try:
        if isinstance(got, dict):  # a table, by columns
            got = list(zip(*got.values(), strict=True))
        got, wanted = np.asarray(got), np.asarray(wanted)
    except (ValueError, TypeError):
        raise Wrong(f"{where}: the rows of the answer differ in length.") from None
    kinds, words = ("b", "True or False") if wanted.dtype.kind == "b" else ("iuf", "numbers")
    if got.dtype.kind not in kinds:
        raise Wrong(f"{where}: the answer must be {words}.")
    if got.shape != wanted.shape:
        raise Wrong(f"{where}: the answer's shape {got.shape} is not the required one.")
    tolerance = tolerance if wanted.dtype.kind == "f" else 0
    wrong = ~np.isclose(got, wanted, tolerance, tolerance, equal_nan=True)
    if wrong.any():
        raise Wrong(f"{where}: {wrong.sum()} of {wrong.size} entries are wrong.")


def _has_text(tree: object) -> bool:
    if isinstance(tree, (dict, list)):
        return any(map(_has_text, tree.values() if isinstance(tree, dict) else tree))
    return isinstance(tree, str)
