"""Lesson 01: printed digits to handwritten ones."""

from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset, handwritten_digits, printed_digits
from mtl_course.networks import Network
from mtl_course.studies import common
from mtl_course.studies.common import STEPS, Scores, Study, cells
from mtl_course.training import Fit, fit
from mtl_course.transfer import LEARNING_RATES, WAYS, pretrain

PRINTED = 60_000  # images of A
PRETRAINING = 500  # steps on A
LABELS = (10, 30, 100, 300, 800)  # handwritten images with a label
PLATEAU = 1000  # steps: three times as many gain less than 0.01, see "digits_plateau"
SAME_COMPUTE = STEPS + PRETRAINING * common.BATCH_OF_A // common.BATCH  # steps: A's and B's cost
C = 10.0  # the support-vector machine's, the best of a grid, see "digits_tuning"

CONTROLS = {
    "from scratch, to its plateau": PLATEAU,
    "from scratch, A's compute added": SAME_COMPUTE,
}
MACHINE = "support vectors on pixels"
ZERO_SHOT = "zero-shot"


def printed_source(seed: int, *, fit: Fit = fit) -> Network:
    """Return a network that has learned task A of one seed: its own 60,000 printed digits."""
    printed = printed_digits(PRINTED, seed=derive_seed(seed, "A"), device=common.for_drawing())
    return pretrained(printed, seed, fit)


def pretrained(data: Dataset, seed: int, fit: Fit) -> Network:
    """Return a network that has learned these images of A."""
    settings = {"steps": PRETRAINING, "batch_size": common.BATCH_OF_A, "progress": False}
    return pretrain(data, seed=derive_seed(seed, "A network"), **settings, fit=fit)


def _digits(
    source: Network, seed: int, way: str, labels: int,
    setting: float | None = None, steps: int | None = None, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Train one network and score it on the 897 handwritten digits of the test.

    setting, steps: a learning rate (for the support vectors: C) or steps to try, without the test.
    """
    pool, test = _development() if setting or steps else handwritten_digits()
    if way == ZERO_SHOT:
        return {"accuracy": common.accuracy(source, test), "steps": 0}
    sample = pool.sample(labels, seed=derive_seed(seed, "B"))
    if way == MACHINE:
        return {"accuracy": common.support_vectors(sample, test, setting or C), "steps": 0}
    how, usual = ("from scratch", CONTROLS[way]) if way in CONTROLS else (way, STEPS)
    steps = steps or usual
    target = common.adapted(source, sample, how, seed, steps, setting, fit=fit)
    return {"accuracy": common.accuracy(target, test), "steps": steps}


def _development() -> tuple[Dataset, Dataset]:
    """Return where choices are made: the pool's first 600 to learn from, its last 300 to score."""
    pool = handwritten_digits().train
    return pool.subset(slice(600)), pool.subset(slice(600, None))


_SOURCE = {"printed": PRINTED, "pretraining": PRETRAINING}
_TUNED_ON = (30, 100, 500)  # labels; the development pool has 600

_DIGITS = Study(
    "Printed → handwritten digits: which way to transfer, for how many labels?",
    grid=[
        *cells(way=[ZERO_SHOT], labels=[0]),
        *cells(way=[*WAYS, *CONTROLS, MACHINE], labels=LABELS),
    ],
    source=printed_source, train=_digits, seeds=range(10),
    settings=_SOURCE | {"steps": STEPS, "controls": CONTROLS, "C": C, "rates": LEARNING_RATES},
)  # fmt: skip
STUDIES = {
    "digits": _DIGITS,
    "digits_tuning": common.tuning(
        _DIGITS,
        "The learning rate of each way and the C of the support vectors, on development data.",
        grid=[
            *cells(way=WAYS, labels=_TUNED_ON, setting=[3e-4, 1e-3, 3e-3, 1e-2, 3e-2]),
            *cells(way=[MACHINE], labels=_TUNED_ON, setting=[0.1, 1.0, 10.0, 100.0, 1000.0]),
        ],
        seeds=common.DEVELOPMENT, settings=_SOURCE | {"steps": STEPS},
    ),
    "digits_plateau": common.tuning(
        _DIGITS, "How many steps from scratch takes until more do not help, on development data.",
        grid=cells(way=["from scratch"], labels=_TUNED_ON, steps=[300, 1000, 3000]),
        seeds=common.DEVELOPMENT, settings=_SOURCE | {"rate": LEARNING_RATES["from scratch"]},
    ),
}  # fmt: skip
