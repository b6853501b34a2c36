"""Guards mtl_course.studies.statistics, against scipy and against the formulas written out."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtl_course.studies import statistics

VALUES = np.random.default_rng(0).normal(0.9, 0.02, size=10)


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_interval_is_students(n, confidence):
    mean, low, high = statistics.interval(VALUES[:n], confidence)
    want = scipy.stats.ttest_1samp(VALUES[:n], 0).confidence_interval(confidence)
    assert mean == pytest.approx(VALUES[:n].mean())
    assert (low, high) == pytest.approx((want.low, want.high))


@pytest.mark.parametrize("values", [[], [0.9]])
def test_one_run_has_no_interval(values):
    with pytest.raises(ValueError, match="at least two seeds"):
        statistics.interval(values)


def test_a_further_seed_lands_in_the_predicted_interval_19_times_in_20():
    worlds = np.random.default_rng(6).normal(0.9, 0.02, size=(1000, 5))
    rows = pd.DataFrame(
        {
            "way": np.repeat(np.arange(1000), 4),
            "labels": 10,
            "accuracy": worlds[:, :4].ravel(),
        }
    )
    table = statistics.predicted(rows, ["way", "labels"])
    assert list(table.columns) == ["way", "labels", "seeds", "mean", "low", "high"]
    assert set(table["seeds"]) == {4}
    assert np.allclose(table["mean"], worlds[:, :4].mean(axis=1))
    inside = (table["low"] < worlds[:, 4]) & (worlds[:, 4] < table["high"])
    assert inside.mean() == pytest.approx(0.95, abs=0.03)  # 4 standard errors of 1000 worlds
    with pytest.raises(ValueError, match="two seeds"):
        statistics.predicted(rows[:1], ["way", "labels"])


def paired(differences, labels=10):
    """Rows of two ways whose accuracies differ so, on bases that vary much more."""
    base = np.random.default_rng(1).uniform(0.2, 0.8, size=len(differences))
    rows = [
        {"study": "toy", "way": way, "labels": labels, "seed": seed, "accuracy": value}
        for seed, (b, d) in enumerate(zip(base, differences, strict=True))
        for way, value in (("two", b + d), ("one", b))
    ]
    return named(rows).sample(frac=1, random_state=0)  # rows come in any order


def named(rows, keys=("way", "labels")):
    """The rows as `studies.run` returns them: with the names of a cell's columns."""
    table = pd.DataFrame(rows)
    table.attrs["keys"] = list(keys)
    return table


def test_a_gain_is_the_paired_t_interval():
    differences = np.random.default_rng(2).normal(0.01, 0.02, size=8)
    other = np.random.default_rng(3).normal(-0.03, 0.02, size=5)
    table = statistics.gain(pd.concat([paired(differences), paired(other, 30)]), "two", "one")
    assert list(table.columns) == [
        "labels", "seeds", "mean", "low", "high", "verdict", "detectable",
    ]  # fmt: skip
    assert table["labels"].tolist() == [10, 30]
    assert table["seeds"].tolist() == [8, 5]
    for row, values in zip(table.itertuples(), (differences, other), strict=True):
        want = scipy.stats.ttest_rel(values, np.zeros(len(values))).confidence_interval(0.95)
        assert row.mean == pytest.approx(values.mean())
        assert (row.low, row.high) == pytest.approx((want.low, want.high))


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.02, 0.03, 0.025], "supported"),
        ([0.001, 0.0012, 0.0011], "supported"),
        ([-0.02, -0.03, -0.025], "opposite"),
        ([0.001, -0.001, 0.0], "no difference"),
        ([0.0, 0.0, 0.0], "no difference"),
        ([0.1, -0.1, 0.02], "cannot tell"),
        ([0.03, 0.001, -0.001], "cannot tell"),
    ],
)
def test_the_verdict_is_read_off_the_interval(differences, verdict):
    assert statistics.gain(paired(differences), "two", "one")["verdict"].item() == verdict


