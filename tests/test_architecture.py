"""Guards the layout of the package: a small core, public faces, and no circle."""

from __future__ import annotations

import ast
import graphlib
import io
import tokenize
from pathlib import Path

import pytest
from notebook_files import ROOT

PACKAGE = ROOT / "mtl_course"
CORE = ("base", "devices", "losses", "datasets", "networks", "training", "evaluation")
CORE = (*CORE, "gradients", "transfer")
FIVE = (
    "datasets/_dataset.py",
    "networks/_network.py",
    "networks/_surgery.py",
    "training/_fit.py",
    "transfer.py",
)
FILES = sorted(PACKAGE.rglob("*.py"))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """What a file imports of the package, at its top or inside of a function, name by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by a relative name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("mtl_course.")}


def modules_behind(names: set[str]) -> set[str]:
    """The modules in which these names are: ``mtl_course.training.fit`` is in the folder's face."""
    return {name if name in NAMES else name.rpartition(".")[0] for name in names}


def folder(name: str) -> str:
    """The part of the house in which a module lies: a folder, or a file at the top."""
    return ([*name.split("."), ""])[1]


def code_lines(path: Path) -> int:
    """Lines without docstrings, comments and blank lines."""
    text = path.read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", [])
        for statement in body if isinstance(body, list) else []:
            if (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            ):
                docstrings |= set(range(statement.lineno, statement.end_lineno + 1))
    code: set[int] = set()
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in blank | {tokenize.ENDMARKER}:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_core_imports_nothing_of_the_rest():
    outside = {
        f"{name} imports {other}"
        for name, path in NAMES.items()
        if folder(name) in CORE
        for other in modules_behind(imports(path))
        if folder(other) not in CORE
    }
    assert not outside


def test_no_module_imports_itself_by_a_detour():
    graph = {name: modules_behind(imports(path)) for name, path in NAMES.items()}
    assert set(graphlib.TopologicalSorter(graph).static_order()) >= set(NAMES)  # CycleError if so


def test_nothing_is_imported_by_a_string():
    texts = {name: path.read_text(encoding="utf-8") for name, path in NAMES.items()}
    found = {n for n, text in texts.items() if "import_module" in text or "__import__" in text}
    assert not found


def test_no_private_name_crosses_a_folder():
    crossing = {
        f"{name} imports {other}"
        for name, path in NAMES.items()
        for other in imports(path)
        if folder(other) != folder(name)
        and any(part.startswith("_") and not part.endswith("__") for part in other.split("."))
    }
    assert not crossing


def test_the_core_is_small():
    """It had 1,300 at most before the network that lesson 07 takes from ImageNet."""
    count = sum(code_lines(path) for name, path in NAMES.items() if folder(name) in CORE)
    assert count < 1_380, f"the core has {count} lines of code"


@pytest.mark.parametrize("name", FIVE)
def test_the_method_is_read_in_five_short_files(name: str):
    assert lines(PACKAGE / name) < 150
    assert f"`{name}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_reads_in_one_sitting():
    long = {name: lines(path) for name, path in NAMES.items() if lines(path) > 300}
    assert not long


def test_the_package_does_not_grow():
    """It had 12,435 lines before it was laid out in folders, and 10,297 after.

    Then came clothes, predictions that wait, cells to fill in and figures with their alt texts;
    widgets in the page, copies for students, and how lessons 05 and 06 read their rows; then a
    class's own seeds, ImageNet's network, one's own photographs, and things taught by a camera.
    """
    count = sum(map(lines, FILES))
    assert count < 13_100, f"the package has {count:,} lines: what can go?"
