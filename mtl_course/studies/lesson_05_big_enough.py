"""Lesson 05, is the network big enough (M7): every network trained until more steps bring nothing.

In the study of widths in `lesson_05` all networks stop after 300 steps.
"""

from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.networks import separate, shared, trainable
from mtl_course.scenes import THE_FOUR
from mtl_course.studies import common, lesson_05
from mtl_course.studies.common import BATCH, Scores, Study, cells
from mtl_course.studies.lesson_05 import SEPARATE, SHARED
from mtl_course.training import Fit, fit

PLATEAU = {1_000: 600, 4_000: 1_200}  # steps of each network, by the number of scenes
MARGIN = 0.01  # of AUC, stated before the run: the most that twice the steps may bring
NETWORKS = {  # the best rate of "big_enough_tuning", by scenes, way and width
    (1_000, SHARED, 8): 3e-2, (1_000, SHARED, 16): 3e-2, (1_000, SHARED, 32): 1e-2,
    (1_000, SEPARATE, 8): 3e-2,
    (4_000, SHARED, 8): 3e-2, (4_000, SHARED, 16): 1e-2, (4_000, SHARED, 32): 1e-2,
    (4_000, SEPARATE, 8): 1e-2,
}  # fmt: skip
RATES = common.RATES_TRIED[1:4]


def roads(seed: int, images: int, *, fit: Fit = fit) -> Dataset:
    """Draw scenes labeled for the lecture's four tasks."""
    return lesson_05.draw_for([THE_FOUR], images, seed)


def _big_enough(
    roads: Dataset, seed: int, images: int, way: str, width: int, rate: float | None = None,
    times: int = 1, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Score four tasks, learned by one network or by four, each of this width.

    times: of the steps in `PLATEAU`. Scores: means over the four, then the area under the curve of
    each; parameters: of all networks; rate: the one that was used.
    """
    rate, steps = rate or NETWORKS[images, way, width], times * PLATEAU[images]
    build, own = separate if way == SEPARATE else shared, derive_seed(seed, "network")
    network = common.train(roads, own, steps, rate, build=build, width=width, fit=fit)
    scores = {**common.each_scored(network, seed), "parameters": trainable(network)}
    return scores | {"steps": steps, "chosen rate": rate}


_GRID = [dict(zip(("images", "way", "width"), network, strict=True)) for network in NETWORKS]
_BIG_ENOUGH = Study(
    "Trained until more steps bring nothing: is one big network as good as four small ones?",
    grid=_GRID, source=roads, train=_big_enough, shared_by="images", over=SEPARATE,
    **lesson_05.REPORTED,
    # Not rates and steps: each row holds its own, and a test compares them with `NETWORKS`.
    settings={"test": common.TEST_SCENES, "batch": BATCH},
)  # fmt: skip

STUDIES = {
    "big_enough": _BIG_ENOUGH,
    "big_enough_tuning": common.tuning(
        _BIG_ENOUGH, "The learning rate of each network at its plateau, on development seeds.",
        grid=[cell | {"rate": rate} for cell in _GRID for rate in RATES],
        seeds=common.DEVELOPMENT[:2],
    ),
    "big_enough_plateau": common.tuning(
        _BIG_ENOUGH, "Would more steps bring more? Each network with twice the steps.",
        grid=[cell | times for cell in _GRID for times in cells(times=[2])],
        seeds=range(4),
    ),
}  # fmt: skip