def test_the_margin_decides_between_no_difference_and_cannot_tell():
    rows = paired([0.004, -0.004, 0.001, 0.0])
    table = statistics.gain(rows, "two", "one", margin=0.01)
    assert table["verdict"].item() == "no difference"
    assert max(-table["low"].item(), table["high"].item()) > 0.005
    assert statistics.gain(rows, "two", "one", margin=0.005)["verdict"].item() == "cannot tell"


def test_a_gain_turned_round_is_a_loss():
    rows = paired([0.02, 0.03, 0.025])
    there, back = statistics.gain(rows, "two", "one"), statistics.gain(rows, "one", "two")
    assert back["mean"].item() == pytest.approx(-there["mean"].item())
    assert back["low"].item() == pytest.approx(-there["high"].item())
    assert back["verdict"].item() == "opposite"


def test_a_gain_uses_the_seeds_that_have_both_ways():
    rows = paired([0.02, 0.03, 0.025, 0.5])
    rows = rows[(rows["seed"] != 3) | (rows["way"] != "one")]
    table = statistics.gain(rows, "two", "one")
    assert table["seeds"].item() == 3
    assert table["mean"].item() == pytest.approx(0.025)


def test_a_gain_of_another_score():
    rows = paired([0.02, 0.03, 0.025])
    rows["loss"] = -2 * rows["accuracy"]
    table = statistics.gain(rows, "two", "one", score="loss")
    assert table["mean"].item() == pytest.approx(-0.05)


def test_a_gain_that_cannot_be_told_is_refused():
    rows = paired([0.02, 0.03])
    with pytest.raises(ValueError, match=r"'(one|two)', '(one|two)'; got 'three'"):
        statistics.gain(rows, "three", "one")
    apart = rows[(rows["seed"] == 0) == (rows["way"] == "one")]
    with pytest.raises(ValueError, match="no cell and seed has both"):
        statistics.gain(apart, "two", "one")
    with pytest.raises(ValueError, match="two seeds"):
        statistics.gain(rows[rows["seed"] == 0], "two", "one")


def test_a_gain_does_not_depend_on_the_order_or_number_of_columns():
    rows = paired([0.02, 0.03, 0.025])
    want = statistics.gain(rows, "two", "one")
    for other in (
        rows[list(reversed(rows.columns))],
        rows.assign(seconds=range(len(rows)))[["study", "seconds", *rows.columns[1:]]],
        rows.query("labels == 10").drop(columns="study"),
        pd.concat([rows[:3], rows[3:].copy()]),
    ):
        pd.testing.assert_frame_equal(statistics.gain(other, "two", "one"), want)


def test_the_keys_of_rows_that_do_not_name_them_must_be_given():
    rows = paired([0.02, 0.03, 0.025])
    want = statistics.gain(rows, "two", "one")
    bare = pd.DataFrame(rows.to_dict("list"))
    with pytest.raises(ValueError, match=r"keys=\['way', 'labels'\]"):
        statistics.gain(bare, "two", "one")
    for keys in (["way", "labels"], ["labels"]):
        pd.testing.assert_frame_equal(statistics.gain(bare, "two", "one", keys=keys), want)
    with pytest.raises(ValueError, match="keys must be columns of rows; there is no colour"):
        statistics.gain(bare, "two", "one", keys=["labels", "colour"])


