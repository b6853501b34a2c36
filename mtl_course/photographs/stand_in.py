"""A tiny set in the formats of CIFAR-10, STL-10 and COCO that the course draws itself.

It stands in for photographs where there are none, so that lesson 07 runs without a network. Its
"aeroplanes" are the letter A: nobody will take them for photographs, and `banner` says so.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mtl_course import photographs, scenes
from mtl_course.base import HOME, derive_seed
from mtl_course.datasets import printed_digits
from mtl_course.photographs._reading import once
from mtl_course.storage import results_folder

BANNER = "Drawn by the course: these are no photographs"
LETTERS = {
    "airplane": "A", "automobile": "U", "bird": "B", "car": "U", "cat": "C", "deer": "E",
    "dog": "D", "frog": "F", "horse": "H", "monkey": "M", "ship": "S", "truck": "T",
}  # fmt: skip
"""What is printed in place of each class."""

_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_STL = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
_SEED = 0
_NAME = "drawn-1"  # another number whenever what is drawn changes
_CROWDS = 0.3  # of the scenes with pedestrians: a crowd is marked, and nobody in it


def or_photographs(*names: str, size: int = 32) -> Path:
    """The folder to read these data sets from: yours if all of them are in it, else a drawn one.

    names: some of "cifar10", "stl10", "coco". size: of the images, as they are to be read.
    """
    if all(photographs.there(name, size) for name in names):
        return photographs.place()
    made = HOME / "results" / _NAME  # by a teacher, perhaps, in a course that is shared read-only
    return made if made.exists() else once(results_folder() / _NAME, write)


def banner(folder: Path) -> str:
    """What every figure of a drawn set says at its top; of photographs, nothing."""
    return BANNER if (folder / photographs.DRAWN).exists() else ""


def write(folder: Path) -> None:
    """Draws all three sets into `folder`, in their own formats: 1,200, 800 and 800 images."""
    folder.mkdir(parents=True)
    (folder / photographs.DRAWN).write_text(f"{BANNER}.\n", encoding="utf-8")
    _cifar10(folder / "cifar-10-batches-py")
    _stl10(folder / "stl10_binary")
    _coco(folder, "train2017", 500)
    _coco(folder, "val2017", 300)


def _cifar10(folder: Path) -> None:
    folder.mkdir()
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    images, labels = _letters(_CIFAR, 1200, 32, "CIFAR-10")
    for k, name in enumerate(names):
        rows = slice(200 * k, 200 * (k + 1))
        batch = {"data": images[rows].reshape(200, -1), "labels": labels[rows].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(_CIFAR)}))


def _stl10(folder: Path) -> None:
    folder.mkdir()
    images, labels = _letters(_STL, 800, 96, "STL-10")
    for part, rows in (("train", slice(500)), ("test", slice(500, None))):
        columns = images[rows].transpose(0, 1, 3, 2)  # one after another
        (folder / f"{part}_X.bin").write_bytes(columns.tobytes())
        (folder / f"{part}_y.bin").write_bytes((labels[rows] + 1).astype(np.uint8).tobytes())
    (folder / "class_names.txt").write_text("\n".join(_STL), encoding="utf-8")


def _letters(
    classes: tuple[str, ...], count: int, side: int, role: str
) -> tuple[np.ndarray, np.ndarray]:
    """A class's letter in colour. Returns: uint8 (count, 3, side, side), int64 (count,)."""
    letters = printed_digits(
        count, derive_seed(_SEED, role), characters=[LETTERS[c] for c in classes]
    )
    ink = torch.nn.functional.interpolate(letters.images / 255, (side, side), mode="bilinear")
    luck = torch.Generator("cpu").manual_seed(derive_seed(_SEED, f"{role}, colours"))
    paper, pen = torch.rand(2, count, 3, 1, 1, generator=luck, device="cpu")
    grain = 0.1 * torch.randn(count, 3, side, side, generator=luck, device="cpu")
    coloured = torch.lerp(0.45 + 0.55 * paper, 0.35 * pen, ink) + grain
    images = (255 * coloured).round().clamp(0, 255).to(torch.uint8)
    return images.numpy(), letters.labels.numpy()


def _coco(folder: Path, part: str, count: int) -> None:
    roads = scenes.draw(count, derive_seed(_SEED, part), jobs=1)
    crowds = np.random.default_rng(derive_seed(_SEED, f"{part}, crowds")).random(count) < _CROWDS
    numbers = {name: k for k, name in enumerate(photographs.COCO_NAMES.values(), start=1)}
    marks = [
        {
            "id": 10 * i + j,
            "image_id": i,
            "category_id": j + 1,
            "iscrowd": int(j == 0 and crowds[i]),
        }
        for i, j in (roads.labels == 1).nonzero().tolist()
    ]
    told = {
        "images": [{"id": i, "file_name": f"{i:012}.jpg"} for i in range(count)],
        "annotations": marks,
        "categories": [{"id": k, "name": name} for name, k in numbers.items()],
    }
    (folder / "annotations").mkdir(exist_ok=True)
    path = folder / "annotations" / f"instances_{part}.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    (folder / part).mkdir()
    for i, image in enumerate(roads.images):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((64, 64), Image.NEAREST)
        picture.save(folder / part / f"{i:012}.jpg", quality=95)
