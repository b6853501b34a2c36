"""Real photographs as `Dataset`s: CIFAR-10, STL-10 and COCO, read through torchvision, kept once.

None of them comes with the course. They lie in a folder of yours, which ``MTL_COURSE_PHOTOGRAPHS``
or the argument `folder` names, each as its authors packed it; with ``download=True`` what is
missing is fetched. The first reading brings all images to one size and writes them beside the
originals, as bytes that later readings leave on disk until they are asked for.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import pickle
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from mtl_course.base import HOME, atomic, check_count, check_writable
from mtl_course.datasets import UNKNOWN, Split, stored
from mtl_course.storage import new_array


class Archive(NamedTuple):
    """What its authors offer: a file, its MD5 sum, and the folder or file that comes out of it."""

    url: str
    md5: str
    holds: str

    @property
    def name(self) -> str:
        """The file's."""
        return self.url.rpartition("/")[2]


_COCO = "http://images.cocodataset.org"
ARCHIVES = {
    "cifar10": (
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            "cifar-10-batches-py",
        ),
    ),
    "stl10": (
        Archive(
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "91f7769df0f17e558f3565bffb0c7dfb",
            "stl10_binary",
        ),
    ),
    "coco": (
        Archive(f"{_COCO}/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017"),
        Archive(f"{_COCO}/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", "val2017"),
        Archive(
            f"{_COCO}/annotations/annotations_trainval2017.zip",
            "f4bbac642086de4f52a3fdda2de5fa2c",
            "annotations/instances_val2017.json",
        ),
    ),
}

COCO_NAMES = {
    "pedestrian": "person",
    "car": "car",
    "stop sign": "stop sign",
    "traffic light": "traffic light",
}
"""What COCO calls the lecture's four."""


def place(folder: str | os.PathLike | None = None) -> Path:
    """Where they lie: `folder`, or ``MTL_COURSE_PHOTOGRAPHS``, or ``results/photographs``."""
    return Path(
        folder or os.environ.get("MTL_COURSE_PHOTOGRAPHS") or HOME / "results" / "photographs"
    )


DRAWN = "DRAWN.txt"
"""A file that says that a folder's images were drawn by the course (`drawn`)."""


def there(name: str, size: int = 32) -> bool:
    """True when "cifar10", "stl10" or "coco" can be read at this size from `place()` as it is.

    Raises: ValueError for another name.
    """
    if name not in ARCHIVES:
        raise ValueError(f"name must be one of {', '.join(ARCHIVES)}; got {name!r}.")
    folder = place()
    kept = [folder / "kept" / f"{name}-{size}" / part for part in ("train", "test")]
    return all(part.exists() for part in kept) or all(
        (folder / archive.holds).exists() or (folder / archive.name).exists()
        for archive in ARCHIVES[name]
    )


