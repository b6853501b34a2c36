"""How people train without this course: a plain loop, Lightning and fastai, on the same work.

Each trains the same network with the same optimiser, schedule, batches and loss, in the way its own
documentation shows; what only costs time (logs, progress bars, checkpoints) is turned off.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mtl_course import losses
from mtl_course.datasets import Dataset
from mtl_course.networks import Network
from mtl_course.training import _run

WEIGHT_DECAY = 1e-4


def loss_of(data: Dataset) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that `fit` takes for this dataset."""
    terms = losses.multi_task_losses if data.tasks else losses.softmax_losses
    return lambda logits, labels: terms(logits, labels).sum()


def _loader(data: Dataset, batch_size: int) -> DataLoader:
    pairs = TensorDataset(data.images, data.labels)
    return DataLoader(pairs, batch_size=min(batch_size, len(data)), shuffle=True, drop_last=True)


def _optimiser(weights, rate: float, steps: int) -> tuple:
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=WEIGHT_DECAY)
    share = lambda step: _run._schedule(min(step, steps - 1), steps)  # noqa: E731
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, share)


def plain_loop(
    network: Network, data: Dataset, *, steps: int, batch_size: int, rate: float, device: str
) -> None:
    """A `DataLoader` and a loop, as in PyTorch's tutorials."""
    network.to(device).train()
    loss = loss_of(data)
    weights = [p for p in network.parameters() if p.requires_grad]
    optimiser, schedule = _optimiser(weights, rate, steps)
    done, loader = 0, _loader(data, batch_size)
    while done < steps:
        for images, labels in loader:
            value = loss(network(images.to(device)), labels.to(device))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            done += 1
            if done == steps:
                break
    network.eval()


def lightning(
    network: Network, data: Dataset, *, steps: int, batch_size: int, rate: float, device: str
) -> None:
    """A `LightningModule` and a `Trainer`."""
    import lightning as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    loss = loss_of(data)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return loss(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> dict:
            optimiser, schedule = _optimiser(self.network.parameters(), rate, steps)
            return {
                "optimizer": optimiser,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            }

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_steps=steps, max_epochs=-1, accelerator="gpu" if device == "cuda" else "cpu",
            devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Module(), _loader(data, batch_size))
    network.eval()


def fastai(
    network: Network, data: Dataset, *, steps: int, batch_size: int, rate: float, device: str
) -> None:
    """A `Learner`, for whole epochs."""
    from functools import partial

    from fastai.callback.core import Callback, CancelFitException
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    class Stop(Callback):
        """Ends after `steps`, and moves the learning rate as everybody does."""

        def before_batch(self) -> None:
            self.learn.opt.set_hyper("lr", rate * _run._schedule(self.train_iter, steps))

        def after_batch(self) -> None:
            if self.train_iter >= steps:
                raise CancelFitException

    adamw = partial(OptimWrapper, opt=partial(torch.optim.AdamW, weight_decay=WEIGHT_DECAY))
    loaders = DataLoaders(_loader(data, batch_size), [], device=torch.device(device))
    learner = Learner(loaders, network, loss_func=_Loss(loss_of(data)), opt_func=adamw, lr=rate)
    epochs = -(-steps // max(1, len(loaders.train)))
    with learner.no_logging():
        learner.fit(epochs, cbs=Stop())
    network.eval()


class _Loss(nn.Module):
    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.loss(logits, labels)


RIVALS = {"a DataLoader loop": plain_loop, "Lightning": lightning, "fastai": fastai}
