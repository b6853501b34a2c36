"""Where what a reader makes is kept, and room for it on the disk."""

import errno
import math
import os
import shutil
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import DTypeLike

from mtl_course.base import HOME, check_writable


def results_folder() -> Path:
    """Return the folder for rows and predictions: the course's ``results`` if it can be written.

    Otherwise, as in a course that is shared read-only, it is the user's own data folder.
    """
    folder = HOME / "results"
    return folder if writable(folder) else platformdirs.user_data_path("mtl_course")


def writable(folder: Path) -> bool:
    """Return whether files can be written to a folder, or the folder be made. It is not made."""
    try:
        check_writable(folder, "")
    except OSError:
        return False
    return True


def new_array(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.memmap:
    """Create a file in numpy's format, take all its room on the disk, and map it for writing.

    Without its room, writing to the map would kill the process when the disk is full.
    Raises: OSError if the room is not there.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(path.parent).free
    try:
        if not hasattr(os, "posix_fallocate") and needed > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        room = f"{needed / 1e6:,.1f} MB needed, {free / 1e6:,.1f} MB free"
        advice = f"{room}; make room or choose another folder"
        raise OSError(error.errno, f"{error.strerror}: {advice}", str(path)) from error
    return array


class Interrupted(KeyboardInterrupt):
    """An interruption whose message says what was kept; Jupyter shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
