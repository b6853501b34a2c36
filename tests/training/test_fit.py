"""Guards mtl_course.training: fit against a plain loop, checkpoints, evaluation, device choice."""

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from small_disk import python_on_disk
from together import side_by_side
from torch import nn

from mtl_course import analysis, devices, evaluation, losses, training, transfer
from mtl_course.base import derive_seed
from mtl_course.datasets import UNKNOWN, Dataset, normalise
from mtl_course.networks import Network, classifier, freeze, separate, shared
from mtl_course.training import _fit, _run

QUICK = {"device": "cpu", "precision": "float32", "progress": False}
RUN = {"steps": 12, "seed": 3, "batch_size": 5, "learning_rate": 0.01, **QUICK}


def toy(m=13, classes="abc", seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (m, channels, 8, 8), generator=generator, dtype=torch.uint8)
    return Dataset(images, torch.arange(m) % len(classes), classes=tuple(classes))


def toy_tasks(m=13, unknown=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (m, 2), generator=generator, dtype=torch.int8)
    labels[torch.rand(m, 2, generator=generator) < unknown] = UNKNOWN
    return Dataset(toy(m).images, labels, tasks=("car", "sign"))


def build(data, seed=0, trunk_frozen=False):
    network = classifier(data, width=2, seed=seed)
    if trunk_frozen:
        freeze(network.trunk)
    return network


def trained(data=None, trunk_frozen=False, **settings):
    data = toy() if data is None else data
    network = build(data, trunk_frozen=trunk_frozen)
    return network, training.fit(network, data, **RUN | settings)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Interrupt:
    """Stands in for _fit.step: presses Ctrl-C just before update number `at`."""

    def __init__(self, at):
        self.left, self.step = at, _fit.step

    def __call__(self, *arguments):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.step(*arguments)


# ---------------------------------------------------------------------- fit


def share(step, steps):
    """The docstring's schedule, written out: up over the first tenth, then linearly down to 0."""
    warm = max(1, round(0.1 * steps))
    rising = (step + 1) / warm
    falling = 1 - (step - warm) / max(1, steps - warm)
    return rising if step < warm else falling


def plain_loop(network, data, steps, seed, batch_size, learning_rate):
    """`fit` as a beginner would write it: the whole network on every batch, no short cut."""
    weights = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=1e-4)
    history = []
    network.train()
    for step, rows in enumerate(_run._batches(len(data), batch_size, steps, seed)):
        optimiser.param_groups[0]["lr"] = learning_rate * share(step, steps)
        logits, labels = network(data.images[rows]), data.labels[rows]
        if data.classes:
            loss = torch.nn.functional.cross_entropy(logits, labels)
        else:
            known = labels != UNKNOWN
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits[known], labels[known].float(), reduction="sum"
            ) / len(rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    network.eval()
    return history


@pytest.mark.parametrize("trunk_frozen", [False, True])
@pytest.mark.parametrize("make", [toy, toy_tasks])
def test_fit_does_what_a_plain_loop_does(make, trunk_frozen):
    data, settings = make(), {"steps": 20, "seed": 3, "batch_size": 5, "learning_rate": 0.01}
    plain, ours = build(data, trunk_frozen=trunk_frozen), build(data, trunk_frozen=trunk_frozen)
    losses = plain_loop(plain, data, **settings)
    history = training.fit(ours, data, **settings, **QUICK)
    assert np.allclose(history["loss"], losses, rtol=1e-4, atol=1e-5)
    for name, value in plain.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, rtol=1e-3, atol=1e-4), name


def test_two_runs_of_one_seed_agree_bit_for_bit_and_two_seeds_do_not():
    (one, first), (two, second), (_, third) = trained(), trained(), trained(seed=4)
    assert same(one, two)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert not first["loss"].equals(third["loss"])


def test_training_learns_what_can_be_learned():
    images = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)
    images[::2] = 255
    data = Dataset(images, torch.tensor([1, 0] * 10), classes=("dark", "light"))
    network = build(data)
    history = training.fit(network, data, **RUN | {"steps": 40})
    assert history["loss"].iloc[-1] < 0.2 * history["loss"].iloc[0]
    assert training.evaluate(network, data, "cpu", "float32")["accuracy"].item() == 1


def test_the_history_has_a_row_a_step_and_a_column_a_task():
    _, history = trained()
    assert list(history.columns) == ["loss"]
    assert history.index.tolist() == list(range(12))
    assert history.attrs["interrupted"] is False
    _, history = trained(toy_tasks())
    assert list(history.columns) == ["loss", "car", "sign"]
    assert np.allclose(history["loss"], history["car"] + history["sign"])


def test_the_network_keeps_the_history_of_all_its_training():
    network, first = trained()
    second = training.fit(network, toy(), **RUN | {"steps": 5})
    assert network.history["loss"].tolist() == first["loss"].tolist() + second["loss"].tolist()


def test_the_first_loss_of_a_task_is_the_lectures():
    data = toy_tasks()
    network = build(data)
    network.train()
    with torch.no_grad():
        logits = network(data.images).double()
    _, history = trained(data, batch_size=100, steps=1)
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, data.labels.clamp(min=0).double(), reduction="none"
    )
    want = (each * (data.labels != UNKNOWN)).sum(0) / len(data)
    assert np.allclose(history.loc[0, ["car", "sign"]].astype(float), want, rtol=1e-4)


