"""Guards mtl_course.training._side_by_side: networks in one pass learn what each learns alone."""

import logging

import pandas as pd
import pytest
import torch
from torch import nn

from mtl_course import training
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.networks import Network, classifier, freeze, new_head, separate, shared, signature
from mtl_course.studies._together import _Call, _kind
from mtl_course.training import _fit, _many
from mtl_course.training._side_by_side import SideBySide, groupable

TASKS = ("car", "sign", "light")
RUN = {"steps": 5, "batch_size": 6, "learning_rate": 3e-3}


def pictures(m, seed, channels=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (m, channels, 12, 12), generator=generator, dtype=torch.uint8)


def with_tasks(m=13, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (m, len(TASKS)), generator=generator, dtype=torch.int8)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = UNKNOWN
    return Dataset(pictures(m, seed), labels, tasks=TASKS)


def with_classes(m=13, seed=0):
    return Dataset(pictures(m, seed), torch.arange(m) % 3, classes=("a", "b", "c"))


def perceptron(seed, inputs=3 * 12 * 12):
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(inputs, 6), nn.ReLU(), nn.Linear(6, 4, bias=False), nn.ReLU()]
    return Network(nn.Sequential(*layers), nn.Linear(4, 3), ("a", "b", "c"))


def first_block_frozen(seed):
    network = classifier(with_classes(), width=2, seed=seed)
    freeze(network.trunk[0])
    return network


def trunk_frozen(network):
    freeze(network.trunk)
    return network


def statistics_only(seed):
    """What freezing by hand gives: weights that stand still, and statistics that move."""
    network = classifier(with_classes(), width=2, seed=seed)
    network.trunk[0][1].weight.requires_grad_(False)
    return network


def convolutions(seed):
    """A student's own trunk, of layers that are known in another order and with other settings."""
    torch.manual_seed(seed)
    trunk = nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.BatchNorm2d(4, eps=1e-3, momentum=0.3),
        nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return Network(trunk, nn.Linear(4, 3), ("a", "b", "c"))


KINDS = {
    "classifier": (lambda seed: classifier(with_classes(), width=2, seed=seed), with_classes),
    "shared": (lambda seed: shared(TASKS, width=2, seed=seed), with_tasks),
    "separate": (lambda seed: separate(TASKS, width=2, seed=seed), with_tasks),
    "separate, trunks frozen": (
        lambda seed: trunk_frozen(separate(TASKS, width=2, seed=seed)),
        with_tasks,
    ),
    "separate, one new head": (
        lambda seed: new_head(separate(TASKS, width=2, seed=seed), with_classes(), seed),
        with_classes,
    ),
    "trunk frozen": (lambda seed: trunk_frozen(shared(TASKS, width=2, seed=seed)), with_tasks),
    "first block frozen": (first_block_frozen, with_classes),
    "a weight frozen by hand": (statistics_only, with_classes),
    "a multilayer perceptron": (perceptron, with_classes),
    "own convolutions": (convolutions, with_classes),
}


def side_by_side(networks, data, seeds, precision="float32"):
    """What `fit_many` does on a GPU, on the CPU."""
    machine, works = training.machine("cpu", precision), [*zip(networks, data, seeds, strict=True)]
    return _many._in_groups(works, machine, RUN, False, together=True)


def train_each(kind, precision):
    """Three networks of a kind, one after another and side by side, with data of their own."""
    build, make = KINDS[kind]
    data, seeds = [make(m, seed=m) for m in (21, 13, 4)], [5, 6, 7]  # the last: less than a batch
    alone, together = ([build(seed) for seed in range(3)] for _ in range(2))
    device = {"device": "cpu", "precision": precision}
    want = [
        training.fit(network, own, seed=seed, progress=False, **RUN, **device)
        for network, own, seed in zip(alone, data, seeds, strict=True)
    ]
    found = side_by_side(together, data, seeds, precision)
    return alone, together, want, found


@pytest.mark.parametrize("kind", KINDS)
def test_networks_in_one_pass_learn_what_each_learns_alone(kind):
    alone, together, want, found = train_each(kind, "float32")
    for network, other, history, expected in zip(together, alone, found, want, strict=True):
        pd.testing.assert_frame_equal(history, expected, rtol=1e-4, atol=1e-5)
        for name, value in other.state_dict().items():
            assert torch.allclose(network.state_dict()[name], value, rtol=1e-3, atol=1e-4), name


def moved(network, start):
    """How training has changed the weights that it trains, end to end."""
    pairs = zip(network.parameters(), start.parameters(), strict=True)
    return torch.cat([(a - b).detach().flatten() for a, b in pairs if a.requires_grad])


@pytest.mark.parametrize("kind", KINDS)
def test_they_do_so_in_bfloat16_too(kind):
    alone, together, want, found = train_each(kind, "bfloat16")
    build, _ = KINDS[kind]
    for seed, (network, other) in enumerate(zip(together, alone, strict=True)):
        pd.testing.assert_frame_equal(found[seed], want[seed], rtol=0.03, atol=0.03)
        # Where a gradient is all rounding, AdamW's step may go either way; most are not.
        here, there = moved(network, build(seed)), moved(other, build(seed))
        assert torch.cosine_similarity(here, there, dim=0) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_part_stays_bit_for_bit(kind):
    build, _ = KINDS[kind]
    before = [build(seed) for seed in range(3)]
    _, together, _, _ = train_each(kind, "float32")
    for network, old in zip(together, before, strict=True):
        for name, weight in network.named_parameters():
            same = torch.equal(weight, old.get_parameter(name))
            assert same or weight.requires_grad, f"{name} is frozen, and moved"
            assert not same or not weight.requires_grad or "trunk" in name, f"{name} did not learn"


