"""All that a training run needs, laid out on the device: networks, data, and the order of batches.

`step` finds everything on the device, even the number of the step, so it never waits for the
device; on CUDA the whole of it is recorded once and then replayed.
"""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from mtl_course import devices, losses
from mtl_course.base import check_count, derive_seed, threads
from mtl_course.datasets import UNKNOWN, Dataset, normalise
from mtl_course.evaluation import check_fit, portions
from mtl_course.networks import Network, frozen
from mtl_course.training import _checkpoints
from mtl_course.training._side_by_side import SideBySide

_WEIGHT_DECAY = 1e-4
_WARM_UP = 0.1  # of all steps


def check_settings(steps: int, batch_size: int, learning_rate: float) -> dict:
    """Return the settings of a run as a dict. Raises: ValueError for one that cannot be."""
    devices.check_dtype()
    devices.check_gradients()
    steps = check_count("steps", steps, least=1)
    batch_size = check_count("batch_size", batch_size, least=1)
    if not (isinstance(learning_rate, (int, float)) and 0 < learning_rate < float("inf")):
        raise ValueError(f"learning_rate must be a number above 0; got {learning_rate!r}.")
    return {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}


def check_trainable(network: Network, data: Dataset) -> None:
    """Raise ValueError if there is nothing to train, or nothing to learn from."""
    check_fit(network, data)
    if frozen(network):
        raise ValueError("network is frozen, so there is nothing to train: free the head at least.")
    if data.tasks and not (data.labels != UNKNOWN).any():
        raise ValueError("data must hold at least one known label; all of them are UNKNOWN.")


class Run:
    """What `step` reads and changes: the networks, their data, and which batch comes when.

    works: network, data and seed of each. The networks lie on the device already, in channels-last
    (`devices.borrowed`). backward, settings: as in `fit`.

    batches: int64 (steps, batch), the images of each batch. inputs, labels: of every image, on the
    device. rates: float32 (steps,). losses: float32 (steps, tasks), as far as steps have been
    taken. step: int64 (1,), the number of the next step.

    With K networks batches are (steps, K, batch) and losses (steps, K, tasks); the images of all
    lie one after another, and those of a network begin at its entry of `first_input` and
    `first_label`.
    """

    def __init__(
        self, works: Sequence[tuple], machine: devices.Machine, backward: Callable, settings: dict
    ) -> None:
        networks, data, seeds = zip(*works, strict=True)
        device, many, steps = machine.device, len(networks) > 1, settings["steps"]
        self.machine, self.works, self.settings = machine, works, settings
        self.networks, self.tasks, self.backward = networks, data[0].tasks, backward
        self.checkpoint, self.about = None, None
        size = min(settings["batch_size"], len(data[0]))
        batches = [_batches(len(d), size, steps, s) for d, s in zip(data, seeds, strict=True)]
        self.batches = (torch.stack(batches, dim=1) if many else batches[0]).to(device)
        models, inputs = zip(*[_model(n, d, machine) for n, d, _ in works], strict=True)
        self.model = SideBySide(models) if many else models[0]
        self.inputs, self.first_input = _end_to_end(inputs, device)
        self.labels, self.first_label = _end_to_end([own.labels for own in data], device)
        self.loss = losses.multi_task_losses if self.tasks else losses.softmax_losses
        size = (steps, len(networks), len(self.tasks) or 1)
        self.losses = torch.zeros(size if many else size[::2], device=device)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        rates = [settings["learning_rate"] * _schedule(step, steps) for step in range(steps)]
        self.rates = torch.tensor(rates, dtype=torch.float32).to(device)
        self.rate = self.rates[0].clone()
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        options = {"weight_decay": _WEIGHT_DECAY, "capturable": device.type == "cuda"}
        self.optimizer = torch.optim.AdamW(self.weights, self.rate, fused=True, **options)

    def align_gradients(self) -> None:
        """Lay each gradient out in memory as its weight is, as the fused optimizer expects.

        Those that autograd makes are; somebody's own `backward` may leave others.
        """
        for weight in self.weights:
            if weight.grad is not None and weight.grad.stride() != weight.stride():
                weight.grad = torch.empty_like(weight).copy_(weight.grad)

    @property
    def done(self) -> int:
        """The number of steps taken. Waits for the device."""
        return int(self.step)

    def read(self, first: int, last: int) -> float:
        """Return the loss of the step before `last`; with many networks, their mean.

        Raises: FloatingPointError if a loss of the steps from `first` to `last` is not finite.
        """
        recent = self.losses[first:last].cpu()
        if recent.isfinite().all():
            return recent[-1].sum(dim=-1).mean().item()
        where = tuple((~recent.isfinite()).nonzero()[0].tolist())
        rate = self.settings["learning_rate"]
        task = f"task {self.tasks[where[-1]]!r}" if self.tasks else "the softmax over the classes"
        raise FloatingPointError(
            f"the loss became {recent[where].item()} at step {first + where[0]}, in {task}. Start "
            f"again with a new network and a learning_rate below {rate:g}, or look for images or "
            "weights that are not finite."
        )

    def finish(self) -> None:
        """Leave the networks as they are trained so far, in evaluation mode."""
        if isinstance(self.model, SideBySide):
            self.model.give_back()
        for network in self.networks:
            network.eval().zero_grad()

    def save(self) -> None:
        """Write the run of one network to its checkpoint."""
        state = {"optimizer": self.optimizer.state_dict(), "losses": self.losses[: self.done].cpu()}
        _checkpoints.save(self.networks[0], self.checkpoint, run=self.about, **state)

    def resume(self, checkpoint: str | Path) -> None:
        """Keep the run of one network in `checkpoint`, and resume the run that is there already.

        Raises: ValueError if it is another run, or no run.
        """
        self.checkpoint, self.about = checkpoint, _describe(self)
        if not Path(checkpoint).exists():
            return
        (network,) = self.networks
        state = _checkpoints.read(checkpoint, network, self.about)
        if (runs := getattr(network, "_runs", [])) and runs[-1][0] == self.about:
            network._runs = runs[:-1]  # the same run: its steps will all be in the new history
        self.optimizer.load_state_dict(state["optimizer"])
        group = self.optimizer.param_groups[0]  # the file's, perhaps of another device
        group |= {"lr": self.rate, "capturable": self.machine.device.type == "cuda"}
        self.losses[: len(state["losses"])] = state["losses"].to(self.losses.device)
        self.step.fill_(len(state["losses"]))

    def histories(self) -> list[pd.DataFrame]:
        """Return the history of each network, and join it to those of its earlier runs."""
        histories, done, steps = [], self.done, len(self.losses)
        values = self.losses.cpu().numpy().reshape(steps, len(self.networks), -1)  # (…, K, tasks)
        for k, network in enumerate(self.networks):
            history = pd.DataFrame(values[:done, k], columns=list(self.tasks) or ["loss"])
            if self.tasks:
                history.insert(0, "loss", history.sum(axis=1))
            history.index.name = "step"
            history.attrs = {"interrupted": done < steps}
            network._runs = [*getattr(network, "_runs", []), (self.about, history)]
            network.history = pd.concat([part for _, part in network._runs], ignore_index=True)
            network.history.attrs = history.attrs
            histories.append(history)
        return histories


