"""The one place that decides where training runs, in what precision, and on how many threads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

_LARGE = 2_000_000  # numbers that a first layer gives for a batch, from which two threads pay
_BOTH = 1.75  # cores that two threads use at least, while they have two to themselves
_ANOTHER_TRY = 50  # looks


class Machine(NamedTuple):
    """Where training runs, in what precision, and why."""

    device: torch.device
    precision: str
    reason: str

    def autocast(self) -> torch.autocast:
        """The context in which a forward pass runs in this precision."""
        low = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low)

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """On CUDA, a stream in which a training step can be recorded; elsewhere nothing."""
        if self.device.type != "cuda":
            yield
            return
        with torch.cuda.device(self.device):
            outside, own = torch.cuda.current_stream(), torch.cuda.Stream()
            own.wait_stream(outside)
            with torch.cuda.stream(own):
                yield
            outside.wait_stream(own)

    def worth(self, network: nn.Module, images: Tensor) -> int:
        """On how many threads of a CPU a step on this batch should run: two if it is large, or one.

        The answer depends on the shapes alone, so that it is the same on every machine. Measured on
        two cores, a step on 128 scenes (32 × 32) at width 16 takes two thirds of its time on two
        threads; at half that size nothing is gained. images: (batch, channels, height, width).
        """
        first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        m, _, height, width = images.shape
        large = m * height * width * first.out_channels >= _LARGE
        return 2 if large and self.device.type == "cpu" else 1


class Cores:
    """Takes back the second thread while another process has its core.

    Torch's threads spin while they wait for each other, so alone on two cores they use both to the
    full. When one of them has to share, the other one spins in vain: two threads then train more
    slowly than one does. Now and then the second one is given another try.
    """

    def __init__(self) -> None:
        self._most, self._looks = torch.get_num_threads(), 0
        self._wall = self._used = 0.0  # seconds

    def look(self) -> None:
        """To be called every few steps: has this process had both cores since the last call?"""
        if self._most < 2:
            return
        self._looks += 1
        if torch.get_num_threads() < 2:
            if self._looks >= _ANOTHER_TRY:
                torch.set_num_threads(self._most)
                self._wall, self._looks = 0.0, 0
            return
        wall, used = time.perf_counter(), time.process_time()
        if self._wall and used - self._used < _BOTH * (wall - self._wall):
            torch.set_num_threads(1)
            self._looks = 0
        self._wall, self._used = wall, used


def machine(device: str | None = None, precision: str | None = None) -> Machine:
    """The device and precision training uses, from what the machine says it can do.

    Left open, `device` is CUDA where there is one, else Apple's MPS, else the CPU; `precision` is
    bfloat16 on CUDA that has it and on CPUs with AMX, else float32. Nothing is timed: the same
    machine always gives the same answer.

    Raises: ValueError if `device` is not on this machine or `precision` is not one of the two.
    """
    chosen, why = _device(device)
    fast, reason = _bfloat16(chosen)
    if precision is None:
        precision = "bfloat16" if fast else "float32"
    elif precision in ("bfloat16", "float32"):
        reason = "as asked"
    else:
        raise ValueError(f"precision must be 'float32' or 'bfloat16'; got {precision!r}.")
    return Machine(chosen, precision, f"{why}; {reason}")


def _device(device: str | None) -> tuple[torch.device, str]:
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device is None:
        kind = next(kind for kind, found in there.items() if found)
        return torch.device(kind), "the fastest device here" if kind != "cpu" else "no GPU here"
    try:
        asked = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be like 'cpu', 'cuda' or 'mps'; got {device!r}.") from None
    if not there.get(asked.type) or (asked.index or 0) >= _count(asked.type):
        have = ", ".join(kind for kind, found in there.items() if found)
        raise ValueError(f"device {device!r} is not on this machine, which has: {have}.")
    return asked, "as asked"


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def _bfloat16(device: torch.device) -> tuple[bool, str]:
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return True, "this GPU multiplies bfloat16 in hardware"
        return False, "this GPU has no bfloat16 in hardware"
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return True, "this processor multiplies bfloat16 in hardware (AMX)"
    return False, "float32 is the safe choice here"
