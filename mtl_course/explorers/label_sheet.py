"""The label sheet: Y of a few images; change an answer, and see the loss and its gradient move."""

from __future__ import annotations

import html
from dataclasses import replace

import ipywidgets as widgets
import torch
from torch import Tensor

from mtl_course import figures
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.explorers._frame import TABLE, Explorer, answer, button, picture

_NEXT = {0: 1, 1: UNKNOWN, UNKNOWN: 0}
_TEXT = {0: "0", 1: "1", UNKNOWN: "?"}
_SHOWN = 8  # images


class LabelSheet(Explorer):
    """Y of the first eight images, a button an entry: 0, 1 and '?' in turn (M2, M4).

    Below it stand each entry's term of the loss, and its gradient on the logit.
    data: images with tasks. logits: a network's for them, floating point (m, tasks).
    banner: what must be known about the images; it stands above them.
    Raises: ValueError if there are not as many rows of logits as images, or other tasks.
    """

    def __init__(self, data: Dataset, logits: Tensor, banner: str = "") -> None:
        if logits.shape != data.labels.shape or not data.tasks:
            wanted, got = tuple(data.labels.shape), tuple(logits.shape)
            raise ValueError(f"logits must be (m, tasks), as data's labels: {wanted}; got {got}.")
        shown = data.subset(slice(_SHOWN))
        self.data = replace(shown, images=shown.images.cpu(), labels=shown.labels.cpu())
        self.labels = self.data.labels.clone()  # (shown, tasks), what the buttons say now
        self._logits = logits[:_SHOWN].detach().double().cpu()
        self._styles = {
            label: widgets.ButtonStyle(**colours) for label, colours in _COLOURS.items()
        }
        self._banner = banner
        above = [widgets.HTML(f"<b>{html.escape(banner)}</b>")] if banner else []
        self._said, self._sums = answer(), picture()
        self._again = button("Y as it was")
        self._again.on_click(self._reset)
        parts = [*above, self._grid(), self._said, self._sums, self._again]
        super().__init__("label-sheet", parts)
        self._show("Press an entry of Y: 0 becomes 1, 1 becomes ?, ? becomes 0.")

    def terms(self) -> Tensor:
        """L(ŷ, y) of each entry: −log ŷ or −log(1 − ŷ), and 0 at a '?'. float64 (shown, tasks)."""
        sign = torch.where(self.labels == 1, 1.0, -1.0).double()  # −log ŷ = log(1 + e⁻ᶻ)
        return torch.log1p(torch.exp(-sign * self._logits)) * (self.labels != UNKNOWN)

    def gradient(self) -> Tensor:
        """The loss's gradient on each logit: (ŷ − y) / m, 0 at a '?'. float64 (shown, tasks)."""
        residual = self._logits.sigmoid() - self.labels
        return torch.where(self.labels == UNKNOWN, 0.0, residual) / len(self.labels)

    def loss(self) -> float:
        """The sum of all terms, divided by the number of images."""
        return float(self.terms().sum()) / len(self.labels)

    def static(self) -> dict[str, str]:
        """Y, with the term and the gradient written into each entry."""
        notes = [[_note(*cell) for cell in zip(*row, strict=True)] for row in self._rows()]
        known = int((self.labels != UNKNOWN).sum())
        return figures.bundle(
            figures.answers(replace(self.data, labels=self.labels), notes=notes),
            f"Y of {len(self.data)} scenes, in each entry 0, 1 or a question mark, its term of the "
            f"loss and where its gradient pushes. {known} known terms add up to "
            f"{self.terms().sum():.2f}; divided by {len(self.data)} that is a loss of "
            f"{self.loss():.3f}. At a question mark term and gradient are 0.",
            banner=self._banner,
        )

    def _rows(self) -> list[tuple]:
        """A row an image: its labels, terms and gradients."""
        return list(zip(*(t.tolist() for t in (self.labels, self.terms(), self.gradient())),
                        strict=True))  # fmt: skip

    def _grid(self) -> widgets.GridBox:
        """The images, and under each its column of Y."""
        m, wide = len(self.data), widgets.Layout(width="64px", border="1px solid #767676")
        cells: list[widgets.Widget] = [widgets.HTML()]
        for i, image in enumerate(self.data.images):
            cells.append(widgets.HTML(figures.image(image, f"scene {i + 1}", width=64)))
        self._entries = []
        for j, task in enumerate(self.data.tasks):
            cells.append(widgets.HTML(task))
            for i in range(m):
                entry = widgets.Button(tooltip=f"{task} in scene {i + 1}", layout=wide)
                entry.on_click(lambda _, i=i, j=j: self._turn(i, j))
                self._entries.append((entry, i, j))
            cells += [entry for entry, *_ in self._entries[-m:]]
        columns = f"140px repeat({m}, 72px)"
        return widgets.GridBox(cells, layout={"grid_template_columns": columns})

    def _turn(self, i: int, j: int) -> None:
        before, term = self.loss(), float(self.terms()[i, j])
        self.labels[i, j] = _NEXT[int(self.labels[i, j])]
        new, push = float(self.terms()[i, j]), float(self.gradient()[i, j])
        change = "does not move" if new == term else "rises" if new > term else "falls"
        self._show(
            f"{self.data.tasks[j]} in scene {i + 1} is now {_TEXT[int(self.labels[i, j])]}. Its "
            f"term goes from {term:.2f} to {new:.2f}, its gradient is {push:+.3f}. The loss "
            f"{change}, from {before:.3f} to {self.loss():.3f}."
        )

    def _reset(self, _: object) -> None:
        self.labels = self.data.labels.clone()
        self._show(f"Y is as it was. The loss is {self.loss():.3f}.")

    def _show(self, text: str) -> None:
        for entry, i, j in self._entries:
            label = int(self.labels[i, j])
            entry.description, entry.style = _TEXT[label], self._styles[label]
        self._said.value, self._sums.value = text, self._table()

    def _table(self) -> str:
        """Each entry's term and gradient, and the sum written out."""
        m, rows = len(self.data), self._rows()
        head = "".join(f'<th scope="col">{i + 1}</th>' for i in range(m))
        body = "".join(
            f'<tr><th scope="row">{task}</th>'
            + "".join(f"<td>{_note(row[0][j], row[1][j], row[2][j], '<br>')}</td>" for row in rows)
            + f"<td>{self.terms()[:, j].sum():.2f}</td></tr>"
            for j, task in enumerate(self.data.tasks)
        )
        known, total = int((self.labels != UNKNOWN).sum()), float(self.terms().sum())
        return (
            f'<table class="mtl-table mtl-y">{TABLE}{_WIDE}<caption>Each entry’s term L, and its '
            "gradient on the logit: ▲ a step raises ŷ, ▼ a step lowers it.</caption>"
            f'<tr><th scope="col">scene</th>{head}<th scope="col">Σ L</th></tr>{body}</table>'
            f"<p>The loss: 1/{m} · {total:.2f} = <b>{self.loss():.3f}</b>, a sum over {known} of "
            f"{self.labels.numel()} entries.</p>"
        )


_COLOURS = {
    0: {"button_color": "white", "text_color": "black"},
    1: {"button_color": figures.COLORS[0], "text_color": "white"},
    UNKNOWN: {"button_color": figures.COLORS[4], "text_color": "black"},
}
_WIDE = (
    "<style>.mtl-y td {width: 64px} .mtl-y th:first-child {width: 128px}</style>"  # as the buttons
)


def _note(label: int, term: float, push: float, between: str = "\n") -> str:
    """An entry's term, and where a step down its gradient moves ŷ."""
    way = "" if label == UNKNOWN else "▲ " if push < 0 else "▼ "
    return f"{term:.2f}{between}{way}{push:+.3f}" if way else f"0{between}0"
