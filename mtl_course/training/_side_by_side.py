"""K networks of one signature as one network with K groups, so that a GPU trains them in one pass.

Images of all lie side by side as channels, (batch, K · channels, height, width). A convolution with
K groups, a normalization over K times the channels, and a batched product for linear layers then do
for each network exactly what its own layers do, in as many calls as one network needs. AdamW
changes every weight by that weight's gradient alone, so each learns what it would learn by itself.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_course.datasets import normalise
from mtl_course.networks import Heads, Network, Trunks, signature

_IMAGES = {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AdaptiveAvgPool2d}
_IMAGES |= {nn.AdaptiveMaxPool2d}
_FEATURES = {nn.Linear, nn.ReLU, nn.Identity}
_PLAIN = {"padding_mode": "zeros", "start_dim": 1, "end_dim": -1, "track_running_stats": True}


def groupable(model: nn.Module) -> bool:
    """Return whether `SideBySide` knows all layers of a network, or of a head alone.

    It does for those of `networks.classifier`, `shared` and `separate`, whatever is frozen, and for
    rows of linear layers; not for backbones, dropout, a layer that somebody has written, one that
    stands twice, or one with a hook.
    """
    trunks, heads = _parts(model)
    alike = all(len({signature(part) for part in some}) <= 1 for some in (trunks, heads))
    known = all(map(_row_known, trunks)) and all(type(head) is nn.Linear for head in heads)
    weights = list(model.parameters())
    distinct = len(weights) == len(list(model.named_parameters(remove_duplicate=False)))
    own = [attribute for layer in model.modules() for attribute in vars(layer).items()]
    changed = any(value for name, value in own if name == "forward" or name.endswith("hooks"))
    hooked = any(weight._backward_hooks for weight in weights)
    return known and alike and distinct and not (changed or hooked)


def _parts(model: nn.Module) -> list[list[nn.Module]]:
    """Return the trunks and the heads of a network; of a head alone, no trunks and its heads."""
    ends = [[model.trunk], [model.head]] if type(model) is Network else [[], [model]]
    return [list(end[0]) if end and type(end[0]) in (Trunks, Heads) else end for end in ends]


def _row_known(trunk: nn.Module) -> bool:
    """Return whether a trunk is a row of known layers: of images, then of features."""
    row = _row(trunk)
    kinds = [type(layer) for layer in row]
    if kinds.count(nn.Flatten) != 1:
        return False
    flat = kinds.index(nn.Flatten)
    known = set(kinds[:flat]) <= _IMAGES and set(kinds[flat + 1 :]) <= _FEATURES
    return known and all(map(_plain, row))


def _plain(layer: nn.Module) -> bool:
    """Return whether a layer has the settings that grouping relies on."""
    own = vars(layer)
    averages = own.get("momentum", 0) is not None  # None: over all batches
    return averages and all(own.get(name, value) == value for name, value in _PLAIN.items())


def _row(trunk: nn.Module) -> list[nn.Module]:
    if type(trunk) is not nn.Sequential:
        return [trunk]
    return [layer for part in trunk for layer in _row(part)]


class SideBySide(nn.Module):
    """K models of one signature as one: networks, or heads whose features are computed already.

    (K, batch, …) → (K, batch, outputs). It has weights of its own; `give_back` copies them.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self._pairs: list[tuple[nn.Module, tuple]] = []  # a layer, and those it stands for
        ends = zip(*map(_parts, models), strict=True)  # all models' trunks, and all models' heads
        (self.trunk, self._trunks), (self.head, self._heads) = map(self._together, ends)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits of uint8 images (K, batch, …), or of features (K, batch, any)."""
        if self._trunks:
            # (batch, K · trunks · channels, height, width)
            images = inputs.transpose(0, 1)[:, :, None].expand(-1, -1, self._trunks, -1, -1, -1)
            features = _through(self.trunk, normalise(images.flatten(1, 3)))
            inputs = _side_by_side(features, self._trunks)
        parts = inputs.unflatten(2, (self._heads, -1)).transpose(1, 2).flatten(0, 1)
        return _side_by_side(_through(self.head, parts), self._heads)  # (K, batch, outputs)

    def _together(self, ends: Sequence[list[nn.Module]]) -> tuple[nn.Sequential, int]:
        """Join the trunks or the heads of all models, and say how many each model has."""
        rows = list(zip(*[_row(part) for end in ends for part in end], strict=True))
        joined = [_joined(row) for row in rows]
        self._pairs += zip(joined, rows, strict=True)
        return nn.Sequential(*joined), len(ends[0])

    def give_back(self) -> None:
        """Copy what has been learned back into the models."""
        with torch.no_grad():
            for layer, owners in self._pairs:
                for name, value in layer.state_dict().items():
                    for owner, share in zip(owners, value.chunk(len(owners)), strict=True):
                        own = owner.state_dict()[name]
                        own.copy_(share.view_as(own))


def _side_by_side(values: Tensor, parts: int) -> Tensor:
    """Put the values of each model's parts in one row: (K · parts, batch, v) → (K, batch, …)."""
    return values.unflatten(0, (-1, parts)).transpose(1, 2).flatten(2)


def _joined(layers: Sequence[nn.Module]) -> nn.Module:
    """Return a layer that does for each group of its input what one of the layers does."""
    together, count = copy.deepcopy(layers[0]), len(layers)
    for name in ("in_channels", "out_channels", "groups", "num_features"):
        if hasattr(together, name):
            setattr(together, name, count * getattr(together, name))
    for name, own in layers[0].state_dict(keep_vars=True).items():
        joined = torch.cat([torch.atleast_1d(layer.state_dict()[name]) for layer in layers])
        weight = isinstance(own, nn.Parameter)
        setattr(together, name, nn.Parameter(joined, own.requires_grad) if weight else joined)
    together.count = count
    return together


def _through(layers: nn.Sequential, values: Tensor) -> Tensor:
    """Apply joined layers to images (batch, groups · channels, height, width), or to features.

    Features, which are returned, are (groups, batch, features).
    """
    for layer in layers:
        groups = layer.count
        if type(layer) is nn.Flatten:
            values = values.unflatten(1, (groups, -1)).flatten(2).transpose(0, 1)
        elif type(layer) is nn.Linear:
            weight = layer.weight.unflatten(0, (groups, -1)).transpose(1, 2)
            values = torch.bmm(values, weight)
            if layer.bias is not None:
                values = values + layer.bias.view(groups, 1, -1)
        else:
            values = layer(values)
    return values