def cifar10(
    folder: str | os.PathLike | None = None, *, size: int = 32, download: bool = False
) -> Split:
    """CIFAR-10: 50,000 small photographs of ten classes to learn from, 10,000 to test on.

    size: pixels on a side. Returns: images uint8 (m, 3, size, size), labels int64 (m,).
    Raises: FileNotFoundError if it is not there, with what to fetch and where to put it; ValueError
        if a file is damaged.
    Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    return _kept("cifar10", place(folder), size, download, _cifar10)


def stl10(
    folder: str | os.PathLike | None = None, *, size: int = 32, download: bool = False
) -> Split:
    """STL-10: 5,000 photographs of ten classes to learn from, 8,000 to test on.

    Nine of the classes are CIFAR-10's. Arguments, what is returned and raised: as in `cifar10`.
    Source: A. Coates, H. Lee and A. Ng, An analysis of single-layer networks, AISTATS 2011.
    """
    return _kept("stl10", place(folder), size, download, _stl10)


def coco(
    folder: str | os.PathLike | None = None, *, size: int = 64, download: bool = False
) -> Split:
    """COCO 2017 with the lecture's four questions: 118,287 photographs, 5,000 to test on.

    A picture has a car if one is marked in it. Where COCO marks nothing but a crowd of them, whose
    members nobody has looked at one by one, the answer is UNKNOWN (M4). The picture is pressed into
    a square, so that nothing at its edges is lost.

    Returns: images uint8 (m, 3, size, size), labels int8 (m, 4). Raises: as `cifar10`.
    Source: T.-Y. Lin et al., Microsoft COCO: Common objects in context, ECCV 2014.
    """
    return _kept("coco", place(folder), size, download, _coco)


# ---------------------------------------------------------------------- kept once


class _Pictures(NamedTuple):
    """One part of a data set as it is read: how many, their labels, and they themselves."""

    names: dict[str, tuple[str, ...]]
    labels: np.ndarray
    pictures: Iterable[Image.Image]


_ELSEWHERE = (
    "let whoever may write there read them once, or put them into a folder of yours and name it by "
    "folder= or MTL_COURSE_PHOTOGRAPHS"
)


def _kept(
    name: str, folder: Path, size: int, download: bool, read: Callable[[Path, str], _Pictures]
) -> Split:
    """Both parts, read once and then opened where they were written."""
    size = check_count("size", size, least=8)
    parts = []
    for part in ("train", "test"):
        kept = folder / "kept" / f"{name}-{size}" / part
        if not kept.exists():
            for archive in ARCHIVES[name]:
                if not (folder / archive.holds).exists():
                    _unpack(_fetched(archive, folder, download), folder)
            check_writable(kept.parent, _ELSEWHERE)
            found = functools.partial(read, folder, part)
            once(kept, functools.partial(_write, found, size, f"{name}, {part}"))
        parts.append(stored(kept))
    return Split(*parts)


def _write(read: Callable[[], _Pictures], size: int, told: str, folder: Path) -> None:
    found = read()
    count = len(found.labels)
    folder.mkdir()
    images = new_array(folder / "images.npy", (count, 3, size, size), np.uint8)
    for row, picture in enumerate(tqdm(found.pictures, told, count, leave=False, unit="image")):
        picture = picture.convert("RGB")  # a few of COCO's are grey
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BOX, reducing_gap=3)
        images[row] = np.asarray(picture).transpose(2, 0, 1)
    images.flush()
    del images  # closed: Windows moves no folder with an open file
    new_array(folder / "labels.npy", found.labels.shape, found.labels.dtype)[:] = found.labels
    (folder / "names.json").write_text(json.dumps(found.names), encoding="utf-8")


# ---------------------------------------------------------------------- as they were packed


def _cifar10(folder: Path, part: str) -> _Pictures:
    from torchvision.datasets import CIFAR10

    with _readable(folder / "cifar-10-batches-py"):
        found = _reader(CIFAR10, folder)(folder, train=part == "train")
        labels = np.array(found.targets, dtype=np.int64)
    return _Pictures({"classes": tuple(found.classes)}, labels, map(Image.fromarray, found.data))


def _stl10(folder: Path, part: str) -> _Pictures:
    from torchvision.datasets import STL10

    labelled = STL10.train_list[:2]  # not the 100,000 without a label, which nobody reads here
    with _readable(folder / "stl10_binary"):
        found = _reader(STL10, folder, train_list=labelled)(folder, split=part)
        labels = found.labels.astype(np.int64)
    return _Pictures({"classes": tuple(found.classes)}, labels, (picture for picture, _ in found))


def _reader(kind: type, folder: Path, **lists: list) -> type:
    """torchvision's class, which checks MD5 sums; of what the course drew itself it knows none."""
    about = {"train_list": kind.train_list, "test_list": kind.test_list} | lists
    if (folder / DRAWN).exists():
        about = {name: [(file, None) for file, _ in files] for name, files in about.items()}
        about["meta"] = getattr(kind, "meta", {}) | {"md5": None}
    return type(kind.__name__, (kind,), about)


