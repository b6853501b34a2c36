"""What a network is made of, layer by layer, and which layers training has moved."""

import pandas as pd
import torch
from torch import nn

from mtl_course.networks._network import Network, frozen


def trainable(module: nn.Module) -> int:
    """Return how many numbers of `module` training would change."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def layers(network: Network) -> pd.DataFrame:
    """Return the network as a table, one row a layer with weights, from the image to the answer.

    Columns: part ("trunk" or "head"), layer, weights (their number), trains (yes or no).
    """
    rows = []
    for name, layer in _with_weights(network):
        part, trains = name.split(".")[0], "no" if frozen(layer) else "yes"
        weights = sum(p.numel() for p in layer.parameters(recurse=False))
        rows.append((part, _describe(layer), weights, trains))
    return pd.DataFrame(rows, columns=["part", "layer", "weights", "trains"])


def moved(before: Network, after: Network) -> list[str]:
    """Return for each row of `layers` whether a weight or statistic differs: "moved" or "same".

    Raises: ValueError if the two networks do not have the same layers.
    """
    if list(layers(before)["layer"]) != list(layers(after)["layer"]):
        raise ValueError("before and after must have the same layers.")
    answers = []
    for name, layer in _with_weights(before):
        old, new = layer.state_dict(), after.get_submodule(name).state_dict()
        same = all(torch.equal(old[key].cpu(), new[key].cpu()) for key in old)
        answers.append("same" if same else "moved")
    return answers


def signature(module: nn.Module) -> tuple:
    """Return what networks must share to train side by side: their layers, and what is frozen.

    For each layer its place and its kind with its settings, for each weight its place and shape.
    """
    kinds = tuple((name, type(part), part.extra_repr()) for name, part in module.named_modules())
    weights = module.named_parameters(remove_duplicate=False)
    return kinds, tuple((name, p.shape, p.dtype, p.requires_grad) for name, p in weights)


def _with_weights(network: Network) -> list[tuple[str, nn.Module]]:
    """Return the layers that have weights of their own, by name."""
    own = network.named_modules()
    return [(name, layer) for name, layer in own if [*layer.parameters(recurse=False)]]


def _describe(layer: nn.Module) -> str:
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return f"convolution {height}×{width}, {layer.in_channels} → {layer.out_channels}"
    if isinstance(layer, nn.Linear):
        return f"linear, {layer.in_features} → {layer.out_features}"
    if isinstance(layer, nn.BatchNorm2d):
        return f"batch normalization, {layer.num_features}"
    return type(layer).__name__
