"""Lesson 07: from ImageNet's color photographs to small gray ones of clothes, and many questions.

Task A is ImageNet, or eight kinds of clothes; task B is all ten kinds, with few labels.
"""

import functools
from dataclasses import replace

import torch

from mtl_course.base import derive_seed
from mtl_course.datasets import CLOTHES, UNKNOWN, Dataset, Split, only
from mtl_course.networks import Network, backbone, separate, shared
from mtl_course.studies import common, lesson_01
from mtl_course.studies.common import Scores, Study, cells
from mtl_course.training import Fit, evaluate, fit
from mtl_course.transfer import pretrain

LABELS = (20, 50, 200, 1_000)  # photographs of B with a label
FOR_A, TESTED = 1_100, 100  # photographs of each kind
BACKBONE, SIZE = "efficientnet_lite0", 96  # pixels on a side, as the backbone sees them
IMAGENET_HEAD, IMAGENET_ALL = "ImageNet, new head", "ImageNet, all layers"
BACKBONE_SCRATCH = "from scratch, ImageNet's network"
OTHER_HEAD, OTHER_ALL = "eight kinds, new head", "eight kinds, all layers"
HOW = {
    "from scratch": "from scratch", OTHER_HEAD: "new head", OTHER_ALL: "all layers",
    IMAGENET_HEAD: "new head", IMAGENET_ALL: "all layers", BACKBONE_SCRATCH: "from scratch",
}  # fmt: skip
LARGE = (IMAGENET_HEAD, IMAGENET_ALL, BACKBONE_SCRATCH)
STEPS, BATCH = 400, 64  # of the small network, and of every new head
LARGE_STEPS, LARGE_BATCH = 60, 32  # of all of the backbone's layers
RATES = {  # the best of "photographs_tuning": for up to 50 labels, and for more
    "from scratch": (3e-3, 3e-2), OTHER_HEAD: (1e-3, 3e-2), OTHER_ALL: (1e-3, 3e-3),
    IMAGENET_HEAD: (1e-3, 3e-3), IMAGENET_ALL: (1e-3, 1e-3), BACKBONE_SCRATCH: (1e-2, 1e-2),
    lesson_01.SUPPORT_VECTORS: (10.0, 10.0),  # C
}  # fmt: skip
RATES_TRIED = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)

AXES = {"labels": "photographs of B with a label", "accuracy": "accuracy on 1,000 test photographs"}


@functools.cache
def parts() -> tuple[Dataset, Dataset, Dataset]:
    """Return the photographs for A, those for B, and B's test: 100 of each kind.

    Of each kind, the first 1,100 to learn from are for A, the last 500 of all kinds' 1,600 for B.
    """
    train, test = lesson_01.photographs()
    return _of_each(train, 0, FOR_A), _of_each(train, FOR_A, 1_600), _of_each(test, 0, TESTED)


def _of_each(data: Dataset, first: int, last: int) -> Dataset:
    """Return photographs `first` to `last` of each kind."""
    kinds = [(data.labels == kind).nonzero()[first:last, 0] for kind in range(len(CLOTHES))]
    return data.subset(torch.cat(kinds))


def _learn_and_score(tries: bool) -> Split:
    """Return B's pool and test; while choices are made, the first 350 of a kind and the rest."""
    _, pool, test = parts()
    return Split(_of_each(pool, 0, 350), _of_each(pool, 350, 500)) if tries else Split(pool, test)


def source(seed: int, *, fit: Fit = fit) -> Network:
    """Return a small network that has learned the eight kinds of lesson 01, a seed's own 8,000."""
    a = only(parts()[0], lesson_01.A).sample(lesson_01.PHOTOGRAPHS, seed=derive_seed(seed, "A"))
    settings = {"steps": lesson_01.PRETRAINING, "batch_size": common.BATCH_OF_A, "progress": False}
    settings |= {"learning_rate": lesson_01.RATE, "width": lesson_01.WIDTH}
    return pretrain(a, seed=derive_seed(seed, "A network"), **settings, fit=fit)


@functools.cache
def imagenet() -> Network:
    """Return the network that has learned ImageNet, with its own head."""
    return backbone(BACKBONE)


def _photographs(
    source: Network, seed: int, way: str, labels: int,
    rate: float | None = None, *, fit: Fit = fit,
) -> Scores:  # fmt: skip
    """Train one network and score it on the 1,000 photographs of the test.

    rate: a learning rate (for the support vectors: C) to try, without the test.
    """
    data = _learn_and_score(rate is not None)
    sample, test = data.train.sample(labels, seed=derive_seed(seed, "B")), data.test
    rate = rate or RATES[way][labels > 50]
    if way == lesson_01.SUPPORT_VECTORS:
        accuracy = common.support_vectors(sample, test, rate)
        return {"accuracy": accuracy, "steps": 0, "chosen rate": rate}
    settings = {"steps": STEPS, "batch_size": BATCH}
    if way in LARGE:
        from mtl_course.photographs import in_color  # brings torchvision, which takes a second

        source, (sample, test) = imagenet(), (in_color(part, SIZE) for part in (sample, test))
        if way != IMAGENET_HEAD:
            settings = {"steps": LARGE_STEPS, "batch_size": LARGE_BATCH}
    network = common.adapted(source, sample, HOW[way], seed, rate=rate, **settings, fit=fit)
    accuracy = common.accuracy(network, test)
    return {"accuracy": accuracy, "steps": settings["steps"], "chosen rate": rate}


