"""Trunk and head: the networks of the course, and the surgery that transfer learning does on them.

The trunk turns an image into features; the head, one linear layer, turns features into logits.
What the logits mean is the loss's business: `classifier` is for softmax over classes, `shared` for
many yes/no tasks on one trunk (M1), and `separate` for the same tasks on a trunk each. `backbone`
takes one of torchvision's networks for a trunk, with what it has learned from ImageNet.
Transfer learning takes the head off and puts a new one on (`new_head`), and either holds the trunk
still (`freeze`) or lets it move.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn

from mtl_course.base import stream, whole
from mtl_course.datasets import Dataset, normalise
from mtl_course.devices import check_dtype, seeded

if TYPE_CHECKING:  # torchvision is imported when it is needed: it takes a second
    from torchvision.models import WeightsEnum


class Network(nn.Module):
    """A trunk and a head.

    trunk: float32 images (m, channels, height, width) in [-1, 1] → features (m, head.in_features).
    head: features → logits (m, head.out_features); `names` says what each logit answers.
    Raises: ValueError if the head has another number of outputs than there are names.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, names: Sequence[str]) -> None:
        if head.out_features != len(names):
            raise ValueError(f"names must have {head.out_features} entries; got {len(names)}.")
        super().__init__()
        self.trunk, self.head, self.names = trunk, head, tuple(names)

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (m, channels, height, width) → logits float32 (m, len(names))."""
        return self.head(self.trunk(normalise(images)))

    def train(self, mode: bool = True) -> Network:
        """As in torch, but what is frozen stays in evaluation mode.

        The statistics of a frozen normalisation do not move, and a frozen part drops nothing.
        """
        super().train(mode)
        for part in self.modules():
            if part is not self and any(True for _ in part.parameters()) and frozen(part):
                part.eval()
        return self


def classifier(data: Dataset, width: int = 16, seed: int = 0) -> Network:
    """A network with random weights for the images and the classes of `data`, for softmax.

    Three blocks of 3 × 3 convolution, batch normalisation and ReLU with `width`, 2 `width` and
    2 `width` channels. The picture is halved after the first two, and what is left of it is
    averaged down to 2 × 2, so there are 8 `width` features. The head is linear.
    Only the loss makes it softmax's. Of a dataset with tasks it has `shared`'s layers and first
    weights, but averages where `shared` takes the maximum.

    Raises: ValueError if `width` is below 1 or the images are smaller than 8 × 8.
    """
    channels, *size = data.images.shape[1:]
    if min(size) < 8:
        raise ValueError(f"data must hold images of at least 8 × 8 pixels; got {tuple(size)}.")
    return _network(channels, width, data.names, seed, gather=nn.AdaptiveAvgPool2d)


def shared(tasks: Sequence[str], *, width: int = 16, seed: int = 0, channels: int = 3) -> Network:
    """One network for many yes/no tasks: shared layers, and a logit a task (M1).

    The layers and the random weights are those of `classifier`, but each quarter of the picture
    gives the maximum of its features, not their mean: the question is whether a thing is anywhere.

    channels: of the images, which have at least 8 × 8 pixels.
    Raises: ValueError if `tasks` are not names that differ, or `width` or `channels` is below 1.
    """
    return _network(channels, width, _names(tasks), seed, gather=nn.AdaptiveMaxPool2d)


def separate(tasks: Sequence[str], *, width: int = 16, seed: int = 0, channels: int = 3) -> Network:
    """One network per task, side by side: what `shared` is measured against (M7).

    Task j has a `shared` network of its own, with weights from a stream of (seed, its name).
    AdamW changes every weight by that weight's gradient alone and no weight serves two tasks, so
    training them together on the lecture's loss is training each alone on the same batches.

    The arguments, and what is raised, are as in `shared`; `width` is that of each part.
    """
    parts = [
        shared([task], width=width, seed=stream(seed, f"network for {task}"), channels=channels)
        for task in _names(tasks)
    ]
    return Network(_Trunks(p.trunk for p in parts), _Heads(p.head for p in parts), tasks)


BACKBONES = ("resnet18", "efficientnet_b0")


def backbone(
    name: str,
    names: Sequence[str],
    *,
    pretrained: bool = True,
    download: bool = False,
    seed: int = 0,
) -> Network:
    """One of torchvision's networks as a trunk, with its head taken off and a random one put on.

    name: "resnet18" (11.2 million weights, 512 features; He et al. 2016) or "efficientnet_b0" (4.0
        million, 1,280 features; Tan and Le 2019, without its stochastic depth).
    names: of the tasks or classes that the new head answers.
    pretrained: with torchvision's weights from ImageNet, 1.3 million photographs of 1,000 classes;
        False: with random ones. download: fetches them if they are not there, checked by hash.
    The trunk takes colour images of any size from 32 × 32, and scales them as ImageNet's were.
    Raises: ValueError for another name, or a damaged file; FileNotFoundError if the weights are
        not there, with what to fetch and where to put it.
    """
    if name not in BACKBONES:
        raise ValueError(f"name must be one of {', '.join(BACKBONES)}; got {name!r}.")
    names = _names(names)
    with seeded(stream(seed, "trunk")):
        trunk = _Backbone(name, _from_imagenet(name, download) if pretrained else None)
    return Network(trunk, _head(trunk.features, names, seed), names)


def imagenet_file(name: str) -> Path:
    """Where torchvision keeps a backbone's weights (TORCH_HOME moves it); it may not be there."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(_weights(name).url).name)


