"""Guards mtl_course.gradients: each task's gradient, and what each way to combine them does."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.metrics.pairwise import cosine_similarity
from torch.nn.functional import binary_cross_entropy_with_logits

from mtl_course import aggregators, datasets, gradients, networks, scenes, training
from mtl_course.base import derive_seed

TASKS = scenes.THE_FOUR
RUN = {"steps": 5, "seed": 0, "batch_size": 16, "device": "cpu", "precision": "float32",
       "progress": False}  # fmt: skip


@pytest.fixture(scope="module")
def roads():
    return scenes.draw(64, seed=0, jobs=1)


@pytest.fixture
def network():
    return networks.shared(TASKS, width=2, seed=0)


def rows_of(network, data):
    """Each task's gradient on the trunk: a backward pass each, the mean over all m images."""
    rows = []
    for j in range(len(data.tasks)):
        own = copy.deepcopy(network).train()
        known = data.labels[:, j] != datasets.UNKNOWN
        each = binary_cross_entropy_with_logits(
            own(data.images)[known, j], data.labels[known, j].float(), reduction="sum"
        )
        (each / len(data)).backward()
        rows.append(torch.cat([p.grad.flatten() for p in own.trunk.parameters()]))
    return torch.stack(rows)


def test_each_task_has_the_gradient_of_its_part_of_the_loss(network, roads):
    for data in (roads, datasets.hide(roads, 0.5, seed=1)):
        found = gradients.of_each_task(network, data)
        assert torch.allclose(found, rows_of(network, data), atol=1e-6)


def test_a_task_without_a_label_has_no_gradient_and_no_angle(network, roads):
    labels = roads.labels.clone()
    labels[:, 1] = datasets.UNKNOWN
    found = gradients.of_each_task(network, datasets.Dataset(roads.images, labels, tasks=TASKS))
    assert not found[1].any()
    assert gradients.cosines(found)[1].isnan().all()
    assert not gradients.cosines(found)[0, [0, 2, 3]].isnan().any()


def test_looking_leaves_the_network_as_it_was(network, roads):
    network.eval()
    before = copy.deepcopy(network.state_dict())
    gradients.of_each_task(network, roads)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not network.training
    assert all(p.grad is None for p in network.parameters())


def test_other_questions_are_refused(network, roads):
    other = scenes.draw(8, seed=0, tasks=["night"], jobs=1)
    with pytest.raises(ValueError, match="network answers"):
        gradients.of_each_task(network, other)


def test_cosines_are_sklearns(network, roads):
    found = gradients.of_each_task(network, roads)
    assert np.allclose(gradients.cosines(found), cosine_similarity(found.numpy()), atol=1e-5)


def trained(network, data, **settings):
    network = copy.deepcopy(network)
    training.fit(network, data, **RUN | settings)
    return network


def same(one, other, atol=0.0):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a.float(), b.float(), rtol=0, atol=atol) for a, b in pairs)


def test_a_watch_sees_the_cosines_and_changes_nothing(network, roads):
    watched = copy.deepcopy(network)
    watch = aggregators.Watch(watched, roads, at=(0, 3))
    training.fit(watched, roads, **RUN, backward=watch)
    assert same(watched, trained(network, roads))
    assert sorted(watch.gradients) == [0, 3]
    found = {step: gradients.cosines(each) for step, each in watch.gradients.items()}
    start = gradients.cosines(gradients.of_each_task(network, roads))
    assert torch.allclose(found[0], start, atol=1e-6)
    assert not torch.allclose(found[3], start, atol=1e-2)


# ---------------------------------------------------------------------- ways to combine them


def gradients_after(network, data, backward):
    """What a `backward` leaves on the trunk, and on the head."""
    logits = network.train()(data.images)
    network.zero_grad()
    backward(gradients.losses.multi_task_losses(logits, data.labels))
    return [
        torch.cat([p.grad.flatten() for p in part.parameters()])
        for part in (network.trunk, network.head)
    ]


def test_weights_multiply_each_tasks_gradient(network, roads):
    rows = rows_of(network, roads)
    trunk, _ = gradients_after(network, roads, aggregators.weighted((1, 0, 0.5, 2)))
    assert torch.allclose(trunk, torch.tensor([1.0, 0, 0.5, 2]) @ rows, atol=1e-5)
    even = trained(network, roads, backward=aggregators.weighted((1, 1, 1, 1)))
    assert same(even, trained(network, roads), atol=1e-6)


@pytest.mark.parametrize("weights", [(0, 0), (1, -1), (), ((1, 2), (3, 4)), (float("nan"), 1)])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be numbers"):
        aggregators.weighted(weights)


def test_weights_for_another_number_of_tasks_are_refused(network, roads):
    with pytest.raises(ValueError, match="one a task, 4"):
        training.fit(network, roads, **RUN, backward=aggregators.weighted((1, 1)))


def test_uncertainty_is_the_formula_and_learns_its_variances():
    """Two terms that do not depend on any network but through a factor each."""
    factors = torch.tensor([1.0, 1.0], requires_grad=True)
    losses = torch.tensor([0.2, 3.0])
    backward = aggregators.uncertain(2, learning_rate=0.05)
    s = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # written out, Adam too
    optimiser = torch.optim.Adam([s], 0.05)
    for _ in range(300):
        factors.grad = None
        backward(factors * losses)
        weights = 0.5 * torch.exp(-s.detach())
        assert torch.allclose(factors.grad.double(), weights * losses, rtol=1e-3)
        optimiser.zero_grad()
        (0.5 * torch.exp(-s) * losses + 0.5 * s).sum().backward()
        optimiser.step()
    assert torch.allclose(s.detach().exp(), losses.double(), rtol=0.1)  # its minimum: σ² = L


