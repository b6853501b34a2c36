"""What rows say: intervals, verdicts, break-even points and exchange rates, paired by seed.

A row holds its study, cell, seed and scores; the rows' `attrs["keys"]` name the cell's columns.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import scipy  # which imports scipy.stats, 0.5 s, where it is first used

Interval = tuple[float, float, float]  # a statistic, then the low and the high end of its interval


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return mean, low, high: Student's interval. Raises: ValueError for fewer than two values."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        raise ValueError(f"values must hold at least two seeds for an interval; got {len(values)}.")
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    reach = scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return mean, mean - reach, mean + reach


def predicted(rows: pd.DataFrame, keys: Sequence[str], score: str = "accuracy") -> pd.DataFrame:
    """Return where one further seed should land: Student's 95 % prediction interval of each group.

    Returns: one row a group: the `keys`, then seeds (their number), mean, low, high.
    Raises: ValueError for a group of fewer than two rows.
    """
    table = []
    for group, values in rows.groupby(list(keys), sort=False)[score]:
        mean, low, _ = interval(values)
        reach = (mean - low) * np.sqrt(len(values) + 1)  # s √(1 + 1/n) in place of s / √n
        table.append([*group, len(values), mean, mean - reach, mean + reach])
    return pd.DataFrame(table, columns=[*keys, "seeds", "mean", "low", "high"])


def gain(
    rows: pd.DataFrame, way: str, over: str, *, score: str = "accuracy", margin: float = 0.01,
    across: Sequence[str] = (), corrected: bool = False, keys: Sequence[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return what `way` gains over another way, paired by seed, with its interval and its verdict.

    Each seed gives one difference, of two networks that learned from the same draws. The verdict
    is read off the 95 % interval of the mean difference (Student's t): "supported" when all of it
    is above 0, "opposite" when all of it is below, "no difference" when it holds 0 and lies
    within ± `margin`, else "cannot tell".

    across: columns that mean nothing to `over`, which is set against each of their values: what
        A is, or how large, means nothing to "from scratch".
    corrected: for a map of many cells, 1 in 20 of which would differ by chance. The cells that
        Benjamini and Hochberg (1995) select at a false discovery rate of 5 % are those whose
        interval excludes 0, because all intervals are widened as Benjamini and Yekutieli (2005)
        say: with R selected of n cells, to a confidence of 1 − 0.05 R / n.
    keys: the columns that name a cell; None takes those in `across` and ``rows.attrs["keys"]``,
        which `studies.run` sets and pandas keeps when rows are selected.
    Returns: one row a cell (every key but `way`), with seeds (their number), mean, low, high,
        verdict, and detectable: the smallest true gain that as many would notice 4 times in 5.
    Raises: ValueError when a way is not in the rows, when fewer than two seeds have both, or when
        `keys` is neither given nor in the rows, or one of them is not a column.
    """
    keys = _keys(rows, keys, across)
    for name in (way, over):
        if name not in set(rows["way"]):
            ways = ", ".join(map(repr, rows["way"].unique()))
            raise ValueError(f"way must be one of {ways}; got {name!r}.")
    pairs = [key for key in keys if key not in across] + ["seed"]
    mine, other = (rows[rows["way"] == name] for name in (way, over))
    other = other[[*pairs, score]].rename(columns={score: "of other"})
    both = mine.merge(other, on=pairs, validate="many_to_one")
    both = both.assign(difference=both[score] - both["of other"]).dropna(subset="difference")
    if both.empty:
        raise ValueError(f"no cell and seed has both {way!r} and {over!r}.")
    groups = dict(iter(both.groupby(keys)["difference"]))
    confidence = _confidence(groups.values()) if corrected else 0.95
    table = []
    for cell, values in groups.items():
        mean, low, high = interval(values, confidence)
        about = [_verdict(low, high, margin), _detectable(values, confidence)]
        table.append([*cell, len(values), mean, low, high, *about])
    columns = [*keys, "seeds", "mean", "low", "high", "verdict", "detectable"]
    return pd.DataFrame(table, columns=columns)


def _keys(rows: pd.DataFrame, keys: Sequence[str] | None, across: Sequence[str]) -> list[str]:
    """Return the columns that name a cell, but for its way."""
    if keys is None:
        if "keys" not in rows.attrs:
            raise ValueError(
                "keys: name the columns of a cell, such as keys=['way', 'labels'], because these "
                "rows do not. Those of studies.run do, in rows.attrs['keys'], until they are "
                "joined with others."
            )
        keys = [*rows.attrs["keys"], *(key for key in across if key in rows.columns)]
    keys = [key for key in dict.fromkeys(keys) if key != "way"]
    if strange := set(across) - set(keys):
        raise ValueError(f"across must hold some of {', '.join(keys)}; got {sorted(strange)}.")
    if lost := [key for key in keys if key not in rows.columns]:
        raise ValueError(f"keys must be columns of rows; there is no {', '.join(lost)}.")
    return keys