def _coco(folder: Path, part: str) -> _Pictures:
    part = {"train": "train2017", "test": "val2017"}[part]
    with _readable(folder / "annotations" / f"instances_{part}.json") as path:
        told = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: image["file_name"] for image in told["images"]}
        numbers = {category["name"]: category["id"] for category in told["categories"]}
        columns = {numbers[name]: j for j, name in enumerate(COCO_NAMES.values())}
        row = {number: i for i, number in enumerate(sorted(files))}
        labels = np.zeros((len(files), len(columns)), np.int8)
        marks = [mark for mark in told["annotations"] if mark["category_id"] in columns]
        for mark in sorted(marks, key=lambda mark: not mark["iscrowd"]):  # crowds first
            where = row[mark["image_id"]], columns[mark["category_id"]]
            labels[where] = UNKNOWN if mark["iscrowd"] else 1
    pictures = _opened(folder / part / files[number] for number in row)
    return _Pictures({"tasks": tuple(COCO_NAMES)}, labels, pictures)


def _opened(paths: Iterable[Path]) -> Iterator[Image.Image]:
    for path in paths:
        with _readable(path):
            with Image.open(path) as picture:
                picture.load()
            yield picture


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """What goes wrong while `path` is read is told as its damage."""
    try:
        yield path
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename or path} is not there: unpack its archive again."
        ) from error
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and unpack it again.") from error


# ---------------------------------------------------------------------- fetched


def _fetched(archive: Archive, folder: Path, download: bool) -> Path:
    """The archive, whole. One that broke off is fetched on from where it was.

    Raises: FileNotFoundError if it is not there and cannot be fetched; ValueError if it is another.
    """
    path = folder / archive.name
    if not path.exists() and not download:
        raise FileNotFoundError(_advice(archive, folder, "is not there"))
    check_writable(folder, _ELSEWHERE)
    if not path.exists():
        draft = path.with_name(f"{path.name}.part")
        try:
            _fetch(archive.url, draft)
        except OSError as error:  # urllib's are
            if error.errno == errno.ENOSPC:
                error.filename = str(draft)
                raise
            raise FileNotFoundError(
                _advice(archive, folder, f"could not be fetched ({error})")
            ) from error
        if _md5(draft) != archive.md5:
            draft.unlink()
            raise ValueError(f"{archive.url} gave another file than it should: fetch it again.")
        draft.replace(path)
    elif _md5(path) != archive.md5:
        raise ValueError(f"{path} is damaged, or another file: its MD5 sum is not {archive.md5}.")
    return path


def _advice(archive: Archive, folder: Path, what: str) -> str:
    return (
        f"{archive.holds} {what}. Fetch {archive.url} on a machine with a network and put it into "
        f"{folder} as it is, or give download=True; another folder: MTL_COURSE_PHOTOGRAPHS."
    )


def _fetch(url: str, draft: Path) -> None:
    """Writes what is missing of the file at `url`."""
    draft.parent.mkdir(parents=True, exist_ok=True)
    done = draft.stat().st_size if draft.exists() else 0
    asked = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.urlopen(asked, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # there is nothing behind what we have: it is whole
            raise
        return
    with answer:
        if answer.status != 206:  # from the start, whatever was asked
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        with (
            draft.open("ab" if done else "wb") as file,
            tqdm(desc=draft.stem, total=total, initial=done, unit="B", unit_scale=True) as bar,
        ):
            while piece := answer.read(1 << 20):
                file.write(piece)
                bar.update(len(piece))
    if total is not None and draft.stat().st_size < total:
        raise OSError("it broke off; the same call goes on where it was")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(path: Path, folder: Path) -> None:
    """All of an archive, or nothing of it."""
    from torchvision.datasets.utils import extract_archive

    with tempfile.TemporaryDirectory(dir=folder, prefix="unpacking") as draft:
        try:
            extract_archive(path, draft)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                error.filename = str(path)
            raise
        for made in Path(draft).iterdir():
            if not (folder / made.name).exists():
                made.rename(folder / made.name)


def once(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, which `make` writes under another name if it is not there yet.

    Where another process was quicker, what that made stays.
    """
    if not path.exists():
        try:
            with atomic(path) as draft:
                make(draft)
        except OSError:
            if not path.exists():
                raise
    return path
