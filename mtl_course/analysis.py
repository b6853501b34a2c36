"""What a network looks at, and how alike two networks see the same images (T3)."""

import contextlib
import itertools

import torch
from torch import Tensor, nn

from mtl_course.base import check_count
from mtl_course.datasets import Dataset
from mtl_course.evaluation import predict
from mtl_course.networks import Network, blocks


def occlusion(
    network: Network, image: Tensor, task: str, patch: int = 6, stride: int = 2
) -> Tensor:
    """Measure how far a task's logit falls when a patch hides one part of the image after another.

    The patch has the image's mean color. It shows what the answer depends on, not why (Zeiler and
    Fergus, Visualizing and understanding convolutional networks, ECCV 2014).
    image: uint8 (channels, height, width). patch, stride: pixels.
    Returns: float32 (rows, columns); (r, c) for a patch from the pixel (r · stride, c · stride) on.
    Raises: ValueError if the network has no such task, or the patch is larger than the image.
    """
    if task not in network.names:
        raise ValueError(f"task must be one of {', '.join(network.names)}; got {task!r}.")
    height, width = image.shape[1:]
    patch, stride = check_count("patch", patch, least=1), check_count("stride", stride, least=1)
    if patch > min(height, width):
        raise ValueError(f"patch must be at most {min(height, width)} pixels; got {patch}.")
    corners = [range(0, side - patch + 1, stride) for side in (height, width)]
    color = image.float().mean(dim=(1, 2), keepdim=True).round().to(torch.uint8)
    hidden = image.repeat(1 + len(corners[0]) * len(corners[1]), 1, 1, 1)
    for number, (top, left) in enumerate(itertools.product(*corners), start=1):
        hidden[number, :, top : top + patch, left : left + patch] = color
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = network.eval()(hidden.to(device))[:, network.names.index(task)].float().cpu()
    return (logits[0] - logits[1:]).view(len(corners[0]), len(corners[1]))


def similarity(one: Network, other: Network, data: Dataset) -> list[float]:
    """Measure how alike two networks see the same images, block by block, from the image on (T3).

    Linear CKA (Kornblith et al. 2019), a number for each block of the trunk that has weights: 1
    when its features agree up to a rotation, a reflection and a scale; about 0 when unrelated.
    Raises: ValueError if the two have not as many blocks, or not one trunk.
    """
    if len(blocks(one)) != len(blocks(other)):
        raise ValueError("one and other must have as many blocks in their trunks.")
    return list(map(cka, _features(one, data), _features(other, data)))


def cka(x: Tensor, y: Tensor) -> float:
    """Return linear centered kernel alignment, without the bias of more features than images.

    The plain estimator finds 0.8 between 500 images' independent features when there are 2,048;
    this one (Nguyen et al. 2021) about 0. x, y: float (m, any), features of the same m > 3 images.
    """
    x, y = (values.detach().double() for values in (x, y))
    x, y = x @ x.T, y @ y.T  # (m, m)
    return float(_hsic(x, y) / (_hsic(x, x) * _hsic(y, y)).sqrt())


def _hsic(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimator of Song et al. (2012), up to a factor. x, y: (m, m)."""
    m = len(x)
    x, y = (gram - gram.diag().diag() for gram in (x, y))
    both = x.sum() * y.sum() / ((m - 1) * (m - 2)) - 2 * x.sum(dim=0) @ y.sum(dim=0) / (m - 2)
    return (x * y).sum() + both


def _features(network: Network, data: Dataset) -> list[Tensor]:
    """Return the features that each block of the trunk computes: float32 (m, features) each."""
    found = {block: [] for block in blocks(network)}

    def keep(block: nn.Module, _: tuple, values: Tensor) -> None:
        found[block].append(values.flatten(1).float().cpu())

    with contextlib.ExitStack() as hooks:
        for block in found:
            hooks.callback(block.register_forward_hook(keep).remove)
        predict(network, data)
    return [torch.cat(parts) for parts in found.values()]
