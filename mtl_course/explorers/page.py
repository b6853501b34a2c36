"""What a lesson's page needs besides figures: checked parameters, and its verdicts as a table."""

import html
from collections.abc import Collection, Mapping

import pandas as pd

from mtl_course.explorers._frame import table

RESULT = "application/vnd.mtl-course.result+json"
"""The MIME type of what a lesson measured, which no viewer shows and tests read."""

NEITHER = "no difference, or cannot tell"

_SIGNS = {"supported": "✓", "opposite": "✗", "no difference": "=", "cannot tell": "?"}


def parameter(name: str, value: object, allowed: Collection, default: object) -> object:
    """Return a parameter of a lesson; one that cannot be used gets a sentence, and the default.

    allowed: a range, or the values there are; words may be written in capitals. Between numbers
        that there are, the nearest is taken, with a note.
    """
    from IPython.display import Markdown, display

    if isinstance(value, str) and value.strip().lower() in allowed:
        return value.strip().lower()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value in allowed and (number or isinstance(value, str)):
        return value
    if isinstance(allowed, range):
        takes = f"a whole number from {allowed[0]:,} to {allowed[-1]:,}"
    elif number and not isinstance(default, str) and min(allowed) < value < max(allowed):
        default = min(allowed, key=lambda there: abs(there - value))
        takes = f"{_listed(allowed)}; the nearest is taken"
    else:
        takes = _listed(allowed)
    display(
        Markdown(f"**`{name} = {value!r}` cannot be used:** it takes {takes}. "
                 f"The lesson goes on with `{name} = {default!r}`.")
    )  # fmt: skip
    return default


def _listed(allowed: Collection) -> str:
    return " or ".join(f"`{choice!r}`" for choice in allowed)


def answer(gain: pd.Series, way: str, over: str) -> tuple[str, str]:
    """Return which of two ways a row of `studies.gain` finds better, and a sentence: for `reveal`.

    way, over: what the question calls the two.
    """
    words = "{mean:+.3f} ({low:+.3f} to {high:+.3f}) for {way} over {over}, in {seeds:.0f} seeds."
    better = {"supported": way, "opposite": over}.get(gain["verdict"], NEITHER)
    return better, words.format(**gain, way=way, over=over)


def verdicts(
    gains: Mapping[str, pd.Series], others: Mapping[str, pd.Series] | None = None, **result: object
) -> None:
    """Display what was claimed, what was measured, and the verdict that the interval gives.

    gains: rows of `studies.gain`, by claim. others: rows of other seeds, for those claims
        that were repeated, in a last column.
    result: what else the lesson's result holds, for tests.
    """
    from IPython.display import display

    rows = [
        (
            claim, _SIGNS[gain["verdict"]], gain["verdict"], f"{gain['mean']:+.3f}",
            f"{gain['low']:+.3f} to {gain['high']:+.3f}",
        )
        for claim, gain in gains.items()
    ]  # fmt: skip
    caption = "Verdicts: ✓ supported, ✗ opposite, = no difference, ? cannot tell."
    heads = ["claim", "", "verdict", "mean gain", "95 % interval"]
    found = {claim: verdict for claim, _, verdict, *_ in rows}
    text = "; ".join(f"{claim}: {verdict}" for claim, verdict in found.items())
    escaped = [[html.escape(claim), *cells] for claim, *cells in rows]
    if others is not None:
        heads.append("other seeds")
        form = "{} {mean:+.3f} ({low:+.3f} to {high:+.3f})"
        for row, claim in zip(escaped, gains, strict=True):
            other = others.get(claim)
            said = other is not None and form.format(_SIGNS[other["verdict"]], **other)
            row.append(said or "not repeated")
    data = {"text/html": table(caption, heads, escaped), "text/plain": text}
    display(data | {RESULT: result | {"verdicts": found}}, raw=True)
