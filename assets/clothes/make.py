"""Make the files beside this one from the official four: python assets/clothes/make.py FOLDER."""

import gzip
import sys
from pathlib import Path

import numpy as np

from mtl_course import datasets

HERE = Path(__file__).parent
T_SHIRT, PULLOVER = 0, 2
COUNTS = {"train": (2_500, 1_600), "t10k": (1_000, 150)}  # of these two, and of each other kind


def first(labels: np.ndarray, two: int, others: int) -> np.ndarray:
    """Return the rows of the first photographs of each kind, in the order of the file."""
    counts = [two if kind in (T_SHIRT, PULLOVER) else others for kind in range(10)]
    rows = [np.flatnonzero(labels == kind)[:count] for kind, count in enumerate(counts)]
    return np.sort(np.concatenate(rows))


def write(name: str, values: np.ndarray) -> None:
    """Write bytes in IDX format: two zeros, 8 for bytes, the rank, the shape, the values."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    packed = gzip.compress(head + values.tobytes(), 9, mtime=0)
    (HERE / f"{name}.gz").write_bytes(packed)


for (part, counts), data in zip(COUNTS.items(), datasets.clothes(sys.argv[1]), strict=True):
    labels = data.labels.numpy().astype(np.uint8)
    rows = first(labels, *counts)
    write(f"{part}-images-idx3-ubyte", data.images[rows, 0].numpy())
    write(f"{part}-labels-idx1-ubyte", labels[rows])
