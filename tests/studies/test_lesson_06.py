"""Guards studies.lesson_06 and lesson_06_pairs: who fights with whom, under which rules."""

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_course import aggregators, gradients, losses, networks, scenes, studies, training
from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, only
from mtl_course.scenes import TASKS
from mtl_course.studies import common, lesson_05, lesson_06
from mtl_course.studies import lesson_06_pairs as pairs

SHIPPED = studies.SHIPPED


class ShortFit:
    """A `fit` of two steps. calls: network, data and settings; starts: first weights."""

    def __init__(self):
        self.calls, self.starts = [], []

    def __call__(self, network, data, **settings):
        self.starts.append({k: v.clone() for k, v in network.state_dict().items()})
        self.calls.append((network, data, settings))
        return training.fit(network, data, **settings | {"steps": 2, "batch_size": 8})


@pytest.fixture
def fit(monkeypatch):
    monkeypatch.setattr(common, "TEST_SCENES", 400)
    monkeypatch.setattr(lesson_06, "LOOKS", (0, 1))
    return ShortFit()


@pytest.fixture(scope="module")
def roads():
    return lesson_06.roads(3)


def train(name, source, fit, **cell):
    return studies.study(name).train(source, seed=3, fit=fit, **cell)


# ---------------------------------------------------------------------- cosines


def test_the_sets_are_four_tasks_of_one_family_of_four_or_the_lectures():
    families = {name: {TASKS[task].family for task in tasks}
                for name, tasks in lesson_06.SETS.items()}  # fmt: skip
    assert families["four about cars"] == {"cars"}
    assert len(families[lesson_06.UNRELATED]) == 4
    assert lesson_06.SETS["the four"] == scenes.THE_FOUR
    assert all(len(set(tasks)) == 4 for tasks in lesson_06.SETS.values())


def test_each_set_has_labels_for_the_same_scenes(roads):
    for way, tasks in lesson_06.SETS.items():
        data = lesson_06.scenes_for(roads, 3, way)
        truth = scenes.draw(1_000, derive_seed(3, "scenes to learn from"), tasks=tasks, jobs=1)
        assert torch.equal(data.images, truth.images)
        assert torch.equal(data.labels, truth.labels)


def test_random_labels_are_the_fours_and_all_are_shuffled(roads):
    data, shuffled = (lesson_06.scenes_for(roads, 3, way) for way in ("the four", lesson_05.RANDOM))
    assert torch.equal(data.labels.sum(dim=0), shuffled.labels.sum(dim=0))
    share = data.labels.double().mean(dim=0)
    same = (data.labels == shuffled.labels).double().mean(dim=0)
    assert torch.allclose(same, share**2 + (1 - share) ** 2, atol=0.06)


def test_a_row_holds_the_cosine_of_each_pair_at_each_look(fit, roads):
    row = train("gradients", roads, fit, way="the four", images=1_000)
    (_, _, settings), = fit.calls  # fmt: skip
    assert (settings["steps"], settings["batch_size"]) == (300, 64)
    recorded = settings["backward"].gradients
    for step in (0, 1):
        cosines = gradients.cosines(recorded[step])
        for i, j in lesson_06.PAIRS_OF_FOUR:
            assert row[f"{step}: {i} and {j}"] == cosines[i - 1, j - 1]
    values = [value for name, value in row.items() if name != "cosine"]
    assert len(values) == 12
    assert row["cosine"] == pytest.approx(np.mean(values))


def test_matrices_are_means_over_seeds_with_ones_down_the_diagonal():
    rows = studies.run("gradients")
    for way in rows["way"].unique():
        matrices = lesson_06.cosine_matrices(rows, way)
        assert list(matrices) == list(lesson_06.LOOKS)
        for step, matrix in matrices.items():
            assert (np.diag(matrix) == 1).all()
            assert (matrix == matrix.T).all(axis=None)
            mine = rows.loc[rows["way"] == way, f"{step}: 2 and 4"]
            assert matrix.iloc[1, 3] == pytest.approx(mine.mean())


# ---------------------------------------------------------------------- loss weights, aggregators


def test_a_share_is_the_firsts_part_of_the_weight(fit, roads):
    for share in (0.0, 0.25, 1.0):
        train("weights", roads, fit, share=share)
    for share, (network, data, settings) in zip((0.0, 0.25, 1.0), fit.calls, strict=True):
        assert data.tasks == lesson_06.TRADED_TASKS
        task_losses = torch.ones(2, requires_grad=True)
        settings["backward"](task_losses)
        assert task_losses.grad.tolist() == [share, 1 - share]
        assert network.head.in_features == 8 * lesson_06.NARROW


