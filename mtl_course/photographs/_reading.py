"""CIFAR-10, STL-10 and COCO as their authors packed them, read one part at a time."""

import contextlib
import json
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mtl_course.datasets import UNKNOWN

COCO_NAMES = {
    "pedestrian": "person",
    "car": "car",
    "stop sign": "stop sign",
    "traffic light": "traffic light",
}
"""COCO's name for each of the lecture's four tasks."""

DRAWN = "DRAWN.txt"
"""A file that says that the images beside it were drawn by the course, see `stand_in`."""

_DAMAGE = (OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError, pickle.PickleError)


def read(name: str, home: Path, part: str) -> tuple[dict, np.ndarray, Iterator[Image.Image]]:
    """Read the part "train" or "test" of "cifar10", "stl10" or "coco".

    Returns: the names of its "classes" or "tasks"; labels int64 (m,) or int8 (m, tasks); m
        pictures, opened one after another.
    Raises: FileNotFoundError if a file is missing, ValueError if one is damaged.
    """
    from torchvision.datasets import CIFAR10, STL10

    if name == "coco":
        return _coco(home, part)
    kind = CIFAR10 if name == "cifar10" else STL10
    files = {"train_list": kind.train_list, "test_list": kind.test_list}
    if kind is STL10:
        files["train_list"] = kind.train_list[:2]  # without 100,000 images that have no label
    if (home / DRAWN).exists():  # ours have sums that torchvision does not know
        files = {key: [(file, None) for file, _ in pairs] for key, pairs in files.items()}
        files["meta"] = getattr(kind, "meta", {}) | {"md5": None}
    with _readable(home / kind.base_folder):
        reader = type(kind.__name__, (kind,), files)
        data = reader(home, part == "train") if kind is CIFAR10 else reader(home, part)
        labels = np.array(data.targets if kind is CIFAR10 else data.labels, np.int64)
    return {"classes": tuple(data.classes)}, labels, (picture for picture, _ in data)


def _coco(home: Path, part: str) -> tuple[dict, np.ndarray, Iterator[Image.Image]]:
    """Read a part of COCO in the order of its image ids."""
    part = {"train": "train2017", "test": "val2017"}[part]
    with _readable(home / "annotations" / f"instances_{part}.json") as path:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        ids = {category["name"]: category["id"] for category in content["categories"]}
        columns = {ids[name]: j for j, name in enumerate(COCO_NAMES.values())}
        rows = {image: i for i, image in enumerate(sorted(files))}
        labels = np.zeros((len(rows), len(columns)), np.int8)
        marks = [mark for mark in content["annotations"] if mark["category_id"] in columns]
        for mark in sorted(marks, key=lambda mark: -mark["iscrowd"]):  # single ones override crowds
            cell = rows[mark["image_id"]], columns[mark["category_id"]]
            labels[cell] = UNKNOWN if mark["iscrowd"] else 1
    pictures = _opened(home / part / files[image] for image in rows)
    return {"tasks": tuple(COCO_NAMES)}, labels, pictures


def _opened(paths: Iterable[Path]) -> Iterator[Image.Image]:
    for path in paths:
        with _readable(path), Image.open(path) as picture:
            picture.load()
        yield picture


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """Report whatever goes wrong while `path` is read as its damage."""
    try:
        yield path
    except FileNotFoundError as error:
        missing = error.filename or path
        raise FileNotFoundError(f"{missing} is missing: unpack its archive again.") from error
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and unpack it again.") from error
