"""The scene maker: put things on a road, and see what the network makes of it."""

from __future__ import annotations

from typing import NamedTuple

import ipywidgets as widgets
import torch
from torch import Tensor
from torch.nn import functional

from mtl_course import figures
from mtl_course.analysis import occlusion
from mtl_course.datasets import Dataset
from mtl_course.evaluation import predict
from mtl_course.explorers._frame import LABELS, TABLE, Explorer, answer, picture
from mtl_course.networks import Network
from mtl_course.scenes import THE_FOUR, TIMES, VISIBLE, compose, distances

_THINGS = (*THE_FOUR, "cyclist", "round sign")
_WHERE = ("absent", "near", "middle", "far")
_FOGS = ("none", "thin", "thick")
_PATCH, _STRIDE = 6, 2  # pixels
_NOTHING = "(nothing)"


class _Made(NamedTuple):
    """A scene to order. pixels: how many of each thing are seen."""

    data: Dataset
    pixels: dict[str, int]
    probability: list[float]


class SceneMaker(Explorer):
    """What stands on the road, how far, when and in what fog: the picture, its y, and ŷ (M1–M3).

    Two look-alikes, the cyclist and the round sign, are no answer to any of the four questions.
    "What made it say …?" hides one place after another and maps how far the logit falls.

    network: for the lecture's four tasks. seed: of the surroundings.
    Raises: ValueError if the network has other tasks.
    """

    def __init__(self, network: Network, seed: int) -> None:
        if network.names != THE_FOUR:
            raise ValueError(f"network must answer {', '.join(THE_FOUR)}; got {network.names}.")
        self._network, self._seed = network, seed
        self._where = {kind: _dropdown(kind, _WHERE) for kind in _THINGS}
        self._where["car"].value = "near"
        self._time, self._fog = _dropdown("Time", TIMES), _dropdown("Fog", _FOGS)
        self._place = widgets.BoundedIntText(
            value=0, min=0, max=999, description="Surroundings", style=LABELS,
            layout={"width": "300px"},
        )  # fmt: skip
        self._why = _dropdown("What made it say", (_NOTHING, *THE_FOUR))
        self._said, self._seen = answer(), picture()
        controls = [*self._where.values(), self._time, self._fog, self._place, self._why]
        columns = [widgets.VBox(controls[:6]), widgets.VBox(controls[6:])]
        boxes = widgets.HBox(columns, layout={"flex_flow": "row wrap"})
        super().__init__("scene-maker", [boxes, self._said, self._seen])
        for control in controls:
            control.observe(self._tell, "value")
        self._tell(None)

    def static(self) -> dict[str, str]:
        """The same road eight times: each of the four near, the look-alikes, night, fog, far."""
        orders = [({kind: "near"}, "day", "none") for kind in _THINGS]
        orders += [({"car": "near"}, "night", "thick"), ({"car": "far"}, "day", "none")]
        made = [self._make(*order) for order in orders]
        images, labels = (
            torch.cat([getattr(scene.data, part) for scene in made])
            for part in ("images", "labels")
        )
        notes = [[f"ŷ {p:.2f}" for p in scene.probability] for scene in made]
        told = " ".join(
            f"{' and '.join(f'{k} {w}' for k, w in where.items())}, {time}, fog {fog}: "
            f"{_in_words(scene)}."
            for (where, time, fog), scene in zip(orders, made, strict=True)
        )
        drawn = figures.answers(Dataset(images, labels, tasks=THE_FOUR), notes=notes)
        return figures.bundle(drawn, f"A road with one thing at a time, its y and ŷ. {told}")

    def _make(self, where: dict[str, str], time: str, fog: str, place: int = 0) -> _Made:
        things = {kind: _distance(kind, where.get(kind, "absent")) for kind in _THINGS}
        data, pixels = compose(self._seed, things, time=time, fog=_FOGS.index(fog), start=place)
        logits = predict(self._network, data, precision="float32")[0]
        return _Made(data, pixels, logits.sigmoid().tolist())

    def _tell(self, _: object) -> None:
        where = {kind: control.value for kind, control in self._where.items()}
        made = self._make(where, self._time.value, self._fog.value, self._place.value)
        image, task = made.data.images[0], self._why.value
        pages = [figures.image(image, f"The scene: {_contents(made)}.", width=224)]
        text = f"{_contents(made)}. {_in_words(made)}."
        if task != _NOTHING:
            falls = occlusion(self._network, image, task, _PATCH, _STRIDE)
            words = f"{task}: {_of_falls(falls)}"
            pages.append(figures.image(_over(image, falls), words, width=224))
            text += f" What made it say {words}."
        self._said.value = text
        self._seen.value = (
            '<div style="display:flex;flex-wrap:wrap;gap:16px;background:white;color:black">'
            f"{''.join(pages)}{_table(made)}</div>"
        )


