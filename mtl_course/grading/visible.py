"""Visible checks of the assignments: they say what is wrong with an answer, and never stop a cell.

They help the student and decide nothing: points come from the hidden checks. A released notebook
runs from top to bottom before anything is written in it, so `checking` catches what its body
raises, prints one line, and remembers whether the checks of an exercise have passed.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

_outcomes: dict[str, bool] = {}  # of this kernel, by exercise, as last checked


@contextlib.contextmanager
def checking(name: str) -> Iterator[None]:
    """Runs the visible checks of the exercise `name`, and prints one line about them.

    An assertion that the checks make speaks with its own message. Any other exception is told with
    the line of the student's cell that raised it; only a keyboard interrupt goes on.
    """
    _outcomes[name] = False
    try:
        yield
    except Exception as error:
        print(f"{name}: {_told(name, error)}")
    else:
        _outcomes[name] = True
        print(f"{name}: the visible checks pass.")


def passed() -> dict[str, bool]:
    """Whether the visible checks passed when they last ran, by exercise."""
    return dict(_outcomes)


def _told(name: str, error: Exception) -> str:
    """What went wrong, in a line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    check = frames[0].filename if frames else ""
    if isinstance(error, NotImplementedError):
        if frames and frames[-1].filename != check and frames[-1].name != name:
            return f"waits for {frames[-1].name}, which is not written yet."
        return "not written yet."
    if isinstance(error, AssertionError) and frames and frames[-1].filename == check:
        return f"not yet: {error}"
    # What a student wrote stands in other cells than the check does; a library's lines help nobody.
    cells = [f for f in frames if "ipykernel" in f.filename and f.filename != check]
    where = f", line {cells[-1].lineno} of your cell" if cells else ""
    return f"stopped by {type(error).__name__}: {error}{where}"