def test_a_column_that_across_names_is_a_key_also_when_the_study_lacks_it():
    rows = mapped(np.random.default_rng(7).normal(0.02, 0.02, size=(3, 6)))
    want = statistics.gain(rows, "two", "one", across=["a"])
    other = rows.rename(columns={"a": "partner"})
    other.attrs["keys"] = ["way", "labels"]
    found = statistics.gain(other, "two", "one", across=["partner"])
    assert found["partner"].tolist() == want["a"].tolist()
    np.testing.assert_allclose(found["mean"], want["mean"])


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_a_detectable_gain_is_found_four_times_in_five(n):
    pattern = np.random.default_rng(4).normal(size=n)
    spread = 0.02
    pattern = pd.Series((pattern - pattern.mean()) / pattern.std(ddof=1) * spread)
    detectable = statistics._detectable(pattern)
    worlds = np.random.default_rng(5).normal(detectable, spread, size=(20_000, n))
    found = (scipy.stats.ttest_1samp(worlds, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.012)  # 4 standard errors of 20,000 worlds
    assert statistics._detectable(pattern + 0.5) == pytest.approx(detectable), "depends on the mean"


def mapped(differences, way="two", over="one"):
    """Rows of a map. differences: (cells, seeds), of cell a = 1, 2, …; `over` has no a."""
    base = np.random.default_rng(6).uniform(0.2, 0.8, size=differences.shape[1])
    rows = [
        {"study": "toy", "a": 0, "way": over, "labels": 10, "seed": seed, "accuracy": value}
        for seed, value in enumerate(base)
    ]
    rows += [
        {"study": "toy", "a": a, "way": way, "labels": 10, "seed": seed, "accuracy": b + d}
        for a, values in enumerate(differences, start=1)
        for seed, (b, d) in enumerate(zip(base, values, strict=True))
    ]
    return named(rows, ["a", "way", "labels"])


def test_a_way_without_an_a_is_set_against_every_a():
    differences = np.random.default_rng(7).normal(0.02, 0.02, size=(3, 6))
    table = statistics.gain(mapped(differences), "two", "one", across=["a"])
    assert table["a"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(table["mean"], differences.mean(axis=1))
    with pytest.raises(ValueError, match="across must hold some of a, labels"):
        statistics.gain(mapped(differences), "two", "one", across=["colour"])


def test_the_cells_of_a_corrected_map_are_those_of_benjamini_and_hochberg():
    """Against the procedure written out: the largest k with p of rank k at most 0.05 k / n."""
    generator = np.random.default_rng(8)
    some = 0
    for _ in range(20):
        differences = generator.normal(generator.choice([0, 0.015], size=(12, 1)), 0.02, (12, 10))
        p = scipy.stats.ttest_1samp(differences, 0, axis=1).pvalue
        ranked = np.sort(p)
        k = max((k for k in range(1, 13) if ranked[k - 1] <= 0.05 * k / 12), default=0)
        want = p <= ranked[k - 1] if k else np.zeros(12, bool)
        plain, table = (
            statistics.gain(mapped(differences), "two", "one", across=["a"], corrected=corrected)
            for corrected in (False, True)
        )
        found = table["verdict"].isin(["supported", "opposite"]).to_numpy()
        assert (found == want).all()
        for row, values in zip(table.itertuples(), differences, strict=True):
            level = 1 - 0.05 * max(k, 1) / 12
            wide = scipy.stats.ttest_1samp(values, 0).confidence_interval(level)
            assert (row.low, row.high) == pytest.approx((wide.low, wide.high))
        some += 0 < k < plain["verdict"].isin(["supported", "opposite"]).sum()
    assert some, "the correction never took a cell away: this test shows nothing"


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "no difference"), (0.02, "supported")])
def test_a_cell_whose_seeds_all_agree_can_stand_on_a_corrected_map(value, verdict):
    differences = np.random.default_rng(11).normal(0, 0.02, size=(3, 6))
    rows = mapped(np.vstack([differences, np.zeros(6)]))
    rows.loc[rows["a"] == 4, "accuracy"] = rows.loc[rows["a"] == 0, "accuracy"].to_numpy() + value
    table = statistics.gain(rows, "two", "one", across=["a"], corrected=True).set_index("a")
    assert table.loc[4, "verdict"] == verdict


def test_a_corrected_map_finds_only_larger_gains():
    differences = np.random.default_rng(12).normal(0, 0.02, size=(12, 10))
    plain, wide = (
        statistics.gain(mapped(differences), "two", "one", across=["a"], corrected=corrected)
        for corrected in (False, True)
    )
    assert (wide["detectable"] > plain["detectable"]).all()


