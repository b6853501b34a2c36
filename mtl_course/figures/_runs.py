"""Figures of single runs: how a loss fell, whether probabilities are right, seed beside seed."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mtl_course.figures._style import COLORS, MARKERS, described, draw_series, subplots
from mtl_course.studies import interval

_SMOOTH = 25  # steps whose losses are averaged


def calibration(probability: Tensor, labels: Tensor, tasks: Sequence[str]) -> Figure:
    """Draw how often the answer is 1 among images of about the same probability, a panel a task.

    A bin has a 95 % interval (Wilson 1927). Of shape (m, tasks): probability, labels in {0, 1}.
    """
    from scipy.stats import binomtest  # here, because it takes half a second

    probability, labels = probability.detach().cpu(), labels.cpu()
    probability = probability.to(torch.promote_types(probability.dtype, torch.float32))
    figure, boxes = subplots(2.6 * len(tasks), 3.2, ncols=len(tasks), sharey=True)
    for j, (axes, task) in enumerate(zip(boxes, tasks, strict=True)):
        axes.plot([0, 1], [0, 1], color="0.4", linewidth=1)
        bins = (probability[:, j] * 10).long().clamp(max=9)
        for inside in (bins == number for number in bins.unique()):
            yes, n = int(labels[inside, j].sum()), int(inside.sum())
            low, high = binomtest(yes, n).proportion_ci(method="wilson")
            share = {"mean": yes / n, "low": min(low, yes / n), "high": max(high, yes / n)}
            at = [float(probability[inside, j].mean())]
            draw_series(axes, j, at, pd.DataFrame([share]), capsize=3)
        axes.set(title=task, xlabel="probability", xlim=(0, 1), ylim=(0, 1))
    boxes[0].set_ylabel("how often it is 1")
    gap = (probability.double().mean(dim=0) - labels.double().mean(dim=0)).tolist()
    words = ", ".join(f"{task} {by:+.3f}" for task, by in zip(tasks, gap, strict=True))
    text = "How often the answer is 1 against the probability given, with 95 % intervals and the"
    text += f" diagonal, a panel a task. Mean probability minus how often it is 1: {words}."
    return described(figure, text)


def history(history: pd.DataFrame) -> Figure:
    """Draw each step's loss, in nats, faint, and its running mean; with tasks, each task's part."""
    figure, (axes,) = subplots(7.5, 3.4)
    names = [name for name in history.columns if name != "loss"] or ["loss"]
    for name, color, marker in zip(names, COLORS, MARKERS, strict=False):
        axes.plot(history[name], color=color, alpha=0.2, linewidth=1)
        mean = history[name].rolling(_SMOOTH, min_periods=1).mean()
        style = {"marker": marker, "markevery": max(1, len(mean) // 8)} if len(names) > 1 else {}
        axes.plot(mean, color=color, label=name, **style)
    axes.set(xlabel="step", ylabel="loss in nats", yscale="log")
    axes.legend(fontsize=11, ncols=2, title=f"mean of {_SMOOTH} steps (faint: each step)")
    last, steps = history["loss"].tail(_SMOOTH).mean(), len(history)
    text = "The loss in nats against the step, on a logarithmic scale: "
    text += f"{history['loss'].iloc[0]:.2g} in the first step, {last:.2g} in the mean of the last "
    return described(figure, f"{text}{_SMOOTH} of {steps:,}.")


def by_seed(panels: Mapping[str, Mapping[str, pd.Series]], *, xlabel: str) -> Figure:
    """Draw the gain of each seed as a dot, and below each group its mean and 95 % interval.

    panels: by title, the groups from the top, by name. One seed alone has no interval.
    """
    names, n = list(next(iter(panels.values()))), len(panels)
    size = (3.0 + 3.6 * n, 1.3 + 0.9 * len(names))
    figure, boxes = subplots(*size, ncols=n, sharey=True)
    words = []
    for axes, (title, groups) in zip(boxes, panels.items(), strict=True):
        axes.axvline(0, color="0.25", linewidth=1.2)
        for i, (name, gains) in enumerate(groups.items()):
            color, one = COLORS[i], len(gains) == 1
            aside = [i] if one else i - 0.16 + 0.12 * np.linspace(-1, 1, len(gains))
            alone = {"marker": MARKERS[3], "markersize": 10} if one else {"marker": "o"}
            axes.plot(gains, aside, linestyle="none", color=color, alpha=1 if one else 0.5, **alone)
            words.append(f"{title}, {name}: {gains.mean():+.3f}")
            if not one:
                mean, low, high = interval(gains)
                table = pd.DataFrame({"mean": [mean], "low": [low], "high": [high]})
                draw_series(axes, i, table, [i + 0.18])
                words[-1] += f" ({low:+.3f} to {high:+.3f})"
        axes.set(title=title, xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), names)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(visible=False, axis="y")
    text = f"{xlabel}: a dot a seed, and means with 95 % intervals."
    return described(figure, f"{text} {'; '.join(words)}.")
