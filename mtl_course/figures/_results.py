"""What was measured: curves, gains, maps, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from mtl_course.figures._style import COLOURS, MARKERS, STYLE, axes_of, ticks
from mtl_course.studies import interval


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
    figure, axes = axes_of(9.0, 5.2)
    for i, way in enumerate(ways):
        mine = rows[rows["way"] == way].dropna(subset=score)
        mine = mine.groupby(x).filter(lambda cell: len(cell) > 1)
        table = mine.groupby(x)[score].apply(interval)
        mean, low, high = np.array(table.tolist()).T
        at, step = table.index.to_numpy(), i - (len(ways) - 1) / 2  # side by side
        at = at * (1 + 0.025 * step) if logarithmic else at + 0.006 * step * np.ptp(rows[x])
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": way, "capsize": 3}
        reach = _reach(mean, low, high)
        axes.errorbar(at, mean, yerr=reach, **style)
    ticks(axes, rows.loc[rows["way"].isin(ways), x], logarithmic)
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
    figure, axes = axes_of(9.0, 4.4)
    axes.axhline(0, color="0.25", linewidth=1.2)
    for i, (name, table) in enumerate(tables.items()):
        step = i - (len(tables) - 1) / 2  # side by side
        at = table[x] * (1 + 0.04 * step) if logarithmic else table[x] + 0.03 * step
        reach = _reach(table["mean"], table["low"], table["high"])
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": name, "capsize": 4}
        axes.errorbar(at, table["mean"], yerr=reach, **style)
    ticks(axes, pd.concat([table[x] for table in tables.values()]), logarithmic)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return figure


def _reach(mean: pd.Series, low: pd.Series, high: pd.Series) -> list[list[float]]:
    """How far intervals go to each side, as errorbar takes it."""
    return [(mean - low).tolist(), (high - mean).tolist()]


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

    ▲ supported, ▼ opposite, = no difference, ? cannot tell. Numbers grow to the right and upwards;
    names stand as they come, from the left and from the top.
    table: what `studies.gain` returned, one row a cell. labels: what the axes say, by column.
    framed: (x, y) of cells to be framed, such as those that were named before the run.
    """
    means = table.pivot(index=y, columns=x, values="mean")
    if named := means.columns.dtype.kind not in "if":
        up, right = (list(dict.fromkeys(table[name])) for name in (y, x))
        right = up if set(up) == set(right) else right
        means = means.reindex(columns=right, index=up[::-1])
    places = {name: {v: i for i, v in enumerate(means.axes[k])} for k, name in enumerate((y, x))}
    with mpl.rc_context(STYLE | {"axes.grid": False}):
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
    axes.set_xticks(range(means.shape[1]), map(_told, means.columns), rotation=30 * named)
    axes.set_yticks(range(means.shape[0]), map(_told, means.index))
    axes.set(xlabel=labels.get(x, x), ylabel=labels.get(y, y))
    figure.colorbar(image, label=labels.get("mean", "gain"))
    return figure


def _told(value: object) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def ladder(tables: Mapping[str, pd.DataFrame], kind: str, *, xlabel: str) -> Figure:
    """Gains of kinds that have no number, one below the other, with intervals and a line at 0.

    tables: what `studies.gain` returned, by the name of the series. kind: the column that names
        the kinds; the first table gives their order, from the top.
    """
    kinds = list(dict.fromkeys(pd.concat([table[kind] for table in tables.values()])))
    figure, axes = axes_of(9.0, 1.4 + max(0.5, 0.2 * len(tables)) * len(kinds))
    axes.axvline(0, color="0.25", linewidth=1.2)
    for i, (name, table) in enumerate(tables.items()):
        at = table[kind].map(kinds.index) + 0.2 * (i - (len(tables) - 1) / 2)
        reach = _reach(table["mean"], table["low"], table["high"])
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": name, "capsize": 4}
        axes.errorbar(table["mean"], at, xerr=reach, linestyle="none", **style)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set(xlabel=xlabel, ylim=(len(kinds) - 0.5, -0.5))
    # Above the axes: within them it would hide an interval.
    figure.legend(loc="outside upper center", ncols=min(3, len(tables)), fontsize=11,
                  frameon=False)  # fmt: skip
    return figure


def by_task(
    rows: pd.DataFrame, tasks: Sequence[str], ways: Sequence[str], usual: Sequence[float]
) -> Figure:
    """Each task's accuracy, one series a way, with 95 % intervals over the seeds.

    rows: one row a trained network, with a column for each task. usual: for each task the accuracy
        of always giving the more frequent answer.
    """
    figure, axes = axes_of(9.0, 4.4)
    places = np.arange(len(tasks))
    for place, value in zip(places, usual, strict=True):
        label = "always the more frequent answer" if place == 0 else None
        axes.hlines(value, place - 0.4, place + 0.4, color="0.25", linestyle="--", label=label)
    for i, way in enumerate(ways):
        mine = rows[rows["way"] == way]
        mean, low, high = np.array([interval(mine[task]) for task in tasks]).T
        style = {"color": COLOURS[i], "marker": MARKERS[i], "label": way, "capsize": 4}
        at = places + 0.16 * (i - (len(ways) - 1) / 2)
        axes.errorbar(at, mean, yerr=_reach(mean, low, high), linestyle="none", **style)
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

    probability, labels = probability.detach().cpu(), labels.cpu()
    probability = probability.to(torch.promote_types(probability.dtype, torch.float32))

    with mpl.rc_context(STYLE):
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


