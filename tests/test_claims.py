"""Guards what lesson 01 says: the shipped rows hold its claims, and new runs agree with them."""

import logging

import pytest

from mtl_course import experiments, studies

CLAIMS = [
    ("new head", "from scratch", 10, "supported"),
    ("new head", "all layers", 10, "cannot tell"),
    ("all layers", "new head", 800, "supported"),
    ("all layers", "from scratch", 800, "supported"),
    ("all layers", experiments.MACHINE, 800, "supported"),
]


@pytest.mark.parametrize(("way", "over", "labels", "verdict"), CLAIMS)
def test_the_shipped_rows_hold_the_claim(way, over, labels, verdict):
    rows = studies.run("digits", only={"labels": [labels]})
    assert rows["seed"].nunique() >= 10
    assert studies.gain(rows, way, over=over)["verdict"].item() == verdict


@pytest.mark.full
@pytest.mark.parametrize(("way", "over", "labels", "verdict"), CLAIMS)
def test_ten_other_seeds_hold_the_claim(way, over, labels, verdict):
    ten = range(10, 20)
    rows = studies.run("digits", ten, only={"labels": [labels], "way": [way, over]})
    assert studies.gain(rows, way, over=over)["verdict"].item() == verdict


def test_a_new_seed_lands_where_the_shipped_rows_say():
    """Two cheap cells of a new seed with its own A; chance alone fails it once in 500 runs."""
    from scipy.stats import t

    only = {"labels": [100], "way": ["new head", experiments.MACHINE]}
    stored = studies.run("digits", only=only)
    seed = 20
    new = studies.run("digits", [seed], only=only, fresh=True, progress=False)
    for way, values in stored.groupby("way")["accuracy"]:
        here = new.loc[new["way"] == way, "accuracy"].item()
        z = (here - values.mean()) / (values.std(ddof=1) * (1 + 1 / len(values)) ** 0.5)
        logging.getLogger(__name__).info("seed %d, %s: %.3f, z = %.2f", seed, way, here, z)
        assert abs(z) < t.ppf(0.9995, len(values) - 1), f"{way}: {here:.3f} is far from the rows"