def _weights(name: str) -> WeightsEnum:
    import torchvision

    return torchvision.models.get_model_weights(name).IMAGENET1K_V1


def _from_imagenet(name: str, download: bool) -> dict[str, Tensor]:
    file, weights = imagenet_file(name), _weights(name)
    advice = f"Fetch {weights.url} on a machine with a network and put it there as it is"
    if not file.exists() and not download:
        raise FileNotFoundError(f"{file} is not there. {advice}, or give download=True.")
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # of the network, the disk, or of reading what is no such file
        if not file.exists():
            raise FileNotFoundError(f"{file} could not be fetched ({error}). {advice}.") from error
        raise ValueError(f"{file} is damaged ({error}): delete it. {advice}.") from error


class _Backbone(nn.Sequential):
    """One of torchvision's networks without its head, which reads so many `features`.

    weights: of all of it, as torchvision keeps them; None leaves its own random ones.
    Raises: ValueError if they are another network's.
    """

    def __init__(self, name: str, weights: dict[str, Tensor] | None = None) -> None:
        import torchvision

        options = {} if name == "resnet18" else {"stochastic_depth_prob": 0.0}
        model = torchvision.models.get_model(name, weights=None, **options)
        if weights is not None:
            try:
                model.load_state_dict(weights)
            except RuntimeError as error:
                file = imagenet_file(name)
                raise ValueError(f"{file} holds another network: delete it.") from error
        if name == "resnet18":
            stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
            body = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
            features = model.fc.in_features
        else:
            body, features = model.features, model.classifier[-1].in_features
        super().__init__(_AsImageNet(), *body, model.avgpool, nn.Flatten())
        self.name, self.features = name, features


