"""Datasets on disk, their images left there until they are asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch

from mtl_course.datasets._dataset import Dataset


def stored(folder: str | os.PathLike) -> Dataset:
    """A dataset that was written to disk, its images left there until they are asked for.

    folder: holds images.npy, labels.npy and names.json, as `python -m mtl_course scenes` writes.
    Raises: FileNotFoundError; ValueError if a file is damaged or they do not fit together.
    """
    folder = Path(folder)
    if not (folder / "names.json").exists():
        raise FileNotFoundError(f"folder {folder} holds no dataset: names.json is not there.")
    try:
        names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        # "c" maps the file copy-on-write: torch wants memory that it could write to
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("images", "labels")]
        return Dataset(*map(torch.from_numpy, arrays), **names)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise ValueError(f"folder {folder} is damaged ({error}): write it again.") from error
