"""A tiny set in the formats of CIFAR-10, STL-10 and COCO that the course draws itself.

It stands in for photographs where there are none, so that lesson 07 runs without a network. Its
"airplanes" are the letter A: nobody will take them for photographs, and `banner` says so.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mtl_course import photographs, scenes
from mtl_course.base import HOME, derive_seed
from mtl_course.datasets import printed_digits
from mtl_course.photographs._archives import once
from mtl_course.photographs._reading import DRAWN
from mtl_course.storage import results_folder

BANNER = "Drawn by the course: these are no photographs"
LETTERS = {  # what is printed for each class
    "airplane": "A", "automobile": "U", "bird": "B", "car": "U", "cat": "C", "deer": "E",
    "dog": "D", "frog": "F", "horse": "H", "monkey": "M", "ship": "S", "truck": "T",
}  # fmt: skip
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_STL = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
_SEED = 0
_NAME = "drawn-1"  # another number whenever the images change
_CROWDS = 0.3  # of the scenes with pedestrians: a crowd is marked, and nobody in it


def or_photographs(*names: str, size: int = 32) -> Path:
    """Return the folder to read data sets from: yours if it holds all of them, else a drawn one.

    names: some of "cifar10", "stl10", "coco". size: pixels on a side that they will be read at.
    Raises: ValueError for another name; OSError if the set cannot be written.
    """
    if all(photographs.there(name, size) for name in names):
        return photographs.folder()
    shared = HOME / "results" / _NAME  # by a teacher, in a course that is shared read-only
    return shared if shared.exists() else once(results_folder() / _NAME, write)


def banner(folder: Path) -> str:
    """Return the warning for the top of every figure of a drawn set; "" for photographs."""
    return BANNER if (folder / DRAWN).exists() else ""


def write(folder: Path) -> None:
    """Draw all three sets into a new folder, in their own formats: 1,200, 800 and 800 images."""
    for part in ("cifar-10-batches-py", "stl10_binary", "annotations", "train2017", "val2017"):
        (folder / part).mkdir(parents=True)
    (folder / DRAWN).write_text(f"{BANNER}.\n", encoding="utf-8")
    _cifar10(folder / "cifar-10-batches-py")
    _stl10(folder / "stl10_binary")
    _coco(folder, "train2017", 500)
    _coco(folder, "val2017", 300)


def _cifar10(folder: Path) -> None:
    images, labels = _letters(_CIFAR, 1200, 32, "CIFAR-10")
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    for name, data, answers in zip(names, np.split(images, 6), np.split(labels, 6), strict=True):
        batch = {"data": data.reshape(200, -1), "labels": answers.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(_CIFAR)}))


def _stl10(folder: Path) -> None:
    images, labels = _letters(_STL, 800, 96, "STL-10")
    for part, rows in (("train", slice(500)), ("test", slice(500, None))):
        # Pixels are stored column by column.
        (folder / f"{part}_X.bin").write_bytes(images[rows].swapaxes(2, 3).tobytes())
        (folder / f"{part}_y.bin").write_bytes((labels[rows] + 1).astype(np.uint8).tobytes())
    (folder / "class_names.txt").write_text("\n".join(_STL), encoding="utf-8")


def _letters(classes: tuple[str, ...], count: int, side: int, role: str) -> tuple[np.ndarray, ...]:
    """Draw letters in color. Returns: uint8 (count, 3, side, side), int64 (count,)."""
    characters = [LETTERS[name] for name in classes]
    letters = printed_digits(count, derive_seed(_SEED, role), characters=characters)
    ink = torch.nn.functional.interpolate(letters.images / 255, (side, side), mode="bilinear")
    generator = torch.Generator("cpu").manual_seed(derive_seed(_SEED, f"{role}, colours"))
    paper, pen = torch.rand(2, count, 3, 1, 1, generator=generator, device="cpu")
    grain = 0.1 * torch.randn(count, 3, side, side, generator=generator, device="cpu")
    images = torch.lerp(0.45 + 0.55 * paper, 0.35 * pen, ink) + grain
    return (255 * images).round().clamp(0, 255).byte().numpy(), letters.labels.numpy()


def _coco(folder: Path, part: str, count: int) -> None:
    roads = scenes.draw(count, derive_seed(_SEED, part), jobs=1)
    crowds = np.random.default_rng(derive_seed(_SEED, f"{part}, crowds")).random(count) < _CROWDS
    files = [f"{i:012}.jpg" for i in range(count)]
    content = {
        "images": [{"id": i, "file_name": file} for i, file in enumerate(files)],
        "annotations": [
            {"id": 10 * i + j, "image_id": i, "category_id": j + 1,
             "iscrowd": int(j == 0 and crowds[i])}
            for i, j in (roads.labels == 1).nonzero().tolist()
        ],
        "categories": [
            {"id": j, "name": name} for j, name in enumerate(photographs.COCO_NAMES.values(), 1)
        ],
    }  # fmt: skip
    path = folder / "annotations" / f"instances_{part}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for file, image in zip(files, roads.images, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((64, 64), Image.NEAREST)
        picture.save(folder / part / file, quality=95)