@pytest.mark.parametrize("kind", KINDS)
def test_the_answers_of_all_are_those_of_each(kind):
    build, make = KINDS[kind]
    networks = [build(seed).eval() for seed in range(3)]
    images = torch.stack([make(5, seed=seed).images for seed in range(3)])
    with torch.no_grad():
        want = torch.stack([n(own) for n, own in zip(networks, images, strict=True)])
        assert torch.allclose(SideBySide(networks)(images), want, atol=1e-5)


def test_each_of_the_courses_networks_goes_together():
    for name, (build, _) in KINDS.items():
        assert groupable(build(0)), name
        assert groupable(build(0).head), name


class Own(nn.Sequential):
    """A trunk with a forward pass of its own."""

    def forward(self, images):
        return super().forward(images).square()


def altered(change):
    network = classifier(with_classes(), width=2)
    change(network)
    return network


UNKNOWN_KINDS = {
    "dropout": lambda n: n.trunk.insert(1, nn.Dropout(0.5)),
    "another normalization": lambda n: n.trunk.insert(1, nn.GroupNorm(1, 2)),
    "a cumulative average": lambda n: setattr(n.trunk[0][1], "momentum", None),
    "a forward pass of its own": lambda n: setattr(n, "trunk", Own(*n.trunk)),
    "a shared layer": lambda n: setattr(n.trunk[2], "0", n.trunk[0][0]),
    "a hook": lambda n: n.trunk[0].register_forward_hook(lambda *_: None),
    "a hook backwards": lambda n: n.trunk[0].register_full_backward_hook(lambda *_: None),
    "a weight's hook": lambda n: n.head.weight.register_hook(lambda gradient: 2 * gradient),
    "an instance's own forward pass": lambda n: setattr(n.head, "forward", torch.sigmoid),
    "mirrored borders": lambda n: setattr(n.trunk[0][0], "padding_mode", "reflect"),
    "no row of features": lambda n: n.trunk.pop(-1),
}


@pytest.mark.parametrize("change", UNKNOWN_KINDS.values(), ids=UNKNOWN_KINDS)
def test_layers_that_are_not_known_do_not_go_together(change):
    assert not groupable(altered(change))


def test_networks_that_cannot_go_together_train_one_after_another(caplog):
    def build(seed):
        network = classifier(with_classes(), width=2, seed=seed)
        network.trunk.insert(3, nn.Dropout(0.0))  # drops nothing, but might
        return network

    data = [with_classes(13, seed) for seed in range(2)]
    alone, together = ([build(seed) for seed in range(2)] for _ in range(2))
    for seed, network in enumerate(alone):
        training.fit(network, data[seed], seed=seed, progress=False, device="cpu", **RUN)
    with caplog.at_level(logging.INFO):
        side_by_side(together, data, range(2))
    assert len([r for r in caplog.records if "do not train side by side" in r.message]) == 1
    for network, other in zip(together, alone, strict=True):
        for name, value in other.state_dict().items():
            assert torch.equal(network.state_dict()[name], value), name


def test_one_network_with_a_hook_keeps_all_from_going_together():
    data = with_classes()
    networks = [classifier(data, width=2, seed=seed) for seed in range(2)]
    seen = []
    networks[1].head.register_forward_hook(lambda head, *_: seen.append(head.training))
    side_by_side(networks, [data] * 2, [0, 1])
    assert sum(seen) == RUN["steps"], "a hook was passed over"


def test_batches_that_a_normalization_has_seen_are_counted_for_each():
    data = with_classes()
    networks = [classifier(data, width=2, seed=seed) for seed in range(2)]
    training.fit(networks[1], data, seed=0, progress=False, device="cpu", **RUN)
    side_by_side(networks, [data] * 2, [0, 1])
    assert [n.trunk[0][1].num_batches_tracked.item() for n in networks] == [5, 10]


def test_an_interrupt_stops_networks_that_train_one_after_another(monkeypatch):
    data = with_classes()
    networks = [altered(UNKNOWN_KINDS["dropout"]) for _ in range(3)]
    steps, real = [], _fit.step

    def step(run):
        steps.append(run.networks[0])
        if len(steps) == 3:
            raise KeyboardInterrupt
        real(run)

    monkeypatch.setattr(_fit, "step", step)
    with pytest.raises(KeyboardInterrupt):
        side_by_side(networks, [data] * 3, range(3))
    assert steps == [networks[0]] * 3, "another network was begun"
    assert len(networks[0].history) == 2, "what the first had learned is not told"


def test_layers_of_one_size_and_another_kind_are_told_apart():
    data = with_tasks()
    average, largest = classifier(data, width=2), shared(data.tasks, width=2)
    shapes = [[value.shape for value in n.state_dict().values()] for n in (average, largest)]
    assert shapes[0] == shapes[1]
    assert signature(average) != signature(largest)
    with pytest.raises(ValueError, match="networks must have the same layers"):
        training.fit_many([average, largest], data, seeds=[0, 1], device="cpu", **RUN)
    calls = [_Call(network, data, 0, {"steps": 2}) for network in (average, largest)]
    assert _kind(calls[0]) != _kind(calls[1])


def test_calls_with_the_same_batch_go_together_whatever_the_number_of_images():
    network = shared(TASKS, width=2)
    calls = [_Call(network, with_tasks(m), m, {"steps": 2}) for m in (100, 300)]
    assert _kind(calls[0]) == _kind(calls[1])
    few = _Call(network, with_tasks(40), 0, {"steps": 2})
    assert _kind(few) != _kind(calls[0]), "40 images make a smaller batch"
