"""Figures of numbers: means with their 95 % intervals, maps of gains, matrices of cosines."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mtl_course.figures._style import COLORS, MARKERS, described, draw_series, subplots, text_of
from mtl_course.studies import interval

Tables = Mapping[str, pd.DataFrame]  # columns mean, low and high; by a title or a name
_ABOVE = {"loc": "outside upper center", "ncols": 3, "fontsize": 11, "frameon": False}  # a legend
_PALE = 0.3  # of a cell's color
_SIGNS = {"supported": "▲", "opposite": "▼", "no difference": "=", "cannot tell": "?"}


def curves(
    rows: pd.DataFrame, x: str, ways: Sequence[str], *, score: str | Sequence[str] = "accuracy",
    labels: Mapping[str, str] | None = None, logarithmic: bool = True,
    lines: Mapping[str, tuple[float, str]] | None = None,
) -> Figure:  # fmt: skip
    """Draw the mean of `score` against `x`, one line a way, with 95 % intervals.

    rows: one row a trained network, with columns way, seed, `x` and `score`. A cell of fewer than
        two scores has no interval and is left out; a way with a gap gets no line. score: several
        have a panel each.
    labels: what the axes say, by column. lines: by score, a dashed line: its height and its name.
    """
    labels, lines, scores = labels or {}, lines or {}, [score] if isinstance(score, str) else score
    figure, boxes = subplots(9.0, 5.2, ncols=len(scores))
    apart, text = 0.025 if logarithmic else 0.006 * np.ptp(rows[x]), ""
    for axes, score in zip(boxes, scores, strict=True):
        tables, names = {}, {"xlabel": labels.get(x, x), "ylabel": labels.get(score, score)}
        for way in ways:
            cells = rows[rows["way"] == way].dropna(subset=score).groupby(x)[score]
            table = _intervals({value: cell for value, cell in cells if len(cell) > 1})
            tables[way] = table.rename_axis(x).reset_index()
        text += " {ylabel} against {xlabel}, with 95 % intervals".format(**names)
        if score in lines:
            height, name = lines[score]
            axes.axhline(height, color="0.25", linestyle="--", linewidth=1.4)
            axes.text(rows[x].min(), height, name, va="bottom", ha="left", fontsize=11)
            text += f" and a dashed line at {height:.3f}: {' '.join(name.split())}"
        _along(axes, tables, x, apart, logarithmic, capsize=3)
        axes.set(**names)
        text += f". {_in_words(tables, x, '.3f')}"
    if len(scores) > 1:  # one legend for all panels
        figure.legend(*boxes[0].get_legend_handles_labels(), **_ABOVE)
        for axes in boxes:
            axes.get_legend().remove()
    return described(figure, text)


def gains(
    tables: Tables, x: str, *, xlabel: str, ylabel: str, logarithmic: bool = True,
    ticks: Mapping[object, str] | None = None,
) -> Figure:  # fmt: skip
    """Draw gains, as `studies.gain` returns them, against `x`, with intervals and a line at 0.

    ticks: what stands below values of `x`, in place of the value.
    """
    figure, (axes,) = subplots(9.0, 4.4)
    axes.axhline(0, color="0.25", linewidth=1.2)
    _along(axes, tables, x, 0.04 if logarithmic else 0.03, logarithmic)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if ticks:
        axes.set_xticks([*ticks], ticks.values())
    axes.get_legend().remove()  # above the axes it hides no point
    figure.legend(**_ABOVE | {"ncols": min(3, len(tables))})
    text = f"{ylabel} against {xlabel}, with 95 % intervals and a line at 0."
    return described(figure, f"{text} {_in_words(tables, x)}")


def _in_words(tables: Tables, x: str, form: str = "+.3f") -> str:
    """Return each table's means, with their verdicts if there are any."""
    lines = []
    for name, table in tables.items():
        signs = table["verdict"].map(" ({})".format) if "verdict" in table else [""] * len(table)
        cells = zip(table[x], table["mean"], signs, strict=True)
        means = (f"{mean:{form}} at {text_of(at)}{sign}" for at, mean, sign in cells)
        lines.append(f"{text_of(name)}: {', '.join(means)}")
    return f"{'; '.join(lines)}."


