"""Hidden checks of the transfer assignment. Keep this file from your students."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import t

from mtl_course import datasets, networks
from mtl_course.grading.checks import Student, Wrong, same

# What stands before each of the scripts below, which run beside the student's functions: a network
# made of the arrays that are sent, and what it makes of hidden images. The grader runs the same
# scripts with functions of its own. No script tells what is right, and none asks a network about
# itself: whatever was sent, and sent back, is wrong.
BUILD = """
import torch
from mtl_course import datasets, networks

blank = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
network = networks.classifier(datasets.Dataset(*blank, classes=names), width=width)
network.load_state_dict(state)
network.train(training)


def seen(network):
    network.eval()
    with torch.no_grad():
        return {"features": network.trunk(datasets.normalise(images)), "logits": network(images)}
"""


def _network(draw: np.random.Generator, classes: int, width: int) -> networks.Network:
    """A network whose weights and statistics are drawn, and which therefore shows each of them."""
    blank = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    names = tuple(f"class {k}" for k in range(classes))
    network = networks.classifier(datasets.Dataset(*blank, classes=names), width=width)
    state = {}
    for name, value in network.state_dict().items():
        shape = tuple(value.shape)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(int(draw.integers(1, 50)))
        elif name.endswith("running_var"):
            state[name] = torch.tensor(draw.uniform(0.3, 2, shape), dtype=torch.float32)
        elif name.endswith("1.weight"):  # batch normalization's factors
            state[name] = torch.tensor(draw.uniform(0.5, 1.5, shape), dtype=torch.float32)
        elif name.endswith("1.bias"):  # and shifts: features are seldom 0 for all images
            state[name] = torch.tensor(draw.uniform(0, 0.8, shape), dtype=torch.float32)
        else:
            state[name] = torch.tensor(draw.normal(0, 0.3, shape), dtype=torch.float32)
    network.load_state_dict(state)
    return network.eval()


def _sent(draw: np.random.Generator, network: networks.Network, training: bool) -> dict:
    """What `BUILD` needs to make this network again, and hidden inputs of it and of its head."""
    width, features = network.trunk[0][0].out_channels, network.head.in_features
    state = {name: value.clone() for name, value in network.state_dict().items()}
    vectors = torch.tensor(draw.normal(size=(6, features)), dtype=torch.float32)
    sent = {"images": _images(draw, 12), "vectors": vectors, "training": training}
    return sent | {"names": network.names, "width": width, "state": state}


def _images(draw: np.random.Generator, m: int) -> torch.Tensor:
    return torch.tensor(draw.integers(0, 256, (m, 1, 8, 8)), dtype=torch.uint8)


def _batches(draw: np.random.Generator, classes: int, count: int) -> list[tuple]:
    sizes = draw.integers(4, 24, count)
    return [(_images(draw, m), torch.tensor(draw.integers(0, classes, m))) for m in sizes]


def _answer(script: str, inputs: dict, **functions: object) -> dict:
    """What a script leaves with these functions in place of the student's."""
    scope = inputs | functions
    exec(script, scope)
    return scope["answer"]


def _alike(got: Mapping, wanted: Mapping, names: Sequence[str], where: str) -> None:
    for name in names:
        same(got[name], wanted[name].numpy(), f"{where}, {name}", tolerance=1e-4)


# ---------------------------------------------------------------------- 1. new_head

NEW_HEAD = f"""{BUILD}
made = []
for seed in seeds:
    made.append(new_head(network, new_names, seed))
    if not isinstance(made[-1], networks.Network):
        raise TypeError("new_head must return a networks.Network")
    torch.rand(3)  # on which nothing may depend
with torch.no_grad():
    answer = {{"heads": [{{**new.head.state_dict(), "out": new.head(vectors)}} for new in made]}}
    answer["names"], answer["new"] = list(made[0].names), seen(made[0])
    for number in [*network.parameters(), *network.buffers()]:
        number.add_(1)
    answer["later"], answer["old"] = seen(made[0]), seen(network)
"""


