"""What a network answers, and how often it is right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor, nn

from mtl_course import losses
from mtl_course.base import threads, whole
from mtl_course.datasets import UNKNOWN, Dataset, normalise
from mtl_course.devices import Machine, borrowed, machine, on_cpu
from mtl_course.networks import Network, blocks

_PIXELS = 1 << 17  # at a time on a CPU, so that what a layer gives stays in its cache
_PIXELS_GPU = 1 << 22


def check_fit(network: Network, data: Dataset) -> None:
    """Raise ValueError if the network answers other questions, or does not take these images."""
    if network.names != data.names:
        raise ValueError(
            f"network answers {', '.join(network.names)}, but data asks {', '.join(data.names)}: "
            "give it a new head with networks.new_head."
        )
    weights = [layer for layer in network.modules() if list(layer.parameters(recurse=False))]
    first = weights[0] if weights else None
    if isinstance(first, nn.Conv2d) and first.in_channels != data.images.shape[1]:
        raise ValueError(
            f"data must hold images of {first.in_channels} channels, which network reads; "
            f"got {data.images.shape[1]}."
        )
    # One image shows at once what a trunk of somebody's own would trip over in the first step.
    place, training = next(network.parameters()).device, network.training
    size = tuple(data.images.shape[1:])
    try:
        with torch.no_grad():
            answer = tuple(network.eval()(data.images[:1].to(place)).shape)
    except RuntimeError as error:
        raise ValueError(f"network does not take images of {size}: {error}") from error
    finally:
        network.train(training)
    if answer != (1, len(network.names)):
        raise ValueError(
            f"network must give logits (m, {len(network.names)}) for images of {size}; for one "
            f"image it gave {answer}: does the trunk end in a flat row of features (nn.Flatten)?"
        )


@on_cpu()
@threads(1)
def predict(
    network: Network, data: Dataset, device: str | None = None, precision: str | None = None
) -> Tensor:
    """The network's logits for every image. Returns: float32 (m, outputs), on the CPU.

    The network is left in evaluation mode, on the device where it lay.
    Raises: ValueError if the network reads other images than these.
    """
    place = machine(device, precision)
    network.eval()
    with borrowed(network, place.device), torch.inference_mode(), place.autocast():
        return torch.cat([network(x).float().cpu() for x in portions(data, place)])


def portions(data: Dataset, place: Machine) -> Iterator[Tensor]:
    """The images on the device, as many at a time as it answers fastest.

    Yields: uint8 (some, channels, height, width).
    """
    pixels = _PIXELS if place.device.type == "cpu" else _PIXELS_GPU
    height, width = data.images.shape[-2:]
    for images in data.images.split(max(1, pixels // (height * width))):
        yield images.to(place.device)


def evaluate(
    network: Network, data: Dataset, device: str | None = None, precision: str | None = None
) -> pd.DataFrame:
    """How well the network answers, one row a task (one row in all for a dataset with classes).

    Columns: labelled (images whose label is known), and over those accuracy and mean loss. With
        tasks also positive (the share of 1), auc (the area under the ROC curve: how often a 1 ranks
        above a 0) and average_precision. nan where there is nothing to score: a task without a
        known label, auc without both a 1 and a 0, average_precision without a 1.
    Raises: ValueError if network and data do not fit together.
    """
    check_fit(network, data)
    logits = predict(network, data, device, precision).double()
    labels = data.labels.cpu()
    if data.tasks:
        columns, names = _scores(logits, labels), data.tasks
    else:
        right = (logits.argmax(dim=1) == labels).double().mean()
        loss = losses.softmax_terms(logits, labels)
        columns = {"labelled": [len(data)], "accuracy": [right.item()], "loss": loss.tolist()}
        names = ["class"]
    return pd.DataFrame(columns, index=pd.Index(names, name="task"))


def occlusion(
    network: Network, image: Tensor, task: str, patch: int = 6, stride: int = 2
) -> Tensor:
    """How far the logit of a task falls when a patch hides one place of the image after another.

    The patch has the image's mean colour. It shows what the answer depends on, not why (Zeiler and
    Fergus, Visualizing and understanding convolutional networks, ECCV 2014).
    image: uint8 (channels, height, width). patch, stride: pixels.
    Returns: float32 (rows, columns); entry (r, c) is for the patch whose upper left corner is the
        pixel (r · stride, c · stride).
    Raises: ValueError if the network has no such task, or the patch is larger than the image.
    """
    if task not in network.names:
        raise ValueError(f"task must be one of {', '.join(network.names)}; got {task!r}.")
    height, width = image.shape[1:]
    patch, stride = whole("patch", patch, least=1), whole("stride", stride, least=1)
    if patch > min(height, width):
        raise ValueError(f"patch must be at most {min(height, width)} pixels; got {patch}.")
    corners = [range(0, side - patch + 1, stride) for side in (height, width)]
    colour = image.float().mean(dim=(1, 2), keepdim=True).round().to(torch.uint8)
    hidden = image.repeat(1 + len(corners[0]) * len(corners[1]), 1, 1, 1)
    for number, (top, left) in enumerate(itertools.product(*corners), start=1):
        hidden[number, :, top : top + patch, left : left + patch] = colour
    place = next(network.parameters()).device
    with torch.inference_mode():
        logits = network.eval()(hidden.to(place))[:, network.names.index(task)].float().cpu()
    return (logits[0] - logits[1:]).view(len(corners[0]), len(corners[1]))


def similarity(one: Network, other: Network, data: Dataset) -> list[float]:
    """How alike two networks see the same images, block by block, from the picture on (T3).

    Linear CKA (Kornblith et al. 2019): 1 when the features of a block agree but for a turn, a
    mirror and a scale of the whole feature space; about 0 when they have nothing to do with each
    other.
    Returns: a number for each block of the trunk that has weights.
    Raises: ValueError if the two have not as many blocks, or not one trunk.
    """
    if len(blocks(one)) != len(blocks(other)):
        raise ValueError("one and other must have as many blocks in their trunks.")
    features = zip(_features(one, data), _features(other, data), strict=True)
    return [cka(x, y) for x, y in features]


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment, without the bias of having more features than images.

    The plain estimator finds 0.8 between 500 images' independent features when there are 2,048.
    This one (Song et al. 2012, Nguyen et al. 2021) is about 0 there; chance may carry it below 0.
    x, y: float (m, any), features of the same m > 3 images.
    """
    x, y = (values.detach().double() for values in (x, y))
    x, y = x @ x.T, y @ y.T  # (m, m)
    return float(_hsic(x, y) / (_hsic(x, x) * _hsic(y, y)).sqrt())


