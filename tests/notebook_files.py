"""What the tests of the notebooks share: where they are, and how their outputs are read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from jupyter_client.channels import AsyncZMQSocketChannel
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"


def notebooks() -> list[Path]:
    """Every notebook of the course, in order."""
    found = NOTEBOOKS.rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def for_students() -> list[Path]:
    """Those of them that a student opens: all but the sources of assignments, with solutions."""
    return [path for path in notebooks() if "instructor" not in path.parts]


def label(path: Path) -> str:
    """A notebook's name in test reports: its path inside notebooks/, without the ending."""
    return path.relative_to(NOTEBOOKS).with_suffix("").as_posix()


def read(path: Path) -> NotebookNode:
    """The notebook, as version 4."""
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])


def faults(notebook: NotebookNode) -> list[str]:
    """Errors and stderr in the outputs, also in those that Output widgets swallowed."""
    found = []
    for number, cell in enumerate(code_cells(notebook), 1):
        found += [f"code cell {number}: {fault}" for fault in _faults(cell.outputs)]
    widgets = notebook.metadata.get("widgets", {})
    for state in widgets.get("application/vnd.jupyter.widget-state+json", {}).get("state", {}):
        model = widgets["application/vnd.jupyter.widget-state+json"]["state"][state]
        inside = _faults(model.get("state", {}).get("outputs", []))
        found += [f"widget {model.get('model_name')}: {fault}" for fault in inside]
    return found


def _faults(outputs: list) -> Iterator[str]:
    for output in outputs:
        if output["output_type"] == "error":
            yield f"{output['ename']}: {output['evalue']}"
        if output["output_type"] == "stream" and output["name"] == "stderr":
            yield f"stderr: {output['text'][:300]}"


def result(notebook: NotebookNode) -> dict:
    """The notebook's result, which the table of its verdicts carries: seed, scale, verdicts.

    Raises:
        AssertionError: if no cell displays one.
    """
    for cell in reversed(code_cells(notebook)):
        for output in cell.outputs:
            kept = output.get("data", {})
            data = kept.get("application/vnd.mtl-course.result+json", kept.get("application/json"))
            if data is not None:
                return json.loads(data) if isinstance(data, str) else data
    raise AssertionError("no cell displays a result: end the lesson with page.verdicts(…)")


def alt_texts(html: str) -> list[str]:
    """The alt text of every picture in the HTML; empty where a picture has none."""
    reader = _Pictures()
    reader.feed(html)
    return reader.alts


class _Pictures(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append((dict(attrs).get("alt") or "").strip())


def poll_in_slices() -> None:
    """Make nbclient ask for a kernel's messages every second, from now on in this process.

    Now and then a cell with widgets waits out its whole timeout in one long poll though the kernel
    answered at once (nbclient issue 312).
    """
    whole = AsyncZMQSocketChannel.get_msg
    if getattr(whole, "in_slices", False):
        return

    async def get_msg(self, timeout: float | None = None) -> dict:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 1.0 if end is None else max(end - time.monotonic(), 0.0)
            if await self.socket.poll(1000 * min(left, 1.0)):
                return await whole(self, timeout=0)
            if end is not None and time.monotonic() >= end:
                return await whole(self, timeout=0)  # raises Empty, or has just come

    get_msg.in_slices = True
    AsyncZMQSocketChannel.get_msg = get_msg
