"""Guards mtl_course.losses: the lecture's loss and softmax's, against the formulas written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mtl_course import losses
from mtl_course.datasets import UNKNOWN

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4))
LOGITS = st.floats(-30, 30) | st.floats(-1e4, 1e4)


@st.composite
def multi_task_batches(draw):
    shape = draw(SHAPES)
    logits = draw(hnp.arrays("float64", shape, elements=LOGITS))
    labels = draw(hnp.arrays("int8", shape, elements=st.sampled_from([0, 1, UNKNOWN])))
    return torch.from_numpy(logits), torch.from_numpy(labels)


@st.composite
def softmax_batches(draw):
    m, classes = draw(SHAPES)
    logits = draw(hnp.arrays("float64", (m, classes), elements=LOGITS))
    labels = draw(hnp.arrays("int64", (m,), elements=st.integers(0, classes - 1)))
    return torch.from_numpy(logits), torch.from_numpy(labels)


def minus_log_sigmoid(z):
    """−log σ(z) in float64, without overflow or cancellation."""
    return math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z)) - z


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > 0 else math.exp(z) / (1 + math.exp(z))


def by_hand(logits, labels):
    """The lecture's double sum and its gradient: (ŷ − y) / m where y is known."""
    m, tasks = logits.shape
    loss, gradient = 0.0, torch.zeros(m, tasks, dtype=torch.float64)
    for i in range(m):
        for j in range(tasks):
            z, y = logits[i, j].item(), labels[i, j].item()
            if y == UNKNOWN:
                continue
            # −y log σ(z) − (1 − y) log(1 − σ(z)), and 1 − σ(z) = σ(−z)
            loss += y * minus_log_sigmoid(z) + (1 - y) * minus_log_sigmoid(-z)
            gradient[i, j] = (sigmoid(z) - y) / m
    return loss / m, gradient


@settings(max_examples=80, deadline=None)
@given(multi_task_batches())
def test_multi_task_is_the_lectures_double_sum(batch):
    logits, labels = batch
    logits.requires_grad_(True)
    loss = losses.multi_task(logits, labels)
    loss.backward()
    want, gradient = by_hand(logits, labels)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert torch.allclose(logits.grad, gradient, rtol=1e-9, atol=1e-12)
    assert (logits.grad[labels == UNKNOWN] == 0).all(), "an unknown label pulls on the network"


@settings(max_examples=40, deadline=None)
@given(multi_task_batches())
def test_multi_task_losses_and_sums_leave_each_task_its_own(batch):
    logits, labels = batch
    terms = losses.multi_task_losses(logits, labels)
    sums, known = losses.multi_task_sums(logits, labels)
    assert terms.shape == sums.shape == (logits.shape[1],)
    assert terms.sum().item() == pytest.approx(losses.multi_task(logits, labels).item())
    assert known.tolist() == [(column != UNKNOWN).sum() for column in labels.T]
    for j in range(len(terms)):
        alone, _ = by_hand(logits[:, [j]], labels[:, [j]])
        assert terms[j].item() == pytest.approx(alone, rel=1e-9, abs=1e-12)
        assert sums[j].item() == pytest.approx(alone * len(logits), rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(multi_task_batches())
def test_multi_task_with_every_label_known_is_torchs_sum_over_the_images(batch):
    logits, labels = batch[0], batch[1].clamp(min=0)
    # torch's mean would be over m × tasks; the lecture divides by m alone (M2).
    total = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, labels.double(), reduction="sum"
    )
    assert losses.multi_task(logits, labels).item() == pytest.approx(total.item() / len(logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_multi_task_of_few_bits_is_that_of_many_rounded_once(dtype):
    generator = torch.Generator().manual_seed(0)
    logits = (8 * torch.randn(3000, 4, generator=generator)).to(dtype).requires_grad_(True)
    labels = torch.randint(-1, 2, (3000, 4), generator=generator, dtype=torch.int8)
    loss = losses.multi_task(logits, labels)
    loss.backward()
    exact = logits.detach().double().requires_grad_(True)
    want = losses.multi_task(exact, labels)
    want.backward()
    assert loss.dtype == logits.grad.dtype == dtype
    digits = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 1e-7}
    assert torch.allclose(loss.double(), want, **digits)
    assert torch.allclose(logits.grad.double(), exact.grad, **digits)
    assert (logits.grad[labels == UNKNOWN] == 0).all()
    # A task's sum is beyond float16's 65,504 long before its mean is.
    assert losses.multi_task_sums(logits * 100, labels)[0].isfinite().all()


def test_multi_task_divides_by_all_images_not_by_the_labelled_ones():
    one = losses.multi_task(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.int8))
    labels = torch.tensor([[1], [UNKNOWN], [UNKNOWN], [UNKNOWN]], dtype=torch.int8)
    four = losses.multi_task(torch.zeros(4, 1), labels)
    assert one.item() == pytest.approx(math.log(2))
    assert four.item() == pytest.approx(math.log(2) / 4)