def test_an_unknown_label_teaches_nothing():
    data = toy_tasks(unknown=0)
    labels = data.labels.clone()
    labels[:, 1] = UNKNOWN
    data = Dataset(data.images, labels, tasks=data.tasks)
    network = build(data)
    before = network.head.weight.detach().clone()
    training.fit(network, data, **RUN)
    # Weight decay shrinks the second row a little; nothing else may touch it.
    turned = torch.nn.functional.cosine_similarity(network.head.weight, before, dim=1)
    assert turned[1].item() == pytest.approx(1, abs=1e-6)
    assert turned[0].item() < 1 - 1e-5


@pytest.mark.parametrize("trunk_frozen", [False, True])
def test_a_separate_network_trains_as_each_part_alone(trunk_frozen):
    data = toy_tasks(m=30)
    together = separate(data.tasks, width=2, channels=1, seed=1)
    alone = [shared([task], width=2, channels=1, seed=derive_seed(1, f"network for {task}"))
             for task in data.tasks]  # fmt: skip
    if trunk_frozen:
        for network in (together, *alone):
            freeze(network.trunk)
    before = training.predict(together, data, "cpu", "float32")
    history = training.fit(together, data, **RUN | {"steps": 40})
    logits = training.predict(together, data, "cpu", "float32")
    assert (logits - before).abs().mean() > 0.05, "nothing was learned"
    for j, (task, network) in enumerate(zip(data.tasks, alone, strict=True)):
        own = Dataset(data.images, data.labels[:, [j]], tasks=[task])
        part = training.fit(network, own, **RUN | {"steps": 40})
        got = training.predict(network, own, "cpu", "float32")
        assert torch.allclose(logits[:, [j]], got, rtol=1e-5, atol=1e-6)
        assert np.allclose(history[task], part["loss"], rtol=1e-5)


def labelled_only(data, j):
    """Task j alone, on the images where somebody has answered it."""
    rows = (data.labels[:, j] != UNKNOWN).nonzero()[:, 0]
    part = data.subset(rows)
    return Dataset(part.images, part.labels[:, [j]], tasks=[data.tasks[j]])


def test_the_gradient_with_unknown_labels_is_that_of_the_labelled_images():
    # In evaluation mode one image does not change what another looks like to the network.
    data = toy_tasks(m=30, unknown=0.5)
    network = separate(data.tasks, width=2, channels=1).double().eval()

    def gradient(loss, part):
        weights = [*network.trunk[part].parameters(), *network.head[part].parameters()]
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    def answer(images):
        return network.head(network.trunk(normalise(images).double()))

    for j in range(2):
        alone = labelled_only(data, j)
        mean = torch.nn.functional.binary_cross_entropy_with_logits(
            answer(alone.images)[:, j], alone.labels[:, 0].double()
        )
        want = len(alone) / len(data) * gradient(mean, j)
        got = gradient(losses.multi_task(answer(data.images), data.labels), j)
        assert 0 < len(alone) < len(data)
        assert want.abs().max() > 1e-3, "a test of zeros"
        assert torch.allclose(got, want, rtol=1e-9, atol=1e-14)


def test_training_with_unknown_labels_is_training_on_the_labelled_images():
    # A frozen trunk's features depend on no other image, whole batches leave nothing to chance,
    # and AdamW does not mind that the lecture's loss divides by all images.
    data = toy_tasks(m=30, unknown=0.5)
    whole = RUN | {"steps": 40, "batch_size": 30}
    network = separate(data.tasks, width=2, channels=1)
    freeze(network.trunk)
    training.fit(network, data, **whole)
    for j, task in enumerate(data.tasks):
        alone = separate([task], width=2, channels=1)
        freeze(alone.trunk)
        before = alone.head[0].weight.clone()
        training.fit(alone, labelled_only(data, j), **whole)
        assert torch.allclose(network.head[j].weight, alone.head[0].weight, rtol=1e-4, atol=1e-5)
        assert (alone.head[0].weight - before).abs().max() > 0.05, "nothing was learned"


def test_fit_leaves_the_data_and_torchs_generator_alone():
    data = toy()
    images, labels = data.images.clone(), data.labels.clone()
    torch.manual_seed(0)
    want = torch.rand(2)
    torch.manual_seed(0)
    trained(data)
    assert torch.equal(torch.rand(2), want)
    assert torch.equal(data.images, images)
    assert torch.equal(data.labels, labels)


def test_fit_and_predict_take_one_thread_and_give_the_others_back(monkeypatch):
    seen, real = [], _fit.step

    def step(*arguments):
        seen.append(torch.get_num_threads())
        return real(*arguments)

    monkeypatch.setattr(_fit, "step", step)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network, _ = trained()
        network.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        training.predict(network, toy(), "cpu", "float32")
        with pytest.raises(ValueError, match="steps"):
            trained(steps=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1] * 13


def test_a_trained_network_is_left_in_evaluation_mode():
    network, _ = trained()
    assert not any(layer.training for layer in network.modules())


def test_a_gradient_may_lie_in_memory_as_it_likes():
    """As those do that other libraries put together from one long vector."""
    data = toy_tasks()
    plain, other = build(data), build(data)
    turned = []

    def backward(terms):
        terms.sum().backward()
        for weight in other.parameters():
            weight.grad = weight.grad.clone(memory_format=torch.contiguous_format)
            turned.append(weight.grad.stride() != weight.stride())

    training.fit(plain, data, **RUN)
    training.fit(other, data, **RUN, backward=backward)
    assert any(turned), "all lay as their weights do"
    for one, same in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)


def test_the_step_goes_down_what_the_backward_pass_gives():
    data = toy_tasks()
    plain, halved, other = (build(data) for _ in range(3))
    training.fit(plain, data, **RUN)
    # AdamW does not see the size of a gradient, only its direction.
    training.fit(halved, data, **RUN, backward=lambda terms: (terms.sum() / 2).backward())
    training.fit(other, data, **RUN, backward=lambda terms: terms[0].backward())
    for name, value in plain.state_dict().items():
        assert torch.allclose(halved.state_dict()[name], value, atol=1e-4), name
    turned = torch.nn.functional.cosine_similarity(other.head.weight, build(data).head.weight)
    assert turned[1].item() == pytest.approx(1, abs=1e-6), "the second task was learned too"
    assert turned[0].item() < 1 - 1e-5