def _confidence(cells: Iterable[pd.Series]) -> float:
    """Return the confidence at which at most 5 % of the cells that exclude 0 do so by chance."""
    p = []
    for values in cells:  # Student's test; where all values agree there is nothing to test
        mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        t = abs(mean) / error if error > 0 else (np.inf if mean else 0.0)
        p.append(2 * scipy.stats.t.sf(t, len(values) - 1))
    selected = (scipy.stats.false_discovery_control(p) <= 0.05).sum()
    return 1 - 0.05 * max(selected, 1) / len(p)


def _verdict(low: float, high: float, margin: float) -> str:
    if low > 0 or high < 0:
        return "supported" if low > 0 else "opposite"
    return "no difference" if -margin < low and high < margin else "cannot tell"


def _detectable(differences: pd.Series, confidence: float = 0.95) -> float:
    """Return the true mean that a two-sided t-test on so many pairs notices with a power of 0.8."""
    n, nct = len(differences), scipy.stats.nct
    bound = scipy.stats.t.ppf((1 + confidence) / 2, n - 1)
    effect = scipy.optimize.brentq(lambda x: nct.sf(bound, n - 1, x) - 0.8, 0, 100)
    return effect * differences.std(ddof=1) / np.sqrt(n)


# ---------------------------------------------------------------------- along a dial

RESAMPLES = 2_000
_BOOTSTRAP = {"n_resamples": RESAMPLES, "method": "percentile", "vectorized": False, "rng": 0}


def break_even(gains: pd.DataFrame) -> Interval:
    """Return where the mean gain crosses 0 for the last time as B grows: the size, low, high.

    Between two sizes the gain is taken to be linear in the logarithm of the size. The interval is
    the percentile bootstrap over seeds (scipy) at 95 %.

    gains: one row a seed, one column a size of B, growing; the gain of that seed at that size.
    Returns: inf if the mean gain is still above 0 at the largest size, 0 if it is above 0 at none.
    Raises: ValueError for fewer than two seeds or sizes, sizes that do not grow, or a gap.
    """
    sizes, values = _curves(gains)

    def crossing(seeds: np.ndarray) -> float:
        mean = values[seeds].mean(axis=0)
        if not (mean > 0).any():
            return 0.0
        i = np.flatnonzero(mean > 0)[-1]
        if i == len(mean) - 1:
            return np.inf
        share = mean[i] / (mean[i] - mean[i + 1])
        return float(np.exp(np.log(sizes[i]) + share * np.log(sizes[i + 1] / sizes[i])))

    return _bootstrapped(crossing, len(values))


def exchange_rate(transferred: pd.DataFrame, scratch: pd.DataFrame, a: int, b: int) -> Interval:
    """Return how many examples of B one of A is worth, at this |A| and |B|: the rate, low, high.

    From scratch would need |B′| examples for the score that transfer reaches with |B|, read off
    the mean learning curve of from scratch, linear in the logarithm of its size. One A example is
    then worth (|B′| − |B|) / |A| of B. The interval is that of `break_even`.

    transferred: a row a seed, the column `b` its scores. scratch: the same seeds, a column a size.
    Returns: negative where transfer costs; inf where no size of from scratch reaches that score,
        −inf where each is above it.
    Raises: ValueError as `break_even`, or if the two do not have the same seeds.
    """
    sizes, curves = _curves(scratch)
    if list(transferred.index) != list(scratch.index):
        raise ValueError("transferred and scratch must have the same seeds, in the same order.")
    reached = transferred[b].to_numpy(float)

    def rate(seeds: np.ndarray) -> float:
        # The curve's running maximum: more examples never make it worse, but for chance.
        mean = np.maximum.accumulate(curves[seeds].mean(axis=0))
        score = reached[seeds].mean()
        if score > mean[-1]:
            return np.inf
        if score < mean[0]:
            return -np.inf
        return (float(np.exp(np.interp(score, mean, np.log(sizes)))) - b) / a

    return _bootstrapped(rate, len(curves))


