"""What crosses the sandbox's wall: arrays, tables, numbers, text, and lists and dicts of them.

As JSON, with the bytes of arrays in base64. The same code packs and unpacks on both sides; what
comes out of the sandbox is taken for a stranger's: nothing in it is run, imported or unpickled, and
its sizes are checked before anything is made of it.
"""

from __future__ import annotations

import base64
import functools
import json
import math
import sys
from collections.abc import Mapping

import numpy as np
import pandas as pd

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
_LARGEST = 32_000_000  # bytes of an array
_KIND = "kind of thing"  # a key that no dict of a student's has


class Malformed(ValueError):
    """What came is not what may cross. The text says why."""


def pack(value: object) -> str:
    """value as text. Raises: Malformed if it holds anything else than may cross."""
    try:
        return json.dumps(value, default=_packed)
    except (TypeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def unpack(text: str, tensors: bool = False) -> object:
    """What `pack` was given, with tuples as lists and the keys of dicts as text.

    tensors: tensors and tables as such; the grader takes them as arrays and as dicts of columns.
    Raises: Malformed.
    """
    try:
        return json.loads(text, object_hook=functools.partial(_unpacked, tensors))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise Malformed(f"it is no answer ({type(error).__name__})") from None


def _packed(value: object) -> object:
    """value in what JSON knows."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "U" or isinstance(value, (pd.Series, pd.Index)):
        return value.tolist()
    if isinstance(value, pd.DataFrame):
        return {_KIND: "table", "columns": {str(k): c.tolist() for k, c in value.items()}}
    if isinstance(value, Mapping):
        return dict(value)
    torch = sys.modules.get("torch")  # without it there are no tensors, and starting is quick
    kind = "tensor" if torch is not None and isinstance(value, torch.Tensor) else "array"
    if kind == "array" and not isinstance(value, (np.ndarray, np.generic)):
        raise Malformed(f"it is of type {type(value).__name__}")
    array = np.asarray(value.detach().cpu() if kind == "tensor" else value)
    if array.dtype.name not in DTYPES:
        raise Malformed(f"it holds {kind}s of {array.dtype.name}")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {_KIND: kind, "dtype": array.dtype.name, "shape": array.shape, "data": data}


def _unpacked(tensors: bool, tree: dict) -> object:
    kind = tree.get(_KIND)
    if kind == "table":
        return pd.DataFrame(tree["columns"]) if tensors else tree["columns"]
    if kind not in ("array", "tensor"):
        return tree
    dtype, shape, data = tree["dtype"], tree["shape"], tree["data"]
    sides = len(shape) <= 8 and all(type(side) is int and 0 <= side <= _LARGEST for side in shape)
    if dtype not in DTYPES or not sides:
        raise Malformed("it is no array that may cross")
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > _LARGEST or len(data) != 4 * math.ceil(size / 3):
        raise Malformed("its bytes do not fit its shape")
    array = np.frombuffer(base64.b64decode(data, validate=True), dtype).reshape(shape).copy()
    if kind == "array" or not tensors:
        return array
    import torch

    return torch.from_numpy(array)


# ---------------------------------------------------------------------- inside the sandbox


def answer(code: str, inputs: str, names: dict, reply: str) -> None:
    """Runs `code` among a student's `names` and displays what it leaves in `answer`.

    inputs: packed, names and values that `code` sees besides. reply: the type of what is displayed.
    """
    from IPython.display import publish_display_data  # the grader does without

    try:
        scope = {**names, **unpack(inputs, tensors=True)}
        exec(compile(code, "<check>", "exec"), scope)
        said = pack({"answer": scope["answer"]})
    except BaseException as error:
        said = json.dumps({"error": _told(error)})
    publish_display_data({"text/plain": "a check", reply: said})


def _told(error: BaseException) -> str:
    """The error in a line, with the student's own line that made it, if there is one."""
    try:
        if isinstance(error, Malformed):
            return f"what it returns cannot be checked: {error}"
        where, step = "", error.__traceback__
        while step is not None:
            if "ipykernel" in step.tb_frame.f_code.co_filename:  # a cell's
                where = f", in line {step.tb_lineno} of its cell"
            step = step.tb_next
        said = str(error)[:300]
        return type(error).__name__ + (f": {said}" if said else "") + where
    except BaseException:  # an exception of a student's making may be anything
        return "an error that cannot be told"
