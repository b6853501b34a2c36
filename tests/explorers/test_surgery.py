"""Guards mtl_course.explorers.surgery and figures.surgery."""

import copy
import itertools
import re
import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t

from mtl_course import datasets, figures, networks, studies, training, transfer
from mtl_course.base import derive_seed
from mtl_course.explorers.surgery import SurgeryTable
from mtl_course.studies import lesson_01_digits

STEPS = 6
A, FROZEN, RANDOM = "from A, trains", "from A, frozen", "random, trains"
NEW, KEPT, STILL = "new head, trains", "A's head, trains", "A's head, frozen"


@pytest.fixture(scope="module")
def written() -> datasets.Split:
    return datasets.handwritten_digits()


@pytest.fixture(scope="module")
def source() -> networks.Network:
    printed = datasets.printed_digits(1024, seed=1)
    return transfer.pretrain(printed, steps=40, seed=2, progress=False)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return studies.run("digits")


@pytest.fixture
def table(source, written, rows) -> SurgeryTable:
    return SurgeryTable(source, written, rows, steps=STEPS)


def choose(table: SurgeryTable, *parts: str, labels: int = 10) -> str:
    """Sets the controls: three blocks, the head, the labeled images. Returns: the answer."""
    for control, value in zip(table.children, (*parts, labels), strict=False):
        control.value = value
    return table.children[6].value


def press(table: SurgeryTable) -> str:
    """Trains once. Returns: the answer."""
    live = table.children[5]
    live.children[0].click()
    live.thread.join(600)
    assert "Done" in live.children[1].value
    return table.children[6].value


def states(network: networks.Network) -> list[dict]:
    """The weights and statistics of the blocks and of the head."""
    parts = [*networks.blocks(network), network.head]
    return [{k: v.clone() for k, v in part.state_dict().items()} for part in parts]


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


