"""Photographs of your own: a folder for each class, with whatever a camera or a phone writes."""

import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from mtl_course.base import check_count
from mtl_course.datasets import Dataset, Split

LEAST = 4  # pictures of a class: three to learn from, one to test on
TEST = 4  # one picture of so many is for the test
_SYSTEM = {"thumbs.db", "desktop.ini"}  # written by Windows; what macOS writes is hidden
_NAMED = 5  # files in an error


def own(folder: str | os.PathLike, *, size: int = 96, skip_unreadable: bool = False) -> Split:
    """Return photographs from a folder that holds a folder for each class, with its pictures.

    A class's pictures are taken in the order of their names, and the last quarter is the test:
    photographs taken in a row look alike, and must not lie on both sides. They are turned upright,
    cut square around the middle, and scaled. Gray ones get three equal channels, transparent ones
    a white ground; of a moving picture the first counts. Hidden files are passed over.

    size: pixels on a side. skip_unreadable: goes on without files that are no pictures.
    Returns: images uint8 (m, 3, size, size), labels int64 (m,); classes named as the folders.
    Raises: FileNotFoundError if the folder is not there; ValueError if it has no two classes, a
        class has fewer than four pictures, or files cannot be read (it names them).
    """
    home, size = Path(folder).expanduser(), check_count("size", size, least=8)
    if not home.is_dir():
        raise FileNotFoundError(f"folder {home} is not there, or is a file.")
    kinds = sorted(path for path in home.iterdir() if path.is_dir() and path.name[0] != ".")
    if len(kinds) < 2:
        found = f"{len(kinds)}: {kinds[0].name}" if kinds else "none"
        raise ValueError(
            f"folder {home} must hold a folder for each of two classes or more, and in each its "
            f"pictures; it holds {found}."
        )
    files = {unicodedata.normalize("NFC", kind.name): [*_pictures(kind)] for kind in kinds}
    images, unreadable = _opened(files, size)
    if unreadable and not skip_unreadable:
        raise ValueError(
            f"these files cannot be read as pictures: {_listed(unreadable)}. Take them out, save "
            "them as JPEG or PNG, or give skip_unreadable=True."
        )
    if few := [f"{kind} ({len(own)})" for kind, own in images.items() if len(own) < LEAST]:
        raise ValueError(f"each class needs {LEAST} pictures or more; too few: {_listed(few)}.")
    parts = ([own[: -(len(own) // TEST)] for own in images.values()],
             [own[-(len(own) // TEST) :] for own in images.values()])  # fmt: skip
    return Split(*(_dataset(part, tuple(images)) for part in parts))


def _pictures(kind: Path) -> Iterator[Path]:
    """Yield the files of a class, also those in folders below, in the order of their names."""
    for path in sorted(kind.rglob("*")):
        hidden = any(part[0] == "." for part in path.relative_to(kind).parts)
        if path.is_file() and not hidden and path.name.lower() not in _SYSTEM:
            yield path


def _opened(files: dict[str, list[Path]], size: int) -> tuple[dict[str, list], list[str]]:
    """Read all pictures. Returns: uint8 (3, size, size) by class, and what cannot be read."""
    images, unreadable = {kind: [] for kind in files}, []
    with tqdm(total=sum(map(len, files.values())), leave=False, unit="picture") as bar:
        for kind, paths in files.items():
            for path in paths:
                bar.update()
                try:
                    images[kind].append(_square(path, size))
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                    unreadable.append(f"{kind}/{path.name} ({_why(error, path)})")
    return images, unreadable


def _square(path: Path, size: int) -> np.ndarray:
    """Read a picture: upright, square and in color. Returns: uint8 (3, size, size)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 100 megapixels, of odd metadata
        with Image.open(path) as file:
            file.draft("RGB", (2 * size, 2 * size))  # a large JPEG is decoded at a fraction
            upright = ImageOps.exif_transpose(file)
            if upright.mode.startswith("I"):  # 16 bits a pixel
                upright = Image.fromarray((np.asarray(upright) // 256).astype(np.uint8))
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                ground = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(ground, upright)
            color = upright.convert("RGB")
    return np.asarray(ImageOps.fit(color, (size, size), Image.Resampling.BOX)).transpose(2, 0, 1)


def _why(error: Exception, path: Path) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "empty" if not path.stat().st_size else "no picture, or of a kind not known here"
    return str(error)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _dataset(images: Sequence[Sequence[np.ndarray]], classes: tuple[str, ...]) -> Dataset:
    labels = [torch.full((len(own),), k, dtype=torch.int64) for k, own in enumerate(images)]
    pixels = np.stack([image for own in images for image in own])
    return Dataset(torch.from_numpy(pixels), torch.cat(labels), classes)
