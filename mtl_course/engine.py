"""The engine: all that a training run needs, laid out on the device, and its one step.

`step` is the only place of the course where weights learn, of one network or of many that train
side by side. It finds everything on the device, its own number too, so it never waits for the
device; and on CUDA the whole of it is recorded once and then played.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtl_course import checkpoints, losses
from mtl_course.base import stream
from mtl_course.datasets import Dataset, normalise
from mtl_course.devices import Machine
from mtl_course.evaluation import portions
from mtl_course.networks import Network, frozen
from mtl_course.side_by_side import SideBySide

_WEIGHT_DECAY = 1e-4
_WARM_UP = 0.1  # of all steps


def step(run: Run) -> None:
    """One update: the loss of one batch, its gradient, a step down it.

    With K networks side by side each shape here has K in front.
    """
    rows = run.rows.index_select(0, run.at)[0]  # (batch,)
    with run.place.autocast():
        logits = run.learner(run.inputs[rows + run.first_input])  # (batch, outputs)
    terms = run.loss_terms(logits.float(), run.labels[rows + run.first_label])  # (terms,)
    run.optimiser.zero_grad()
    run.backward(terms)
    run.lay_out()
    run.rate.copy_(run.rates.index_select(0, run.at)[0])
    run.optimiser.step()
    run.terms.index_copy_(0, run.at, terms.detach()[None])
    run.at.add_(1)


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph: recorded here without being taken, and taken at each call."""
    graph = torch.cuda.CUDAGraph()
    # In the mode "thread_local" another thread's work on CUDA, a widget's say, breaks no recording.
    stream, mode = torch.cuda.current_stream(), "thread_local"
    with torch.cuda.graph(graph, stream=stream, capture_error_mode=mode):
        step()
    return graph.replay


