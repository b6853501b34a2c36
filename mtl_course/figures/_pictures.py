"""What is looked at: images, answers, networks, filters."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor, nn

from mtl_course.datasets import Dataset, normalise
from mtl_course.figures._style import COLOURS, STYLE, array, axes_of
from mtl_course.networks import Network, blocks


def sheet(groups: Mapping[str, Tensor], columns: int = 16) -> Figure:
    """Rows of small pictures under a title each.

    groups: uint8 (m, channels, height, width) by title; one channel is ink, dark on white paper,
        three are red, green and blue.
    """
    heights = [-(-len(images) // columns) for images in groups.values()]
    with mpl.rc_context(STYLE):
        height = 10.0 / columns * sum(heights) + (0.5 * len(groups) if any(groups) else 0)
        figure = Figure(figsize=(9.0, height), layout="constrained")
        boxes = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (title, images) in zip(boxes, groups.items(), strict=True):
        _paint(axes, _tile(array(images.permute(0, 2, 3, 1)), columns))
        axes.set_title(title, loc="left", fontsize=13)
    return figure


def _paint(axes: Axes, picture: np.ndarray) -> None:
    """picture: 0 … 255, (height, width, 1 or 3)."""
    if picture.shape[-1] == 1:
        axes.imshow(picture[..., 0], cmap="gray_r", vmin=0, vmax=255)
    else:
        axes.imshow(picture.astype(np.uint8))
    axes.axis("off")


_ANSWERS = {0: ("0", "white", "0.25"), 1: ("1", COLOURS[0], "white"), -1: ("?", COLOURS[4], "0")}


def answers(data: Dataset, shown: int = 8, notes: Sequence[Sequence[str]] | None = None) -> Figure:
    """The first images, and under each its column of Y, as the lecture draws it: (tasks, m).

    notes: two short lines for each entry, a row an image; they stand below its label.
    """
    images, labels = data.images[:shown], data.labels[:shown].T.tolist()
    width, tasks = len(images), len(data.tasks)
    high, up = (0.45, 0.5) if notes is None else (0.75, 0.25)  # a cell, and its label in it
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        size = (1.6 + 0.95 * width, 1.1 + high * tasks)
        figure = Figure(figsize=size, layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=[0.95, high * tasks], sharex=True)
    gap = 0.04
    for i, image in enumerate(images):
        extent = (i + gap, i + 1 - gap, 0, 1)
        upper.imshow(array(image.permute(1, 2, 0)), extent=extent, aspect="auto")
    upper.set(xlim=(0, width), ylim=(0, 1))
    upper.axis("off")
    for j, row in enumerate(labels):
        for i, label in enumerate(row):
            text, fill, ink = _ANSWERS[label]
            lower.add_patch(
                Rectangle((i + gap, j), 1 - 2 * gap, 1, facecolor=fill, edgecolor="0.5")
            )
            middle = {"color": ink, "ha": "center", "va": "center"}
            lower.text(i + 0.5, j + up, text, **middle)
            if notes is not None:
                lower.text(i + 0.5, j + 0.68, notes[i][j], fontsize=9, linespacing=1.1, **middle)
    lower.set(ylim=(tasks + 0.03, -0.03), yticks=np.arange(tasks) + 0.5, yticklabels=data.tasks)
    lower.set_xticks(np.arange(width) + 0.5, [f"$y^{{({i + 1})}}$" for i in range(width)])
    lower.tick_params(length=0)
    for side in lower.spines.values():
        side.set_visible(False)
    return figure


def architecture(network: Network, image: Tensor) -> Figure:
    """The network as a row of boxes, made from its layers and the shapes they give for `image`.

    image: uint8 (1, channels, height, width).
    Raises: ValueError for a trunk that is not one row of layers, as that of `networks.separate`.
    """
    shapes = [("image", tuple(image.shape[1:]))]
    network = copy.deepcopy(network).cpu().eval()  # the caller's stays where and as it is
    values, with_weights = normalise(image.cpu()), blocks(network)
    with torch.inference_mode():
        for layer in network.trunk:
            if layer in with_weights:
                # What reads the picture first: a pool behind it would already have made it smaller.
                first = next(p for p in layer.modules() if list(p.parameters(recurse=False)))
                shapes.append((_name(first, layer), tuple(first(values).shape[1:])))
            values = layer(values)
    shapes.append(("features", tuple(values.shape[1:])))
    figure, axes = axes_of(10.0, 3.4)
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


def _name(first: nn.Module, layer: nn.Module) -> str:
    """Return what a block of the trunk is, by its first layer and whether a ReLU follows."""
    kind = "linear" if isinstance(first, nn.Linear) else type(first).__name__
    parts = []
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
    """Networks as rows of boxes, a part each: where its weights come from, and whether they train.

    A part from A has a full strip at its left, a random one a dotted strip; a frozen part has a
    hatched frame.
    rows: the parts of each network, from the picture to the answer, by the row's title.
    """
    high = 1.62
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.0, high * len(rows)))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(high * len(rows), 0))  # inches
    axes.axis("off")
    for i, (title, parts) in enumerate(rows.items()):
        top, wide = high * i + 0.42, 8.3 / len(parts)
        axes.text(0.1, top - 0.12, title, va="baseline", fontsize=12)
        axes.text(0.1, top + 0.55, "image", va="center", fontsize=11)
        for k, part in enumerate(parts):
            left = 0.9 + wide * k
            axes.text(left - 0.1, top + 0.55, "→", ha="center", va="center", fontsize=13)
            _draw_part(axes, part, left + 0.06, top, wide - 0.3)
        axes.text(9.1, top + 0.55, "→", ha="center", va="center", fontsize=13)
        axes.text(9.3, top + 0.55, "logits", va="center", fontsize=11)
    return figure


def _draw_part(axes: Axes, part: Part, left: float, top: float, wide: float) -> None:
    """Into a place of 1.1 inches in height, from its top left corner."""
    line, rim, strip, high = {"edgecolor": "0.2", "linewidth": 1}, 0.09, 0.16, 1.1
    if "frozen" in part.state:
        axes.add_patch(Rectangle((left, top), wide, high, facecolor="white", hatch="////", **line))
    left, top, wide, high = left + rim, top + rim, wide - 2 * rim, high - 2 * rim
    axes.add_patch(Rectangle((left, top), wide, high, facecolor="white", **line))
    fill = {"facecolor": COLOURS[0]} if part.origin == "from A" else {"fill": False, "hatch": "oo"}
    axes.add_patch(Rectangle((left, top), strip, high, **fill, **line))
    text = f"{part.name}\n{part.origin}\n{part.state}\n{part.weights:,} weights"
    place = {"ha": "left", "va": "center", "fontsize": 10.5, "linespacing": 1.25}
    axes.text(left + strip + 0.07, top + high / 2, text, **place)


def filters(groups: Mapping[str, Tensor], columns: int = 16) -> Figure:
    """First-layer filters, on one scale for all groups.

    Filters of one channel are blue below 0 and red above it; those of three are pictures of the
    colours they look for, grey where they do not care.
    groups: floating point (m, 1 or 3, height, width), a filter each, by title.
    Raises: ValueError if a group has another shape, as the weights of a linear layer have.
    """
    for title, weights in groups.items():
        if weights.ndim != 4 or weights.shape[1] not in (1, 3):
            raise ValueError(
                "groups must hold the weights of first convolutions, (m, 1 or 3, height, width); "
                f"{title!r} is {tuple(weights.shape)}."
            )
    pictures = {title: array(w.permute(0, 2, 3, 1)) for title, w in groups.items()}
    reach = max(float(np.abs(pixels).max()) for pixels in pictures.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 1.15 * len(groups)), layout="constrained")
        boxes = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axes, (title, pixels) in zip(boxes, pictures.items(), strict=True):
        if pixels.shape[-1] == 3:
            axes.imshow(_tile(127.5 + 127.5 * pixels / reach, columns) / 255)
        else:
            picture = _tile(pixels, columns, empty=np.nan)[..., 0]
            axes.imshow(picture, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes.set_title(title, loc="left", fontsize=13)
        axes.axis("off")
    return figure


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
