"""Real photographs as `Dataset`s: read once, brought to one size, and kept as arrays on disk.

None of them comes with the course. They lie in a folder of yours, each as its authors packed it.
The first reading writes the images beside the originals; later readings map them from disk.
"""

import contextlib
import functools
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, STL10
from tqdm.auto import tqdm

from mtl_course.base import check_count, check_writable
from mtl_course.datasets import UNKNOWN, Dataset, Split, clothes, stored
from mtl_course.photographs import _archives
from mtl_course.storage import new_array

COCO_NAMES = {
    "pedestrian": "person", "car": "car",
    "stop sign": "stop sign", "traffic light": "traffic light",
}  # fmt: skip
"""COCO's name for each of the lecture's four tasks."""

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_DAMAGE = (OSError, RuntimeError, ValueError, LookupError, TypeError, EOFError, pickle.PickleError)

Folder = str | os.PathLike | None


def cifar10(folder: Folder = None, *, size: int = 32, download: bool = False) -> Split:
    """Return CIFAR-10: 50,000 photographs of ten classes to learn from, 10,000 to test on.

    folder: None takes `photographs.folder()`. size: pixels on a side. download: fetch it if needed.
    Returns: images uint8 (m, 3, size, size), labels int64 (m,).
    Raises: FileNotFoundError if it is missing, with what to fetch and where to put it; ValueError
        if a file is damaged or `size` is below 8; OSError if the disk is full or read-only.
    Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    return _read_once("cifar10", folder, size, download)


def stl10(folder: Folder = None, *, size: int = 32, download: bool = False) -> Split:
    """Return STL-10: 5,000 photographs of ten classes to learn from, 8,000 to test on.

    Nine of the classes are CIFAR-10's. Arguments, Returns and Raises: as `cifar10`.
    Source: A. Coates, H. Lee and A. Ng, An analysis of single-layer networks, AISTATS 2011.
    """
    return _read_once("stl10", folder, size, download)


def in_color(data: Dataset, size: int) -> Dataset:
    """Return photographs as a network for color ones takes them: three channels, size × size.

    A gray image fills each channel. Smaller and larger ones are brought to size by bilinear
    interpolation, which averages where pixels are lost.
    Returns: images uint8 (m, 3, size, size), on the device where they lay; labels as they were.
    Raises: ValueError if `size` is below 8, or images have neither one nor three channels.
    """
    check_count("size", size, least=8)
    if (channels := data.images.shape[1]) not in (1, 3):
        raise ValueError(f"data must have images of one or three channels; got {channels}.")
    how = {"mode": "bilinear", "align_corners": False, "antialias": True}
    images = torch.nn.functional.interpolate(data.images.float(), size=(size, size), **how)
    images = images.round_().clamp_(0, 255).to(torch.uint8)  # (m, channels, size, size)
    return replace(data, images=images.expand(-1, 3, -1, -1))


def fashion_mnist(folder: Folder = None, *, download: bool = False) -> Split:
    """Return all of Fashion-MNIST: 60,000 photographs of clothes to learn from, 10,000 to test on.

    folder: where torchvision keeps it; None takes `photographs.folder()` and, if it is not there,
        Debian's package dataset-fashion-mnist. download: let torchvision fetch it if needed.
    Returns and Source: as `datasets.clothes`.
    Raises: FileNotFoundError if it is missing, with what to do; ValueError if a file is damaged;
        OSError if the folder cannot be written to.
    """
    home = _archives.folder(folder)
    places = [home / "FashionMNIST" / "raw", *([] if folder else [_DEBIAN])]
    found = next((place for place in places if [*place.glob("train-images-idx3-ubyte*")]), None)
    if found is None and download:
        from torchvision.datasets import FashionMNIST

        check_writable(home, _archives.ELSEWHERE)
        FashionMNIST(home, download=True)
        found = places[0]
    if found is None:
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {places[0]}. Give download=True, install Debian's package "
            "dataset-fashion-mnist, or use the part that ships: datasets.clothes()."
        )
    return clothes(found)


def coco(folder: Folder = None, *, size: int = 64, download: bool = False) -> Split:
    """Return COCO 2017 with the lecture's four tasks: 118,287 photographs, 5,000 to test on.

    A picture has a car if one is marked in it. Where COCO marks only a crowd of them, whose members
    nobody has looked at one by one, the label is UNKNOWN (M4). Pictures are pressed into a square.

    Returns: images uint8 (m, 3, size, size), labels int8 (m, 4). The rest: as `cifar10`.
    Source: T.-Y. Lin et al., Microsoft COCO: Common objects in context, ECCV 2014.
    """
    return _read_once("coco", folder, size, download)


def _read_once(name: str, folder: Folder, size: int, download: bool) -> Split:
    """Return both parts of a data set; write their arrays if nobody has read them before."""
    home, size = _archives.folder(folder), check_count("size", size, least=8)
    paths = _archives.kept(home, name, size)
    for path in paths:
        if not path.exists():
            _archives.unpack(name, home, download)
            check_writable(path.parent, _archives.ELSEWHERE)
            _archives.once(path, functools.partial(_write, name, home, path.name, size))
    return Split(*map(stored, paths))


def _write(name: str, home: Path, part: str, size: int, draft: Path) -> None:
    """Read one part of a data set and write it as the arrays that `datasets.stored` opens."""
    names, labels, pictures = _read(name, home, part)
    draft.mkdir()
    images = new_array(draft / "images.npy", (len(labels), 3, size, size), np.uint8)
    bar = tqdm(pictures, f"{name}, {part}", len(labels), leave=False, unit="image")
    for row, picture in enumerate(bar):
        picture = picture.convert("RGB")  # a few of COCO's are gray
        picture = picture.resize((size, size), Image.Resampling.BOX, reducing_gap=3)
        images[row] = np.asarray(picture).transpose(2, 0, 1)  # (3, size, size)
    images.flush()
    del images  # closed: Windows moves no folder with an open file
    new_array(draft / "labels.npy", labels.shape, labels.dtype)[:] = labels
    (draft / "names.json").write_text(json.dumps(names), encoding="utf-8")


def _read(name: str, home: Path, part: str) -> tuple[dict, np.ndarray, Iterator[Image.Image]]:
    """Read the part "train" or "test" of a data set.

    Returns: the names of its "classes" or "tasks"; labels int64 (m,) or int8 (m, tasks); m
        pictures, opened one after another.
    """
    if name == "coco":
        return _coco(home, part)
    kind, which = (CIFAR10, part == "train") if name == "cifar10" else (STL10, part)
    files = {"train_list": kind.train_list, "test_list": kind.test_list}
    if kind is STL10:
        files["train_list"] = kind.train_list[:2]  # without 100,000 images that have no label
    with _readable(home / kind.base_folder):
        data = type(kind.__name__, (kind,), files)(home, which)
        labels = np.array(data.targets if kind is CIFAR10 else data.labels, np.int64)
    return {"classes": tuple(data.classes)}, labels, (picture for picture, _ in data)


def _coco(home: Path, part: str) -> tuple[dict, np.ndarray, Iterator[Image.Image]]:
    """Read a part of COCO in the order of its image ids."""
    part = {"train": "train2017", "test": "val2017"}[part]
    with _readable(home / "annotations" / f"instances_{part}.json") as path:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        ids = {category["name"]: category["id"] for category in content["categories"]}
        wanted = [ids[name] for name in COCO_NAMES.values()]
        marks = pd.DataFrame(content["annotations"], columns=["image_id", "category_id", "iscrowd"])
        marks = marks.groupby(["image_id", "category_id"])["iscrowd"].min()  # single ones override
        table = marks.map({0: 1, 1: UNKNOWN}).unstack().reindex(index=sorted(files), columns=wanted)
        labels = table.fillna(0).to_numpy(np.int8)  # (m, 4)
    pictures = (_opened(home / part / files[image]) for image in table.index)
    return {"tasks": tuple(COCO_NAMES)}, labels, pictures


def _opened(path: Path) -> Image.Image:
    with _readable(path), Image.open(path) as picture:
        picture.load()
    return picture


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
