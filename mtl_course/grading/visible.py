"""Visible checks of the assignments: they say what is wrong with an answer, and never stop a cell.

They help the student; points come from the hidden checks. A released notebook must run from top to
bottom before anything is written in it, so `checking` catches what its body raises.
"""

import contextlib
import traceback
from collections.abc import Iterator

_outcomes: dict[str, bool] = {}  # in this kernel, by exercise, as last checked


@contextlib.contextmanager
def checking(name: str) -> Iterator[None]:
    """Run the visible checks of the exercise `name`, and print one line about them.

    That is a failed assertion's message, or the line of the student's cell that raised anything
    else. Only a keyboard interrupt is passed on.
    """
    _outcomes[name] = False
    try:
        yield
    except Exception as error:
        print(f"{name}: {_explanation(name, error)}")
    else:
        _outcomes[name] = __debug__  # which is false where assertions are left out
        passes, unknown = "the visible checks pass", "not checked, since Python runs with -O"
        print(f"{name}: {passes if __debug__ else unknown}.")


def passed() -> dict[str, bool]:
    """Return whether the visible checks passed when they last ran, by exercise."""
    return dict(_outcomes)


def _explanation(name: str, error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    check = frames[0].filename if frames else ""
    if isinstance(error, NotImplementedError):
        if frames and frames[-1].filename != check and frames[-1].name != name:
            return f"waits for {frames[-1].name}, which is not written yet."
        return "not written yet."
    if isinstance(error, AssertionError) and frames and frames[-1].filename == check:
        return f"not yet: {error}"
    # A student's code stands in other cells than the check; a library's lines help nobody.
    cells = [f for f in frames if "ipykernel" in f.filename and f.filename != check]
    where = f", line {cells[-1].lineno} of your cell" if cells else ""
    return f"stopped by {type(error).__name__}: {error}{where}"
