"""What a network answers, and how often it is right."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor

from mtl_course import devices, losses
from mtl_course.base import threads
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.networks import Network

_PIXELS = 1 << 17  # at a time on a CPU, so that what a layer gives stays in its cache
_PIXELS_GPU = 1 << 22


def check_fit(network: Network, data: Dataset) -> None:
    """Raise ValueError if the network answers other questions, or does not take these images."""
    if network.names != data.names:
        answers, asks = ", ".join(network.names), ", ".join(data.names)
        advice = "give it a new head with networks.new_head"
        raise ValueError(f"network answers {answers}, but data asks {asks}: {advice}.")
    # One image shows at once what a trunk of somebody's own would trip over in the first step.
    device, training = next(network.parameters()).device, network.training
    size = tuple(data.images.shape[1:])
    try:
        with torch.no_grad():
            answer = tuple(network.eval()(data.images[:1].to(device)).shape)
    except RuntimeError as error:
        raise ValueError(f"network does not take images of {size}: {error}") from error
    finally:
        network.train(training)
    if answer != (1, count := len(network.names)):
        what = f"logits (m, {count}) for images of {size}; for one image it gave {answer}"
        raise ValueError(f"network must give {what}: does the trunk end in nn.Flatten?")


@devices.on_cpu()
@threads(1)
def predict(
    network: Network, data: Dataset, device: str | None = None, precision: str | None = None
) -> Tensor:
    """Return the network's logits for every image: float32 (m, outputs), on the CPU.

    The network is left in evaluation mode, on the device where it lay.
    Raises: ValueError if the network reads other images than these.
    """
    machine = devices.machine(device, precision)
    network.eval()
    with devices.borrowed(network, machine.device), torch.inference_mode(), machine.autocast():
        return torch.cat([network(x).float().cpu() for x in portions(data, machine)])


def portions(data: Dataset, machine: devices.Machine) -> Iterator[Tensor]:
    """Give out the images on the device, as many at a time as it answers fastest.

    Yields: uint8 (some, channels, height, width).
    """
    pixels = _PIXELS if machine.device.type == "cpu" else _PIXELS_GPU
    height, width = data.images.shape[-2:]
    for images in data.images.split(max(1, pixels // (height * width))):
        yield images.to(machine.device)


def evaluate(
    network: Network, data: Dataset, device: str | None = None, precision: str | None = None
) -> pd.DataFrame:
    """Score the network's answers, one row a task (one row in all for a dataset with classes).

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
        loss = losses.softmax_losses(logits, labels)
        columns = {"labelled": [len(data)], "accuracy": [right.item()], "loss": loss.tolist()}
        names = ["class"]
    return pd.DataFrame(columns, index=pd.Index(names, name="task"))


def _scores(logits: Tensor, labels: Tensor) -> dict[str, list]:
    """Return `evaluate`'s columns. logits: float64 (m, tasks). labels: int8 (m, tasks)."""
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
    """Return each task's area under the ROC curve and average precision: float64 (2, tasks)."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # takes a second

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
