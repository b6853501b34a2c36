"""The tasks' gradients on the trunk they share, and the angles between them (lesson 06)."""

import copy

import torch
from torch import Tensor

from mtl_course import evaluation, losses
from mtl_course.datasets import Dataset
from mtl_course.devices import check_gradients
from mtl_course.networks import Network


def of_each_task(network: Network, data: Dataset) -> Tensor:
    """Return the gradient of each task's part of the lecture's loss with respect to the trunk.

    Computed as training does, with the statistics of this batch; `network` is left as it was.

    data: one batch, with tasks; with more images the gradient is less noisy.
    Returns: float32 (tasks, weights of the trunk), on the network's device; 0 for a task without
        a known label.
    Raises: ValueError if network and data do not fit together, or gradients are switched off.
    """
    evaluation.check_fit(network, data)
    check_gradients()
    network = copy.deepcopy(network).train()  # a batch moves the statistics of normalisation
    device = next(network.parameters()).device
    weights = [p for p in network.trunk.parameters() if p.requires_grad]
    logits = network(data.images.to(device))  # (m, tasks)
    task_losses = losses.multi_task_losses(logits, data.labels.to(device))  # (tasks,)
    rows = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in task_losses]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def cosines(gradients: Tensor) -> Tensor:
    """Return the cosine between each pair of gradients; below 0 they conflict.

    gradients: (tasks, weights). Returns: (tasks, tasks); nan beside a gradient that is 0.
    """
    unit = gradients / gradients.norm(dim=1, keepdim=True)
    return unit @ unit.T
