"""torchvision's networks as trunks, with what they learned from ImageNet."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mtl_course.base import derive_seed
from mtl_course.devices import seeded
from mtl_course.networks._network import Network, check_names, linear_head

BACKBONES = ("resnet18", "efficientnet_b0")


def backbone(
    name: str,
    names: Sequence[str],
    *,
    pretrained: bool = True,
    download: bool = False,
    seed: int = 0,
) -> Network:
    """Build one of torchvision's networks as a trunk, with a random head in place of its own.

    name: "resnet18" (11.2 million weights, 512 features; He et al. 2016) or "efficientnet_b0" (4.0
        million, 1,280 features; Tan and Le 2019, without its stochastic depth).
    names: of the tasks or classes that the new head answers.
    pretrained: with torchvision's weights from ImageNet, 1.3 million photographs of 1,000 classes;
        False: with random ones. download: fetches them if they are not there, checked by hash.
    The trunk takes color images of any size from 32 × 32, and scales them as ImageNet's were.
    Raises: ValueError for another name, or a damaged file; FileNotFoundError if the weights are
        not there, with what to fetch and where to put it.
    """
    if name not in BACKBONES:
        raise ValueError(f"name must be one of {', '.join(BACKBONES)}; got {name!r}.")
    names, file = check_names(names), imagenet_file(name)
    if pretrained and not download and not file.exists():
        raise FileNotFoundError(f"{file} is not there. {_advice(name)}, or give download=True.")
    with seeded(derive_seed(seed, "trunk")):
        trunk = Backbone(name, pretrained)
    return Network(trunk, linear_head(trunk.features, names, seed), names)


def imagenet_file(name: str) -> Path:
    """Return where torchvision keeps a backbone's weights (TORCH_HOME moves it), there or not."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(_weights(name).url).name)


def _weights(name: str):
    import torchvision  # takes a second

    return torchvision.models.get_model_weights(name).IMAGENET1K_V1


def _advice(name: str) -> str:
    return f"Fetch {_weights(name).url} on a machine with a network and put it there as it is"


class Backbone(nn.Sequential):
    """One of torchvision's networks without its head, which reads so many `features`.

    pretrained: with ImageNet's weights, fetched if they are not there; else with random ones.
    """

    def __init__(self, name: str, pretrained: bool = False) -> None:
        import torchvision

        options = {} if name == "resnet18" else {"stochastic_depth_prob": 0.0}
        weights = _weights(name) if pretrained else None
        try:
            model = torchvision.models.get_model(name, weights=weights, **options)
        except Exception as error:  # of the network, the disk, or of reading what is no such file
            file, kind, what = imagenet_file(name), FileNotFoundError, "could not be fetched"
            if file.exists():
                kind, what = ValueError, "is damaged or of another network: delete it"
            raise kind(f"{file} {what} ({error}). {_advice(name)}.") from error
        if name == "resnet18":
            stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
            body = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
            features = model.fc.in_features
        else:
            body, features = model.features, model.classifier[-1].in_features
        super().__init__(_AsImageNet(), *body, model.avgpool, nn.Flatten())
        self.name, self.features = name, features


class _AsImageNet(nn.Module):
    """Scales images from [-1, 1] to ImageNet's mean and spread, as torchvision's networks know."""

    def __init__(self) -> None:
        super().__init__()
        mean, spread = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        self.register_buffer("mean", 2 * mean[:, None, None] - 1)
        self.register_buffer("spread", 2 * spread[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.spread
