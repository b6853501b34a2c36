"""Guards explorers.page and explorers.your_turn: parameters, verdicts, cells to fill in."""

import copy

import pandas as pd
import pytest
import torch
from torch import nn

from mtl_course import gradients, losses, networks, scenes
from mtl_course.datasets import UNKNOWN, hide
from mtl_course.explorers import page, your_turn


@pytest.fixture
def shown(monkeypatch) -> list:
    what = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: what.append(data))
    return what


@pytest.mark.parametrize(
    ("value", "allowed", "want"),
    [(50, range(2, 101), 50), ("Quick", ("quick", "full"), "quick"), (0.5, (0.5, 0.8), 0.5)],
)
def test_a_parameter_that_can_be_used_is_given_back(value, allowed, want, shown):
    assert page.parameter("it", value, allowed, "default") == want
    assert not shown


@pytest.mark.parametrize(
    ("value", "allowed", "words"),
    [
        (1, range(2, 5_001), "from 2 to 5,000"),
        ("many", range(2, 5_001), "from 2 to 5,000"),
        (True, range(5), "a whole number"),
        (2.5, range(5), "a whole number"),
        (None, ("quick", "full"), "`'quick'` or `'full'`"),
    ],
)
def test_another_gets_a_sentence_and_the_default(value, allowed, words, shown):
    assert page.parameter("it", value, allowed, "default") == "default"
    assert words in shown[0].data
    assert f"it = {value!r}" in shown[0].data


def test_between_two_numbers_the_nearest_is_taken(shown):
    assert page.parameter("fraction", 0.3, (0.25, 0.5, 0.8), 0.5) == 0.25
    assert "nearest" in shown[0].data
    assert page.parameter("fraction", 3, (0.25, 0.5, 0.8), 0.5) == 0.5
    assert "nearest" not in shown[1].data


def test_verdicts_are_a_table_and_a_result(shown):
    row = {"mean": 0.0301, "low": 0.02, "high": 0.0402, "verdict": "supported"}
    unsure = {"mean": -0.001, "low": -0.03, "high": 0.028, "verdict": "cannot tell"}
    page.verdicts({"a < b": pd.Series(row), "c": pd.Series(unsure)}, seed=3)
    (data,) = shown
    assert data[page.RESULT] == {
        "seed": 3,
        "verdicts": {"a < b": "supported", "c": "cannot tell"},
    }
    for text in ("a &lt; b", "✓", "+0.030", "+0.020 to +0.040", "?", "-0.001"):
        assert text in data["text/html"]
    assert "other seeds" not in data["text/html"]


def test_verdicts_of_other_seeds_stand_beside_them(shown):
    row = {"mean": 0.03, "low": 0.02, "high": 0.04, "verdict": "supported"}
    again = {"mean": 0.01, "low": -0.02, "high": 0.04, "verdict": "cannot tell"}
    gains = {name: pd.Series(row) for name in "ab"}
    page.verdicts(gains, {"a": pd.Series(again)}, seed=3)
    (data,) = shown
    assert data["text/html"].count("not repeated") == 1
    assert "other seeds" in data["text/html"]
    assert "? +0.010 (-0.020 to +0.040)" in data["text/html"]
    assert data[page.RESULT]["verdicts"] == {"a": "supported", "b": "supported"}


# ---------------------------------------------------------------------- your turn


@pytest.fixture(scope="module")
def roads():
    return scenes.draw(30, seed=0, jobs=1)


class Net(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
        self.head = nn.Linear(8, outputs)


def like(net: Net, outputs: int = 2) -> Net:
    copied = Net(outputs)
    copied.trunk.load_state_dict(net.trunk.state_dict())
    return copied


def with_head(source: Net, head: nn.Module) -> Net:
    net = like(source)
    net.head = head
    return net


def frozen(net: Net) -> Net:
    net.trunk.requires_grad_(False)
    return net


SOURCE = Net(8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda source: like(source), "✓"),
        (lambda source: like(source, 8), "8 outputs"),
        (lambda source: Net(2), "weights that learned A"),
        (lambda source: with_head(source, nn.Linear(4, 2)), "RuntimeError"),
        (lambda source: None, "AttributeError"),
        (lambda source: frozen(like(source)), "frozen"),
    ],
)
def test_fine_tuning_is_checked(make, words):
    assert words in your_turn.fine_tuning(make, SOURCE, outputs=2)


def thawed(blocks: list[int], change=lambda net: None):
    """Return what lets these blocks of a copy train, and changes it."""

    def thaw(source: networks.Network) -> networks.Network:
        net = copy.deepcopy(source)
        for number in blocks:
            networks.blocks(net)[number].requires_grad_(True)
        change(net)
        return net

    return thaw