def _surgery(
    student: Student, draw: np.random.Generator, count: int = 4, seeds: Sequence[int] = (0,)
) -> Iterator[tuple]:
    """Networks, and what was seen of them and of new ones. One keeps its number of classes."""
    for old, new, width in ((4, 4, 3), (10, 3, 2), (2, 10, 1), (3, 1, 2))[:count]:
        network = _network(draw, old, width)
        sent = _sent(draw, network, training=bool(draw.integers(2)))
        sent["new_names"] = [f"new {k}" for k in range(new)]
        sent["seeds"] = [int(seed) for seed in np.add(seeds, draw.integers(1000))]
        yield network, sent, student.run(NEW_HEAD, **sent), f"{old} classes to {new}, width {width}"


def _features(network: networks.Network, sent: dict) -> np.ndarray:
    with torch.no_grad():
        return network.trunk(datasets.normalise(sent["images"])).numpy()


def _weights(head: dict, classes: int, features: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    shapes = np.shape(head.get("weight")), np.shape(head.get("bias"))
    if shapes != ((classes, features), (classes,)):
        raise Wrong(f"{where}: the head's weight or bias has the wrong shape, or there is none.")
    return np.asarray(head["weight"], dtype=float).T, np.asarray(head["bias"], dtype=float)


def trunk_is_kept(student: Student, draw: np.random.Generator) -> None:
    """The trunk keeps its weights and its statistics: it makes the same features of images."""
    for network, sent, got, where in _surgery(student, draw):
        same(got["new"]["features"], _features(network, sent), f"{where}, features", 1e-4)


def source_is_left_alone(student: Student, draw: np.random.Generator) -> None:
    """The old network stays as it was, and when it changes later the new one does not."""
    for network, sent, got, where in _surgery(student, draw):
        right = _answer(NEW_HEAD, sent, new_head=lambda network, *_: copy.deepcopy(network))
        _alike(got["old"], right["old"], ("features", "logits"), f"{where}, old network")
        for name in ("features", "logits"):
            told = f"{where}, {name} of the new network after a change of the old one"
            same(got["later"][name], got["new"][name], told, tolerance=1e-4)


def head_has_the_new_classes(student: Student, draw: np.random.Generator) -> None:
    """The head reads the trunk's features, and gives a logit for each new class."""
    for network, sent, got, where in _surgery(student, draw):
        if got["names"] != sent["new_names"]:
            raise Wrong(f"{where}: the new network's names are not the new classes.")
        features = _features(network, sent)
        same(got["new"]["features"], features, f"{where}, features", tolerance=1e-4)
        weight, bias = _weights(got["heads"][0], len(got["names"]), features.shape[1], where)
        same(got["new"]["logits"], features @ weight + bias, f"{where}, logits", tolerance=1e-4)


def head_is_drawn(student: Student, draw: np.random.Generator) -> None:
    """The head's weights are random, and the seed decides them."""
    # Twice the same, and then seeds that have this or that in common: their parity, last digits, …
    seeds = (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 100, 256, 1000, 65536)
    for network, sent, got, where in _surgery(student, draw, 2, seeds):
        old, drawn = network.head.weight.detach().numpy(), []
        for head in got["heads"]:
            weight, bias = _weights(head, len(sent["new_names"]), old.shape[1], where)
            wanted = sent["vectors"].numpy() @ weight + bias
            same(head["out"], wanted, f"{where}, the head's logits", tolerance=1e-4)
            if len(np.unique(weight)) < weight.size / 2:
                raise Wrong(f"{where}: the head's weights are not random.")
            kept = sum(np.isclose(row, old).all(axis=1).any() for row in weight.T)
            if kept:
                raise Wrong(f"{where}: {kept} rows of the head are the old head's.")
            drawn.append(weight.tobytes())
        if len(drawn) != len(seeds) or drawn[0] != drawn[1]:
            raise Wrong(f"{where}: the same seed gives another head.")
        if len(set(drawn)) != len(set(seeds)):
            raise Wrong(f"{where}: another seed gives the same head.")


# ---------------------------------------------------------------------- 2. freeze

# A number for each class learns whatever is frozen. Weight decay moves what has a gradient of 0.
FREEZE = f"""{BUILD}
weights = [*network.parameters()]
freeze(network)
shift = torch.zeros(len(names), requires_grad=True)
weights = dict.fromkeys([*weights, *network.parameters(), shift])
if mode is not None:
    network.train(mode)
for x, y in batches:
    torch.nn.functional.cross_entropy(network(x) + shift, y).backward()
    with torch.no_grad():  # as torch.optim.SGD does, which takes two seconds to import
        for weight in weights:
            if weight.grad is not None:
                weight -= rate * (weight.grad + 0.1 * weight)
                weight.grad = None
answer = {{**seen(network), "shift": shift.detach()}}
"""


def _frozen(
    student: Student, draw: np.random.Generator, names: Sequence[str], steps: int = 1,
    rate: float = 0.5, mode: bool | None = None,
) -> None:  # fmt: skip
    """Compare these outputs after training. mode: that of training, None for the network's own."""
    for training in (True, False, True):
        features = torch.zeros(2, 1)
        while features.std(0).max() < 0.1:  # of a dead trunk nothing shows
            network = _network(draw, int(draw.integers(2, 11)), int(draw.integers(1, 4)))
            batches = _batches(draw, len(network.names), steps)
            sent = _sent(draw, network, training) | {"batches": batches, "rate": rate, "mode": mode}
            right = _answer(FREEZE, sent, freeze=lambda network: networks.freeze(network.trunk))
            features = right["features"]
        came = "training" if training else "evaluation"
        where = f"a network of {len(network.names)} classes that came in {came} mode"
        _alike(student.run(FREEZE, **sent), right, names, where)


def trunk_has_no_gradient(student: Student, draw: np.random.Generator) -> None:
    """No weight of the trunk trains: after a step the same images have the same features."""
    _frozen(student, draw, ("features", "shift"), mode=False)


def head_still_trains(student: Student, draw: np.random.Generator) -> None:
    """The head still trains, on the features of a trunk that does not."""
    _frozen(student, draw, ("logits", "shift"), steps=2, mode=False)


def statistics_stand_still(student: Student, draw: np.random.Generator) -> None:
    """Nothing moves while images pass, in whatever mode the network came."""
    _frozen(student, draw, ("features", "logits"), steps=2, rate=0.0)


def also_while_training(student: Student, draw: np.random.Generator) -> None:
    """Nothing but the head moves after network.train(), as a training loop calls it."""
    _frozen(student, draw, ("features", "logits", "shift"), steps=3, mode=True)


# ---------------------------------------------------------------------- 3. features

# A network that came frozen is one that exercise 2 has passed. The trunk stands for a small GPU.
ONCE = f"""{BUILD}
if frozen:
    network.trunk.requires_grad_(False).eval()


def crowded(layer, inputs):
    if len(inputs[0]) > 100:
        raise RuntimeError(f"{{len(inputs[0])}} images went through the trunk at once")


network.trunk[0][0].register_forward_pre_hook(crowded)
found = features(network, many)
"""
FEATURES = f"{ONCE}\nanswer = found\n"
HEAD_ON_FEATURES = f"""{ONCE}
found = torch.as_tensor(found)
if found.dtype != torch.float32:
    raise TypeError(f"the features are {{found.dtype}}, and a head takes float32")
head = torch.nn.Linear(found.shape[1], len(names))
head.load_state_dict(first)
for _ in range(3):
    torch.nn.functional.cross_entropy(head(found), labels).backward()
    with torch.no_grad():
        for weight in head.parameters():
            weight -= rate * weight.grad
            weight.grad = None
answer = {{"logits": head(vectors)}}
"""
AFTERWARDS = f"""{ONCE}
loss = torch.nn.functional.cross_entropy(network(x), y)
loss.backward()
with torch.no_grad():
    for weight in network.parameters():
        if weight.grad is not None:
            weight -= rate * weight.grad
answer = {{"found": found, "loss": loss.detach(), **seen(network)}}
"""
CAME = ("in evaluation mode", "in training mode", "in training mode, its trunk frozen")


def _right_features(network: networks.Network, images: torch.Tensor) -> torch.Tensor:
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        batches = datasets.normalise(images).split(100)
        return torch.cat([trunk(batch) for batch in batches])


def _once(
    student: Student, draw: np.random.Generator, script: str, counts: Sequence[int]
) -> Iterator[tuple]:
    """What a script leaves on networks of each mode, and what it should leave."""
    for number, m in enumerate(counts):
        kept = torch.zeros(2, 1)
        while kept.std(0).max() < 0.1:  # of a dead trunk nothing shows
            network = _network(draw, int(draw.integers(2, 11)), int(draw.integers(1, 4)))
            sent = _sent(draw, network, training=number % 3 > 0)
            kept = _right_features(network, sent["images"])
        sent |= {"many": _images(draw, m), "frozen": number % 3 == 2, "rate": 0.2}
        sent["labels"] = torch.tensor(draw.integers(0, len(network.names), m))
        (sent["x"], sent["y"]), *_ = _batches(draw, len(network.names), 1)
        shapes = {name: weight.shape for name, weight in network.head.state_dict().items()}
        first = {name: draw.normal(0, 0.3, shape) for name, shape in shapes.items()}
        sent["first"] = {name: torch.tensor(w, dtype=torch.float32) for name, w in first.items()}
        right = _answer(script, sent, features=_right_features)
        where = f"{m} image{'s' * (m > 1)}, a network that came {CAME[number % 3]}"
        yield student.run(script, **sent), right, where


def of_the_trunk_in_use(student: Student, draw: np.random.Generator) -> None:
    """The trunk's features of up to 100 images, as in use: in evaluation mode."""
    for got, right, where in _once(student, draw, FEATURES, (100, 23, 40, 1, 2, 77)):
        same(got, right.numpy(), where, tolerance=1e-4)


def of_all_images(student: Student, draw: np.random.Generator) -> None:
    """The features of more than 100 images, in order, with at most 100 in the trunk at once."""
    for got, right, where in _once(student, draw, FEATURES, (101, 250, 199, 300, 130, 217)):
        same(got, right.numpy(), where, tolerance=1e-4)


def made_for_training_a_head(student: Student, draw: np.random.Generator) -> None:
    """Several steps of a head on the features: float32, and no graph that leads to the trunk."""
    for got, right, where in _once(student, draw, HEAD_ON_FEATURES, (60, 130, 220)):
        wanted = right["logits"].detach().numpy()
        same(got["logits"], wanted, f"{where}, a head trained on the features", tolerance=1e-3)


def network_as_before(student: Student, draw: np.random.Generator) -> None:
    """Afterwards the network is in the mode in which it came, and learns on as it would have."""
    for got, right, where in _once(student, draw, AFTERWARDS, (60, 130, 220, 30, 101, 99)):
        same(got["found"], right["found"].numpy(), f"{where}, the features", tolerance=1e-4)
        same(got["loss"], float(right["loss"]), f"{where}, the loss afterwards", tolerance=1e-4)
        _alike(got, right, ("features", "logits"), f"{where}, after another step of training")


# ---------------------------------------------------------------------- 4. fine_tune_step

# Weights and averages are also looked at alone: with what the network came with of the other.
FINE_TUNE = f"""{BUILD}
losses = [fine_tune_step(network, x, y, head_rate, trunk_rate) for x, y in batches]
with torch.no_grad():
    answer = {{"losses": losses, "head": network.head(vectors), **seen(network)}}
    averages = {{name: value.clone() for name, value in network.named_buffers()}}
    for name, value in network.named_buffers():
        value.copy_(state[name])
    answer["features, old averages"] = seen(network)["features"]
    for name, value in network.named_buffers():
        value.copy_(averages[name])
    for name, value in network.named_parameters():
        value.copy_(state[name])
    answer["features, old weights"] = seen(network)["features"]
"""
IN_USE, BY_WEIGHTS, BY_AVERAGES = "features", "features, old averages", "features, old weights"
RATES = ((0.2, 0.04), (0.5, 0.1), (0.05, 0.2), (0.3, 0.03), (0.002, 0.1))  # head's and trunk's


def _right_step(
    network: networks.Network, images: torch.Tensor, labels: torch.Tensor, head_rate: float,
    trunk_rate: float,
) -> torch.Tensor:  # fmt: skip
    loss = torch.nn.functional.cross_entropy(network.train()(images), labels)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for (name, weight), gradient in zip(network.named_parameters(), gradients, strict=True):
            weight -= (head_rate if name.startswith("head") else trunk_rate) * gradient
    return loss.detach()


def _steps(student: Student, draw: np.random.Generator, count: int) -> Iterator[tuple]:
    """What is seen of networks after so many steps, each on other images, and what should be.

    In the last network features are large, and so are gradients: clipping them shows. It takes
    part in several steps only.
    """
    for number, (head_rate, trunk_rate) in enumerate(RATES if count > 1 else RATES[:3]):
        training = number != 1
        while True:
            network = _network(draw, int(draw.integers(2, 11)), int(draw.integers(1, 4)))
            sent = _sent(draw, network, training)
            if number == 4:
                length = np.linalg.norm(_features(network, sent), axis=1).mean()
                _enlarge(network, 40 / max(length, 0.1))
                sent["state"] = {k: v.clone() for k, v in network.state_dict().items()}
            sent |= {"batches": _batches(draw, len(network.names), count)}
            sent |= {"head_rate": head_rate, "trunk_rate": trunk_rate}
            right = _answer(FINE_TUNE, sent, fine_tune_step=_right_step)
            if _tells(draw, network, sent, right):
                break
        mode = "training" if training else "evaluation"
        where = f"{len(network.names)} classes, head rate {head_rate}, trunk rate {trunk_rate}"
        yield student.run(FINE_TUNE, **sent), right, f"{where}, a network in {mode} mode"


def _tells(draw: np.random.Generator, network: networks.Network, sent: dict, right: dict) -> bool:
    """Whether a step shows in head, weights and averages, and rounding does not."""
    old = torch.tensor(_features(network, sent))
    moves = [right["head"] - network.head(sent["vectors"]).detach()]
    moves += [right[name] - old for name in (BY_WEIGHTS, BY_AVERAGES)]
    if min(move.abs().max() for move in moves) < 0.01 or max(right["losses"]) > 8:
        return False
    shaken = {}
    for name, value in sent["state"].items():
        noise = torch.tensor(draw.normal(0, 3e-7, tuple(value.shape)), dtype=torch.float32)
        shaken[name] = value * (1 + noise) if value.is_floating_point() else value
    again = _answer(FINE_TUNE, sent | {"state": shaken}, fine_tune_step=_right_step)
    names = ("head", "logits", IN_USE, BY_WEIGHTS, BY_AVERAGES)
    return all(torch.allclose(again[name], right[name], 2e-5, 2e-5) for name in names)


def _enlarge(network: networks.Network, factor: float) -> None:
    """Make the features larger, and the logits what they were."""
    for values in network.trunk[2][1].parameters():
        values.data *= factor
    network.head.weight.data /= factor


def loss_is_told(student: Student, draw: np.random.Generator) -> None:
    """What comes back is the loss before the step, of the network in training mode."""
    for got, right, where in _steps(student, draw, 1):
        same(got["losses"][0], float(right["losses"][0]), f"{where}, loss", tolerance=2e-4)


def head_moves_as_it_should(student: Student, draw: np.random.Generator) -> None:
    """The head makes a step of gradient descent, with the head's rate."""
    for got, right, where in _steps(student, draw, 1):
        _alike(got, right, ("head",), where)


def trunk_moves_as_it_should(student: Student, draw: np.random.Generator) -> None:
    """The trunk's weights make a step of gradient descent, with the trunk's rate."""
    for got, right, where in _steps(student, draw, 1):
        _alike(got, right, (BY_WEIGHTS,), where)


def averages_follow_once(student: Student, draw: np.random.Generator) -> None:
    """Batch normalization's running averages follow the images, once in a step."""
    for got, right, where in _steps(student, draw, 1):
        _alike(got, right, (BY_AVERAGES,), where)


def two_steps_in_a_row(student: Student, draw: np.random.Generator) -> None:
    """Two steps in a row, on other images: nothing is left over from the first."""
    for got, right, where in _steps(student, draw, 2):
        _alike(got, right, ("head", IN_USE, "logits"), f"two steps, {where}")
        same(got["losses"][1], float(right["losses"][1]), f"{where}, second loss", tolerance=2e-4)


# ---------------------------------------------------------------------- 5. paired_interval

WAYS = ("new head", "all layers", "from scratch", "head then all")


def ten_seeds(student: Student, draw: np.random.Generator) -> None:
    """Ten seeds with both ways."""
    for _ in range(8):
        _interval(student, draw, seeds=10)


def other_numbers_of_seeds(student: Student, draw: np.random.Generator) -> None:
    """From three seeds to thirty."""
    for seeds in (3, 4, 5, 6, 8, 13, 20, 30):
        _interval(student, draw, seeds=seeds)


def rows_in_any_order(student: Student, draw: np.random.Generator) -> None:
    """Rows in any order, with other ways among them."""
    for seeds in (4, 5, 6, 8, 10, 12):
        _interval(student, draw, seeds=seeds, shuffled=True)


def seeds_without_a_partner(student: Student, draw: np.random.Generator) -> None:
    """A seed that has only one of the two ways does not count."""
    for seeds in (4, 5, 6, 8, 10, 12):
        _interval(student, draw, seeds=seeds, shuffled=True, alone=3)


def _interval(
    student: Student, draw: np.random.Generator, seeds: int, shuffled: bool = False, alone: int = 0
) -> None:
    way, over, *others = map(str, draw.permutation(WAYS))
    differences = draw.normal(draw.uniform(-0.1, 0.1), draw.uniform(0.02, 0.08), seeds)
    rows, used = [], list(map(int, draw.permutation(100)))
    for difference in differences:
        seed, base = used.pop(), draw.normal(0.7, 0.08)
        rows += [_row(way, seed, base + difference), _row(over, seed, base)]
        rows += [_row(other, seed, draw.uniform(0.5, 0.9)) for other in others if shuffled]
    for k in range(alone):
        rows.append(_row((way, over)[k % 2], used.pop(), draw.uniform(0.1, 0.3)))
    table = pd.DataFrame(rows)
    if shuffled:
        table = table.iloc[draw.permutation(len(table))].reset_index(drop=True)
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(seeds)
    reach = t.ppf(0.975, seeds - 1) * error
    got = student.call("paired_interval", table, way, over)
    where = f"{seeds} pairs" + (f", {alone} seeds without a partner" if alone else "")
    same(got, np.array([mean, mean - reach, mean + reach]), where, tolerance=1e-6)


def _row(way: str, seed: int, accuracy: float, **more: object) -> dict:
    return {"way": way, **more, "seed": seed, "accuracy": accuracy}


# ---------------------------------------------------------------------- 6. choose

SUPPORTED, OPPOSITE = "supported", "opposite"
EQUAL, UNCLEAR = "no difference", "cannot tell"
LABELS = (10, 30, 50, 100, 200, 300, 500, 800)


def clear_curves(student: Student, draw: np.random.Generator) -> None:
    """Curves where the interval decides for one way or for neither, with close calls at 0."""
    for _ in range(4):
        _choose(student, draw, (SUPPORTED, OPPOSITE, UNCLEAR), close_to="0")


def equal_ways(student: Student, draw: np.random.Generator) -> None:
    """Where there is no difference the cheaper way is chosen; close calls at the margin."""
    for _ in range(4):
        _choose(student, draw, (EQUAL, UNCLEAR, OPPOSITE), close_to="the margin")


def gaps_and_disorder(student: Student, draw: np.random.Generator) -> None:
    """Rows in any order, seeds without a partner, and other ways among them."""
    for _ in range(6):
        _choose(student, draw, (SUPPORTED, OPPOSITE, EQUAL, UNCLEAR), disorder=True)


def _ends(draw: np.random.Generator, word: str, margin: float, small: bool) -> tuple[float, float]:
    """An interval of which this is the verdict. small: as near to 0 as an interval gets."""
    if word in (SUPPORTED, OPPOSITE):
        far = margin * (0.9 if small else 8)
        low, high = sorted(draw.uniform(0.02 * margin, far, 2))
        return (low, high) if word == SUPPORTED else (-high, -low)
    if word == EQUAL:
        return -margin * draw.uniform(0.05, 0.95), margin * draw.uniform(0.05, 0.95)
    far, near = margin * draw.uniform(1.05, 6), margin * draw.uniform(0.05, 0.95 if small else 6)
    return (-far, near) if draw.random() < 0.5 else (-near, far)


def _close_calls(draw: np.random.Generator, margin: float, at: float) -> list[tuple]:
    """Words, and intervals whose end is half a percent of their half width away from where it tips.

    Whatever makes an interval wider or narrower than that gives another choice for some.
    """
    found = []
    for aside in (0.005, -0.005):
        half = margin * draw.uniform(0.55, 0.9 if at else 3)
        low = aside * half - at
        word = UNCLEAR if aside < 0 else EQUAL if at else SUPPORTED
        found.append((word, (low, low + 2 * half)))
        mirrored = OPPOSITE if word == SUPPORTED else word
        found.append((mirrored, (-low - 2 * half, -low)))
    return found


def _choose(
    student: Student, draw: np.random.Generator, words: Sequence[str], disorder: bool = False,
    close_to: str = "",
) -> None:  # fmt: skip
    margin = float(draw.choice([0.01, 0.02]))
    asked = [str(draw.choice(words)) for _ in range(int(draw.integers(3, 5)))]
    cases = [(word, _ends(draw, word, margin, small=False)) for word in asked]
    if close_to:
        cases += _close_calls(draw, margin, at=0 if close_to == "0" else margin)
    cases = [cases[k] for k in draw.permutation(len(cases))]
    sizes = sorted(map(int, draw.choice(LABELS, len(cases), replace=False)))
    choices = {SUPPORTED: "new head", EQUAL: "new head", OPPOSITE: "all layers"}
    rows = []
    for labels, (word, ends) in zip(sizes, cases, strict=True):
        rows += _curve_rows(draw, labels, ends, disorder, word)
    table = pd.DataFrame(rows)
    if disorder:
        table = table.iloc[draw.permutation(len(table))].reset_index(drop=True)
    got = student.call("choose", table, margin)
    if not isinstance(got, list) or len(got) != len(sizes):
        raise Wrong(f"{len(sizes)} numbers of labels: the answer must be a list of as many texts.")
    for labels, said, (word, _) in zip(sizes, got, cases, strict=True):
        if type(said) is not str or said != choices.get(word, UNCLEAR):
            raise Wrong(f"{labels} labels of {sizes}, margin {margin}: not the right choice.")


def _curve_rows(
    draw: np.random.Generator, labels: int, ends: tuple[float, float], disorder: bool, word: str
) -> list[dict]:
    """Pairs whose interval of new head − all layers has these ends; seeds differ far more."""
    count = int(draw.integers(4, 11))
    low, high = ends
    noise = draw.normal(size=count)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    half = (high - low) / 2
    gains = (low + high) / 2 + noise * half * np.sqrt(count) / t.ppf(0.975, count - 1)
    seeds, rows = list(map(int, draw.permutation(60))), []
    for gain in gains:
        seed, base = seeds.pop(), draw.normal(0.8, 0.05)
        rows.append(_row("new head", seed, base + gain, labels=labels))
        rows.append(_row("all layers", seed, base, labels=labels))
        if disorder:
            rows.append(_row("from scratch", seed, base - 0.2, labels=labels))
    for _ in range(4 * disorder):  # alone, and far enough away to turn the answer
        way = "all layers" if word in (SUPPORTED, EQUAL) else "new head"
        rows.append(_row(way, seeds.pop(), 0.99, labels=labels))
    return rows


# ---------------------------------------------------------------------- 7. leaked


def _pictures(draw: np.random.Generator, m: int, low: int = 40, high: int = 200) -> np.ndarray:
    return draw.integers(low, high, (m, 1, 8, 8)).astype(np.uint8)


def _leaks(student: Student, train: np.ndarray, test: np.ndarray, where: str) -> None:
    wanted = np.zeros(len(test), dtype=bool)
    for i, picture in enumerate(test.astype(int)):
        apart = (train.astype(int) - picture).reshape(len(train), -1)
        wanted[i] = (apart == apart[:, :1]).all(axis=1).any()
    got = student.call("leaked", torch.from_numpy(train), torch.from_numpy(test))
    try:
        array = np.asarray(got)
    except ValueError:
        array = None
    if array is not None and array.dtype.kind in "iu" and np.isin(array, (0, 1)).all():
        got = array.astype(bool)
    same(got, wanted, f"{len(train)} training and {len(test)} test images, {where}")


def exact_copies(student: Student, draw: np.random.Generator) -> None:
    """Exact copies, and images that are in the test twice but not in training."""
    for trains, tests in ((1, 1), (1, 5), (12, 6), (30, 25), (60, 40), (25, 60)):
        train, test = _pictures(draw, trains), _pictures(draw, tests)
        for i in range(0, tests, 2):
            test[i] = train[draw.integers(trains)]
        test[-1] = test[draw.integers(tests)]
        _leaks(student, train, test, "exact copies")


def brighter_copies(student: Student, draw: np.random.Generator) -> None:
    """Copies that are brighter or darker by one number."""
    for trains, tests in ((1, 3), (8, 9), (12, 6), (30, 25), (60, 40), (25, 60)):
        train, test = _pictures(draw, trains), _pictures(draw, tests)
        for i in draw.permutation(tests)[: tests // 2 + 1]:
            shift = int(draw.choice([-40, -17, -3, -1, 0, 1, 2, 9, 25, 50]))
            test[i] = (train[draw.integers(trains)].astype(int) + shift).astype(np.uint8)
        _leaks(student, train, test, "brighter and darker copies")


def near_misses(student: Student, draw: np.random.Generator) -> None:
    """Images that are nearly the same, beside some that are."""
    train = _pictures(draw, 66, 0, 256)
    test = train.copy()
    for pixel in range(64):  # each differs from its copy by one, in a pixel of its own
        test[pixel].reshape(64)[pixel] ^= 1
    _leaks(student, train, draw.permutation(test), "one pixel differs")
    for trains, tests in ((2, 4), (8, 9), (12, 8), (30, 25), (60, 40), (25, 60)):
        train, test = _pictures(draw, trains, 0, 256), _pictures(draw, tests, 0, 256)
        for i in range(tests):
            copy = train[draw.integers(trains)].copy()
            kind = int(draw.integers(3))
            if kind == 0:  # brighter, and round the corner from 255 to 0
                copy += np.uint8(draw.integers(1, 256))
            elif kind == 1:  # brighter, and cut off at 255
                copy = np.minimum(copy.astype(int) + 60, 255).astype(np.uint8)
            test[i] = copy
        _leaks(student, train, test, "nearly the same")


def the_same_pixels_elsewhere(student: Student, draw: np.random.Generator) -> None:
    """Images with the same pixels in other places, or the same mean, beside some copies."""
    for trains, tests in ((2, 4), (8, 9), (12, 8), (30, 25), (60, 40), (25, 60)):
        train, test = _pictures(draw, trains), _pictures(draw, tests)
        for i in range(tests):
            copy = train[draw.integers(trains)].copy()
            kind = int(draw.integers(4))
            if kind == 0:
                copy = draw.permutation(copy.ravel()).reshape(copy.shape)
            elif kind == 1:
                copy = copy[..., ::-1]
            elif kind == 2:
                copy[0, 0, 0], copy[0, 7, 7] = copy[0, 0, 0] + 5, copy[0, 7, 7] - 5
            test[i] = copy
        _leaks(student, train, test, "the same pixels elsewhere")


EXERCISES = {
    "new_head": [trunk_is_kept, source_is_left_alone, head_has_the_new_classes, head_is_drawn],
    "freeze": [
        trunk_has_no_gradient, head_still_trains, statistics_stand_still, also_while_training,
    ],
    "features": [
        of_the_trunk_in_use, of_all_images, made_for_training_a_head, network_as_before,
    ],
    "fine_tune_step": [
        loss_is_told, head_moves_as_it_should, trunk_moves_as_it_should, averages_follow_once,
        two_steps_in_a_row,
    ],
    "paired_interval": [
        ten_seeds, other_numbers_of_seeds, rows_in_any_order, seeds_without_a_partner,
    ],
    "choose": [clear_curves, equal_ways, gaps_and_disorder],
    "leaked": [exact_copies, brighter_copies, near_misses, the_same_pixels_elsewhere],
}  # fmt: skip
