"""Trunk and head: the networks of the course.

The trunk turns an image into features; the head, one linear layer, turns features into logits.
What the logits mean is up to the loss: `classifier` is for softmax over classes, `shared` for many
yes/no tasks on one trunk (M1).
"""

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from mtl_course.base import check_count, derive_seed
from mtl_course.datasets import Dataset, normalise
from mtl_course.devices import check_dtype, seeded


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
        """Compute logits, float32 (m, len(names)), of uint8 images (m, channels, height, width)."""
        return self.head(self.trunk(normalise(images)))

    def train(self, mode: bool = True) -> Self:
        """Switch to training as torch does, but leave what is frozen in evaluation mode.

        The statistics of a frozen normalization do not move, and a frozen part drops nothing.
        """
        super().train(mode)
        for part in self.modules():
            if part is not self and [*part.parameters()] and frozen(part):
                part.eval()
        return self


def classifier(data: Dataset, width: int = 16, seed: int = 0) -> Network:
    """Build a network with random weights for the images and the classes of `data`, for softmax.

    Three blocks of 3 × 3 convolution, batch normalization and ReLU with `width`, 2 `width` and
    2 `width` channels. The image is halved after the first two, and what is left of it is averaged
    down to 2 × 2, so there are 8 `width` features. The head is linear.
    Only the loss makes it a softmax classifier. For a dataset with tasks it has the layers and
    first weights of `shared`, but averages where `shared` takes the maximum.

    Raises: ValueError if `width` is below 1 or the images are smaller than 8 × 8.
    """
    channels, *size = data.images.shape[1:]
    if min(size) < 8:
        raise ValueError(f"data must hold images of at least 8 × 8 pixels; got {tuple(size)}.")
    return _network(channels, width, data.names, seed, nn.AdaptiveAvgPool2d(2))


def shared(tasks: Sequence[str], *, width: int = 16, seed: int = 0, channels: int = 3) -> Network:
    """Build one network for many yes/no tasks: shared layers, and a logit a task (M1).

    The layers and the random weights are those of `classifier`, but each quarter of the image gives
    the maximum of its features, not their mean: the question is whether a thing is anywhere.

    channels: of the images, which have at least 8 × 8 pixels.
    Raises: ValueError if `tasks` are not names that differ, or `width` or `channels` is below 1.
    """
    return _network(channels, width, check_names(tasks), seed, nn.AdaptiveMaxPool2d(2))


def check_names(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks as a tuple. Raises: ValueError if they are not names that differ."""
    names = () if isinstance(tasks, str) else tuple(tasks)
    if not names or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise ValueError(f"tasks must be a sequence of names, all different; got {tasks!r}.")
    return names


def linear_head(features: int, names: Sequence[str], seed: int) -> nn.Linear:
    """Build a head with random weights: features (m, features) → logits (m, len(names))."""
    check_dtype()
    with seeded(derive_seed(seed, "head")):
        return nn.Linear(features, len(names))


def frozen(module: nn.Module) -> bool:
    """Return whether no weight of `module` trains."""
    return not any(p.requires_grad for p in module.parameters())


def _network(channels: int, width: int, names: tuple, seed: int, pool: nn.Module) -> Network:
    check_count("channels", channels, least=1)
    width = check_count("width", width, least=1)
    with seeded(derive_seed(seed, "trunk")):
        trunk = nn.Sequential(
            _block(channels, width, nn.MaxPool2d(2)),  # (m, width, h/2, w/2)
            _block(width, 2 * width, nn.MaxPool2d(2)),  # (m, 2 width, h/4, w/4)
            _block(2 * width, 2 * width, nn.Identity()),  # (m, 2 width, h/4, w/4)
            pool,  # (m, 2 width, 2, 2)
            nn.Flatten(),  # (m, 8 width)
        )
    return Network(trunk, linear_head(8 * width, names, seed), names)


def _block(channels: int, width: int, pool: nn.Module) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    # The largest of ReLUs is the ReLU of the largest; this way round there are fewer to compute.
    return nn.Sequential(convolution, nn.BatchNorm2d(width), pool, nn.ReLU())
