"""The archives as their authors packed them: where they lie, how they are fetched and unpacked."""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

from torchvision.datasets import CIFAR10, STL10, utils

from mtl_course.base import HOME, atomic, check_writable


class Archive(NamedTuple):
    """An archive on the web: its address, its MD5 sum, and a folder or file that it unpacks to."""

    url: str
    md5: str
    content: str


_COCO = "http://images.cocodataset.org"
ARCHIVES = {
    "cifar10": [Archive(CIFAR10.url, CIFAR10.tgz_md5, CIFAR10.base_folder)],
    "stl10": [Archive(STL10.url, STL10.tgz_md5, STL10.base_folder)],
    "coco": [
        Archive(f"{_COCO}/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017"),
        Archive(f"{_COCO}/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", "val2017"),
        Archive(f"{_COCO}/annotations/annotations_trainval2017.zip",
                "f4bbac642086de4f52a3fdda2de5fa2c", "annotations/instances_val2017.json"),
    ],
}  # fmt: skip
"""The archives of each data set, by its name."""

ELSEWHERE = (  # advice where a folder is read-only
    "have somebody who may write there read the photographs once, or put them into a folder of "
    "your own and name it by folder= or MTL_COURSE_PHOTOGRAPHS"
)


def folder(path: str | os.PathLike | None = None) -> Path:
    """Return `path`, else what ``MTL_COURSE_PHOTOGRAPHS`` names, else results/photographs."""
    path = path or os.environ.get("MTL_COURSE_PHOTOGRAPHS")
    return Path(path or HOME / "results" / "photographs")


def kept(home: Path, name: str, size: int) -> list[Path]:
    """Return the folders that hold the arrays of a data set at this size: training, test."""
    return [home / "kept" / f"{name}-{size}" / part for part in ("train", "test")]


def unpack(name: str, home: Path, download: bool) -> None:
    """Unpack what is missing of a data set; with `download`, fetch its archives where needed.

    Raises: FileNotFoundError if an archive is missing and cannot be fetched; ValueError if it is
        damaged; OSError if the folder is read-only, or the disk full.
    """
    for archive in ARCHIVES[name]:
        if not (home / archive.content).exists():
            path, top = _checked(archive, home, download), Path(archive.content).parts[0]
            once(home / top, functools.partial(_extract, path, top))


def once(path: Path, make: Callable[[Path], object]) -> Path:
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


def _extract(archive: Path, top: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="unpacking") as draft:
        utils.extract_archive(archive, draft)
        Path(draft, top).rename(target)  # all that the archive holds


def _checked(archive: Archive, home: Path, download: bool) -> Path:
    """Return the path of an archive whose MD5 sum is right, fetched if it is missing."""
    url, path = archive.url, home / Path(archive.url).name
    advice = (
        f"Fetch {url} on a machine with a network and put it into {home} as it is, or give "
        "download=True; another folder: MTL_COURSE_PHOTOGRAPHS."
    )
    damage = f"its MD5 sum is not {archive.md5}. Fetch {url} again."
    if not path.exists() and not download:
        raise FileNotFoundError(f"{archive.content} is missing. {advice}")
    check_writable(home, ELSEWHERE)
    if path.exists():
        if not utils.check_integrity(path, archive.md5):
            raise ValueError(f"{path} is damaged or another file: {damage}")
        return path
    try:
        return once(path, lambda draft: utils.download_url(url, home, draft.name, archive.md5))
    except RuntimeError as error:
        raise ValueError(f"What came is incomplete or another file: {damage}") from error
    except (URLError, ConnectionError, TimeoutError) as error:
        problem = f"{archive.content} could not be fetched ({error})."
        raise FileNotFoundError(f"{problem} {advice}") from error
