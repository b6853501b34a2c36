"""Real photographs of clothes, of which the course ships a part: Fashion-MNIST."""

import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import torch

from mtl_course.base import ASSETS
from mtl_course.datasets._dataset import Dataset, Split

CLOTHES = (
    "T-shirt", "trousers", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def clothes(folder: str | os.PathLike | None = None) -> Split:
    """Return photographs of ten kinds of clothes, shoes and bags, small and gray.

    Without `folder` they are the 21,000 that ship with the course: to learn from, the first 2,500
    T-shirts and pullovers of Fashion-MNIST and 1,600 of each other kind; to test on, all 1,000 of
    its T-shirts and pullovers and 150 of each other kind. See assets/clothes/README.md.

    folder: holds the four files of all 70,000, as they were published or unpacked, such as
        /usr/share/datasets/fashion-mnist. `photographs.fashion_mnist` looks for them.
    Returns: `train` and `test`, images uint8 (m, 1, 28, 28), labels int64 (m,), ten classes.
    Raises: FileNotFoundError if a file is not there; ValueError if one is damaged.
    Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017 (MIT).
    """
    folder = Path(folder or ASSETS / "clothes")
    return Split(*(_read(folder, part) for part in ("train", "t10k")))


def _read(folder: Path, part: str) -> Dataset:
    images = torch.from_numpy(_idx(folder, f"{part}-images-idx3-ubyte"))[:, None]
    labels = torch.from_numpy(_idx(folder, f"{part}-labels-idx1-ubyte")).long()
    return Dataset(images, labels, classes=CLOTHES)


def _idx(folder: Path, name: str) -> np.ndarray:
    """Read an array of bytes in Y. LeCun's IDX format: its rank, its shape, its values."""
    packed, plain = folder / f"{name}.gz", folder / name
    if not (packed.exists() or plain.exists()):
        raise FileNotFoundError(f"folder {folder} must hold {name}.gz, or {name} unpacked.")
    try:
        data = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
        shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape).copy()
    except (OSError, EOFError, LookupError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{name} in folder {folder} is damaged ({error}): copy it anew."
        ) from error
