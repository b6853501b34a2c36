"""Guards mtl_course.analysis: similarity of two networks, and what occlusion shows."""

import numpy as np
import pytest
import torch

from mtl_course import analysis, scenes, training
from mtl_course.datasets import normalise
from mtl_course.networks import blocks, classifier, separate, shared

ROADS = scenes.draw(300, seed=0, jobs=1)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic(k, other):
    """The unbiased estimator, sum by sum (Song et al. 2012, equation 4): no i stands twice."""
    m = len(k)
    k, other = (np.where(np.eye(m) == 1, 0, gram) for gram in (k, other))
    pairs = np.einsum("ij,ij->", k, other)
    paths = np.einsum("ij,jk->", k, other)
    apart = k.sum() * other.sum()
    return (pairs - 2 * paths / (m - 2) + apart / ((m - 1) * (m - 2))) / (m * (m - 3))


def test_cka_is_the_formula_of_kornblith_with_an_unbiased_estimator():
    x, y = random(40, 7), random(40, 5, seed=1) + random(40, 1, seed=2)
    k, other = (x @ x.T).numpy(), (y @ y.T).numpy()
    want = hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))
    assert analysis.cka(x, y) == pytest.approx(want)


def test_cka_does_not_see_a_turn_a_scale_or_a_shift():
    x = random(50, 6)
    turn = torch.linalg.qr(random(6, 6, seed=1)).Q
    assert analysis.cka(x, 3 * x @ turn + 5) == pytest.approx(1)
    stretched = x * torch.tensor([10.0, 1, 1, 1, 1, 1])
    assert analysis.cka(x, stretched) < 0.9


@pytest.mark.parametrize("features", [6, 60, 600])
def test_cka_is_about_zero_for_strangers_also_with_more_features_than_images(features):
    found = [
        analysis.cka(random(100, features, seed=s), random(100, features, seed=s + 50))
        for s in range(20)
    ]
    assert abs(sum(found) / 20) < 0.02


def test_similarity_compares_what_the_blocks_give():
    one, other = (shared(ROADS.tasks, width=4, seed=seed) for seed in (0, 1))
    training.fit(other, ROADS, steps=5, seed=0, device="cpu", progress=False)
    found = analysis.similarity(one, other, ROADS)
    values = [normalise(ROADS.images)] * 2
    for block, pair in zip(found, zip(blocks(one), blocks(other), strict=True), strict=True):
        with torch.inference_mode():
            values = [layer.eval()(v) for layer, v in zip(pair, values, strict=True)]
        assert block == pytest.approx(analysis.cka(*(v.flatten(1) for v in values)), abs=1e-4)
    assert analysis.similarity(one, one, ROADS) == pytest.approx([1, 1, 1])
    assert max(found) < 0.999


def test_trunks_with_other_numbers_of_blocks_cannot_be_compared():
    one = classifier(ROADS, width=2)
    with pytest.raises(ValueError, match="one trunk"):
        analysis.similarity(one, separate(ROADS.tasks[:3], width=2), ROADS)
    shorter = classifier(ROADS, width=2)
    del shorter.trunk[2]
    with pytest.raises(ValueError, match="as many blocks"):
        analysis.similarity(one, shorter, ROADS)


def test_occlusion_is_what_hiding_each_place_does():
    """Against a loop that pastes one patch at a time."""
    roads = scenes.draw(1, seed=4)
    network, image = shared(roads.tasks, width=2, seed=0).eval(), roads.images[0]
    falls = analysis.occlusion(network, image, roads.tasks[1], patch=8, stride=12)
    assert falls.shape == (3, 3)
    with torch.inference_mode():
        whole = network(image[None])[0, 1]
        for row in range(3):
            for column in range(3):
                hidden = image.clone()
                for channel in range(3):
                    colour = round(float(image[channel].double().mean()))
                    hidden[channel, 12 * row : 12 * row + 8, 12 * column : 12 * column + 8] = colour
                expected = float(whole - network(hidden[None])[0, 1])
                assert float(falls[row, column]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="task must be"):
        analysis.occlusion(network, image, "tram")
    with pytest.raises(ValueError, match="at most 32"):
        analysis.occlusion(network, image, "car", patch=33)
