"""Guards mtl_course.studies._together: works together give what each gives alone, and all end."""

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest
import torch
from notebook_files import ROOT

from mtl_course import studies, training
from mtl_course.datasets import Dataset
from mtl_course.networks import classifier, freeze
from mtl_course.studies import _together, _workers
from mtl_course.studies._together import together

QUICK = {"device": "cpu", "precision": "float32"}
RUN = {"steps": 6, "batch_size": 8, "progress": False}


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    left = [thread.name for thread in threading.enumerate() if "(_run)" in thread.name]
    assert not left, "works were left waiting"


@pytest.fixture
def groups(monkeypatch):
    """How many networks each call of `fit_many` trains, and for how many steps; in this process."""
    calls, real = [], training.fit_many

    def fit_many(networks, data, **settings):
        calls.append((len(networks), settings["steps"]))
        return real(networks, data, **settings)

    monkeypatch.setattr(training, "fit_many", fit_many)
    return calls


def toy(m=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (m, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Dataset(images, torch.arange(m) % 3, classes=("a", "b", "c"))


def twice(seed, m=16, width=2, frozen=False, second=True):
    """A work of two networks; the second trains for as many steps as the first one's loss says."""

    def work(fit):
        data = toy(m, seed)
        first = classifier(data, width=width, seed=seed)
        if frozen:
            freeze(first.trunk)
        history = fit(first, data, seed=seed, **RUN)
        assert len(history) == 6
        if not second:
            return [first]
        other = classifier(data, width=width, seed=seed + 100)
        steps = 2 + int(history["loss"].iloc[0] * 1000) % 2
        fit(other, data, seed=seed, **RUN | {"steps": steps})
        return [first, other]

    return work


def once(seed, **settings):
    """A work of one network, which gives its seed back."""

    def work(fit):
        fit(classifier(toy(), width=2, seed=seed), toy(), seed=3, **RUN, **settings)
        return seed

    return work


def alone(network, data, **settings):
    return training.fit(network, data, **settings | QUICK)


def same(one, other):
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


def test_works_together_give_bit_for_bit_what_each_gives_alone(groups):
    works = {name: twice(**kind) for name, kind in KINDS.items()}
    results = dict(together(works | {"none": lambda fit: "nothing was trained"}, **QUICK))
    assert results.pop("none") == "nothing was trained"
    assert set(results) == set(KINDS)
    for name, work in works.items():
        for network, want in zip(results[name], work(alone), strict=True):
            assert same(network, want), name
    assert groups[0] == (3, 6), "the three of one kind were not trained together"
    assert sum(count for count, _ in groups) == 11
    assert all(count == 1 for count, steps in groups[1:] if steps == 6)


def test_no_more_than_a_number_of_works_are_under_way(groups, monkeypatch):
    monkeypatch.setattr(_together, "_AT_ONCE", 2)
    begun, ended, most = [], [], 0

    def counted(seed):
        def work(fit):
            begun.append(seed)
            return twice(seed, second=False)(fit)

        return work

    for seed, _ in together({seed: counted(seed) for seed in range(5)}, **QUICK):
        ended.append(seed)
        most = max(most, len(begun) - len(ended) + 1)
    assert sorted(ended) == begun == list(range(5)), "works begin in order"
    assert most == 2
    assert [count for count, _ in groups] == [2, 2, 1]


def test_many_works_that_train_nothing_need_no_place(groups):
    works = {k: (lambda fit, k=k: k) for k in range(200)}
    assert list(together(works)) == [(k, k) for k in range(200)]
    assert list(together({})) == []
    assert groups == []


def test_works_do_not_depend_on_the_default_device_of_the_caller(groups):
    torch.set_default_device("meta")
    try:
        ((_, device),) = together({0: lambda fit: torch.zeros(1).device.type})
    finally:
        torch.set_default_device(None)
    assert device == "cpu"


# ---------------------------------------------------------------------- fit's own backward


def halved(losses):
    (losses.sum() / 2).backward()


def test_a_call_with_a_backward_of_its_own_goes_to_fit(groups):
    def work(fit):
        network = classifier(toy(), width=2)
        fit(network, toy(), seed=3, backward=halved, **RUN)
        return network

    results = dict(
        together(dict.fromkeys(range(2), work) | {"none": once(1, backward=None)}, **QUICK)
    )
    want = work(alone)
    assert same(results[0], want)
    assert same(results[1], want)
    assert groups == [(1, 6)], "backward=None is fit's default"


# ---------------------------------------------------------------------- errors


def test_an_error_in_a_work_reaches_the_caller_after_the_results_before_it(groups):
    def broken(fit):
        once(2)(fit)
        raise RuntimeError("the disk is full")

    results = []
    with pytest.raises(RuntimeError, match="the disk is full"):
        results.extend(key for key, _ in together({0: once(0), 1: broken, 2: once(2)}, **QUICK))
    assert groups == [(3, 6)]
    assert results == [0]


@pytest.mark.parametrize(
    ("settings", "error"), [({"steps": 0}, ValueError), ({"epochs": 3}, TypeError)]
)
def test_an_error_of_fit_reaches_the_caller(settings, error):
    def work(fit):
        fit(classifier(toy(), width=2), toy(), **{"seed": 0, "steps": 1} | settings)

    with pytest.raises(error, match=next(iter(settings))):
        list(together({0: work, 1: once(1)}, **QUICK))


def test_a_work_may_clean_up_when_another_one_fails(groups):
    cleaned = []

    def careful(fit):
        try:
            once(0)(fit)
        finally:
            cleaned.append(0)
            once(0)(fit)  # there is nobody left to make this call

    def broken(fit):
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        list(together({0: careful, 1: broken}, **QUICK))
    assert cleaned == [0]
    assert groups == []


@pytest.mark.parametrize("where", ["fit_many", "a work"])
def test_after_an_error_nothing_holds_what_the_works_have_drawn(monkeypatch, where):
    """Or a GPU without memory for all networks would have none for half of them either."""
    drawn, alive, makes = [], [], iter(range(100))

    def fit_many(networks, data, **settings):
        if where == "fit_many" and len(networks) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [training.fit(networks[0], data[0], seed=0, steps=1, progress=False, **QUICK)]

    def train(source, *, seed, way, fit):
        alive.append(sum(reference() is not None for reference in drawn))
        data = toy()
        drawn.append(weakref.ref(data.images))
        if where == "a work" and next(makes) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        fit(classifier(data, width=2), data, seed=seed, steps=1)
        return {"accuracy": 0.5}

    monkeypatch.setattr(training, "fit_many", fit_many)
    monkeypatch.setattr(_workers.gc, "collect", lambda: None)  # no cycle may hold them
    chosen = studies.Study("?", [{"way": 0}, {"way": 1}], lambda seed, fit: 0, train, [0], {})
    gc.disable()
    try:
        rows = list(_workers.side_by_side(chosen, [(0, cell) for cell in chosen.grid], None, None))
    finally:
        gc.enable()
    assert len(rows) == 2
    assert alive == [0, 1, 0, 0]


# ---------------------------------------------------------------------- interrupts


def interrupted(monkeypatch, name, at):
    """From this call on a training is cut short. Returns: the numbers of networks of the calls."""
    calls, real = [], getattr(training, name)

    def cut_short(networks, data, **settings):
        calls.append(1)
        result = real(networks, data, **settings)
        if len(calls) == at:
            for history in result if isinstance(result, list) else [result]:
                history.attrs["interrupted"] = True
        return result

    monkeypatch.setattr(training, name, cut_short)
    return calls


def test_an_interrupt_of_a_pass_gives_out_what_was_complete_before(groups, monkeypatch):
    monkeypatch.setattr(_together, "_AT_ONCE", 2)
    calls, ended = interrupted(monkeypatch, "fit_many", 2), []
    with pytest.raises(KeyboardInterrupt):
        for key, _ in together({seed: once(seed) for seed in range(6)}, **QUICK):
            ended.append(key)
    assert len(calls) == 2
    assert ended == [0, 1], "networks of half a training are no results"


def test_an_interrupt_stops_calls_with_a_backward_and_keeps_those_that_ended(monkeypatch):
    calls, ended = interrupted(monkeypatch, "fit", 2), []
    works = {seed: once(seed, backward=training.sum_backward) for seed in range(4)}
    with pytest.raises(KeyboardInterrupt):
        for key, _ in together(works, **QUICK):
            ended.append(key)
    assert len(calls) == 2, "after the interrupt another network was begun"
    assert ended == [0], "the network that was trained to its end is lost"


def test_whoever_needs_no_more_results_ends_all_works(groups):
    results = together({seed: twice(seed) for seed in range(3)} | {"none": lambda fit: 0}, **QUICK)
    assert next(results) == ("none", 0)
    assert sum("(_run)" in thread.name for thread in threading.enumerate()) == 3
    results.close()
    assert groups == []


def test_a_study_that_ends_between_two_rows_ends_all_works(groups):
    def train(source, *, seed, way, fit):
        once(seed)(fit)
        return {"accuracy": 0.5}

    chosen = studies.Study("?", [{"way": w} for w in range(3)], lambda seed, fit: 0, train, [0], {})
    trained = _workers.side_by_side(chosen, [(0, cell) for cell in chosen.grid], None, None)
    next(trained)
    trained.close()
    assert groups == [(3, 6)]


# A real Ctrl-C, while a work draws: here it sleeps. The second one comes while the first is obeyed.
CTRL_C = """
import sys, threading, time
from mtl_course import training
from mtl_course.datasets import Dataset
from mtl_course.networks import classifier
from mtl_course.studies._together import together
import torch

ends = []
data = Dataset(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.arange(9) % 3, classes="abc")

def waits(fit):
    try:
        fit(classifier(data, width=2), data, steps=1, seed=0)
    finally:
        ends.append("waits")

def draws(fit):
    print("draws", flush=True)
    time.sleep(1.5)
    waits(fit)

try:
    list(together({"waits": waits, "draws": draws}))
except KeyboardInterrupt:
    print("interrupted", flush=True)
end = time.monotonic() + 20
while threading.active_count() > 1 and time.monotonic() < end:
    time.sleep(0.05)
print(threading.active_count(), *ends)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_a_work_draws_ends_all_works(times):
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "draws\n"
    for _ in range(times):
        threading.Event().wait(0.3)
        os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert out == "interrupted\n1 waits waits\n"
