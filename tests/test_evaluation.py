"""Guards mtl_course.evaluation.similarity; test_training guards how networks are scored."""

import pytest
import torch

from mtl_course import evaluation, scenes, training
from mtl_course.datasets import normalise
from mtl_course.networks import blocks, classifier, separate, shared

ROADS = scenes.draw(300, seed=0, jobs=1)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic(k, other):
    """The biased estimator, with the centring matrix written out (Gretton 2005)."""
    m = len(k)
    h = torch.eye(m, dtype=torch.float64) - 1 / m
    return torch.trace(k @ h @ other @ h) / (m - 1) ** 2


def test_cka_is_the_formula_of_kornblith():
    x, y = random(40, 7), random(40, 5, seed=1) + random(40, 1, seed=2)
    k, other = x @ x.T, y @ y.T
    want = hsic(k, other) / (hsic(k, k) * hsic(other, other)).sqrt()
    assert evaluation.cka(x, y) == pytest.approx(want.item())


def test_cka_does_not_see_a_turn_a_scale_or_a_shift():
    x = random(50, 6)
    turn = torch.linalg.qr(random(6, 6, seed=1)).Q
    assert evaluation.cka(x, 3 * x @ turn + 5) == pytest.approx(1)
    stretched = x * torch.tensor([10.0, 1, 1, 1, 1, 1])
    assert evaluation.cka(x, stretched) < 0.9
    assert evaluation.cka(random(2_000, 6), random(2_000, 6, seed=2)) < 0.02


def test_similarity_compares_what_the_blocks_give():
    one, other = (shared(ROADS.tasks, width=4, seed=seed) for seed in (0, 1))
    training.fit(other, ROADS, steps=5, seed=0, device="cpu", progress=False)
    found = evaluation.similarity(one, other, ROADS)
    values = [normalise(ROADS.images)] * 2
    for block, pair in zip(found, zip(blocks(one), blocks(other), strict=True), strict=True):
        with torch.inference_mode():
            values = [layer.eval()(v) for layer, v in zip(pair, values, strict=True)]
        assert block == pytest.approx(evaluation.cka(*(v.flatten(1) for v in values)), abs=1e-4)
    assert evaluation.similarity(one, one, ROADS) == pytest.approx([1, 1, 1])
    assert max(found) < 0.999


def test_trunks_with_other_numbers_of_blocks_cannot_be_compared():
    two = separate(ROADS.tasks[:2], width=2)
    with pytest.raises(ValueError, match="as many blocks"):
        evaluation.similarity(classifier(ROADS, width=2), two, ROADS)