def ladder(
    tables: Tables, kind: str, *, xlabel: str, apart: float = 0, groups: Sequence[str] = ()
) -> Figure:
    """Draw gains of kinds that have no number, one below the other, with intervals and a line at 0.

    tables: as `studies.gain` returns them, by name. kind: their column, in order from the top.
    apart: inches from one kind to the next; 0 leaves room for every interval.
    groups: kinds with which a group begins; a thin line parts it from the kinds above.
    """
    kinds = list(pd.concat([table[kind] for table in tables.values()]).unique())
    figure, (axes,) = subplots(9.0, 1.4 + (apart or max(0.5, 0.2 * len(tables))) * len(kinds))
    axes.axvline(0, color="0.25", linewidth=1.2)
    for first in groups:
        axes.axhline(kinds.index(first) - 0.5, color="0.6", linewidth=0.8)
    for i, (name, table) in enumerate(tables.items()):
        beside = min(0.2, 0.75 / len(tables))  # less than from one kind to the next
        at = table[kind].map(kinds.index) + beside * (i - (len(tables) - 1) / 2)
        draw_series(axes, i, table, at, label=name, linestyle="none")
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set(xlabel=xlabel, ylim=(len(kinds) - 0.5, -0.5))
    figure.legend(**_ABOVE | {"ncols": min(3, len(tables))})
    text = f"{xlabel}, with 95 % intervals and a line at 0."
    return described(figure, f"{text} {_in_words(tables, kind)}")


def by_task(
    rows: pd.DataFrame, tasks: Sequence[str], ways: Sequence[str], usual: Sequence[float]
) -> Figure:
    """Draw each task's accuracy, one series a way, with 95 % intervals over the seeds.

    rows: one row a trained network, a column a task. usual: accuracy of the more frequent answer.
    """
    figure, (axes,) = subplots(9.0, 4.4)
    at = np.arange(len(tasks))
    style = {"color": "0.25", "linestyle": "--", "label": "always the more frequent answer"}
    axes.hlines(np.asarray(usual), at - 0.4, at + 0.4, **style)
    for i, way in enumerate(ways):
        table = _intervals(rows.loc[rows["way"] == way, list(tasks)])
        beside = at + 0.16 * (i - (len(ways) - 1) / 2)
        draw_series(axes, i, beside, table, label=way, linestyle="none")
    axes.set(xticks=at, xticklabels=tasks, ylabel="accuracy")
    axes.legend(loc="best", fontsize=11)
    means = rows.groupby("way")[list(tasks)].mean().loc[list(ways)]
    means.loc["always the more frequent answer"] = [float(share) for share in usual]
    lines = (f"{way}: {', '.join(map(str, row))}" for way, *row in means.round(2).itertuples())
    return described(
        figure, f"Accuracy on {', '.join(tasks)}, with 95 % intervals. {'; '.join(lines)}."
    )


def points(
    panels: Mapping[str, pd.DataFrame], x: str, y: str, kind: str, *, labels: Mapping[str, str]
) -> Figure:
    """Draw single networks as points of two scores, side by side on one scale.

    panels: by title, one row a network. kind: the column that tells the series apart.
    labels: what axes and legend say, by column.
    """
    figure, boxes = subplots(4.8 * len(panels), 4.4, ncols=len(panels), sharex=True, sharey=True)
    text = f"Each network's {labels.get(y, y)} against its {labels.get(x, x)}, a panel each."
    for axes, (title, rows) in zip(boxes, panels.items(), strict=True):
        for i, (name, mine) in enumerate(rows.groupby(kind)):
            line = {"color": COLORS[i], "marker": MARKERS[i], "linestyle": "none"}
            axes.plot(mine[x], mine[y], label=text_of(name), **line)
        axes.set(title=title, xlabel=labels.get(x, x))
        axes.yaxis.set_tick_params(labelleft=True)
        ranges = (f"{labels.get(k, k)} {rows[k].min():.2f} to {rows[k].max():.2f}" for k in (x, y))
        text += f" {title}: {len(rows)} networks, {', '.join(ranges)}."
    boxes[0].set_ylabel(labels.get(y, y))
    boxes[-1].legend(title=labels.get(kind, kind), fontsize=11, loc="lower left")
    return described(figure, text)


