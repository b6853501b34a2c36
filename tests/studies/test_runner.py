"""Guards mtl_course.studies and .experiments: the runner, what it keeps, and the shipped rows."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pandas as pd
import pytest
import torch
from notebook_files import ROOT

from mtl_course import datasets, experiments, studies, training, transfer
from mtl_course.scenes import _world as worlds
from mtl_course.studies import _store, common, golden, lesson_01, lesson_02, lesson_04, spectrograms
from mtl_course.training import _run

GRID = [{"way": way, "labels": labels} for way in ("one", "two") for labels in (10, 30)]


class Fake:
    """A study that trains nothing, but counts what it is asked to."""

    def __init__(self):
        self.sources, self.trained, self.broken = [], [], set()

    def source(self, seed):
        self.sources.append(seed)
        return f"source {seed}"

    def train(self, source, seed, way, labels):
        assert source == f"source {seed}", "a cell was given the source of another seed"
        if seed in self.broken:
            raise RuntimeError("the disk is full")
        self.trained.append((seed, way, labels))
        return {"accuracy": self.accuracy(seed, way, labels)}

    @staticmethod
    def accuracy(seed, way, labels):
        return (seed * 7 + len(way) * 3 + labels + (way == "two")) % 97 / 97


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The study "toy": in STUDIES, with empty folders for shipped rows and for the reader's."""
    made = Fake()
    toy = studies.Study("Which is better?", GRID, made.source, made.train, range(3), {"k": 1})
    monkeypatch.setitem(experiments.STUDIES, "toy", toy)
    monkeypatch.setattr(studies, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(studies, "results_folder", lambda: tmp_path / "results")
    _store.warn_once.cache_clear()
    return made


@pytest.fixture
def store(tmp_path):
    return tmp_path / "results"


def run(store, seeds=None, **settings):
    return studies.run("toy", seeds, store=store, jobs=1, progress=False, **settings)


def change_settings(monkeypatch):
    newer = dataclasses.replace(experiments.STUDIES["toy"], settings={"k": 2})
    monkeypatch.setitem(experiments.STUDIES, "toy", newer)


# ---------------------------------------------------------------------- running


def test_a_run_trains_every_cell_of_every_seed_from_one_source_a_seed(fake, store):
    rows = run(store)
    assert sorted(fake.sources) == [0, 1, 2]
    assert sorted(fake.trained) == sorted(
        (seed, cell["way"], cell["labels"]) for seed in range(3) for cell in GRID
    )
    want = [(cell["way"], cell["labels"], seed) for cell in GRID for seed in range(3)]
    assert list(zip(rows["way"], rows["labels"], rows["seed"], strict=True)) == want
    for row in rows.itertuples():
        assert row.accuracy == Fake.accuracy(row.seed, row.way, row.labels)
    about = {"study", "seconds", "source_seconds", "device", "precision", "processor", "torch"}
    assert about | {"recipe"} <= set(rows.columns)
    assert set(rows["recipe"]) == {studies.recipe("toy")}
    assert rows.attrs["keys"] == list(GRID[0])
    ways = list(dict.fromkeys(cell["way"] for cell in GRID))
    assert set(studies.gain(rows, ways[0], over=ways[1])["seeds"]) == {3}


def test_a_source_can_depend_on_a_key_of_the_grid(monkeypatch, tmp_path):
    """Each value of it has a source of its own, and none is made that no cell needs."""
    made = []

    def source(seed, labels):
        made.append((seed, labels))
        return f"{seed}, {labels}"

    def train(source, seed, way, labels):
        assert source == f"{seed}, {labels}"
        return {"accuracy": 0.5}

    toy = studies.Study("Which?", GRID, source, train, range(3), {"k": 3}, shared_by="labels")
    monkeypatch.setitem(experiments.STUDIES, "toy", toy)
    monkeypatch.setattr(studies, "SHIPPED", tmp_path / "shipped")
    run(tmp_path, [0, 1], only={"labels": [30]})
    assert sorted(made) == [(0, 30), (1, 30)]
    with pytest.raises(ValueError, match="each labels has a source of its own"):
        run(tmp_path, source="one for all")
    made.clear()
    assert len(run(tmp_path)) == 12
    assert made == [(0, 10), (1, 10), (2, 10), (2, 30)], "those of one kind stand together"


def test_stored_rows_are_read_and_only_missing_ones_trained(fake, store):
    first = run(store, [0, 1])
    fake.trained.clear()
    again = run(store, [1, 0])
    assert fake.trained == []
    pd.testing.assert_frame_equal(again, first, check_dtype=False)
    more = run(store, [0, 1, 2])
    assert {seed for seed, _, _ in fake.trained} == {2}
    assert len(more) == 12
    run(store)
    assert len(fake.trained) == 4
    assert len(pd.read_csv(store / "toy.csv")) == 12


def test_only_one_missing_cell_is_trained(fake, store):
    run(store)
    rows = pd.read_csv(store / "toy.csv", dtype={"recipe": str})
    rows.drop(index=5).to_csv(store / "toy.csv", index=False)
    lost = rows.loc[5]
    fake.trained.clear()
    assert len(run(store)) == 12
    assert fake.trained == [(lost["seed"], lost["way"], lost["labels"])]


def test_shipped_rows_are_used_and_never_written_to(fake, store):
    run(studies.SHIPPED)
    content = (studies.SHIPPED / "toy.csv").read_bytes()
    fake.trained.clear()
    assert len(run(store)) == 12
    assert fake.trained == []
    assert not store.exists()
    run(store, [7])
    assert {seed for seed, _, _ in fake.trained} == {7}
    assert (studies.SHIPPED / "toy.csv").read_bytes() == content
    assert set(pd.read_csv(store / "toy.csv")["seed"]) == {7}


def test_fresh_trains_every_row_and_stores_none(fake, store):
    run(store)
    content = (store / "toy.csv").read_bytes()
    fake.trained.clear()
    assert len(run(store, fresh=True)) == 12
    assert len(fake.trained) == 12
    assert (store / "toy.csv").read_bytes() == content


# ---------------------------------------------------------------------- fresh runs


def on(monkeypatch, device, precision):
    """From now on this is another machine, which trains as the one of the shipped rows."""
    machine = types.SimpleNamespace(device=torch.device(device), precision=precision)
    monkeypatch.setattr(studies.training, "machine", lambda: machine)
    monkeypatch.setattr(golden, "digest", golden.stored)


def left_behind(store):
    """The rows of fresh runs that were broken off."""
    files = sorted((store / "fresh").glob("toy.unfinished-*.csv"))
    return [pd.read_csv(file) for file in files]


def break_off(fake, store, broken=1, **settings):
    """A fresh run of one process that ends at a seed."""
    fake.broken = {broken}
    with pytest.raises(RuntimeError):
        run(store, fresh=True, **settings)
    fake.broken = set()
    fake.trained.clear()


def test_a_fresh_run_goes_on_where_it_was_broken_off_and_then_begins_anew(fake, store, caplog):
    break_off(fake, store)
    (left,) = left_behind(store)
    assert left["seed"].tolist() == [0] * 4, "rows were lost that had been trained"
    assert not caplog.text
    rows = run(store, fresh=True)
    assert len(rows) == 12
    assert {seed for seed, *_ in fake.trained} == {1, 2}
    assert "4 of 12" in caplog.text
    assert "delete that file" in caplog.text
    assert left_behind(store) == []
    (finished,) = (store / "fresh").glob("toy.finished-*.csv")
    assert len(pd.read_csv(finished)) == 12
    fake.trained.clear()
    run(store, fresh=True)
    assert len(fake.trained) == 12, "a finished run was believed"
    fake.trained.clear()
    run(store)
    assert len(fake.trained) == 12, "rows of a fresh run are not the reader's stored ones"


def test_a_fresh_run_leaves_alone_what_another_one_has_begun(fake, store):
    break_off(fake, store, seeds=[0, 1])
    rows = run(store, [0, 7], only={"labels": [30]}, fresh=True)
    assert len(rows) == 4
    assert sorted(fake.trained) == [(7, "one", 30), (7, "two", 30)]
    (left,) = left_behind(store)
    assert set(left["labels"]) == {10}, "the other run's progress was lost, or rows came twice"
    fake.trained.clear()
    assert len(run(store, [0, 1], fresh=True)) == 8
    assert (0, "one", 10) not in fake.trained


def test_a_fresh_run_does_not_go_on_with_rows_of_another_machine(fake, store, monkeypatch):
    on(monkeypatch, "cpu", "float32")
    break_off(fake, store)
    on(monkeypatch, "cpu", "bfloat16")
    rows = run(store, fresh=True)
    assert len(fake.trained) == 12
    assert set(rows["precision"]) == {"bfloat16"}
    fake.trained.clear()
    on(monkeypatch, "cpu", "float32")
    assert len(run(store, fresh=True)) == 12
    assert len(fake.trained) == 8, "rows of this machine were lost meanwhile"


def test_a_fresh_run_does_not_go_on_with_rows_of_another_recipe(fake, store, monkeypatch, caplog):
    break_off(fake, store)
    change_settings(monkeypatch)
    rows = run(store, fresh=True)
    assert len(fake.trained) == 12
    assert set(rows["recipe"]) == {studies.recipe("toy")}
    assert "older recipe" in caplog.text
    assert len(list((store / "fresh").glob("toy.unfinished-*.older-1.csv"))) == 1


def test_a_fresh_run_with_a_source_keeps_no_rows(fake, store):
    """Nobody could tell which source they came from."""
    run(store, [0], fresh=True, source="source 0")
    assert not store.exists()


def test_the_command_and_a_fresh_run_do_not_take_each_others_rows(fake, store, capsys):
    command(capsys, "toy", "--fresh", "--seeds", "0", "--jobs", "1")
    break_off(fake, store)
    assert len(pd.read_csv(store / "fresh" / "toy.csv")) == 4
    run(store, [0], fresh=True)
    assert fake.trained == []
    command(capsys, "toy", "--fresh", "--seeds", "0", "1", "--jobs", "1")
    assert {seed for seed, *_ in fake.trained} == {1}


def test_a_study_of_ones_own_is_trained_and_not_stored(fake, store):
    own = experiments.STUDIES["toy"]
    rows = studies.run(own, range(2), store=store, jobs=1, progress=False)
    assert not store.exists()
    pd.testing.assert_frame_equal(
        rows.drop(columns=["study", "seconds", "source_seconds"]),
        run(store, range(2), fresh=True).drop(columns=["study", "seconds", "source_seconds"]),
    )
    assert studies.gain(rows, "one", over="two")["seeds"].eq(2).all()


def test_only_keeps_the_cells_that_were_asked_for(fake, store):
    rows = run(store, only={"labels": [30], "way": ["two"]})
    assert set(rows["labels"]) == {30}
    assert set(rows["way"]) == {"two"}
    assert len(fake.trained) == 3
    run(store)
    assert len(fake.trained) == 12, "cells were trained twice"


def test_a_seed_given_twice_is_one_seed(fake, store):
    assert len(run(store, [0, 0])) == 4
    assert len(fake.trained) == 4


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"only": {"colour": [1]}}, "colour.*way, labels"),
        ({"only": {"labels": [11]}}, r"labels has no 11.*\[10, 30\]"),
        ({"only": {"labels": []}}, "no cell"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": [0.5]}, "seeds"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_trained(fake, store, settings, word):
    with pytest.raises(ValueError, match=word):
        run(store, **settings)
    assert fake.sources == []


def test_jobs_must_be_at_least_one(fake, store):
    with pytest.raises(ValueError, match="jobs"):
        studies.run("toy", store=store, jobs=0, progress=False)


def test_an_unknown_study_is_refused_with_the_ones_there_are(fake):
    with pytest.raises(ValueError, match=r"digits, .*toy, .*; got 'nosuch'"):
        studies.run("nosuch")


def test_a_store_that_cannot_be_written_to_is_refused_before_training(fake, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "rows"
    with pytest.raises(ValueError, match=rf"store: {folder} cannot be written"):
        run(folder)
    assert fake.trained == []
    run(studies.SHIPPED)
    assert len(run(folder)) == 12, "to read rows, nothing need be written"


def test_rows_go_where_they_can_be_written(fake, tmp_path, monkeypatch):
    """The folder is asked for when it is used: not when the package is imported."""
    folder = tmp_path / "of the reader"
    monkeypatch.setattr(studies, "results_folder", lambda: folder)
    studies.run("toy", jobs=1, progress=False)
    assert len(pd.read_csv(folder / "toy.csv")) == 12
    fake.trained.clear()
    studies.run("toy", jobs=1, progress=False)
    assert fake.trained == []


# In a process of its own, so that what hangs is ended. Functions of a script reach the workers by
# value.
IN_TWO_PROCESSES = """
import sys, warnings
import pandas as pd
from mtl_course import experiments, studies
from mtl_course.base import derive_seed

def source(seed):
    return derive_seed(seed, "source")

def train(source, seed, way):
    from joblib.externals.loky import process_executor
    process_executor._MEMORY_LEAK_CHECK_DELAY = process_executor._MAX_MEMORY_LEAK_SIZE = -1
    return {"accuracy": (source + len(way)) % 97 / 97}

toy = studies.Study("?", [{"way": "one"}, {"way": "three"}], source, train, range(5), {})
experiments.STUDIES["toy"] = toy
warnings.simplefilter("error")
RUN = {"store": sys.argv[1], "progress": False}
two, one = (studies.run("toy", fresh=True, jobs=jobs, **RUN) for jobs in (2, 1))
drop = ["seconds", "source_seconds"]
pd.testing.assert_frame_equal(two.drop(columns=drop), one.drop(columns=drop))
print(len(two), "rows")
"""


def test_two_processes_train_what_one_does_though_workers_are_replaced(tmp_path):
    # loky replaces workers that have grown, here after each job; see `studies._in_processes`.
    done = subprocess.run(
        [sys.executable, "-c", IN_TWO_PROCESSES, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "10 rows\n"


TINY = {  # the cheapest cells of each kind: trained, trained twice, not trained
    "digits": {"labels": [0, 10], "way": ["zero-shot", "all layers", "head then all"]},
    "relatedness": {"labels": [100], "a": ["nothing", "brightness"], "task": ["two cars"]},
    "unknown": {"fraction": [0.95], "way": ["mask", "guess it", "drop the image"]},
}


@pytest.mark.parametrize("name", TINY)
def test_networks_side_by_side_give_the_rows_of_networks_alone(name, monkeypatch):
    """What a GPU does, on the CPU: other groups of networks, the same draws."""
    monkeypatch.setattr(lesson_01, "PRINTED", 500)
    for steps in ("PRETRAINING", "STEPS"):
        monkeypatch.setattr(lesson_01, steps, 8)
    monkeypatch.setattr(lesson_04, "SCENE_STEPS", 8)
    for count in ("SCENES", "TEST_SCENES"):
        monkeypatch.setattr(lesson_04, count, 300)
    monkeypatch.setattr(common, "TEST_SCENES", 300)
    monkeypatch.setattr(lesson_02, "RELATED", 500)
    monkeypatch.setattr(lesson_02, "RELATED_STEPS", 8)
    monkeypatch.setattr(lesson_02, "STEPS_OF_B", {100: 8})

    def fit_many(networks, data, *, seeds, progress, **settings):
        settings = {"batch_size": 64, "learning_rate": 3e-3} | settings  # those of `fit`
        place = training.machine("cpu", "float32")
        return training._side_by_side(networks, data, seeds, place, progress, settings)

    monkeypatch.setattr(plans, "fit_many", fit_many)
    chosen = experiments.STUDIES[name]
    cells = {}
    for seed, cell in itertools.product((0, 1), studies._cells(chosen, TINY[name])):
        cells.setdefault((seed, cell.get(chosen.shared_by)), []).append(cell)
    tables = [
        pd.DataFrame(how(chosen, cells, None, 1)).sort_values(
            [*chosen.keys, "seed"], ignore_index=True
        )
        for how in (studies._side_by_side, studies._in_processes)
    ]
    drop = ["seconds", "source_seconds"]
    together, alone = (table.drop(columns=drop) for table in tables)
    assert len(alone) == sum(map(len, cells.values()))
    # AdamW's first steps have the same size however small a gradient is, and so enlarge rounding.
    pd.testing.assert_frame_equal(together, alone, atol=0.05, check_like=True)


# ---------------------------------------------------------------------- many machines

A_TOY_STUDY = """
import sys, time
from pathlib import Path
import joblib
from mtl_course import experiments, studies

folder = Path(sys.argv[1])

def source(seed):
    return seed

def train(source, seed, way):
    (folder / "asked").mkdir(exist_ok=True)
    mark = folder / "asked" / f"{seed} {way} {time.monotonic_ns()}"
    mark.touch()
    time.sleep(0.3)
    if seed == 2 and way == 1 and A_WORKER_DIES and not (folder / "died").exists():
        (folder / "died").touch()
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return {"accuracy": seed + way / 10}

toy = studies.Study("?", [{"way": way} for way in range(4)], source, train, range(4), {},
                    golden="scenes")  # the quickest
experiments.STUDIES["toy"] = toy
RUN = {"store": folder, "progress": False}
"""

ON_DASK = """
if __name__ == "__main__":
    from distributed import Client, LocalCluster
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        rows = studies.run("toy", **RUN)
    assert rows["accuracy"].tolist() == [s + w / 10 for w in range(4) for s in range(4)]
    print(len(rows), "rows")
"""


def test_a_study_runs_on_a_cluster_that_loses_a_worker(tmp_path):
    pytest.importorskip("distributed", reason="install the extra test to run a Dask cluster")
    script = A_TOY_STUDY.replace("A_WORKER_DIES", "True") + ON_DASK
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "16 rows\n"
    assert (tmp_path / "died").exists(), "no worker was killed, so nothing was tested"
    asked = [file.name.rsplit(" ", 1)[0] for file in (tmp_path / "asked").iterdir()]
    assert set(asked) == {f"{seed} {way}" for seed in range(4) for way in range(4)}
    assert asked.count("2 1") == 2, "what the lost worker was at is done again"
    assert len(asked) <= 18, "networks that had been trained were trained again"
    assert len(pd.read_csv(tmp_path / "toy.csv")) == 16


# ---------------------------------------------------------------------- nothing is lost


IN_PROCESSES = """
studies.run("toy", jobs=2, **RUN)
"""


def _trained(folder):
    """The rows that are stored, also while they are being written."""
    file = folder / "toy.csv"
    return pd.read_csv(file) if file.exists() else pd.DataFrame({"seed": [], "way": []})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_study_that_is_killed_loses_no_finished_row_and_goes_on(tmp_path):
    script = A_TOY_STUDY.replace("A_WORKER_DIES", "False") + IN_PROCESSES
    command = [sys.executable, "-c", script, str(tmp_path)]
    study = subprocess.Popen(command, cwd=ROOT)
    end = time.monotonic() + 600
    while len(_trained(tmp_path)) < 5 and time.monotonic() < end:
        assert study.poll() is None, "the study ended before it was killed"
        time.sleep(0.02)
    study.kill()
    study.wait()
    time.sleep(1)  # its workers are at their last network
    before, asked = _trained(tmp_path), len(list((tmp_path / "asked").iterdir()))
    assert 5 <= len(before) < 16
    time.sleep(1.5)
    here = len(list((tmp_path / "asked").iterdir()))
    assert here <= asked + 2, "the workers of a killed study go on and on"
    subprocess.run(command, cwd=ROOT, timeout=600, check=True)
    after = _trained(tmp_path)
    assert len(after) == 16
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    again = len(list((tmp_path / "asked").iterdir())) - here
    assert again == 16 - len(before), "networks that had been trained were trained again"


INTERRUPTED = """
try:
    studies.run("toy", jobs=int(sys.argv[2]), **RUN)
except KeyboardInterrupt as stop:
    print(*stop._render_traceback_(), sep="\\n")
    rows = studies.run("toy", jobs=int(sys.argv[2]), **RUN)
    print(len(rows))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(
    ("jobs", "everybody"), [(1, False), (2, True)], ids=["one process", "with workers"]
)
def test_an_interrupt_says_in_one_line_what_is_kept_and_the_study_can_go_on(
    tmp_path, jobs, everybody
):
    """A terminal and Jupyter interrupt the workers, too."""
    script = A_TOY_STUDY.replace("A_WORKER_DIES", "False") + INTERRUPTED
    study = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(jobs)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 600
    while len(_trained(tmp_path)) < 3 and time.monotonic() < end:
        assert study.poll() is None, "the study ended before it was interrupted"
        time.sleep(0.02)
    (os.killpg if everybody else os.kill)(study.pid, signal.SIGINT)
    out, err = study.communicate(timeout=600)
    assert study.returncode == 0, err
    assert err == ""
    line, rows = out.splitlines()
    assert line.startswith("Interrupted: ")
    assert "of 16 networks of 'toy' are trained" in line
    assert str(tmp_path / "toy.csv") in line
    assert rows == "16"
    kept = _trained(tmp_path)[: int(line.split()[1])]
    asked = [file.name.rsplit(" ", 1)[0] for file in (tmp_path / "asked").iterdir()]
    again = [row for row in kept.itertuples() if asked.count(f"{row.seed} {row.way}") > 1]
    assert len(kept) >= 3
    assert not again, "networks that had been trained were trained again"


def interrupt(fake, monkeypatch, at):
    """From now on the network of this number is interrupted."""
    train, left = fake.train, itertools.count(1)

    def interrupted(*arguments, **cell):
        if next(left) == at:
            raise KeyboardInterrupt
        return train(*arguments, **cell)

    toy = dataclasses.replace(experiments.STUDIES["toy"], train=interrupted)
    monkeypatch.setitem(experiments.STUDIES, "toy", toy)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_interrupt_counts_what_is_there(fake, store, monkeypatch, device):
    on(monkeypatch, device, "float32")
    run(store, [0])
    interrupt(fake, monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt) as stop:
        run(store)
    there = len(pd.read_csv(store / "toy.csv"))
    # Side by side, all networks of a wave are prepared before the first is trained.
    assert there == (7 if device == "cpu" else 4)
    assert f"{there} of 12 networks" in str(stop.value)
    assert str(store / "toy.csv") in str(stop.value)
    assert len(run(store)) == 12


def test_an_interrupt_of_a_study_of_ones_own_says_that_nothing_is_kept(fake, store, monkeypatch):
    interrupt(fake, monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match=r"3 of 12 .* none is kept"):
        studies.run(experiments.STUDIES["toy"], store=store, jobs=1, progress=False)


def test_the_command_says_in_one_line_that_it_was_interrupted(fake, capsys, monkeypatch):
    interrupt(fake, monkeypatch, 4)
    code, told = command(capsys, "toy", "--jobs", "1")
    assert code == 130
    assert "Interrupted: 3 of 12 networks" in told
    assert "Traceback" not in told
    code, _ = command(capsys, "toy", "--jobs", "1")
    assert not code


TWO_WRITERS = """
import sys
from pathlib import Path
import pandas as pd
from mtl_course.studies import _store
from mtl_course import studies
print("ready", flush=True)
sys.stdin.readline()
toy = studies.Study("?", [{"way": "one"}], None, None, range(60), {})
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 30):
    row = {"study": "toy", "way": "one", "seed": seed, "recipe": "0"}
    _store.append(Path(sys.argv[1]), pd.DataFrame([row]), toy)
"""


def test_two_processes_that_add_rows_to_a_file_lose_none(tmp_path):
    file = tmp_path / "toy.csv"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_WRITERS, str(file), str(first)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in (0, 30)
    ]  # fmt: skip
    for one in both:
        assert one.stdout.readline() == "ready\n"
    for one in both:
        one.stdin.write("\n")
        one.stdin.flush()
    for one in both:
        one.communicate(timeout=600)
        assert one.returncode == 0
    assert sorted(pd.read_csv(file)["seed"]) == list(range(60))


def test_seeds_that_were_trained_are_kept_when_a_later_one_fails(fake, store):
    fake.broken = {2}
    with pytest.raises(RuntimeError, match="disk is full"):
        run(store)
    assert sorted(set(pd.read_csv(store / "toy.csv")["seed"])) == [0, 1]
    fake.broken.clear()
    fake.trained.clear()
    assert len(run(store)) == 12
    assert {seed for seed, _, _ in fake.trained} == {2}


DAMAGE = {
    "cut short": lambda text: text[: len(text) // 2].rsplit(",", 9)[0],
    "a column lost": lambda text: text.replace("recipe", "recette", 1),
    "empty": lambda text: "",
    "not a table": lambda text: "a,b\n1,2,3\n1,2,3,4,5\n",
    "bytes": lambda text: "\x00\x01",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_of_the_readers_is_kept_aside(fake, store, caplog, damage):
    run(store)
    text = DAMAGE[damage]((store / "toy.csv").read_text())
    (store / "toy.csv").write_text(text)
    fake.trained.clear()
    assert len(run(store)) == 12
    assert len(fake.trained) == 12
    assert "damaged" in caplog.text
    assert (store / "toy.damaged-1.csv").read_text() == text
    assert len(pd.read_csv(store / "toy.csv")) == 12
    (store / "toy.csv").write_text(text)
    run(store)
    assert (store / "toy.damaged-1.csv").read_text() == text
    assert (store / "toy.damaged-2.csv").read_text() == text


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shipped_file_is_an_error_that_says_what_to_do(fake, store, damage):
    run(studies.SHIPPED)
    file = studies.SHIPPED / "toy.csv"
    text = DAMAGE[damage](file.read_text())
    file.write_text(text)
    with pytest.raises(ValueError, match=r"toy\.csv is damaged(?s:.)*git"):
        run(store)
    assert file.read_text() == text


def test_the_readers_rows_of_an_older_recipe_are_kept_aside(fake, store, caplog, monkeypatch):
    run(store)
    content, old = (store / "toy.csv").read_bytes(), studies.recipe("toy")
    change_settings(monkeypatch)
    fake.trained.clear()
    rows = run(store)
    assert len(fake.trained) == 12
    assert set(rows["recipe"]) == {studies.recipe("toy")} != {old}
    assert "older recipe" in caplog.text
    assert old in caplog.text
    assert (store / "toy.older-1.csv").read_bytes() == content
    assert len(pd.read_csv(store / "toy.csv")) == 12


def test_rows_of_todays_recipe_stay_when_older_ones_go(fake, store, monkeypatch):
    run(store, [0])
    older = pd.read_csv(store / "toy.csv", dtype={"recipe": str})
    change_settings(monkeypatch)
    run(store, [1])
    mixed = pd.concat([older, pd.read_csv(store / "toy.csv", dtype={"recipe": str})])
    mixed.to_csv(store / "toy.csv", index=False)
    fake.trained.clear()
    run(store, [1])
    assert fake.trained == []
    assert set(pd.read_csv(store / "toy.csv")["seed"]) == {1}
    assert len(pd.read_csv(store / "toy.older-2.csv")) == 8


@pytest.mark.parametrize("folder", ["", studies.OTHERS])
def test_shipped_rows_of_another_recipe_are_used_with_one_warning(
    fake, store, caplog, monkeypatch, folder
):
    """Nor are they moved: they are the course's, and git's."""
    shipped, old = studies.SHIPPED / folder, studies.recipe("toy")
    run(shipped)
    content = (shipped / "toy.csv").read_bytes()
    change_settings(monkeypatch)
    fake.trained.clear()
    monkeypatch.setattr(golden, "run", lambda world: pytest.fail("reading trained something"))
    for _ in range(2):
        assert set(run(store)["recipe"]) == {old}
    assert fake.trained == []
    (said,) = caplog.messages
    for word in (
        "toy",
        "12 shipped rows",
        old,
        studies.recipe("toy"),
        "python -m mtl_course studies toy --fresh",
    ):
        assert word in said
    assert (shipped / "toy.csv").read_bytes() == content


def test_rows_of_todays_recipe_go_before_shipped_ones_of_another(fake, store, monkeypatch, caplog):
    run(studies.SHIPPED)
    change_settings(monkeypatch)
    run(store, [0], shipped=False)
    rows = run(store)
    assert set(rows.loc[rows["seed"] == 0, "recipe"]) == {studies.recipe("toy")}
    assert "8 shipped rows" in caplog.text


def test_reading_rows_trains_nothing(monkeypatch):
    monkeypatch.setattr(golden, "run", lambda world: pytest.fail("the golden run was made"))
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("a network was trained"))
    golden.numbers.cache_clear()
    for name in experiments.STUDIES:
        rows = studies.run(name)
        assert set(rows["recipe"]) == {studies.recipe(name)}


@pytest.fixture
def another_machine(monkeypatch):
    """One whose golden run deviates. Returns: how often it was asked."""
    asked = []

    def digest(world):
        asked.append(world)
        return "another"

    monkeypatch.setattr(golden, "digest", digest)
    monkeypatch.setattr(golden, "differences", lambda world: ["loss 3: 0.5 here, 0.7 there"])
    return asked


def test_where_training_gives_other_numbers_new_rows_say_so(fake, store, caplog, another_machine):
    rows = run(store, [0])
    (said,) = caplog.messages
    assert "training gives other numbers here than where the shipped rows were made" in said
    assert "loss 3: 0.5 here, 0.7 there" in said
    assert not set(rows["recipe"]) & {studies.recipe("toy")}
    fake.trained.clear()
    run(store)
    assert {seed for seed, *_ in fake.trained} == {1, 2}, "rows of this machine were not believed"
    assert len(caplog.messages) == 1
    assert not list(store.glob("*older*"))


def test_own_rows_of_the_stored_recipe_need_no_golden_run(fake, store, request):
    run(store)
    asked = request.getfixturevalue("another_machine")
    fake.trained.clear()
    assert len(run(store)) == 12
    assert fake.trained == asked == []


def test_shipping_again_replaces_rows_of_an_older_recipe(fake, monkeypatch):
    run(studies.SHIPPED)
    change_settings(monkeypatch)
    run(studies.SHIPPED)
    shipped = pd.read_csv(studies.SHIPPED / "toy.csv", dtype={"recipe": str})
    assert set(shipped["recipe"]) == {studies.recipe("toy")}, "stale rows would ship"
    assert len(shipped) == 12


# ---------------------------------------------------------------------- the recipe


WORLDS = ["dials", "digits", "scenes"]


@pytest.fixture
def clear():
    """Forgets golden runs: call it after a change, and it is called after the test."""
    yield golden.numbers.cache_clear
    golden.numbers.cache_clear()


def scaled(monkeypatch, factors):
    """Golden runs as another processor, or changed training, would give them."""
    known = {world: golden.run(world) for world in factors}

    def run(world):
        return {name: factors[world] * number for name, number in known[world].items()}

    monkeypatch.setattr(golden, "run", run)


def test_every_study_of_scenes_is_guarded_by_a_golden_run_on_scenes():
    guards = {name: chosen.golden for name, chosen in experiments.STUDIES.items()}
    assert set(guards.values()) <= set(WORLDS), guards
    for name, world in guards.items():
        assert world in ("dials", "digits" if name.startswith("digits") else "scenes"), name


def test_the_recipe_depends_on_the_settings(fake, monkeypatch):
    old = studies.recipe("toy")
    assert len(old) == 8
    assert set(old) <= set("0123456789abcdef")
    assert studies.recipe("toy") == old
    change_settings(monkeypatch)
    assert studies.recipe("toy") != old


def toys(monkeypatch):
    """A study of each world; returns a function that tells their recipes now."""
    toy = experiments.STUDIES["toy"]
    for world in WORLDS:
        of_world = dataclasses.replace(toy, golden=world)
        monkeypatch.setitem(experiments.STUDIES, f"toy {world}", of_world)

    def recipes():
        golden.numbers.cache_clear()
        return {w: _store.recipe_here(experiments.STUDIES[f"toy {w}"]) for w in WORLDS}

    return recipes


def test_the_recipe_depends_on_how_training_works(fake, monkeypatch, clear):
    recipes = toys(monkeypatch)
    old = recipes()
    with monkeypatch.context() as patch:
        patch.setattr(_run, "_WARM_UP", 0.9)
        new = recipes()
    assert not set(new.values()) & set(old.values())
    assert recipes() == old


CHANGES = {
    "digits": (datasets, "_PAPER", 16),
    "scenes": (worlds, "CONTRAST", 60),
    "dials": (spectrograms, "RATE", 5_000),
}


@pytest.mark.parametrize("world", WORLDS)
def test_a_change_in_one_world_makes_no_rows_of_the_other_stale(fake, monkeypatch, clear, world):
    recipes = toys(monkeypatch)
    old = recipes()
    with monkeypatch.context() as patch:
        patch.setattr(*CHANGES[world])
        new = recipes()
    other = "scenes" if world != "scenes" else "digits"
    assert new[world] != old[world]
    assert new[other] == old[other]


@pytest.mark.parametrize(("factor", "agrees"), [(1.0005, True), (1.005, False)])
def test_the_recipe_forgives_what_differs_between_processors(
    fake, monkeypatch, clear, factor, agrees
):
    recipes = toys(monkeypatch)
    old = recipes()
    with monkeypatch.context() as patch:
        scaled(patch, dict.fromkeys(WORLDS, factor))
        new = recipes()
    for world in WORLDS:
        assert (new[world] == old[world]) == agrees, world


# ---------------------------------------------------------------------- the command


def command(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        studies.main(list(arguments))
    told = capsys.readouterr()
    return stop.value.code, told.err + told.out


def test_the_command_refuses_an_unknown_study(fake, capsys):
    code, told = command(capsys, "nosuch")
    assert code == 2
    assert all(name in told for name in experiments.STUDIES)


def test_the_command_lists_the_studies(fake, capsys):
    code, told = command(capsys)
    assert not code
    assert all(f"{n}: {s.question}" in told for n, s in experiments.STUDIES.items())


def test_the_list_says_what_the_shipped_rows_took():
    """A source that several cells share is counted once."""
    rows = pd.read_csv(studies.SHIPPED / "dials_tuning.csv")
    sources = rows.drop_duplicates(["seed", "a"])["source_seconds"].sum()
    minutes = round((rows["seconds"].sum() + sources) / 60)
    assert studies.cost("dials_tuning") == f" ({len(rows)} networks, {minutes} minutes of one core)"


def test_the_readme_says_what_each_study_took(capsys):
    with pytest.raises(SystemExit):
        studies.main([])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [line for line in capsys.readouterr().err.splitlines() if line not in readme]
    assert not missing, "put what `python -m mtl_course studies` prints into README.md"


def test_the_command_prints_a_table_and_stores_the_rows(fake, capsys):
    code, told = command(
        capsys, "toy", "--seeds", "0", "1", "--only", "labels=30", "--only", "way=two",
        "--jobs", "1",
    )  # fmt: skip
    assert not code
    assert sorted(fake.trained) == [(0, "two", 30), (1, "two", 30)]
    scores = [Fake.accuracy(seed, "two", 30) for seed in (0, 1)]
    line = told.strip().splitlines()[-1].split()
    assert line[:3] == ["two", "30", "2"]
    assert [float(x) for x in line[3:]] == pytest.approx(
        [np.mean(scores), min(scores), max(scores)], abs=1e-3
    )
    assert len(pd.read_csv(studies.results_folder() / "toy.csv")) == 2
    assert not studies.SHIPPED.exists()


def test_the_command_can_ship(fake, capsys):
    command(capsys, "toy", "--seeds", "0", "--ship", "--jobs", "1")
    assert len(pd.read_csv(studies.SHIPPED / "toy.csv")) == 4
    assert not studies.results_folder().exists()
    code, _ = command(capsys, "toy", "--ship", "--fresh")
    assert code == 2, "where would the rows go?"


def test_the_command_trains_shipped_rows_again_and_goes_on_where_it_was(fake, capsys):
    command(capsys, "toy", "--ship", "--jobs", "1")
    content = (studies.SHIPPED / "toy.csv").read_bytes()
    fake.trained.clear()
    command(capsys, "toy", "--fresh", "--seeds", "0", "--jobs", "1")
    assert len(fake.trained) == 4, "rows that ship were believed"
    again = studies.results_folder() / "fresh" / "toy.csv"
    assert len(pd.read_csv(again)) == 4
    command(capsys, "toy", "--fresh", "--jobs", "1")
    assert len(fake.trained) == 12, "rows that were there were trained once more"
    assert len(pd.read_csv(again)) == 12
    assert (studies.SHIPPED / "toy.csv").read_bytes() == content
    assert not (studies.results_folder() / "toy.csv").exists(), (
        "they would be taken for the reader's own"
    )


ARROWS = """
import sys
from pathlib import Path
from mtl_course import experiments, studies
grid = [{"way": "A → B"}]
toy = studies.Study("?", grid, lambda seed: 0, lambda source, seed, way: {"accuracy": 0.5}, [0], {},
                    golden="scenes")
experiments.STUDIES["toy"] = toy
studies.results_folder = lambda: Path(sys.argv[1])
studies.main(["toy", "--jobs", "1"])
"""


def test_the_table_can_be_printed_anywhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ARROWS, str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"A ? B" in done.stdout


@pytest.mark.parametrize("pair", ["labels=11", "colour=red", "labels"])
def test_the_command_refuses_a_cell_that_is_not_there(fake, capsys, pair):
    code, told = command(capsys, "toy", "--only", pair)
    assert code == 2
    assert "only: " in told
    assert fake.trained == []


# ---------------------------------------------------------------------- the course's own studies


def shipped(name):
    file = studies.SHIPPED / f"{name}.csv"
    again = f"`python -m mtl_course studies {name} --ship`"
    assert file.exists(), f"{file} is not there; train it with {again}"
    return pd.read_csv(file, dtype={"recipe": str}), again


@pytest.mark.parametrize("name", sorted(experiments.STUDIES))
def test_shipped_rows_are_complete_and_of_todays_recipe(name):
    rows, again = shipped(name)
    chosen = experiments.STUDIES[name]
    about = ["seconds", "source_seconds", "device", "precision", "processor", "torch", "recipe"]
    columns = {"study", "seed", chosen.score, *chosen.keys, *about}
    assert columns <= set(rows.columns), f"columns {columns - set(rows.columns)}: run {again}"
    if "whole_images" in rows:  # where dropping left too few images, there is no network to score
        dropped = (rows["way"] == "drop the image") & (rows["whole_images"] < lesson_04.TOO_FEW)
        assert rows.loc[dropped, "accuracy"].isna().all()
        rows = rows.fillna({"accuracy": dropped.map({True: 0.0})})
    assert not rows[sorted(columns)].isna().any(axis=None), f"a row is cut short: run {again}"
    stale = rows[rows["recipe"] != studies.recipe(name)]
    assert stale.empty, (
        f"{len(stale)} rows of {name} are of recipe {sorted(set(stale['recipe']))}, today's is "
        f"{studies.recipe(name)}; remove them and run {again}:\n"
        f"{stale[[*chosen.keys, 'seed', 'recipe']].to_string(max_rows=20)}"
    )
    have = _store.marks(rows, chosen)
    want = {(s, *cell.values()) for s, cell in itertools.product(chosen.seeds, chosen.grid)}
    assert len(set(have)) == len(have), f"{name} holds rows twice: run {again}"
    assert set(have) == want, (
        f"{name}: missing {sorted(want - set(have), key=str)[:10]}, "
        f"beyond the grid {sorted(set(have) - want, key=str)[:10]}: run {again}"
    )
    assert set(rows["study"]) == {name}
    assert rows[chosen.score].between(-1 if chosen.score == "cosine" else 0, 1).all()


@pytest.mark.parametrize("name", sorted(experiments.STUDIES))
def test_every_cell_of_a_study_is_named_once_by_the_same_keys(name):
    chosen = experiments.STUDIES[name]
    assert len({tuple(cell) for cell in chosen.grid}) == 1
    assert len({tuple(cell.values()) for cell in chosen.grid}) == len(chosen.grid)
    assert len(set(chosen.seeds)) == len(chosen.seeds) >= 2


def test_what_is_tuned_never_shares_a_seed_with_what_is_reported():
    reported = set(experiments.STUDIES["digits"].seeds)
    for name in ("digits_tuning", "digits_plateau"):
        assert not reported & set(experiments.STUDIES[name].seeds)


def test_choices_are_made_without_the_test_set():
    seen = {image.numpy().tobytes() for data in lesson_01._development() for image in data.images}
    test = {image.numpy().tobytes() for image in lesson_01.handwritten_digits().test.images}
    assert not seen & test
    train, held_back = ({i.numpy().tobytes() for i in d.images} for d in lesson_01._development())
    assert not train & held_back


def best_setting(way):
    """The setting with the best accuracy, averaged over the tuned label counts and the seeds."""
    rows, _ = shipped("digits_tuning")
    means = rows[rows["way"] == way].groupby("setting")["accuracy"].mean()
    return means.idxmax(), means.round(4).to_dict()


@pytest.mark.parametrize("way", transfer.WAYS)
def test_the_learning_rate_of_each_way_is_the_best_on_development_data(way):
    best, means = best_setting(way)
    assert transfer.LEARNING_RATES[way] == best, f"{way}: {means}"


def test_the_c_of_the_support_vectors_is_the_best_on_development_data():
    best, means = best_setting(lesson_01.MACHINE)
    assert best == lesson_01.C, means


def test_from_scratch_has_reached_its_plateau():
    rows, _ = shipped("digits_plateau")
    means = rows.pivot_table(index="steps", columns="labels", values="accuracy")
    assert lesson_01.PLATEAU in means.index
    longer = means.loc[lesson_01.PLATEAU + 1 :]
    assert len(longer), "nothing longer was tried, so nothing shows a plateau"
    more = longer - means.loc[lesson_01.PLATEAU]
    # 0.01 is the course's margin for "no difference" (studies.gain).
    assert (more < 0.01).all(axis=None), f"training for longer still helps:\n{more}"


def test_the_controls_cost_what_their_names_say():
    on_a = lesson_01.PRETRAINING * 128
    assert on_a + lesson_01.STEPS * 64 == lesson_01.SAME_COMPUTE * 64
    assert lesson_01.CONTROLS["from scratch, to its plateau"] == lesson_01.PLATEAU


@pytest.mark.parametrize("room", [1, 2, 3])
def test_where_a_gpu_has_no_memory_for_all_networks_they_are_trained_in_parts(monkeypatch, room):
    trained, real = [], studies.carry_out_together

    def carry_out_together(plans):
        for done, (key, result) in enumerate(real(plans)):
            if done == room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield key, result

    def train(source, *, seed, way):
        trained.append((seed, way))
        return {"accuracy": float(source + way)}

    monkeypatch.setattr(studies, "carry_out_together", carry_out_together)
    grid = [{"way": way} for way in range(3)]
    chosen = studies.Study("?", grid, lambda seed: 10 * seed, train, range(2), {})
    if room == 1:  # not even two sources fit: each group is done by itself
        monkeypatch.setattr(studies, "_GROUPS_TOGETHER", 1)
    groups = {(seed, None): grid for seed in range(2)}
    rows = list(studies._side_by_side(chosen, groups, None, None))
    want = {(seed, way, 10.0 * seed + way) for seed in range(2) for way in range(3)}
    assert {(row["seed"], row["way"], row["accuracy"]) for row in rows} == want
    assert len(rows) == len(want)


def test_a_network_that_is_too_large_by_itself_says_so(monkeypatch):
    def carry_out_together(plans):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(studies, "carry_out_together", carry_out_together)
    chosen = studies.Study("?", [{"way": 0}], lambda seed: seed, None, range(2), {})
    with pytest.raises(torch.OutOfMemoryError):
        list(studies._side_by_side(chosen, {(0, None): [{"way": 0}]}, None, None))