# ---------------------------------------------------------------------- along a dial

SIZES = [10, 100, 1000, 10_000]


def along(mean, spread=0.0, seeds=10, sizes=SIZES):
    noise = np.random.default_rng(9).normal(0, spread, size=(seeds, len(sizes)))
    return pd.DataFrame(np.asarray(mean) + noise, columns=sizes)


def test_the_break_even_is_where_the_mean_gain_crosses_zero():
    at, low, high = statistics.break_even(along([0.2, 0.1, -0.1, -0.2]))
    assert (at, low, high) == pytest.approx((10**2.5,) * 3)  # half-way between 100 and 1,000
    at, low, high = statistics.break_even(along([0.2, 0.1, -0.1, -0.2], spread=0.05))
    assert 100 < low < at < high < 1000


def test_no_break_even_is_said_so():
    assert statistics.break_even(along([0.2, 0.1, 0.1, 0.1])) == (np.inf,) * 3
    assert statistics.break_even(along([-0.2, -0.1, -0.1, 0.0])) == (0, 0, 0)
    _, low, high = statistics.break_even(along([0.2, 0.1, 0.1, 0.01], spread=0.05))
    assert (low > 1000, high) == (True, np.inf), "a gain near 0 may cross or not"


def test_a_dip_at_chance_level_is_no_break_even():
    """With a few examples of B all ways are near a coin toss, and either sign may come out."""
    at, *_ = statistics.break_even(along([-0.001, 0.1, -0.001, 0.05], sizes=SIZES))
    assert at == np.inf
    at, *_ = statistics.break_even(along([-0.001, 0.1, 0.1, -0.1]))
    assert at == pytest.approx(10**3.5)


def test_the_break_even_covers_the_true_one():
    """19 times in 20, or a little less: the percentile bootstrap of ten seeds is too narrow."""
    generator = np.random.default_rng(10)
    inside = 0
    for _ in range(60):
        noise = generator.normal(0, 0.05, size=(10, 4))
        gains = pd.DataFrame(np.array([0.2, 0.1, -0.1, -0.2]) + noise, columns=SIZES)
        _, low, high = statistics.break_even(gains)
        inside += low <= 10**2.5 <= high
    assert inside >= 48


def test_an_exchange_rate_is_read_off_the_curve_of_from_scratch():
    scratch = along([0.5, 0.6, 0.7, 0.8])
    transferred = along([0.6, 0.65, 0.7, 0.8])
    # 10 of B with A reach 0.6, which takes 100 of B without: 90 for 1,000 of A.
    assert statistics.exchange_rate(transferred, scratch, a=1000, b=10) == pytest.approx(
        (0.09,) * 3
    )
    # 100 with A reach 0.65, half-way from 100 to 1,000 in the logarithm.
    want = (10**2.5 - 100) / 1000
    assert statistics.exchange_rate(transferred, scratch, 1000, 100) == pytest.approx((want,) * 3)
    rate, *_ = statistics.exchange_rate(along([0.5, 0.55, 0.7, 0.8]), scratch, a=1000, b=100)
    assert rate == pytest.approx((10**1.5 - 100) / 1000), "A that costs has a rate below 0"


def test_an_exchange_rate_beyond_the_curve_is_infinite():
    scratch = along([0.5, 0.6, 0.7, 0.8])
    best, worst = along([0.9] * 4), along([0.4] * 4)
    assert statistics.exchange_rate(best, scratch, a=1000, b=10) == (np.inf,) * 3
    assert statistics.exchange_rate(worst, scratch, a=1000, b=10) == (-np.inf,) * 3


def test_what_cannot_be_read_off_is_refused():
    gains = along([0.2, 0.1, -0.1, -0.2])
    with pytest.raises(ValueError, match="two seeds and two sizes"):
        statistics.break_even(gains.iloc[:1])
    with pytest.raises(ValueError, match="must grow"):
        statistics.break_even(gains[[100, 10]])
    with pytest.raises(ValueError, match="gaps"):
        statistics.break_even(gains.mask(gains > gains.max().max() - 1e-9))
    with pytest.raises(ValueError, match="the same seeds"):
        statistics.exchange_rate(gains, gains.iloc[::-1], a=10, b=10)


