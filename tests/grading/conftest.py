"""A class with one small assignment, released once for all tests of grading."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small_course
from grader import grading, have_a_sandbox


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that an ordinary user may use; pytest's own are root's alone."""
    have_a_sandbox()
    with tempfile.TemporaryDirectory(prefix="class") as place:
        os.chmod(place, 0o755)
        yield Path(place)


@pytest.fixture(scope="session")
def released(folder: Path) -> tuple[Path, str]:
    """A class whose small assignment was released, and what the command printed in ASCII."""
    place = small_course.make(folder / "Kurs 文")
    return place, grading("release", place, PYTHONIOENCODING="ascii")


@pytest.fixture
def new_class(folder: Path, released: tuple[Path, str]) -> Callable[[str], Path]:
    """Make a class with the small assignment, released."""
    return lambda name: shutil.copytree(released[0], folder / name)