def changed(net: networks.Network) -> None:
    with torch.no_grad():
        net.head.bias.add_(1)


def thaw_the_original(source: networks.Network) -> networks.Network:
    source.trunk[-3].requires_grad_(True)
    return copy.deepcopy(source)


@pytest.mark.parametrize(
    ("thaw", "words"),
    [
        (thawed([-1]), "✓"),
        (thawed([]), "do not train"),
        (thawed([-1], lambda net: net.head.requires_grad_(False)), "do not train"),
        (thawed([0, 1, 2]), "only the last of the 3 blocks"),
        (thawed([-1], changed), "has changed"),
        (thaw_the_original, "Change the copy"),
        (lambda source: source, "Change the copy"),
        (lambda source: None, "AttributeError"),
    ],
)
def test_the_last_block_is_checked(thaw, words):
    source = networks.shared(["a", "b"], width=2, seed=0)
    networks.freeze(source.trunk)
    assert words in your_turn.last_block(thaw, source)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ("01?1000010", "✓ Right. Yes: trousers, dress, bag."),
        ("01?1000010", "Unknown, so masked: pullover."),
        ("0101000010", "Unknown, so masked: none."),
        ("??????????", "without a yes and a no"),
        ("1111111111", "without a yes and a no"),
        ("010", "One of 0, 1 and ?"),
        ("01x1000010", "One of 0, 1 and ?"),
        (None, "One of 0, 1 and ?"),
    ],
)
def test_a_question_is_checked(answers, words):
    assert words in your_turn.question(answers)


def test_a_gain_is_checked():
    table = pd.DataFrame({"a": [0.7, 0.9], "b": [0.6, 0.6]})
    assert "✓" in your_turn.paired_gain(0.2, table, "a", "b")
    for wrong in (None, 0.1, -0.2):
        assert "Not yet" in your_turn.paired_gain(wrong, table, "a", "b")


def test_the_gap_to_the_more_frequent_answer_is_checked():
    tasks = ["car", "sign"]
    accuracy, usual = pd.Series([0.8, 0.7], tasks), pd.Series([0.6, 0.4], tasks)
    assert "sign +0.300" in your_turn.above_usual(accuracy - usual, accuracy, usual)
    for wrong in (None, 0.2, accuracy, (accuracy - usual).rename({"car": "cat"})):
        assert "Not yet" in your_turn.above_usual(wrong, accuracy, usual)


def known(labels):
    return labels != UNKNOWN


