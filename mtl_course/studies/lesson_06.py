"""Lesson 06, when tasks fight: gradients, loss weights and aggregators, beyond the lecture.

Every network learns from 1,000 driving scenes that are labeled for all of its tasks.
`lesson_06_pairs` has the studies of who helps whom.
"""

import itertools

import pandas as pd

from mtl_course import aggregators, gradients
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset, only
from mtl_course.networks import Network, separate, shared
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import common, lesson_05, statistics
from mtl_course.studies.common import BATCH, STEPS, THOUSAND, WIDTH, Scores, Study, cells
from mtl_course.studies.lesson_05 import RANDOM
from mtl_course.training import Fit, fit

UNRELATED = "four strangers"
SETS = lesson_05.TASK_SETS | {UNRELATED: ("two cars", "stop sign", "road bends left", "round tree")}
"""Four tasks each: the lecture's, four of one family, and four that have little in common."""
CALLED = {"the four": "the lecture's four", UNRELATED: "four unrelated tasks"}
"""What the lesson calls two of the sets; the others are called as in the rows."""
AXES = {
    "cosine": "cosine, mean of six pairs",
    "share": "weight of stop signs",
    "auc": "AUC",
    "auc 1": "AUC of stop signs",
    "auc 2": "AUC of traffic lights",
}
COIN_TOSS = {"auc": (0.5, 44 * " " + "coin toss")}  # beside the points
BEST_AGGREGATOR = {"the lecture's four": "CAGrad", "four unrelated tasks": "MGDA"}
"""The aggregator with the highest mean, by what the lesson calls the set of tasks."""
CLAIMED = (
    *(f"weight 0.9 in place of 0.5: the {score} rises"
      for score in ("AUC of stop signs", "AUC of traffic lights", "mean AUC of both")),
    *(f"{name}: {way} gains over a plain sum" for name, best in BEST_AGGREGATOR.items()
      for way in (best, "plain sum, width 16", "one network each")),
    "four unrelated tasks: width 16 gains over UPGrad",
)  # fmt: skip
"""What the lesson lists, of `assets/claims.json`; its evidence lists all."""


def roads(seed: int, *, fit: Fit = fit) -> Dataset:
    """Draw 1,000 scenes, labeled for every set of tasks."""
    return lesson_05.draw_for(SETS.values(), THOUSAND, seed)


# ---------------------------------------------------------------------- cosines

LOOKS = (0, 10, 30, 100, 200, 299)  # steps before which the gradients are recorded
PROBE = 512  # images, the same at each look
COSINE_RATE = 1e-2  # of the lecture's four in lesson 05, at this width and number of scenes
PAIRS_OF_FOUR = tuple(itertools.combinations(range(1, 5), 2))


def scenes_for(roads: Dataset, seed: int, way: str) -> Dataset:
    """Return the scenes with the labels of one set; of `RANDOM`, with the four's, shuffled."""
    if way == RANDOM:
        return lesson_05.shuffled(only(roads, THE_FOUR), seed, start=0)
    return only(roads, SETS[way])


def _gradients(roads: Dataset, seed: int, way: str, images: int, *, fit: Fit = fit) -> Scores:
    """Return the cosine of each pair of tasks at each look, and the mean of all: "cosine"."""
    data, own = scenes_for(roads.subset(slice(images)), seed, way), derive_seed(seed, "network")
    network = shared(data.tasks, width=WIDTH, seed=own)
    watch = aggregators.Watch(network, data.subset(slice(PROBE)), LOOKS)
    fit(network, data, **common.fitting(own, STEPS, COSINE_RATE), batch_size=BATCH, backward=watch)
    matrices = {step: gradients.cosines(watch.gradients[step]) for step in LOOKS}
    each = {
        f"{step}: {i} and {j}": float(matrix[i - 1, j - 1])
        for step, matrix in matrices.items()
        for i, j in PAIRS_OF_FOUR
    }
    return {"cosine": sum(each.values()) / len(each), **each}


def over_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row a network and look: way, seed, step, and the mean of its six cosines."""
    tables = [
        rows[["way", "seed"]].assign(step=k, cosine=rows.filter(regex=f"^{k}: ").mean(axis=1))
        for k in LOOKS
    ]
    return pd.concat(tables, ignore_index=True).replace(CALLED)


def above_random(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what the mean cosine of each set has above that of random labels, by set and step."""
    table, how = over_time(rows), {"over": RANDOM, "score": "cosine", "keys": ["step"]}
    sets = [way for way in table["way"].unique() if way != RANDOM]
    gains = {way: statistics.gain(table, way, **how).set_index("step") for way in sets}
    return pd.concat(gains, names=["set"])


def conflicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the share of pairs and seeds whose cosine is below 0, by way (a row) and step."""
    below = {
        k: rows.filter(regex=f"^{k}: ").lt(0).groupby(rows["way"]).mean().mean(axis=1)
        for k in LOOKS
    }
    return pd.DataFrame(below).rename_axis(columns="step").rename(CALLED)


def cosine_matrices(rows: pd.DataFrame, way: str) -> dict[int, pd.DataFrame]:
    """Return the mean of each look's cosines, 4 × 4, by step, over the seeds of "gradients"."""
    names, matrices = SETS.get(way, THE_FOUR), {}
    mean = rows[rows["way"] == way].mean(numeric_only=True)
    for step in LOOKS:
        matrix = pd.DataFrame(1.0, index=names, columns=names)
        for i, j in PAIRS_OF_FOUR:
            matrix.iloc[i - 1, j - 1] = matrix.iloc[j - 1, i - 1] = mean[f"{step}: {i} and {j}"]
        matrices[step] = matrix
    return matrices


# ---------------------------------------------------------------------- loss weights

TRADED_TASKS = ("stop sign", "traffic light")
SHARES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # of all weight, for the first
NARROW = 2  # channels: where sharing costs most in lesson 05, and many networks miss the stop sign
MISSED = 0.6  # a network below this area under the ROC curve has missed a task
BEST_RATES = {4: 1e-2, 8: 1e-2}  # with even weights, by width, of "weights_tuning"
WEIGHTS_WIDTH = 8  # of 4, 8, 16, … the first in "weights_tuning" at which no network misses a task
WEIGHTS_RATES = {NARROW: 3e-2, WEIGHTS_WIDTH: 1e-2}  # of lesson 05; the best of "weights_tuning"


