"""Guards mtl_course.studies.headline: one command from A to the verdict, also when interrupted."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from small_disk import python_on_disk

from mtl_course import __main__ as command_line
from mtl_course import scenes, studies, training
from mtl_course.base import HOME, derive_seed
from mtl_course.studies import _workers, common, headline
from mtl_course.training import _fit

COUNT = 1024  # scenes of A: 8 steps


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Everything in this process, and little of it."""
    monkeypatch.setattr(_workers.joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr(headline, "STEPS", 2)
    monkeypatch.setattr(common, "TEST_SCENES", 100)


def main(folder, capsys, *arguments):
    """Run the command. Returns: its exit code, and what it printed."""
    command = ["headline", "--folder", str(folder), "--count", str(COUNT), "--device", "cpu"]
    code = 0
    try:
        command_line.main([*command, *arguments])
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr()


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_one_command_goes_from_a_to_the_verdict(tmp_path, capsys, monkeypatch):
    code, printed = main(tmp_path, capsys)
    assert code == 0
    *table, seconds = printed.out.splitlines()
    assert table[-1].startswith("all layers − from scratch")
    assert "s for A" in seconds
    rows = pd.read_csv(tmp_path / "headline.csv")
    assert rows.groupby("way").size().to_dict() == {"all layers": 10, "from scratch": 10}
    assert not (tmp_path / "trunk.run.pt").exists()
    # Again, nothing is left to do.
    monkeypatch.setattr(_fit, "step", lambda run: pytest.fail("it was trained again"))
    monkeypatch.setattr(headline, "million", lambda *_, **__: pytest.fail("drawn again"))
    code, again = main(tmp_path, capsys)
    assert code == 0
    assert again.out.splitlines()[:-1] == table


def test_the_rows_come_from_the_trunk_that_was_just_trained(tmp_path, capsys):
    main(tmp_path, capsys)
    trunk = training.load(headline.untrained(), tmp_path / "trunk.pt")
    assert not same(trunk, training.load(headline.untrained(), headline.TRUNK))
    cell = {"way": "all layers", "images": headline.THOUSAND}
    row = studies.STUDIES["headline"].train(trunk, seed=3, **cell)
    rows = pd.read_csv(tmp_path / "headline.csv").set_index(["way", "seed"])
    assert row["accuracy"] == pytest.approx(rows.loc[("all layers", 3), "accuracy"])


def test_pretraining_resumes_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_fit, "_READ_EVERY", 2)
    monkeypatch.setattr(_fit, "_SAVE_EVERY", 4)
    whole = headline.pretrained(tmp_path / "whole.pt", COUNT, "cpu", progress=False)
    real, taken = _fit.step, []

    def step(run):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(run.done)
        real(run)

    monkeypatch.setattr(_fit, "step", step)
    with pytest.raises(KeyboardInterrupt):
        headline.pretrained(tmp_path / "trunk.pt", COUNT, "cpu", progress=False)
    assert (tmp_path / "trunk.run.pt").exists()
    assert not (tmp_path / "trunk.pt").exists()
    code, printed = main(tmp_path, capsys)
    assert code == 130
    assert printed.err.strip().splitlines()[-1].startswith("Interrupted after ")
    assert str(tmp_path / "trunk.run.pt") in printed.err
    assert "Traceback" not in printed.err
    taken.clear()
    resumed = headline.pretrained(tmp_path / "trunk.pt", COUNT, "cpu", progress=False)
    assert taken == [4, 5, 6, 7], "A was learned from the beginning"
    assert same(resumed, whole)


def test_shipping_renews_the_trunk_that_is_there(tmp_path, capsys, monkeypatch):
    shipped = tmp_path / "assets" / "trunk.pt"
    training.save(headline.untrained(), shipped)
    monkeypatch.setattr(headline, "TRUNK", shipped)
    code, _ = main(tmp_path / "results", capsys, "--ship")
    assert code == 0
    renewed = training.load(headline.untrained(), shipped)
    assert not same(renewed, headline.untrained()), "the old trunk stayed"
    assert same(renewed, training.load(headline.untrained(), tmp_path / "results" / "trunk.pt"))
    assert not (tmp_path / "results" / "headline.csv").exists()


def test_the_report_can_be_printed_anywhere(tmp_path):
    """It says "−", which this encoding lacks."""
    shutil.copy(headline.TRUNK, tmp_path / "trunk.pt")
    shutil.copy(studies.SHIPPED / "headline.csv", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "mtl_course", "headline", "--folder", str(tmp_path)],
        cwd=HOME, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"all layers ? from scratch" in done.stdout


@pytest.mark.parametrize("way", headline.MILLION_RATES)
def test_the_rate_of_each_way_is_the_best_on_development_seeds(way):
    rows = pd.read_csv(studies.SHIPPED / "headline_tuning.csv")
    means = rows[rows["way"] == way].groupby("rate")["accuracy"].mean()
    assert headline.MILLION_RATES[way] == means.idxmax(), means
    assert means.index.min() < means.idxmax() < means.index.max(), "the best is at the grid's edge"
    assert not set(rows["seed"]) & set(studies.STUDIES["headline"].seeds)


def test_the_shipped_trunk_knows_the_four_tasks():
    """Better than always giving the more frequent answer, by far."""
    trunk = training.load(headline.untrained(), headline.TRUNK)
    table = training.evaluate(trunk, scenes.draw(1000, seed=12), "cpu", "float32")
    usual = table["positive"].where(table["positive"] > 0.5, 1 - table["positive"])
    assert (table["accuracy"] > usual + 0.1).all(), table


def test_a_million_and_a_thousand_share_no_scene_with_the_test():
    draws = [
        headline.million(64, progress=False),
        *[
            scenes.draw(64, derive_seed(seed, role), jobs=1)
            for seed in (0, 1)
            for role in ("a thousand scenes", "scenes to be scored on")
        ],
    ]
    pictures = [image.numpy().tobytes() for data in draws for image in data.images]
    assert len(set(pictures)) == len(pictures)


def test_the_page_of_results_shows_what_the_shipped_rows_say(monkeypatch):
    monkeypatch.undo()
    shown = (HOME / "RESULTS.md").read_text(encoding="utf-8")
    assert headline.report(studies.run("headline")) in shown


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_drawn(tmp_path):
    command = ("-m", "mtl_course", "headline", "--count", "1000000", "--folder")
    done = python_on_disk(tmp_path / "disk", *command, str(tmp_path / "disk" / "headline"))
    assert done.returncode == 2
    assert "name another --folder" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("used", "left"), [([2, 2, 2], 2), ([1.8, 2, 2], 2), ([2, 1.2, 2], 1), ([2, 2, 1.6], 1)]
)
def test_the_second_thread_is_given_back_when_its_core_is_taken(monkeypatch, used, left):
    """used: cores in the step before each look."""
    wall = [float(step) for step in range(31)]
    shares = [2.0] * 31
    shares[10], shares[20], shares[30] = used
    cpu = np.cumsum(shares).tolist()
    monkeypatch.setattr(headline.time, "perf_counter", iter(wall).__next__)
    monkeypatch.setattr(headline.time, "process_time", iter(cpu).__next__)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        backward = headline._TwoThreads()
        losses = torch.ones(2, requires_grad=True)
        for _ in wall:
            backward(losses)
        assert torch.get_num_threads() == left
        assert torch.equal(losses.grad, torch.full((2,), 31.0)), "not the gradient of the sum"
    finally:
        torch.set_num_threads(before)
