"""Honest answers in odd styles lose nothing: code that students write, files that editors write."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import small_course
from grader import HONEST, have_a_sandbox
from nbformat import NotebookNode

from mtl_course.grading import intake, sandbox
from mtl_course.grading.checks import Student

# ------------------------------------------------------------------------------ code

CODE = {
    "a lambda": "double = lambda x: 2 * x",
    "an object that is called": "class Double:\n    def __call__(self, x):\n        return x + x\n"
    "double = Double()",
    "a partial": "import functools, operator\ndouble = functools.partial(operator.mul, 2)",
    "a decorator": "import functools\ndef loud(f):\n    @functools.wraps(f)\n"
    "    def g(*a, **k):\n        print('called', a)\n        return f(*a, **k)\n    return g\n"
    "@loud\ndef double(x):\n    return 2 * x",
    "a static method": "class Tools:\n    @staticmethod\n    def double(x):\n        return 2 * x\n"
    "double = Tools.double",
    "a method of an instance": "class Factor:\n    def __init__(self, by):\n        self.by = by\n"
    "    def of(self, x):\n        return self.by * x\ndouble = Factor(2).of",
    "a closure": "def times(n):\n    def f(x):\n        return n * x\n    return f\n"
    "double = times(2)",
    "a default argument": "def double(x, factor=2, *rest, **more):\n    return factor * x",
    "an argument by place alone": "def double(x, /):\n    return 2 * x",
    "annotations that are no types": "def double(x: 'one' = 1) -> 'another':\n    return 2 * x",
    "annotations from the future": "from __future__ import annotations\n"
    "def double(x: Unknown) -> Nothing:\n    return 2 * x",
    "written twice": "def double(x):\n    return 0\n\ndef double(x):\n    return 2 * x",
    "a global": "FACTOR = 2\ndef double(x):\n    global FACTOR\n    return FACTOR * x",
    "names of builtins": "list = sum = len = print = 2\ndef double(x):\n    return list * x",
    "a name of its own input": "arguments = answer = 7\ndef double(x):\n    return 2 * x",
    "imports inside": "def double(x):\n    import numpy as np\n    return np.multiply(x, 2)",
    "everything imported": "from numpy import *\ndef double(x):\n    return add(x, x)",
    "a walrus": "def double(x):\n    return (y := x) + y",
    "match": "def double(x):\n    match x:\n        case int():\n            return x * 2\n"
    "        case _:\n            return x + x",
    "try and finally": "def double(x):\n    try:\n        return 2 * x\n    finally:\n        pass",
    "a recursion": "def double(x, n=2):\n    return x if n == 1 else x + double(x, n - 1)",
    "eval": "def double(x):\n    return eval('2 * x')",
    "exec": "exec('def double(x):\\n    return 2 * x')",
    "a warning": "import warnings\ndef double(x):\n    warnings.warn('odd')\n    return 2 * x",
    "an error after it": "def double(x):\n    return 2 * x\n\n1 / 0",
    "a magic": "%time y = 1\ndef double(x):\n    return 2 * x",
    "a magic for the cell": "%%capture\ndef double(x):\n    return 2 * x",
    "a shell's line": "!true\ndef double(x):\n    return 2 * x",
    "a question": "sum?\ndef double(x):\n    return 2 * x",
    "a plot": "import matplotlib.pyplot as plt\nplt.plot([1])\ndef double(x):\n    return 2 * x",
    "await": "import asyncio\nawait asyncio.sleep(0)\ndef double(x):\n    return 2 * x",
    "a thread": "from concurrent.futures import ThreadPoolExecutor\ndef double(x):\n"
    "    with ThreadPoolExecutor(2) as pool:\n        return pool.submit(lambda: 2 * x).result()",
    "tabs and carriage returns": "def double(x):\r\n\treturn 2 * x\r\n",
    "letters that are not English": "def verdoppeln(größe):\n    return 2 * größe\n"
    "double = verdoppeln  # 文 😀",
    "a list of lists": "def double(x):\n    y = 2 * x\n"
    "    return y.tolist() if hasattr(y, 'tolist') and y.size else y",
    "a tensor": "import torch\ndef double(x):\n    return 2 * torch.as_tensor(x)",
    "a tensor with a gradient": "import torch\ndef double(x):\n    x = torch.as_tensor(x)\n"
    "    w = torch.ones((), requires_grad=True, dtype=torch.float64)\n"
    "    return 2 * w * x if x.is_floating_point() else 2 * x",
    "numpy's number": "import numpy as np\ndef double(x):\n    return np.multiply(2, x)[()]",
    "a fraction": "from fractions import Fraction\ndef double(x):\n"
    "    return Fraction(2 * x) if isinstance(x, int) else 2 * x",
    "floats in single precision": "import numpy as np\ndef double(x):\n"
    "    return 2 * x if isinstance(x, int) else (2 * x).astype(np.float32)",
    "the other order of bytes": "def double(x):\n    return 2 * x if isinstance(x, int) else "
    "(2 * x).astype('>f8')",
    "columns first in memory": "import numpy as np\ndef double(x):\n"
    "    return 2 * x if isinstance(x, int) else np.asfortranarray(2 * x)",
    "a view with strides": "import numpy as np\ndef double(x):\n"
    "    return 2 * x if isinstance(x, int) else np.repeat(2 * x, 2, axis=0)[::2]",
}  # fmt: skip


@pytest.fixture(scope="module")
def student() -> Iterator[tuple[sandbox.Kernel, Student]]:
    have_a_sandbox()
    kernel = sandbox.Kernel(sandbox.Limits(seconds=60))
    yield kernel, Student(lambda: kernel)
    kernel.close()


@pytest.mark.parametrize("name", CODE)
def test_code_is_right_however_it_is_written(student: tuple[sandbox.Kernel, Student], name: str):
    kernel, called = student
    kernel.request({"cell": "%reset -f"})
    kernel.request({"cell": CODE[name]})
    checks: dict = {}
    exec(small_course.CHECKS, checks)
    for check in checks["EXERCISES"]["double"]:
        check(called, np.random.default_rng(0))


# ------------------------------------------------------------------------------ files


def _as_lists(cells: list[dict]) -> None:
    for cell in cells:
        cell["source"] = cell["source"].splitlines(keepends=True)


def _without_ids(cells: list[dict]) -> None:
    for cell in cells:
        cell.pop("id", None)


def _colab(cells: list[dict]) -> None:
    for number, cell in enumerate(cells):
        cell["metadata"] |= {"id": f"c{number}", "colab": {"base_uri": "https://localhost"}}
        cell.setdefault("outputs", [])


def _vs_code(cells: list[dict]) -> None:
    for cell in cells:
        cell["metadata"]["vscode"] = {"languageId": "python"}


def _outputs(cells: list[dict]) -> None:
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 70
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x\n"] * 99}]


def _tags(cells: list[dict]) -> None:
    for cell in cells:
        cell["metadata"] |= {"tags": ["mine"], "collapsed": True, "slideshow": {"slide_type": "-"}}


def _notes_between(cells: list[dict]) -> None:
    for place in range(len(cells), 0, -1):
        note = {"cell_type": "markdown", "source": "## my note", "metadata": {}}
        cells.insert(place, note) if place < len(cells) else None


def _raw_cells(cells: list[dict]) -> None:
    cells.insert(0, {"cell_type": "raw", "source": "---", "metadata": {}})


def _empty_cells(cells: list[dict]) -> None:
    cells[:] = [c for pair in zip(cells, copy.deepcopy(_EMPTY * len(cells))) for c in pair]  # noqa: B905


_EMPTY = [{"cell_type": "code", "source": "", "metadata": {}, "outputs": []}]


def _scratch_cells(cells: list[dict]) -> None:
    for text in ("double(2)", "%timeit -n1 -r1 double(2)", "double??", "help(double)"):
        cells.append({"cell_type": "code", "source": text, "metadata": {}, "outputs": []})


def _attachments(cells: list[dict]) -> None:
    cells[-1]["attachments"] = {"a.png": {"image/png": "iVBORw0KGgo="}}


def _spaces(cells: list[dict]) -> None:
    for cell in cells:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] += "\n\n   \n"


CELLS = (_as_lists, _without_ids, _colab, _vs_code, _outputs, _tags, _notes_between, _raw_cells,
         _empty_cells, _scratch_cells, _attachments, _spaces)  # fmt: skip
TEXTS = {
    "a byte order mark": lambda text: "\ufeff" + text,
    "carriage returns between lines": lambda text: text.replace("\n", "\r\n"),
    "no letters but ASCII": lambda text: json.dumps(json.loads(text), ensure_ascii=True),
    "letters as they are": lambda text: json.dumps(json.loads(text), ensure_ascii=False),
    "on one line": lambda text: json.dumps(json.loads(text), separators=(",", ":")),
    "keys in order": lambda text: json.dumps(json.loads(text), sort_keys=True, indent=4),
    "blank lines around": lambda text: f"\n\n{text}\n\n",
    "an older minor version": lambda text: json.dumps(json.loads(text) | {"nbformat_minor": 2}),
    "a newer minor version": lambda text: json.dumps(json.loads(text) | {"nbformat_minor": 9}),
    "another kernel's name": lambda text: json.dumps(
        json.loads(text) | {"metadata": {"kernelspec": {"name": "conda-env-mtl-py"}}}
    ),
    "states of widgets": lambda text: json.dumps(
        json.loads(text) | {"metadata": {"widgets": {"application/vnd.jupyter": {"state": {}}}}}
    ),
    "no metadata": lambda text: json.dumps({**json.loads(text), "metadata": {}}),
}


@pytest.fixture(scope="module")
def written(released: tuple[Path, str]) -> NotebookNode:
    answers = {name: f"{text}# größer 文\n" for name, text in HONEST.items()}
    return small_course.filled(released[0], answers | {"why": "Because.\n\n- $a$ 文"})


@pytest.mark.parametrize("change", CELLS)
def test_cells_are_taken_however_an_editor_keeps_them(written: NotebookNode, change, tmp_path):
    notebook = json.loads(nbformat.writes(written))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    change(notebook["cells"])
    _same_answers(written, json.dumps(notebook), tmp_path)


@pytest.mark.parametrize("name", TEXTS)
def test_files_are_read_however_an_editor_writes_them(written: NotebookNode, name: str, tmp_path):
    _same_answers(written, TEXTS[name](nbformat.writes(written)), tmp_path)


def _same_answers(written: NotebookNode, text: str, folder: Path) -> None:
    """The notebook that is graded holds what was written, and there is nothing to note."""
    (folder / "small.ipynb").write_bytes(text.encode("utf-8"))
    cells, _ = intake.read(folder, "small.ipynb")
    released = copy.deepcopy(written)
    for cell in released.cells:
        if cell.metadata.nbgrader.solution:
            cell.source = "raise NotImplementedError()"
    made, notes = intake.rebuild(released, cells)
    assert not notes
    answers = [c for c in made.cells if c.metadata.get("nbgrader", {}).get("solution")]
    wanted = [c.source.strip() for c in written.cells if c.metadata.nbgrader.solution]
    assert [cell.source.strip() for cell in answers] == wanted