# ---------------------------------------------------------------------- many networks


def together(make=toy_tasks, trunk_frozen=False, vary="images"):
    """Three networks, and for each its own data and seed."""
    if vary == "labels":  # the same pictures, other gaps
        first = make(m=21)
        data = [first, Dataset(first.images, first.labels.flip(0), tasks=first.tasks)]
        data.append(first)
    else:
        data = [make(m=m, seed=m) for m in (21, 13, 4)]  # the last has less than a batch
    return [build(own, seed, trunk_frozen) for seed, own in enumerate(data)], data, [5, 6, 7]


def one_by_one(*arguments):
    networks, data, seeds = together(*arguments)
    histories = [
        training.fit(network, own, **RUN | {"seed": seed})
        for network, own, seed in zip(networks, data, seeds, strict=True)
    ]
    return networks, histories


MANY = {name: value for name, value in RUN.items() if name not in ("seed", "device", "precision")}


@pytest.mark.parametrize("trunk_frozen", [False, True])
@pytest.mark.parametrize(
    ("make", "vary"), [(toy, "images"), (toy_tasks, "images"), (toy_tasks, "labels")]
)
def test_networks_side_by_side_learn_what_each_learns_alone(make, vary, trunk_frozen):
    alone, want = one_by_one(make, trunk_frozen, vary)
    networks, data, seeds = together(make, trunk_frozen, vary)
    settings = {name: MANY[name] for name in ("steps", "batch_size", "learning_rate")}
    place = training.machine("cpu", "float32")
    histories = side_by_side(networks, data, seeds, place, False, settings)
    for network, other, history, expected in zip(networks, alone, histories, want, strict=True):
        pd.testing.assert_frame_equal(history, expected, rtol=1e-3, atol=1e-4)
        assert history.attrs == expected.attrs
        assert network.history.attrs == other.history.attrs
        for name, value in other.state_dict().items():
            assert torch.allclose(network.state_dict()[name], value, rtol=1e-2, atol=1e-3), name
        assert not any(layer.training for layer in network.modules())
        if trunk_frozen:
            assert same(network.trunk, other.trunk), "a frozen trunk moved"


def test_images_that_networks_share_lie_on_the_device_once():
    one, other = torch.arange(5), torch.arange(5, 8)
    together, first = _run._end_to_end([one, other, one], torch.device("cpu"))
    assert torch.equal(together, torch.arange(8))
    assert first.tolist() == [[0], [5], [0]]


def test_on_a_cpu_many_networks_learn_bit_for_bit_what_each_learns_alone():
    alone, want = one_by_one()
    networks, data, seeds = together()
    histories = training.fit_many(
        networks, data, seeds=seeds, device="cpu", precision="float32", **MANY
    )
    for network, other, history, expected in zip(networks, alone, histories, want, strict=True):
        assert same(network, other)
        pd.testing.assert_frame_equal(history, expected, check_exact=True)
        assert history.attrs == expected.attrs
        assert network.history.attrs == other.history.attrs
        again = training.fit(network, data[0], **RUN)
        assert len(network.history) == len(history) + len(again), "the earlier run was forgotten"


def test_one_dataset_serves_all_networks():
    data = toy()
    networks = [build(data, seed) for seed in range(2)]
    training.fit_many(networks, data, seeds=[1, 2], device="cpu", **MANY)
    for seed, network in enumerate(networks):
        other = build(data, seed)
        training.fit(other, data, **RUN | {"seed": seed + 1, "precision": None})
        assert same(network, other)


def test_fit_many_names_what_does_not_fit_together():
    data, wide = toy(), classifier(toy(), width=3)
    one, two = build(data), build(data, seed=1)
    with pytest.raises(ValueError, match="2 networks, 2 datasets and 1 seeds"):
        training.fit_many([one, two], data, seeds=[0], **MANY)
    with pytest.raises(ValueError, match="0 networks"):
        training.fit_many([], data, seeds=[], **MANY)
    for other in (wide, build(data, trunk_frozen=True)):
        with pytest.raises(ValueError, match="networks must have the same layers"):
            training.fit_many([one, other], data, seeds=[0, 1], **MANY)
    with pytest.raises(ValueError, match="network answers a, b, c"):
        training.fit_many([one, two], [data, toy(classes="xyz")], seeds=[0, 1], **MANY)
    with pytest.raises(ValueError, match="steps"):
        training.fit_many([one], data, seeds=[0], **MANY | {"steps": 0})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("trunk_frozen", [False, True])
@pytest.mark.parametrize("make", [toy, toy_tasks])
def test_a_gpu_learns_what_the_cpu_learns(make, trunk_frozen):
    """A recorded step, of one network and of many, against the plain steps of the CPU."""
    alone, want = one_by_one(make, trunk_frozen)
    networks, data, seeds = together(make, trunk_frozen)
    settings = {"seeds": seeds, "device": "cuda", "precision": "float32", **MANY}
    histories = training.fit_many(networks, data, **settings)
    single, _, _ = together(make, trunk_frozen)
    recorded = training.fit(single[0], data[0], **RUN | {"seed": seeds[0], "device": "cuda"})
    pd.testing.assert_frame_equal(recorded, want[0], rtol=1e-2, atol=1e-3)
    for network, other, history, expected in zip(networks, alone, histories, want, strict=True):
        pd.testing.assert_frame_equal(history, expected, rtol=1e-2, atol=1e-3)
        for name, value in other.state_dict().items():
            here = network.state_dict()[name].cpu()
            assert torch.allclose(here, value, rtol=5e-2, atol=1e-2), name