# ---------------------------------------------------------------------- does one foretell another

TASKS = ("a", "b", "c", "d")
CELLS = pd.MultiIndex.from_tuples([(i, j) for i in TASKS for j in TASKS if i != j])


def measured(means, spread, seeds=10, seed=0):
    """One row a seed, one column a cell, scattered round the means."""
    noise = np.random.default_rng(seed).normal(0, spread, (seeds, len(CELLS)))
    return pd.DataFrame(means + noise, columns=CELLS)


def test_rank_correlation_is_spearmans_rho_of_the_means_with_an_interval_round_it():
    means = np.random.default_rng(1).normal(size=len(CELLS))
    outcome, predictor = measured(means, 0.5, seed=2), measured(means, 0.5, 8, seed=3)
    rho, low, high = statistics.rank_correlation(outcome, predictor)
    want = scipy.stats.spearmanr(outcome.mean(), predictor.mean()).statistic
    assert rho == pytest.approx(want)
    assert low < rho <= high
    assert statistics.rank_correlation(outcome, predictor) == (rho, low, high)
    shuffled = predictor[list(reversed(CELLS))]  # columns are matched by name
    assert statistics.rank_correlation(outcome, shuffled)[0] == pytest.approx(want)
    wide = statistics.rank_correlation(measured(means, 3.0, seed=2), measured(means, 3.0, seed=3))
    assert wide[2] - wide[1] > high - low


def test_reliability_is_how_well_as_many_new_seeds_agree():
    rng = np.random.default_rng(4)
    for spread in (0.5, 2.0):
        found, agreed = [], []
        for world in range(40):
            means = rng.normal(size=len(CELLS))
            one, new = (measured(means, spread, seed=2 * world + k) for k in (0, 1))
            found.append(statistics.reliability(one))
            agreed.append(scipy.stats.spearmanr(one.mean(), new.mean()).statistic)
        assert np.mean(found) == pytest.approx(np.mean(agreed), abs=0.05)
    noise = [statistics.reliability(measured(np.zeros(len(CELLS)), 1, seed=k)) for k in range(40)]
    assert abs(np.median(noise)) < 0.25
    with pytest.raises(ValueError, match="at least four seeds"):
        statistics.reliability(measured(np.zeros(len(CELLS)), 1, seeds=3))


def test_cells_that_differ_or_lack_a_seed_are_refused():
    table = measured(np.zeros(len(CELLS)), 1.0)
    with pytest.raises(ValueError, match="the same cells"):
        statistics.rank_correlation(table, table.iloc[:, 1:])
    with pytest.raises(ValueError, match="gaps"):
        statistics.rank_correlation(table, table.mask(table > table.max().max() - 1e-9))


def test_permutation_p_value_is_mantels_test_over_all_orders():
    rng = np.random.default_rng(5)
    outcome = pd.Series(rng.normal(size=len(CELLS)), CELLS)
    predictor = outcome + 0.3 * pd.Series(rng.normal(size=len(CELLS)), CELLS)
    rhos = []
    for order in itertools.permutations(TASKS):
        new = dict(zip(TASKS, order, strict=True))
        moved = [predictor[new[i], new[j]] for i, j in CELLS]
        rhos.append(scipy.stats.spearmanr(outcome, moved).statistic)
    want = np.mean(np.array(rhos) >= rhos[0] - 1e-9)
    assert statistics.permutation_p_value(outcome, predictor) == pytest.approx(want)
    assert statistics.permutation_p_value(outcome, outcome) == pytest.approx(1 / 24)
    many = pd.Series(0.0, pd.MultiIndex.from_tuples([(i, -i) for i in range(9)]))
    with pytest.raises(ValueError, match="at most 8 tasks"):
        statistics.permutation_p_value(many, many)
