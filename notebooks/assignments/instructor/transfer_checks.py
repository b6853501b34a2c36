"""Hidden checks of the transfer assignment. Keep this file from your students."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import t
from torch.nn import functional

from mtl_course import datasets, networks
from mtl_course.grading.checks import Student, Wrong, same

# What stands before each of the scripts below, which run beside the student's functions: a network
# made of the arrays that are sent. Nothing in a script tells what is right.
BUILD = """
import torch
from mtl_course import datasets, networks

blank = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
network = networks.classifier(datasets.Dataset(*blank, classes=names), width=width)
network.load_state_dict(state)
network.train(training)


def copied(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
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
        else:
            state[name] = torch.tensor(draw.normal(0, 0.3, shape), dtype=torch.float32)
    network.load_state_dict(state)
    return network.eval()


def _sent(network: networks.Network, training: bool) -> dict:
    """What `BUILD` needs to make this network again."""
    width = network.trunk[0][0].out_channels
    state = {name: value.clone() for name, value in network.state_dict().items()}
    return {"names": network.names, "width": width, "state": state, "training": training}


def _images(draw: np.random.Generator, m: int) -> torch.Tensor:
    return torch.tensor(draw.integers(0, 256, (m, 1, 8, 8)), dtype=torch.uint8)


def _unmoved(before: dict, after: object, names: Sequence[str], where: str) -> None:
    """Raises Wrong unless these weights and statistics are the same, bit for bit."""
    if not isinstance(after, dict):
        raise Wrong(f"{where}: there is no network any more.")
    for name in names:
        was, now = before[name].numpy(), after.get(name)
        if not isinstance(now, np.ndarray) or now.shape != was.shape:
            raise Wrong(f"{where}: {name} is missing, or has another shape.")
        if not np.array_equal(now, was):
            far = np.abs(now.astype(float) - was.astype(float)).max()
            raise Wrong(f"{where}: {name} has moved by up to {far:.2g}.")


def _names(network: networks.Network, part: str, statistics: bool | None = None) -> list[str]:
    """Names of the state of a part. statistics: only those that are, or are not, averages."""
    found = [name for name in network.state_dict() if name.startswith(part)]
    if statistics is None:
        return found
    averages = ("running_mean", "running_var", "num_batches_tracked")
    return [name for name in found if name.endswith(averages) == statistics]


# ---------------------------------------------------------------------- 1. new_head

NEW_HEAD = f"""{BUILD}
new = new_head(network, new_names, seed)
if not isinstance(new, networks.Network):
    raise TypeError("new_head must return a networks.Network")
answer = {{"new": copied(new), "names": list(new.names)}}
torch.rand(3)
answer["again"] = copied(new_head(network, new_names, seed).head)
answer["other"] = copied(new_head(network, new_names, seed + 1).head)
answer["logits"] = new.eval()(images)
with torch.no_grad():
    for number in [*new.parameters(), *new.buffers()]:
        number.add_(1)
answer["old"] = copied(network)
"""


def _surgery(student: Student, draw: np.random.Generator) -> Iterator[tuple]:
    """Networks before and after surgery. The last two keep their number of classes."""
    for old, new, width in ((10, 3, 2), (2, 10, 1), (5, 26, 3), (3, 1, 2), (10, 10, 2), (4, 4, 3)):
        network, images = _network(draw, old, width), _images(draw, 5)
        seed, training = int(draw.integers(1000)), bool(draw.integers(2))
        new_names = [f"new {k}" for k in range(new)]
        sent = _sent(network, training) | {"new_names": new_names, "seed": seed, "images": images}
        got = student.run(NEW_HEAD, **sent)
        if not isinstance(got, dict) or not isinstance(got.get("new"), dict):
            raise Wrong("new_head gives no network.")
        yield network, images, new_names, got, f"{old} classes to {new}, width {width}"


def trunk_is_kept(student: Student, draw: np.random.Generator) -> None:
    """The trunk keeps its weights and its statistics."""
    for network, _, _, got, where in _surgery(student, draw):
        _unmoved(network.state_dict(), got["new"], _names(network, "trunk"), where)


def source_is_left_alone(student: Student, draw: np.random.Generator) -> None:
    """The old network stays as it was, whatever happens to the new one."""
    for network, _, _, got, where in _surgery(student, draw):
        _unmoved(network.state_dict(), got["old"], _names(network, ""), f"{where}, old network")


def head_has_the_new_classes(student: Student, draw: np.random.Generator) -> None:
    """The head reads the trunk's features, and gives a logit for each new class."""
    for network, images, new_names, got, where in _surgery(student, draw):
        if got["names"] != new_names:
            raise Wrong(f"{where}: the new network's names are not the new classes.")
        features = network.head.in_features
        for name, shape in (("weight", (len(new_names), features)), ("bias", (len(new_names),))):
            if np.shape(got["new"].get(f"head.{name}")) != shape:
                raise Wrong(f"{where}: the head's {name} has the wrong shape, or there is none.")
        head = torch.as_tensor(got["new"]["head.weight"], dtype=torch.float32)
        bias = torch.as_tensor(got["new"]["head.bias"], dtype=torch.float32)
        with torch.no_grad():
            wanted = network.trunk(datasets.normalise(images)) @ head.T + bias
        same(got["logits"], wanted.numpy(), f"{where}, logits", tolerance=1e-4)


def head_is_drawn(student: Student, draw: np.random.Generator) -> None:
    """The head's weights are random, and the seed decides them."""
    for network, _, _, got, where in _surgery(student, draw):
        weight, again, other = (
            head.get(name) if isinstance(head, dict) else None
            for head, name in (
                (got["new"], "head.weight"),
                (got.get("again"), "weight"),
                (got.get("other"), "weight"),
            )
        )
        old = network.head.weight.detach().numpy()
        if not isinstance(weight, np.ndarray) or weight.shape[1:] != old.shape[1:]:
            raise Wrong(f"{where}: there is no head that reads the trunk's features.")
        if not np.array_equal(weight, again):
            raise Wrong(f"{where}: the same seed gives another head.")
        if np.array_equal(weight, other):
            raise Wrong(f"{where}: another seed gives the same head.")
        if len(np.unique(weight)) < weight.size / 2:
            raise Wrong(f"{where}: the head's weights are not random.")
        kept = sum(np.isclose(row, old).all(axis=1).any() for row in weight)
        if kept:
            raise Wrong(f"{where}: {kept} rows of the head are the old head's.")


# ---------------------------------------------------------------------- 2. freeze

FREEZE = f"""{BUILD}
freeze(network)
answer = {{"trains": {{name: p.requires_grad for name, p in network.named_parameters()}}}}
network(images)
answer["seen"] = copied(network)
network.train()
network(images)
answer["trained"] = copied(network)
"""


def _frozen(student: Student, draw: np.random.Generator) -> Iterator[tuple]:
    for training in (True, True, False, True, False, True):
        network = _network(draw, int(draw.integers(2, 11)), int(draw.integers(1, 4)))
        images = _images(draw, int(draw.integers(4, 20)))
        got = student.run(FREEZE, **_sent(network, training), images=images)
        mode = "training" if training else "evaluation"
        yield network, got, f"a network of {len(network.names)} classes in {mode} mode"


def trunk_has_no_gradient(student: Student, draw: np.random.Generator) -> None:
    """No weight of the trunk trains."""
    for network, got, where in _frozen(student, draw):
        flags = got["trains"]
        moving = [name for name, _ in network.trunk.named_parameters() if flags[f"trunk.{name}"]]
        if moving:
            raise Wrong(f"{where}: {len(moving)} of the trunk's parameters still train.")


def head_still_trains(student: Student, draw: np.random.Generator) -> None:
    """The trunk is frozen, and the head still trains."""
    for network, got, where in _frozen(student, draw):
        flags = got["trains"]
        if all(flags[f"trunk.{name}"] for name, _ in network.trunk.named_parameters()):
            raise Wrong(f"{where}: nothing is frozen.")
        if not flags["head.weight"] or not flags["head.bias"]:
            raise Wrong(f"{where}: the head does not train any more.")


def statistics_stand_still(student: Student, draw: np.random.Generator) -> None:
    """Nothing moves while images pass, in whatever mode the network came."""
    for network, got, where in _frozen(student, draw):
        _unmoved(network.state_dict(), got["seen"], _names(network, ""), where)


def also_while_training(student: Student, draw: np.random.Generator) -> None:
    """Nothing moves after somebody has called network.train(), as a training loop does."""
    for network, got, where in _frozen(student, draw):
        _unmoved(network.state_dict(), got["trained"], _names(network, ""), where)


# ---------------------------------------------------------------------- 3. head_step

HEAD_STEP = f"""{BUILD}
losses = [head_step(network, x, y, rate) for x, y in batches]
answer = {{"losses": losses, "after": copied(network)}}
"""


def _steps(student: Student, draw: np.random.Generator) -> Iterator[tuple]:
    """Two steps in a row, on other images: what is left over of the first one shows."""
    for k, rate in enumerate((0.1, 0.5, 0.03, 1.0, 0.2, 0.7)):
        classes = int(draw.integers(2, 11))
        network, training = _network(draw, classes, int(draw.integers(1, 4))), k != 4
        batches = []
        for _ in range(2):
            m = int(draw.integers(2, 24))
            batches.append((_images(draw, m), torch.tensor(draw.integers(0, classes, m))))
        got = student.run(HEAD_STEP, **_sent(network, training), batches=batches, rate=rate)
        if not isinstance(got["losses"], list):
            raise Wrong("head_step gives no loss.")
        mode = "training" if training else "evaluation"
        yield network, batches, rate, got, f"{classes} classes, rate {rate}, {mode} mode"


def _taught(network: networks.Network, batches: Sequence, rate: float) -> tuple[list, dict]:
    """The losses and the head that right steps leave."""
    weight = network.head.weight.detach().double().numpy()
    bias = network.head.bias.detach().double().numpy()
    found = []
    for images, labels in batches:
        with torch.no_grad():
            features = network.trunk(datasets.normalise(images)).double().numpy()
        logits = features @ weight.T + bias
        loss = functional.cross_entropy(torch.tensor(logits), labels)
        found.append(float(loss))
        chances = torch.tensor(logits).softmax(1).numpy()
        chances[np.arange(len(labels)), labels.numpy()] -= 1
        weight = weight - rate * chances.T @ features / len(labels)
        bias = bias - rate * chances.mean(0)
    return found, {"head.weight": weight, "head.bias": bias}


def _head_moved(
    network: networks.Network, batches: Sequence, rate: float, after: dict, where: str
) -> None:
    """Raises Wrong if nothing of the head has moved that should: of a dead feature nothing does."""
    before = network.state_dict()
    moving = {
        name: before[name].numpy()
        for name, wanted in _taught(network, batches, rate)[1].items()
        if abs(wanted - before[name].numpy()).max() > 1e-4
    }
    if moving and all(np.array_equal(after.get(name), old) for name, old in moving.items()):
        raise Wrong(f"{where}: the head has not moved.")


def head_moves_as_it_should(student: Student, draw: np.random.Generator) -> None:
    """The head makes a step of gradient descent, and then another one."""
    for network, batches, rate, got, where in _steps(student, draw):
        for name, wanted in _taught(network, batches, rate)[1].items():
            same(got["after"].get(name), wanted, f"{where}, {name}", tolerance=2e-4)


def trunk_weights_stay(student: Student, draw: np.random.Generator) -> None:
    """No weight of the trunk moves, and the head does."""
    for network, batches, rate, got, where in _steps(student, draw):
        _head_moved(network, batches, rate, got["after"], where)
        still = _names(network, "trunk", statistics=False)
        _unmoved(network.state_dict(), got["after"], still, where)


def trunk_statistics_stay(student: Student, draw: np.random.Generator) -> None:
    """The trunk's batch statistics do not move, and the head does."""
    for network, batches, rate, got, where in _steps(student, draw):
        _head_moved(network, batches, rate, got["after"], where)
        still = _names(network, "trunk", statistics=True)
        _unmoved(network.state_dict(), got["after"], still, where)


def loss_is_told(student: Student, draw: np.random.Generator) -> None:
    """What comes back is the loss before the step."""
    for network, batches, rate, got, where in _steps(student, draw):
        first, _ = _taught(network, batches, rate)
        same(got["losses"][0], first[0], f"{where}, first loss", tolerance=2e-4)


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
    student: Student,
    draw: np.random.Generator,
    seeds: int,
    shuffled: bool = False,
    alone: int = 0,
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
    """Curves where the interval decides for one way or for neither."""
    for _ in range(8):
        _choose(student, draw, (SUPPORTED, OPPOSITE, UNCLEAR))


def equal_ways(student: Student, draw: np.random.Generator) -> None:
    """Where there is no difference the cheaper way is chosen."""
    for _ in range(8):
        _choose(student, draw, (EQUAL, UNCLEAR, OPPOSITE))


def gaps_and_disorder(student: Student, draw: np.random.Generator) -> None:
    """Rows in any order, seeds without a partner, and other ways among them."""
    for _ in range(8):
        _choose(student, draw, (SUPPORTED, OPPOSITE, EQUAL, UNCLEAR), disorder=True)


def _choose(
    student: Student, draw: np.random.Generator, words: Sequence[str], disorder: bool = False
) -> None:
    margin = float(draw.choice([0.01, 0.02]))
    sizes = sorted(map(int, draw.choice(LABELS, int(draw.integers(4, 8)), replace=False)))
    truths, rows = [], []
    for labels in sizes:
        word = str(draw.choice(words))
        truths.append({SUPPORTED: "new head", EQUAL: "new head", OPPOSITE: "all layers"}.get(word))
        rows += _curve_rows(draw, labels, _ends(draw, word, margin, small=False), disorder, word)
    table = pd.DataFrame(rows)
    if disorder:
        table = table.iloc[draw.permutation(len(table))].reset_index(drop=True)
    got = student.call("choose", table, margin)
    if not isinstance(got, list) or len(got) != len(sizes):
        raise Wrong(
            f"{len(sizes)} numbers of labels: the answer must be a list with one text each."
        )
    for labels, said, truth in zip(sizes, got, truths, strict=True):
        if type(said) is not str or said != (truth or UNCLEAR):
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
    for trains, tests in ((2, 4), (8, 9), (12, 8), (30, 25), (60, 40), (25, 60)):
        train, test = _pictures(draw, trains, 0, 256), _pictures(draw, tests, 0, 256)
        for i in range(tests):
            copy = train[draw.integers(trains)].copy()
            kind = int(draw.integers(4))
            if kind == 0:  # one pixel differs by one
                place = tuple(draw.integers(0, 8, 2))
                copy[(0, *place)] ^= 1
            elif kind == 1:  # brighter, and round the corner from 255 to 0
                copy += np.uint8(draw.integers(1, 256))
            elif kind == 2:  # brighter, and cut off at 255
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
        validation, test = _scores(draw, k, seeds)
        _honest(student, validation, test, "")


def many_seeds_one_setting(student: Student, draw: np.random.Generator) -> None:
    """The mean over seeds decides, not the best single run."""
    for k, seeds in ((2, 3), (3, 4), (4, 5), (6, 10), (9, 3), (20, 5), (5, 4), (8, 6)):
        validation, test = _scores(draw, k, seeds)
        worst = int(validation.mean(axis=1).argmin())
        validation[worst] -= 0.1
        validation[worst, int(draw.integers(seeds))] = validation.max() + 0.02
        _honest(student, validation, test, ", one lucky run")


def runs_that_broke_off(student: Student, draw: np.random.Generator) -> None:
    """A setting with a run that broke off is not chosen."""
    for k, seeds in ((2, 3), (3, 4), (4, 5), (6, 10), (9, 3), (20, 5), (5, 4), (8, 6)):
        validation, test = _scores(draw, k, seeds)
        broken = int(np.argmax(validation.mean(axis=1)))
        validation[broken, int(draw.integers(seeds))] = np.nan
        if k > 3:
            validation[(broken + 1) % k] = np.nan
        _honest(student, validation, test, ", some runs broke off")


def _scores(draw: np.random.Generator, k: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Means that differ by more than rounding, in an order of their own on each side."""
    noise = draw.normal(0, 0.03, (2, k, seeds))
    noise -= noise.mean(axis=2, keepdims=True)
    means = np.linspace(0.6, 0.85, k)
    validation = draw.permutation(means)
    test = draw.permutation(means) - 0.03
    best = int(validation.argmax())
    if test.argmax() == best:
        test = np.roll(test, 1)
    return validation[:, None] + noise[0], test[:, None] + noise[1]


def _honest(student: Student, validation: np.ndarray, test: np.ndarray, where: str) -> None:
    means = validation.mean(axis=1)
    wanted = test[int(np.nanargmax(means))].mean()
    got = student.call("honest_score", validation, test)
    same(got, wanted, f"{len(test)} settings, {test.shape[1]} seeds{where}", tolerance=1e-6)


EXERCISES = {
    "new_head": [trunk_is_kept, source_is_left_alone, head_has_the_new_classes, head_is_drawn],
    "freeze": [
        trunk_has_no_gradient,
        head_still_trains,
        statistics_stand_still,
        also_while_training,
    ],
    "head_step": [
        head_moves_as_it_should,
        trunk_weights_stay,
        trunk_statistics_stay,
        loss_is_told,
    ],
    "paired_interval": [
        ten_seeds,
        other_numbers_of_seeds,
        rows_in_any_order,
        seeds_without_a_partner,
    ],
    "verdict": [clear_of_zero, within_the_margin, small_and_clear],
    "choose": [clear_curves, equal_ways, gaps_and_disorder],
    "leaked": [exact_copies, brighter_copies, near_misses, the_same_pixels_elsewhere],
    "honest_score": [chosen_on_validation, many_seeds_one_setting, runs_that_broke_off],
}