def _weights(
    roads: Dataset, seed: int, share: float, width: int, rate: float | None = None,
    *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Score both tasks when the loss gives the first this share of its weight."""
    data, own = only(roads, TRADED_TASKS), derive_seed(seed, "network")
    network = shared(data.tasks, width=width, seed=own)
    settings = {"batch_size": BATCH, "backward": aggregators.weighted((share, 1 - share))}
    settings |= common.fitting(own, STEPS, rate or WEIGHTS_RATES[width])
    fit(network, data, **settings)
    return common.each_scored(network, seed)


def by_share(rows: pd.DataFrame, width: int) -> pd.DataFrame:
    """Return a row a network and task: seed, share, auc, and the task as its "way"."""
    rows = rows[rows["width"] == width]
    tables = [
        rows[["seed", "share"]].assign(way=task, auc=rows[f"auc {number}"])
        for number, task in enumerate(TRADED_TASKS, start=1)
    ]
    return pd.concat(tables, ignore_index=True)


def lowest(rows: pd.DataFrame) -> pd.Series:
    """Return each network's lowest area under the curve of the tasks that have weight."""
    aucs = [rows["auc 1"].where(rows["share"] > 0), rows["auc 2"].where(rows["share"] < 1)]
    return pd.concat(aucs, axis=1).min(axis=1)


def missed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how many networks miss a task that has weight, by width (a row) and share."""
    return (lowest(rows) < MISSED).groupby([rows["width"], rows["share"]]).sum().unstack("share")


# ---------------------------------------------------------------------- aggregators

SUM, WEIGHTED, UNCERTAIN = "plain sum", "sum, one task doubled", "uncertainty"
WIDE, EACH = "plain sum, width 16", "one network each"
ALTERNATIVES = (UNCERTAIN, *aggregators.AGGREGATORS)
AGGREGATED = (SUM, WEIGHTED, *ALTERNATIVES, WIDE, EACH)
AGGREGATED_SETS = ("the four", UNRELATED)
DOUBLED = tuple(f"task {number} counts twice" for number in range(1, 5))
AGGREGATOR_RATES = {  # the best of "aggregators_tuning", and so is the doubled task
    "the four": dict.fromkeys(AGGREGATED, 0.03) | {UNCERTAIN: 0.01, "MGDA": 0.01},
    UNRELATED: dict.fromkeys(AGGREGATED, 0.01) | {"MGDA": 0.03, EACH: 0.03, WEIGHTED: 0.03},
}
DOUBLED_TASK = {"the four": DOUBLED[1], UNRELATED: DOUBLED[1]}


def combined(network: Network, way: str, rate: float, seed: int) -> aggregators.Backward | None:
    """Return the `backward` of this way to combine the four task losses; None: their plain sum."""
    if way in DOUBLED:
        return aggregators.weighted([2.0 if way == other else 1.0 for other in DOUBLED])
    if way == UNCERTAIN:
        return aggregators.uncertain(len(network.names), rate)
    return aggregators.aggregated(network, way, seed) if way in aggregators.AGGREGATORS else None


def _aggregators(
    roads: Dataset, seed: int, way: str, asked: str, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """Score four tasks and name the worst of them."""
    rate = rate or AGGREGATOR_RATES[asked][way]
    data, own = only(roads, SETS[asked]), derive_seed(seed, "network")
    width, build = WIDTH * (2 if way == WIDE else 1), separate if way == EACH else shared
    network = build(data.tasks, width=width, seed=own)
    backward = combined(network, DOUBLED_TASK[asked] if way == WEIGHTED else way, rate, own)
    fit(network, data, **common.fitting(own, STEPS, rate), batch_size=BATCH, backward=backward)
    scores = common.each_scored(network, seed)
    return scores | {"worst": min(scores[f"auc {number}"] for number in range(1, 5))}


def over_the_sum(rows: pd.DataFrame, score: str = "auc") -> dict[str, pd.DataFrame]:
    """Return what each way gains over the plain sum, by what the lesson calls the set of tasks."""
    ways = (WEIGHTED, *ALTERNATIVES, WIDE, EACH)
    gains = pd.concat(
        statistics.gain(rows, way, over=SUM, score=score).assign(way=way) for way in ways
    )
    return {name: gains[gains["asked"] == key] for key, name in CALLED.items()}


_SETTINGS = {
    "test": common.TEST_SCENES, "steps": STEPS, "batch": BATCH, "width": WIDTH, "sets": SETS,
}  # fmt: skip
_AGGREGATORS = Study(
    "Do aggregators and learned weights beat a plain sum that was tuned as well?",
    grid=cells(way=AGGREGATED, asked=AGGREGATED_SETS),
    source=roads, train=_aggregators, over=SUM, **lesson_05.REPORTED,
    settings=_SETTINGS | {
        "CAGrad's c": aggregators.CAGRAD_C, "rates": AGGREGATOR_RATES, "doubled": DOUBLED_TASK,
    },
)  # fmt: skip

_WEIGHTS = Study(
    "What does moving the loss's weight from one task to another buy, and cost?",
    grid=[
        *cells(width=[NARROW], share=SHARES),
        *cells(width=[WEIGHTS_WIDTH], share=[s for s in SHARES if s not in (0.02, 0.98)]),
    ],
    source=roads, train=_weights, **lesson_05.REPORTED,
    settings={
        "test": common.TEST_SCENES, "steps": STEPS, "batch": BATCH, "sets": SETS,
        "rivals": TRADED_TASKS, "rates": WEIGHTS_RATES,
    },
)  # fmt: skip

STUDIES = {
    "gradients": Study(
        "At what angles do the tasks' gradients meet: related, unrelated, with random labels?",
        grid=cells(way=[*SETS, RANDOM], images=[THOUSAND]),
        source=roads, train=_gradients, over=RANDOM, **lesson_05.REPORTED | {"score": "cosine"},
        settings=_SETTINGS | {"looks": LOOKS, "probed": PROBE, "rate": COSINE_RATE},
    ),
    "weights": _WEIGHTS,
    "weights_tuning": common.tuning(
        _WEIGHTS, "Loss weights: at which width does no network miss a task? On development seeds.",
        grid=[
            *cells(width=BEST_RATES, rate=common.RATES_TRIED[1:4], share=[0.5]),
            *({"width": width, "rate": rate, "share": share}
              for width, rate in BEST_RATES.items() for share in (0.25, 0.75, 1.0)),
        ],
    ),
    "aggregators": _AGGREGATORS,
    "aggregators_tuning": common.tuning(
        _AGGREGATORS,
        "Learning rates and weights for the plain sum and its alternatives, on development seeds.",
        grid=cells(
            way=[SUM, *DOUBLED, *ALTERNATIVES, WIDE, EACH], asked=AGGREGATED_SETS,
            rate=lesson_05.HIGHER_RATES,
        ),
    ),
}  # fmt: skip
