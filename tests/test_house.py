"""The house around the course: style, README, versions, docstrings, imports."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from notebook_files import ROOT, read
from packaging.requirements import Requirement

import mtl_course

README = ROOT / "README.md"
COMMANDS = {
    "open": "python -m pip install -r requirements.txt && python -m mtl_course start",
    "test": 'python -m pip install -r requirements.txt -e ".[test,grading]" && python -m pytest',
}
# Spelt so that this file does not name such a path itself.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/])/(?:home|Users|root|work)/\w+|\b[A-Z]:\\\\?Users\\")


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_is_content(arguments: tuple[str, ...]):
    command = [sys.executable, "-m", "ruff", *arguments, "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# ----------------------------------------------------------------------------------------- README


@pytest.mark.parametrize("name", COMMANDS)
def test_readme_prints_the_command(name: str):
    mark = re.escape(f"<!-- command: {name} -->")
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(rf"^{mark}\n\s*```\w*\n(.*?)\n```", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks == [COMMANDS[name]]


def test_readme_is_a_front_door():
    """The rest has pages beside it; the tests' command comes last."""
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110 and len(text.split()) <= 1_500
    assert text.index("command: open") < text.index("## The lessons") < text.index("command: test")
    beside = {path.name for path in ROOT.glob("*.md")} - {"README.md"}
    assert not [name for name in beside if f"]({name})" not in text]


PAGES = [*ROOT.glob("*.md"), *(ROOT / "notebooks").glob("*.md")]
PAGES = [*PAGES, ROOT / "notebooks" / "assignments" / "README.md"]


