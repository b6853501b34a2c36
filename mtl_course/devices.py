"""Where training runs, in what precision, on how many threads, and where random weights come from.

Nothing in the package depends on which device or dtype is torch's default: what it makes lies where
it says, and what it was given comes back where it lay.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm.auto import tqdm

_LARGE = 2_000_000  # numbers that a first layer gives for a batch, from which two threads pay
_BOTH = 1.75  # cores that two threads use at least, while they have two to themselves
_ANOTHER_TRY = 50  # looks

PRECISIONS = ("float32", "bfloat16")


class Machine(NamedTuple):
    """A device, the precision of what is computed there, and why these two."""

    device: torch.device
    precision: str
    reason: str

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass runs in this precision."""
        low = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low)

    @contextlib.contextmanager
    def derive_seed(self) -> Iterator[None]:
        """Enter a stream in which CUDA can record a training step; elsewhere, do nothing."""
        if self.device.type != "cuda":
            yield
            return
        with torch.cuda.device(self.device):
            outside, own = torch.cuda.current_stream(), torch.cuda.Stream()
            own.wait_stream(outside)
            try:
                with torch.cuda.stream(own):
                    yield
            finally:
                outside.wait_stream(own)

    def worth(self, network: nn.Module, images: Tensor) -> int:
        """Return how many threads of a CPU a step on this batch should use: 2 if it is large.

        The answer depends on the shapes alone, so that it is the same on every machine. Measured on
        two cores, a step on 128 scenes (32 × 32) at width 16 takes two thirds of its time on two
        threads; at half that size nothing is gained. images: (batch, channels, height, width).
        """
        convolutions = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        channels = getattr(next(convolutions, None), "out_channels", 0)
        m, _, height, width = images.shape
        return 2 if m * height * width * channels >= _LARGE and self.device.type == "cpu" else 1


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
    """Return the device and the precision that training uses here.

    device: None takes CUDA where there is one, else Apple's MPS, else the CPU. Nothing is timed:
        the same machine always gives the same answer.
    precision: None is float32 on every machine, so that a row means the same on a laptop, on a
        server and on a GPU (where convolutions may still round to TF32). "bfloat16" is there on
        request: for networks of the course's size slower on an H200, faster on a CPU with AMX.
    Raises: ValueError if `device` is not on this machine or `precision` is not one of the two.
    """
    chosen, why = _device(device)
    if precision is None:
        reason = "float32 so that rows of all machines can be compared, bfloat16 on request"
        return Machine(chosen, "float32", f"{why}; {reason}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be 'float32' or 'bfloat16'; got {precision!r}.")
    return Machine(chosen, precision, f"{why}; {precision} on request")


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


def for_drawing() -> str:
    """Return the device on which a study draws its images: a GPU that trains on them, or the CPU.

    Apple's MPS lacks the 64-bit arithmetic that drawing needs.
    """
    return "cuda" if machine().device.type == "cuda" else "cpu"


# ---------------------------------------------------------------------- torch's defaults


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw every random number of torch's inside from a CPU generator with this seed.

    This holds for the Python thread that entered, and only for it. Torch's own generators are
    neither read nor changed, so nothing that another thread draws meanwhile makes a difference,
    and whatever torch's default device is, one seed gives one network.
    """
    with on_cpu(), _From(torch.Generator("cpu").manual_seed(seed)):
        yield


class _From(TorchDispatchMode):
    """Gives one generator to every operation that draws."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch imports its compiler for this, which takes seconds

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        drawing = operation
        if not _takes_generator(operation):  # aten::randn has a form of its own for generators
            name = operation._overloadname
            name = "generator" if name == "default" else f"{name}_generator"
            drawing = getattr(operation.overloadpacket, name, None)
        if drawing is not None:
            kwargs = {"generator": self._generator} | (kwargs or {})
        return (drawing or operation)(*args, **(kwargs or {}))