# ---------------------------------------------------------------------- batches and schedule


@pytest.mark.parametrize(("m", "size"), [(10, 3), (10, 5), (7, 7), (5, 4), (1, 1)])
def test_every_epoch_visits_every_image_once(m, size):
    steps = 3 * m  # a whole number of epochs
    batches = _run._batches(m, size, steps, 1)
    assert batches.shape == (steps, size)
    visits = batches.reshape(-1, m)  # (epochs, m)
    assert (visits.sort(dim=1).values == torch.arange(m)).all()
    if m > 4:
        assert len({tuple(epoch) for epoch in visits.tolist()}) > 1, "every epoch in one order"


def test_batches_depend_on_the_seed_and_not_on_how_many_are_asked_for():
    assert torch.equal(_run._batches(10, 4, 15, 1), _run._batches(10, 4, 40, 1)[:15])
    assert not torch.equal(_run._batches(10, 4, 15, 1), _run._batches(10, 4, 15, 2))


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_the_learning_rate_goes_up_and_then_down_to_almost_0(steps):
    rates = [_run._schedule(step, steps) for step in range(steps)]
    assert max(rates) == 1
    assert min(rates) > 0, "a step that learns nothing"
    top = rates.index(1)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates == pytest.approx([share(step, steps) for step in range(steps)])


# ---------------------------------------------------------------------- when something goes wrong


def test_ctrl_c_keeps_the_network_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(_fit, "step", Interrupt(7))
    network, history = trained()
    monkeypatch.undo()
    assert "Interrupted after 7 of 12 steps" in caplog.text
    assert history.attrs["interrupted"] is True
    assert network.history.attrs["interrupted"] is True
    assert len(history) == 7
    _, whole = trained()
    assert history["loss"].tolist() == whole["loss"].tolist()[:7]
    assert not any(layer.training for layer in network.modules())


def test_ctrl_c_before_the_first_step_leaves_the_network_as_it_was(monkeypatch):
    monkeypatch.setattr(_fit, "step", Interrupt(0))
    network, history = trained()
    assert len(history) == 0
    assert same(network, build(toy()))


def test_a_loss_that_is_not_finite_names_the_step_and_what_to_do(monkeypatch):
    real, calls = _fit.step, []

    def step(run):
        calls.append(1)
        real(run)
        if len(calls) - 1 >= 6:
            run.losses[run.done - 1] = float("nan")

    monkeypatch.setattr(_fit, "step", step)
    with pytest.raises(FloatingPointError, match=r"step 6\b.*softmax.*learning_rate below 0\.01"):
        trained()


def test_a_loss_that_is_not_finite_names_the_task(monkeypatch):
    real = _fit.step

    def step(run):
        real(run)
        run.losses[run.done - 1, 1] = float("inf")

    monkeypatch.setattr(_fit, "step", step)
    with pytest.raises(FloatingPointError, match=r"inf at step 0.*task 'sign'"):
        trained(toy_tasks())


def test_a_loss_that_is_not_finite_is_found_at_its_step_after_many(monkeypatch):
    real, calls = _fit.step, []

    def step(run):
        calls.append(1)
        real(run)
        run.losses[17] *= float("nan")

    monkeypatch.setattr(_fit, "step", step)
    monkeypatch.setattr(_fit, "_READ_EVERY", 5)
    with pytest.raises(FloatingPointError, match=r"step 17\b"):
        trained(steps=40)
    assert len(calls) == 20, "training went on after the next look at the loss"


def test_weights_that_are_not_finite_stop_training_for_real():
    data = toy()
    network = build(data)
    with torch.no_grad():
        network.head.bias.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="step 0"):
        training.fit(network, data, **RUN)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"seed": -1}, "seed"),
        ({"device": "abacus"}, "device.*abacus"),
        ({"precision": "float16"}, "precision.*float16"),
    ],
)
def test_fit_names_the_argument_that_is_wrong(settings, word):
    network = build(toy())
    with pytest.raises(ValueError, match=word):
        training.fit(network, toy(), **RUN | settings)
    assert same(network, build(toy())), "a refused run changed the network"


def test_fit_refuses_what_cannot_be_learned():
    network = build(toy())
    with pytest.raises(ValueError, match=r"network answers a, b, c.*x, y, z.*new_head"):
        training.fit(network, toy(classes="xyz"), **RUN)
    with pytest.raises(ValueError, match=r"1 channels.*3"):
        training.fit(network, toy(channels=3), **RUN)
    with pytest.raises(ValueError, match="frozen"):
        training.fit(freeze(network), toy(), **RUN)
    nothing = toy_tasks(unknown=2)
    with pytest.raises(ValueError, match="UNKNOWN"):
        training.fit(build(nothing), nothing, **RUN)


# ---------------------------------------------------------------------- evaluate and predict


def test_evaluate_agrees_with_sklearn():
    network, _ = trained()
    data = toy(m=40, seed=9)
    table = training.evaluate(network, data, "cpu", "float32")
    with torch.no_grad():
        logits = network(data.images)
    probability = logits.double().softmax(dim=1).numpy()
    labels = data.labels.numpy()
    assert table.index.tolist() == ["class"]
    assert list(table.columns) == ["labelled", "accuracy", "loss"]
    assert table["labelled"].item() == 40
    want = sklearn.metrics.accuracy_score(labels, probability.argmax(axis=1))
    assert table["accuracy"].item() == pytest.approx(want)
    assert 0 < want < 1, "the test would not see a wrong accuracy"
    want = sklearn.metrics.log_loss(labels, probability)
    assert table["loss"].item() == pytest.approx(want, rel=1e-5)


