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
import os
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
_LARGEST = 8_000_000  # bytes of an array
_ROOM = 400_000  # characters of what a cell puts out; the grader keeps fewer
_OUTPUTS = 500  # of a cell
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
    if array.dtype.name not in DTYPES or array.nbytes > _LARGEST:
        raise Malformed(f"it holds {kind}s of {array.dtype.name}, {array.nbytes:,} bytes")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {_KIND: kind, "dtype": array.dtype.name, "shape": array.shape, "data": data}


def _unpacked(tensors: bool, tree: dict) -> object:
    kind = tree.get(_KIND)
    if kind == "table":
        return pd.DataFrame(tree["columns"]) if tensors else tree["columns"]
    if kind not in ("array", "tensor"):
        return tree
    dtype, shape, data = tree["dtype"], tree["shape"], tree["data"]
    sides = len(shape) <= 8 and all(type(side) is int and side >= 0 for side in shape)
    if dtype not in DTYPES or not sides or math.prod(shape) * np.dtype(dtype).itemsize > _LARGEST:
        raise Malformed("it is no array that may cross")
    array = np.frombuffer(base64.b64decode(data, validate=True), dtype).reshape(shape).copy()
    if kind == "array" or not tensors:
        return array
    import torch

    return torch.from_numpy(array)


# ---------------------------------------------------------------------- inside the sandbox


def serve() -> None:
    """Does what comes in by standard input, a line each, and answers by standard output.

    A line is [number, {"cell": code}], and comes back as [number, what was put out]: pairs of
    a type, "text/plain" or "image/png", and a text. Or it is [number, {"code": …, "inputs": …}]:
    `code` runs among the student's names and the inputs, and comes back as [number,
    {"answer": what it left in `answer`}] or [number, {"error": a line}].
    """
    from IPython.core.interactiveshell import InteractiveShell  # the grader does without

    lines, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    said = os.open("/tmp/said", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for ours, theirs in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
        os.dup2(theirs, ours)  # the student's code reads nothing, and what it prints is no reply
    shell, own = InteractiveShell.instance(), os.getpid()
    shell.enable_gui = shell.ask_exit = lambda *_: None  # no windows, no way out
    shell.register_magic_function(lambda line: None, magic_name="autosave")  # Jupyter's
    # The value of a cell's last line is shown as Jupyter shows it, pictures too.
    shell.displayhook.write_output_prompt = lambda: None
    shell.displayhook.write_format_data = lambda data, _=None: shell.display_pub.publish(data)
    for line in lines:
        number, asked = unpack(line, tensors=True)
        if "cell" in asked:
            reply = _shown(shell, asked["cell"], said)
        else:
            reply = _answer(shell.user_ns, **asked)
        if os.getpid() != own:  # a fork that came back from the student's code
            os._exit(0)
        replies.write(f'["{number}", {reply}]\n')
        replies.flush()


def _shown(shell: InteractiveShell, cell: str, said: int) -> str:
    """Runs a cell. Returns: what it put out, packed: first what it printed, then what it showed.

    said: the file that takes what is printed, by whatever means.
    """
    from IPython.utils.capture import capture_output

    os.ftruncate(said, 0)
    with capture_output(stdout=False, stderr=False) as put_out:
        shell.run_cell(cell, store_history=True)
    shown = [["text/plain", os.pread(said, 4 * _ROOM, 0).decode(errors="replace")]]
    for output in put_out.outputs:
        kind = "image/png" if "image/png" in output.data else "text/plain"
        data = output.data.get(kind, "")
        text = base64.b64encode(data).decode() if isinstance(data, bytes) else str(data)
        shown.append([kind, text])
    return pack(cut(shown, _ROOM))


def cut(shown: list[list[str]], room: int) -> list[list[str]]:
    """As much of what a cell put out as fits into `room` characters.

    Of text the beginning; a picture is there whole or not at all.
    """
    kept = []
    for kind, text in shown[:_OUTPUTS]:
        text = text[:room] if kind == "text/plain" else text
        if len(text) <= room:
            kept.append([kind, text])
            room -= len(text)
    return kept if kept == shown else [*kept, ["text/plain", "\n… and more, which was not kept.\n"]]


def _answer(names: dict, code: str, inputs: dict) -> str:
    """What `code` leaves in `answer`, packed, or what went wrong."""
    try:
        scope = {**names, **inputs}
        exec(compile(code, "<check>", "exec"), scope)
        return pack({"answer": scope["answer"]})
    except BaseException as error:
        return json.dumps({"error": _told(error)})


def _told(error: BaseException) -> str:
    """The error in a line, with the student's own line that made it, if there is one."""
    try:
        if isinstance(error, Malformed):
            return f"what it returns cannot be checked: {error}"
        frames = traceback.extract_tb(error.__traceback__)
        cells = [frame.lineno for frame in frames if "ipython-input" in frame.filename]
        where = f", in line {cells[-1]} of its cell" if cells else ""
        said = str(error)[:300]
        return type(error).__name__ + (f": {said}" if said else "") + where
    except BaseException:  # an exception of a student's making may be anything
        return "an error that cannot be told"
