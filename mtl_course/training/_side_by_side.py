"""K networks of one signature as one network with K groups, so that a GPU trains them in one pass.

Images of all lie side by side as channels, (batch, K · channels, height, width). A convolution with
K groups, a normalization over K times the channels, and a batched product for linear layers then do
for each network exactly what its own layers do, in as many calls as one network needs. AdamW
changes every weight by that weight's gradient alone, so each learns what it would learn by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtl_course.datasets import normalise
from mtl_course.networks import Heads, Network, Trunks, signature

_PIXELWISE = (nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def groupable(model: nn.Module) -> bool:
    """Return whether `SideBySide` knows all layers of a network, or of a head alone.

    It does for those of `networks.classifier`, `shared` and `separate`, whatever is frozen, and for
    rows of linear layers; not for backbones, dropout, or a layer that somebody has written.
    """
    parts = [model.trunk, model.head] if type(model) is Network else [model]
    trunks = list(parts[0]) if type(parts[0]) is Trunks else parts[:-1]
    heads = list(parts[-1]) if type(parts[-1]) is Heads else parts[-1:]
    alike = all(len({signature(part) for part in some}) <= 1 for some in (trunks, heads))
    known = all(map(_row_known, trunks)) and all(type(head) is nn.Linear for head in heads)
    return known and alike and not _altered(model)


def _altered(model: nn.Module) -> bool:
    """Return whether a layer or a weight stands twice, or somebody has hung something on one."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts, weights = list(model.modules()), list(model.parameters())
    twice = len(weights) < len(list(model.named_parameters(remove_duplicate=False)))
    hooked = any(getattr(part, name) for part in parts for name in hooks)
    hooked = hooked or any(weight._backward_hooks for weight in weights)
    return twice or hooked or any("forward" in vars(part) for part in parts)


def _row_known(trunk: nn.Module) -> bool:
    """Return whether a trunk is a row of known layers: of images, then of features."""
    flat = False
    for layer in _row(trunk):
        if type(layer) is nn.Flatten and not flat:
            flat = layer.start_dim == 1 and layer.end_dim == -1
            known = flat
        elif flat:
            known = type(layer) in (nn.Linear, nn.ReLU, nn.Identity)
        elif type(layer) is nn.Conv2d:
            known = layer.padding_mode == "zeros"
        elif type(layer) is nn.BatchNorm2d:
            known = layer.momentum is not None and layer.track_running_stats
        else:
            known = type(layer) in _PIXELWISE
        if not known:
            return False
    return flat


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
        whole = type(models[0]) is Network
        self._models, self._count = models, len(models)
        self._pairs: list[tuple[nn.Module, tuple]] = []  # a layer, and those it stands for
        self.trunk = self._together([model.trunk for model in models]) if whole else None
        self.head = self._together([model.head for model in models] if whole else models)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: uint8 images (K, batch, channels, height, width), or features (K, batch, any)."""
        features = inputs if self.trunk is None else self._features(inputs)
        parts = self.head.groups // self._count
        logits = self.head(_split(features, parts))  # (K · parts, batch, outputs of a part)
        return _merged(logits, parts)

    def _features(self, images: Tensor) -> Tensor:
        """Return what the trunks make of the images: (K, batch, features)."""
        parts = self.trunk.groups // self._count
        images = images.transpose(0, 1)[:, :, None].expand(-1, -1, parts, -1, -1, -1)
        side_by_side = images.flatten(1, 3)  # (batch, K · parts · channels, height, width)
        return _merged(self.trunk(normalise(side_by_side)), parts)

    def _together(self, modules: Sequence[nn.Module]) -> _Groups:
        """Put trunks or heads together, those that have parts part by part."""
        if type(modules[0]) in (Trunks, Heads):
            modules = [part for module in modules for part in module]
        rows = list(zip(*map(_row, modules), strict=True))
        together = [_TOGETHER.get(type(row[0]), _as_it_is)(row) for row in rows]
        self._pairs += zip(together, rows, strict=True)
        return _Groups(together, len(modules))

    def give_back(self) -> None:
        """Put what has been learned back into the models."""
        with torch.no_grad():
            for layer, owners in self._pairs:
                for name, value in layer.state_dict().items():
                    for owner, share in zip(owners, value.chunk(len(owners)), strict=True):
                        own = owner.state_dict()[name]
                        own.copy_(share.view_as(own))


class _Groups(nn.Sequential):
    """A row of layers that serve so many groups."""

    def __init__(self, layers: Sequence[nn.Module], groups: int) -> None:
        super().__init__(*layers)
        self.groups = groups


class _Flatten(nn.Module):
    """(batch, groups · channels, height, width) → (groups, batch, features)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self._groups = groups

    def forward(self, values: Tensor) -> Tensor:
        return values.unflatten(1, (self._groups, -1)).flatten(2).transpose(0, 1)


class _Linear(nn.Module):
    """One linear layer a group: (groups, batch, inputs) → (groups, batch, outputs)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        together = _joined_layer(layers)
        self.weight, self.bias, self._groups = together.weight, together.bias, len(layers)

    def forward(self, values: Tensor) -> Tensor:
        weight = self.weight.unflatten(0, (self._groups, -1)).transpose(1, 2)
        if self.bias is None:
            return torch.bmm(values, weight)
        return torch.baddbmm(self.bias.view(self._groups, 1, -1), values, weight)


def _split(features: Tensor, parts: int) -> Tensor:
    """(K, batch, parts · features) → (K · parts, batch, features)."""
    return features.unflatten(2, (parts, -1)).transpose(1, 2).flatten(0, 1)


def _merged(values: Tensor, parts: int) -> Tensor:
    """(K · parts, batch, values) → (K, batch, parts · values)."""
    return values.unflatten(0, (-1, parts)).transpose(1, 2).flatten(2)


# ---------------------------------------------------------------------- one layer for many


def _convolution(layers: Sequence[nn.Conv2d]) -> nn.Conv2d:
    one, count = layers[0], len(layers)
    channels = {"in_channels": count * one.in_channels, "out_channels": count * one.out_channels}
    return _joined_layer(layers, groups=count * one.groups, **channels)


def _normalization(layers: Sequence[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    return _joined_layer(layers, num_features=len(layers) * layers[0].num_features)


def _as_it_is(layers: Sequence[nn.Module]) -> nn.Module:
    return layers[0]


_TOGETHER: dict[type, Callable] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _normalization,
    nn.Linear: _Linear,
    nn.Flatten: lambda layers: _Flatten(len(layers)),
}


def _joined_layer(layers: Sequence[nn.Module], **sizes: int) -> nn.Module:
    """Return the first layer with these sizes, and the weights and statistics of all in a row."""
    together = copy.deepcopy(layers[0])
    for name, size in sizes.items():
        setattr(together, name, size)
    for name, weight in layers[0].named_parameters():
        ends = torch.cat([layer.get_parameter(name).detach() for layer in layers])
        setattr(together, name, nn.Parameter(ends, requires_grad=weight.requires_grad))
    for name, _ in layers[0].named_buffers():
        own = [torch.atleast_1d(layer.get_buffer(name)) for layer in layers]
        setattr(together, name, torch.cat(own))
    return together
