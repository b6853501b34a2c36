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
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from PIL import Image
from torch import Tensor

from mtl_course.datasets import Dataset, normalise
from mtl_course.networks import Network
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


def curves(
    rows: pd.DataFrame,
    x: str,
    ways: Sequence[str],
    *,
    score: str = "accuracy",
    labels: Mapping[str, str] | None = None,
    logarithmic: bool = True,
) -> Figure:
    """The mean of `score` against `x`, one line a way, with 95 % intervals.

    rows: one row a trained network, with columns way, seed, `x` and `score`. A cell of fewer than
        two scores has no interval and is left out.
    labels: what the axes say, by column. logarithmic: the x axis; else it is linear.
    """
    labels = labels or {}
    figure, axes = _figure(9.0, 5.2)
    for i, way in enumerate(ways):
        mine = rows[rows["way"] == way].dropna(subset=score)
        mine = mine.groupby(x).filter(lambda cell: len(cell) > 1)
        table = mine.groupby(x)[score].apply(interval)
        mean, low, high = np.array(table.tolist()).T
        at, step = table.index.to_numpy(), i - (len(ways) - 1) / 2  # side by side
        at = at * (1 + 0.025 * step) if logarithmic else at + 0.006 * step * np.ptp(rows[x])
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": way, "capsize": 3}
        axes.errorbar(at, mean, yerr=[mean - low, high - mean], **style)
    _ticks(axes, rows.loc[rows["way"].isin(ways), x], logarithmic)
    axes.set(xlabel=labels.get(x, x), ylabel=labels.get(score, score))
    axes.legend(loc="best")
    return figure


def gains(
    tables: Mapping[str, pd.DataFrame],
    x: str,
    *,
    xlabel: str,
    ylabel: str,
    logarithmic: bool = True,
) -> Figure:
    """Mean gains against `x` with their 95 % intervals and a line at 0, one series a table.

    tables: what `studies.gain` returned, by the name of the comparison.
    logarithmic: the x axis; else it is linear.
    """
    figure, axes = _figure(9.0, 4.4)
    axes.axhline(0, color="0.25", linewidth=1.2)
    for i, (name, table) in enumerate(tables.items()):
        step = i - (len(tables) - 1) / 2  # side by side
        at = table[x] * (1 + 0.04 * step) if logarithmic else table[x] + 0.03 * step
        reach = [table["mean"] - table["low"], table["high"] - table["mean"]]
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": name, "capsize": 4}
        axes.errorbar(at, table["mean"], yerr=reach, **style)
    _ticks(axes, pd.concat([table[x] for table in tables.values()]), logarithmic)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return figure


_SIGNS = {"supported": "▲", "opposite": "▼", "no difference": "=", "cannot tell": "?"}


def gain_map(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    labels: Mapping[str, str],
    framed: Sequence[tuple] = (),
) -> Figure:
    """A map of gains: each cell says its mean, half the width of its interval, and its verdict.

    ▲ supported, ▼ opposite, = no difference, ? cannot tell.
    table: what `studies.gain` returned, one row a cell. labels: what the axes say, by column.
    framed: (x, y) of cells to be framed, such as those that were named before the run.
    """
    means = table.pivot(index=y, columns=x, values="mean")
    places = {name: {v: i for i, v in enumerate(means.axes[k])} for k, name in enumerate((y, x))}
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        size = (2.2 + 1.15 * means.shape[1], 1.4 + 0.8 * means.shape[0])
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
    reach = np.nanmax(np.abs(means.to_numpy()))
    image = axes.imshow(means, cmap="PuOr_r", vmin=-reach, vmax=reach, aspect="auto",
                        origin="lower")  # fmt: skip
    for cell in table.to_dict("records"):
        at = (places[x][cell[x]], places[y][cell[y]])
        half = (cell["high"] - cell["low"]) / 2
        text = f"{_SIGNS[cell['verdict']]} {cell['mean']:+.3f}\n± {half:.3f}"
        ink = "white" if abs(cell["mean"]) > 0.7 * reach else "0.1"
        axes.text(*at, text, ha="center", va="center", fontsize=11, color=ink)
    for right, up in framed:
        corner = (places[x][right] - 0.47, places[y][up] - 0.47)
        style = {"fill": False, "edgecolor": "0.1", "linewidth": 2.5}
        axes.add_patch(Rectangle(corner, 0.94, 0.94, **style))
    axes.set_xticks(range(means.shape[1]), [f"{value:,}" for value in means.columns])
    axes.set_yticks(range(means.shape[0]), [f"{value:,}" for value in means.index])
    axes.set(xlabel=labels.get(x, x), ylabel=labels.get(y, y))
    figure.colorbar(image, label=labels.get("mean", "gain"))
    return figure


