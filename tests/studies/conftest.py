"""For all tests of studies: a toy study, and golden runs of another processor."""

from __future__ import annotations

import pytest
from toy_study import GRID, Toy, unchanged

from mtl_course import __main__, studies
from mtl_course.studies import _runner, _store, golden


@pytest.fixture
def clear():
    """Forgets golden runs: call it after a change, and it is called after the test."""
    yield golden.numbers.cache_clear
    golden.numbers.cache_clear()


@pytest.fixture
def scaled(monkeypatch, clear):
    """Makes golden runs as another processor, or changed training, would give them."""

    def scale(factors):
        def run(world):
            return {name: factors.get(world, 1) * x for name, x in unchanged(world).items()}

        monkeypatch.setattr(golden, "run", run)
        clear()

    return scale


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The study "toy": in STUDIES, with empty folders for shipped rows and for the reader's."""
    made = Toy()
    toy = studies.Study(
        "Which is better?", GRID, made.source, made.train, range(3), {"k": 1}, golden="scenes"
    )
    monkeypatch.setitem(studies.STUDIES, "toy", toy)
    for module in (studies, _runner):
        monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    for module in (_runner, __main__):
        monkeypatch.setattr(module, "results_folder", lambda: tmp_path / "results")
    _store.warn_once.cache_clear()
    return made


@pytest.fixture
def store(tmp_path):
    return tmp_path / "results"