# ---------------------------------------------------------------------- many questions

QUESTIONS = {  # for each kind in the order of CLOTHES; where the kind does not decide, '?'
    "worn on the feet": "0000010101",
    "worn above the waist": "1011101000",
    "long sleeves": "001?10?000",
    "covers the legs": "0101?00000",
    "opens at the front": "0?0?1?????",
}
SHARED, SEPARATE, ZERO = "one network, mask", "five networks, mask", "one network, '?' as 0"
ASKED = (100, 1_000)  # photographs
QUESTION_STEPS, QUESTION_WIDTH = 400, 8
QUESTION_RATES = {SHARED: 1e-2, SEPARATE: 1e-2, ZERO: 1e-2}  # the best of "questions_tuning"


def asked(data: Dataset) -> Dataset:
    """Return photographs with the answers to `QUESTIONS` for labels, '?' where open (M4)."""
    table = [[UNKNOWN if a == "?" else int(a) for a in answers] for answers in QUESTIONS.values()]
    labels = torch.tensor(table, dtype=torch.int8).T[data.labels]  # (m, questions)
    return Dataset(data.images, labels, tasks=tuple(QUESTIONS))


def _questions(
    source: None, seed: int, way: str, images: int, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """Train one network for all questions, or one for each; score the answers that are known."""
    pool, test = _learn_and_score(rate is not None)
    data = asked(pool.sample(images, seed=derive_seed(seed, "images")))
    if way == ZERO:
        data = replace(data, labels=data.labels.masked_fill(data.labels == UNKNOWN, 0))
    build = functools.partial(separate if way == SEPARATE else shared, channels=1)
    own, rate = derive_seed(seed, "network"), rate or QUESTION_RATES[way]
    settings = {"build": build, "width": QUESTION_WIDTH, "fit": fit}
    network = common.train(data, own, QUESTION_STEPS, rate, **settings)
    table = evaluate(common.completed(network), asked(test))
    means = {name: float(table[name].mean()) for name in ("accuracy", "auc")}
    means["chosen rate"] = rate
    return means | {f"auc {number}": value for number, value in enumerate(table["auc"], start=1)}


_QUICK = [way for way in HOW if way not in (IMAGENET_ALL, BACKBONE_SCRATCH)]
_PHOTOGRAPHS = Study(
    "ImageNet → ten kinds of clothes: what do a large trunk, a small one, and none bring?",
    grid=[
        *cells(way=[lesson_01.SUPPORT_VECTORS, *_QUICK], labels=LABELS),
        *cells(way=[IMAGENET_ALL], labels=LABELS),  # a minute each
    ],
    source=source, train=_photographs, seeds=range(10), over="from scratch",
    settings={
        "A": list(lesson_01.A), "photographs": lesson_01.PHOTOGRAPHS, "for A": FOR_A,
        "pretraining": lesson_01.PRETRAINING, "width": lesson_01.WIDTH, "tested": TESTED,
        "backbone": BACKBONE, "size": SIZE, "steps": [STEPS, BATCH, LARGE_STEPS, LARGE_BATCH],
    },  # not rates: each row holds its own, and a test compares them with `RATES`
)  # fmt: skip
_QUESTIONS = Study(
    "One photograph, five questions, '?' where the kind does not decide: one network or five?",
    grid=cells(way=[SHARED, SEPARATE, ZERO], images=ASKED),
    source=common.nothing_shared, train=_questions, seeds=range(10), golden="scenes",
    over=SEPARATE, score="auc",
    settings={
        "questions": QUESTIONS, "steps": QUESTION_STEPS, "width": QUESTION_WIDTH,
        "tested": TESTED,
    },
)  # fmt: skip
STUDIES = {
    "photographs": _PHOTOGRAPHS,
    "photographs_tuning": common.tuning(
        _PHOTOGRAPHS, "The learning rate of each way on photographs, and C, without the test.",
        grid=[
            *cells(way=_QUICK, labels=(50, 1_000), rate=RATES_TRIED),
            *cells(way=[IMAGENET_ALL], labels=(50, 1_000), rate=RATES_TRIED[:3]),
            *cells(way=[BACKBONE_SCRATCH], labels=[1_000], rate=RATES_TRIED[1:4]),
            *cells(
                way=[lesson_01.SUPPORT_VECTORS], labels=(50, 1_000), rate=(0.1, 1.0, 10.0, 100.0)
            ),
        ],
        seeds=common.DEVELOPMENT[:2],
    ),
    "questions": _QUESTIONS,
    "questions_tuning": common.tuning(
        _QUESTIONS, "The learning rate for five questions about a photograph, without the test.",
        grid=cells(way=[SHARED, SEPARATE, ZERO], images=ASKED, rate=common.RATES_TRIED[1:4]),
        seeds=common.DEVELOPMENT[:2],
    ),
}  # fmt: skip