def dots(panels: Tables, *, chosen: str, seeds: Sequence, xlabel: str, ylabel: str) -> Figure:
    """Draw mean gains with 95 % intervals along a key of a study, and the seeds behind one of them.

    panels: by title, one row a value of the key (the index, as text).
    chosen: the value, in the first panel, whose single gains are drawn, `seeds`.
    """
    n, most = len(panels), max(map(len, panels.values()))
    figure, boxes = subplots(max(6.4, 1.05 * most) * n, 3.8, ncols=n, layout="none", sharey=True)
    lines = 1 + max(name.count(" ") for table in panels.values() for name in table.index)
    bottom = max(0.22, (0.42 + 0.17 * lines) / 3.8)  # room for a tick of so many lines
    figure.subplots_adjust(0.16 / n, bottom, 0.99, 0.91, wspace=0.05)
    for axes, (title, table) in zip(boxes, panels.items(), strict=True):
        axes.axhline(0, color="0.25", linewidth=1.2)
        numbers = table.index.str.replace(",", "").str.isdigit().all()
        line = {"linestyle": "-" if numbers else "none", "linewidth": 1.4, "elinewidth": 1.4}
        draw_series(axes, 0, range(len(table)), table, **line)
        names = table.index.str.replace(" ", "\n")
        axes.set_xticks(range(len(table)), names, fontsize=11, linespacing=0.95)
        axes.set(xlabel=xlabel, xlim=(-0.5, len(table) - 0.5))
        axes.set_title(title, fontsize=13)
    axes, k = boxes[0], next(iter(panels.values())).index.get_loc(chosen)
    axes.set_ylabel(ylabel)
    axes.axvspan(k - 0.45, k + 0.45, color=COLORS[5], alpha=0.2, linewidth=0)
    aside = k + 0.28 * np.linspace(-1, 1, len(seeds))
    axes.plot(aside, seeds, "o", markersize=5, color="0.35")
    return figure


def gain_map(
    table: pd.DataFrame, x: str, y: str, *, labels: Mapping[str, str], framed: Sequence[tuple] = ()
) -> Figure:
    """Draw a map of gains: each cell says its mean, half the width of its interval, its verdict.

    ▲ supported, ▼ opposite, = no difference, ? cannot tell; the last two are pale, whatever their
    mean. Numbers grow to the right and upwards; names stand as they come, from the left and from
    the top. framed: cells with a frame, (x, y).
    table: as `studies.gain` returns it, one row a cell. labels: what the axes say, by column.
    """
    means = table.pivot(index=y, columns=x, values="mean")
    if named := means.columns.dtype.kind not in "if":
        up, right = (list(table[name].unique()) for name in (y, x))
        right = up if set(up) == set(right) else right
        means = means.reindex(columns=right, index=up[::-1])
    rows, columns = means.shape
    figure, (axes,) = subplots(2.2 + 1.15 * columns, 1.4 + 0.8 * rows, grid=False)
    reach = np.nanmax(np.abs(means.to_numpy()))
    decided = table["verdict"].isin(["supported", "opposite"])
    shades = table.assign(shade=np.where(decided, 1.0, _PALE)).pivot(index=y, columns=x)["shade"]
    scale = {"vmin": -reach, "vmax": reach, "aspect": "auto", "origin": "lower"}
    shades = shades.reindex_like(means).fillna(1.0)
    image = axes.imshow(means, "PuOr_r", alpha=shades.to_numpy(), **scale)
    places = {(b, a): (j, i) for i, a in enumerate(means.index) for j, b in enumerate(means)}
    for cell in table.to_dict("records"):
        sign, half = _SIGNS[cell["verdict"]], (cell["high"] - cell["low"]) / 2
        text = f"{sign} {cell['mean']:+.3f}\n± {half:.3f}"
        share = cell["mean"] / reach if cell["verdict"] in ("supported", "opposite") else 0
        _write(axes, places[cell[x], cell[y]], text, share, fontsize=11)
    for cell in framed:
        corner, style = np.subtract(places[cell], 0.47), {"edgecolor": "0.1", "linewidth": 2.5}
        axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, **style))
    axes.set_xticks(range(columns), map(text_of, means.columns), rotation=30 * named)
    axes.set_yticks(range(rows), map(text_of, means.index))
    axes.set(xlabel=labels.get(x, x), ylabel=labels.get(y, y))
    figure.colorbar(image, label=labels.get("mean", "gain"))
    text = f"A map of gains against {labels.get(x, x)}, for each of: {labels.get(y, y)}."
    return described(figure, f"{text} {_in_words(dict(iter(table.groupby(y, sort=False))), x)}")


