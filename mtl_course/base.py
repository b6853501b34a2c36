"""Shared helpers: seeds, checked counts, files written whole, threads."""

import contextlib
import operator
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import platformdirs

_HERE = Path(__file__).parent
_PACKED = (_HERE / "assets").is_dir()  # installed from a wheel, not in a checkout of the course
ASSETS = (_HERE if _PACKED else _HERE.parent) / "assets"
"""The folder of what ships: rows, photographs, weights."""
HOME = platformdirs.user_data_path("mtl_course") if _PACKED else _HERE.parent
"""The folder of the course, with ``results``; in your own data folder if it is no checkout."""


def derive_seed(seed: int, role: str) -> int:
    """Return a seed for one role of one experiment, such as ``derive_seed(3, "A")``.

    Task A, task B, the initial weights and the order of batches each draw from their own stream,
    so that no role ever sees another's random numbers (numpy's `SeedSequence`).

    Returns: an int in [0, 2⁶³), the same on every machine.
    Raises: ValueError if `seed` is negative or not an integer.
    """
    words = np.random.SeedSequence([check_count("seed", seed, least=0), *role.encode()])
    return int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))


def check_count(name: str, value: int, least: int) -> int:
    """Return `value` as an int.

    Raises: ValueError, which names the argument, if it is not an integer or is below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number; got {value!r}.") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}.")
    return number


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Give a name beside `path` for a file or folder, which becomes `path` once it is whole.

    Raises: OSError if the disk is full, or the folder read-only; it names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException as error:
        if draft.is_dir():
            shutil.rmtree(draft)
        elif draft.exists():  # where nothing can be written, removing nothing fails, too
            draft.unlink()
        if isinstance(error, OSError) and error.errno:
            # A full disk's error names no file, others name the draft.
            error.filename = str(error.filename or path).replace(str(draft), str(path))
        raise


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use at most `count` threads of the CPU, and no more than it is set to.

    It also decorates functions. On several threads the small networks of the course gain little
    while the machine is idle, and lose much when another process takes a core. Sums also come out
    in the same order, and so bit for bit the same, only with as many threads.

    Calls may nest, and those of several Python threads overlap: each leaves the number as it was
    before the first of them.
    """
    import torch  # commands that need none of it start at once

    count = check_count("count", count, least=1)
    with _threads.lock:
        now = torch.get_num_threads()  # asked in any case: a new thread forgets what is set before
        if not _threads.inside:
            _threads.before = now
        _threads.inside += 1
    nested = getattr(_own, "threads", None)  # None: this Python thread is in no other call
    outer = nested or _threads.before
    _own.threads = min(outer, count)
    torch.set_num_threads(_own.threads)
    try:
        yield
    finally:
        torch.set_num_threads(outer)
        with _threads.lock:
            _threads.inside -= 1
        _own.threads = nested


# How many calls are inside, of all Python threads, and torch's number before them.
_threads = SimpleNamespace(lock=threading.Lock(), inside=0, before=1)
_own = threading.local()  # torch counts for each Python thread by itself


def check_writable(folder: str | os.PathLike, advice: str) -> None:
    """Check before the work, not after it, that files can be written into `folder`.

    A folder that is not there yet is not made. Raises: OSError with the `advice` if they cannot.
    """
    folder = Path(folder).absolute()
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {advice}", str(folder)) from error
