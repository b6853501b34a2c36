"""Trunk and head: the networks of the course, and the surgery that transfer learning does on them.

The trunk turns an image into features; the head, one linear layer, turns features into logits.
Transfer learning takes the head off and puts a new one on (`new_head`), and either holds the trunk
still (`freeze`) or lets it move.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from mtl_course.datasets import Dataset, normalise, stream, whole


class Network(nn.Module):
    """A trunk and a head.

    trunk: float32 images (m, channels, height, width) in [-1, 1] → features (m, head.in_features).
    head: features → logits (m, len(names)); `names` says what each logit answers.
    Raises: ValueError if the head has another number of outputs than there are names.
    """

    def __init__(self, trunk: nn.Sequential, head: nn.Linear, names: Sequence[str]) -> None:
        if head.out_features != len(names):
            raise ValueError(f"names must have {head.out_features} entries; got {len(names)}.")
        super().__init__()
        self.trunk, self.head, self.names = trunk, head, tuple(names)

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (m, channels, height, width) → logits float32 (m, len(names))."""
        return self.head(self.trunk(normalise(images)))

    def train(self, mode: bool = True) -> Network:
        """As in torch, but a frozen layer stays in evaluation mode: its statistics do not move."""
        super().train(mode)
        for layer in self.modules():
            own = list(layer.parameters(recurse=False))
            if own and not any(p.requires_grad for p in own):
                layer.eval()
        return self


def classifier(data: Dataset, width: int = 16, seed: int = 0) -> Network:
    """A network with random weights for the images and the names of `data`.

    Three blocks of 3 × 3 convolution, batch normalisation and ReLU with `width`, 2 `width` and
    2 `width` channels. The picture is halved after the first two, and what is left of it is
    averaged down to 2 × 2, so there are 8 `width` features. The head is linear.

    Raises: ValueError if `width` is below 1 or the images are smaller than 8 × 8.
    """
    width = whole("width", width, least=1)
    channels, *size = data.images.shape[1:]
    if min(size) < 8:
        raise ValueError(f"data must hold images of at least 8 × 8 pixels; got {tuple(size)}.")
    with _seeded(stream(seed, "trunk")):
        trunk = nn.Sequential(
            _block(channels, width),  # (m, width, h, w)
            nn.MaxPool2d(2),
            _block(width, 2 * width),  # (m, 2 width, h/2, w/2)
            nn.MaxPool2d(2),
            _block(2 * width, 2 * width),  # (m, 2 width, h/4, w/4)
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),  # (m, 8 width)
        )
    return Network(trunk, _head(8 * width, data.names, seed), data.names)


def _block(channels: int, width: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def _head(features: int, names: Sequence[str], seed: int) -> nn.Linear:
    with _seeded(stream(seed, "head")):
        return nn.Linear(features, len(names))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Weights drawn inside come from `seed`; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


# ---------------------------------------------------------------------- surgery


def new_head(network: Network, data: Dataset, seed: int) -> Network:
    """A copy of `network` with its head taken off and a random new one for `data` put on.

    The copy's trunk starts from the same weights and statistics, and all of it trains until you
    `freeze` it; `network` itself is left as it was.
    """
    trunk = copy.deepcopy(network.trunk).requires_grad_(True)
    return Network(trunk, _head(network.head.in_features, data.names, seed), data.names)


def fresh(network: Network, data: Dataset, seed: int) -> Network:
    """A network of the same layers as `network`, with random weights and a head for `data`.

    The same as `classifier` makes from this seed: what "from scratch" starts from.
    """
    trunk = copy.deepcopy(network.trunk).requires_grad_(True)
    with _seeded(stream(seed, "trunk")):
        for layer in trunk.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return Network(trunk, _head(network.head.in_features, data.names, seed), data.names)


def freeze(module: nn.Module) -> nn.Module:
    """Stops `module` from learning: its weights, and the statistics of its normalisation layers.

    Returns: the module itself. Undo it with ``module.requires_grad_(True)``.
    """
    return module.requires_grad_(False).eval()


def frozen(module: nn.Module) -> bool:
    """True when no weight of `module` trains."""
    return not any(p.requires_grad for p in module.parameters())


def trainable(module: nn.Module) -> int:
    """How many numbers of `module` training would change."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


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
        return f"batch normalisation, {layer.num_features}"
    return type(layer).__name__
