"""What crosses the sandbox's wall: arrays, tables, numbers, text, and lists and dicts of them.

As JSON, with the bytes of arrays in base64. The same code packs and unpacks on both sides; what
comes out of the sandbox is taken for a stranger's: nothing in it is run, imported or unpickled, and
its sizes are checked before anything is made of it.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Mapping

import numpy as np
import pandas as pd

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
_DEEPEST, _LONGEST, _LARGEST = 8, 20_000, 32_000_000  # levels, characters, bytes
_KIND = "kind of thing"  # a key that no dict of a student's has


class Malformed(ValueError):
    """What came is not what may cross. The text says why."""


def pack(value: object) -> str:
    """value as text. Raises: Malformed if it holds anything else than may cross."""
    return json.dumps(_packed(value, 0))


def unpack(text: str, tensors: bool = False) -> object:
    """What `pack` was given, with tuples as lists. tensors: or as arrays, as the grader takes them.

    Raises: Malformed.
    """
    try:
        return _unpacked(json.loads(text), tensors, 0)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise Malformed(f"it is no answer ({type(error).__name__})") from None


def _packed(value: object, depth: int) -> object:
    if depth > _DEEPEST:
        raise Malformed("it is nested too deep")
    if isinstance(value, (pd.Series, pd.Index)):
        value = value.tolist()
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "U":
        value = value.tolist()
    torch = sys.modules.get("torch")  # without it there are no tensors, and starting is quick
    tensor = torch is not None and isinstance(value, torch.Tensor)
    if tensor or isinstance(value, (np.ndarray, np.generic)):
        kind = "tensor" if tensor else "array"
        array = value.detach().cpu().numpy() if tensor else np.asarray(value)
        if array.dtype.name not in DTYPES:
            raise Malformed(f"it holds {kind}s of {array.dtype.name}")
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        return {_KIND: kind, "dtype": array.dtype.name, "shape": array.shape, "data": data}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): column.tolist() for name, column in value.items()}
        return {_KIND: "table", "columns": _packed(columns, depth + 1)}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise Malformed("it is a dict whose keys are not text")
        return {key: _packed(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(item, depth + 1) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise Malformed(f"it is of type {type(value).__name__}")


def _unpacked(tree: object, tensors: bool, depth: int) -> object:
    if depth > _DEEPEST:
        raise Malformed("it is nested too deep")
    if isinstance(tree, dict):
        kind = tree.get(_KIND)
        if kind in ("array", "tensor"):
            array = _array(tree)
            if kind == "array" or not tensors:
                return array
            import torch

            return torch.from_numpy(array)
        if kind == "table":
            columns = _unpacked(tree["columns"], tensors, depth + 1)
            return pd.DataFrame(columns) if tensors else columns
        return {key: _unpacked(item, tensors, depth + 1) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_unpacked(item, tensors, depth + 1) for item in tree]
    if isinstance(tree, str) and len(tree) > _LONGEST:
        raise Malformed(f"it holds a text of {len(tree)} characters")
    return tree


def _array(tree: dict) -> np.ndarray:
    dtype, shape, data = tree["dtype"], tree["shape"], tree["data"]
    if dtype not in DTYPES or len(shape) > _DEEPEST:
        raise Malformed("it is no array that may cross")
    if not all(type(side) is int and 0 <= side <= _LARGEST for side in shape):
        raise Malformed("it is an array of no shape")
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > _LARGEST or len(data) > 4 * (size // 3 + 1):
        raise Malformed("its bytes do not fit its shape")
    raw = base64.b64decode(data, validate=True)
    if len(raw) != size:
        raise Malformed("its bytes do not fit its shape")
    return np.frombuffer(raw, dtype).reshape(shape).copy()


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
