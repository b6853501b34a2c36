"""Draws and paints a little of everything, in rounds under other defaults of torch.

Prints the rounds' digests of each thing as JSON. What a round leaves in caches, the next one finds.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys

import numpy as np
import torch
from matplotlib.figure import Figure

from mtl_course import datasets, figures, gradients, scenes
from mtl_course.datasets import Dataset
from mtl_course.explorers.compass import Compass
from mtl_course.explorers.label_sheet import LabelSheet
from mtl_course.explorers.scene_maker import _over
from mtl_course.studies import spectrograms

LUCK = np.random.default_rng(0)
NUMBERS = torch.from_numpy(LUCK.standard_normal((40, 4)).astype(np.float32))
FILTERS = torch.from_numpy(LUCK.standard_normal((6, 3, 3, 3)).astype(np.float32))
FALLS = torch.from_numpy(LUCK.standard_normal((14, 14)).astype(np.float32))


def main() -> None:
    found = []
    for names in sys.argv[1:]:
        with defaults(names):
            found.append(digests())
    sys.stdout.write(json.dumps(found))


@contextlib.contextmanager
def defaults(names: str):
    """names: "meta float64", as `torch.set_default_device` and `torch.set_default_dtype` set them;
    "with meta", as torch.device does; or none of them."""
    with contextlib.ExitStack() as stack:
        if names == "with meta":
            stack.enter_context(torch.device("meta"))
        elif names:
            device, dtype = names.split()
            torch.set_default_device(device)
            stack.callback(torch.set_default_device, None)
            torch.set_default_dtype(getattr(torch, dtype))
            stack.callback(torch.set_default_dtype, torch.float32)
        yield


def digests() -> dict[str, str]:
    """Raises: AssertionError if a random number came from torch's own generator."""
    before = torch.get_rng_state()
    found = {name: hashlib.sha256(content(made)).hexdigest() for name, made in everything().items()}
    assert (torch.get_rng_state() == before).all(), "torch's own generator was drawn from"
    return found


def everything() -> dict[str, object]:
    roads = scenes.draw(40, seed=0, tasks=[*scenes.TASKS], size=24, jobs=1)
    four = scenes.draw(40, seed=0, start=3)
    effort = scenes.effort(40, seed=0, start=3, size=48)
    printed, written = datasets.printed_digits(30, seed=0), datasets.handwritten_digits()
    composed, pixels = scenes.compose(0, {"car": 3, "cyclist": None}, fog=1)
    heard = spectrograms.draw(5, seed=0)
    sheet = LabelSheet(four, NUMBERS)
    compass = Compass({0: NUMBERS.T}, four.tasks)
    return {
        "scenes": roads,
        "four": four,
        "facts": scenes.facts(40, seed=0).to_csv(),
        "effort": effort,
        "composed": composed,
        "pixels": str(pixels),
        "printed": printed,
        "letters": datasets.printed_digits(9, seed=1, characters=datasets.LETTERS),
        "written": written.train,
        "heard": heard,
        "hidden": datasets.hide(four, 0.5, seed=0),
        "hidden by effort": datasets.hide(four, 0.5, seed=0, weight=effort),
        "sample": printed.sample(20, seed=0),
        "sample of scenes": four.sample(20, seed=0),
        "one label": datasets.one_label(four, seed=0),
        "sheet": figures.sheet({"digits": printed.images, "sounds": heard.images}),
        "answers": figures.answers(four),
        "image": figures.image(four.images[0], "A scene."),
        "filters": figures.filters({"some": FILTERS, "ink": FILTERS[:, :1]}),
        "calibration": figures.calibration(NUMBERS.sigmoid(), four.labels, four.tasks),
        "label sheet": sheet._front.attributes(),
        "compass": compass.angles(0, "PCGrad").to_csv() + compass._table.value,
        "over": _over(four.images[0], FALLS),
        "cosines": gradients.cosines(NUMBERS.T),
    }


def content(made: object) -> bytes:
    if isinstance(made, Dataset):
        return content(made.images) + content(made.labels)
    if isinstance(made, torch.Tensor):
        return f"{made.dtype} {tuple(made.shape)}".encode() + made.numpy().tobytes()
    if isinstance(made, Figure):
        drawn = io.BytesIO()
        made.savefig(drawn, format="png", dpi=40)
        return drawn.getvalue()
    return made.encode()


if __name__ == "__main__":
    main()