def _hsic(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimator of Song et al. (2012), but for a factor. x, y: (m, m)."""
    m = len(x)
    x, y = (gram - gram.diag().diag() for gram in (x, y))
    both = x.sum() * y.sum() / ((m - 1) * (m - 2)) - 2 * x.sum(dim=0) @ y.sum(dim=0) / (m - 2)
    return (x * y).sum() + both


@on_cpu()
@threads(1)
def _features(network: Network, data: Dataset) -> list[Tensor]:
    """What each block of the trunk makes of the images. Returns: float32 (m, features) each."""
    place, found = machine(), []
    network.eval()
    with borrowed(network, place.device), torch.inference_mode():
        for images in portions(data, place):
            values, given = normalise(images), []
            for layer in network.trunk:
                values = layer(values)
                if layer in blocks(network):
                    given.append(values.flatten(1).float().cpu())
            found.append(given)
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def _scores(logits: Tensor, labels: Tensor) -> dict[str, list]:
    """The columns of `evaluate` for tasks. logits: float64 (m, tasks). labels: int8 (m, tasks)."""
    sums, labelled = losses.multi_task_sums(logits, labels)  # (tasks,), (tasks,)
    positive = labels == 1
    right = ((logits > 0) == positive) & (labels != UNKNOWN)
    auc, average_precision = _ranking(logits, labels)
    columns = {
        "labelled": labelled,
        "positive": positive.sum(dim=0) / labelled.double(),
        "accuracy": right.sum(dim=0) / labelled.double(),
        "auc": auc,
        "average_precision": average_precision,
        "loss": sums / labelled,
    }
    return {name: values.tolist() for name, values in columns.items()}


def _ranking(logits: Tensor, labels: Tensor) -> Tensor:
    """Each task's area under the ROC curve and average precision. Returns: float64 (2, tasks)."""
    # Here, because it takes a second.
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores = torch.full((2, logits.shape[1]), float("nan"), dtype=torch.float64, device="cpu")
    for j, (column, truth) in enumerate(zip(logits.T, labels.T, strict=True)):
        known = truth != UNKNOWN
        truth = truth[known].numpy()
        if 1 not in truth or column[known].isnan().any():
            continue
        rank = column[known].unique(return_inverse=True)[1].numpy()  # infinite scores are refused
        scores[1, j] = average_precision_score(truth, rank)
        if 0 in truth:
            scores[0, j] = roc_auc_score(truth, rank)
    return scores