def right(logits, labels):
    each = nn.functional.binary_cross_entropy_with_logits(
        logits, labels.clamp(min=0).float(), reduction="none"
    )
    return (each * known(labels)).sum() / len(labels)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (right, "✓"),
        (losses.multi_task, "✓"),
        (lambda logits, labels: right(logits, labels) / 4, "0.25 times"),
        (lambda logits, labels: right(logits.detach(), labels).requires_grad_(), "gradient"),
        (lambda logits, labels: logits.log().mean(), "no probabilities"),
        (lambda logits, labels: None, "one number"),
        (lambda logits, labels: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_loss_is_checked(loss, words, roads):
    assert words in your_turn.vectorised_loss(loss, roads)


def pairwise(logits, labels):
    return (logits[labels == 1][:, None] > logits[labels == 0]).double().mean()


@pytest.mark.parametrize(
    ("auc", "words"),
    [
        (pairwise, "✓"),
        (lambda logits, labels: 1 - pairwise(logits, labels), "wrong way round"),
        (lambda logits, labels: 0.5, "Not yet: got 0.5000"),
        (lambda logits, labels: 1 / 0, "ZeroDivisionError"),
        (lambda logits, labels: None, "TypeError"),
    ],
)
def test_an_auc_is_checked(auc, words):
    assert words in your_turn.ranking(auc)


@pytest.mark.parametrize(
    ("deal", "words"),
    [
        (lambda labels: labels[torch.randperm(len(labels))], "✓"),
        (lambda labels: labels, "its own labels"),
        (lambda labels: labels.flip(1), "rows of answers"),
        (lambda labels: labels[torch.zeros(len(labels)).long()], "rows of answers"),
        (lambda labels: labels[:3], "shape"),
        (lambda labels: None, "AttributeError"),
    ],
)
def test_dealt_labels_are_checked(deal, words, roads):
    assert words in your_turn.dealing(deal, roads.labels)


def test_a_network_of_the_package_passes(roads):
    source = networks.classifier(roads, width=2)
    assert "✓" in your_turn.fine_tuning(lambda net: net, source, outputs=4)


@pytest.mark.parametrize(
    ("verdict", "better"),
    [
        ("supported", "every layer"),
        ("opposite", "the new head"),
        ("cannot tell", "no difference, or cannot tell"),
        ("no difference", "no difference, or cannot tell"),
    ],
)
def test_a_gain_is_put_in_words(verdict, better):
    gain = {"seeds": 10, "mean": 0.02, "low": 0.01, "high": 0.03}
    found, text = page.answer(pd.Series(gain | {"verdict": verdict}), "every layer", "the new head")
    assert found == better
    assert text == "+0.020 (+0.010 to +0.030) for every layer over the new head, in 10 seeds."


def test_a_gradient_with_gaps_is_checked(roads):
    partly = hide(roads, 0.5, seed=0)

    def residual(logits, labels):
        return logits.sigmoid() - labels.clamp(min=0).float()

    def masked(logits, labels):
        return residual(logits, labels) * known(labels) / len(labels)

    for gradient, words in (
        (masked, "✓"),
        (residual, "pulls where"),
        (lambda *both: masked(*both) * 64, "64 times"),
        (lambda *both: masked(*both).sum(), "shape"),
        (lambda *both: None, "shape"),
        (lambda *both: 1 / 0, "ZeroDivisionError"),
    ):
        assert words in your_turn.masked_gradient(gradient, partly)


def test_thresholds_are_checked(roads):
    y = (roads.labels == 1).float()
    logits = y * 2 - 4 + torch.linspace(0, 0.1, len(roads))[:, None]  # in order, and all too low
    cuts = torch.stack([logits[:, j].quantile(1 - y[:, j].mean()) for j in range(4)])
    right = your_turn.thresholds(cuts, logits, y.mean(dim=0), roads)
    assert "✓" in right and f"from {1 - y.mean():.3f} to 1.000" in right
    for wrong in (None, 0.0, cuts[0], cuts - 3):
        assert "Not yet" in your_turn.thresholds(wrong, logits, y.mean(dim=0), roads)


def _joined(a, b):
    Y = torch.full((len(a) + len(b), 2), -1, dtype=torch.int8)
    Y[: len(a), 0], Y[len(a) :, 1] = a, b
    return Y


@pytest.mark.parametrize(
    ("join", "words"),
    [
        (_joined, "✓"),
        (lambda a, b: torch.full((5, 2), -1, dtype=torch.int8), "labels are missing"),
        (lambda a, b: _joined(a, b).clamp(min=0), "'?'"),
        (lambda a, b: torch.cat([a, b]), "(5, 2)"),
        (lambda a, b: torch.stack([a, b], dim=1), "RuntimeError"),
        (lambda a, b: None, "(5, 2)"),
    ],
)
def test_labels_of_two_sets_of_images_are_checked(join, words):
    assert words in your_turn.images_of_their_own(join)


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (16, "✓"),
        (8, "wider"),
        (15, "wider"),
        (17, "narrower"),
        (0, "whole number"),
        (16.0, "whole"),
    ],
)
def test_a_width_of_equal_weights_is_checked(width, words, roads):
    four = networks.separate(roads.tasks, width=8)
    said = your_turn.equal_weights(width, lambda w: networks.shared(roads.tasks, width=w), four)
    assert words in said


GRADIENTS = torch.randn(3, 20, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (gradients.cosines, "✓"),
        (lambda g: g @ g.T, "with itself is 1"),
        (lambda g: torch.eye(3), "the other cosines"),
        (lambda g: g, "shape (3, 3)"),
        (lambda g: g @ g, "it stopped with RuntimeError"),
    ],
)
def test_a_matrix_of_cosines_is_checked(matrix, words):
    assert words in your_turn.all_cosines(matrix, GRADIENTS)


def _projected(g, h, always=False):
    return g - (g @ h) / (h @ h) * h if always or g @ h < 0 else g


@pytest.mark.parametrize(
    ("project", "words"),
    [
        (_projected, "✓"),
        (lambda g, h: g, "in conflict, the result still opposes"),
        (lambda g, h: _projected(g, h, always=True), "that agree, torchjd's PCGrad gives"),
        (lambda g, h: g if g @ h >= 0 else 0 * g, "in conflict, torchjd's PCGrad gives"),
        (lambda g, h: None, "it stopped with"),
    ],
)
def test_a_projection_is_checked(project, words):
    assert words in your_turn.projection(project)