def _curves(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes of B (sizes,) and the values (seeds, sizes), checked."""
    sizes = table.columns.to_numpy(float)
    if min(table.shape) < 2:
        raise ValueError(f"at least two seeds and two sizes are needed; got {table.shape}.")
    if table.isna().any(axis=None):
        raise ValueError("every seed must have a value at every size of B; there are gaps.")
    if (np.diff(sizes) <= 0).any():
        raise ValueError(f"the sizes of B, in the columns, must grow; got {sizes.tolist()}.")
    return sizes, table.to_numpy(float)


def _bootstrapped(statistic: Callable, count: int) -> Interval:
    """Return a statistic of all seeds, and its 95 % interval over draws of as many seeds."""
    seeds = np.arange(count)
    with np.errstate(invalid="ignore"):  # scipy also takes the spread of what may be infinite
        drawn = scipy.stats.bootstrap((seeds,), statistic, **_BOOTSTRAP)
    # The nearest draw, not a mean of two: one of them may be infinite.
    low, high = np.quantile(drawn.bootstrap_distribution, [0.025, 0.975], method="nearest")
    return statistic(seeds), float(low), float(high)


# ---------------------------------------------------------------------- between two studies


def rank_correlation(outcome: pd.DataFrame, predictor: pd.DataFrame) -> Interval:
    """Return Spearman's ρ between the mean gains of two studies, and its interval: ρ, low, high.

    The interval is the percentile bootstrap (scipy) at 95 %, over the seeds of each study by
    itself; the tasks stay as they are. It is about this ρ, of means that carry noise: that of the
    true gains lies further from 0, see `reliability`.

    outcome, predictor: one row a seed, one column a cell; the same cells, seeds of their own.
    Raises: ValueError if the cells differ, or there is a gap.
    """
    if set(outcome.columns) != set(predictor.columns):
        raise ValueError("outcome and predictor must have the same cells, in their columns.")
    if outcome.isna().any(axis=None) or predictor.isna().any(axis=None):
        raise ValueError("every seed must have a value in every cell; there are gaps.")
    one, other = outcome.to_numpy(float), predictor[outcome.columns].to_numpy(float)

    def rho(these: np.ndarray, those: np.ndarray, axis: int = -1) -> np.ndarray:
        return _spearman(one[these].mean(axis=-2), other[those].mean(axis=-2))

    seeds = (np.arange(len(one)), np.arange(len(other)))
    how = _BOOTSTRAP | {"vectorized": True}
    low, high = scipy.stats.bootstrap(seeds, rho, **how).confidence_interval
    return float(rho(*seeds)), float(low), float(high)


def _spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ along the last axis; scipy's takes one pair at a time, and thousands
    of them seconds."""
    ranks = (scipy.stats.rankdata(values, axis=-1) for values in (one, other))
    one, other = (each - each.mean(axis=-1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore"):  # all values are equal: ρ is not defined
        return (one * other).sum(-1) / np.sqrt((one**2).sum(-1) * (other**2).sum(-1))


def reliability(table: pd.DataFrame) -> float:
    """Return how well the mean gains of a study would agree with those of as many new seeds.

    Spearman's ρ between the means of two random halves of the seeds, the mean over many splits,
    stepped up to the full number (Spearman and Brown 1910). Two studies that measure the same
    thing are expected to agree by about the root of their reliabilities' product, and no more.

    table: one row a seed, one column a cell. Returns: at most 1; 0 or below for noise.
    Raises: ValueError for fewer than four seeds.
    """
    values = table.to_numpy(float)
    if len(values) < 4:
        raise ValueError(f"table must hold at least four seeds, to be halved; got {len(values)}.")
    rng = np.random.default_rng(0)
    splits = (np.array_split(rng.permutation(values), 2) for _ in range(RESAMPLES // 10))
    means = np.array([[half.mean(axis=0) for half in split] for split in splits])
    half = np.mean(_spearman(means[:, 0], means[:, 1]))
    return float(2 * half / (1 + half))


def permutation_p_value(outcome: pd.Series, predictor: pd.Series) -> float:
    """Return how often chance would do as well: Mantel's test for two matrices of the same tasks.

    The cells of a matrix are not independent: a task that is easy to help is so in all of its
    cells. So the tasks of one matrix are permuted, in every order, and Spearman's ρ is taken again.

    outcome, predictor: indexed by (task, other task), for at most 8 tasks.
    Returns: p, the share of all orders whose ρ is at least as large as the tasks' own.
    Raises: ValueError for more tasks.
    """
    tasks = list(outcome.index.unique(0))
    if len(tasks) > 8:
        raise ValueError(f"outcome must have at most 8 tasks, for all orders; got {len(tasks)}.")
    ranks = np.full((len(tasks), len(tasks)), np.nan)  # of the predictor, by task and other task
    ranks[*_places(predictor, tasks)] = scipy.stats.rankdata(predictor)
    orders = np.array([*itertools.permutations(range(len(tasks)))])
    task, other = _places(outcome, tasks)
    moved = ranks[orders[:, task], orders[:, other]]  # (orders, cells)
    products = moved @ scipy.stats.rankdata(outcome)  # ρ but for what no order changes
    return float(np.mean(products >= products[0] - 1e-9))


def _places(values: pd.Series, tasks: Sequence[str]) -> np.ndarray:
    return np.array([[tasks.index(name) for name in pair] for pair in values.index]).T
