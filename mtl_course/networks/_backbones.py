"""torchvision's networks as trunks, with what they learned from ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mtl_course.base import derive_seed
from mtl_course.devices import seeded
from mtl_course.networks._network import Network, check_names, linear_head

if TYPE_CHECKING:  # torchvision is imported when it is needed: it takes a second
    from torchvision.models import WeightsEnum

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
    names = check_names(names)
    with seeded(derive_seed(seed, "trunk")):
        trunk = Backbone(name, _from_imagenet(name, download) if pretrained else None)
    return Network(trunk, linear_head(trunk.features, names, seed), names)


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


class Backbone(nn.Sequential):
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
