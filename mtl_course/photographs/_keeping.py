"""Real photographs as `Dataset`s: read once, brought to one size, and kept as arrays on disk.

None of them comes with the course. They lie in a folder of yours, which ``MTL_COURSE_PHOTOGRAPHS``
or the argument `folder` names, each as its authors packed it; ``download=True`` fetches what is
missing. The first reading writes the images beside the originals in the size that is asked for;
later readings map them from disk.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from mtl_course.base import atomic, check_count, check_writable
from mtl_course.datasets import Split, stored
from mtl_course.photographs import _archives, _reading
from mtl_course.storage import new_array

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


def coco(folder: Folder = None, *, size: int = 64, download: bool = False) -> Split:
    """Return COCO 2017 with the lecture's four tasks: 118,287 photographs, 5,000 to test on.

    A picture has a car if one is marked in it. Where COCO marks only a crowd of them, whose members
    nobody has looked at one by one, the label is UNKNOWN (M4). Pictures are pressed into a square,
    so that nothing at their edges is lost.

    Returns: images uint8 (m, 3, size, size), labels int8 (m, 4). The rest: as `cifar10`.
    Source: T.-Y. Lin et al., Microsoft COCO: Common objects in context, ECCV 2014.
    """
    return _read_once("coco", folder, size, download)


def _read_once(name: str, folder: Folder, size: int, download: bool) -> Split:
    """Return both parts of a data set, their arrays written if nobody has read them before."""
    home, size = _archives.folder(folder), check_count("size", size, least=8)
    paths = _archives.kept(home, name, size)
    for path in paths:
        if not path.exists():
            _archives.unpack(name, home, download)
            check_writable(path.parent, _archives.ELSEWHERE)
            once(path, lambda draft, part=path.name: _write(name, home, part, size, draft))
    return Split(*map(stored, paths))


def _write(name: str, home: Path, part: str, size: int, draft: Path) -> None:
    """Read one part of a data set and write it as the arrays that `datasets.stored` opens."""
    names, labels, pictures = _reading.read(name, home, part)
    draft.mkdir()
    images = new_array(draft / "images.npy", (len(labels), 3, size, size), np.uint8)
    bar = tqdm(pictures, f"{name}, {part}", len(labels), leave=False, unit="image")
    for row, picture in enumerate(bar):
        picture = picture.convert("RGB")  # a few of COCO's are gray
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BOX, reducing_gap=3)
        images[row] = np.asarray(picture).transpose(2, 0, 1)  # (3, size, size)
    images.flush()
    del images  # closed: Windows moves no folder with an open file
    new_array(draft / "labels.npy", labels.shape, labels.dtype)[:] = labels
    (draft / "names.json").write_text(json.dumps(names), encoding="utf-8")


def once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return `path`, which `make` first writes under another name if it does not exist.

    Where another process was quicker, its result stays. Raises: OSError, as `base.atomic`.
    """
    if not path.exists():
        try:
            with atomic(path) as draft:
                make(draft)
        except OSError:
            if not path.exists():
                raise
    return path