EVERY = [
    lesson_06.SUM, lesson_06.WEIGHTED, *lesson_06.ALTERNATIVES, lesson_06.WIDE, lesson_06.EACH,
]  # fmt: skip


@pytest.mark.parametrize("name", lesson_06.AGGREGATED_SETS)
def test_every_way_has_the_same_scenes_the_same_start_and_as_many_steps(fit, roads, name):
    for way in EVERY:
        train("aggregators", roads, fit, way=way, asked=name)
    for way, start, call in zip(EVERY, fit.starts, fit.calls, strict=True):
        network, data, settings = call
        assert data.tasks == lesson_06.SETS[name]
        assert (settings["steps"], settings["batch_size"]) == (300, 64)
        assert settings["learning_rate"] == lesson_06.AGGREGATOR_RATES[name][way]
        assert settings["seed"] == fit.calls[0][2]["seed"]
        assert len(network.trunk) == (4 if way == lesson_06.EACH else 5)
        features = {lesson_06.WIDE: 128, lesson_06.EACH: 256}.get(way, 64)
        assert network.head.in_features == features
        plain = (lesson_06.SUM, lesson_06.WIDE, lesson_06.EACH)
        assert (settings["backward"] is None) == (way in plain)
        assert torch.equal(data.images, fit.calls[0][1].images)
        assert torch.equal(data.labels, fit.calls[0][1].labels)
        if way not in (lesson_06.WIDE, lesson_06.EACH):
            assert all(torch.equal(fit.starts[0][key], value) for key, value in start.items())


def test_a_way_goes_down_what_it_says(roads):
    data = only(roads, scenes.THE_FOUR).subset(slice(32))
    for way in aggregators.AGGREGATORS:
        network = networks.shared(data.tasks, width=2, seed=0)
        backward = lesson_06.combined(network, way, 1e-2, seed=0)
        logits = network.train()(data.images)
        backward(losses.multi_task_losses(logits, data.labels))
        trunk = torch.cat([p.grad.flatten() for p in network.trunk.parameters()])
        again = networks.shared(data.tasks, width=2, seed=0)
        torch.manual_seed(derive_seed(0, "step 0"))
        want = aggregators.aggregator(way)(gradients.of_each_task(again, data))
        assert torch.allclose(trunk, want, atol=1e-5)
    for way, want in ((lesson_06.UNCERTAIN, [0.5] * 4), (lesson_06.DOUBLED[1], [1, 2, 1, 1])):
        task_losses = torch.ones(4, requires_grad=True)
        lesson_06.combined(network, way, 1e-2, seed=0)(task_losses)
        assert task_losses.grad.tolist() == want
    assert lesson_06.combined(None, lesson_06.SUM, 1e-2, seed=0) is None


def test_the_worst_of_four_answers_is_in_the_row(fit, roads):
    row = train("aggregators", roads, fit, way=lesson_06.SUM, asked="the four")
    each = [row[f"auc {number}"] for number in range(1, 5)]
    assert row["worst"] == min(each)
    assert row["auc"] == pytest.approx(np.mean(each))


# ---------------------------------------------------------------------- who helps whom


def test_the_six_are_two_of_each_of_three_families():
    families = [TASKS[task].family for task in pairs.SIX]
    assert families[::2] == families[1::2]
    assert len(set(families)) == 3
    assert {pairs.RELATED[pairs.RELATED[task]] for task in pairs.SIX} == set(pairs.SIX)
    assert all(TASKS[a].family == TASKS[b].family for a, b in pairs.RELATED.items())


def test_in_a_pair_each_image_is_labelled_for_its_own_task_and_a_tasks_own_stay():
    data = pairs.images_of(3, "adult", "red light")
    other = pairs.images_of(3, "red light", "two cars")
    assert data.tasks == ("adult", "red light")
    known = data.labels != UNKNOWN
    assert known[:1_000, 0].all()
    assert known[1_000:, 1].all()
    assert not known[:1_000, 1].any()
    assert not known[1_000:, 0].any()
    truth = scenes.draw(1_000, derive_seed(3, "scenes for red light"), tasks=["red light"], jobs=1)
    for part, column, rows in ((data, 1, slice(1_000, None)), (other, 0, slice(1_000))):
        assert torch.equal(part.images[rows], truth.images)
        assert torch.equal(part.labels[rows, column], truth.labels[:, 0])
    assert not torch.equal(data.images[:1_000], data.images[1_000:])


