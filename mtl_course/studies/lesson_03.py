"""Lesson 03: one image, four answers, by four sigmoids or by one softmax."""

from typing import NamedTuple

import torch
from torch import Tensor

from mtl_course import scenes
from mtl_course.base import ASSETS, derive_seed
from mtl_course.datasets import Dataset, one_label
from mtl_course.networks import Network, shared
from mtl_course.studies import common
from mtl_course.studies.common import STEPS, WIDTH, Scores, Study, cells
from mtl_course.training import Fit, evaluate, fit, load, predict

SCENES, MANY_SCENES = 2_000, 20_000  # images to learn from
FOUR_WAYS = ("four sigmoids", "one softmax", "one softmax, tuned thresholds")
FOUR_RATES = dict.fromkeys(FOUR_WAYS, 1e-2)  # the best of "four_tuning"
TOO_FEW = 50  # images: on fewer, lesson 04 trains nothing


class Roads(NamedTuple):
    """Scenes that the cells of one seed learn from, and scenes that they are scored on."""

    train: Dataset
    test: Dataset
    effort: Tensor | None = None  # (m, 4), to give each label of `train`, see `scenes.effort`


def roads(seed: int, *, fit: Fit = fit) -> Roads:
    """Draw the scenes of one seed: those to learn from and those of the test separately."""
    own = derive_seed(seed, "scenes to learn from")
    return Roads(common.draw(SCENES, own), common.draw_test(seed), scenes.effort(SCENES, own))


def many_roads(seed: int, *, fit: Fit = fit) -> Roads:
    """Draw 20,000 scenes of one seed to learn from, and its test."""
    own = derive_seed(seed, "many scenes to learn from")
    return Roads(common.draw(MANY_SCENES, own), common.draw_test(seed))


def well_trained(
    roads: Roads, seed: int, width: int = 16, steps: int = 2_000, *, fit: Fit = fit
) -> Network:
    """Return a network for the four tasks that has learned from many scenes."""
    network = shared(roads.train.tasks, width=width, seed=seed)
    settings = common.fitting(derive_seed(seed, "network"), steps, FOUR_RATES[FOUR_WAYS[0]])
    fit(network, roads.train, **settings)
    return common.completed(network)


def pretrained() -> Network:
    """Return the network that ships, `well_trained(many_roads(100), seed=100)`."""
    return load(shared(scenes.THE_FOUR, width=16), ASSETS / "four_answers.pt")


def _four_answers(
    roads: Roads, seed: int, way: str, images: int, rate: float | None = None, *, fit: Fit = fit
) -> Scores:
    """Answer yes or no to each task, by four sigmoids or by one softmax on the same trunk."""
    roads = roads._replace(train=roads.train.subset(slice(images)))
    data, softmax = roads.train, way != FOUR_WAYS[0]
    if softmax:
        data = one_label(data, seed=derive_seed(seed, "which label"))
    own, rate = derive_seed(seed, "network"), rate or FOUR_RATES[way]
    network = common.completed(common.train(data, own, STEPS, rate, fit=fit))
    tuned = way == FOUR_WAYS[2]
    scores = softmax_answers(network, roads, tuned) if softmax else answers(network, roads.test)
    return {**scores, "steps": STEPS}


def _many_scenes(
    roads: Roads, seed: int, way: str, width: int, steps: int, *, fit: Fit = fit
) -> Scores:
    return answers(well_trained(roads, seed, width, steps, fit=fit), roads.test)


def answers(network: Network, test: Dataset) -> dict[str, float]:
    """Return means over the tasks, the share of answers that are "yes", and each accuracy."""
    table = evaluate(network, test)
    yes = (predict(network, test) > 0).double().mean().item()
    means = {name: float(table[name].mean()) for name in ("accuracy", "auc")}
    return {**means, "yes": yes, **table["accuracy"].to_dict()}


def softmax_answers(network: Network, roads: Roads, tuned: bool) -> dict[str, float]:
    """Return the scores of a softmax over the tasks: it says yes to the likeliest.

    tuned: to every task whose probability exceeds the threshold that is best for it on `train`.
    """
    from sklearn.metrics import roc_auc_score

    tasks = roads.train.tasks
    chance = [predict(network, data).softmax(dim=1)[:, : len(tasks)] for data in roads[:2]]
    truth = [data.labels.cpu() == 1 for data in roads[:2]]
    if tuned:
        cuts = chance[0].quantile(torch.linspace(0, 1, 201, device="cpu"), dim=0)  # (201, tasks)
        right = ((chance[0] > cuts[:, None]) == truth[0]).double().mean(dim=1)  # (201, tasks)
        yes = chance[1] > cuts.gather(0, right.argmax(dim=0, keepdim=True))
    else:
        top = predict(network, roads.test).argmax(dim=1, keepdim=True)
        yes = top == torch.arange(len(tasks), device="cpu")
    accuracy = (yes == truth[1]).double().mean(dim=0)
    auc = roc_auc_score(truth[1].numpy(), chance[1].numpy())
    means = {"accuracy": accuracy.mean().item(), "auc": float(auc)}
    means |= {"yes": yes.double().mean().item()}
    return means | dict(zip(tasks, accuracy.tolist(), strict=True))


_TEST = {"test": common.TEST_SCENES}
SETTINGS = _TEST | {"scenes": SCENES, "steps": STEPS, "width": WIDTH, "too few": TOO_FEW}
_FOUR = Study(
    "One image, four answers: four sigmoids or one softmax?",
    grid=cells(way=FOUR_WAYS, images=[500, SCENES]),
    source=roads, train=_four_answers, seeds=range(10), golden="scenes", over="one softmax",
    settings=SETTINGS | {"rates": FOUR_RATES, "trunk": "shared"},
)  # fmt: skip
STUDIES = {
    "four_answers": _FOUR,
    "four_tuning": common.tuning(
        _FOUR, "The learning rates of four sigmoids and of one softmax, on development seeds.",
        grid=cells(way=FOUR_WAYS, images=[SCENES], rate=common.RATES_TRIED[1:4]),
        seeds=common.DEVELOPMENT[:4],
    ),
    "many_scenes": Study(
        "How well does a small network answer the four tasks with 20,000 scenes?",
        grid=cells(way=FOUR_WAYS[:1], width=[16], steps=[2000]),
        source=many_roads, train=_many_scenes, seeds=range(10), golden="scenes",
        settings=_TEST | {"scenes": MANY_SCENES, "rate": FOUR_RATES[FOUR_WAYS[0]]},
    ),
}  # fmt: skip
