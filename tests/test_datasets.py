"""Guards mtl_course.datasets: the checks of a Dataset, drawing it, and the two kinds of digits."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mtl_course import datasets
from mtl_course.base import derive_seed
from mtl_course.datasets import (
    UNKNOWN,
    Dataset,
    _digits,
    handwritten_digits,
    hide,
    normalise,
    one_label,
    printed_digits,
)


def pictures(m, channels=1, side=8):
    return (
        torch.arange(m * channels * side * side)
        .remainder(256)
        .to(torch.uint8)
        .reshape(m, channels, side, side)
    )


def numbered(labels, classes="abc"):
    """A dataset whose image i is filled with i, so that a test can tell which images it got."""
    m = len(labels)
    images = torch.arange(m, dtype=torch.uint8)[:, None, None, None].expand(m, 1, 2, 2).clone()
    return Dataset(images, torch.tensor(labels), classes=tuple(classes))


def which(data):
    return data.images[:, 0, 0, 0].tolist()


# ---------------------------------------------------------------------- Dataset

IMAGES, CLASSES = pictures(3), torch.tensor([0, 1, 2])
TASKS = torch.tensor([[0, 1], [UNKNOWN, 0], [1, UNKNOWN]], dtype=torch.int8)


def test_a_dataset_tells_its_length_and_names():
    assert len(Dataset(IMAGES, CLASSES, classes="abc")) == 3
    assert Dataset(IMAGES, CLASSES, classes=["a", "b", "c"]).names == ("a", "b", "c")
    assert Dataset(IMAGES, TASKS, tasks=["car", "sign"]).names == ("car", "sign")


@pytest.mark.parametrize(
    ("images", "labels", "names", "word"),
    [
        (IMAGES.float(), CLASSES, {"classes": "abc"}, "images"),
        (IMAGES.numpy(), CLASSES, {"classes": "abc"}, "images"),
        (IMAGES[:, 0], CLASSES, {"classes": "abc"}, "images"),
        (IMAGES[:0], CLASSES[:0], {"classes": "abc"}, "images.*empty"),
        (IMAGES[..., :0], CLASSES, {"classes": "abc"}, "images.*empty"),
        (IMAGES, CLASSES, {"classes": "ab"}, "labels.*2"),
        (IMAGES, CLASSES - 1, {"classes": "abc"}, "labels.*-1"),
        (IMAGES, CLASSES.int(), {"classes": "abc"}, "labels.*int32"),
        (IMAGES, [0, 1, 2], {"classes": "abc"}, "labels.*list"),
        (IMAGES, CLASSES[:2], {"classes": "abc"}, "labels.*shape"),
        (IMAGES, CLASSES[:, None], {"classes": "abc"}, "labels.*shape"),
        (IMAGES, TASKS * 2, {"tasks": "ab"}, "labels.*UNKNOWN.*[2-]"),
        (IMAGES, TASKS.long(), {"tasks": "ab"}, "labels.*int64"),
        (IMAGES, TASKS.float(), {"tasks": "ab"}, "labels.*float32"),
        (IMAGES, TASKS, {"tasks": "abc"}, "labels.*shape"),
        (IMAGES, TASKS.T, {"tasks": "ab"}, "labels.*shape"),
        (IMAGES, CLASSES, {}, "classes or tasks"),
        (IMAGES, CLASSES, {"classes": "abc", "tasks": "abc"}, "classes or tasks"),
        (IMAGES, CLASSES, {"classes": ("a", "b", "b")}, "names.*b, b"),
        (IMAGES, TASKS, {"tasks": "aa"}, "names"),
    ],
)
def test_a_dataset_that_cannot_be_right_is_refused_by_name(images, labels, names, word):
    with pytest.raises(ValueError, match=word):
        Dataset(images, labels, **names)


def test_subset_keeps_order_labels_and_names():
    data = numbered([0, 1, 2, 0])
    part = data.subset([3, 1])
    assert which(part) == [3, 1]
    assert part.labels.tolist() == [0, 1]
    assert part.classes == data.classes
    assert which(data.subset(slice(1, 3))) == [1, 2]
    with pytest.raises(ValueError, match="empty"):
        data.subset([])


@pytest.mark.parametrize("rows", [torch.tensor([False, True, False, True]), torch.tensor([0.9])])
def test_subset_never_takes_a_mask_or_a_fraction_for_row_numbers(rows):
    with pytest.raises(ValueError, match="rows"):
        numbered([0, 1, 2, 0]).subset(rows)


@pytest.mark.parametrize("n", [3, 4, 5, 10, 29, 60])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sample_is_as_even_over_the_classes_as_can_be(n, seed):
    # Sorted and very uneven on purpose; 20 is the most that the rarest class can give.
    data = numbered([0] * 100 + [1] * 60 + [2] * 20)
    part = data.sample(n, seed)
    counts = torch.bincount(part.labels, minlength=3)
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1
    rows = which(part)
    assert len(set(rows)) == n, "an image was drawn twice"
    assert data.labels[rows].tolist() == part.labels.tolist()


def test_a_sample_depends_on_its_seed_alone():
    data = numbered([0, 1, 2] * 20)
    first = data.sample(12, seed=5)
    torch.rand(3)
    np.random.rand(3)
    assert which(data.sample(12, seed=5)) == which(first)
    assert which(data.sample(12, seed=6)) != which(first)


def test_which_classes_get_one_more_is_drawn_too():
    data = numbered([0, 1, 2] * 10)
    extra = {data.sample(4, seed).labels.bincount().argmax().item() for seed in range(30)}
    assert extra == {0, 1, 2}


def test_a_sample_may_take_everything_and_copes_with_absent_classes():
    data = numbered([0] * 5 + [2] * 5)  # no image of class b
    assert sorted(which(data.sample(10, seed=0))) == list(range(10))
    assert sorted(data.sample(2, seed=0).labels.tolist()) == [0, 2]


def test_a_sample_of_tasks_is_drawn_without_replacement():
    images = numbered([0] * 40).images
    data = Dataset(images, torch.zeros(40, 2, dtype=torch.int8), tasks="ab")
    assert len(set(which(data.sample(30, seed=0)))) == 30


@pytest.mark.parametrize("n", [0, -1, 2, 31, 4.0])
def test_a_sample_that_cannot_be_drawn_is_refused(n):
    with pytest.raises(ValueError, match="n must be"):
        numbered([0, 1, 2] * 10).sample(n, seed=0)


def test_a_sample_refuses_a_negative_seed():
    with pytest.raises(ValueError, match="seed"):
        numbered([0, 1, 2]).sample(3, seed=-1)


# ---------------------------------------------------------------------- hiding labels


def roads(m=100, tasks=("car", "sign", "light"), unknown=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (m, len(tasks)), generator=generator, dtype=torch.int8)
    labels[torch.rand(m, len(tasks), generator=generator) < unknown] = UNKNOWN
    return Dataset(pictures(m), labels, tasks=tasks)


def hidden(data, *arguments, **settings):
    """Which labels `hide` took away: bool (m, tasks)."""
    after = hide(data, *arguments, **settings)
    assert after.images is data.images
    assert after.tasks == data.tasks
    gone = (after.labels == UNKNOWN) & (data.labels != UNKNOWN)
    assert torch.equal(after.labels[~gone], data.labels[~gone]), "a label that was kept changed"
    return gone


@pytest.mark.parametrize("unknown", [0, 0.4])
@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 0.77, (0.2, 1, 0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_hide_takes_exactly_the_fraction_of_what_is_known(unknown, fraction, weighted):
    data = roads(unknown=unknown)
    before = data.labels.clone()
    weight = torch.rand(100, 3, generator=torch.Generator().manual_seed(0)) if weighted else None
    gone = hidden(data, fraction, seed=1, weight=weight)
    known = (data.labels != UNKNOWN).sum(0).tolist()
    shares = fraction if isinstance(fraction, tuple) else [fraction] * 3
    want = [round(share * n) for share, n in zip(shares, known, strict=True)]
    assert gone.sum(0).tolist() == want
    assert torch.equal(data.labels, before), "hide changed the dataset it was given"


@pytest.mark.parametrize("weighted", [False, True])
def test_a_larger_fraction_hides_what_a_smaller_one_does_and_more(weighted):
    data = roads(unknown=0.2)
    weight = torch.rand(100, 3, generator=torch.Generator().manual_seed(0)) if weighted else None
    fractions = [0, 0.05, 0.3, 0.31, 0.8, 0.99]
    sets = [hidden(data, fraction, seed=1, weight=weight) for fraction in fractions]
    assert all((small <= large).all() for small, large in itertools.pairwise(sets))


def test_what_is_hidden_depends_on_the_seed_and_the_tasks_name_alone():
    data = roads()
    torch.rand(3)
    np.random.rand(3)
    first = hidden(data, 0.5, seed=1)
    assert torch.equal(first, hidden(data, 0.5, seed=1))
    assert not torch.equal(first, hidden(data, 0.5, seed=2))
    assert not torch.equal(first[:, 0], first[:, 1]), "two tasks hide the same images"
    other = Dataset(data.images, data.labels[:, [2, 0]], tasks=("light", "car"))
    assert torch.equal(hidden(other, 0.5, seed=1), first[:, [2, 0]])
    assert torch.equal(hidden(data, (0.5, 0, 0.1), seed=1)[:, 0], first[:, 0])


def test_equal_weights_are_no_weights():
    data = roads()
    weight = torch.full((100, 3), 0.25, dtype=torch.float64)
    assert torch.equal(hidden(data, 0.5, seed=1, weight=weight), hidden(data, 0.5, seed=1))


def frequencies(weight, fraction, draws=2000):
    """How often each label of one task was hidden, over seeds: float64 (m,)."""
    weight = torch.as_tensor(weight)[:, None]
    data = roads(m=len(weight), tasks=("car",))
    chosen = [hidden(data, fraction, seed=seed, weight=weight) for seed in range(draws)]
    return torch.stack(chosen).double().mean(0)[:, 0]


def test_without_weights_every_label_is_hidden_equally_often():
    often = frequencies(torch.ones(8), 0.25)
    # Standard error 0.0097: beyond 5 of them something is wrong.
    assert (often - 0.25).abs().max() < 0.05, often.tolist()


def test_weights_are_those_of_drawing_one_after_another():
    weight = [5.0, 3.0, 1.0, 1.0, 0.0]
    first = frequencies(weight, 0.2)
    assert (first - torch.tensor(weight).double() / 10).abs().max() < 0.06, first.tolist()
    # Two of them: hidden first, or second after some other one.
    both = [
        w / 10 + sum(v / 10 * w / (10 - v) for k, v in enumerate(weight) if k != i)
        for i, w in enumerate(weight)
    ]
    assert sum(both) == pytest.approx(2)
    second = frequencies(weight, 0.4)
    assert (second - torch.tensor(both)).abs().max() < 0.06, second.tolist()


def test_weight_0_is_hidden_last_and_then_at_random():
    often = frequencies([0.0, 1e-30, 0.0, 1e30, 0.0, 0.0], 4 / 6, draws=400)
    assert often[[1, 3]].tolist() == [1, 1]
    # Half of the other four; standard error 0.025.
    assert (often[[0, 2, 4, 5]] - 0.5).abs().max() < 0.13, often.tolist()


WEIGHT = torch.ones(100, 3)


@pytest.mark.parametrize(
    ("fraction", "weight", "word"),
    [
        (-0.1, None, "fraction"),
        (1.1, None, "fraction"),
        (float("nan"), None, "fraction.*nan"),
        ("half", None, "fraction.*half"),
        (None, None, "fraction"),
        ([0.5, 0.5], None, "fraction.*3"),
        ([0.5], None, "fraction.*3"),
        ([0.5, 0.5, 2], None, "fraction.*2"),
        ([[0.5, 0.5, 0.5]], None, "fraction.*3"),
        (1, None, "fraction hides every label"),
        (0.999, None, "fraction hides every label"),
        (0.5, WEIGHT[:, :2], r"weight.*shape.*\(100, 3\)"),
        (0.5, WEIGHT[:, 0], "weight.*shape"),
        (0.5, -WEIGHT, "weight.*-1"),
        (0.5, WEIGHT * float("nan"), "weight.*nan"),
        (0.5, WEIGHT * float("inf"), "weight.*inf"),
        (0.5, WEIGHT.long(), "weight.*int64"),
        (0.5, WEIGHT.numpy(), "weight"),
    ],
)
def test_hide_names_the_argument_that_is_wrong(fraction, weight, word):
    with pytest.raises(ValueError, match=word):
        hide(roads(), fraction, seed=0, weight=weight)


def test_hide_refuses_classes_and_a_seed_that_is_none():
    with pytest.raises(ValueError, match="data must have tasks"):
        hide(numbered([0, 1]), 0.5, seed=0)
    with pytest.raises(ValueError, match="seed"):
        hide(roads(), 0.5, seed=-1)


# ---------------------------------------------------------------------- one label an image


def test_one_label_is_a_task_whose_answer_is_1_or_none_of_them():
    data = roads(m=500, unknown=0.3)
    single = one_label(data, seed=0)
    assert single.images is data.images
    assert single.classes == ("car", "sign", "light", "none of them")
    positive = data.labels == 1
    for row, label in zip(positive, single.labels.tolist(), strict=True):
        assert row[label] if label < 3 else not row.any()
    assert len(single.labels.unique()) == 4


def test_one_label_draws_evenly_and_from_its_seed_alone():
    data = Dataset(pictures(3000), torch.tensor([[1, 0, 1]] * 3000, dtype=torch.int8), tasks="abc")
    counts = one_label(data, seed=0).labels.bincount(minlength=4)
    # 1,500 expected, standard deviation 27.
    assert counts[[1, 3]].tolist() == [0, 0]
    assert abs(counts[0] - 1500) < 140
    labels = [one_label(data, seed=seed).labels for seed in (0, 0, 1)]
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], labels[2])


def test_one_label_refuses_classes():
    with pytest.raises(ValueError, match="data must have tasks"):
        one_label(numbered([0, 1]), seed=0)


# ---------------------------------------------------------------------- pixels


def test_normalise_maps_bytes_to_minus_one_to_one():
    every = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    got = normalise(every)
    assert got.dtype == torch.float32
    assert got.shape == every.shape
    assert got.flatten()[0] == -1
    assert got.flatten()[255] == 1
    want = torch.linspace(-1, 1, 256, dtype=torch.float64)
    assert torch.allclose(got.flatten().double(), want, atol=1e-6)
    assert every.flatten().tolist() == list(range(256)), "normalise changed its input"


# ---------------------------------------------------------------------- printed digits


def test_printed_digits_are_bytes_with_class_labels():
    data = printed_digits(7, seed=0)
    assert data.images.dtype == torch.uint8
    assert data.images.shape == (7, 1, 8, 8)
    assert data.labels.dtype == torch.int64
    assert data.labels.shape == (7,)
    assert data.classes == tuple("0123456789")


@pytest.fixture(scope="module")
def long_draw():
    return printed_digits(2100, seed=4)


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025])
def test_a_printed_digit_depends_on_seed_and_index_alone(long_draw, count):
    part = printed_digits(count, seed=4)
    assert torch.equal(part.images, long_draw.images[:count])
    assert torch.equal(part.labels, long_draw.labels[:count])


def test_no_printed_digit_repeats_within_or_between_draws(long_draw):
    def distinct(*sets):
        return len({image.numpy().tobytes() for data in sets for image in data.images})

    other = printed_digits(2100, seed=5)
    # A few 8 × 8 pictures may coincide by chance; a shared stream would halve the number.
    assert distinct(long_draw) > 2090
    assert distinct(long_draw, other) > 4180


def test_task_a_of_two_seeds_and_other_roles_shares_no_image():
    roles = [(0, "A"), (1, "A"), (0, "B"), (0, "test")]
    draws = [printed_digits(64, seed=derive_seed(seed, role)) for seed, role in roles]
    for one, other in itertools.combinations(draws, 2):
        same = (one.images == other.images).flatten(1).all(dim=1)
        assert not same.any()
        assert not torch.equal(one.labels, other.labels)


def test_every_digit_is_printed_about_equally_often(long_draw):
    counts = long_draw.labels.bincount(minlength=10)
    # 210 expected each, standard deviation 13.7: beyond 5 of them something is wrong.
    assert (counts - 210).abs().max() < 70, counts.tolist()


def test_printed_digits_of_a_class_look_alike(long_draw):
    # The label belongs to the image: the nearest mean image finds it far above chance (10 %).
    grey = long_draw.images.flatten(1).double()
    train, test = slice(0, 1500), slice(1500, None)
    means = torch.stack([grey[train][long_draw.labels[train] == d].mean(0) for d in range(10)])
    found = torch.cdist(grey[test], means).argmin(dim=1)
    assert (found == long_draw.labels[test]).double().mean() > 0.5


def test_printed_digits_are_ink_on_empty_paper(long_draw):
    assert long_draw.images.amax(dim=(1, 2, 3)).min() > 40, "an image without ink"
    assert long_draw.images.amin(dim=(1, 2, 3)).float().mean() < 5, "paper is not empty"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"count": 0, "seed": 0}, "count"),
        ({"count": 2.5, "seed": 0}, "count"),
        ({"count": 1, "seed": -1}, "seed"),
    ],
)
def test_printed_digits_name_the_argument_that_is_wrong(arguments, word):
    with pytest.raises(ValueError, match=word):
        printed_digits(**arguments)


def test_every_typeface_has_ten_glyphs_that_differ():
    glyphs = _digits._glyphs(datasets.DIGITS)
    assert glyphs.shape == (len(_digits.TYPEFACES), 10, 64, 64)
    assert ((glyphs > 0).flatten(2).sum(dim=2) > 50).all(), "a glyph without ink"
    flat = {glyph.numpy().tobytes() for face in glyphs for glyph in face}
    assert len(flat) == len(_digits.TYPEFACES) * 10


# ---------------------------------------------------------------------- handwritten digits


def test_handwritten_digits_are_sklearns_in_their_order():
    split, source = handwritten_digits(), load_digits()
    assert (len(split.train), len(split.test)) == (900, 897)
    images = torch.cat([split.train.images, split.test.images])
    labels = torch.cat([split.train.labels, split.test.labels])
    want = np.round(source.images * 255 / 16)  # 0 … 16 to bytes, in float64
    assert images.shape == (1797, 1, 8, 8)
    assert np.array_equal(images[:, 0].numpy(), want)
    assert np.array_equal(labels.numpy(), source.target)
    assert images.max() == 255
    assert images.min() == 0


def test_no_handwritten_digit_is_in_training_and_test():
    split = handwritten_digits()
    train, test = ({x.numpy().tobytes() for x in data.images} for data in split)
    assert not train & test


def test_handwritten_digits_fit_a_network_that_learned_printed_ones():
    assert handwritten_digits().train.names == printed_digits(1, seed=0).names
    assert handwritten_digits().test.names == printed_digits(1, seed=0).names
