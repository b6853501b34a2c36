"""Guards mtl_course.studies and .experiments: the runner, what it keeps, and the shipped rows."""

import dataclasses
import itertools
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from notebook_files import ROOT

from mtl_course import (
    datasets,
    engine,
    experiments,
    golden,
    plans,
    sounds,
    studies,
    training,
    transfer,
)
from mtl_course import world as worlds
from mtl_course.experiments import answers, common, dials, digits

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
    monkeypatch.setattr(studies, "RESULTS", tmp_path / "results")
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


def test_a_study_of_ones_own_is_trained_and_not_stored(fake, store):
    own = experiments.STUDIES["toy"]
    rows = studies.run(own, range(2), store=store, jobs=1, progress=False)
    pd.testing.assert_frame_equal(
        rows.drop(columns=["study", "seconds", "source_seconds"]),
        run(store, range(2), fresh=True).drop(columns=["study", "seconds", "source_seconds"]),
    )
    assert studies.gain(rows, "one", over="two")["seeds"].eq(2).all()
    assert not store.exists()


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


# In a process of its own, so that what hangs is ended. Functions of a script reach the workers by
# value.
IN_TWO_PROCESSES = """
import sys, warnings
import pandas as pd
from mtl_course import experiments, studies
from mtl_course.base import stream

def source(seed):
    return stream(seed, "source")

def train(source, seed, way):
    from joblib.externals.loky import process_executor
    process_executor._MEMORY_LEAK_CHECK_DELAY = process_executor._MAX_MEMORY_LEAK_SIZE = -1
    return {"accuracy": (source + len(way)) % 97 / 97}

toy = studies.Study("?", [{"way": "one"}, {"way": "three"}], source, train, range(5), {})
experiments.STUDIES["toy"] = toy
warnings.simplefilter("error")
two, one = (studies.run("toy", fresh=True, jobs=jobs, progress=False) for jobs in (2, 1))
drop = ["seconds", "source_seconds"]
pd.testing.assert_frame_equal(two.drop(columns=drop), one.drop(columns=drop))
print(len(two), "rows")
"""


