"""Training: `fit`, `evaluate`, checkpoints, and the one place that picks device and precision.

`fit` reads from top to bottom: put the data on the device, and for every step take a batch by its
indices, compute the loss, go back, step. Nothing else happens in the loop.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mtl_course import losses
from mtl_course.base import atomic, one_thread, stream, whole
from mtl_course.datasets import UNKNOWN, Dataset, normalise
from mtl_course.networks import Network, frozen

_log = logging.getLogger(__name__)

_WEIGHT_DECAY = 1e-4
_WARM_UP = 0.1  # of all steps
_READ_EVERY = 50  # steps between two looks at the loss, each of which waits for the device
_SAVE_EVERY = 250  # steps between two checkpoints
_EVALUATE = 4096  # images at a time


# ---------------------------------------------------------------------- device and precision


class Machine(NamedTuple):
    """Where training runs, in what precision, and why."""

    device: torch.device
    precision: str
    reason: str

    def autocast(self) -> torch.autocast:
        """The context in which a forward pass runs in this precision."""
        low = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low)


def machine(device: str | None = None, precision: str | None = None) -> Machine:
    """The device and precision training uses, from what the machine says it can do.

    Left open, `device` is CUDA where there is one, else Apple's MPS, else the CPU; `precision` is
    bfloat16 on CUDA that has it and on CPUs with AMX, else float32. Nothing is timed: the same
    machine always gives the same answer.

    Raises: ValueError if `device` is not on this machine or `precision` is not one of the two.
    """
    chosen, why = _device(device)
    fast, reason = _bfloat16(chosen)
    if precision is None:
        precision = "bfloat16" if fast else "float32"
    elif precision in ("bfloat16", "float32"):
        reason = "as asked"
    else:
        raise ValueError(f"precision must be 'float32' or 'bfloat16'; got {precision!r}.")
    return Machine(chosen, precision, f"{why}; {reason}")


def _device(device: str | None) -> tuple[torch.device, str]:
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device is None:
        kind = next(kind for kind, found in there.items() if found)
        return torch.device(kind), "the fastest device here" if kind != "cpu" else "no GPU here"
    try:
        asked = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be like 'cpu', 'cuda' or 'mps'; got {device!r}.") from None
    if not there.get(asked.type) or (asked.index or 0) >= _count(asked.type):
        have = ", ".join(kind for kind, found in there.items() if found)
        raise ValueError(f"device {device!r} is not on this machine, which has: {have}.")
    return asked, "as asked"


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def _bfloat16(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return True, "this GPU multiplies bfloat16 in hardware"
        return False, "this GPU has no bfloat16 in hardware"
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return True, "this processor multiplies bfloat16 in hardware (AMX)"
    return False, "float32 is the safe choice here"


# ---------------------------------------------------------------------- training


@one_thread()
def fit(
    network: Network,
    data: Dataset,
    *,
    steps: int,
    seed: int,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    device: str | None = None,
    precision: str | None = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Trains `network` on `data`, in place, with AdamW: a short warm-up, then linearly down to 0.

    Datasets with classes get softmax's loss, datasets with tasks the lecture's (M2, M4). Frozen
    layers do not move; when the whole trunk is frozen its features are computed once. Every batch
    has `batch_size` images (all of them, if there are fewer), from a shuffled order that depends on
    `seed` alone. An interruption (Ctrl-C, the stop button) keeps the network trained so far.

    steps: updates. learning_rate: the highest one, after the warm-up.
    checkpoint: a file that is written as training goes and, if it is there, gone on from; on the
        CPU the result is then bit for bit that of a run without a break.
    Returns: the history, one row a step: `loss`, and with tasks also a column for each task's
        part of it. Its `attrs["interrupted"]` tells whether the run was cut short, and
        `attrs["labels"]`, a dict, from how many known labels each task has learned (an image that
        came twice counts twice). The network keeps the history of all its training as
        `network.history`.
    Raises: ValueError for arguments that do not fit together; FloatingPointError when the loss is
        no longer finite, with the step, the task and what to do.
    """
    steps, batch_size = whole("steps", steps, least=1), whole("batch_size", batch_size, least=1)
    if not (isinstance(learning_rate, (int, float)) and 0 < learning_rate < float("inf")):
        raise ValueError(f"learning_rate must be a number above 0; got {learning_rate!r}.")
    _check(network, data)
    place = machine(device, precision)
    network.to(place.device, memory_format=torch.channels_last).train()
    learner, inputs = _learner(network, data, place)
    labels = data.labels.to(place.device)
    loss_terms = losses.softmax_terms if data.classes else losses.multi_task_terms
    weights = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, learning_rate, weight_decay=_WEIGHT_DECAY, fused=True)
    terms = torch.zeros(steps, len(data.tasks) or 1, device=place.device)

    run = _Run(network, optimiser, terms, _describe(network, data, place, steps=steps,
               batch_size=batch_size, learning_rate=learning_rate, seed=seed))  # fmt: skip
    resumed = done = run.resume(checkpoint) if checkpoint else 0
    size = min(batch_size, len(data))
    batches = _batches(len(data), size, done, steps, seed, place.device)
    bar = tqdm(total=steps, initial=done, desc="training", disable=not progress, leave=False)
    try:
        for rows in batches:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * _schedule(done, steps)
            terms[done] = _step(learner, loss_terms, optimiser, inputs[rows], labels[rows], place)
            done += 1
            if done % _READ_EVERY == 0 or done == steps:
                bar.set_postfix(loss=f"{_read(terms[:done], data, learning_rate):.3f}")
                bar.update(done - bar.n)
                if checkpoint and (done % _SAVE_EVERY == 0 or done == steps):
                    run.save(checkpoint, done)
    except KeyboardInterrupt:
        _log.warning(
            "Interrupted after %d of %d steps: the network stays as it is now.", done, steps
        )
    finally:
        bar.close()
        network.eval()
    attrs = {"interrupted": done < steps, "labels": _labels_seen(data, done * size, seed)}
    return _remember(network, data, terms[:done], run.about, bool(resumed), attrs)