def ladder(tables: Mapping[str, pd.DataFrame], kind: str, *, xlabel: str) -> Figure:
    """Gains of kinds that have no number, one below the other, with intervals and a line at 0.

    tables: what `studies.gain` returned, by the name of the series. kind: the column that names
        the kinds; the first table gives their order, from the top.
    """
    kinds = list(dict.fromkeys(pd.concat([table[kind] for table in tables.values()])))
    figure, axes = _figure(9.0, 1.4 + max(0.5, 0.2 * len(tables)) * len(kinds))
    axes.axvline(0, color="0.25", linewidth=1.2)
    for i, (name, table) in enumerate(tables.items()):
        at = table[kind].map(kinds.index) + 0.2 * (i - (len(tables) - 1) / 2)
        reach = [table["mean"] - table["low"], table["high"] - table["mean"]]
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": name, "capsize": 4}
        axes.errorbar(table["mean"], at, xerr=reach, linestyle="none", **style)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set(xlabel=xlabel, ylim=(len(kinds) - 0.5, -0.5))
    axes.legend(fontsize=11)
    return figure


def history(history: pd.DataFrame, window: int = 25) -> Figure:
    """The loss of every step, faint, and its running mean over `window` steps.

    With tasks there is a line for each task's part of the loss.
    """
    figure, axes = _figure(7.5, 3.4)
    names = [name for name in history.columns if name != "loss"] or ["loss"]
    for name, colour in zip(names, COLOURS, strict=False):
        axes.plot(history[name], color=colour, alpha=0.2, linewidth=1)
        mean = history[name].rolling(window, min_periods=1).mean()
        marker = {"marker": MARKERS[names.index(name)], "markevery": max(1, len(mean) // 8)}
        axes.plot(mean, color=colour, label=name, **(marker if len(names) > 1 else {}))
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    if len(names) > 1:
        axes.legend(fontsize=11, ncols=2)
    return figure


def sheet(groups: Mapping[str, Tensor], columns: int = 16) -> Figure:
    """Rows of small pictures under a title each.

    groups: uint8 (m, channels, height, width) by title; one channel is ink, dark on white paper,
        three are red, green and blue.
    """
    heights = [-(-len(images) // columns) for images in groups.values()]
    with mpl.rc_context(_STYLE):
        height = 10.0 / columns * sum(heights) + (0.5 * len(groups) if any(groups) else 0)
        figure = Figure(figsize=(9.0, height), layout="constrained")
        boxes = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (title, images) in zip(boxes, groups.items(), strict=True):
        _paint(axes, _tile(images.permute(0, 2, 3, 1).numpy(), columns))
        axes.set_title(title, loc="left", fontsize=13)
    return figure


def _paint(axes: Axes, picture: np.ndarray) -> None:
    """picture: 0 … 255, (height, width, 1 or 3)."""
    if picture.shape[-1] == 1:
        axes.imshow(picture[..., 0], cmap="gray_r", vmin=0, vmax=255)
    else:
        axes.imshow(picture.astype(np.uint8))
    axes.axis("off")


_ANSWERS = {0: ("0", "white", "0.35"), 1: ("1", COLOURS[0], "white"), -1: ("?", COLOURS[4], "0")}


def answers(data: Dataset, shown: int = 8) -> Figure:
    """The first images, and under each its column of Y, as the lecture draws it: (tasks, m)."""
    images, labels = data.images[:shown], data.labels[:shown].T.tolist()
    width, tasks = len(images), len(data.tasks)
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        size = (1.6 + 0.95 * width, 1.1 + 0.45 * tasks)
        figure = Figure(figsize=size, layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=[0.95, 0.45 * tasks], sharex=True)
    gap = 0.04
    for i, image in enumerate(images):
        extent = (i + gap, i + 1 - gap, 0, 1)
        upper.imshow(image.permute(1, 2, 0).numpy(), extent=extent, aspect="auto")
    upper.set(xlim=(0, width), ylim=(0, 1))
    upper.axis("off")
    for j, row in enumerate(labels):
        for i, label in enumerate(row):
            text, fill, ink = _ANSWERS[label]
            lower.add_patch(
                Rectangle((i + gap, j), 1 - 2 * gap, 1, facecolor=fill, edgecolor="0.5")
            )
            lower.text(i + 0.5, j + 0.5, text, color=ink, ha="center", va="center")
    lower.set(ylim=(tasks + 0.03, -0.03), yticks=np.arange(tasks) + 0.5, yticklabels=data.tasks)
    lower.set_xticks(np.arange(width) + 0.5, [f"$y^{{({i + 1})}}$" for i in range(width)])
    lower.tick_params(length=0)
    for side in lower.spines.values():
        side.set_visible(False)
    return figure


def architecture(network: Network, image: Tensor) -> Figure:
    """The network as a row of boxes, made from its layers and the shapes they give for `image`.

    image: uint8 (1, channels, height, width).
    """
    shapes = [("image", tuple(image.shape[1:]))]
    values = normalise(image)
    with torch.inference_mode():
        for layer in network.eval().trunk:
            if any(True for _ in layer.parameters()):
                shapes.append(("convolution\n3 × 3, ReLU", tuple(layer[0](values).shape[1:])))
            values = layer(values)
    shapes.append(("features", tuple(values.shape[1:])))
    figure, axes = _figure(10.0, 3.4)
    axes.axis("off")
    for i, (name, shape) in enumerate(shapes):
        tall = 1.2 + 1.5 * (shape[1] / shapes[0][1][1] if len(shape) == 3 else 1.0)
        style = {"facecolor": COLOURS[5], "edgecolor": "0.2", "alpha": 0.55}
        axes.add_patch(Rectangle((1.7 * i, -tall / 2), 0.9, tall, **style))
        axes.text(1.7 * i + 0.45, -1.5, name, ha="center", va="top", fontsize=11)
        axes.text(1.7 * i + 0.45, 0, " × ".join(map(str, shape)), ha="center", va="center",
                  rotation=90, fontsize=11)  # fmt: skip
        if i:
            axes.annotate("", (1.7 * i - 0.05, 0), (1.7 * i - 0.75, 0), arrowprops=_ARROW)
    right = 1.7 * len(shapes)
    for j, name in enumerate(network.names):
        y = 1.2 - 2.4 * j / max(1, len(network.names) - 1)
        axes.add_patch(Circle((right + 0.3, y), 0.22, facecolor=COLOURS[4], edgecolor="0.2"))
        axes.text(right + 0.65, y, f"$\\hat y_{{{j + 1}}}$  {name}", va="center", fontsize=12)
        axes.annotate("", (right + 0.08, y), (right - 0.72, 0), arrowprops=_ARROW)
    axes.set(xlim=(-0.2, right + 3.2), ylim=(-2.2, 1.6))
    return figure


_ARROW = {"arrowstyle": "->", "color": "0.3"}


def by_task(
    rows: pd.DataFrame, tasks: Sequence[str], ways: Sequence[str], usual: Sequence[float]
) -> Figure:
    """Each task's accuracy, one series a way, with 95 % intervals over the seeds.

    rows: one row a trained network, with a column for each task. usual: for each task the accuracy
        of always giving the more frequent answer.
    """
    figure, axes = _figure(9.0, 4.4)
    places = np.arange(len(tasks))
    for place, value in zip(places, usual, strict=True):
        label = "always the more frequent answer" if place == 0 else None
        axes.hlines(value, place - 0.4, place + 0.4, color="0.25", linestyle="--", label=label)
    for i, way in enumerate(ways):
        mine = rows[rows["way"] == way]
        mean, low, high = np.array([interval(mine[task]) for task in tasks]).T
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": way, "capsize": 4}
        at = places + 0.16 * (i - (len(ways) - 1) / 2)
        axes.errorbar(at, mean, yerr=[mean - low, high - mean], linestyle="none", **style)
    axes.set_xticks(places, tasks)
    axes.set(ylabel="accuracy")
    axes.legend(loc="best", fontsize=11)
    return figure


def calibration(probability: Tensor, labels: Tensor, tasks: Sequence[str]) -> Figure:
    """How often the answer is 1 among images with about the same probability, a panel a task.

    A bin has a 95 % interval (Wilson 1927). probability: (m, tasks) in [0, 1].
    labels: (m, tasks) in {0, 1}.
    """
    from scipy.stats import binomtest  # here, because it takes half a second

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.6 * len(tasks), 3.2), layout="constrained")
        boxes = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for j, (axes, task) in enumerate(zip(boxes, tasks, strict=True)):
        axes.plot([0, 1], [0, 1], color="0.4", linewidth=1)
        which = (probability[:, j] * 10).long().clamp(max=9)
        for number in which.unique().tolist():
            mine = which == number
            yes, n = int(labels[mine, j].sum()), int(mine.sum())
            low, high = binomtest(yes, n).proportion_ci(method="wilson")
            reach = [[max(yes / n - low, 0)], [max(high - yes / n, 0)]]
            style = {"color": COLOURS[j], "marker": MARKERS[j], "capsize": 3}
            axes.errorbar(float(probability[mine, j].mean()), yes / n, yerr=reach, **style)
        axes.set(title=task, xlabel="probability", xlim=(0, 1), ylim=(0, 1))
    boxes[0].set_ylabel("how often it is 1")
    return figure


def filters(groups: Mapping[str, Tensor], columns: int = 16) -> Figure:
    """First-layer filters, on one scale for all groups.

    Filters of one channel are blue below 0 and red above it; those of three are pictures of the
    colours they look for, grey where they do not care.
    groups: float32 (m, 1 or 3, height, width), a filter each, by title.
    """
    reach = max(float(weights.abs().max()) for weights in groups.values())
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 1.15 * len(groups)), layout="constrained")
        boxes = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axes, (title, weights) in zip(boxes, groups.items(), strict=True):
        pixels = weights.permute(0, 2, 3, 1).numpy()
        if pixels.shape[-1] == 3:
            axes.imshow(_tile(127.5 + 127.5 * pixels / reach, columns) / 255)
        else:
            picture = _tile(pixels, columns, empty=np.nan)[..., 0]
            axes.imshow(picture, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes.set_title(title, loc="left", fontsize=13)
        axes.axis("off")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def _ticks(axes: Axes, values: pd.Series, logarithmic: bool = True) -> None:
    """An x axis whose ticks are the values that were measured."""
    ticks = sorted(set(values))
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def _tile(pictures: np.ndarray, columns: int, empty: float = 255 / 3) -> np.ndarray:
    """Small pictures with a gap of one pixel. pictures: (n, height, width, colours)."""
    n, height, width, colours = pictures.shape
    lines = -(-n // columns)
    size = (lines * (height + 1) - 1, columns * (width + 1) - 1, colours)
    sheet = np.full(size, 255 if colours == 3 else empty, float)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = picture
    return sheet
