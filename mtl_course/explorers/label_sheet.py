"""The label sheet: Y of a few images; change an answer, and see the loss and its gradient move."""

import html
from collections.abc import Iterator
from dataclasses import replace

import ipywidgets as widgets
import torch
from torch import Tensor

from mtl_course import figures
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.explorers._frame import Explorer, button, output, table

_SHOWN = 8  # images
_OPENING = "Press an entry of Y: 0 becomes 1, 1 becomes ?, ? becomes 0."
_CAPTION = (
    "Each entry’s term L, and its gradient on the logit: ▲ a step raises ŷ, ▼ a step lowers it."
)
_NEXT = {0: 1, 1: UNKNOWN, UNKNOWN: 0}
_TEXT = {0: "0", 1: "1", UNKNOWN: "?"}
_COLORS = {
    0: {"button_color": "white", "text_color": "black"},
    1: {"button_color": figures.COLORS[0], "text_color": "white"},
    UNKNOWN: {"button_color": figures.COLORS[4], "text_color": "black"},
}


class LabelSheet(Explorer):
    """Y of the first eight images, a button an entry: 0, 1 and '?' in turn (M2, M4).

    Below it stand each entry's term of the loss, and its gradient on the logit.
    data: images with tasks. logits: a network's for them, floating point (m, tasks). banner: above
        the images. labels: (8, tasks), as the buttons say now. Raises: ValueError for other logits.
    """

    def __init__(self, data: Dataset, logits: Tensor, banner: str = "") -> None:
        if logits.shape != data.labels.shape or not data.tasks:
            wanted, got = tuple(data.labels.shape), tuple(logits.shape)
            raise ValueError(f"logits must be (m, tasks), as data's labels: {wanted}; got {got}.")
        shown = data.subset(slice(_SHOWN))
        self.data = replace(shown, images=shown.images.cpu(), labels=shown.labels.cpu())
        self.labels = self.data.labels.clone()
        self._logits = logits[:_SHOWN].detach().double().cpu()
        self._styles = {label: widgets.ButtonStyle(**colors) for label, colors in _COLORS.items()}
        self._banner, self._answer, self._sums = banner, output("answer"), output("picture")
        above = [widgets.HTML(f"<b>{html.escape(banner)}</b>")] if banner else []
        reset = button("Y as it was")
        reset.on_click(self._reset)
        super().__init__("label-sheet", [*above, self._grid(), self._answer, self._sums, reset])

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
        drawn = figures.answers(replace(self.data, labels=self.labels), list(self._notes("\n")))
        alt = (
            f"Y of {m} scenes, in each entry 0, 1 or a question mark, its term of the loss and "
            f"where its gradient pushes. {known} known terms add up to {total:.2f}; divided by {m} "
            f"that is a loss of {self.loss():.3f}. At a question mark term and gradient are 0."
        )
        return figures.bundle(drawn, alt, banner=self._banner)

    def _notes(self, between: str) -> Iterator[list[str]]:
        # An image's entries: the term, and where a step down its gradient moves ŷ.
        columns = (values.tolist() for values in (self.labels, self.terms(), self.gradient()))
        for image in zip(*columns, strict=True):
            yield [
                f"0{between}0" if label == UNKNOWN
                else f"{term:.2f}{between}{'▲' if push < 0 else '▼'} {push:+.3f}"
                for label, term, push in zip(*image, strict=True)
            ]  # fmt: skip

    def _grid(self) -> widgets.GridBox:
        m, layout = len(self.data), widgets.Layout(width="64px", border="1px solid #767676")
        images = (figures.image(x, f"scene {i + 1}", 64) for i, x in enumerate(self.data.images))
        cells, self._entries = [widgets.HTML(), *map(widgets.HTML, images)], []
        for j, task in enumerate(self.data.tasks):
            cells.append(widgets.HTML(task))
            for i in range(m):
                entry = widgets.Button(tooltip=f"{task} in scene {i + 1}", layout=layout)
                entry.on_click(lambda _, i=i, j=j: self._turn(i, j))
                self._entries.append((entry, i, j))
                cells.append(entry)
        return widgets.GridBox(cells, layout={"grid_template_columns": f"140px repeat({m}, 72px)"})

    def _turn(self, i: int, j: int) -> None:
        before, term = self.loss(), float(self.terms()[i, j])
        self.labels[i, j] = label = _NEXT[int(self.labels[i, j])]
        new, push = float(self.terms()[i, j]), float(self.gradient()[i, j])
        change = "does not move" if new == term else "rises" if new > term else "falls"
        self._update(
            f"{self.data.tasks[j]} in scene {i + 1} is now {_TEXT[label]}. Its "
            f"term goes from {term:.2f} to {new:.2f}, its gradient is {push:+.3f}. The loss "
            f"{change}, from {before:.3f} to {self.loss():.3f}."
        )

    def _reset(self, _: object) -> None:
        self.labels = self.data.labels.clone()
        self._update(f"Y is as it was. The loss is {self.loss():.3f}.")

    def _update(self, text: str = _OPENING) -> None:
        for entry, i, j in self._entries:
            label = int(self.labels[i, j])
            entry.description, entry.style = _TEXT[label], self._styles[label]
        m, terms, known = len(self.data), self.terms(), int((self.labels != UNKNOWN).sum())
        sums = (f"{total:.2f}" for total in terms.sum(dim=0).tolist())
        rows = zip(self.data.tasks, *self._notes("<br>"), sums, strict=True)
        self._answer.value = text
        self._sums.value = (
            table(_CAPTION, ["scene", *range(1, m + 1), "Σ L"], rows)
            + f"<p>The loss: 1/{m} · {terms.sum():.2f} = <b>{self.loss():.3f}</b>, a sum over "
            f"{known} of {self.labels.numel()} entries.</p>"
        )
