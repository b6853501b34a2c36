"""The lecture's loss for many yes/no tasks, and softmax's for one question with many classes.

`multi_task` and `softmax` check their input. Training calls the unchecked functions beside them,
on a `Dataset` that was checked when it was made; they give one loss a task, which a history shows.
"""

import torch
from torch import Tensor
from torch.nn import functional

from mtl_course.datasets import UNKNOWN, check_labels


def multi_task(logits: Tensor, labels: Tensor) -> Tensor:
    """The lecture's loss: (1/m) Σᵢ Σⱼ L(ŷⱼ⁽ⁱ⁾, yⱼ⁽ⁱ⁾) over the known labels (M2, M4).

    L = −y log ŷ − (1 − y) log(1 − ŷ), where ŷ is the sigmoid of the logit.

    logits: floating point (m, tasks). labels: int8 (m, tasks) in {0, 1, UNKNOWN}.
    Returns: a tensor without dimensions, in the dtype of the logits; the sums are made in float32
        or finer. Where a label is unknown the gradient is exactly 0; with every label unknown the
        loss is a 0 that has a gradient.
    Raises: ValueError when shapes or devices differ, a label is another value, or a logit is not
        finite.
    """
    _check(logits, labels, classes=False)
    return multi_task_losses(logits, labels).sum().to(logits.dtype)


def multi_task_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return `multi_task` before the sum over tasks, unchecked: float32 or finer (tasks,).

    Of K networks side by side, (K, m, tasks) → (K, tasks).
    """
    return multi_task_sums(logits, labels)[0] / logits.shape[-2]


def multi_task_sums(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each task's Σᵢ L(ŷⱼ⁽ⁱ⁾, yⱼ⁽ⁱ⁾) over its known labels, and how many those are, unchecked.

    Their quotient is a task's mean loss; `multi_task` divides by all m images instead.

    Returns: the sums, float32 or finer (tasks,), and the counts, int64 (tasks,).
    """
    known = labels != UNKNOWN
    # Both the logit and its label are made harmless where nothing is known: a gradient through
    # where() alone would be 0 · ∞ for an infinite logit.
    safe = torch.where(known, logits, 0)
    safe = safe.to(torch.promote_types(logits.dtype, torch.float32))  # 16 bits are too few to add
    truth = torch.where(known, labels, 0).to(safe.dtype)
    each = functional.binary_cross_entropy_with_logits(safe, truth, reduction="none")
    return (each * known).sum(dim=-2), known.sum(dim=-2)  # (tasks,), (tasks,)


def softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax regression's loss: (1/m) Σᵢ −log of the probability given to the true class.

    logits: floating point (m, classes). labels: int64 (m,) in 0 … classes − 1.
    Returns: a tensor without dimensions, in the dtype of the logits.
    Raises: ValueError when shapes or devices differ, a label is no class, or a logit is not finite.
    """
    _check(logits, labels, classes=True)
    return functional.cross_entropy(logits, labels)


def softmax_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return `softmax` of logits (m, classes) and labels (m,), unchecked: (1,), its only loss.

    Of K networks side by side, (K, m, classes) and (K, m) → (K, 1).
    """
    if logits.ndim == 2:
        return functional.cross_entropy(logits, labels)[None]
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(dim=1, keepdim=True)  # (K, 1)


def _check(logits: Tensor, labels: Tensor, classes: bool) -> None:
    if logits.ndim != 2 or not logits.is_floating_point() or 0 in logits.shape:
        got = f"{logits.dtype} {tuple(logits.shape)}"
        raise ValueError(f"logits must be floating point (m, outputs) and not empty; got {got}.")
    if (there := labels.device) != (here := logits.device):
        raise ValueError(f"labels must lie on the device of the logits, {here}; got {there}.")
    if labels.is_floating_point():
        raise ValueError(f"labels must be whole numbers; got {labels.dtype}.")
    check_labels(labels, tuple(logits.shape), classes)
    if logits.isnan().any():
        raise ValueError("logits must be numbers; got nan. Look for a division by 0 before them.")
    if logits[labels != UNKNOWN].isinf().any():
        raise ValueError("logits must be finite where a label is known; got an infinite one.")
