"""The pictures of the course in one house style, and `show`, which gives each its alt text.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; every series also has a
marker of its own. Letters are large enough for a projector.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mtl_course.studies import interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
}


def show(figure: Figure, alt: str) -> None:
    """Displays a figure as HTML that carries its alt text, with a PNG for viewers without HTML.

    alt: what the figure shows and what it says, for a reader who cannot see it.
    Raises: ValueError if `alt` is too short to say that.
    """
    from IPython.display import display

    if len(alt) < 40:
        raise ValueError(f"alt must say what the figure shows, in a sentence; got {alt!r}.")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = html.escape(" ".join(alt.split()))
    style = "max-width:100%;height:auto;background:white"
    page = f'<img alt="{text}" style="{style}" src="data:image/png;base64,{code}">'
    display({"text/html": page, "image/png": code, "text/plain": text}, raw=True)


def curves(
    rows: pd.DataFrame,
    x: str,
    ways: Sequence[str],
    *,
    score: str = "accuracy",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """The mean of `score` against `x` (a logarithmic axis), one line a way, 95 % intervals.

    rows: one row a trained network, with columns way, seed, `x` and `score`.
    labels: what the axes say, by column.
    """
    labels = labels or {}
    figure, axes = _figure(9.0, 5.2)
    for i, way in enumerate(ways):
        table = rows[rows["way"] == way].groupby(x)[score].apply(interval)
        mean, low, high = np.array(table.tolist()).T
        at = table.index.to_numpy() * (1 + 0.025 * (i - (len(ways) - 1) / 2))  # side by side
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": way, "capsize": 3}
        axes.errorbar(at, mean, yerr=[mean - low, high - mean], **style)
    _logarithmic(axes, rows.loc[rows["way"].isin(ways), x])
    axes.set(xlabel=labels.get(x, x), ylabel=labels.get(score, score))
    axes.legend(loc="lower right")
    return figure


def gains(tables: Mapping[str, pd.DataFrame], x: str, *, xlabel: str, ylabel: str) -> Figure:
    """Mean gains against `x` with their 95 % intervals and a line at 0, one series a table.

    tables: what `studies.gain` returned, by the name of the comparison.
    """
    figure, axes = _figure(9.0, 4.4)
    axes.axhline(0, color="0.25", linewidth=1.2)
    for i, (name, table) in enumerate(tables.items()):
        at = table[x] * (1 + 0.04 * (i - (len(tables) - 1) / 2))
        reach = [table["mean"] - table["low"], table["high"] - table["mean"]]
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": name, "capsize": 4}
        axes.errorbar(at, table["mean"], yerr=reach, **style)
    _logarithmic(axes, next(iter(tables.values()))[x])
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return figure


def history(history: pd.DataFrame, window: int = 25) -> Figure:
    """The loss of every step, faint, and its running mean over `window` steps."""
    figure, axes = _figure(7.5, 3.4)
    axes.plot(history["loss"], color=COLOURS[0], alpha=0.25, linewidth=1)
    axes.plot(history["loss"].rolling(window, min_periods=1).mean(), color=COLOURS[0])
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    return figure


def sheet(groups: Mapping[str, Tensor], columns: int = 16) -> Figure:
    """Rows of small grey pictures under a title each.

    groups: uint8 (m, 1, height, width) by title, ink dark on white paper.
    """
    heights = [-(-len(images) // columns) for images in groups.values()]
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(9.0, 0.62 * sum(heights) + 0.5 * len(groups)), layout="constrained"
        )
        boxes = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (title, images) in zip(boxes, groups.items(), strict=True):
        axes.imshow(_tile(images[:, 0].numpy(), columns), cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(title, loc="left", fontsize=13)
        axes.axis("off")
    return figure


def filters(groups: Mapping[str, Tensor], columns: int = 16) -> Figure:
    """First-layer filters, blue below 0 and red above it, on one scale for all groups.

    groups: float32 (m, 1, height, width), a filter each, by title.
    """
    reach = max(float(weights.abs().max()) for weights in groups.values())
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 1.15 * len(groups)), layout="constrained")
        boxes = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axes, (title, weights) in zip(boxes, groups.items(), strict=True):
        picture = _tile(weights[:, 0].numpy(), columns, empty=np.nan)
        axes.imshow(picture, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes.set_title(title, loc="left", fontsize=13)
        axes.axis("off")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def _logarithmic(axes: Axes, values: pd.Series) -> None:
    """A logarithmic x axis whose ticks are the values that were measured."""
    ticks = sorted(set(values))
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def _tile(pictures: np.ndarray, columns: int, empty: float = 255 / 3) -> np.ndarray:
    """Small pictures side by side with a gap of one pixel. pictures: (n, height, width)."""
    n, height, width = pictures.shape
    lines = -(-n // columns)
    sheet = np.full((lines * (height + 1) - 1, columns * (width + 1) - 1), empty, float)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = picture
    return sheet