@pytest.mark.parametrize("name", sorted(path.relative_to(ROOT).as_posix() for path in PAGES))
def test_local_links_lead_somewhere(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    local = [t.split("#")[0] for t in targets if not re.match(r"[a-z][a-z0-9+.-]*:", t)]
    assert not [t for t in local if t and not ((ROOT / name).parent / unquote(t)).exists()]


def test_the_page_shows_the_benchmarks_that_are_stored():
    command = [sys.executable, "tests/benchmarks/table.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    page = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert done.stdout in page, "put the table into BENCHMARKS.md"


# --------------------------------------------------------------------------------------- versions


def pins(name: str) -> dict[str, str]:
    """Package and version of every line NAME==VERSION."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"([\w.-]+)==(\S+)", line.strip()):
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


def test_pins_satisfy_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    student, everything = pins("requirements.txt"), pins(".ci/constraints.txt")
    named = {"jupyterlab", "torch", "torchvision", "matplotlib", "ipywidgets", "nbval", "papermill"}
    assert named <= set(student), "one file installs what students, teachers and their CI run"
    for line in project["dependencies"]:
        bound = Requirement(line)
        assert bound.specifier.contains(student[bound.name]), line
    own = "mtl_course[site,imagenet]"
    assert own in extras["test"], "what the tests of the site and of lesson 07 need"
    test = [line for line in extras["test"] if line != own] + extras["site"] + extras["imagenet"]
    for line in project["dependencies"] + test + extras["grading"]:
        bound = Requirement(line)
        assert bound.specifier.contains(everything[bound.name]), line
    assert student.items() <= everything.items(), "requirements.txt and .ci/constraints.txt differ"


# ---------------------------------------------------------------------------------------- package


def tracked() -> list[Path]:
    """The files that git keeps or would keep."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    clone = shutil.which("git") and (ROOT / ".git").exists()
    done = clone and subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not done or done.returncode:
        pytest.skip("only git knows which files are the course's: clone it, with git on the PATH.")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_paths():
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if (match := MACHINE_PATH.search(text)) or str(ROOT) in text:
            found.append(f"{path.relative_to(ROOT)}: {match[0] if match else ROOT}")
    assert not found


def public() -> list:
    """Every public function and class of the package, where people find it."""
    found = {}
    for module in pkgutil.walk_packages(mtl_course.__path__, "mtl_course."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            home = str(getattr(thing, "__module__", None))
            own = home == module.name or home.startswith(f"{module.name}._")
            if (
                own
                and not name.startswith("_")
                and (inspect.isfunction(thing) or isinstance(thing, type))
            ):
                found[f"{module.name}.{name}"] = thing
    return [pytest.param(thing, id=name) for name, thing in sorted(found.items())]


@pytest.mark.parametrize("thing", public())
def test_public_things_are_documented(thing):
    """What it raises, the shapes it takes, and what it returns where that is a tensor."""
    text = inspect.getdoc(thing)
    assert text, "no docstring"
    if not inspect.isfunction(thing):
        return
    first = re.match(r"\w+", text)
    assert first and not first[0].endswith("s"), "a docstring begins with a verb: Return …, Train …"
    signature = inspect.signature(thing)
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    if any(isinstance(node, ast.Raise) and node.exc for node in ast.walk(tree)):
        assert re.search(r"Raise|raised", text), "raises, and does not say what"
    if any("Tensor" in str(p.annotation) for p in signature.parameters.values()):
        assert re.search(r"\(\w*, |\(m|\([a-z]+,\)", text), "takes tensors of no stated shape"
    if "Tensor" in str(signature.return_annotation):
        assert re.search(r"Return|Yields|→", text), "returns tensors, and does not say which"


def test_training_imports_little():
    heavy = ["matplotlib", "sklearn", "scipy.stats", "torch._dynamo", "torchmetrics", "torchvision"]
    code = "import sys, mtl_course.training, mtl_course.studies; "
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
# ------------------------------------------------------------------------------ for instructors


def test_what_instructors_are_told_is_in_the_lessons():
    """Every lesson, T1 to M7, and only headings that a lesson has."""
    page = (ROOT / "notebooks" / "INSTRUCTORS.md").read_text(encoding="utf-8")
    lessons = {path.name[:2]: path for path in (ROOT / "notebooks").glob("0*.ipynb")}
    headings = {}
    for number, path in lessons.items():
        assert f"]({path.name})" in page and (number == "00" or f"\n## {number} " in page)
        prose = "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
        headings[number] = set(re.findall(r"^#+ (.+)$", prose, re.MULTILINE))
    _, _, slides = page.partition("\n## The slides' items")  # plans have tables, too
    table = re.findall(r"^\| (\w+) \| .* \| (0\d, .*?) \|", slides, re.MULTILINE)
    items = ["T1", "T2", "T3", "surgery", *(f"M{number}" for number in range(1, 8))]
    assert [item for item, _ in table] == items
    for _, places in table:
        for place in places.split("; "):
            number, told = place[:2], re.findall(r"\*(.+?)\*", place)
            assert told and not set(told) - headings[number], place


# -------------------------------------------------------------------------------- for contributors


def block(name: str) -> str:
    """The fenced block after `<!-- add: NAME -->` in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition(f"<!-- add: {name} -->\n```python\n")[2].partition("```")[0]


def test_a_task_and_a_study_can_be_added_as_contributing_says(tmp_path: Path):
    shutil.copytree(ROOT / "mtl_course", tmp_path / "mtl_course")
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    questions = tmp_path / "mtl_course" / "scenes" / "_tasks.py"
    before, mark, after = questions.read_text(encoding="utf-8").partition("    # New tasks are")
    assert mark
    questions.write_text(before + block("task") + mark + after, encoding="utf-8")
    (tmp_path / "mine.py").write_text(block("study"), encoding="utf-8")
    common = "from mtl_course import scenes; t = scenes.draw(4000, 0, tasks=['bicycle and car'])"
    for arguments in (["mine.py"], ["-c", f"{common}; print(t.labels.double().mean().item())"]):
        done = subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        if arguments == ["mine.py"]:
            assert re.search(r"\b1000\s+3\b.*\d\.\d", done.stdout), done.stdout
        else:
            assert 0.1 < float(done.stdout) < 0.9, "the example is rare"