def _dropdown(name: str, options: tuple[str, ...]) -> widgets.Dropdown:
    return widgets.Dropdown(
        options=options, description=name, style=LABELS, layout={"width": "300px"}
    )


def _distance(kind: str, where: str) -> int | None:
    there = distances(kind)
    return {"absent": None, "near": there[0], "middle": there[len(there) // 2], "far": there[-1]}[
        where
    ]


def _contents(made: _Made) -> str:
    seen = [f"{kind} ({n} pixels)" for kind, n in made.pixels.items() if n]
    return "Seen: " + (", ".join(seen) or "none of the six things")


def _in_words(made: _Made) -> str:
    """y and ŷ of each task."""
    answers = zip(THE_FOUR, made.data.labels[0].tolist(), made.probability, strict=True)
    return "; ".join(f"{task} y = {y}, ŷ = {p:.2f}" for task, y, p in answers)


def _table(made: _Made) -> str:
    """A row a task: y, the pixels that are seen, ŷ as a bar and a number, right or wrong."""
    rows = ""
    for task, y, p in zip(THE_FOUR, made.data.labels[0].tolist(), made.probability, strict=True):
        right = "right" if (p > 0.5) == (y == 1) else "wrong"
        bar = (
            f'<svg aria-hidden="true" width="100" height="12"><rect width="{100 * p:.0f}" '
            f'height="12" fill="{figures.COLORS[0]}"/><path d="M50 0V12" stroke="black"/></svg>'
        )
        rows += (
            f'<tr><th scope="row">{task}</th><td>{y}</td><td>{made.pixels[task]}</td>'
            f"<td>{bar}</td><td>{p:.2f}</td><td>{right}</td></tr>"
        )
    heads = ("task", "y", "pixels seen", "ŷ, a line at ½", "ŷ", "at ½")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<table class="mtl-table">{TABLE}<caption>y is 1 from {VISIBLE} pixels on</caption>'
        f"<tr>{head}</tr>{rows}</table>"
    )


def _of_falls(falls: Tensor) -> str:
    """Where the largest fall of the logit is, and how far it falls there."""
    row, column = divmod(int(falls.argmax()), falls.shape[1])
    x, y = _STRIDE * column + _PATCH // 2, _STRIDE * row + _PATCH // 2
    if falls.max() <= 0:
        return "no place; hidden wherever, the logit does not fall"
    return (
        f"the place around pixel {x} from the left, {y} from the top; without it the logit falls "
        f"by {falls.max():.2f}"
    )


def _over(image: Tensor, falls: Tensor) -> Tensor:
    """The image in grey, and orange where hiding lowers the logit. Returns: uint8, as `image`."""

    def spread(values: Tensor) -> Tensor:
        """Each place's value, added to all pixels of its patch. Returns: (height, width)."""
        patches = values.flatten().expand(1, _PATCH * _PATCH, -1)
        return functional.fold(patches, image.shape[1:], _PATCH, stride=_STRIDE)[0, 0]

    weight = spread(falls.clamp(min=0)) / spread(torch.ones_like(falls)).clamp(min=1)
    weight = weight / weight.max().clamp(min=1e-9)  # in [0, 1]
    grey = image.float().mean(dim=0).expand_as(image)
    orange = torch.tensor([230.0, 159.0, 0.0], dtype=torch.float32, device=image.device)
    orange = orange[:, None, None]
    return (grey * (1 - 0.8 * weight) + orange * 0.8 * weight).round().to(torch.uint8)