def history(history: pd.DataFrame, window: int = 25) -> Figure:
    """The loss of every step, faint, and its running mean over `window` steps.

    With tasks there is a line for each task's part of the loss.
    """
    figure, axes = axes_of(7.5, 3.4)
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


def matrices(panels: Mapping[str, pd.DataFrame], *, label: str) -> Figure:
    """Square matrices side by side on one scale from −1 to 1, each entry written out.

    panels: by title; all have the same rows, whose names stand once, numbered. label: what the
        colours say.
    """
    names = list(next(iter(panels.values())).index)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(2.6 + 2.1 * len(panels), 2.9), layout="constrained")
        boxes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, matrix) in zip(boxes, panels.items(), strict=True):
        image = axes.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1)
        for (i, j), value in np.ndenumerate(matrix.to_numpy()):
            ink = "white" if abs(value) > 0.7 else "0.1"
            text = f"{value:.1f}" if i == j else f"{value:+.2f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=10, color=ink)
        axes.set_title(title, fontsize=13)
        axes.set_xticks(range(len(names)), range(1, len(names) + 1))
    boxes[0].set_yticks(range(len(names)), [f"{k}  {n}" for k, n in enumerate(names, start=1)])
    figure.colorbar(image, ax=boxes, label=label, shrink=0.9)
    return figure


def crosses(
    series: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    *,
    xlabel: str,
    ylabel: str,
    joined: bool = False,
    named: bool = False,
) -> Figure:
    """Points with a 95 % interval to both sides and one up and down.

    series: by name, two tables of one index with columns mean, low and high: what is drawn along
        x, and what along y. joined: a line goes from point to point. named: each says its index.
    """
    figure, axes = axes_of(8.0, 5.6)
    for i, (name, both) in enumerate(series.items()):
        reach = [[t["mean"] - t["low"], t["high"] - t["mean"]] for t in both]
        at = [t["mean"] for t in both]
        style = {"color": COLOURS[i], "marker": MARKERS[i], "capsize": 2, "label": name}
        line = {"linestyle": "-" if joined else "none", "elinewidth": 1.2}
        axes.errorbar(*at, xerr=reach[0], yerr=reach[1], **style, **line)
        for k, text in enumerate(both[0].index if named else ()):
            offset = {"xytext": (7, 7 if k % 2 else -15), "textcoords": "offset points"}
            axes.annotate(_told(text), (at[0].iloc[k], at[1].iloc[k]), fontsize=11, **offset)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if len(series) > 1:
        axes.legend(fontsize=11)
    return figure


