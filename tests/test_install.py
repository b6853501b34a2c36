"""Guards installs: a wheel holds all that the package reads, and writes nothing beside itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from notebook_files import ROOT

pytest.importorskip("setuptools", reason="pip install setuptools")
pytestmark = pytest.mark.slow

READ = """
import json
from mtl_course import __main__, base, datasets, storage, studies
from mtl_course.studies import claims, golden, headline, lesson_01, lesson_03

headline._trunk(0), lesson_01.pretrained(), lesson_03.pretrained()
read = {"rows": len(studies.run("digits")), "clothes": len(datasets.clothes().train.images)}
read |= {"golden": golden.FILE.is_file(), "claims": sorted(claims.LESSONS)}
print(json.dumps(read | {"assets": str(base.ASSETS), "results": str(storage.results_folder())}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this working tree, built from a copy of it by what pip calls, offline."""
    place = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("mtl_course", "assets"):
        shutil.copytree(ROOT / name, place / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    command = [sys.executable, "-c", "from setuptools import build_meta as b; b.build_wheel('.')"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = place.glob("*.whl")
    return built


def test_a_wheel_holds_the_package_and_its_assets(wheel: Path):
    packed = set(zipfile.ZipFile(wheel).namelist())
    assets = {p for kind in ("csv", "json", "pt", "gz") for p in ROOT.glob(f"assets/**/*.{kind}")}
    assets -= set((ROOT / "assets" / "benchmarks").iterdir())  # nothing reads them but tests
    wanted = {f"mtl_course/{path.relative_to(ROOT).as_posix()}" for path in assets}
    code = [p for p in (ROOT / "mtl_course").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    wanted |= {path.relative_to(ROOT).as_posix() for path in code}
    own = {name for name in packed if name.startswith("mtl_course/")}
    assert own - {"mtl_course/assets/clothes/README.md"} == wanted, "see pyproject.toml"
    assert wheel.stat().st_size < 12e6


def test_an_unpacked_wheel_reads_rows_clothes_and_trunks(wheel: Path, tmp_path: Path):
    there, empty, own = tmp_path / "there", tmp_path / "empty", tmp_path / "own"
    zipfile.ZipFile(wheel).extractall(there)
    before = set(there.rglob("*"))
    empty.mkdir()
    done = subprocess.run(
        [sys.executable, "-B", "-c", READ],
        env=os.environ | {"PYTHONPATH": str(there), "XDG_DATA_HOME": str(own)},
        cwd=empty,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert Path(read["assets"]) == there / "mtl_course" / "assets"
    assert read["rows"] == len(pd.read_csv(ROOT / "assets" / "studies" / "digits.csv"))
    assert read["clothes"] == 17_800
    assert read["golden"]
    assert "01" in read["claims"]
    if sys.platform == "linux":
        assert Path(read["results"]) == own / "mtl_course" / "results"
    assert there not in Path(read["results"]).parents
    assert set(there.rglob("*")) == before, "something was written beside the package"
    assert not list(empty.iterdir())