class Run:
    """What `step` reads and changes: the networks, their data, and which batch comes when.

    The networks lie on the device already, in channels-last (`devices.borrowed`).

    rows: int64 (steps, batch), the images of each batch. inputs, labels: of every image, on the
    device. rates: float32 (steps,). terms: float32 (steps, terms), the loss's, as far as steps
    have been taken. at: int64 (1,), the number of the step that comes next.

    With K networks rows are (steps, K, batch) and terms (steps, K, terms); the images of all lie
    one after another, and those of a network begin at its entry of `first_input` and `first_label`.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        data: Sequence[Dataset],
        seeds: Sequence[int],
        place: Machine,
        backward: Callable[[Tensor], None],
        *,
        steps: int,
        batch_size: int,
        learning_rate: float,
    ) -> None:
        device, many = place.device, len(networks) > 1
        self.place, self.networks, self.tasks = place, networks, data[0].tasks
        self.backward, self.learning_rate = backward, learning_rate
        rows = [
            _rows(len(own), min(batch_size, len(own)), steps, seed)
            for own, seed in zip(data, seeds, strict=True)
        ]
        self.rows = (torch.stack(rows, dim=1) if many else rows[0]).to(device)
        for network in networks:
            network.train()
        learners, inputs = zip(
            *[_learner(network, own, place) for network, own in zip(networks, data, strict=True)],
            strict=True,
        )
        self.learner = SideBySide(learners) if many else learners[0]
        self.inputs, self.first_input = _end_to_end(inputs, device)
        self.labels, self.first_label = _end_to_end([own.labels for own in data], device)
        self.loss_terms = losses.multi_task_terms if self.tasks else losses.softmax_terms
        size = (steps, len(networks), len(self.tasks) or 1)
        self.terms = torch.zeros(size if many else size[::2], device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        rates = [learning_rate * _schedule(at, steps) for at in range(steps)]
        rates = torch.tensor(rates, dtype=torch.float32)
        self.rates, self.rate = rates.to(device), rates[0].clone().to(device)
        self.weights = [p for p in self.learner.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.weights,
            self.rate,
            weight_decay=_WEIGHT_DECAY,
            fused=True,
            capturable=device.type == "cuda",
        )

    def lay_out(self) -> None:
        """Lays each gradient out in memory as its weight is, as the fused optimiser expects.

        Those that autograd makes are; a `backward` of somebody else's may leave others.
        """
        for weight in self.weights:
            if weight.grad is not None and weight.grad.stride() != weight.stride():
                weight.grad = torch.empty_like(weight).copy_(weight.grad)

    @property
    def done(self) -> int:
        """How many steps have been taken. It waits for the device."""
        return int(self.at)

    def read(self, first: int, last: int) -> float:
        """The loss of the step before `last`; with many networks, their mean.

        Raises: FloatingPointError if a term of the steps from `first` to `last` is not finite.
        """
        recent = self.terms[first:last].cpu()
        if recent.isfinite().all():
            return recent[-1].sum(dim=-1).mean().item()
        where = tuple((~recent.isfinite()).nonzero()[0].tolist())
        task = f"task {self.tasks[where[-1]]!r}" if self.tasks else "the softmax over the classes"
        raise FloatingPointError(
            f"the loss became {recent[where].item()} at step {first + where[0]}, in {task}. Start "
            f"again with a new network and a learning_rate below {self.learning_rate:g}; if that "
            "does not help, look for images or weights that are not finite."
        )

    def finish(self) -> None:
        """Leaves the networks as they are trained so far, ready to answer."""
        if isinstance(self.learner, SideBySide):
            self.learner.give_back()
        for network in self.networks:
            network.eval()
            for weight in network.parameters():
                weight.grad = None

    def save(self, path: str | os.PathLike, about: dict) -> None:
        """Writes the run of one network to `path`."""
        state = {"optimiser": self.optimiser.state_dict(), "terms": self.terms[: self.done].cpu()}
        checkpoints.write(path, self.networks[0], {"about": about, **state})

    def resume(self, path: str | os.PathLike, about: dict) -> None:
        """Takes up the run that `path` holds, if it is there.

        Raises: ValueError if it is another run, or no run.
        """
        if not os.path.exists(path):
            return
        state = checkpoints.read(path, self.networks[0], about)
        self.optimiser.load_state_dict(state["optimiser"])
        group = self.optimiser.param_groups[0]  # the file's, perhaps of another device
        group |= {"lr": self.rate, "capturable": self.place.device.type == "cuda"}
        self.terms[: len(state["terms"])] = state["terms"].to(self.terms.device)
        self.at.fill_(len(state["terms"]))


def _rows(m: int, size: int, steps: int, seed: int) -> Tensor:
    """Which images each batch has: one epoch's shuffle after another's, cut into batches.

    An epoch's shuffle depends on (seed, epoch) alone. Returns: int64 (steps, size).
    """

    def shuffle(epoch: int) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(stream(seed, f"epoch {epoch}"))
        return torch.randperm(m, generator=generator)

    epochs = -(-steps * size // m)
    rows = torch.cat([shuffle(epoch) for epoch in range(epochs)])
    return rows[: steps * size].view(steps, size)


def _schedule(at: int, steps: int) -> float:
    """The share of the learning rate at a step: up over the first tenth, then linearly to 0."""
    warm = max(1, round(_WARM_UP * steps))
    return (at + 1) / warm if at < warm else (steps - at) / max(1, steps - warm)


def _learner(network: Network, data: Dataset, place: Machine) -> tuple[nn.Module, Tensor]:
    """What is trained, and on what: the network on images, or the head on a frozen trunk's output.

    A frozen trunk gives the same features at every step, so they are computed once.
    """
    if not frozen(network.trunk):
        return network, data.images
    with torch.inference_mode(), place.autocast():
        features = torch.cat([network.trunk(normalise(x)) for x in portions(data, place)])
    return network.head, features.float().clone()


def _end_to_end(parts: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor | int]:
    """All parts in one tensor, a part that comes again only once, and where each begins.

    Returns: the tensor; int64 (parts, 1), or 0 for a single part.
    """
    if len(parts) == 1:
        return parts[0].to(device), 0
    begins: dict[tuple, int] = {}
    kept: list[Tensor] = []
    for part in parts:
        memory = (part.data_ptr(), part.shape, part.stride())
        if memory not in begins:
            begins[memory] = sum(map(len, kept))
            kept.append(part)
    first = [[begins[part.data_ptr(), part.shape, part.stride()]] for part in parts]
    return torch.cat([part.to(device) for part in kept]), torch.tensor(first).to(device)