def test_evaluate_of_tasks_looks_at_known_labels_only():
    network, _ = trained(toy_tasks())
    data = toy_tasks(m=40, seed=9)
    table = training.evaluate(network, data, "cpu", "float32")
    with torch.no_grad():
        probability = torch.sigmoid(network(data.images).double()).numpy()
    assert table.index.tolist() == ["car", "sign"]
    assert table.index.name == "task"
    assert list(table.columns) == [*SCORES]
    for j, task in enumerate(data.tasks):
        known = (data.labels[:, j] != UNKNOWN).numpy()
        truth, believed = data.labels[:, j].numpy()[known], probability[known, j]
        assert 0 < known.sum() < 40
        row = table.loc[task]
        assert row["labelled"] == known.sum()
        accuracy = sklearn.metrics.accuracy_score(truth, believed > 0.5)
        assert row["accuracy"] == pytest.approx(accuracy)
        loss = sklearn.metrics.log_loss(truth, believed, labels=[0, 1])
        assert row["loss"] == pytest.approx(loss, rel=1e-5)
        assert row["positive"] == pytest.approx(truth.mean())
        auc, precision = area_and_precision(believed, truth)
        assert row["auc"] == pytest.approx(auc, rel=1e-5)
        assert row["average_precision"] == pytest.approx(precision, rel=1e-5)


SCORES = ("labelled", "positive", "accuracy", "auc", "average_precision", "loss")


@pytest.mark.parametrize(
    ("labels", "scored"),
    [
        ([UNKNOWN] * 4, ["labelled"]),
        ([1, UNKNOWN, 1, 1], ["labelled", "positive", "accuracy", "average_precision", "loss"]),
        ([0, UNKNOWN, 0, 0], ["labelled", "positive", "accuracy", "loss"]),
        ([1, UNKNOWN, UNKNOWN, 0], SCORES),
    ],
)
def test_what_cannot_be_scored_is_nan(labels, scored):
    both = torch.tensor([labels, [0, 1, 1, 0]], dtype=torch.int8).T
    data = Dataset(toy(4).images, both, tasks=("car", "sign"))
    table = training.evaluate(build(data), data, "cpu", "float32")
    assert [name for name in table if table[name].notna()["car"]] == list(scored)
    assert table.loc["car", "labelled"] == 4 - labels.count(UNKNOWN)
    assert table.loc["sign"].notna().all()


def area_and_precision(scores, truth):
    """Both written out: pairs that stand in the right order, and precision at each hit."""
    ones, zeros = scores[truth == 1], scores[truth == 0]
    pairs = ones[:, None] - zeros[None]
    area = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    precision = 0.0
    for score in np.unique(ones):  # whatever has this score is found at once
        hits = (ones == score).sum()
        precision += hits / len(ones) * (ones >= score).sum() / (scores >= score).sum()
    return area, precision


# Ties, and pairs that a sigmoid would make ties; values in [0, 1] and outside it; infinity.
@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
def test_rankings_are_those_of_the_formulas_at_any_size_of_the_logits(scale):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(300, 3, generator=generator, dtype=torch.float64)
    logits[:, 1] = logits[:, 1].abs().mul(3 / scale).round()
    logits[0, 2] = float("inf")
    labels = torch.randint(-1, 2, (300, 3), generator=generator, dtype=torch.int8)
    for column, truth in zip(logits.T, labels.T, strict=True):
        scores = evaluation._scores(column, truth, loss=0.0)
        known = truth != UNKNOWN
        column = column[known].nan_to_num(posinf=1e300).numpy()
        area, mean = area_and_precision(column, truth[known].numpy())
        assert scores["auc"] == pytest.approx(area, rel=1e-9)
        assert scores["average_precision"] == pytest.approx(mean, rel=1e-9)


def test_evaluate_scores_the_whole_set_and_not_a_mean_of_batches(monkeypatch):
    network, _ = trained(toy_tasks())
    data = toy_tasks(m=41, seed=9)
    want = training.evaluate(network, data, "cpu", "float32")
    monkeypatch.setattr(evaluation, "_PIXELS", 3 * 64)
    got = training.evaluate(network, data, "cpu", "float32")
    pd.testing.assert_frame_equal(got, want, rtol=1e-4)


def test_a_network_that_broke_has_no_ranking():
    data = toy_tasks()
    network = build(data)
    with torch.no_grad():
        network.head.bias[0] = float("nan")
    table = training.evaluate(network, data, "cpu", "float32")
    assert table.loc["car", ["auc", "average_precision", "loss"]].isna().all()
    assert table.loc["sign"].notna().all()


def test_predict_goes_through_the_data_in_order(monkeypatch):
    network, _ = trained()
    data = toy(m=11)
    with torch.no_grad():
        want = network(data.images)
    monkeypatch.setattr(evaluation, "_PIXELS", 4 * 64)
    got = training.predict(network, data, "cpu", "float32")
    assert got.dtype == torch.float32
    assert torch.allclose(got, want, atol=1e-5)


def test_evaluate_changes_nothing():
    network, _ = trained()
    other, _ = trained()
    training.evaluate(network, toy(m=40, seed=9), "cpu", "float32")
    assert same(network, other)


def test_evaluate_refuses_data_with_other_names():
    network = build(toy())
    with pytest.raises(ValueError, match="network answers"):
        training.evaluate(network, toy(classes="xyz"))
    with pytest.raises(ValueError, match="1 channels"):
        training.evaluate(network, toy(channels=3))


