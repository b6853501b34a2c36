"""Values that cross the sandbox's wall: arrays, tables, numbers, text, and lists and dicts of them.

They travel as JSON, with the bytes of arrays in base64; both sides run this code. The grader trusts
nothing from the sandbox: it runs, imports and unpickles none of it, and checks sizes first.
"""

import base64
import builtins
import functools
import json
import math
import numbers
import os
import sys
import traceback
from collections.abc import Mapping

import numpy as np

DTYPES = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
          "float16", "float32", "float64")  # fmt: skip
_ARRAY_LIMIT = 8_000_000  # bytes
_OUTPUT_LIMIT = 400_000  # characters of a cell's output; the grader keeps fewer
_OUTPUT_COUNT = 500  # per cell
_KIND = "kind of thing"  # a key that no student's dict has


class Malformed(ValueError):
    """A value may not cross. The text says why."""


def pack(value: object) -> str:
    """Return `value` as text. Raises: Malformed if it contains what may not cross."""
    try:
        return json.dumps(value, default=_encode)
    except (TypeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def unpack(text: str, tensors: bool = False) -> object:
    """Return the packed value, with tuples as lists and dicts' keys as text. Raises: Malformed.

    tensors: return tensors and tables as such; else as arrays and as dicts of columns.
    """
    try:
        return json.loads(text, object_hook=functools.partial(_decode, tensors))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, MemoryError) as error:
        raise Malformed(f"it is no answer ({type(error).__name__})") from None


def _encode(value: object) -> object:
    # What is not imported has no values here, and every sandbox starts sooner without it.
    torch, pandas = sys.modules.get("torch"), sys.modules.get("pandas")
    if pandas and isinstance(value, pandas.DataFrame):
        return {_KIND: "table", "columns": {str(k): c.tolist() for k, c in value.items()}}
    if pandas and isinstance(value, (pandas.Series, pandas.Index)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, numbers.Real) and not isinstance(value, np.generic):  # a fraction
        return float(value)
    if pandas and value is pandas.NA:
        return math.nan
    kind = "tensor" if torch and isinstance(value, torch.Tensor) else "array"
    if kind == "array" and not isinstance(value, (np.ndarray, np.generic)):
        raise Malformed(f"it is of type {type(value).__name__}")
    array = np.asarray(value.detach().cpu() if kind == "tensor" else value)
    if array.dtype.kind in "UO":  # each value on its own
        return array.tolist()
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name not in DTYPES or array.nbytes > _ARRAY_LIMIT:
        raise Malformed(f"it holds {kind}s of {array.dtype.name}, {array.nbytes:,} bytes")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {_KIND: kind, "dtype": array.dtype.name, "shape": array.shape, "data": data}


def _decode(tensors: bool, tree: dict) -> object:
    kind = tree.get(_KIND)
    if kind == "table":
        if not tensors:
            return tree["columns"]
        import pandas

        return pandas.DataFrame(tree["columns"])
    if kind not in ("array", "tensor"):
        return tree
    dtype, shape, data = tree["dtype"], tree["shape"], tree["data"]
    valid = dtype in DTYPES and len(shape) <= 8
    valid = valid and all(type(side) is int and side >= 0 for side in shape)
    if not valid or math.prod(shape) * np.dtype(dtype).itemsize > _ARRAY_LIMIT:
        raise Malformed("it is no array that may cross")
    array = np.frombuffer(base64.b64decode(data, validate=True), dtype).reshape(shape).copy()
    if kind == "array" or not tensors:
        return array
    import torch

    return torch.from_numpy(array)


# ---------------------------------------------------------------------- inside the sandbox


def serve() -> None:
    """Carry out requests from standard input, one per line, and reply on standard output.

    [number, {"cell": code}] runs a cell. The reply is [number, outputs]: pairs of a type,
    "text/plain" or "image/png", and a text. [number, {"code": …, "inputs": …}] runs `code` among
    the student's names and the inputs. The reply is [number, {"answer": what it left in `answer`}]
    or [number, {"error": a line}].
    """
    from IPython.core.interactiveshell import InteractiveShell  # the grader does without

    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    printed = os.open("/tmp/printed", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for ours, theirs in enumerate((os.open(os.devnull, os.O_RDONLY), printed, printed)):
        os.dup2(theirs, ours)  # the student's code reads nothing, and what it prints is no reply
    shell, own = InteractiveShell.instance(), os.getpid()
    shell.enable_gui = shell.ask_exit = lambda *_: None  # no windows, no way out
    for magic in ("autosave", "connect_info"):  # Jupyter's
        shell.register_magic_function(lambda line: None, magic_name=magic)
    # The value of a cell's last line is shown as Jupyter shows it, pictures too.
    shell.displayhook.write_output_prompt = lambda: None
    shell.displayhook.write_format_data = lambda data, _=None: shell.display_pub.publish(data)
    for line in requests:
        number, request = unpack(line, tensors=True)
        if "cell" in request:
            reply = _run_cell(shell, request["cell"], printed)
        else:
            reply = _answer(shell.user_ns, **request)
        if os.getpid() != own:  # a fork that came back from the student's code
            os._exit(0)
        replies.write(f'["{number}", {reply}]\n')
        replies.flush()


def _run_cell(shell: object, cell: str, printed: int) -> str:
    """Return a cell's outputs, packed: what it printed, which is in a file, and displayed."""
    from IPython.utils.capture import capture_output

    os.ftruncate(printed, 0)
    with capture_output(stdout=False, stderr=False) as displayed:
        shell.run_cell(cell, store_history=True)
    text = os.pread(printed, 4 * _OUTPUT_LIMIT, 0).decode(errors="replace")
    outputs = [["text/plain", text]]
    for output in displayed.outputs:
        kind = "image/png" if "image/png" in output.data else "text/plain"
        data = output.data.get(kind, "")
        text = base64.b64encode(data).decode() if isinstance(data, bytes) else str(data)
        outputs.append([kind, text])
    return pack(cut(outputs, _OUTPUT_LIMIT))


def cut(outputs: list[list[str]], limit: int) -> list[list[str]]:
    """Return what fits into `limit` characters: beginnings of texts, and entire pictures."""
    kept = []
    for kind, text in outputs[:_OUTPUT_COUNT]:
        text = text[:limit] if kind == "text/plain" else text
        if len(text) <= limit:
            kept.append([kind, text])
            limit -= len(text)
    more = ["text/plain", "\n… and more, which was not kept.\n"]
    return kept if kept == outputs else [*kept, more]


def _answer(names: dict, code: str, inputs: dict) -> str:
    """Return what `code` leaves in `answer`, packed, or the error that it raised."""
    try:
        # A student's `list` is not the check's.
        own = {name: value for name, value in names.items() if not hasattr(builtins, name)}
        scope = {**own, **inputs}
        exec(compile(code, "<check>", "exec"), scope)
        return pack({"answer": scope["answer"]})
    except BaseException as error:
        return json.dumps({"error": _describe(error)})


def _describe(error: BaseException) -> str:
    """Return the error in one line, with the line of the student's cell that raised it."""
    try:
        if isinstance(error, Malformed):
            return f"what it returns cannot be checked: {error}"
        frames = traceback.extract_tb(error.__traceback__)
        cells = [frame.lineno for frame in frames if "ipython-input" in frame.filename]
        where = f", in line {cells[-1]} of its cell" if cells else ""
        text = str(error)[:300]
        return type(error).__name__ + (f": {text}" if text else "") + where
    except BaseException:  # a student's own exception class can do anything
        return "an error that cannot be described"
