"""Guards mtl_course.studies._store: what is kept, and what of it is used."""

import subprocess
import sys

import pandas as pd
import pytest
from notebook_files import ROOT
from toy_study import change_settings, other_machine, run

from mtl_course import studies
from mtl_course.studies import (
    golden,
)

# ---------------------------------------------------------------------- fresh runs


def test_fresh_trains_every_row_and_stores_none(fake, store):
    run(store)
    content = (store / "toy.csv").read_bytes()
    fake.trained.clear()
    assert len(run(store, fresh=True)) == 12
    assert len(fake.trained) == 12
    assert (store / "toy.csv").read_bytes() == content


FRESH = "fresh/toy.cpu-float32.csv"


def break_off(fake, store, broken=1, **settings):
    """A fresh run of one process that ends at a seed."""
    fake.broken = {broken}
    with pytest.raises(RuntimeError):
        run(store, fresh=True, **settings)
    fake.broken = set()
    fake.trained.clear()


def test_a_fresh_run_goes_on_where_it_was_broken_off_and_then_begins_anew(fake, store, caplog):
    break_off(fake, store)
    left = pd.read_csv(store / FRESH)
    assert left["seed"].tolist() == [0] * 4, "rows were lost that had been trained"
    assert not caplog.text
    rows = run(store, fresh=True)
    assert len(rows) == 12
    assert {seed for seed, *_ in fake.trained} == {1, 2}
    assert "4 of 12" in caplog.text
    assert "delete that file" in caplog.text
    fake.trained.clear()
    run(store)
    assert len(fake.trained) == 12, "rows of a fresh run are not the reader's stored ones"


def test_a_finished_fresh_run_is_trained_again_and_its_rows_are_not_lost(fake, store, caplog):
    first = run(store, fresh=True)
    fake.trained.clear()
    break_off(fake, store)
    before = pd.read_csv((store / FRESH).with_suffix(".before.csv"))
    assert before["accuracy"].sum() == pytest.approx(first["accuracy"].sum())
    assert not caplog.text, "a finished run was resumed"
    assert len(run(store, fresh=True)) == 12
    assert {seed for seed, *_ in fake.trained} == {1, 2}, "the second run was not resumed"
    assert len(pd.read_csv(store / FRESH)) == 12


def test_a_fresh_run_leaves_alone_what_another_one_has_begun(fake, store):
    break_off(fake, store, seeds=[0, 1])
    run(store, [0], only={"labels": [30]}, fresh=True)
    assert sorted(fake.trained) == [(0, "one", 30), (0, "two", 30)], "it has all it needs"
    fake.trained.clear()
    rows = run(store, [0, 7], only={"labels": [30]}, fresh=True)
    assert len(rows) == 4
    assert sorted(fake.trained) == [(7, "one", 30), (7, "two", 30)]
    assert len(pd.read_csv(store / FRESH)) == 6, "the other run's rows were lost, or came twice"
    fake.trained.clear()
    assert len(run(store, [0, 1], fresh=True)) == 8
    assert (0, "one", 10) not in fake.trained


def test_a_fresh_run_does_not_go_on_with_rows_of_another_machine(fake, store, monkeypatch):
    other_machine(monkeypatch, "cpu", "float32")
    break_off(fake, store)
    other_machine(monkeypatch, "cpu", "bfloat16")
    rows = run(store, fresh=True)
    assert len(fake.trained) == 12
    assert set(rows["precision"]) == {"bfloat16"}
    fake.trained.clear()
    other_machine(monkeypatch, "cpu", "float32")
    assert len(run(store, fresh=True)) == 12
    assert len(fake.trained) == 8, "rows of this machine were lost meanwhile"


def test_a_fresh_run_does_not_go_on_with_rows_of_another_recipe(fake, store, monkeypatch, caplog):
    break_off(fake, store)
    change_settings(monkeypatch)
    rows = run(store, fresh=True)
    assert len(fake.trained) == 12
    assert set(rows["recipe"]) == {studies.recipe("toy")}
    assert "older recipe" in caplog.text
    assert len(list((store / "fresh").glob("toy.*.older-1.csv"))) == 1


def test_a_fresh_run_with_a_source_keeps_no_rows(fake, store):
    """Nobody could tell which source they came from."""
    run(store, [0], fresh=True, source="source 0")
    assert not store.exists()


# ---------------------------------------------------------------------- nothing is lost


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


@pytest.mark.slow
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


# ---------------------------------------------------------------------- other recipes


@pytest.fixture
def another_machine(monkeypatch):
    """One whose golden run deviates. Returns: how often it was made."""
    made = []

    def differences(world):
        made.append(world)
        return ["loss 3: 0.5 here, 0.7 there"]

    monkeypatch.setattr(golden, "differences", differences)
    monkeypatch.setattr(golden, "digest", lambda world: f"another {differences(world)}")
    return made


@pytest.mark.usefixtures("another_machine")
def test_where_training_gives_other_numbers_new_rows_say_so(fake, store, caplog):
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
    made = request.getfixturevalue("another_machine")
    fake.trained.clear()
    assert len(run(store)) == 12
    assert fake.trained == made == []


def test_shipping_again_replaces_rows_of_an_older_recipe(fake, monkeypatch):
    run(studies.SHIPPED)
    change_settings(monkeypatch)
    run(studies.SHIPPED)
    shipped = pd.read_csv(studies.SHIPPED / "toy.csv", dtype={"recipe": str})
    assert set(shipped["recipe"]) == {studies.recipe("toy")}, "stale rows would ship"
    assert len(shipped) == 12
