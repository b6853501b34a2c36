"""The scene maker: put things on a road, and see what the network makes of it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import ipywidgets as widgets
import torch
from torch import Tensor
from torch.nn import functional

from mtl_course import figures
from mtl_course.analysis import occlusion
from mtl_course.datasets import Dataset
from mtl_course.evaluation import predict
from mtl_course.explorers._frame import Explorer, dropdown, output, table
from mtl_course.networks import Network
from mtl_course.scenes import THE_FOUR, TIMES, VISIBLE, compose, distances

_THINGS = (*THE_FOUR, "cyclist", "round sign")
_FOGS = ("none", "thin", "thick")
_PATCH, _STRIDE = 6, 2  # pixels
_NOTHING = "(nothing)"
_WIDE = 200  # pixels, of a picture in the page
# A dark theme of JupyterLab draws the arrow of a choice in black.
_STYLE = "<style>.mtl-scene-maker select {background-color: #eee !important; color: black}</style>"


class _Scene(NamedTuple):
    data: Dataset
    pixels: dict[str, int]  # of each thing that are seen
    probability: list[float]  # ŷ of each task

    def answers(self) -> Iterator[tuple[str, int, float]]:
        return zip(THE_FOUR, self.data.labels[0].tolist(), self.probability, strict=True)

    def __str__(self) -> str:
        return "; ".join(f"{task} y = {y}, ŷ = {p:.2f}" for task, y, p in self.answers())


class SceneMaker(Explorer):
    """What stands on the road, how far, when and in what fog: the picture, its y, and ŷ (M1–M3).

    Two look-alikes, the cyclist and the round sign, are no answer to any of the four questions.
    "What made it say …?" hides one place after another and maps how far the logit falls.
    network: for the four tasks. seed: of the surroundings. Raises: ValueError for other tasks.
    """

    def __init__(self, network: Network, seed: int) -> None:
        if network.names != THE_FOUR:
            raise ValueError(f"network must answer {', '.join(THE_FOUR)}; got {network.names}.")
        self._network, self._seed, width = network, seed, "auto"
        where = ("absent", "near", "middle", "far")
        self._where = {kind: dropdown(kind, where, width) for kind in _THINGS}
        self._where["car"].value = "near"
        self._time, self._fog = dropdown("Time", TIMES, width), dropdown("Fog", _FOGS, width)
        look = {"style": self._time.style, "layout": self._time.layout}
        self._start = widgets.BoundedIntText(max=999, description="Surroundings", **look)
        self._why = dropdown("What made it say", (_NOTHING, *THE_FOUR), width)
        self._answer, self._picture = output("answer"), output("picture")
        controls = [*self._where.values(), self._time, self._fog, self._start, self._why]
        for control in controls:
            control.layout.margin, control.style.description_width = "1px 2px", "128px"
        look = {"flex": "1 1 250px", "max_width": "280px", "min_width": "250px"}
        panel = widgets.VBox([*controls, widgets.HTML(_STYLE)], layout=look)
        board = widgets.HBox([self._picture, panel], layout={"flex_flow": "row wrap"})
        super().__init__("scene-maker", [board, self._answer], controls)

    def static(self) -> dict[str, str]:
        """Return one road eight times: each thing near, then night in fog, and far away."""
        orders = [(kind, "near", "day", "none") for kind in _THINGS]
        orders += [("car", "near", "night", "thick"), ("car", "far", "day", "none")]
        made = [self._make({kind: where}, *sky) for kind, where, *sky in orders]
        parts = [(scene.data.images, scene.data.labels) for scene in made]
        data = Dataset(*map(torch.cat, zip(*parts, strict=True)), tasks=THE_FOUR)
        names = [f"{kind}\n{where}, {time}" for kind, where, time, _ in orders]
        notes = [[f"ŷ {p:.2f}" for p in scene.probability] for scene in made]
        drawn = figures.answers(data, notes, names)
        titles = ["{} {}, {}, fog {}".format(*order) for order in orders]
        text = " ".join(f"{title}: {s}." for title, s in zip(titles, made, strict=True))
        return figures.bundle(drawn, f"A road with one thing at a time, its y and ŷ. {text}")

    def _make(self, where: Mapping[str, str], time: str, fog: str, start: int = 0) -> _Scene:
        things = {}
        for kind in _THINGS:
            there = distances(kind)
            at = {"near": there[0], "middle": there[len(there) // 2], "far": there[-1]}
            things[kind] = at.get(where.get(kind))
        data, pixels = compose(self._seed, things, time=time, fog=_FOGS.index(fog), start=start)
        logits = predict(self._network, data, precision="float32")[0]
        return _Scene(data, pixels, logits.sigmoid().tolist())

    def _update(self) -> None:
        where = {kind: control.value for kind, control in self._where.items()}
        scene = self._make(where, self._time.value, self._fog.value, self._start.value)
        seen = ", ".join(f"{kind} ({n} pixels)" for kind, n in scene.pixels.items() if n)
        seen = f"Seen: {seen or 'none of the six things'}"
        image, task, text = scene.data.images[0], self._why.value, f"{seen}. {scene}."
        pages = [figures.image(image, f"The scene: {seen}.", width=_WIDE)]
        if task != _NOTHING:
            falls = occlusion(self._network, image, task, _PATCH, _STRIDE)
            reason = f"{task}: no place; hidden wherever, the logit does not fall"
            if falls.max() > 0:
                row, column = divmod(int(falls.argmax()), falls.shape[1])
                x, y = (_STRIDE * place + _PATCH // 2 for place in (column, row))
                reason = f"{task}: the place around pixel {x} from the left, {y} from the top"
                reason += f"; without it the logit falls by {falls.max():.2f}"
            pages.append(figures.image(_over(image, falls), reason, width=_WIDE))
            text += f" What made it say {reason}."
        images = f'<div style="display:flex;gap:8px">{"".join(pages)}</div>'
        self._answer.value, self._picture.value = text, images + _table(scene)


def _table(scene: _Scene) -> str:
    rows = []
    for task, y, p in scene.answers():
        bar = (
            f'<svg aria-hidden="true" width="100" height="12"><rect width="{100 * p:.0f}" '
            f'height="12" fill="{figures.COLORS[0]}"/><path d="M50 0V12" stroke="black"/></svg>'
        )
        right = "right" if (p > 0.5) == (y == 1) else "wrong"
        rows.append((task, y, scene.pixels[task], bar, f"{p:.2f}", right))
    heads = ("task", "y", "pixels seen", "ŷ, a line at ½", "ŷ", "at ½")
    return table(f"y is 1 from {VISIBLE} pixels on", heads, rows)


def _over(image: Tensor, falls: Tensor) -> Tensor:
    """Return the image in gray, and orange where hiding lowers the logit: uint8, as `image`."""

    def spread(values: Tensor) -> Tensor:  # each place's value, over all pixels of its patch
        patches = values.flatten().expand(1, _PATCH * _PATCH, -1)
        return functional.fold(patches, image.shape[1:], _PATCH, stride=_STRIDE)[0, 0]

    weight = spread(falls.clamp(min=0)) / spread(torch.ones_like(falls)).clamp(min=1)
    weight = weight / weight.max().clamp(min=1e-9)  # in [0, 1]
    gray = image.float().mean(dim=0).expand_as(image)
    orange = torch.tensor([[[230]], [[159]], [[0]]], dtype=torch.float32, device=image.device)
    return (gray * (1 - 0.8 * weight) + orange * 0.8 * weight).round().to(torch.uint8)