def test_two_processes_train_what_one_does_though_workers_are_replaced():
    # loky replaces workers that have grown, here after each job; see `studies._in_processes`.
    done = subprocess.run(
        [sys.executable, "-c", IN_TWO_PROCESSES],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
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
    monkeypatch.setattr(digits, "PRINTED", 500)
    for steps in ("PRETRAINING", "STEPS"):
        monkeypatch.setattr(digits, steps, 8)
    monkeypatch.setattr(answers, "SCENE_STEPS", 8)
    for count in ("SCENES", "TEST_SCENES"):
        monkeypatch.setattr(answers, count, 300)
    monkeypatch.setattr(common, "TEST_SCENES", 300)
    monkeypatch.setattr(dials, "RELATED", 500)
    monkeypatch.setattr(dials, "RELATED_STEPS", 8)
    monkeypatch.setattr(dials, "STEPS_OF_B", {100: 8})

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

toy = studies.Study("?", [{"way": way} for way in range(4)], source, train, range(4), {})
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
        cwd=ROOT, capture_output=True, text=True, timeout=240,
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
    end = time.monotonic() + 120
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
    subprocess.run(command, cwd=ROOT, timeout=120, check=True)
    after = _trained(tmp_path)
    assert len(after) == 16
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    again = len(list((tmp_path / "asked").iterdir())) - here
    assert again == 16 - len(before), "networks that had been trained were trained again"


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
def test_shipped_rows_of_an_older_recipe_are_not_used(fake, store, caplog, monkeypatch, folder):
    """Nor moved: they are the course's, and git's."""
    shipped = studies.SHIPPED / folder
    run(shipped)
    content = (shipped / "toy.csv").read_bytes()
    change_settings(monkeypatch)
    fake.trained.clear()
    rows = run(store)
    assert len(fake.trained) == 12
    assert set(rows["recipe"]) == {studies.recipe("toy")}
    assert "12 rows of an older recipe" in caplog.text
    assert (shipped / "toy.csv").read_bytes() == content


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
        return {world: studies.recipe(f"toy {world}") for world in WORLDS}

    return recipes


def test_the_recipe_depends_on_how_training_works(fake, monkeypatch, clear):
    recipes = toys(monkeypatch)
    old = recipes()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_WARM_UP", 0.9)
        new = recipes()
    assert not set(new.values()) & set(old.values())
    assert recipes() == old


CHANGES = {
    "digits": (datasets, "_PAPER", 16),
    "scenes": (worlds, "CONTRAST", 60),
    "dials": (sounds, "RATE", 5_000),
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
    assert not missing, "put what `python -m mtl_course.studies` prints into README.md"


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
    assert len(pd.read_csv(studies.RESULTS / "toy.csv")) == 2
    assert not studies.SHIPPED.exists()


def test_the_command_can_ship(fake, capsys):
    command(capsys, "toy", "--seeds", "0", "--ship", "--jobs", "1")
    assert len(pd.read_csv(studies.SHIPPED / "toy.csv")) == 4
    assert not studies.RESULTS.exists()
    code, _ = command(capsys, "toy", "--ship", "--fresh")
    assert code == 2, "where would the rows go?"


def test_the_command_trains_shipped_rows_again_and_goes_on_where_it_was(fake, capsys):
    command(capsys, "toy", "--ship", "--jobs", "1")
    content = (studies.SHIPPED / "toy.csv").read_bytes()
    fake.trained.clear()
    command(capsys, "toy", "--fresh", "--seeds", "0", "--jobs", "1")
    assert len(fake.trained) == 4, "rows that ship were believed"
    again = studies.RESULTS / "fresh" / "toy.csv"
    assert len(pd.read_csv(again)) == 4
    command(capsys, "toy", "--fresh", "--jobs", "1")
    assert len(fake.trained) == 12, "rows that were there were trained once more"
    assert len(pd.read_csv(again)) == 12
    assert (studies.SHIPPED / "toy.csv").read_bytes() == content
    assert not (studies.RESULTS / "toy.csv").exists(), "they would be taken for the reader's own"


@pytest.mark.parametrize("pair", ["labels=11", "colour=red", "labels"])
def test_the_command_refuses_a_cell_that_is_not_there(fake, capsys, pair):
    code, told = command(capsys, "toy", "--only", pair)
    assert code == 2
    assert "only: " in told
    assert fake.trained == []


# ---------------------------------------------------------------------- the course's own studies


def shipped(name):
    file = studies.SHIPPED / f"{name}.csv"
    again = f"`python -m mtl_course.studies {name} --ship`"
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
        dropped = (rows["way"] == "drop the image") & (rows["whole_images"] < answers.TOO_FEW)
        assert rows.loc[dropped, "accuracy"].isna().all()
        rows = rows.fillna({"accuracy": dropped.map({True: 0.0})})
    assert not rows[sorted(columns)].isna().any(axis=None), f"a row is cut short: run {again}"
    stale = rows[rows["recipe"] != studies.recipe(name)]
    assert stale.empty, (
        f"{len(stale)} rows of {name} are of recipe {sorted(set(stale['recipe']))}, today's is "
        f"{studies.recipe(name)}; remove them and run {again}:\n"
        f"{stale[[*chosen.keys, 'seed', 'recipe']].to_string(max_rows=20)}"
    )
    have = studies._marks(rows, chosen)
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
    seen = {image.numpy().tobytes() for data in digits._development() for image in data.images}
    test = {image.numpy().tobytes() for image in digits.handwritten_digits().test.images}
    assert not seen & test
    train, held_back = ({i.numpy().tobytes() for i in d.images} for d in digits._development())
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
    best, means = best_setting(digits.MACHINE)
    assert best == digits.C, means


def test_from_scratch_has_reached_its_plateau():
    rows, _ = shipped("digits_plateau")
    means = rows.pivot_table(index="steps", columns="labels", values="accuracy")
    assert digits.PLATEAU in means.index
    longer = means.loc[digits.PLATEAU + 1 :]
    assert len(longer), "nothing longer was tried, so nothing shows a plateau"
    more = longer - means.loc[digits.PLATEAU]
    # 0.01 is the course's margin for "no difference" (studies.gain).
    assert (more < 0.01).all(axis=None), f"training for longer still helps:\n{more}"


def test_the_controls_cost_what_their_names_say():
    on_a = digits.PRETRAINING * 128
    assert on_a + digits.STEPS * 64 == digits.SAME_COMPUTE * 64
    assert digits.CONTROLS["from scratch, to its plateau"] == digits.PLATEAU
