"""Figures of images, labels, filters, networks, and of gradients as directions."""

import copy
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor, nn

from mtl_course.datasets import UNKNOWN, Dataset, normalise
from mtl_course.figures._style import COLORS, array, described, subplots
from mtl_course.networks import Network, blocks

# Text, fill and color of the text, by label.
_CELLS = {0: ("0", "white", "0.25"), 1: ("1", COLORS[0], "white"), UNKNOWN: ("?", COLORS[4], "0")}
_DASHES = ("-", "--", ":", "-.")
_ARROW = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}


def sheet(groups: Mapping[str, Tensor], columns: int = 16) -> Figure:
    """Draw rows of small images, under a title each.

    groups: uint8 (m, channels, height, width) by title; one channel is ink on white paper.
    """
    lines = [-(-len(images) // columns) for images in groups.values()]
    height = 10.0 / columns * sum(lines) + (0.5 * len(groups) if any(groups) else 0)
    figure, boxes = subplots(9.0, height, nrows=len(groups), height_ratios=lines)
    for axes, (title, images) in zip(boxes, groups.items(), strict=True):
        empty = 85 if images.shape[1] == 1 else 255
        _tile(axes, title, array(images), columns, empty, cmap="gray_r", vmin=0, vmax=255)
    return described(figure, f"Rows of small images. {_listed(groups, 'images')}.")


def _listed(groups: Mapping[str, Tensor], what: str) -> str:
    return "; ".join(f"{title or 'all'}: {len(group)} {what}" for title, group in groups.items())


def _tile(axes: Axes, title: str, images: np.ndarray, columns: int, empty: float, **scale) -> None:
    """Draw small images, (n, channels, height, width), in lines with gaps of one pixel."""
    n, channels, height, width = images.shape
    padded = np.pad(images, [(0, -n % columns), (0, 0), (0, 1), (0, 1)], constant_values=empty)
    tiles = padded.reshape(-1, columns, channels, height + 1, width + 1).transpose(0, 3, 1, 4, 2)
    tiled = tiles.reshape(-1, columns * (width + 1), channels)[:-1, :-1]
    axes.imshow(tiled.squeeze(2) if channels == 1 else tiled, **scale)
    axes.set_title(title, loc="left", fontsize=13)
    axes.axis("off")


def answers(
    data: Dataset,
    notes: Sequence[Sequence[str]] | None = None,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Draw the first eight images, and below each its column of Y, (tasks, m) as in the lecture.

    Four or fewer are drawn larger, so that a reader can check their labels.

    notes: two short lines for each entry, a row an image; they stand below its label.
    titles: what stands below each column in place of its number.
    """
    images, labels = data.images[:8], data.labels[:8].T.tolist()
    width, tasks = len(images), len(data.tasks)
    cell, middle = (0.45, 0.5) if notes is None else (0.9, 0.22)  # its height; where its label is
    side = 0.95 if width > 4 else 1.9  # inches
    settings = {"nrows": 2, "sharex": True, "height_ratios": [side, cell * tasks], "grid": False}
    figure, (upper, lower) = subplots(1.6 + side * width, 0.15 + side + cell * tasks, **settings)
    gap = 0.04
    for i, image in enumerate(images):
        pixels = array(image.permute(1, 2, 0))
        upper.imshow(pixels, extent=(i + gap, i + 1 - gap, 0, 1), aspect="auto")
    upper.set(xlim=(0, width), ylim=(0, 1))
    upper.axis("off")
    for (j, i), label in np.ndenumerate(labels):
        text, fill, ink = _CELLS[label]
        lower.add_patch(Rectangle((i + gap, j), 1 - 2 * gap, 1, facecolor=fill, edgecolor="0.5"))
        style = {"color": ink, "ha": "center", "va": "center"}
        lower.text(i + 0.5, j + middle, text, fontsize=13, **style)
        if notes is not None:
            lower.text(i + 0.5, j + 0.67, notes[i][j], fontsize=12, linespacing=1.1, **style)
    lower.set(ylim=(tasks + 0.03, -0.03), yticks=np.arange(tasks) + 0.5, yticklabels=data.tasks)
    titles = [f"$y^{{({i + 1})}}$" for i in range(width)] if titles is None else titles
    lower.set_xticks(np.arange(width) + 0.5, titles)
    lower.tick_params(length=0)
    lower.spines[:].set_visible(False)
    rows = zip(data.tasks, labels, strict=True)
    lines = "; ".join(f"{task} {' '.join(_CELLS[y][0] for y in row)}" for task, row in rows)
    text = f"{width} images, and below each its column of Y. From left to right: {lines}."
    return described(figure, text)


def filters(groups: Mapping[str, Tensor]) -> Figure:
    """Draw first-layer filters, on one scale for all groups.

    Filters of one channel are blue below 0 and red above it; those of three are pictures of the
    colors they look for, gray where they do not care.
    groups: floating point (m, 1 or 3, height, width), a filter each, by title.
    Raises: ValueError if a group has another shape, as the weights of a linear layer have.
    """
    for title, weights in groups.items():
        if weights.ndim != 4 or weights.shape[1] not in (1, 3):
            wanted = "weights of first convolutions, (m, 1 or 3, height, width)"
            raise ValueError(f"groups must hold the {wanted}; {title!r} is {tuple(weights.shape)}.")
    pictures = {title: array(weights) for title, weights in groups.items()}
    reach = max(float(np.abs(weights).max()) for weights in pictures.values())
    figure, boxes = subplots(9.0, 1.15 * len(groups), nrows=len(groups))
    for axes, (title, weights) in zip(boxes, pictures.items(), strict=True):
        ink = weights.shape[1] == 1
        tiles, empty = (weights, np.nan) if ink else ((1 + weights / reach) / 2, 1)
        _tile(axes, title, tiles, 16, empty, cmap="RdBu_r", vmin=-reach, vmax=reach)
    text = "Filters of the first layer, as small pictures of what each looks for."
    return described(figure, f"{text} {_listed(pictures, 'filters')}.")


def architecture(network: Network, image: Tensor) -> Figure:
    """Draw a network as a row of boxes, from its layers and the shapes of their output for `image`.

    image: uint8 (1, channels, height, width).
    Raises: ValueError for a trunk that is not one row of layers, as that of `networks.separate`.
    """
    shapes = [("image", tuple(image.shape[1:]))]
    network = copy.deepcopy(network).cpu().eval()  # the caller's stays where and as it is
    values, with_weights = normalise(image.cpu()), blocks(network)
    with torch.inference_mode():
        for layer in network.trunk:
            if layer in with_weights:
                # The layer that reads the picture: a pool behind it would have made it smaller.
                first = next(p for p in layer.modules() if list(p.parameters(recurse=False)))
                shapes.append((_name(first, layer), tuple(first(values).shape[1:])))
            values = layer(values)
    shapes.append(("features", tuple(values.shape[1:])))
    figure, (axes,) = subplots(10.0, 3.4)
    axes.axis("off")
    arrow, style = {"arrowstyle": "->", "color": "0.3"}, {"ha": "center", "fontsize": 11}
    for i, (name, shape) in enumerate(shapes):
        tall = 1.2 + 1.5 * (shape[1] / shapes[0][1][1] if len(shape) == 3 else 1.0)
        fill = {"facecolor": COLORS[5], "edgecolor": "0.2", "alpha": 0.55}
        axes.add_patch(Rectangle((1.7 * i, -tall / 2), 0.9, tall, **fill))
        axes.text(1.7 * i + 0.45, -1.5, name, va="top", **style)
        axes.text(1.7 * i + 0.45, 0, " × ".join(map(str, shape)), va="center", rotation=90, **style)
        if i:
            axes.annotate("", (1.7 * i - 0.05, 0), (1.7 * i - 0.75, 0), arrowprops=arrow)
    right = 1.7 * len(shapes)
    for j, name in enumerate(network.names):
        y = 1.2 - 2.4 * j / max(1, len(network.names) - 1)
        axes.add_patch(Circle((right + 0.3, y), 0.22, facecolor=COLORS[4], edgecolor="0.2"))
        axes.text(right + 0.65, y, f"$\\hat y_{{{j + 1}}}$  {name}", va="center", fontsize=12)
        axes.annotate("", (right + 0.08, y), (right - 0.72, 0), arrowprops=arrow)
    axes.set(xlim=(-0.2, right + 3.2), ylim=(-2.2, 1.6))
    parts = ", then ".join(f"{' '.join(name.split())} {shape}" for name, shape in shapes)
    outputs = ", ".join(network.names)
    return described(figure, f"A network from left to right: {parts}; an output each: {outputs}.")


def _name(first: nn.Module, layer: nn.Module) -> str:
    kind, parts = "linear" if isinstance(first, nn.Linear) else type(first).__name__, []
    if isinstance(first, nn.Conv2d):
        kind, parts = "convolution", ["{} × {}".format(*first.kernel_size)]
    if any(isinstance(part, nn.ReLU) for part in layer.modules()):
        parts.append("ReLU")
    return f"{kind}\n{', '.join(parts)}".strip()


class Part(NamedTuple):
    """A part of a network, for `surgery`. weights: their number."""

    name: str
    origin: Literal["from A", "random"]
    state: Literal["trains", "frozen", "frozen, then trains"]
    weights: int


def surgery(rows: Mapping[str, Sequence[Part]]) -> Figure:
    """Draw networks as rows of boxes: where each part's weights come from, whether they train.

    A part from A has a full strip at its left, a random one a dotted strip; a frozen one has a
    hatched frame. rows: by title, the parts of each network, from the picture to the answer.
    """
    high, edges = 1.62 * len(rows), {"left": 0, "bottom": 0, "right": 1, "top": 1}
    line = {"edgecolor": "0.2", "linewidth": 1}
    fills = {"from A": {"facecolor": COLORS[0]}, "random": {"fill": False, "hatch": "oo"}}
    figure, (axes,) = subplots(10.0, high, layout="none", gridspec_kw=edges)
    axes.set(xlim=(0, 10), ylim=(high, 0))  # inches
    axes.axis("off")
    for i, (title, parts) in enumerate(rows.items()):
        top, wide = 1.62 * i + 0.42, 8.3 / len(parts)
        axes.text(0.1, top - 0.12, title, va="baseline", fontsize=12)
        axes.text(0.1, top + 0.55, "image", va="center", fontsize=11)
        for k, part in enumerate(parts):
            left, width = 0.9 + wide * k, wide - 0.3
            axes.text(left - 0.1, top + 0.55, "→", ha="center", va="center", fontsize=13)
            if "frozen" in part.state:
                frame = (left + 0.06, top), width, 1.1
                axes.add_patch(Rectangle(*frame, hatch="////", facecolor="white", **line))
            corner = (left + 0.15, top + 0.09)
            axes.add_patch(Rectangle(corner, width - 0.18, 0.92, facecolor="white", **line))
            axes.add_patch(Rectangle(corner, 0.16, 0.92, **fills[part.origin], **line))
            text = f"{part.name}\n{part.origin}\n{part.state}\n{part.weights:,} weights"
            style = {"va": "center", "fontsize": 10.5, "linespacing": 1.25}
            axes.text(left + 0.38, top + 0.55, text, **style)
        axes.text(9.1, top + 0.55, "→", ha="center", va="center", fontsize=13)
        axes.text(9.3, top + 0.55, "logits", va="center", fontsize=11)
    return figure


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
        for j, g in enumerate(tasks, start=1):
            label = {"color": COLORS[j - 1], "ha": "center", "va": "center"}
            axes.annotate(f"$g_{j}$", g, 10 * g / np.linalg.norm(g), textcoords="offset points",
                          **label)  # fmt: skip
        axes.set(title=name, xlim=across, ylim=up, aspect="equal")
        axes.set(xticks=[0], yticks=[0], xticklabels=[], yticklabels=[])
    cosine = tasks[0] @ tasks[1] / np.linalg.norm(tasks, axis=1).prod()
    words = [
        f"{name} ({x:.2f}, {y:.2f}){' opposes a task' * bool((tasks @ (x, y) < -1e-3).any())}"
        for name, (x, y) in ways.items()
    ]
    text = f"Two gradients with cosine {cosine:.2f}, dashed and dotted, the cone that opposes"
    return described(figure, f"{text} neither, and each way to combine them: {', '.join(words)}.")


def compass(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw a direction as a needle that points up, and each task's gradient at its angle to it.

    It opposes the gradients in the shaded half. Left or right only makes room for the labels.
    panels: by title, one row a task: angle in degrees (nan where there is none), and length,
        relative to the longest. Where no task has an angle there is no needle.
    """
    m, n = -(-len(panels) // 3), min(3, len(panels))
    figure, boxes = subplots(4.2 * n, 2.9 * m, nrows=m, ncols=n, layout="none")
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
