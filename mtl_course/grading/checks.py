"""What hidden checks are written with: a student to ask, and `same` to compare.

A check is a function of (student, draw). It draws inputs, has the student's function called on them
in the sandbox, and raises `Wrong` when the answer is not right. Its docstring's first line is what
the student is told that it looks at; what it raises tells on which input and by how much the answer
is off, and never the answer. A module of checks maps each exercise to its checks::

    EXERCISES = {"masked_loss": [every_label_known, some_unknown]}

An exercise's points are shared out evenly among its checks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np

from mtl_course.grading import wire
from mtl_course.grading.sandbox import Died, Kernel


class Wrong(AssertionError):
    """An answer is not right. The text is for the student."""


class Student:
    """A student's notebook that has run in a sandbox, and whose functions can be called there.

    kernel: gives the kernel in which it has run; after a kernel died, a new one.
    """

    def __init__(self, kernel: Callable[[], Kernel]) -> None:
        self._kernel = kernel

    def call(self, name: str, *arguments: object, seconds: float | None = None) -> object:
        """What the student's function returns: arrays, numbers, text, lists and dicts of them.

        seconds: that it may take; without a number, as many as a cell.
        Tensors arrive there as tensors, arrays as arrays and tables as tables; they come back as
        arrays and dicts of columns, and tuples as lists.
        Raises: Wrong if there is no such function, if it raises, takes longer, or returns anything
            else.
        """
        return self.run(f"answer = {name}(*arguments)", seconds, arguments=list(arguments))

    def run(self, code: str, seconds: float | None = None, /, **inputs: object) -> object:
        """What `code` leaves in `answer`; it sees the student's names and the inputs.

        The student's code can read it: it must hold nothing of the answer.
        Raises: Wrong, as `call` does.
        """
        reply = f"application/x-check-{secrets.token_hex(8)}"
        ask = (
            "(lambda names: __import__('mtl_course.grading.wire', fromlist=['answer']).answer("
            f"{code!r}, {wire.pack(inputs)!r}, names, {reply!r}))(globals())"
        )
        try:
            outputs = self._kernel().execute(ask, seconds)
        except Died as died:
            raise Wrong(str(died)) from None
        texts = [out["data"][reply] for out in outputs if reply in out.get("data", {})]
        try:
            if len(texts) != 1:
                raise wire.Malformed("there is no answer")
            said = wire.unpack(texts[0])
            if not isinstance(said, dict) or list(said) not in (["answer"], ["error"]):
                raise wire.Malformed("it is no answer")
        except wire.Malformed as error:
            raise Wrong(f"What it returns cannot be checked: {error}.") from None
        if "error" in said:
            raise Wrong(str(said["error"])[:500])
        return said["answer"]


def same(got: object, wanted: object, where: str, tolerance: float = 1e-5) -> None:
    """Raises Wrong unless `got` is `wanted`: kind, shape, and every value.

    where: the input, in words. tolerance: how far numbers may be apart, relative to the wanted one
        and to 1, whichever is larger. Booleans, text, and numbers where whole ones are wanted are
        compared exactly.
    """
    if isinstance(wanted, str) or wanted is None:
        if type(got) is not type(wanted) or got != wanted:
            raise Wrong(f"{where}: not the right answer.")
        return
    try:
        if isinstance(got, dict):  # a table, by columns
            got = list(zip(*got.values(), strict=True))
        got, wanted = np.asarray(got), np.asarray(wanted)
    except (ValueError, TypeError):
        raise Wrong(f"{where}: the rows of the answer differ in length.") from None
    kinds = {"b": "True or False", "i": "numbers", "u": "numbers", "f": "numbers"}
    if got.dtype.kind not in kinds or kinds[got.dtype.kind] != kinds[wanted.dtype.kind]:
        raise Wrong(f"{where}: the answer must be {kinds[wanted.dtype.kind]}.")
    if got.shape != wanted.shape:
        raise Wrong(
            f"{where}: the answer has shape {got.shape}, and that is not the one asked for."
        )
    if got.dtype.kind == "b":
        wrong = got != wanted
        if wrong.any():
            raise Wrong(f"{where}: {wrong.sum()} of {wrong.size} entries are wrong.")
        return
    tolerance = 0 if wanted.dtype.kind in "iu" else tolerance
    got, wanted = got.astype(float), wanted.astype(float)
    if (np.isnan(got) != np.isnan(wanted)).any():
        many = int((np.isnan(got) != np.isnan(wanted)).sum())
        raise Wrong(
            f"{where}: {many} of {got.size} numbers are nan and should not be, or the reverse."
        )
    with np.errstate(invalid="ignore"):
        off = np.abs(got - wanted) / np.maximum(np.abs(wanted), 1)
    off = np.where(np.isnan(wanted) | (got == wanted), 0, off)
    if off.size and off.max() > tolerance:
        place = np.unravel_index(off.argmax(), off.shape)
        at = f" at {tuple(map(int, place))}" if place else ""
        raise Wrong(f"{where}: off by about {off.max():.1g}{at}.")
