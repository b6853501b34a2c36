"""The surgery of transfer learning: a new head on an old trunk, which is frozen or not."""

import copy

import torch
from torch import nn

from mtl_course.base import check_count, derive_seed
from mtl_course.datasets import Dataset
from mtl_course.devices import seeded
from mtl_course.networks._backbones import Backbone, random_or_learned
from mtl_course.networks._network import Network, linear_head


def new_head(network: Network, data: Dataset, seed: int) -> Network:
    """Return a copy of `network` with its head taken off and a random new one for `data` put on.

    The copy's trunk starts from the same weights and statistics, and all of it trains until you
    `freeze` it; `network` itself is left as it was. The new head reads every feature, even where
    `network` is `separate` and its old heads did not.
    """
    trunk = copy.deepcopy(network.trunk).requires_grad_(True)
    return _with_head(trunk, network, data, seed)


def reinitialized(network: Network, data: Dataset, seed: int) -> Network:
    """Return what `new_head` does, but with random weights in the trunk too.

    "From scratch" starts from it: on one trunk, it is the network that `classifier`, `shared` or
    `backbone` builds from this seed. Raises: ValueError for a layer that cannot be drawn anew.
    """
    with seeded(derive_seed(seed, "trunk")):
        if isinstance(network.trunk, Backbone):  # torchvision's first weights, not the layers' own
            trunk, _ = random_or_learned(network.trunk.name)
        else:
            trunk = copy.deepcopy(network.trunk).requires_grad_(True)
            # Random numbers are drawn on the CPU, and fill memory in the order that it has there.
            trunk.to("cpu", memory_format=torch.contiguous_format)
            for name, layer in trunk.named_modules():
                _reset(layer, name or "trunk")
    return _with_head(trunk, network, data, seed)


def with_copied_layers(network: Network, data: Dataset, seed: int, layers: int) -> Network:
    """Return a copy with random weights in all but the first `layers` blocks (Yosinski 2014).

    With all blocks copied it is what `new_head` returns, with none what `reinitialized` returns.
    Raises: ValueError if the trunk has fewer blocks.
    """
    here = blocks(network)
    if check_count("layers", layers, least=0) > len(here):
        raise ValueError(f"layers must be at most {len(here)}, the trunk's blocks; got {layers}.")
    target = reinitialized(network, data, seed)
    for block, learned in zip(blocks(target)[:layers], here, strict=False):
        block.load_state_dict(learned.state_dict())
    return target


def freeze(module: nn.Module) -> nn.Module:
    """Stop `module` from learning: its weights, and the statistics of its normalization layers.

    Returns: the module itself. Undo it with ``module.requires_grad_(True)``.
    """
    return module.requires_grad_(False).eval()


def blocks(network: Network) -> list[nn.Module]:
    """Return the blocks of the trunk that have weights, from the image on.

    Raises: ValueError for a trunk that is not one row of layers, as that of `separate`.
    """
    if not isinstance(network.trunk, nn.Sequential):
        raise ValueError("network must have one trunk, a row of layers; this one has several.")
    return [block for block in network.trunk if [*block.parameters()]]


def _reset(layer: nn.Module, name: str) -> None:
    """Give a layer's own weights random values, as when it was made."""
    reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
    if reset is not None:
        reset()
    elif [*layer.parameters(recurse=False)]:
        what = f"layer {name!r} ({type(layer).__name__}) has weights that cannot be drawn anew"
        raise ValueError(f"network: {what}: give it a method reset_parameters().")


def _with_head(trunk: nn.Module, network: Network, data: Dataset, seed: int) -> Network:
    """Return the trunk with a random head for `data`, on the device where `network` lies."""
    target = Network(trunk, linear_head(network.head.in_features, data.names, seed), data.names)
    return target.to(next(network.parameters()).device)
