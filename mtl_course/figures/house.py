"""The house style of the figures, and `show`, which gives each its alt text.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; every series also has a
marker of its own. Letters are large enough for a projector.
"""

from __future__ import annotations

import base64
import html
import io

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
}


def show(figure: Figure, alt: str, again: str | None = None) -> None:
    """Displays a figure as HTML that carries its alt text, with a PNG for viewers without HTML.

    alt: what the figure shows and what it says, for a reader who cannot see it.
    again: the command that makes what the figure shows once more; it stands in its caption.
    Raises: ValueError if `alt` is too short to say that.
    """
    from IPython.display import display

    if len(alt) < 40:
        raise ValueError(f"alt must say what the figure shows, in a sentence; got {alt!r}.")
    code = base64.b64encode(_png(figure)).decode("ascii")
    text = html.escape(" ".join(alt.split()))
    style = "max-width:100%;height:auto;background:white"
    page = f'<img alt="{text}" style="{style}" src="data:image/png;base64,{code}">'
    if again is not None:
        caption = f"Its numbers again: <code>{html.escape(again)}</code>"
        page = f"<figure>{page}<figcaption>{caption}</figcaption></figure>"
        alt = f"{alt} Its numbers again: {again}"
    plain = " ".join(alt.split())
    display({"text/html": page, "image/png": code, "text/plain": plain}, raw=True)


def _png(figure: Figure) -> bytes:
    """In 256 colours: a third of the size, and a notebook holds each picture twice.

    The colours cover all that there are, so that a light of a few pixels keeps its own.
    """
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE)
    few.save(small, format="png", optimize=True)
    return small.getvalue()


def axes_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size, in inches, with one pair of axes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def ticks(axes: Axes, values: pd.Series, logarithmic: bool = True) -> None:
    """An x axis whose ticks are the values that were measured."""
    ticks = sorted(set(values))
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
