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
        elif name.endswith("1.weight"):  # batch normalisation's factors
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


# ---------------------------------------------------------------------- 3. head_step

HEAD_STEP = f"""{BUILD}
statistics = [(value, state[name]) for name, value in network.named_buffers()]
losses = [head_step(network, x, y, rate) for x, y in batches]
with torch.no_grad():
    answer = {{"losses": losses, "head": network.head(vectors), **seen(network)}}
    for now, before in statistics:
        now.copy_(before)
    answer["features by old statistics"] = seen(network)["features"]
"""


def _right_step(network: networks.Network, images: torch.Tensor, labels: torch.Tensor, rate: float):
    networks.freeze(network.trunk)
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    gradients = torch.autograd.grad(loss, list(network.head.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(network.head.parameters(), gradients, strict=True):
            weight -= rate * gradient
    return loss.detach()


def _steps(student: Student, draw: np.random.Generator) -> Iterator[tuple]:
    """Two steps in a row, on other images: what is left over of the first one shows.

    In the last network features are large, and so are gradients: clipping them shows.
    """
    for rate in (0.1, 0.4, 0.06, 0.2, 0.0005):
        classes, training, moved, loss = int(draw.integers(2, 11)), rate != 0.06, 0.0, 0.0
        while not (moved > 0.01 and loss < 8):  # no dead network, and no logits out of bounds
            network = _network(draw, classes, int(draw.integers(1, 4)))
            sent = _sent(draw, network, training)
            if rate == 0.0005:
                length = np.linalg.norm(_features(network, sent), axis=1).mean()
                _enlarge(network, 60 / max(length, 0.1))
                sent["state"] = network.state_dict()
            sent |= {"batches": _batches(draw, classes, 2), "rate": rate}
            right = _answer(HEAD_STEP, sent, head_step=_right_step)
            before = network.head(sent["vectors"]).detach()
            moved, loss = (right["head"] - before).abs().max(), max(right["losses"])
        mode = "training" if training else "evaluation"
        where = f"{classes} classes, rate {rate}, {mode} mode"
        yield before.numpy(), student.run(HEAD_STEP, **sent), right, where


def _enlarge(network: networks.Network, factor: float) -> None:
    """Make the features larger, and the logits what they were."""
    for values in network.trunk[2][1].parameters():
        values.data *= factor
    network.head.weight.data /= factor


def head_moves_as_it_should(student: Student, draw: np.random.Generator) -> None:
    """The head makes a step of gradient descent, and then another one."""
    for _, got, right, where in _steps(student, draw):
        _alike(got, right, ("head",), where)


def trunk_weights_stay(student: Student, draw: np.random.Generator) -> None:
    """No weight of the trunk moves, and the head does."""
    _trunk_stays(student, draw, "features by old statistics")


def trunk_statistics_stay(student: Student, draw: np.random.Generator) -> None:
    """In use the trunk's features are what they were, statistics and all, and the head moves."""
    _trunk_stays(student, draw, "features")


def _trunk_stays(student: Student, draw: np.random.Generator, name: str) -> None:
    downhill = []  # cosines of the angle between the head's steps and the right ones
    for before, got, right, where in _steps(student, draw):
        _alike(got, right, (name,), where)
        made, asked = got["head"] - before, right["head"].numpy() - before
        lengths = np.linalg.norm(made) * np.linalg.norm(asked)
        downhill.append((made * asked).sum() / (lengths + 1e-9))
    if not np.mean(downhill) > 0.2:
        raise Wrong("The trunk stays, but the head makes no steps downhill.")


def loss_is_told(student: Student, draw: np.random.Generator) -> None:
    """What comes back is the loss before the step."""
    for _, got, right, where in _steps(student, draw):
        same(got["losses"][0], float(right["losses"][0]), f"{where}, first loss", tolerance=2e-4)


# ---------------------------------------------------------------------- 4. paired_interval

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


# ---------------------------------------------------------------------- 5. verdict

SUPPORTED, OPPOSITE = "supported", "opposite"
EQUAL, UNCLEAR = "no difference", "cannot tell"


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


def _verdicts(student: Student, draw: np.random.Generator, words: Sequence[str], small: bool):
    cases, truths = [], []
    for k in range(48):
        truths.append(words[k % len(words)])
        margin = float(draw.choice([0.005, 0.01, 0.02, 0.05]))
        low, high = _ends(draw, truths[-1], margin, small)
        cases.append([float(low), float(high), margin])
    order = draw.permutation(len(cases))
    cases, truths = [cases[k] for k in order], [truths[k] for k in order]
    got = student.run("answer = [verdict(*case) for case in cases]", cases=cases)
    if not isinstance(got, list) or len(got) != len(cases):
        raise Wrong("verdict gives no words.")
    for (low, high, margin), said, truth in zip(cases, got, truths, strict=True):
        if type(said) is not str or said != truth:
            raise Wrong(f"not the right word for {low:.4f} to {high:.4f} with a margin of {margin}")


def clear_of_zero(student: Student, draw: np.random.Generator) -> None:
    """Intervals on one side of 0, and wide ones around it."""
    _verdicts(student, draw, (SUPPORTED, OPPOSITE, UNCLEAR), small=False)


def within_the_margin(student: Student, draw: np.random.Generator) -> None:
    """Intervals around 0, within the margin and beyond it on one side or on both."""
    _verdicts(student, draw, (EQUAL, UNCLEAR), small=True)


def small_and_clear(student: Student, draw: np.random.Generator) -> None:
    """All four words, also for intervals that lie within the margin and on one side of 0."""
    _verdicts(student, draw, (SUPPORTED, OPPOSITE, EQUAL, UNCLEAR), small=True)


# ---------------------------------------------------------------------- 6. choose

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


# ---------------------------------------------------------------------- 8. honest_score


def chosen_on_validation(student: Student, draw: np.random.Generator) -> None:
    """The setting that is best on validation is not the best on test."""
    for k, seeds in ((2, 3), (3, 1), (4, 5), (6, 10), (9, 3), (20, 5), (5, 4), (8, 2)):
        _honest(student, draw, _scores(draw, k, seeds), "")


def many_seeds_one_setting(student: Student, draw: np.random.Generator) -> None:
    """The mean over seeds decides: not the best single run, nor the worst one, nor the median."""
    for k, seeds in ((4, 3), (5, 4), (4, 5), (6, 6), (9, 8), (20, 5), (5, 7), (8, 3)):
        validation = draw.uniform(0.3, 0.5, (k, seeds))
        # Four settings: mean, one run, and the others so that this is their mean.
        best, lucky, unlucky, steady = (0.8, 0.71), (0.7, 0.95), (0.76, None), (0.74, 0.74)
        for row, (mean, one) in zip(validation, (best, lucky, unlucky, steady), strict=False):
            one = mean * seeds - 0.86 * (seeds - 1) if one is None else one
            row[:] = (mean * seeds - one) / (seeds - 1)
            row[int(draw.integers(seeds))] = one
        validation += draw.uniform(0, 0.001, validation.shape)
        _honest(student, draw, draw.permutation(validation), ", lucky and unlucky runs")


def runs_that_broke_off(student: Student, draw: np.random.Generator) -> None:
    """A setting with a run that broke off is not chosen, however good its other runs are."""
    for k, seeds in ((2, 3), (3, 4), (4, 5), (6, 10), (9, 3), (20, 5), (5, 4), (8, 6), (3, 1)):
        validation = _scores(draw, k, seeds) - 0.3
        for row in validation[: 1 + (k > 3)]:  # even with 0 for the run it would be the best
            row[:] = draw.uniform(0.97, 0.99, seeds)
            row[int(draw.integers(seeds))] = np.nan
        _honest(student, draw, draw.permutation(validation), ", some runs broke off")


def _scores(draw: np.random.Generator, k: int, seeds: int) -> np.ndarray:
    """Means from 0.6 to 0.85 that differ by more than rounding, in any order."""
    noise = draw.normal(0, 0.03, (k, seeds))
    return draw.permutation(np.linspace(0.6, 0.85, k))[:, None] + noise - noise.mean(1)[:, None]


def _honest(
    student: Student, draw: np.random.Generator, validation: np.ndarray, where: str
) -> None:
    best, test = int(np.nanargmax(validation.mean(axis=1))), _scores(draw, *validation.shape)
    if test.mean(axis=1).argmax() == best:
        test = np.roll(test, 1, axis=0)
    got = student.call("honest_score", validation, test)
    where = f"{len(test)} settings, {test.shape[1]} seeds{where}"
    same(got, test[best].mean(), where, tolerance=1e-6)


EXERCISES = {
    "new_head": [trunk_is_kept, source_is_left_alone, head_has_the_new_classes, head_is_drawn],
    "freeze": [
        trunk_has_no_gradient, head_still_trains, statistics_stand_still, also_while_training,
    ],
    "head_step": [
        head_moves_as_it_should, trunk_weights_stay, trunk_statistics_stay, loss_is_told,
    ],
    "paired_interval": [
        ten_seeds, other_numbers_of_seeds, rows_in_any_order, seeds_without_a_partner,
    ],
    "verdict": [clear_of_zero, within_the_margin, small_and_clear],
    "choose": [clear_curves, equal_ways, gaps_and_disorder],
    "leaked": [exact_copies, brighter_copies, near_misses, the_same_pixels_elsewhere],
    "honest_score": [chosen_on_validation, many_seeds_one_setting, runs_that_broke_off],
}  # fmt: skip