@contextlib.contextmanager
def borrowing(works: Sequence[tuple], machine: devices.Machine, *settings: object) -> Iterator[Run]:
    """Give a `Run` of these, with its networks on the device, and bring them back afterwards."""
    with contextlib.ExitStack() as stack, threads(1), machine.own_stream():
        for network, _, _ in works:
            stack.enter_context(devices.borrowed(network, machine.device))
        yield Run(works, machine, *settings)


def _batches(m: int, size: int, steps: int, seed: int) -> Tensor:
    """Return which images each batch has: one epoch's shuffle after another's, cut into batches.

    An epoch's shuffle depends on (seed, epoch) alone. Returns: int64 (steps, size).
    """
    epochs = -(-steps * size // m)
    seeds = [derive_seed(seed, f"epoch {epoch}") for epoch in range(epochs)]
    again = map(torch.Generator("cpu").manual_seed, seeds)
    order = torch.cat([torch.randperm(m, generator=generator) for generator in again])
    return order[: steps * size].view(steps, size)


def _schedule(step: int, steps: int) -> float:
    """Return the share of the learning rate: up over the first tenth, then linearly to 0."""
    warm = max(1, round(_WARM_UP * steps))
    return (step + 1) / warm if step < warm else (steps - step) / max(1, steps - warm)


def _model(network: Network, data: Dataset, machine: devices.Machine) -> tuple[nn.Module, Tensor]:
    """Return what trains, and on what: the network on images, or the head on fixed features.

    A frozen trunk gives the same features at every step, so they are computed once.
    """
    if not frozen(network.train().trunk):
        return network, data.images
    with torch.inference_mode(), machine.autocast():
        features = torch.cat([network.trunk(normalise(x)) for x in portions(data, machine)])
    return network.head, features.float().clone()


def _end_to_end(parts: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor | int]:
    """Join all parts to one tensor, each distinct part once, and say where each begins.

    Returns: the tensor; int64 (parts, 1), or 0 for a single part.
    """
    if len(parts) == 1:
        return parts[0].to(device), 0
    distinct = list(dict.fromkeys(parts))  # a tensor is the same key as itself alone
    begins = dict(zip(distinct, itertools.accumulate(map(len, distinct), initial=0), strict=False))
    first = torch.tensor([[begins[part]] for part in parts])  # (parts, 1)
    return torch.cat([part.to(device) for part in distinct]), first.to(device)


def _describe(run: Run) -> dict:
    """Return what must agree for a run of one network to resume from a checkpoint."""
    ((network, data, seed),) = run.works
    stride = max(1, len(data) // 1000)  # a digest of every image would cost more than a step
    content = hashlib.sha256(data.images[::stride].cpu().numpy().tobytes())
    content.update(data.labels.cpu().numpy().tobytes())
    trains = " ".join(name for name, p in network.named_parameters() if p.requires_grad)
    about = {"images": len(data), "data": content.hexdigest(), "trains": trains}
    return about | {"precision": run.machine.precision, "seed": seed, **run.settings}
