"""What a network answers, and how often it is right."""

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
        raise ValueError(f"network answers {answers}, but data asks {asks}: use networks.new_head.")
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
        sums, _ = losses.multi_task_sums(logits, labels)  # (tasks,)
        columns = zip(logits.T, labels.T, sums.tolist(), strict=True)
        rows, names = [_scores(*column) for column in columns], data.tasks
    else:
        right = (logits.argmax(dim=1) == labels).double().mean().item()
        loss = losses.softmax_losses(logits, labels).item()
        rows, names = [{"labelled": len(data), "accuracy": right, "loss": loss}], ["class"]
    return pd.DataFrame(rows, index=pd.Index(names, name="task"))


def _scores(logits: Tensor, labels: Tensor, loss: float) -> dict[str, float]:
    """Score one task. logits: float64 (m,). labels: int8 (m,). loss: summed over known labels."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # takes a second

    known = labels != UNKNOWN
    logits, truth = logits[known], labels[known] == 1
    count, auc, average_precision = len(truth) or float("nan"), float("nan"), float("nan")
    if truth.any() and not logits.isnan().any():
        rank = logits.unique(return_inverse=True)[1].numpy()  # infinite scores are refused
        average_precision = average_precision_score(truth.numpy(), rank)
        auc = roc_auc_score(truth.numpy(), rank) if not truth.all() else auc
    positive, right = truth.sum().item() / count, ((logits > 0) == truth).sum().item() / count
    scores = {"labelled": len(truth), "positive": positive, "accuracy": right, "auc": auc}
    return scores | {"average_precision": average_precision, "loss": loss / count}
