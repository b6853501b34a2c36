"""Run notebooks in place, each from a cold kernel, with the committed parameters.

    python tests/execute_notebooks.py                              # all of them
    python tests/execute_notebooks.py notebooks/01_transfer.ipynb  # only these

What differs from run to run and says nothing is left out: widget state, timestamps, random ids.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from notebook_files import ROOT, code_cells, faults, notebooks, poll_in_slices, read

WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: NotebookNode, folder: Path) -> float:
    """Run the notebook in a fresh kernel, in place, and return the seconds, kernel start included.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    poll_in_slices()
    # What is committed holds nobody's predictions.
    os.environ["MTL_COURSE_PREDICTIONS"] = str(ROOT / "results" / "nobody.csv")
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        iopub_timeout=600,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    start = time.perf_counter()
    client.execute()
    return time.perf_counter() - start


def tidy(notebook: NotebookNode) -> None:
    """Leave out, in place, what differs from run to run and says nothing."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    seen: set[str] = set()
    for cell in notebook.cells:
        text, repeat = f"{cell.cell_type}\n{cell.source}", 0
        while (name := hashlib.sha256(f"{text}{repeat}".encode()).hexdigest()[:8]) in seen:
            repeat += 1
        seen.add(name)
        cell["id"] = name
        for key in ("execution", "papermill"):
            cell.metadata.pop(key, None)
    for cell in code_cells(notebook):
        for output in cell.outputs:
            # Without its state a widget cannot be drawn: its text is shown until the cell is run.
            output.get("data", {}).pop(WIDGET, None)
        cell.outputs = [output for output in cell.outputs if not is_progress(output)]


def is_progress(output: NotebookNode) -> bool:
    """True of a progress bar, which has gone when its work was done."""
    return re.search(r"\d%\|", output.get("data", {}).get("text/plain", "")) is not None


def write(notebook: NotebookNode, path: Path) -> None:
    """Write the notebook in one step: an interrupted run leaves the old file."""
    nbformat.validate(notebook)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8", newline="\n"
    ) as file:
        file.write(nbformat.writes(notebook).rstrip("\n") + "\n")
    if path.exists():
        os.chmod(file.name, path.stat().st_mode)
    os.replace(file.name, path)


def main() -> None:
    """Run the notebooks named, or all of them."""
    parser = argparse.ArgumentParser(description="Run notebooks in place from cold kernels.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of the course")
    for path in parser.parse_args().notebooks or notebooks():
        notebook = read(path)
        seconds = execute(notebook, path.resolve().parent)
        if found := faults(notebook):
            raise SystemExit(f"{path.name}: {found}")
        tidy(notebook)
        write(notebook, path)
        print(f"{seconds:6.1f} s  {path.name}", flush=True)


if __name__ == "__main__":
    main()