WAYS = {
    "all layers": (A, A, A, NEW),
    "new head": (FROZEN, FROZEN, FROZEN, NEW),
    "from scratch": (RANDOM, RANDOM, RANDOM, NEW),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_way_of_the_lesson_is_trained_bit_for_bit(way, table, source, written):
    choose(table, *WAYS[way], labels=30)
    press(table)
    first = table.network
    press(table)
    for number, network in ((1, first), (2, table.network)):
        seed = derive_seed(number, "try it yourself")
        sample = written.train.sample(30, seed=seed)
        alone = transfer.adapt(source, sample, way, steps=STEPS, seed=seed, progress=False)
        assert all(map(same, states(network), states(alone))), f"run {number} is not {way!r}"
    assert not same(states(first)[3], states(table.network)[3]), "two presses drew the same"


def test_each_part_starts_where_it_should_and_moves_if_it_may(table, source, written):
    """Of every other choice of head, with the blocks in all three states."""
    seed = derive_seed(1, "try it yourself")
    drawn, learned = states(networks.classifier(written.train, seed=seed)), states(source)
    for head in (NEW, KEPT, STILL):
        choice = (RANDOM, FROZEN, A, head)
        before = states(table._operate(choice, seed))
        expected = [drawn[0], learned[1], learned[2], drawn[3] if head == NEW else learned[3]]
        assert all(map(same, before, expected)), head
        table._presses = itertools.count(1)
        choose(table, *choice)
        press(table)
        after = states(table.network)
        moved = [not same(*pair) for pair in zip(before, after, strict=True)]
        assert moved == [True, False, True, head != STILL]


def test_the_source_stays_as_it_was(table, source):
    before, trains = states(copy.deepcopy(source)), [p.requires_grad for p in source.parameters()]
    for choice in (WAYS["all layers"], (A, FROZEN, RANDOM, KEPT), (FROZEN,) * 3 + (STILL,)):
        choose(table, *choice)
        press(table)
    table.static()
    assert all(map(same, states(source), before))
    assert [p.requires_grad for p in source.parameters()] == trains
    shared = {p.data_ptr() for p in source.parameters()}
    assert not shared & {p.data_ptr() for p in table.network.parameters()}


def test_the_answer_counts_the_weights_that_train(table):
    block = [9 * 16 + 32, 9 * 16 * 32 + 64, 9 * 32 * 32 + 64]  # 3 × 3 filters, scales and shifts
    head = 128 * 10 + 10
    every = sum(block) + head
    counts = {
        WAYS["all layers"]: every,
        WAYS["new head"]: head,
        (FROZEN, A, RANDOM, NEW): every - block[0],
        (RANDOM, FROZEN, A, STILL): block[0] + block[2],
    }
    for choice, trains in counts.items():
        expected = f"{trains:,} of {every:,} weights train"
        assert expected in choose(table, *choice)
        assert expected in table.children[7].value  # the alt text


def test_the_answer_says_what_the_lesson_measured(table, rows):
    for way, choice in WAYS.items():
        cell = rows[(rows["way"] == way) & (rows["labels"] == 100)]["accuracy"]
        reach = t.ppf(0.975, len(cell) - 1) * cell.std() * np.sqrt(1 + 1 / len(cell))
        text = choose(table, *choice, labels=100)
        assert f"mean accuracy of {cell.mean():.3f} in {len(cell)} seeds" in text
        assert f"lie in {cell.mean() - reach:.3f} to {cell.mean() + reach:.3f}." in text
        assert f"learning rate of {transfer.LEARNING_RATES[way]:g}" in text
    for choice in ((A, A, FROZEN, NEW), (A, A, A, KEPT), (RANDOM, A, A, NEW)):
        assert "Not one of the lesson's ways" in choose(table, *choice, labels=100)


@pytest.mark.parametrize(
    "choice, like",
    [((RANDOM, A, A, NEW), "from scratch"), ((A, RANDOM, RANDOM, NEW), "all layers")],
)
def test_another_choice_takes_the_rate_of_the_way_it_starts_like(
    choice, like, table, source, written
):
    rate, seed = transfer.LEARNING_RATES[like], derive_seed(1, "try it yourself")
    assert f"learning rate of {rate:g}" in choose(table, *choice)
    press(table)
    alone, sample = table._operate(choice, seed), written.train.sample(10, seed=seed)
    settings = {"steps": STEPS, "seed": seed, "progress": False}
    training.fit(alone, sample, learning_rate=rate, **settings)
    assert all(map(same, states(alone), states(table.network)))


def test_where_nothing_trains_a_press_only_evaluates(table, source, written, rows):
    assert "nothing trains" in choose(table, FROZEN, FROZEN, FROZEN, STILL, labels=30)
    text = press(table)
    accuracy = training.evaluate(copy.deepcopy(source), written.test)["accuracy"].iloc[0]
    assert f"accuracy {accuracy:.3f}" in text
    zero = rows.loc[rows["way"] == lesson_01_digits.ZERO_SHOT, "accuracy"]
    assert f"mean accuracy of {zero.mean():.3f}" in text
    assert "0 weights trained" in text


def test_the_runs_of_the_session_stand_in_a_table(table, written, rows):
    choose(table, *WAYS["all layers"], labels=800)
    texts = [press(table), press(table)]
    choose(table, A, FROZEN, RANDOM, KEPT, labels=30)
    texts.append(press(table))
    scores = [re.search(r"accuracy (\d\.\d{3}) after", text)[1] for text in texts]
    here = training.evaluate(table.network, written.test)["accuracy"].iloc[0]
    assert scores[2] == f"{here:.3f}"
    body = re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", table.children[8].value)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)[:5] for row in body]
    cell = rows[(rows["way"] == "all layers") & (rows["labels"] == 800)]
    low, high = studies.predicted(cell, ["way"])[["low", "high"]].iloc[0]
    assert [cell[:4] for cell in cells] == [
        ["1", "all layers", "800", scores[0]],
        ["2", "all layers", "800", scores[1]],
        ["3", "from A | from A, frozen | random | A's head", "30", scores[2]],
    ]
    assert f"({low:.3f} to {high:.3f})" in cells[0][4]
    assert cells[2][4] == "not measured"
    assert "fall inside" not in texts[2]


@pytest.mark.parametrize("values, inside", [((0.1, 0.11), 0), ((0.0, 1.4), 2), ((0.999, 1.0), 0)])
def test_runs_inside_the_interval_are_counted(values, inside, source, written, rows):
    """Intervals that lie below every run, hold every run, and lie above every run."""
    table = SurgeryTable(
        source, written, rows.assign(accuracy=np.resize(values, len(rows))), steps=STEPS
    )
    choose(table, *WAYS["new head"], labels=100)
    press(table)
    assert f"{inside} of 2 fall inside" in press(table)


def test_a_run_that_is_stopped_is_not_kept(source, written, rows):
    table = SurgeryTable(source, written, rows, steps=5_000)
    button, progress = table.children[5].children
    before = table.children[6].value
    button.click()
    end = time.monotonic() + 300
    while "of 5,000" not in progress.value and time.monotonic() < end:
        time.sleep(0.01)
    button.click()
    table.children[5].thread.join(300)
    assert progress.value == "Stopped."
    assert (table.children[6].value, table.children[8].value) == (before, "")
    assert table.network is None


def test_a_run_that_is_stopped_while_it_is_scored_is_not_kept(table, monkeypatch):
    live = table.children[5]

    def evaluate(*asked) -> pd.DataFrame:
        live.children[0].click()
        return training.evaluate(*asked)

    monkeypatch.setattr("mtl_course.explorers.surgery.evaluate", evaluate)
    live.children[0].click()
    live.thread.join(600)
    assert live.children[1].value == "Stopped."
    assert (table.children[8].value, table.network) == ("", None)


def test_the_static_picture_has_the_four_ways(table, rows):
    bundle = table.static()
    text = bundle["text/plain"]
    assert "head then all: 1,290, then 15,418 weights train" in text
    assert text.count("from A, frozen, then trains") == 3
    for way in transfer.WAYS:
        mean = rows[rows["way"] == way].groupby("labels")["accuracy"].mean()
        assert f"{mean[10]:.3f} with 10 labels, {mean[800]:.3f} with 800" in text
    choose(table, RANDOM, A, A, KEPT)
    assert table.static() == bundle


def test_parts_differ_by_pattern_and_by_text():
    parts = [figures.Part("block 1", "from A", "frozen", 1_000),
             figures.Part("head", "random", "trains", 10)]  # fmt: skip
    (axes,) = figures.surgery({"a row": parts}).axes
    texts = [text.get_text() for text in axes.texts]
    assert "block 1\nfrom A\nfrozen\n1,000 weights" in texts
    assert "head\nrandom\ntrains\n10 weights" in texts
    assert [patch.get_hatch() for patch in axes.patches] == ["////", None, None, None, "oo"]


def test_what_does_not_fit_is_refused(source, written, rows):
    for some in (rows[rows["way"] != "new head"], rows[rows["seed"] == 0], rows[:0]):
        with pytest.raises(ValueError, match="rows"):
            SurgeryTable(source, written, some, steps=STEPS)
    few = rows[(rows["way"] != "new head") | (rows["labels"] != 30)]
    with pytest.raises(ValueError, match="rows"):
        SurgeryTable(source, written, few, steps=STEPS)


def test_a_head_for_other_classes_cannot_be_kept(written, rows):
    letters = datasets.printed_digits(64, seed=0, characters=datasets.LETTERS)
    rates = dict.fromkeys(transfer.WAYS, 0.5)
    table = SurgeryTable(networks.classifier(letters), written, rows, STEPS, rates)
    assert table.children[3].options == (NEW,)
    assert "learning rate of 0.5" in choose(table, A, A, A, NEW)
    press(table)
    assert table.network.names == datasets.DIGITS
