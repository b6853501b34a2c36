"""A GPU for machines that have none: its tensors are refused where CUDA's would be.

Such a tensor holds its values on the CPU, so that whatever comes out can be compared with what the
CPU gives. To torch and to the package it lies on the device "meta" (`PLACE`), for which autograd
needs no driver. Before an operation runs, torch's FakeTensorMode is asked what it would do on
tensors of cuda:0 and of the CPU: it raises where devices mix, and says where the results lie.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

PLACE = torch.device("meta")

_DEPENDS_ON_VALUES = (DataDependentOutputException, DynamicOutputShapeException)


class OnGPU(Tensor):
    """A tensor that claims to lie on the GPU. values: the tensor on the CPU that it stands for."""

    is_meta = False

    @staticmethod
    def __new__(cls, values: Tensor) -> OnGPU:
        about = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        about |= {"dtype": values.dtype, "device": PLACE}
        return Tensor._make_wrapper_subclass(cls, values.shape, **about)

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"OnGPU({self.values})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["values"], None  # by this torch knows that it holds another tensor

    @staticmethod
    def __tensor_unflatten__(inner: dict, about: None, shape: object, stride: object) -> OnGPU:
        return OnGPU(inner["values"])

    def tolist(self) -> list:
        return self.cpu().tolist()  # as CUDA's tensors do; torch refuses it to subclasses

    def __getitem__(self, index: object) -> Tensor:
        # For "meta" torch makes of a list an index without values; CUDA takes one from the CPU.
        parts = index if isinstance(index, tuple) else (index,)
        tensors = [torch.tensor(part) if isinstance(part, list) else part for part in parts]
        return super().__getitem__(tuple(tensors))

    def data_ptr(self) -> int:
        return self.values.data_ptr()

    @property
    def data(self) -> Tensor:
        return Tensor.data.__get__(self)

    @data.setter
    def data(self, other: OnGPU) -> None:
        Tensor.data.__set__(self, other)
        self.values = other.values

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _GPU(TorchDispatchMode):
    """Sees what has no tensor to begin with, such as ``torch.empty(3, device=PLACE)``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextlib.contextmanager
def gpu() -> Iterator[None]:
    """Within it the machine has the pretended GPU."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    # So `network.to` keeps its parameters, as it does between a CPU and CUDA.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _GPU():
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _run(func, args: tuple, kwargs: dict):
    if torch.is_inference_mode_enabled():  # where torch has not taken operations apart already
        with _GPU():
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
    given = tree_leaves((args, kwargs))
    if not any(isinstance(x, OnGPU) or x is PLACE or _is_place(x) for x in given):
        return func(*args, **kwargs)
    if func.name().startswith("aten::index") and not isinstance(args[0], OnGPU):
        raise RuntimeError("indices should be on the same device as the indexed tensor (cpu)")
    there = _where(func, args, kwargs, given)
    if torch.Tag.nondeterministic_seeded in func.tags and any(there):
        raise AssertionError(f"{func} draws random numbers on the GPU: draw them on the CPU.")
    if torch.Tag.inplace_view in func.tags:  # such as squeeze_, which gives this tensor its shape
        with no_dispatch():
            func(*args, **kwargs)
    known = {id(_real(x)): x for x in given if isinstance(x, Tensor)}
    there = iter(there)

    def place(values: Tensor) -> Tensor:
        """What an operation gives back unchanged, such as what it wrote into, stays itself."""
        on_gpu, old = next(there), known.get(id(values))
        if old is not None and isinstance(old, OnGPU) == on_gpu:
            return old
        return OnGPU(values) if on_gpu else values

    with torch.inference_mode(False), torch.no_grad():  # a view is as its base is
        out = func(*tree_map(_real, args), **tree_map(_real, kwargs))
        return tree_map_only(Tensor, place, out)


def _where(func, args: tuple, kwargs: dict, given: list) -> list[bool]:
    """For each tensor that comes out, whether it lies on the GPU. Raises what a GPU would."""
    if func.name().startswith("aten::_fused"):  # optimizers', which no fake tensor can run
        if not all(isinstance(x, OnGPU) for x in given if isinstance(x, Tensor)):
            raise RuntimeError(f"{func} expects all tensors on the same device")
        return []
    try:
        with FakeTensorMode(), torch.no_grad():
            found = tree_leaves(func(*tree_map(_fake, args), **tree_map(_fake, kwargs)))
        return [x.device.type == "cuda" for x in found if isinstance(x, Tensor)]
    except _DEPENDS_ON_VALUES:
        return [any(isinstance(x, OnGPU) for x in given)] * 9


def _is_place(x: object) -> bool:
    return isinstance(x, torch.device) and x == PLACE


def _fake(x: object) -> object:
    if isinstance(x, Tensor):
        where = "cuda:0" if isinstance(x, OnGPU) else "cpu"
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=where)
    return torch.device("cuda:0") if _is_place(x) else x


def _real(x: object) -> object:
    if isinstance(x, OnGPU):
        return x.values
    return torch.device("cpu") if _is_place(x) else x