class _AsImageNet(nn.Module):
    """Images in [-1, 1] as torchvision's networks have met them: by ImageNet's mean and spread."""

    def __init__(self) -> None:
        super().__init__()
        mean, spread = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        self.register_buffer("mean", 2 * mean[:, None, None] - 1)
        self.register_buffer("spread", 2 * spread[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.spread


class _Trunks(nn.ModuleList):
    """Trunks that see the same images and put their features side by side."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([trunk(images) for trunk in self], dim=1)  # (m, parts × features)


class _Heads(nn.ModuleList):
    """Linear heads that each read their own share of the features, for a logit each."""

    @property
    def in_features(self) -> int:
        return sum(head.in_features for head in self)

    @property
    def out_features(self) -> int:
        return sum(head.out_features for head in self)

    def forward(self, features: Tensor) -> Tensor:
        shares = features.split([head.in_features for head in self], dim=1)
        return torch.cat([head(x) for head, x in zip(self, shares, strict=True)], dim=1)


def _names(tasks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tasks, str) or not all(isinstance(task, str) for task in tasks):
        raise ValueError(f"tasks must be a sequence of names; got {tasks!r}.")
    if not tasks or len(set(tasks)) < len(tasks):
        raise ValueError(f"tasks must be at least one name, all different; got {tuple(tasks)}.")
    return tuple(tasks)


def _network(
    channels: int, width: int, names: Sequence[str], seed: int, gather: type[nn.Module]
) -> Network:
    channels, width = whole("channels", channels, least=1), whole("width", width, least=1)
    with seeded(stream(seed, "trunk")):
        trunk = nn.Sequential(
            _block(channels, width, nn.MaxPool2d(2)),  # (m, width, h/2, w/2)
            _block(width, 2 * width, nn.MaxPool2d(2)),  # (m, 2 width, h/4, w/4)
            _block(2 * width, 2 * width, nn.Identity()),  # (m, 2 width, h/4, w/4)
            gather(2),
            nn.Flatten(),  # (m, 8 width)
        )
    return Network(trunk, _head(8 * width, names, seed), names)


def _block(channels: int, width: int, pool: nn.Module) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    # The largest of ReLUs is the ReLU of the largest; this way round there are fewer to compute.
    return nn.Sequential(convolution, nn.BatchNorm2d(width), pool, nn.ReLU())


def _head(features: int, names: Sequence[str], seed: int) -> nn.Linear:
    check_dtype()
    with seeded(stream(seed, "head")):
        return nn.Linear(features, len(names))


# ---------------------------------------------------------------------- surgery


def new_head(network: Network, data: Dataset, seed: int) -> Network:
    """A copy of `network` with its head taken off and a random new one for `data` put on.

    The copy's trunk starts from the same weights and statistics, and all of it trains until you
    `freeze` it; `network` itself is left as it was. The new head reads every feature, also when
    `network` is `separate` and its old ones did not.
    """
    trunk = copy.deepcopy(network.trunk).requires_grad_(True)
    return _with_head(trunk, network, data, seed)


def fresh(network: Network, data: Dataset, seed: int) -> Network:
    """What `new_head` gives, but with random weights in the trunk too.

    What "from scratch" starts from: on one trunk, the network that `classifier`, `shared` or
    `backbone` makes from this seed.
    """
    with seeded(stream(seed, "trunk")):
        if isinstance(network.trunk, _Backbone):  # torchvision's first weights, not the layers' own
            trunk = _Backbone(network.trunk.name)
        else:
            trunk = copy.deepcopy(network.trunk).requires_grad_(True)
            # Random numbers are drawn on the CPU, and fill memory in the order that it has there.
            trunk.to("cpu", memory_format=torch.contiguous_format)
            for name, layer in trunk.named_modules():
                _draw_again(name, layer)
    return _with_head(trunk, network, data, seed)


def _draw_again(name: str, layer: nn.Module) -> None:
    """Give a layer's own weights random values, as when it was made.

    Raises: ValueError if it does not say how.
    """
    reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
    if reset is not None:
        reset()
    elif list(layer.parameters(recurse=False)):
        raise ValueError(
            f"network: layer {name or 'trunk'!r} ({type(layer).__name__}) has weights that cannot "
            "be drawn anew: give it a method reset_parameters()."
        )


def _with_head(trunk: nn.Module, network: Network, data: Dataset, seed: int) -> Network:
    """Return the trunk with a random head for `data`, on the device where `network` lies."""
    target = Network(trunk, _head(network.head.in_features, data.names, seed), data.names)
    return target.to(next(network.parameters()).device)


def copied(network: Network, data: Dataset, seed: int, layers: int) -> Network:
    """What `fresh` gives, but with the first `layers` blocks of the trunk copied (Yosinski 2014).

    With all blocks copied it is what `new_head` gives, with none what `fresh` gives.
    Raises: ValueError if the trunk has fewer blocks.
    """
    here = blocks(network)
    if whole("layers", layers, least=0) > len(here):
        raise ValueError(f"layers must be at most {len(here)}, the trunk's blocks; got {layers}.")
    target = fresh(network, data, seed)
    for block, learned in zip(blocks(target)[:layers], here, strict=False):
        block.load_state_dict(learned.state_dict())
    return target


def blocks(network: Network) -> list[nn.Module]:
    """The blocks of the trunk that have weights, from the picture on.

    Raises: ValueError for a trunk that is not one row of layers, as that of `separate`.
    """
    if not isinstance(network.trunk, nn.Sequential):
        raise ValueError("network must have one trunk, a row of layers; this one has several.")
    return [block for block in network.trunk if any(True for _ in block.parameters())]


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
        return f"batch normalisation, {layer.num_features}"
    return type(layer).__name__
