"""Guards `python -m mtl_course studies`."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from notebook_files import ROOT
from toy_study import Toy, interrupt

from mtl_course import __main__, studies
from mtl_course.studies import _runner


def command(capsys, *arguments):
    code = 0
    try:
        __main__.main(["studies", *arguments])
    except SystemExit as stop:
        code = stop.code
    text = capsys.readouterr()
    return code, text.err + text.out


def test_the_command_refuses_an_unknown_study(fake, capsys):
    code, text = command(capsys, "nosuch")
    assert code == 2
    assert all(name in text for name in studies.STUDIES)


def test_the_command_lists_the_studies(fake, capsys):
    """On stdout, so that `> file` catches the list."""
    __main__.main(["studies"])
    text = capsys.readouterr()
    assert all(f"{n}: {s.question}" in text.out for n, s in studies.STUDIES.items())
    assert not text.err


def test_the_list_says_what_the_shipped_rows_took():
    """A source that several cells share is counted once."""
    rows = pd.read_csv(studies.SHIPPED / "dials_tuning.csv")
    sources = rows.drop_duplicates(["seed", "a"])["source_seconds"].sum()
    minutes = round((rows["seconds"].sum() + sources) / 60)
    assert studies.cost("dials_tuning") == f" ({len(rows)} networks, {minutes} minutes of one core)"


def test_the_list_of_studies_is_in_their_page(capsys):
    _, text = command(capsys)
    page = (ROOT / "STUDIES.md").read_text(encoding="utf-8")
    missing = [line for line in text.splitlines() if line not in page]
    assert not missing, "put what `python -m mtl_course studies` prints into STUDIES.md"


def test_the_command_prints_a_table_and_stores_the_rows(fake, capsys):
    code, text = command(
        capsys, "toy", "--seeds", "0", "1", "--only", "labels=30", "--only", "way=two",
        "--jobs", "1",
    )  # fmt: skip
    assert not code
    assert sorted(fake.trained) == [(0, "two", 30), (1, "two", 30)]
    scores = [Toy.accuracy(seed, "two", 30) for seed in (0, 1)]
    line = text.strip().splitlines()[-1].split()
    assert line[:3] == ["two", "30", "2"]
    assert [float(x) for x in line[3:]] == pytest.approx(
        [np.mean(scores), min(scores), max(scores)], abs=1e-3
    )
    assert len(pd.read_csv(_runner.results_folder() / "toy.csv")) == 2
    assert not studies.SHIPPED.exists()


def test_the_command_can_ship(fake, capsys):
    command(capsys, "toy", "--seeds", "0", "--ship", "--jobs", "1")
    assert len(pd.read_csv(studies.SHIPPED / "toy.csv")) == 4
    assert not _runner.results_folder().exists()
    code, _ = command(capsys, "toy", "--ship", "--fresh")
    assert code == 2, "where would the rows go?"


def test_the_command_trains_shipped_rows_again_and_goes_on_where_it_was(fake, capsys):
    command(capsys, "toy", "--ship", "--jobs", "1")
    content = (studies.SHIPPED / "toy.csv").read_bytes()
    fake.trained.clear()
    command(capsys, "toy", "--fresh", "--seeds", "0", "--jobs", "1")
    assert len(fake.trained) == 4, "rows that ship were believed"
    again = _runner.results_folder() / "fresh" / "toy.cpu-float32.csv"
    assert len(pd.read_csv(again)) == 4
    command(capsys, "toy", "--fresh", "--jobs", "1")
    assert len(fake.trained) == 12, "rows that were there were trained once more"
    assert len(pd.read_csv(again)) == 12
    assert (studies.SHIPPED / "toy.csv").read_bytes() == content
    assert not (_runner.results_folder() / "toy.csv").exists(), (
        "they would be taken for the reader's own"
    )


ARROWS = """
import sys
from pathlib import Path
from mtl_course import __main__, studies
from mtl_course.studies import _runner
grid = [{"way": "A → B"}]
toy = studies.Study("?", grid, lambda seed, fit: 0, lambda source, **_: {"accuracy": 0.5}, [0], {},
                    golden="scenes")
studies.STUDIES["toy"] = toy
_runner.results_folder = lambda: Path(sys.argv[1])
__main__.main(["studies", "toy", "--jobs", "1"])
"""


@pytest.mark.slow
def test_the_table_can_be_printed_anywhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ARROWS, str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"A ? B" in done.stdout


@pytest.mark.parametrize("pair", ["labels=11", "color=red", "labels"])
def test_the_command_refuses_a_cell_that_is_not_there(fake, capsys, pair):
    code, text = command(capsys, "toy", "--only", pair)
    assert code == 2
    assert "only: " in text
    assert fake.trained == []


def test_the_command_says_in_one_line_that_it_was_interrupted(fake, capsys, monkeypatch):
    interrupt(fake, monkeypatch, 4)
    code, text = command(capsys, "toy", "--jobs", "1")
    assert code == 130
    assert "Interrupted: 3 of 12 networks" in text
    assert "Traceback" not in text
    code, _ = command(capsys, "toy", "--jobs", "1")
    assert not code