def matrices(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw square matrices of cosines side by side, on one scale, each entry written out.

    panels: by title; all have the same rows, whose names stand once.
    """
    names, n, means = next(iter(panels.values())).index, len(panels), {}
    figure, boxes = subplots(2.6 + 2.1 * n, 2.9, ncols=n, grid=False, sharey=True)
    for axes, (title, matrix) in zip(boxes, panels.items(), strict=True):
        image = axes.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1)
        means[title] = np.round(matrix.to_numpy()[~np.eye(len(names), dtype=bool)], 2)
        for (i, j), value in np.ndenumerate(matrix.to_numpy()):
            _write(axes, (j, i), f"{value:{'.1f' if i == j else '+.2f'}}", value, fontsize=10)
        axes.set_title(title, fontsize=13)
        axes.set_xticks(range(len(names)), range(1, len(names) + 1))
    boxes[0].set_yticks(range(len(names)), [f"{k}  {n}" for k, n in enumerate(names, start=1)])
    figure.colorbar(image, ax=boxes, label="cosine", shrink=0.9)
    words = (f"{title}: {v.min():+.2f} to {v.max():+.2f}" for title, v in means.items())
    text = f"Cosines of {', '.join(names)} with each other. Between two of them, "
    return described(figure, f"{text}{'; '.join(words)}.")


def _write(axes: Axes, at: tuple, text: str, share: float, fontsize: int) -> None:
    """Write into a cell, in white where its color is dark. share: of the scale, −1 to 1."""
    ink = "white" if abs(share) > 0.7 else "0.1"
    axes.text(*at, text, ha="center", va="center", fontsize=fontsize, color=ink)


def _intervals(cells: Mapping[object, pd.Series]) -> pd.DataFrame:
    rows = [interval(cell) for _, cell in cells.items()]
    return pd.DataFrame(rows, list(cells), ["mean", "low", "high"])


def _along(axes: Axes, tables: Tables, x: str, apart: float, logarithmic: bool, **style) -> None:
    """Draw series along their column `x`, side by side: `apart`, or by this share of x."""
    ticks = sorted(set(pd.concat(tables.values())[x]))
    for i, (name, table) in enumerate(tables.items()):
        step = apart * (i - (len(tables) - 1) / 2)
        at = table[x] * (1 + step) if logarithmic else table[x] + step
        inside = {tick for tick in ticks if table[x].min() < tick < table[x].max()}
        gaps = {} if inside <= set(table[x]) else {"linestyle": "none"}  # nothing measured there
        draw_series(axes, i, at, table, label=name, **style, **gaps)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(ticks, map(text_of, ticks))
    axes.minorticks_off()
    axes.legend()
