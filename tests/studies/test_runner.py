"""Guards mtl_course.studies: the runner, and the rows that ship."""

import dataclasses
import itertools

import pandas as pd
import pytest
from toy_study import GRID, Toy, change_settings, run

from mtl_course import studies, training, transfer
from mtl_course.studies import (
    _runner,
    _store,
    golden,
    lesson_01_digits,
    lesson_04,
)

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
        assert row.accuracy == Toy.accuracy(row.seed, row.way, row.labels)
    about = {"study", "seconds", "source_seconds", "device", "precision", "processor", "torch"}
    assert about | {"recipe"} <= set(rows.columns)
    assert set(rows["recipe"]) == {studies.recipe("toy")}
    assert rows.attrs["keys"] == list(GRID[0])
    ways = list(dict.fromkeys(cell["way"] for cell in GRID))
    assert set(studies.gain(rows, ways[0], over=ways[1])["seeds"]) == {3}


def test_a_source_can_depend_on_a_key_of_the_grid(monkeypatch, tmp_path):
    """Each value of it has a source of its own, and none is made that no cell needs."""
    made = []

    def source(seed, labels, fit):
        made.append((seed, labels))
        return f"{seed}, {labels}"

    def train(source, seed, way, labels, fit):
        assert source == f"{seed}, {labels}"
        return {"accuracy": 0.5}

    toy = studies.Study("Which?", GRID, source, train, range(3), {"k": 3}, shared_by="labels")
    monkeypatch.setitem(studies.STUDIES, "toy", toy)
    monkeypatch.setattr(_runner, "SHIPPED", tmp_path / "shipped")
    run(tmp_path, [0, 1], only={"labels": [30]})
    assert sorted(made) == [(0, 30), (1, 30)]
    with pytest.raises(ValueError, match="each labels has a source of its own"):
        run(tmp_path, source="one for all")
    made.clear()
    assert len(run(tmp_path)) == 12
    assert made == [(0, 10), (1, 10), (2, 10), (2, 30)], "those of one kind stand together"


def test_a_source_can_depend_on_several_keys(monkeypatch, tmp_path):
    made = []

    def source(seed, labels, way, fit):
        made.append((seed, labels, way))

    def train(source, seed, way, labels, fit):
        return {"accuracy": 0.5}

    by = ("labels", "way")
    toy = studies.Study("Which?", GRID, source, train, range(1), {"k": 3}, shared_by=by)
    monkeypatch.setitem(studies.STUDIES, "toy", toy)
    monkeypatch.setattr(_runner, "SHIPPED", tmp_path / "shipped")
    run(tmp_path)
    assert sorted(made) == sorted((0, cell["labels"], cell["way"]) for cell in GRID)
    with pytest.raises(ValueError, match="each labels and way has a source of its own"):
        run(tmp_path, source="one for all")


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


def test_a_study_of_ones_own_is_trained_and_not_stored(fake, store):
    own = studies.STUDIES["toy"]
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
        ({"only": {"color": [1]}}, "color.*way, labels"),
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
    monkeypatch.setattr(_runner, "results_folder", lambda: folder)
    studies.run("toy", jobs=1, progress=False)
    assert len(pd.read_csv(folder / "toy.csv")) == 12
    fake.trained.clear()
    studies.run("toy", jobs=1, progress=False)
    assert fake.trained == []


def test_seeds_that_were_trained_are_kept_when_a_later_one_fails(fake, store):
    fake.broken = {2}
    with pytest.raises(RuntimeError, match="disk is full"):
        run(store)
    assert sorted(set(pd.read_csv(store / "toy.csv")["seed"])) == [0, 1]
    fake.broken.clear()
    fake.trained.clear()
    assert len(run(store)) == 12
    assert {seed for seed, _, _ in fake.trained} == {2}


# ---------------------------------------------------------------------- the recipe


WORLDS = sorted(golden.WORLDS)


def test_every_study_of_tasks_is_guarded_by_a_golden_run_on_scenes():
    guards = {name: chosen.golden for name, chosen in studies.STUDIES.items()}
    assert set(guards.values()) <= set(WORLDS), guards
    for name, world in guards.items():
        of_classes = name.startswith(("digits", "clothes", "photographs"))
        assert world in ("dials", "digits" if of_classes else "scenes"), name


def test_the_recipe_depends_on_the_settings(fake, monkeypatch):
    old = studies.recipe("toy")
    assert len(old) == 8
    assert set(old) <= set("0123456789abcdef")
    assert studies.recipe("toy") == old
    change_settings(monkeypatch)
    assert studies.recipe("toy") != old


