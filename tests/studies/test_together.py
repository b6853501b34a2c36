"""Guards mtl_course.plans: what is asked for is trained, alone and together, and sent back."""

import pytest
import torch
from mtl_course.plans import Fit, carry_out, carry_out_together

from mtl_course import training
from mtl_course.datasets import Dataset
from mtl_course.networks import classifier, freeze

QUICK = {"device": "cpu", "precision": "float32", "progress": False}
RUN = {"steps": 6, "batch_size": 8, "progress": False}


def toy(m, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (m, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Dataset(images, torch.arange(m) % 3, classes=("a", "b", "c"))


def twice(seed, m=16, width=2, frozen=False, second=True):
    """Trains one network, then perhaps a second one for as many steps as the first loss says."""
    data = toy(m, seed)
    first = classifier(data, width=width, seed=seed)
    if frozen:
        freeze(first.trunk)
    history = yield Fit(first, data, RUN | {"seed": seed})
    assert len(history) == 6
    if not second:
        return first, None
    steps = 2 + int(history["loss"].iloc[0] * 1000) % 2
    other = classifier(data, width=width, seed=seed + 100)
    yield Fit(other, data, RUN | {"seed": seed, "steps": steps})
    return first, other


def nothing():
    """A plan that trains nothing."""
    return "nothing was asked for"
    yield


def alone(plan):
    """`carry_out` on the CPU in float32."""
    try:
        asked = next(plan)
        while True:
            asked = plan.send(training.fit(asked.network, asked.data, **asked.settings | QUICK))
    except StopIteration as end:
        return end.value


def same(one, other):
    if one is None or other is None:
        return one is other
    one, other = one.state_dict(), other.state_dict()
    return all(torch.equal(one[name], other[name]) for name in one)


KINDS = {
    "small": {"seed": 1},
    "another": {"seed": 2},
    "of one network": {"seed": 3, "second": False},
    "wide": {"seed": 4, "width": 3},
    "frozen": {"seed": 5, "frozen": True},
    "of few images": {"seed": 6, "m": 5},
}


def test_a_plan_alone_is_sent_each_history_and_returns_its_result(monkeypatch):
    asked = []

    def fit(network, data, **settings):
        asked.append(settings)
        return training.fit(network, data, **settings | QUICK)

    monkeypatch.setattr(plans, "fit", fit)
    first, other = carry_out(twice(1))
    want = alone(twice(1))
    assert same(first, want[0])
    assert same(other, want[1])
    assert [settings["seed"] for settings in asked] == [1, 1]
    assert carry_out(nothing()) == "nothing was asked for"


def test_plans_together_give_what_each_gives_alone(monkeypatch):
    groups = []

    def fit_many(networks, data, **settings):
        groups.append([len(networks), settings["steps"]])
        return training.fit_many(networks, data, jobs=1, **settings)

    monkeypatch.setattr(plans, "fit_many", fit_many)
    asked = {name: twice(**kind) for name, kind in KINDS.items()} | {"none": nothing()}
    place = {"device": "cpu", "precision": "float32"}
    results = dict(carry_out_together(asked, **place))
    assert results.pop("none") == "nothing was asked for"
    assert set(results) == set(KINDS)
    for name, kind in KINDS.items():
        for network, want in zip(results[name], alone(twice(**kind)), strict=True):
            assert same(network, want), name
    assert groups[0] == [3, 6], "the three of one kind were not trained together"
    assert sum(count for count, _ in groups) == 11
    assert all(count == 1 for count, steps in groups[1:] if steps == 6)


def test_no_more_than_a_number_of_networks_train_at_once(monkeypatch):
    groups = []

    def fit_many(networks, data, **settings):
        groups.append(len(networks))
        return training.fit_many(networks, data, jobs=1, **settings)

    monkeypatch.setattr(plans, "fit_many", fit_many)
    monkeypatch.setattr(plans, "_AT_ONCE", 2)
    asked = {seed: twice(seed, second=False) for seed in range(5)}
    assert sorted(seed for seed, _ in carry_out_together(asked)) == list(range(5))
    assert groups == [2, 2, 1]


def test_an_error_in_a_plan_reaches_who_carries_it_out():
    def broken():
        yield Fit(classifier(toy(8, 0), width=2), toy(8, 0), RUN | {"seed": 0, "steps": 0})

    with pytest.raises(ValueError, match="steps"):
        carry_out(broken())
    with pytest.raises(ValueError, match="steps"):
        list(carry_out_together({"one": broken()}))


def test_an_interrupt_stops_calls_with_a_backward_and_keeps_those_that_ended(monkeypatch):
    begun = []

    def fit(network, data, **settings):
        begun.append(network)
        history = training.fit(network, data, **settings)
        history.attrs["interrupted"] = len(begun) == 2
        return history

    monkeypatch.setattr(plans, "fit", fit)

    def plan(seed):
        network = classifier(toy(16, 0), width=2, seed=seed)
        backward = training.sum_backward
        yield Fit(network, toy(16, 0), RUN | {"seed": 3, "backward": backward})
        return seed

    ended = []
    place = {"device": "cpu", "precision": "float32"}
    with pytest.raises(KeyboardInterrupt):
        for key, _ in carry_out_together({seed: plan(seed) for seed in range(4)}, **place):
            ended.append(key)
    assert len(begun) == 2, "after the interrupt another network was begun"
    assert 0 in ended, "the network that was trained to its end is lost"


def test_a_call_with_a_backward_of_its_own_goes_to_fit(monkeypatch):
    asked = []

    def fit(network, data, **settings):
        asked.append(settings)
        return training.fit(network, data, **settings)

    def fit_many(networks, data, **settings):
        raise AssertionError("fit_many has no place for it")

    monkeypatch.setattr(plans, "fit", fit)
    monkeypatch.setattr(plans, "fit_many", fit_many)

    def plan(backward):
        network = classifier(toy(16, 0), width=2)
        yield Fit(network, toy(16, 0), RUN | {"seed": 3, "backward": backward})
        return network

    def halved(terms):
        (terms.sum() / 2).backward()

    place = {"device": "cpu", "precision": "float32"}
    found = dict(carry_out_together({k: plan(halved) for k in range(2)}, **place))
    assert [settings["backward"] for settings in asked] == [halved, halved]
    assert all(settings["seed"] == 3 and settings["device"] == "cpu" for settings in asked)
    want = classifier(toy(16, 0), width=2)
    training.fit(want, toy(16, 0), **RUN | QUICK, seed=3, backward=halved)
    assert same(found[0], want)
    assert same(found[1], want)