# ---------------------------------------------------------------------- checkpoints


@pytest.fixture
def often(monkeypatch):
    """A checkpoint every 4 steps."""
    monkeypatch.setattr(_fit, "_READ_EVERY", 2)
    monkeypatch.setattr(_fit, "_SAVE_EVERY", 4)


@pytest.mark.parametrize("trunk_frozen", [False, True])
@pytest.mark.parametrize("make", [toy, toy_tasks])
@pytest.mark.parametrize("at", [3, 4, 10])
def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(
    tmp_path, monkeypatch, often, make, trunk_frozen, at
):
    data, file = make(), tmp_path / "run.pt"
    whole, history = trained(data, trunk_frozen)
    with monkeypatch.context() as patch:
        patch.setattr(_fit, "step", Interrupt(at))
        trained(data, trunk_frozen, checkpoint=file)
    assert file.exists() == (at >= 4)
    counted = Interrupt(100)
    monkeypatch.setattr(_fit, "step", counted)
    resumed, again = trained(data, trunk_frozen, checkpoint=file)
    assert 100 - counted.left == 12 - at // 4 * 4, "steps were trained again, or left out"
    assert same(resumed, whole)
    pd.testing.assert_frame_equal(again, history, check_exact=True)
    assert again.attrs == history.attrs
    assert again.attrs["interrupted"] is False


def test_the_network_that_was_interrupted_can_go_on_itself(tmp_path, monkeypatch, often):
    # What a student does: press stop, then run the same cell again.
    data, file = toy_tasks(), tmp_path / "run.pt"
    whole, _ = trained(data)
    network = build(data)
    with monkeypatch.context() as patch:
        patch.setattr(_fit, "step", Interrupt(10))
        training.fit(network, data, **RUN, checkpoint=file)
    training.fit(network, data, **RUN, checkpoint=file)
    assert same(network, whole)
    assert network.history["loss"].tolist() == whole.history["loss"].tolist(), (
        "steps that were trained again are in the history twice"
    )
    assert network.history.attrs == whole.history.attrs


def test_a_checkpoint_after_250_steps_is_written_without_asking(tmp_path, monkeypatch):
    whole, _ = trained(steps=260, batch_size=2)
    with monkeypatch.context() as patch:
        patch.setattr(_fit, "step", Interrupt(255))
        trained(steps=260, batch_size=2, checkpoint=tmp_path / "run.pt")
    resumed, history = trained(steps=260, batch_size=2, checkpoint=tmp_path / "run.pt")
    assert same(resumed, whole)
    assert len(history) == 260


def test_a_checkpoint_changes_nothing_and_a_finished_run_is_not_trained_again(
    tmp_path, monkeypatch, often
):
    file = tmp_path / "deep" / "run.pt"
    plain, history = trained()
    first, _ = trained(checkpoint=file)
    assert same(first, plain)
    monkeypatch.setattr(_fit, "step", lambda run: pytest.fail("it was trained again"))
    second, again = trained(checkpoint=file)
    assert same(second, plain)
    pd.testing.assert_frame_equal(again, history, check_exact=True)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"steps": 13}, "steps"),
        ({"seed": 4}, "seed"),
        ({"batch_size": 6}, "batch_size"),
        ({"learning_rate": 0.02}, "learning_rate"),
        ({"data": toy(seed=1)}, "data"),
        ({"data": toy(m=14)}, "images"),
        ({"trunk_frozen": True}, "trains"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, settings, word):
    file = tmp_path / "run.pt"
    trained(checkpoint=file)
    with pytest.raises(ValueError, match=rf"run\.pt is of another run \(look at .*{word}"):
        trained(checkpoint=file, **settings)


def test_a_saved_network_comes_back_bit_for_bit(tmp_path):
    network, _ = trained()
    training.save(network, tmp_path / "network.pt")
    other = build(toy(), seed=5)
    assert not same(other, network)
    assert training.load(other, tmp_path / "network.pt") is other
    assert same(other, network)


@pytest.mark.parametrize("make", [shared, separate])
def test_a_saved_network_of_tasks_comes_back_bit_for_bit(tmp_path, make):
    data = toy_tasks()
    network, other = (make(data.tasks, width=2, channels=1, seed=seed) for seed in (0, 1))
    training.fit(network, data, **RUN, checkpoint=tmp_path / "run.pt")
    training.save(network, tmp_path / "network.pt")
    for file in ("run.pt", "network.pt"):
        assert same(training.load(other, tmp_path / file), network)
        other = make(data.tasks, width=2, channels=1, seed=1)
    with pytest.raises(ValueError, match=r"another network .*names"):
        training.load(make(data.tasks[::-1], width=2, channels=1), tmp_path / "network.pt")


def test_a_checkpoint_of_a_run_can_be_loaded_as_a_network(tmp_path):
    network, _ = trained(checkpoint=tmp_path / "run.pt")
    assert same(training.load(build(toy(), seed=5), tmp_path / "run.pt"), network)


def test_a_saved_network_is_no_run_to_go_on_from(tmp_path):
    network, _ = trained()
    training.save(network, tmp_path / "network.pt")
    with pytest.raises(ValueError, match="finished network, not a run"):
        trained(checkpoint=tmp_path / "network.pt")


def test_a_network_of_other_layers_or_names_is_refused(tmp_path):
    network, _ = trained()
    training.save(network, tmp_path / "network.pt")
    wider = classifier(toy(), width=3)
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    with pytest.raises(ValueError, match=r"network\.pt is of another network .*layer"):
        training.load(wider, tmp_path / "network.pt")
    assert all(torch.equal(before[name], value) for name, value in wider.state_dict().items())
    with pytest.raises(ValueError, match=r"another network .*names"):
        training.load(build(toy(classes="xyz")), tmp_path / "network.pt")