def test_the_recipe_of_rows_made_here_depends_on_the_golden_run_of_their_world(fake, scaled):
    def recipes():
        toy = studies.STUDIES["toy"]
        return [_store.recipe(dataclasses.replace(toy, golden=w), here=True) for w in WORLDS]

    scaled({})
    old = recipes()
    scaled(dict.fromkeys(WORLDS, 1.0005))
    assert recipes() == old, "what differs between processors is no change"
    for changed in WORLDS:
        scaled({changed: 1.005})
        differ = [new != before for new, before in zip(recipes(), old, strict=True)]
        assert differ == [world == changed for world in WORLDS]


# ---------------------------------------------------------------------- the course's own studies


def test_reading_rows_trains_nothing(monkeypatch):
    monkeypatch.setattr(golden, "run", lambda world: pytest.fail("the golden run was made"))
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("a network was trained"))
    golden.numbers.cache_clear()
    for name in studies.STUDIES:
        rows = studies.run(name)
        assert set(rows["recipe"]) == {studies.recipe(name)}


def shipped(name):
    file = studies.SHIPPED / f"{name}.csv"
    again = f"`python -m mtl_course studies {name} --ship`"
    assert file.exists(), f"{file} is not there; train it with {again}"
    return pd.read_csv(file, dtype={"recipe": str}), again


@pytest.mark.parametrize("name", sorted(studies.STUDIES))
def test_shipped_rows_are_complete_and_of_todays_recipe(name):
    rows, again = shipped(name)
    chosen = studies.STUDIES[name]
    about = ["seconds", "source_seconds", "device", "precision", "processor", "torch", "recipe"]
    columns = {"study", "seed", chosen.score, *chosen.keys, *about}
    assert columns <= set(rows.columns), f"columns {columns - set(rows.columns)}: run {again}"
    if "whole_images" in rows:  # where dropping left too few images, there is no network to score
        dropped = (rows["way"] == "drop the image") & (rows["whole_images"] < lesson_04.TOO_FEW)
        assert rows.loc[dropped, chosen.score].isna().all()
        rows = rows.fillna({chosen.score: dropped.map({True: 0.0})})
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


@pytest.mark.parametrize("name", sorted(studies.STUDIES))
def test_every_cell_of_a_study_is_named_once_by_the_same_keys(name):
    chosen = studies.STUDIES[name]
    assert len({tuple(cell) for cell in chosen.grid}) == 1
    assert len({tuple(cell.values()) for cell in chosen.grid}) == len(chosen.grid)
    assert len(set(chosen.seeds)) == len(chosen.seeds) >= 2


def test_what_is_tuned_never_shares_a_seed_with_what_is_reported():
    reported = set(studies.STUDIES["digits"].seeds)
    for name in ("digits_tuning", "digits_plateau"):
        assert not reported & set(studies.STUDIES[name].seeds)


def test_choices_are_made_without_the_test_set():
    seen = {
        image.numpy().tobytes() for data in lesson_01_digits._development() for image in data.images
    }
    test = {image.numpy().tobytes() for image in lesson_01_digits.handwritten_digits().test.images}
    assert not seen & test
    train, held_back = (
        {i.numpy().tobytes() for i in d.images} for d in lesson_01_digits._development()
    )
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
    best, means = best_setting(lesson_01_digits.MACHINE)
    assert best == lesson_01_digits.C, means


def test_from_scratch_has_reached_its_plateau():
    rows, _ = shipped("digits_plateau")
    means = rows.pivot_table(index="steps", columns="labels", values="accuracy")
    assert lesson_01_digits.PLATEAU in means.index
    longer = means.loc[lesson_01_digits.PLATEAU + 1 :]
    assert len(longer), "nothing longer was tried, so nothing shows a plateau"
    more = longer - means.loc[lesson_01_digits.PLATEAU]
    # 0.01 is the course's margin for "no difference" (studies.gain).
    assert (more < 0.01).all(axis=None), f"training for longer still helps:\n{more}"


def test_the_controls_cost_what_their_names_say():
    on_a = lesson_01_digits.PRETRAINING * 128
    assert on_a + lesson_01_digits.STEPS * 64 == lesson_01_digits.SAME_COMPUTE * 64
    assert lesson_01_digits.CONTROLS["from scratch, to its plateau"] == lesson_01_digits.PLATEAU