def pcgrad_of_two(g):
    """Yu et al. (2020), algorithm 1, for two tasks: there is only one order."""
    one = g[0] - min(0, g[0] @ g[1]) / (g[1] @ g[1]) * g[1]
    other = g[1] - min(0, g[0] @ g[1]) / (g[0] @ g[0]) * g[0]
    return one + other


def mgda(g):
    """The shortest of all weighted means."""
    start = np.full(len(g), 1 / len(g))
    sums = {"type": "eq", "fun": lambda w: w.sum() - 1}
    shortest = minimize(lambda w: ((w @ g) ** 2).sum(), start, bounds=[(0, 1)] * len(g),
                        constraints=[sums], tol=1e-12)  # fmt: skip
    return shortest.x @ g


def cagrad(g, c=aggregators.CAGRAD_C):
    """Liu et al. (2021): the direction in a ball round the mean that is best for the worst task."""
    mean = g.mean(axis=0)
    ball = {
        "type": "ineq",
        "fun": lambda v: c * np.linalg.norm(mean) - np.linalg.norm(v[:-1] - mean),
    }
    worst = {"type": "ineq", "fun": lambda v: g @ v[:-1] - v[-1]}
    start = np.append(mean, (g @ mean).min())
    return minimize(lambda v: -v[-1], start, constraints=[ball, worst], tol=1e-12).x[:-1]


def upgrad(g):
    """Quinton and Rey (2024): the mean of the gradients, each projected onto the dual cone."""
    parts = []
    for own in g:
        cone = {"type": "ineq", "fun": lambda v: g @ v}
        near = minimize(
            lambda v, own=own: ((v - own) ** 2).sum(), own, constraints=[cone], tol=1e-14
        )
        parts.append(near.x)
    return np.mean(parts, axis=0)


PLANE = {
    "conflict": np.array([[1.0, 0.2], [-0.6, 1.5]]),
    "agreement": np.array([[1.0, 0.2], [0.4, 1.1]]),
}


@pytest.mark.parametrize("kind", PLANE)
@pytest.mark.parametrize(
    ("name", "formula"),
    [("PCGrad", pcgrad_of_two), ("MGDA", mgda), ("CAGrad", cagrad), ("UPGrad", upgrad)],
)
def test_aggregators_are_their_papers(name, formula, kind):
    g = PLANE[kind]
    found = aggregators.aggregator(name)(torch.tensor(g, dtype=torch.float32)).numpy()
    assert np.allclose(found, formula(g), atol=5e-3)


@pytest.mark.parametrize(
    ("name", "formula"), [("MGDA", mgda), ("CAGrad", cagrad), ("UPGrad", upgrad)]
)
def test_aggregators_of_three_are_their_papers(name, formula):
    g = np.array([[1.0, 0.2, 0.0], [-0.6, 1.5, 0.3], [0.1, -0.9, 0.8]])
    found = aggregators.aggregator(name)(torch.tensor(g, dtype=torch.float32)).numpy()
    assert np.allclose(found, formula(g), atol=5e-3)


@pytest.mark.parametrize("name", aggregators.AGGREGATORS)
def test_the_trunk_gets_what_the_aggregator_makes_of_the_tasks_gradients(name, network, roads):
    trunk, head = gradients_after(network, roads, aggregators.aggregated(network, name, seed=5))
    torch.manual_seed(derive_seed(5, "step 0"))  # PCGrad draws an order
    want = aggregators.aggregator(name)(rows_of(network, roads))
    assert torch.allclose(trunk, want, atol=1e-5)
    _, plain = gradients_after(network, roads, training.sum_backward)
    assert torch.allclose(head, plain, atol=1e-6)


def test_training_with_an_aggregator_learns_and_leaves_nothing_behind(network, roads):
    first = trained(network, roads, steps=60, backward=None)
    for name in aggregators.AGGREGATORS:
        own = copy.deepcopy(network)
        backward = aggregators.aggregated(own, name)
        history = training.fit(own, roads, **RUN | {"steps": 60}, backward=backward)
        assert history["loss"].iloc[-5:].mean() < history["loss"].iloc[:5].mean()
        assert not same(own, first)
        assert not same(own.trunk, network.trunk), "only the head has learned"
        assert not any(hasattr(p, "jac") and p.jac is not None for p in own.parameters())


def test_an_aggregators_run_depends_on_its_seed_alone(roads):
    data = datasets.Dataset(roads.images, 1 - roads.labels[:, [0, 0, 1, 2]], tasks=TASKS)
    runs = []
    for seed in (1, 1, 2):
        network = networks.shared(TASKS, width=2, seed=0)
        torch.rand(seed + len(runs))  # torch's own generator is somewhere
        backward = aggregators.aggregated(network, "PCGrad", seed)
        training.fit(network, data, **RUN | {"steps": 20}, backward=backward)
        runs.append(network)
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_a_frozen_trunk_leaves_only_the_heads_to_go_down(roads):
    network = networks.shared(TASKS, width=2, seed=0)
    first = network.trunk[0]
    networks.freeze(first)
    before = copy.deepcopy(first.state_dict())
    training.fit(network, roads, **RUN, backward=aggregators.aggregated(network, "UPGrad"))
    assert all(torch.equal(before[k], v) for k, v in first.state_dict().items())


def test_a_trunk_that_does_not_train_is_refused(network):
    networks.freeze(network.trunk)
    with pytest.raises(ValueError, match="a trunk that trains"):
        aggregators.aggregated(network, "UPGrad")


def test_an_unknown_aggregator_is_refused(network):
    with pytest.raises(ValueError, match="name must be one of PCGrad, MGDA"):
        aggregators.aggregated(network, "Sum")
