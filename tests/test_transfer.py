"""Guards mtl_course.transfer: what each way to go from A to B trains, and what it leaves alone."""

import copy

import pytest
import torch

from mtl_course import training, transfer
from mtl_course.datasets import Dataset
from mtl_course.networks import blocks, classifier, new_head, reinitialized
from mtl_course.training import _fit

QUICK = {"device": "cpu", "precision": "float32", "progress": False}
RUN = {"steps": 6, "batch_size": 8, **QUICK}


def toy(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (16, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Dataset(images, torch.arange(16) % len(classes), classes=tuple(classes))


A, B = toy("abcd", seed=0), toy("xyz", seed=1)


@pytest.fixture(scope="module")
def source():
    return transfer.pretrain(A, seed=0, width=2, **RUN)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def moved(one, other):
    """The names of the weights and statistics that differ."""
    one, other = one.state_dict(), other.state_dict()
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_pretraining_is_fit_on_a_classifier_of_the_same_seed():
    by_hand = classifier(A, width=2, seed=4)
    training.fit(by_hand, A, seed=4, learning_rate=0.01, **RUN)
    assert same(transfer.pretrain(A, seed=4, width=2, learning_rate=0.01, **RUN), by_hand)
    assert not same(transfer.pretrain(A, seed=5, width=2, learning_rate=0.01, **RUN), by_hand)


@pytest.mark.parametrize("how", transfer.WAYS)
def test_every_way_answers_b_and_leaves_the_source_as_it_was(source, how):
    before, names = copy.deepcopy(source), source.names
    trains = [p.requires_grad for p in source.parameters()]
    target = transfer.adapt(source, B, how, seed=3, **RUN)
    assert target.names == ("x", "y", "z")
    assert target(B.images).shape == (16, 3)
    assert same(source, before), f"{how} changed the network it started from"
    assert (source.names, [p.requires_grad for p in source.parameters()]) == (names, trains)
    assert len(source.history) == 6
    assert not {id(p) for p in source.parameters()} & {id(p) for p in target.parameters()}


@pytest.mark.parametrize("how", transfer.WAYS)
def test_every_way_takes_the_steps_it_was_given(source, how):
    target = transfer.adapt(source, B, how, seed=3, **RUN | {"steps": 7})
    assert len(target.history) == 7


def test_a_new_head_leaves_the_trunk_bit_for_bit(source):
    target = transfer.adapt(source, B, "new head", seed=3, **RUN)
    assert same(target.trunk, source.trunk)
    assert moved(target.head, new_head(source, B, seed=3).head) == {"weight", "bias"}


@pytest.mark.parametrize("how", ["all layers", "head then all", "from scratch"])
def test_the_other_ways_move_every_layer_of_the_trunk(source, how):
    start = (reinitialized if how == "from scratch" else new_head)(source, B, seed=3)
    target = transfer.adapt(source, B, how, seed=3, **RUN)
    assert moved(target, start) == set(start.state_dict())
    assert all(p.requires_grad for p in target.parameters())


def test_all_layers_is_a_new_head_and_then_fit(source):
    by_hand = new_head(source, B, seed=3)
    training.fit(by_hand, B, seed=3, learning_rate=transfer.LEARNING_RATES["all layers"], **RUN)
    assert same(transfer.adapt(source, B, "all layers", seed=3, **RUN), by_hand)


def test_from_scratch_ignores_what_the_source_learned(source):
    stranger = transfer.pretrain(toy("abcd", seed=9), seed=9, width=2, **RUN)
    assert moved(stranger, source), "the two sources are the same: nothing is tested"
    one, other = (transfer.adapt(s, B, "from scratch", seed=3, **RUN) for s in (source, stranger))
    assert same(one, other)
    by_hand = classifier(B, width=2, seed=3)
    rate = transfer.LEARNING_RATES["from scratch"]
    training.fit(by_hand, B, seed=3, learning_rate=rate, **RUN)
    assert same(one, by_hand)


def test_the_other_ways_use_what_the_source_learned(source):
    stranger = transfer.pretrain(toy("abcd", seed=9), seed=9, width=2, **RUN)
    for how in ("new head", "all layers", "head then all"):
        one, other = (transfer.adapt(s, B, how, seed=3, **RUN) for s in (source, stranger))
        assert moved(one, other), how


def spy():
    """A `fit` that records, at each call: steps, seed, learning rate, and where it started."""
    calls = []

    def fit(network, data, **settings):
        start = copy.deepcopy(network)
        history = training.fit(network, data, **settings)
        calls.append({"start": start, "end": copy.deepcopy(network), **settings})
        return history

    return calls, {"fit": fit}


def test_head_then_all_trains_the_head_alone_for_half_of_the_steps(source):
    calls, watched = spy()
    transfer.adapt(source, B, "head then all", seed=3, **RUN | {"steps": 7}, **watched)
    first, second = calls
    assert (first["steps"], second["steps"]) == (3, 4)
    assert same(first["end"].trunk, source.trunk), "the trunk moved in the first half"
    assert moved(first["end"].head, first["start"].head) == {"weight", "bias"}
    assert same(second["start"], first["end"])
    assert moved(second["end"].trunk, source.trunk) == set(source.trunk.state_dict())
    assert first["seed"] != second["seed"], "both halves would see the same batches"


def test_ways_of_one_seed_start_from_one_head_and_see_the_same_batches(source):
    calls, watched = spy()
    for how in transfer.WAYS:
        transfer.adapt(source, B, how, seed=3, **RUN, **watched)
    starts = [calls[i] for i in range(4)]  # "head then all" comes last and makes two calls
    assert len(calls) == 5
    assert all(same(call["start"].head, starts[0]["start"].head) for call in starts)
    assert {call["seed"] for call in (*calls[:3], calls[4])} == {3}
    other = new_head(source, B, seed=4)
    assert not same(other.head, starts[0]["start"].head)


@pytest.mark.parametrize("how", transfer.WAYS)
def test_the_learning_rate_is_the_tuned_one_unless_it_is_given(source, how):
    calls, watched = spy()
    transfer.adapt(source, B, how, seed=3, **RUN, **watched)
    assert {call["learning_rate"] for call in calls} == {transfer.LEARNING_RATES[how]}
    calls.clear()
    transfer.adapt(source, B, how, seed=3, learning_rate=0.0123, **RUN, **watched)
    assert {call["learning_rate"] for call in calls} == {0.0123}


@pytest.mark.parametrize("how", transfer.WAYS)
def test_two_adaptations_of_one_seed_agree_bit_for_bit(source, how):
    one, two, other = (transfer.adapt(source, B, how, seed=s, **RUN) for s in (3, 3, 4))
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.parametrize("how", transfer.WAYS)
def test_every_way_can_go_on_from_a_checkpoint(source, tmp_path, how):
    file = tmp_path / "run.pt"
    plain = transfer.adapt(source, B, how, seed=3, **RUN)
    for _ in range(2):  # the second time everything is there already
        target = transfer.adapt(source, B, how, seed=3, checkpoint=file, **RUN)
        assert same(target, plain)


def test_ctrl_c_in_the_first_half_ends_the_whole_adaptation(source, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_fit, "step", interrupt)
    target = transfer.adapt(source, B, "head then all", seed=3, **RUN)
    assert target.history.attrs["interrupted"]
    assert len(target.history) == 0
    assert same(target.trunk, source.trunk)


@pytest.mark.parametrize("how", ["", "New head", "finetune", None])
def test_an_unknown_way_is_refused_with_the_ones_there_are(source, how):
    with pytest.raises(ValueError, match="'from scratch', 'new head', 'all layers', 'head then"):
        transfer.adapt(source, B, how, seed=3, **RUN)


@pytest.mark.parametrize(("how", "steps"), [("new head", 0), ("head then all", 1)])
def test_too_few_steps_are_refused(source, how, steps):
    with pytest.raises(ValueError, match="steps"):
        transfer.adapt(source, B, how, seed=3, **RUN | {"steps": steps})


def test_every_way_has_a_tuned_learning_rate():
    assert set(transfer.LEARNING_RATES) == set(transfer.WAYS)


# ---------------------------------------------------------------------- the first k layers


def first(network, layers):
    """The state of the first blocks of a trunk."""
    return {
        f"{i}.{name}": value
        for i, block in enumerate(blocks(network)[:layers])
        for name, value in block.state_dict().items()
    }


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_the_copied_layers_stand_still_and_the_others_train(source, layers):
    target = transfer.adapt(source, B, "new head", seed=3, layers=layers, **RUN)
    mine, its = first(target, layers), first(source, layers)
    assert all(torch.equal(mine[name], its[name]) for name in its)
    start = reinitialized(source, B, seed=3)
    for block, new in zip(blocks(target)[layers:], blocks(start)[layers:], strict=True):
        assert moved(block, new) == set(new.state_dict())


@pytest.mark.parametrize("layers", [1, 2])
def test_copied_layers_are_where_tuning_starts(source, layers):
    calls, watched = spy()
    transfer.adapt(source, B, "all layers", seed=3, layers=layers, **RUN, **watched)
    start = calls[0]["start"]
    new = reinitialized(source, B, seed=3)
    assert not moved(*(torch.nn.ModuleList(blocks(n)[:layers]) for n in (start, source)))
    assert not moved(*(torch.nn.ModuleList(blocks(n)[layers:]) for n in (start, new)))
    assert same(start.head, new.head)
    target = calls[0]["end"]
    assert moved(target, start) == set(start.state_dict())


@pytest.mark.parametrize(("layers", "how"), [(3, "all layers"), (3, "new head"), (0, "all layers")])
def test_all_layers_copied_or_none_is_what_the_plain_ways_do(source, layers, how):
    plain = how if layers else "from scratch"
    rate = {"learning_rate": 0.01}
    one = transfer.adapt(source, B, how, seed=3, layers=layers, **RUN, **rate)
    assert same(one, transfer.adapt(source, B, plain, seed=3, **RUN, **rate))


@pytest.mark.parametrize("layers", [-1, 4, 1.5])
def test_more_layers_than_there_are_cannot_be_copied(source, layers):
    with pytest.raises(ValueError, match="layers"):
        transfer.adapt(source, B, "all layers", seed=3, layers=layers, **RUN)
