"""Where training runs, in what precision, and where random weights come from.

Nothing in the package depends on which device or dtype is torch's default: what it makes lies where
it says, and what it borrows comes back where it lay.
"""

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm.auto import tqdm

_KEPT = 1 << 30  # bytes


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
    def own_stream(self) -> Iterator[None]:
        """Enter a stream in which CUDA can record a training step; elsewhere, do nothing."""
        with contextlib.ExitStack() as stack:
            if self.device.type == "cuda":
                stack.enter_context(torch.cuda.device(self.device))
                stack.callback(torch.cuda.synchronize)
                torch.cuda.synchronize()
                stack.enter_context(torch.cuda.stream(torch.cuda.Stream()))
            yield


def machine(device: str | None = None, precision: str | None = None) -> Machine:
    """Return the device and the precision that training uses here.

    device: None takes CUDA if there is one, else Apple's MPS, else the CPU. Nothing is timed: the
        same machine always gives the same answer.
    precision: None is float32 on every machine, so that a row means the same on a laptop, on a
        server and on a GPU (where convolutions may still round to TF32). "bfloat16" on request:
        for networks of the course's size slower on an H200, faster on a CPU with AMX.
    Raises: ValueError if `device` is not on this machine or `precision` is not one of the two.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    have = [kind for kind, found in there.items() if found] + ["cpu"]
    try:
        chosen = torch.device(have[0] if device is None else device)
    except RuntimeError:
        raise ValueError(f"device must be like 'cpu', 'cuda' or 'mps'; got {device!r}.") from None
    if chosen.type not in have or (chosen.index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"device {device!r} is not on this machine, which has: {', '.join(have)}.")
    if precision not in (None, "float32", "bfloat16"):
        raise ValueError(f"precision must be 'float32' or 'bfloat16'; got {precision!r}.")
    where = "as asked" if device else "the fastest device here" if have[1:] else "no GPU here"
    default = "float32 so that rows of all machines can be compared, bfloat16 on request"
    reason = f"{where}; {precision} on request" if precision else f"{where}; {default}"
    return Machine(chosen, precision or "float32", reason)


# ---------------------------------------------------------------------- torch's defaults


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw every random number of torch's inside from a CPU generator with this seed.

    This holds only for the Python thread that entered. Torch's own generators are neither read nor
    changed, so nothing that another thread draws makes a difference, and whatever torch's default
    device is, one seed gives one network.
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
        takes = any(argument.name == "generator" for argument in operation._schema.arguments)
        # aten::randn, for one, has a form of its own for generators
        name = f"{operation._overloadname}_generator".removeprefix("default_")
        drawing = operation if takes else getattr(operation.overloadpacket, name, None)
        own = {"generator": self._generator} if drawing else {}
        return (drawing or operation)(*args, **own | (kwargs or {}))


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Make what names no device lie on the CPU, whatever torch's default is; a decorator too."""
    usual = torch.get_default_device().type == "cpu"  # this mode costs every operation some time
    with contextlib.nullcontext() if usual else torch.device("cpu"):
        yield


def check_dtype() -> None:
    """Raise ValueError if torch's default dtype is not float32, in which the course computes."""
    if (dtype := torch.get_default_dtype()) != torch.float32:
        advice = "call torch.set_default_dtype(torch.float32) first"
        raise ValueError(f"torch's default dtype is {dtype}, not the course's float32: {advice}.")


def check_gradients() -> None:
    """Raise ValueError where gradients are switched off, so that nothing can be learned."""
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        where = "here (torch.no_grad, inference_mode or set_grad_enabled)"
        raise ValueError(f"gradients are switched off {where}: call this outside of that.")


# ---------------------------------------------------------------------- borrowed networks


@contextlib.contextmanager
def borrowed(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Have a network on a device, in channels-last, and give it back where and as it lay.

    Only the place changes: its weights are the same `Parameter` objects throughout. Several threads
    may borrow a network for one device at once: the last of them gives it back.
    """
    key = (id(network), device)
    with _lock:
        if key not in _loans:
            move = contextlib.ExitStack()
            move.enter_context(_moved(network, device))
            _loans[key] = [0, move]
        _loans[key][0] += 1
    try:
        yield network
    finally:
        with _lock:
            _loans[key][0] -= 1
            if not _loans[key][0]:
                _loans.pop(key)[1].close()


_lock = threading.RLock()
_loans: dict[tuple, list] = {}  # by network and device: its users, and what gives it back


@contextlib.contextmanager
def _moved(network: nn.Module, device: torch.device) -> Iterator[None]:
    tensors = [*network.parameters(), *network.buffers()]
    home = tensors[0].device if tensors else device
    strides = [tensor.stride() for tensor in tensors]
    try:
        with torch.inference_mode(False):  # or the weights could never learn again
            network.to(device, memory_format=torch.channels_last)
        yield
    finally:
        with torch.inference_mode(False), torch.no_grad():
            network.to(home)
            tensors = (*network.parameters(), *network.buffers())
            for tensor, own in zip(tensors, strides, strict=True):
                if tensor.stride() != own:
                    tensor.data = tensor.new_empty_strided(tensor.shape, own).copy_(tensor)


# ---------------------------------------------------------------------- the first training


@functools.cache
def prepare(progress: bool) -> None:
    """Import what torch leaves until something is first trained, which takes it seconds.

    A thread does it: Ctrl-C then ends the wait, and never an import halfway, which torch would not
    survive (half a sympy, until the kernel is restarted).
    """
    thread = threading.Thread(target=_first_step)
    thread.start()
    with tqdm(desc="preparing torch, once in each session", disable=not progress, leave=False,
              bar_format="{desc}: {elapsed}", delay=0.5) as bar:  # fmt: skip
        while thread.is_alive():
            thread.join(0.1)
            bar.update(0.1)


def _first_step() -> None:
    # Linux's allocator may give large pieces back to the system after each step and ask for them
    # again: on two cores a step on 128 scenes at width 16 often took 5,000 page faults, a quarter
    # of its time, for that. So it is told to keep what one step frees for the next.
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):  # glibc's
        libc.mallopt(-3, _KEPT)  # M_MMAP_THRESHOLD: larger pieces are the system's
        libc.mallopt(-1, _KEPT)  # M_TRIM_THRESHOLD: so much may lie unused
    weight = torch.zeros(1, requires_grad=True, device="cpu")
    optimizer = torch.optim.AdamW([weight], fused=True)
    optimizer.zero_grad()
    weight.sum().backward()
    optimizer.step()