def test_a_tasks_images_are_seen_as_often_alone_in_a_pair_and_after_another(fit):
    source = pairs._source(3, "red light", fit=fit)
    assert pairs._source(3, lesson_05.ALONE, fit=fit) is None
    train("pairs", None, fit, way=lesson_05.ALONE, task="adult")
    train("pairs", None, fit, way="red light", task="adult")
    train("affinity", None, fit, way=lesson_05.ALONE, task="adult")
    train("affinity", source, fit, way="red light", task="adult")
    learned, alone, pair, scratch, adapted = fit.calls
    for (_, data, settings), steps in ((learned, 150), (alone, 150), (pair, 300), (scratch, 150),
                                       (adapted, 150)):  # fmt: skip
        views = settings["steps"] * 64 * 1_000 / len(data)
        assert (settings["steps"], views) == (steps, 9_600)
    own = pairs.images_of(3, "adult")
    for _, data, _ in (alone, scratch, adapted):
        assert torch.equal(data.images, own.images)
    assert alone[2]["learning_rate"] == scratch[2]["learning_rate"]
    assert pair[2]["learning_rate"] == pairs.PAIRS_RATES["together"]
    assert adapted[2]["learning_rate"] == pairs.AFFINITY_RATES["adapted"]


def test_adapting_starts_from_what_the_other_task_has_learned(fit):
    source = pairs._source(3, "red light", fit=fit)
    start = {f"trunk.{name}": value for name, value in source.trunk.state_dict().items()}
    train("affinity", source, fit, way="red light", task="adult")
    assert all(torch.equal(fit.starts[-1][name], value) for name, value in start.items())


def test_the_two_studies_share_no_seed():
    together, after = studies.STUDIES["pairs"], studies.STUDIES["affinity"]
    assert not set(together.seeds) & set(after.seeds)
    assert together.grid == after.grid
    assert len(together.grid) == 36


def test_gains_by_pair_are_differences_seed_by_seed():
    rows = studies.run("pairs")
    table = pairs.gains_by_pair(rows)
    assert table.shape == (10, 30)
    by_cell = rows.set_index(["seed", "task", "way"])["auc"]
    want = by_cell[4, "red light", "adult"] - by_cell[4, "red light", lesson_05.ALONE]
    assert table.loc[4, ("red light", "adult")] == pytest.approx(want)
    gain = studies.gain(rows, "adult", over=lesson_05.ALONE, score="auc").set_index("task")
    assert table["red light", "adult"].mean() == pytest.approx(gain.loc["red light", "mean"])


# ---------------------------------------------------------------------- what was chosen

CHOSEN = [
    ({"way": way, "asked": name}, rate)
    for name, rates in lesson_06.AGGREGATOR_RATES.items()
    for way, rate in rates.items()
    if way != lesson_06.WEIGHTED
]


def best(rows, cell, rate):
    mine = rows[(rows[list(cell)] == pd.Series(cell)).all(axis=1)] if cell else rows
    means = mine.groupby("rate")["auc"].mean()
    assert rate == means.idxmax(), means
    assert means.index.min() < rate < means.index.max(), "the grid must go on beyond the best"


@pytest.mark.parametrize(("cell", "rate"), CHOSEN)
def test_each_learning_rate_is_the_best_on_development_seeds(cell, rate):
    best(pd.read_csv(SHIPPED / "aggregators_tuning.csv"), cell, rate)


def test_the_rates_of_pairs_are_the_best_on_development_seeds():
    rows = pd.read_csv(SHIPPED / "pairs_tuning.csv")
    alone = rows["way"] == lesson_05.ALONE
    best(rows[alone], {}, pairs.PAIRS_RATES[lesson_05.ALONE])
    best(rows[~alone], {}, pairs.PAIRS_RATES["together"])
    best(pd.read_csv(SHIPPED / "affinity_tuning.csv"), {}, pairs.AFFINITY_RATES["adapted"])
    assert pairs.AFFINITY_RATES[lesson_05.ALONE] == pairs.PAIRS_RATES[lesson_05.ALONE]


@pytest.mark.parametrize("name", lesson_06.AGGREGATED_SETS)
def test_the_task_that_counts_twice_is_the_best_on_development_seeds(name):
    rows = pd.read_csv(SHIPPED / "aggregators_tuning.csv")
    means = rows[rows["asked"] == name].groupby(["way", "rate"])["auc"].mean()
    doubled = means[list(lesson_06.DOUBLED)]
    chosen = (lesson_06.DOUBLED_TASK[name], lesson_06.AGGREGATOR_RATES[name][lesson_06.WEIGHTED])
    assert chosen == doubled.idxmax()
    assert rows["rate"].min() < chosen[1] < rows["rate"].max()


def test_choices_were_made_on_seeds_that_are_in_no_figure():
    for name in ("aggregators", "pairs", "affinity"):
        assert not set(studies.STUDIES[f"{name}_tuning"].seeds) & set(studies.STUDIES[name].seeds)
