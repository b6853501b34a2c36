"""Lesson 01: photographs of eight kinds of clothes to T-shirt or pullover."""

import functools
import math

from mtl_course import networks, training
from mtl_course.base import ASSETS, derive_seed
from mtl_course.datasets import CLOTHES, Dataset, Split, clothes, only
from mtl_course.networks import Network
from mtl_course.studies import common
from mtl_course.studies.common import Scores, Study, cells
from mtl_course.training import Fit, fit
from mtl_course.transfer import WAYS, pretrain

B = ("T-shirt", "pullover")
A = tuple(kind for kind in CLOTHES if kind not in B)
PHOTOGRAPHS = 8_000  # of A, drawn for each seed from the 12,800 that ship
PRETRAINING = 600  # steps on A
WIDTH = 16  # channels of the first block
STEPS = 200  # the same for every way
LABELS = (10, 30, 100, 300, 1_000)  # photographs of B with a label
RATE = 3e-3  # the best of five for every way, see "clothes_tuning"
SUPPORT_VECTORS = "support vectors on pixels"
C, GAMMA = 10.0, 3e-3  # of the support vectors, for pixels from 0 to 1: the best of 20 pairs
PLATEAU = 1_000  # steps
SAME_COMPUTE = STEPS + PRETRAINING * common.BATCH_OF_A // common.BATCH  # steps: A's and B's cost
CONTROLS = {
    "from scratch, to its plateau": PLATEAU,
    "from scratch, A's compute added": SAME_COMPUTE,
}


AXES = {"labels": "photographs of B with a label", "accuracy": "accuracy on 2,000 test photographs"}


@functools.cache
def photographs() -> Split:
    """Return the photographs that ship, read once in each process."""
    return clothes()


def source(seed: int, *, fit: Fit = fit) -> Network:
    """Return a network that has learned task A of one seed: its own 8,000 photographs."""
    settings = {"steps": PRETRAINING, "batch_size": common.BATCH_OF_A, "progress": False}
    settings |= {"learning_rate": RATE, "width": WIDTH}
    return pretrain(task_a(seed), seed=derive_seed(seed, "A network"), **settings, fit=fit)


def task_a(seed: int) -> Dataset:
    """Return the photographs of A that the networks of one seed learn from."""
    return only(photographs().train, A).sample(PHOTOGRAPHS, seed=derive_seed(seed, "A"))


def pretrained() -> Network:
    """Return the network of A that ships, `source(seed=100)`."""
    network = networks.classifier(only(photographs().train, A), width=WIDTH)
    return training.load(network, ASSETS / "clothes" / "source.pt")


def _clothes(
    source: Network, seed: int, way: str, labels: int,
    setting: float | None = None, gamma: float | None = None, steps: int | None = None,
    *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Train one network and score it on the 2,000 photographs of the test.

    setting, gamma, steps: a learning rate (for the support vectors: C), their gamma or steps to
        try, without the test.
    """
    pool, test = _development() if setting or steps else (only(p, B) for p in photographs())
    sample = pool.sample(labels, seed=derive_seed(seed, "B"))
    if way == SUPPORT_VECTORS:
        accuracy = common.support_vectors(sample, test, setting or C, gamma or GAMMA)
        return {"accuracy": accuracy, "steps": 0, "moved": float("nan")}
    how, usual = ("from scratch", CONTROLS[way]) if way in CONTROLS else (way, STEPS)
    steps = steps or usual
    network = common.adapted(source, sample, how, seed, steps, setting or RATE, fit=fit)
    fresh = networks.reinitialized(source, sample, derive_seed(seed, "B network"))
    start = fresh if how == "from scratch" else source
    moved = _distance(start, network)
    return {"accuracy": common.accuracy(network, test), "steps": steps, "moved": moved}


def _development() -> tuple[Dataset, Dataset]:
    """Return where choices are made: the pool's first 3,500 to learn from, its last 1,500."""
    pool = only(photographs().train, B)
    return pool.subset(slice(3_500)), pool.subset(slice(3_500, None))


def _distance(start: Network, end: Network) -> float:
    """Return how far the trunk's weights lie from where they started, in lengths of the start."""
    pairs = [*zip(start.trunk.parameters(), end.trunk.parameters(), strict=True)]
    way = sum((after - before.to(after.device)).square().sum().item() for before, after in pairs)
    return math.sqrt(way / sum(before.square().sum().item() for before, _ in pairs))


_SOURCE = {"A": list(A), "photographs": PHOTOGRAPHS, "pretraining": PRETRAINING, "width": WIDTH}
_TUNED_ON = (10, 100, 1_000)  # labels

_CLOTHES = Study(
    "Eight kinds of clothes → T-shirt or pullover: which way to transfer, for how many labels?",
    grid=cells(way=[*WAYS, *CONTROLS, SUPPORT_VECTORS], labels=LABELS),
    source=source, train=_clothes, seeds=range(10), over="from scratch",
    settings=_SOURCE | {
        "steps": STEPS, "controls": CONTROLS, "C": C, "gamma": GAMMA, "rate": RATE,
    },
)  # fmt: skip
STUDIES = {
    "clothes": _CLOTHES,
    "clothes_tuning": common.tuning(
        _CLOTHES,
        "The learning rate of each way, and C and gamma of the support vectors, without the test.",
        grid=[
            *cells(
                way=WAYS, labels=_TUNED_ON, setting=[3e-4, 1e-3, 3e-3, 1e-2, 3e-2], gamma=[0.0]
            ),
            *cells(
                way=[SUPPORT_VECTORS], labels=_TUNED_ON,
                setting=[0.1, 1.0, 10.0, 100.0], gamma=[1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
            ),
        ],
        seeds=common.DEVELOPMENT, settings=_SOURCE | {"steps": STEPS},
    ),
    "clothes_plateau": common.tuning(
        _CLOTHES,
        "How many steps from scratch takes until more do not help, on development photographs.",
        grid=cells(way=["from scratch"], labels=_TUNED_ON, steps=[200, 1_000, 3_000]),
        settings=_SOURCE | {"rate": RATE},
    ),
}  # fmt: skip
