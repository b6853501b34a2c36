"""Figures of gains and cosines as maps, and of gradients as directions."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from mtl_course.figures._style import COLORS, subplots, text_of

_DASHES = ("-", "--", ":", "-.")
_ARROW = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
_SIGNS = {"supported": "▲", "opposite": "▼", "no difference": "=", "cannot tell": "?"}


def gain_map(
    table: pd.DataFrame, x: str, y: str, *, labels: Mapping[str, str], framed: Sequence[tuple] = ()
) -> Figure:
    """Draw a map of gains: each cell says its mean, half the width of its interval, its verdict.

    ▲ supported, ▼ opposite, = no difference, ? cannot tell. Numbers grow to the right and upwards;
    names stand as they come, from the left and from the top.
    table: as `studies.gain` returns it, one row a cell. labels: what the axes say, by column.
    framed: (x, y) of cells to be framed.
    """
    means = table.pivot(index=y, columns=x, values="mean")
    if named := means.columns.dtype.kind not in "if":
        up, right = (list(table[name].unique()) for name in (y, x))
        right = up if set(up) == set(right) else right
        means = means.reindex(columns=right, index=up[::-1])
    rows, columns = means.shape
    figure, (axes,) = subplots(2.2 + 1.15 * columns, 1.4 + 0.8 * rows, grid=False)
    reach = np.nanmax(np.abs(means.to_numpy()))
    image = axes.imshow(means, "PuOr_r", vmin=-reach, vmax=reach, aspect="auto", origin="lower")
    places = {(b, a): (j, i) for i, a in enumerate(means.index) for j, b in enumerate(means)}
    for cell in table.to_dict("records"):
        sign, half = _SIGNS[cell["verdict"]], (cell["high"] - cell["low"]) / 2
        text = f"{sign} {cell['mean']:+.3f}\n± {half:.3f}"
        _write(axes, places[cell[x], cell[y]], text, cell["mean"] / reach, fontsize=11)
    for cell in framed:
        corner, style = np.subtract(places[cell], 0.47), {"edgecolor": "0.1", "linewidth": 2.5}
        axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, **style))
    axes.set_xticks(range(columns), map(text_of, means.columns), rotation=30 * named)
    axes.set_yticks(range(rows), map(text_of, means.index))
    axes.set(xlabel=labels.get(x, x), ylabel=labels.get(y, y))
    figure.colorbar(image, label=labels.get("mean", "gain"))
    return figure


def matrices(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw square matrices of cosines side by side, on one scale, each entry written out.

    panels: by title; all have the same rows, whose names stand once.
    """
    names, n = next(iter(panels.values())).index, len(panels)
    figure, boxes = subplots(2.6 + 2.1 * n, 2.9, ncols=n, grid=False, sharey=True)
    for axes, (title, matrix) in zip(boxes, panels.items(), strict=True):
        image = axes.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1)
        for (i, j), value in np.ndenumerate(matrix.to_numpy()):
            _write(axes, (j, i), f"{value:{'.1f' if i == j else '+.2f'}}", value, fontsize=10)
        axes.set_title(title, fontsize=13)
        axes.set_xticks(range(len(names)), range(1, len(names) + 1))
    boxes[0].set_yticks(range(len(names)), [f"{k}  {n}" for k, n in enumerate(names, start=1)])
    figure.colorbar(image, ax=boxes, label="cosine", shrink=0.9)
    return figure


def _write(axes: Axes, at: tuple, text: str, share: float, fontsize: int) -> None:
    """Write into a cell, in white where its color is dark. share: of the scale, −1 to 1."""
    ink = "white" if abs(share) > 0.7 else "0.1"
    axes.text(*at, text, ha="center", va="center", fontsize=fontsize, color=ink)