def _takes_generator(operation: torch._ops.OpOverload) -> bool:
    return any(argument.name == "generator" for argument in operation._schema.arguments)


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Make what names no device lie on the CPU, whatever torch's default is; a decorator too."""
    if torch.get_default_device().type == "cpu":  # the mode below costs every operation some time
        yield
    else:
        with torch.device("cpu"):
            yield


def check_dtype() -> None:
    """Raise ValueError if torch's default dtype is not float32, in which the course computes."""
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(
            f"torch's default dtype is {torch.get_default_dtype()}, and the course computes in "
            "float32: call torch.set_default_dtype(torch.float32) first."
        )


def check_gradients() -> None:
    """Raise ValueError where gradients are switched off, so that nothing can be learned."""
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        raise ValueError(
            "gradients are switched off here (torch.no_grad, inference_mode or set_grad_enabled): "
            "call this outside of that."
        )


# ---------------------------------------------------------------------- borrowed networks


@contextlib.contextmanager
def borrowed(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Have a network on a device, in channels-last, and leave it where and as it lay.

    Only the place changes: its weights are the same `Parameter` objects throughout. Several may
    borrow a network for one device at once: the last of them leaves it where it lay.
    """
    key = (id(network), device)
    with _lock:
        loan = _loans.setdefault(key, _Loan(*_layout(network, device)))
        loan.users += 1
    try:
        with _lock, torch.inference_mode(False):  # or the weights could never learn again
            if not loan.there:
                network.to(device, memory_format=torch.channels_last)
                loan.there = True
        yield network
    finally:
        with _lock:
            loan.users -= 1
            if not loan.users:
                del _loans[key]
                _lay_out(network, loan.home, loan.strides)


@dataclass
class _Loan:
    """A network that is borrowed: where and how it lay, by how many, and whether it has moved."""

    home: torch.device
    strides: list[tuple]
    users: int = 0
    there: bool = False


_lock = threading.RLock()
_loans: dict[tuple, _Loan] = {}  # by network and device


def _layout(network: nn.Module, device: torch.device) -> tuple[torch.device, list[tuple]]:
    tensors = _tensors(network)
    home = tensors[0].device if tensors else device
    return home, [tensor.stride() for tensor in tensors]


def _lay_out(network: nn.Module, home: torch.device, strides: list[tuple]) -> None:
    with torch.inference_mode(False), torch.no_grad():
        network.to(home)
        for tensor, own in zip(_tensors(network), strides, strict=True):
            if tensor.stride() != own:
                tensor.data = torch.empty_strided(
                    tensor.shape, own, dtype=tensor.dtype, device=home
                ).copy_(tensor)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


# ---------------------------------------------------------------------- the first training


def prepare(progress: bool = True) -> None:
    """Import what torch leaves until something is first trained, which takes it seconds.

    A thread does it: Ctrl-C then ends the wait, and never an import halfway, which torch would not
    survive (half a sympy, until the kernel is restarted).
    """
    if _ready.is_set():
        return
    _keep_freed_memory()
    thread = threading.Thread(target=_first_step)
    thread.start()
    bar = tqdm(
        desc="preparing torch, once in each session", unit="s", disable=not progress, leave=False,
        bar_format="{desc}: {elapsed}", delay=0.5,
    )  # fmt: skip
    with bar:
        while thread.is_alive():
            thread.join(0.1)
            bar.update(0.1)


_ready = threading.Event()

_KEPT = 1 << 30  # bytes


def _keep_freed_memory() -> None:
    """Have Linux's allocator keep what one training step frees for the next.

    Otherwise it may give large pieces back to the system and ask for them again: on two cores a
    step on 128 scenes at width 16 often took 5,000 page faults, a quarter of its time, for that.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):  # glibc's
        libc.mallopt(-3, _KEPT)  # M_MMAP_THRESHOLD: larger pieces are the system's
        libc.mallopt(-1, _KEPT)  # M_TRIM_THRESHOLD: so much may lie unused


def _first_step() -> None:
    weight = torch.zeros(1, requires_grad=True, device="cpu")
    optimiser = torch.optim.AdamW([weight], fused=True)
    optimiser.zero_grad()
    weight.sum().backward()
    optimiser.step()
    _ready.set()