def arrows(tasks: np.ndarray, ways: Mapping[str, Sequence[float]]) -> Figure:
    """Two tasks' gradients in the plane, and where each way to combine them goes, a panel a way.

    tasks: (2, 2), a gradient a row. The shaded cone holds the directions that oppose neither task.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.5 * len(ways), 3.0), layout="constrained")
        boxes = figure.subplots(1, len(ways), sharex=True, sharey=True, squeeze=False)[0]
    ends = np.vstack([np.zeros(2), tasks, *ways.values()])
    pad = 0.15 * np.abs(ends).max()
    across, up = zip(ends.min(axis=0) - pad, ends.max(axis=0) + pad, strict=True)
    x, y = np.meshgrid(np.linspace(*across, 200), np.linspace(*up, 200))
    inside = np.all([x * g[0] + y * g[1] >= 0 for g in tasks], axis=0)
    for axes, (name, way) in zip(boxes, ways.items(), strict=True):
        axes.contourf(x, y, inside, levels=[0.5, 1.5], colors=[COLOURS[5]], alpha=0.25)
        for vector, colour, style in (
            (tasks[0], COLOURS[0], "--"), (tasks[1], COLOURS[1], ":"), (way, COLOURS[6], "-"),
        ):  # fmt: skip
            arrow = {"arrowstyle": "-|>", "color": colour, "linestyle": style, "linewidth": 2.2}
            axes.annotate("", vector, (0, 0), arrowprops=arrow | {"shrinkA": 0, "shrinkB": 0})
        axes.set(title=name, xlim=across, ylim=up, aspect="equal")
        axes.set(xticks=[0], yticks=[0], xticklabels=[], yticklabels=[])
    return figure


def dots(
    panels: Mapping[str, pd.DataFrame],
    *,
    chosen: str,
    seeds: Sequence[float] = (),
    here: Sequence[float] = (),
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Mean gains with their 95 % intervals along a dial, and the ten dots behind one of them.

    panels: by title, one row a place on the dial (the index, as text), with mean, low and high.
    chosen: the place, in the first panel, whose single seeds are drawn: those stored, `seeds`, and
        those that were trained in front of the reader, `here`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4 * len(panels), 3.8))
        boxes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(0.16 / len(panels), 0.22, 0.99, 0.91, wspace=0.05)
    for axes, (title, table) in zip(boxes, panels.items(), strict=True):
        axes.axhline(0, color="0.25", linewidth=1.2)
        reach = _reach(table["mean"], table["low"], table["high"])
        numbers = table.index.str.replace(",", "").str.isdigit().all()
        style = {"color": COLOURS[0], "marker": MARKERS[0], "capsize": 4, "elinewidth": 1.4}
        style |= {"linestyle": "-" if numbers else "none", "linewidth": 1.4}
        axes.errorbar(range(len(table)), table["mean"], yerr=reach, **style)
        names = table.index.str.replace(" ", "\n")
        axes.set_xticks(range(len(table)), names, fontsize=11, linespacing=0.95)
        axes.set_xlabel(xlabel)
        axes.set_xlim(-0.5, len(table) - 0.5)
        axes.set_title(title, fontsize=13)
    place = list(next(iter(panels.values())).index).index(chosen)
    boxes[0].axvspan(place - 0.45, place + 0.45, color=COLOURS[5], alpha=0.2, linewidth=0)
    aside = place + 0.28 * np.linspace(-1, 1, len(seeds))
    boxes[0].plot(aside, seeds, linestyle="none", marker="o", markersize=5, color="0.35")
    style = {"linestyle": "none", "marker": MARKERS[3], "color": COLOURS[1], "markersize": 8}
    boxes[0].plot([place + 0.2] * len(here), here, **style)
    boxes[0].set_ylabel(ylabel)
    return figure


def compass(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Where a direction goes (the needle, up) and at what angle to it each task's gradient lies.

    The lower half is shaded: the direction opposes those that lie there. Arrows go to either side
    in turn, for room alone.
    panels: by title, one row a task: angle in degrees (nan where there is none), and length,
        relative to the longest. Where no task has an angle there is no needle.
    """
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * columns, 2.9 * lines))
        boxes = figure.subplots(lines, columns, squeeze=False).flatten()
    figure.subplots_adjust(0, 0.01, 1, 1 - 0.11 / lines, wspace=0.02, hspace=0.15)
    lower = np.linspace(np.pi, 2 * np.pi, 60)
    for axes in boxes:
        axes.set(xlim=(-2.1, 2.1), ylim=(-1.1, 1.3), aspect="equal")
        axes.axis("off")
    for axes, (title, table) in zip(boxes, panels.items(), strict=False):
        axes.fill(np.cos(lower), np.sin(lower), color=COLOURS[4], alpha=0.25, linewidth=0)
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="0.4"))
        axes.text(0, -0.8, "opposed:\nits loss rises", ha="center", fontsize=11)
        met = table.dropna().sort_values("angle")
        if len(met):
            needle = {"arrowstyle": "-|>", "color": COLOURS[6], "linewidth": 3}
            axes.annotate("", (0, 1), (0, 0), arrowprops=needle | {"shrinkA": 0, "shrinkB": 0})
        heights = [_apart(1.08 * np.cos(np.radians(met["angle"].to_numpy()[k::2]))) for k in (0, 1)]
        for place, (task, row) in enumerate(met.iterrows()):
            number = list(table.index).index(task)
            turn = np.radians(row["angle"]) * (1 if place % 2 else -1)
            end = row["length"] * np.array([np.sin(turn), np.cos(turn)])
            line = {"color": COLOURS[number], "linestyle": _DASHES[number % len(_DASHES)]}
            axes.plot([0, np.sin(turn)], [0, np.cos(turn)], alpha=0.45, linewidth=1, **line)
            arrow = {"arrowstyle": "-|>", "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0, **line}
            axes.annotate("", end, (0, 0), arrowprops=arrow)
            up = heights[place % 2][place // 2]
            across = np.copysign(_beside(up), turn)
            text = f"{task}\n{row['angle']:.0f}°, {row['length']:.2f}"
            side = "left" if place % 2 else "right"
            axes.text(across, up, text, ha=side, va="center", fontsize=11, linespacing=1.1)
        axes.set_title(title, fontsize=13)
    return figure


def _apart(heights: np.ndarray, room: float = 0.38, lowest: float = -0.9) -> np.ndarray:
    """Labels' heights, falling, moved so that each has room below the one before it."""
    for place in range(1, len(heights)):
        heights[place] = min(heights[place], heights[place - 1] - room)
    for place in reversed(range(len(heights))):
        floor = lowest + room * (len(heights) - 1 - place)
        heights[place] = max(heights[place], floor)
    return heights


def _beside(height: float) -> float:
    """How far out a label at this height keeps clear of the circle."""
    return 1.08 * np.sqrt(1 - (max(abs(height) - 0.19, 0) / 1.08) ** 2)


_DASHES = ("-", "--", ":", "-.")