def test_with_every_label_unknown_the_loss_is_a_zero_with_a_gradient():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = losses.multi_task(logits, torch.full((3, 2), UNKNOWN, dtype=torch.int8))
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros(3, 2))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e38])
def test_an_infinite_logit_where_nothing_is_known_does_no_harm(value):
    logits = torch.tensor([[value, 0.0]], requires_grad=True)
    loss = losses.multi_task(logits, torch.tensor([[UNKNOWN, 1]], dtype=torch.int8))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad.tolist() == [[0.0, -0.5]]


def test_a_large_logit_costs_what_it_should_and_not_infinity():
    loss = losses.multi_task(torch.tensor([[1000.0]]), torch.tensor([[0]], dtype=torch.int8))
    assert loss.item() == 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_keep_the_dtype_of_the_logits(dtype):
    logits = torch.zeros(2, 2, dtype=dtype)
    assert losses.multi_task(logits, torch.zeros(2, 2, dtype=torch.int8)).dtype == dtype
    assert losses.softmax(logits, torch.zeros(2, dtype=torch.int64)).dtype == dtype


@settings(max_examples=60, deadline=None)
@given(softmax_batches())
def test_softmax_is_its_formula(batch):
    logits, labels = batch
    logits.requires_grad_(True)
    loss = losses.softmax(logits, labels)
    loss.backward()
    m, classes = logits.shape
    want, gradient = 0.0, torch.zeros(m, classes, dtype=torch.float64)
    for i in range(m):
        row, y = logits[i].tolist(), labels[i].item()
        highest = max(row)
        total = sum(math.exp(z - highest) for z in row)
        want += (math.log(total) + highest - row[y]) / m
        for k in range(classes):
            gradient[i, k] = (math.exp(row[k] - highest) / total - (k == y)) / m
    assert loss.item() == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert torch.allclose(logits.grad, gradient, rtol=1e-9, atol=1e-12)
    assert losses.softmax_losses(logits, labels).tolist() == [loss.item()]


NAN = torch.tensor([[0.0, float("nan")]])
ONE = torch.tensor([[0, 1]], dtype=torch.int8)


@pytest.mark.parametrize(
    ("logits", "labels", "word"),
    [
        (torch.zeros(1, 2), ONE[0], "labels.*shape"),
        (torch.zeros(2, 2), ONE, "labels.*shape"),
        (torch.zeros(1, 2), ONE * 2, "labels.*2"),
        (torch.zeros(1, 2), ONE - 2, "labels.*-2"),
        (torch.zeros(1, 2), ONE.float(), "labels.*float32"),
        (torch.zeros(2), ONE[0], "logits"),
        (torch.zeros(1, 2, dtype=torch.int64), ONE, "logits"),
        (torch.zeros(0, 2), ONE[:0], "logits.*empty"),
        (NAN, ONE, "logits.*nan"),
        (NAN, ONE * 0 + UNKNOWN, "logits.*nan"),
        (NAN.nan_to_num(float("-inf")), ONE, "logits.*finite"),
    ],
)
def test_multi_task_names_the_argument_that_is_wrong(logits, labels, word):
    with pytest.raises(ValueError, match=word):
        losses.multi_task(logits, labels)


@pytest.mark.parametrize(
    ("logits", "labels", "word"),
    [
        (torch.zeros(1, 2), torch.tensor([2]), "labels.*2"),
        (torch.zeros(1, 2), torch.tensor([-1]), "labels.*-1"),
        (torch.zeros(1, 2), torch.tensor([0, 1]), "labels.*shape"),
        (torch.zeros(1, 2), torch.tensor([[0, 1]]), "labels.*shape"),
        (torch.zeros(1, 2), torch.tensor([0.0]), "labels.*float32"),
        (torch.zeros(2), torch.tensor([0, 1]), "logits"),
        (NAN, torch.tensor([0]), "logits.*nan"),
    ],
)
def test_softmax_names_the_argument_that_is_wrong(logits, labels, word):
    with pytest.raises(ValueError, match=word):
        losses.softmax(logits, labels)
