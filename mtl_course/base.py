"""What every module here leans on: seeds, checks of counts, whole files, and threads."""

from __future__ import annotations

import contextlib
import operator
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

HOME = Path(__file__).parent.parent
"""The folder of the course, with ``assets`` and ``results``."""


def stream(seed: int, role: str) -> int:
    """A seed of its own for one role of one experiment, such as ``stream(3, "A")``.

    Task A, task B, the initial weights and the order of batches each draw from their own stream,
    so that none of them ever sees another's random numbers (numpy's `SeedSequence`).

    Returns: an int in [0, 2⁶³), the same on every machine.
    Raises: ValueError if `seed` is negative or not an integer.
    """
    words = np.random.SeedSequence([whole("seed", seed, least=0), *role.encode()])
    return int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))


def whole(name: str, value: int, least: int) -> int:
    """`value` as an int, or an error that names the argument: the check every count here shares.

    Raises: ValueError if `value` is not an integer or is below `least`.
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
    """A name beside `path` for a file or folder; it becomes `path` once it is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
        raise


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


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """At most `count` threads for torch on the CPU, and no more than it is set to; a decorator too.

    On several threads the small networks of the course gain little while the machine is idle, and
    lose much when another process takes a core. Sums also come out in the same order, and so bit
    for bit the same, only with as many threads.
    """
    import torch  # commands that need none of it start at once

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, whole("count", count, least=1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers come from `seed` inside; its own generator is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
