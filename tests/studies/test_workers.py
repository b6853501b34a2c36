"""Guards mtl_course.studies._workers: processes, many machines, one GPU; interrupts and losses."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from notebook_files import ROOT
from toy_study import A_TOY_STUDY, interrupt, other_machine, run

from mtl_course import studies, training
from mtl_course.studies import (
    _runner,
    _workers,
    common,
    lesson_01_digits,
    lesson_02,
    lesson_03,
    lesson_04,
)
from mtl_course.training import _many

# ---------------------------------------------------------------------- processes


# In a process of its own, so that what hangs is ended. Functions of a script reach the workers by
# value.
IN_TWO_PROCESSES = """
import sys, warnings
import pandas as pd
from mtl_course import studies
from mtl_course.base import derive_seed

def source(seed, fit):
    return derive_seed(seed, "source")

def train(source, seed, way, fit):
    from joblib.externals.loky import process_executor
    process_executor._MEMORY_LEAK_CHECK_DELAY = process_executor._MAX_MEMORY_LEAK_SIZE = -1
    return {"accuracy": (source + len(way)) % 97 / 97}

toy = studies.Study("?", [{"way": "one"}, {"way": "three"}], source, train, range(2), {},
                    golden="scenes")
studies.STUDIES["toy"] = toy
warnings.simplefilter("error")
RUN = {"store": sys.argv[1], "progress": False}
two, one = (studies.run("toy", fresh=True, jobs=jobs, **RUN) for jobs in (2, 1))
drop = ["seconds", "source_seconds"]
pd.testing.assert_frame_equal(two.drop(columns=drop), one.drop(columns=drop))
print(len(two), "rows")
"""


@pytest.mark.slow
def test_two_processes_train_what_one_does_though_workers_are_replaced(tmp_path):
    # loky replaces workers that have grown, here after each job; see `_workers.in_processes`.
    done = subprocess.run(
        [sys.executable, "-c", IN_TWO_PROCESSES, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 rows\n"


ON_DASK = """
if __name__ == "__main__":
    from distributed import Client, LocalCluster
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        rows = studies.run("toy", **RUN)
    assert rows["accuracy"].tolist() == [s + w / 10 for w in range(4) for s in range(4)]
    print(len(rows), "rows")
"""


@pytest.mark.slow
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


IN_PROCESSES = """
studies.run("toy", jobs=2, **RUN)
"""


def _trained(folder):
    """The rows that are stored, also while they are being written."""
    file = folder / "toy.csv"
    return pd.read_csv(file) if file.exists() else pd.DataFrame({"seed": [], "way": []})


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert len(kept) >= 2  # the row that was being written is there, and perhaps not counted
    assert not again, "networks that had been trained were trained again"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_interrupt_counts_what_is_there(fake, store, monkeypatch, device):
    other_machine(monkeypatch, device, "float32")
    run(store, [0])
    interrupt(fake, monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt) as stop:
        run(store)
    there = len(pd.read_csv(store / "toy.csv"))
    assert there == 7
    assert f"{there} of 12 networks" in str(stop.value)
    assert str(store / "toy.csv") in str(stop.value)
    assert len(run(store)) == 12


def test_an_interrupt_of_a_study_of_ones_own_says_that_nothing_is_kept(fake, store, monkeypatch):
    interrupt(fake, monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match=r"3 of 12 .* none is kept"):
        studies.run(studies.STUDIES["toy"], store=store, jobs=1, progress=False)


# ---------------------------------------------------------------------- side by side


TINY = {  # the cheapest cells of each kind: trained, trained twice, not trained
    "digits": {"labels": [0, 10], "way": ["zero-shot", "all layers", "head then all"]},
    "relatedness": {"labels": [100], "a": ["nothing", "brightness"], "task": ["two cars"]},
    "unknown": {"fraction": [0.95], "way": ["mask", "guess it", "drop the image"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_networks_side_by_side_give_the_rows_of_networks_alone(name, monkeypatch):
    """What a GPU does, on the CPU: other groups of networks, the same draws."""
    monkeypatch.setattr(lesson_01_digits, "PRINTED", 500)
    monkeypatch.setattr(lesson_01_digits, "PRETRAINING", 8)
    monkeypatch.setattr(lesson_03, "SCENES", 300)
    monkeypatch.setattr(common, "TEST_SCENES", 300)
    monkeypatch.setattr(lesson_02, "RELATED", 500)
    monkeypatch.setattr(lesson_02, "RELATED_STEPS", 8)
    monkeypatch.setattr(lesson_02, "STEPS_OF_B", {100: 8})
    for lesson in (lesson_01_digits, lesson_04):
        monkeypatch.setattr(lesson, "STEPS", 8)
    sizes = []

    def fit_many(networks, data, *, seeds, progress, **settings):
        sizes.append(len(networks))
        settings = {"batch_size": 64, "learning_rate": 3e-3} | settings  # those of `fit`
        works, machine = list(zip(networks, data, seeds, strict=True)), training.machine("cpu")
        return _many._in_groups(works, machine, settings, progress, together=True)

    monkeypatch.setattr(training, "fit_many", fit_many)
    chosen = studies.STUDIES[name]
    missing = [(seed, cell) for cell in _runner._cells(chosen, TINY[name]) for seed in (0, 1)]
    tables = [
        pd.DataFrame(how(chosen, missing, None, 1)).sort_values(
            [*chosen.keys, "seed"], ignore_index=True
        )
        for how in (_workers.side_by_side, _workers.in_processes)
    ]
    assert min(sizes) >= 2, "seeds of one cell were not trained together"
    drop = ["seconds", "source_seconds"]
    together, alone = (table.drop(columns=drop) for table in tables)
    assert len(alone) == len(missing)
    # AdamW's first steps have the same size however small a gradient is, and so enlarge rounding.
    pd.testing.assert_frame_equal(together, alone, atol=0.05, check_like=True)


@pytest.mark.parametrize("room", [1, 2, 3])
def test_where_a_gpu_has_no_memory_for_all_networks_they_are_trained_in_parts(monkeypatch, room):
    trained, real = [], _workers.together

    def together(works):
        for done, (key, result) in enumerate(real(works)):
            if done == room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield key, result

    def train(source, *, seed, way, fit):
        trained.append((seed, way))
        return {"accuracy": float(source + way)}

    monkeypatch.setattr(_workers, "together", together)
    grid = [{"way": way} for way in range(3)]
    chosen = studies.Study("?", grid, lambda seed, fit: 10 * seed, train, range(2), {})
    if room == 1:  # not even two sources fit: each group is done by itself
        monkeypatch.setattr(_workers, "_SOURCES_AT_ONCE", 1)
    missing = [(seed, cell) for seed in range(2) for cell in grid]
    rows = list(_workers.side_by_side(chosen, missing, None, None))
    want = {(seed, way, 10.0 * seed + way) for seed in range(2) for way in range(3)}
    assert {(row["seed"], row["way"], row["accuracy"]) for row in rows} == want
    assert len(rows) == len(want)


def test_a_network_that_is_too_large_by_itself_says_so():
    def train(source, *, seed, way, fit):
        raise torch.OutOfMemoryError("CUDA out of memory")

    chosen = studies.Study("?", [{"way": 0}], lambda seed, fit: seed, train, range(2), {})
    with pytest.raises(torch.OutOfMemoryError):
        list(_workers.side_by_side(chosen, [(0, {"way": 0})], None, None))