def _step(
    learner: nn.Module,
    loss_terms: Callable[[Tensor, Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    place: Machine,
) -> Tensor:
    """One update: the loss of one batch, its gradient, a step down it. Returns: (terms,)."""
    with place.autocast():
        logits = learner(inputs)  # (batch, outputs)
    terms = loss_terms(logits.float(), labels)
    optimiser.zero_grad()
    terms.sum().backward()
    optimiser.step()
    return terms.detach()


def _schedule(step: int, steps: int) -> float:
    """The share of the learning rate at `step`: up over the first tenth, then linearly to 0."""
    warm = max(1, round(_WARM_UP * steps))
    return (step + 1) / warm if step < warm else (steps - step) / max(1, steps - warm)


def _batches(
    m: int, size: int, start: int, steps: int, seed: int, device: torch.device
) -> Iterator[Tensor]:
    """The rows of batch `start`, `start` + 1, …: slices of one epoch's shuffle after another's.

    Yields: int64 (size,) on `device`.
    """

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> Tensor:
        return _order(m, seed, epoch).to(device)

    for step in range(start, steps):
        epoch, first = divmod(step * size, m)
        rows = order(epoch)[first : first + size]
        if len(rows) < size:
            rows = torch.cat([rows, order(epoch + 1)[: size - len(rows)]])
        yield rows


def _order(m: int, seed: int, epoch: int) -> Tensor:
    """One epoch's shuffle, from (seed, epoch) alone, so a run can go on from any step."""
    generator = torch.Generator().manual_seed(stream(seed, f"epoch {epoch}"))
    return torch.randperm(m, generator=generator)


def _labels_seen(data: Dataset, images: int, seed: int) -> dict[str, int]:
    """How many known labels each task has among the first `images` that `_batches` goes through.

    Worked out from the order of the images, so it costs the loop nothing and is the same however
    often a run was broken off and gone on with.
    """
    if data.classes:
        return {}
    known = data.labels.cpu() != UNKNOWN
    epochs, rest = divmod(images, len(data))
    part = known[_order(len(data), seed, epochs)[:rest]]
    seen = epochs * known.sum(dim=0) + part.sum(dim=0)  # (tasks,)
    return dict(zip(data.tasks, seen.tolist(), strict=True))


def _learner(network: Network, data: Dataset, place: Machine) -> tuple[nn.Module, Tensor]:
    """What is trained, and on what: the network on images, or the head on a frozen trunk's output.

    A frozen trunk gives the same features at every step, so they are computed once.
    """
    if not frozen(network.trunk):
        return network, data.images.to(place.device)
    with torch.inference_mode(), place.autocast():
        features = torch.cat(
            [network.trunk(normalise(x.to(place.device))) for x in data.images.split(_EVALUATE)]
        )
    return network.head, features.float().clone()


def _check(network: Network, data: Dataset) -> None:
    _check_fit(network, data)
    if frozen(network):
        raise ValueError("network is frozen, so there is nothing to train: free the head at least.")
    if data.tasks and not (data.labels != UNKNOWN).any():
        raise ValueError("data must hold at least one known label; all of them are UNKNOWN.")


def _check_fit(network: Network, data: Dataset) -> None:
    if network.names != data.names:
        raise ValueError(
            f"network answers {', '.join(network.names)}, but data asks {', '.join(data.names)}: "
            "give it a new head with networks.new_head."
        )
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels != data.images.shape[1]:
        raise ValueError(
            f"data must hold images of {first.in_channels} channels, which network reads; "
            f"got {data.images.shape[1]}."
        )


def _read(terms: Tensor, data: Dataset, learning_rate: float) -> float:
    """The last loss; an error if any so far is not finite. terms: (steps so far, terms)."""
    recent = terms[-_READ_EVERY:].cpu()
    if recent.isfinite().all():
        return float(recent[-1].sum())
    row, column = (~recent.isfinite()).nonzero()[0].tolist()
    where = f"task {data.tasks[column]!r}" if data.tasks else "the softmax over the classes"
    raise FloatingPointError(
        f"the loss became {recent[row, column].item()} at step {len(terms) - len(recent) + row}, "
        f"in {where}. Start again with a new network and a learning_rate below {learning_rate:g}; "
        "if that does not help, look for images or weights that are not finite."
    )


def _remember(
    network: Network, data: Dataset, terms: Tensor, about: dict, resumed: bool, attrs: dict
) -> pd.DataFrame:
    """The history of this run, which `network.history` joins to those of earlier runs."""
    history = pd.DataFrame(terms.cpu().numpy(), columns=list(data.tasks) or ["loss"])
    if data.tasks:
        history.insert(0, "loss", history.sum(axis=1))
    history.index.name = "step"
    history.attrs = attrs
    runs = getattr(network, "_runs", [])
    if resumed and runs and runs[-1][0] == about:
        runs = runs[:-1]  # the same run, gone on with: its steps are all in this history
    network._runs = [*runs, (about, history)]
    network.history = pd.concat([history for _, history in network._runs], ignore_index=True)
    seen = [earlier.attrs["labels"] for _, earlier in network._runs]
    labels = {task: sum(run[task] for run in seen) for task in data.tasks}
    network.history.attrs = attrs | {"labels": labels}
    return history


# ---------------------------------------------------------------------- evaluation


@one_thread()
def predict(
    network: Network, data: Dataset, device: str | None = None, precision: str | None = None
) -> Tensor:
    """The network's logits for every image. Returns: float32 (m, outputs), on the CPU.

    Raises: ValueError if the network reads other images than these.
    """
    place = machine(device, precision)
    network.to(place.device, memory_format=torch.channels_last).eval()
    with torch.inference_mode(), place.autocast():
        parts = [network(x.to(place.device)).float().cpu() for x in data.images.split(_EVALUATE)]
    return torch.cat(parts)


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
    _check_fit(network, data)
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
    # Here, because it brings torchvision with it and takes seconds.
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    scores = torch.full((2, logits.shape[1]), float("nan"), dtype=torch.float64)
    for j, (column, truth) in enumerate(zip(logits.T, labels.T, strict=True)):
        known = truth != UNKNOWN
        truth = truth[known].long()
        if 1 not in truth or column[known].isnan().any():
            continue
        # Places instead of logits: torchmetrics squashes logits, and large ones would tie.
        place = column[known].unique(return_inverse=True)[1] / len(column)
        scores[1, j] = binary_average_precision(place.double(), truth)
        if 0 in truth:
            scores[0, j] = binary_auroc(place.double(), truth)
    return scores


# ---------------------------------------------------------------------- checkpoints

_FORMAT = "mtl_course checkpoint 1"


def save(network: Network, path: str | os.PathLike) -> None:
    """Writes the network's weights and statistics to `path`, whole or not at all."""
    _write(path, network, {})


def load(network: Network, path: str | os.PathLike) -> Network:
    """Reads weights written by `save` into a network that was built in the same way.

    Returns: the network. Only tensors and plain values are read (torch's `weights_only`).
    Raises: FileNotFoundError; ValueError if the file is damaged, not a checkpoint of this package,
        or of another network.
    """
    _read_file(path, network)
    return network


class _Run:
    """What a checkpoint of a training run holds beside the weights."""

    def __init__(
        self, network: Network, optimiser: torch.optim.Optimizer, terms: Tensor, about: dict
    ) -> None:
        self.network, self.optimiser, self.terms, self.about = network, optimiser, terms, about

    def save(self, path: str | os.PathLike, done: int) -> None:
        state = {"optimiser": self.optimiser.state_dict(), "terms": self.terms[:done].cpu()}
        _write(path, self.network, {"about": self.about, **state})

    def resume(self, path: str | os.PathLike) -> int:
        """Takes up the run that `path` holds, if it is there. Returns: the steps already done."""
        if not Path(path).exists():
            return 0
        state = _read_file(path, self.network, self.about)
        self.optimiser.load_state_dict(state["optimiser"])
        self.terms[: len(state["terms"])] = state["terms"].to(self.terms.device)
        return len(state["terms"])


def _describe(network: Network, data: Dataset, place: Machine, **settings: float) -> dict:
    """What must agree for a run to go on from a checkpoint."""
    stride = max(1, len(data) // 1000)  # a digest of every image would cost more than a step
    content = hashlib.sha256(data.images[::stride].cpu().numpy().tobytes())
    content.update(data.labels.cpu().numpy().tobytes())
    trains = [name for name, p in network.named_parameters() if p.requires_grad]
    about = {"images": len(data), "data": content.hexdigest(), "trains": " ".join(trains)}
    return about | {"precision": place.precision, **settings}


def _write(path: str | os.PathLike, network: Network, state: dict) -> None:
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    content = {"format": _FORMAT, "names": list(network.names), "network": weights, **state}
    with atomic(path) as file:
        torch.save(content, file)


def _read_file(path: str | os.PathLike, network: Network, about: dict | None = None) -> dict:
    """Reads a checkpoint into `network`, once every part of it has been found to fit."""
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise ValueError(f"{path} is damaged or is no checkpoint: delete or move it.") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(f"{path} was not written by mtl_course: choose another path.")
    here = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in state["network"].items()}
    if here != there or state["names"] != list(network.names):
        odd = [name for name in here.keys() | there.keys() if here.get(name) != there.get(name)]
        what = f"layer {min(odd)}" if odd else "the names of its outputs"
        raise ValueError(f"{path} is of another network (look at {what}): choose another path.")
    if about is not None:
        if "about" not in state:
            raise ValueError(f"{path} holds a finished network, not a run: choose another path.")
        odd = [key for key in about if state["about"].get(key) != about[key]]
        if odd:
            raise ValueError(f"{path} is of another run (look at {', '.join(odd)}): move it away.")
    network.load_state_dict(state["network"])
    return state
