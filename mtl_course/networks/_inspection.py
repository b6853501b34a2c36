"""What a network is made of, layer by layer, and which layers training has moved."""

from __future__ import annotations

import pandas as pd
import torch
from torch import nn

from mtl_course.networks._network import Network


def trainable(module: nn.Module) -> int:
    """How many numbers of `module` training would change."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def signature(module: nn.Module) -> tuple:
    """Return what networks must share to train side by side: their layers, and what is frozen.

    For each layer its place, its kind with its settings, and its weights' shapes.
    """

    def weights(layer: nn.Module) -> tuple:
        own = layer.named_parameters(recurse=False)
        return tuple((name, tuple(p.shape), p.dtype, p.requires_grad) for name, p in own)

    parts = module.named_modules()
    return tuple((name, type(part), part.extra_repr(), weights(part)) for name, part in parts)


def layers(network: Network) -> pd.DataFrame:
    """The network as a table, one row a layer that has weights, from the picture to the answer.

    Columns: part ("trunk" or "head"), layer, weights (their number), trains (yes or no).
    """
    rows = []
    for name, layer in network.named_modules():
        own = list(layer.parameters(recurse=False))
        if own:
            weights = sum(p.numel() for p in own)
            trains = "yes" if any(p.requires_grad for p in own) else "no"
            part, kind = name.split(".")[0], _kind(layer)
            rows.append({"part": part, "layer": kind, "weights": weights, "trains": trains})
    return pd.DataFrame(rows)


def moved(before: Network, after: Network) -> list[str]:
    """For each row of `layers`, whether any weight or statistic differs: "moved" or "same".

    Raises: ValueError if the two networks do not have the same layers.
    """
    if list(layers(before)["layer"]) != list(layers(after)["layer"]):
        raise ValueError("before and after must have the same layers.")
    answers = []
    for name, layer in before.named_modules():
        if list(layer.parameters(recurse=False)):
            old, new = layer.state_dict(), after.get_submodule(name).state_dict()
            same = all(torch.equal(old[key].cpu(), new[key].cpu()) for key in old)
            answers.append("same" if same else "moved")
    return answers


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return f"convolution {height}×{width}, {layer.in_channels} → {layer.out_channels}"
    if isinstance(layer, nn.Linear):
        return f"linear, {layer.in_features} → {layer.out_features}"
    if isinstance(layer, nn.BatchNorm2d):
        return f"batch normalization, {layer.num_features}"
    return type(layer).__name__
