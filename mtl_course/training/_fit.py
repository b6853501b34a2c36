"""`fit` trains one network; `step` is the one place of the course where weights learn."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtl_course import devices
from mtl_course.base import check_writable
from mtl_course.datasets import Dataset
from mtl_course.networks import Network
from mtl_course.training import _run
from mtl_course.training._run import Run

_log = logging.getLogger(__name__)

Fit = Callable[..., pd.DataFrame]
"""`fit`, or what stands in for it: something that trains a network and returns the history."""

BATCH_SIZE = 64
LEARNING_RATE = 3e-3

_READ_EVERY = 50  # steps between two looks at the loss, each of which waits for the device
_SAVE_EVERY = 250  # steps between two checkpoints
_BEFORE_RECORDING = 3  # steps in which CUDA's libraries set up what must not be recorded


@devices.on_cpu()
def fit(
    network: Network,
    data: Dataset,
    *,
    steps: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    backward: Callable[[Tensor], None] | None = None,
    device: str | None = None,
    precision: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train `network` on `data`, in place, with AdamW: a short warm-up, then linearly down to 0.

    Datasets with classes get the softmax loss, datasets with tasks the lecture's (M2, M4). Frozen
    layers do not move; if the whole trunk is frozen, its features are computed once. Every batch
    has `batch_size` images (or all, if there are fewer) in a shuffled order that depends on `seed`
    alone. An interruption (Ctrl-C, the stop button) keeps the network trained so far. On a CPU
    it uses one thread, and two runs agree bit for bit. The network comes back where it lay.

    steps: updates. learning_rate: the highest one, after the warm-up.
    backward: a function that takes the task losses, float32 (tasks,), or (1,) with classes, and
        adds to each weight's `grad`; None adds the gradient of their sum.
    checkpoint: a file, written as training goes; if it exists, the run resumes from it. On a CPU
        the result is bit for bit that of an uninterrupted run.
    Returns: the history, one row a step: `loss`, and a column for each task's part of it.
        `attrs["interrupted"]` tells whether the run was cut short. `network.history` joins the
        histories of all its training.
    Raises: ValueError for arguments that do not fit together, where gradients are switched off, or
        under a default dtype other than float32; OSError if the checkpoint cannot be written;
        FloatingPointError once the loss is not finite, with the step, the task and what to do.
    """
    settings = _run.check_settings(steps, batch_size, learning_rate)
    machine = devices.machine(device, precision)
    _run.check_trainable(network, data)
    if checkpoint:
        check_writable(Path(checkpoint).parent, "choose another path for the checkpoint")
    devices.prepare(progress)
    works, backward = [(network, data, seed)], backward or sum_backward
    with _run.borrowing(works, machine, backward, settings) as run:
        if checkpoint:
            run.resume(checkpoint)
        take_steps(run, progress)
        return run.histories()[0]


def step(run: Run) -> None:
    """Take one step: the loss of one batch, its gradient, and an update that lowers the loss.

    With K networks side by side each shape here has K in front.
    """
    batch = run.batches.index_select(0, run.step)[0]  # (batch,), the numbers of its images
    with run.machine.autocast():
        logits = run.model(run.inputs[batch + run.first_input])  # (batch, outputs)
    task_losses = run.loss(logits.float(), run.labels[batch + run.first_label])  # (tasks,)
    run.optimizer.zero_grad()
    run.backward(task_losses)
    run.align_gradients()
    run.rate.copy_(run.rates.index_select(0, run.step)[0])
    run.optimizer.step()
    run.losses.index_copy_(0, run.step, task_losses.detach()[None])
    run.step.add_(1)


def sum_backward(task_losses: Tensor) -> None:
    """Add the gradient of the lecture's loss, the sum of its task losses (tasks,)."""
    task_losses.sum().backward()


def take_steps(run: Run, progress: bool) -> None:
    """Take the steps of a run that are left, and save it now and then."""
    first, steps = run.done, len(run.batches)
    take = functools.partial(step, run)
    # Another backward may ask the CPU something, which a recording would leave out.
    records = run.machine.device.type == "cuda" and run.backward is sum_backward
    bar = tqdm(total=steps, initial=first, desc="training", disable=not progress, leave=False)
    try:
        for done in range(first + 1, steps + 1):
            take()
            if done - first == _BEFORE_RECORDING and records:
                take = _recorded(take)
            if done % _READ_EVERY == 0 or done == steps:
                bar.set_postfix(loss=f"{run.read(max(0, done - _READ_EVERY), done):.3f}")
                bar.update(done - bar.n)
                if run.checkpoint and (done % _SAVE_EVERY == 0 or done == steps):
                    run.save()
    except KeyboardInterrupt:
        _log.warning("Interrupted after %s steps: the network stays.", f"{run.done} of {steps}")
    finally:
        bar.close()
        run.finish()


def _recorded(take: Callable[[], None]) -> Callable[[], None]:
    """Return the step as a CUDA graph: recorded here without being taken, taken at each call."""
    graph = torch.cuda.CUDAGraph()
    # In this mode another thread's work on CUDA, such as a widget's, breaks no recording.
    stream, mode = torch.cuda.current_stream(), "thread_local"
    with torch.cuda.graph(graph, stream=stream, capture_error_mode=mode):
        take()
    return graph.replay