FIT_WITH_A_CHECKPOINT = """import sys
from mtl_course import datasets, networks, training
data = datasets.handwritten_digits().train
network = networks.classifier(data, width=2)
training.fit(network, data, steps=10**6, seed=0, checkpoint=sys.argv[1], progress=False)
"""


def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(tmp_path):
    file = str(tmp_path / "disk" / "run.pt")
    done = python_on_disk(tmp_path / "disk", "-c", FIT_WITH_A_CHECKPOINT, file)
    assert "choose another path for the checkpoint" in done.stderr.splitlines()[-1]


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        training.load(build(toy()), tmp_path / "nowhere.pt")


class Evil:
    """Unpickling it calls a function: what weights_only is there to stop."""

    called = False

    def __reduce__(self):
        return (_burgle, ())


def _burgle():
    Evil.called = True
    return 0


def damaged(file):
    training.save(build(toy()), file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


FOREIGN = {
    "a file cut in half": (damaged, "damaged"),
    "text": (lambda file: file.write_text("not a checkpoint"), "damaged"),
    "nothing": (lambda file: file.write_bytes(b""), "damaged"),
    "a pickle": (lambda file: file.write_bytes(pickle.dumps({"a": 1})), "run|damaged|not written"),
    "other tensors": (lambda file: torch.save({"a": torch.ones(1)}, file), "not written by"),
    "a list": (lambda file: torch.save([1, 2], file), "not written by"),
    "a pickled object": (lambda file: torch.save({"format": Evil()}, file), "damaged"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, kind):
    write, word = FOREIGN[kind]
    file = tmp_path / "odd.pt"
    write(file)
    content = file.read_bytes()
    network = build(toy())
    for use in (
        lambda: training.load(network, file),
        lambda: training.fit(network, toy(), **RUN, checkpoint=file),
    ):
        with pytest.raises(ValueError, match=rf"odd\.pt.*({word})"):
            use()
    assert not Evil.called, "reading a checkpoint ran code from it"
    assert same(network, build(toy()))
    assert file.read_bytes() == content, "a file that is not ours was overwritten"


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    network, _ = trained()
    file = tmp_path / "network.pt"
    training.save(network, file)
    content = file.read_bytes()

    def half(target, content):
        with target.open("wb") as there:
            there.write(content[: len(content) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space"):
        training.save(build(toy(), seed=5), file)
    assert file.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["network.pt"]


# ---------------------------------------------------------------------- device and precision


def test_float32_is_the_default_and_bfloat16_is_asked_for():
    place = training.machine("cpu")
    assert (place.device.type, place.precision) == ("cpu", "float32")
    assert place.reason.startswith("as asked; float32 so that rows of all machines")
    asked = training.machine("cpu", "bfloat16")
    assert (asked.precision, asked.reason) == ("bfloat16", "as asked; bfloat16 on request")


def test_without_a_gpu_the_cpu_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    place = training.machine()
    assert place.device.type == "cpu"
    assert "no GPU here" in place.reason
    with pytest.raises(ValueError, match=r"'cuda' is not on this machine, which has: cpu\."):
        training.machine("cuda")


def test_with_a_gpu_the_gpu_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    place = training.machine()
    assert (place.device.type, place.precision) == ("cuda", "float32")
    with pytest.raises(ValueError, match="'cuda:1' is not on this machine"):
        training.machine("cuda:1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'cuda' is not on this machine"):
        training.fit(build(toy()), toy(), **RUN | {"device": "cuda"})


@pytest.mark.parametrize("device", ["abacus", "cpu:x", "meta", "xpu"])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(ValueError, match=device):
        training.machine(device)


@pytest.mark.parametrize("precision", ["float16", "bf16", "", 32])
def test_an_unknown_precision_is_refused(precision):
    with pytest.raises(ValueError, match="precision must be"):
        training.machine("cpu", precision)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_network_comes_back_as_it_lay_in_memory(layout):
    data = toy(channels=3)
    network = classifier(data, width=2).to(memory_format=layout)
    weights = list(network.parameters())

    def strides():
        return [tensor.stride() for tensor in network.state_dict().values()]

    before = strides()
    training.fit(network, data, **RUN)
    training.evaluate(network, data, "cpu")
    analysis.similarity(network, network, data)
    assert strides() == before
    assert all(now is then for now, then in zip(network.parameters(), weights, strict=True))


def test_a_network_that_two_borrow_goes_home_when_the_last_is_done():
    network, first, second = build(toy(channels=3)), threading.Event(), threading.Event()
    before, inside = network.trunk[0][0].weight.stride(), []

    def other():
        with devices.borrowed(network, torch.device("cpu")):
            first.set()
            second.wait(600)
            inside.append(network.trunk[0][0].weight.stride())

    thread = threading.Thread(target=other)
    with devices.borrowed(network, torch.device("cpu")):
        thread.start()
        first.wait(600)
    second.set()
    thread.join()
    assert inside != [before], "it went home while somebody still had it"
    assert network.trunk[0][0].weight.stride() == before
    assert not devices._loans


def test_a_network_that_cannot_be_borrowed_stays_where_it_is(monkeypatch):
    network = build(toy())
    monkeypatch.setattr(network, "to", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError), devices.borrowed(network, torch.device("cpu")):
        pass
    assert not devices._loans


def test_a_checkpoint_of_another_device_is_gone_on_with(tmp_path):
    """One that CUDA wrote says "capturable", which a CPU cannot do, and the other way round."""
    file, data = tmp_path / "run.pt", toy()
    part = build(data)
    training.fit(part, data, **RUN, checkpoint=file)
    state = torch.load(file, weights_only=True)
    state["optimizer"]["param_groups"][0]["capturable"] = True
    state["losses"] = state["losses"][:6]
    torch.save(state, file)
    settings = {name: RUN[name] for name in ("steps", "batch_size", "learning_rate")}
    works = [(part, data, RUN["seed"])]
    run = _run.Run(works, training.machine("cpu"), training.sum_backward, settings)
    run.resume(file)
    assert run.done == 6
    assert run.optimizer.param_groups[0]["capturable"] is False
    _fit.step(run)
    assert run.done == 7


def test_a_network_that_answered_in_inference_mode_can_still_learn():
    network, data = build(toy(channels=3)), toy(channels=3)
    with torch.inference_mode():
        training.predict(network, data, "cpu")
    training.fit(network, data, **RUN)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_switched_off_training_says_so(off):
    network = build(toy())
    with off(), pytest.raises(ValueError, match="gradients are switched off here"):
        training.fit(network, toy(), **RUN)
    with off(), pytest.raises(ValueError, match="gradients are switched off here"):
        training.fit_many([network], toy(), seeds=[0], device="cpu", **MANY)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64")
def test_under_another_default_dtype_training_says_what_to_do():
    with pytest.raises(ValueError, match=r"torch\.set_default_dtype\(torch\.float32\) first"):
        build(toy())
    torch.set_default_dtype(torch.float32)
    network = build(toy())
    torch.set_default_dtype(torch.float64)
    with pytest.raises(ValueError, match=r"default dtype is torch\.float64"):
        training.fit(network, toy(), **RUN)


def test_under_another_default_device_all_is_as_without_it():
    data = toy()
    want, history = trained(data)
    with torch.device("meta"):
        network, found = trained(data)
        scores = training.evaluate(network, data, "cpu")
    pd.testing.assert_frame_equal(found, history, check_exact=True)
    pd.testing.assert_frame_equal(scores, training.evaluate(want, data, "cpu"))
    assert same(network, want)


# ---------------------------------------------------------------------- a trunk of any kind


def perceptron(data, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(data.images[0].numel(), 8), nn.ReLU()]
    return Network(nn.Sequential(*layers), nn.Linear(8, len(data.names)), data.names)


def test_a_multilayer_perceptron_learns_as_a_plain_loop_teaches_it():
    data, other = toy_tasks(), toy_tasks()
    network, plain = perceptron(data), perceptron(other)
    losses = training.fit(network, data, **RUN)["loss"]
    settings = {name: RUN[name] for name in ("steps", "seed", "batch_size", "learning_rate")}
    assert np.allclose(losses, plain_loop(plain, other, **settings), rtol=1e-4)
    assert training.evaluate(network, data, "cpu")["accuracy"].between(0, 1).all()


@pytest.mark.parametrize("how", transfer.WAYS)
def test_a_multilayer_perceptron_is_adapted_in_every_way(how):
    source = perceptron(toy())
    target = transfer.adapt(source, toy_tasks(), how, steps=4, seed=0, device="cpu", progress=False)
    moved = not torch.equal(target.trunk[1].weight, source.trunk[1].weight)
    assert moved == (how != "new head")
    assert len(training.evaluate(target, toy_tasks(), "cpu")) == 2


def test_a_trunk_that_does_not_take_the_images_is_refused():
    network = perceptron(toy())
    with pytest.raises(ValueError, match=r"network does not take images of \(3, 8, 8\)"):
        training.fit(network, toy(channels=3), **RUN)
    network.trunk.pop(0)
    with pytest.raises(ValueError, match="network does not take images"):
        training.evaluate(network, toy())
    network = classifier(toy(channels=3), width=2)
    network.trunk.pop(-1)  # the row of features
    with pytest.raises(ValueError, match="network does not take images"):
        training.fit(network, toy(channels=3), **RUN)
    network = Network(nn.Identity(), nn.Linear(8, 3), ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"for one image it gave \(1, 1, 8, 3\): .* nn.Flatten"):
        training.fit(network, toy(), **RUN)


# ---------------------------------------------------------------------- the first training

FIRST = """
import signal, sys, threading, time
from mtl_course import datasets, networks, training

data = datasets.handwritten_digits().train
network = networks.classifier(data, width=2)
assert "torch._dynamo" not in sys.modules, "somebody else has imported it: the test tests nothing"
threading.Timer(float(sys.argv[1]), signal.raise_signal, [signal.SIGINT]).start()
stopped = False
try:
    history = training.fit(network, data, steps=10**6, seed=0, device="cpu", progress=False)
    stopped = history.attrs["interrupted"]
except KeyboardInterrupt:
    stopped = True
assert stopped
assert len(training.fit(network, data, steps=3, seed=0, device="cpu", progress=False)) == 3
"""


@pytest.mark.parametrize("after", [0.2, 0.5, 1, 2])
def test_an_interrupt_of_the_first_training_leaves_a_python_that_still_works(after):
    done = subprocess.run(
        [sys.executable, "-c", FIRST, str(after)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_the_first_training_says_what_it_waits_for():
    code = FIRST.split("threading.Timer")[0]
    code += "training.fit(network, data, steps=1, seed=0, device='cpu')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "preparing torch, once in each session" in done.stderr


def test_bfloat16_is_what_the_forward_pass_runs_in():
    network, data = build(toy()), toy()
    low = training.predict(network, data, "cpu", "bfloat16")
    high = training.predict(network, data, "cpu", "float32")
    assert low.dtype == torch.float32
    assert torch.equal(low, low.bfloat16().float()), "the answers were not bfloat16"
    assert not torch.equal(low, high)
    assert torch.allclose(low, high, atol=0.05)