def arrows(tasks: np.ndarray, ways: Mapping[str, Sequence[float]]) -> Figure:
    """Draw two tasks' gradients and where each way to combine them goes, a panel a way.

    tasks: (2, 2), a gradient a row. The shaded cone holds the directions that oppose neither task.
    """
    figure, boxes = subplots(2.5 * len(ways), 3.0, ncols=len(ways), sharex=True, sharey=True)
    ends = np.vstack([np.zeros(2), tasks, *ways.values()])
    pad = 0.15 * np.abs(ends).max()
    across, up = zip(ends.min(axis=0) - pad, ends.max(axis=0) + pad, strict=True)
    x, y = np.meshgrid(np.linspace(*across, 200), np.linspace(*up, 200))
    inside = np.all([x * g[0] + y * g[1] >= 0 for g in tasks], axis=0)
    for axes, (name, way) in zip(boxes, ways.items(), strict=True):
        axes.contourf(x, y, inside, levels=[0.5, 1.5], colors=[COLORS[5]], alpha=0.25)
        lines = zip((*tasks, way), (*COLORS[:2], COLORS[6]), ("--", ":", "-"), strict=True)
        for vector, color, style in lines:
            arrow = _ARROW | {"color": color, "linestyle": style, "linewidth": 2.2}
            axes.annotate("", vector, (0, 0), arrowprops=arrow)
        axes.set(title=name, xlim=across, ylim=up, aspect="equal")
        axes.set(xticks=[0], yticks=[0], xticklabels=[], yticklabels=[])
    return figure


def compass(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw a direction as a needle that points up, and each task's gradient at its angle to it.

    The direction opposes the gradients in the shaded lower half. Arrows go to the left and to the
    right in turn, only to make room for their labels.
    panels: by title, one row a task: angle in degrees (nan where there is none), and length,
        relative to the longest. Where no task has an angle there is no needle.
    """
    m, n = -(-len(panels) // 3), min(3, len(panels))
    figure, boxes = subplots(4.2 * n, 2.9 * m, nrows=m, ncols=n, layout=None)
    figure.subplots_adjust(0, 0.01, 1, 1 - 0.11 / m, wspace=0.02, hspace=0.15)
    lower = np.linspace(np.pi, 2 * np.pi, 60)
    for axes in boxes:
        axes.set(xlim=(-2.1, 2.1), ylim=(-1.1, 1.3), aspect="equal")
        axes.axis("off")
    for axes, (title, table) in zip(boxes, panels.items(), strict=False):
        axes.fill(np.cos(lower), np.sin(lower), color=COLORS[4], alpha=0.25, linewidth=0)
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="0.4"))
        axes.text(0, -0.8, "opposed:\nits loss rises", ha="center", fontsize=11)
        drawn = table.dropna().sort_values("angle")
        if len(drawn):
            axes.annotate("", (0, 1), (0, 0), arrowprops=_ARROW | {"color": "k", "linewidth": 3})
        turns = np.radians(drawn["angle"].to_numpy()) * np.resize((-1, 1), len(drawn))
        heights = 1.08 * np.cos(turns)  # of the labels
        for side in (heights[::2], heights[1::2]):  # heights fall: each keeps below the one before
            for k in range(1, len(side)):
                side[k] = min(side[k], side[k - 1] - 0.38)
            np.maximum(side, -0.9 + 0.38 * np.arange(len(side))[::-1], out=side)
        for (task, row), turn, height in zip(drawn.iterrows(), turns, heights, strict=True):
            number, towards = table.index.get_loc(task), np.array([np.sin(turn), np.cos(turn)])
            line = {"color": COLORS[number], "linestyle": _DASHES[number % len(_DASHES)]}
            axes.plot(*np.stack([np.zeros(2), towards], axis=1), alpha=0.45, linewidth=1, **line)
            arrow = _ARROW | line | {"linewidth": 2.2}
            axes.annotate("", row["length"] * towards, (0, 0), arrowprops=arrow)
            # So far out that a label at this height keeps clear of the circle.
            out = 1.08 * np.sqrt(1 - (max(abs(height) - 0.19, 0) / 1.08) ** 2)
            text = f"{task}\n{row['angle']:.0f}°, {row['length']:.2f}"
            style = {"fontsize": 11, "va": "center", "linespacing": 1.1}
            style["ha"] = "right" if np.signbit(turn) else "left"
            axes.text(np.copysign(out, turn), height, text, **style)
        axes.set_title(title, fontsize=13)
    return figure
