"""The label sheet: Y of a few images; change an answer, and see the loss and its gradient move.

In the page it is `label_sheet.js`; here are its state, and what it shows where no module runs.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mtl_course import figures
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.explorers._frame import Explorer, Front

_SHOWN = 8  # images


class LabelSheet(Explorer):
    """Y of the first eight images, a button an entry: 0, 1 and '?' in turn (M2, M4).

    Each button also holds its entry's term of the loss, and its gradient on the logit.
    data: images with tasks. logits: a network's for them, floating point (m, tasks). banner: above
        the images. Raises: ValueError for other logits.
    """

    def __init__(self, data: Dataset, logits: Tensor, banner: str = "") -> None:
        if logits.shape != data.labels.shape or not data.tasks:
            wanted, got = tuple(data.labels.shape), tuple(logits.shape)
            raise ValueError(f"logits must be (m, tasks), as data's labels: {wanted}; got {got}.")
        shown = data.subset(slice(_SHOWN))
        self.data = replace(shown, images=shown.images.cpu(), labels=shown.labels.cpu())
        self._logits = logits[:_SHOWN].detach().double().cpu()
        self._banner, start = banner, self.data.labels.tolist()
        about = {
            "tasks": list(data.tasks), "banner": banner, "labels": start,
            "logits": self._logits.tolist(), "images": list(map(figures.url, self.data.images)),
        }  # fmt: skip
        self._front = Front("label_sheet", about, start)
        super().__init__("label-sheet", [self._front])

    @property
    def labels(self) -> Tensor:
        """Return the labels as the buttons say now, int8 (8, tasks)."""
        return torch.tensor(self._front.value, dtype=torch.int8, device="cpu")

    @labels.setter
    def labels(self, labels: Tensor) -> None:
        self._front.value = labels.tolist()

    def terms(self) -> Tensor:
        """Return each entry's L(ŷ, y): −log ŷ or −log(1 − ŷ), 0 at a '?'. float64 (m, tasks)."""
        sign = torch.where(self.labels == 1, 1.0, -1.0).double()  # −log ŷ = log(1 + e⁻ᶻ)
        return torch.log1p(torch.exp(-sign * self._logits)) * (self.labels != UNKNOWN)

    def gradient(self) -> Tensor:
        """Return the loss's gradient on each logit: (ŷ − y) / m, 0 at a '?'. float64 (m, tasks)."""
        residual = self._logits.sigmoid() - self.labels
        return torch.where(self.labels == UNKNOWN, 0.0, residual) / len(self.labels)

    def loss(self) -> float:
        """Return the sum of all terms, divided by the number of images."""
        return float(self.terms().sum()) / len(self.labels)

    def static(self) -> dict[str, str]:
        """Return Y, with the term and the gradient written into each entry."""
        m, total, known = len(self.data), self.terms().sum(), int((self.labels != UNKNOWN).sum())
        drawn = figures.answers(replace(self.data, labels=self.labels), list(self._notes()))
        alt = (
            f"Y of {m} scenes, in each entry 0, 1 or a question mark, its term of the loss and "
            f"where its gradient pushes. {known} known terms add up to {total:.2f}; divided by {m} "
            f"that is a loss of {self.loss():.3f}. At a question mark term and gradient are 0."
        )
        return figures.bundle(drawn, alt, banner=self._banner)

    def _notes(self) -> Iterator[list[str]]:
        # An image's entries: the term, and where a step down its gradient moves ŷ.
        columns = (values.tolist() for values in (self.labels, self.terms(), self.gradient()))
        for image in zip(*columns, strict=True):
            yield [
                "0\n0" if label == UNKNOWN
                else f"{term:.2f}\n{'▲' if push < 0 else '▼'} {push:+.3f}"
                for label, term, push in zip(*image, strict=True)
            ]  # fmt: skip
