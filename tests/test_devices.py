"""Guards where things lie: every public function that is given tensors takes them from anywhere.

On the pretended GPU of `pretended_gpu`, as views and in bfloat16, and with a gradient asked for;
under another default device and default dtype; and with gradients switched off.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import inspect
import io
import json
import pkgutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from pretended_gpu import PLACE, gpu
from torch import Tensor, nn

from mtl_course import (
    aggregators,
    analysis,
    datasets,
    evaluation,
    explorers,
    figures,
    gradients,
    losses,
    networks,
    scenes,
    studies,
    training,
    transfer,
)
from mtl_course.datasets import Dataset
from mtl_course.devices import Machine, machine
from mtl_course.explorers import _frame, compass, label_sheet, scene_maker, surgery, teach
from mtl_course.studies import (
    common,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_05_amounts,
    lesson_06_pairs,
)

FIT = {"steps": 3, "batch_size": 16, "seed": 0, "progress": False}
MANY = {"steps": 3, "batch_size": 16, "seeds": [0, 1], "progress": False}


@functools.cache
def digits() -> Dataset:
    return datasets.printed_digits(40, seed=0)


@functools.cache
def roads() -> Dataset:
    return scenes.draw(24, seed=0, jobs=1)


def classes() -> networks.Network:
    return networks.classifier(digits(), width=2, seed=0)


def tasks() -> networks.Network:
    return networks.shared(roads().tasks, width=2, seed=0)


def perceptron() -> networks.Network:
    """A network whose trunk has no convolution."""
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
    return networks.Network(trunk, nn.Linear(32, 10), digits().classes)


class Place:
    """Puts what a function is given where it should lie, and remembers what that was."""

    def __init__(self, on_gpu: tuple[str, ...] = ()) -> None:
        self._on_gpu, self.asked, self.given = on_gpu, set(), []

    def data(self, what: Dataset | Tensor) -> Dataset | Tensor:
        """Of a dataset or a tensor."""
        self.asked.add("data")
        if "data" in self._on_gpu:
            if isinstance(what, Tensor):
                return what.to(PLACE)
            what = Dataset(what.images.to(PLACE), what.labels.to(PLACE), what.classes, what.tasks)
        return what

    def network(self, network: networks.Network) -> networks.Network:
        self.asked.add("network")
        if "network" in self._on_gpu:
            network.to(PLACE)
        self.given.append((network, layout(network)))
        return network


def layout(network: nn.Module) -> dict[str, tuple]:
    """Where each weight and statistic of a network lies, and how it is laid out in memory."""
    return {name: (x.device, x.stride()) for name, x in network.state_dict().items()}


def step(at: Place, backward, network=None) -> dict:
    """What a `backward` of the user's own leaves on the weights in one step of its own."""
    network = tasks() if network is None else network
    network = at.network(network).train()
    data = at.data(roads())
    where = next(network.parameters()).device
    terms = losses.multi_task_losses(network(data.images.to(where)), data.labels.to(where))
    (backward(network) if callable(backward) else backward)(terms)
    return {name: p.grad for name, p in network.named_parameters()}


def trained(at: Place, start, data, **settings) -> tuple:
    network = at.network(start)
    history = training.fit(network, at.data(data), **FIT | settings)
    return network, history, history.attrs


def together(at: Place, start, data) -> tuple:
    many = [at.network(start()) for _ in range(2)]
    return training.fit_many(many, at.data(data), **MANY), many


def watched(at: Place) -> dict:
    network, data = at.network(tasks()), at.data(roads())
    watch = aggregators.Watch(network, data, at=(0, 2))
    training.fit(network, data, **FIT, backward=watch)
    return watch.gradients


def combined(at: Place, name: str) -> networks.Network:
    network = at.network(tasks())
    backward = aggregators.aggregated(network, name)
    training.fit(network, at.data(roads()), **FIT, backward=backward)
    return network


def moved(at: Place) -> list[str]:
    before = at.network(classes())
    after = copy.deepcopy(before).cpu()
    with torch.no_grad():
        after.head.weight.add_(1)
    return [*networks.moved(before, after), *networks.moved(after, before)]


def stored(at: Place, folder) -> Dataset:
    return datasets.stored(folder)


def pressed(at: Place) -> tuple:
    """A run of the surgery table, all of it in this thread."""
    split = datasets.Split(at.data(digits()), at.data(digits()))
    ways = [(way, 10, seed, 0.5 + seed / 100) for way in transfer.WAYS for seed in range(2)]
    rows = pd.DataFrame(ways, columns=["way", "labels", "seed", "accuracy"])
    table = surgery.SurgeryTable(at.network(classes()), split, rows, steps=2)
    table._train(_frame.Run(lambda text: None), *table._chosen())
    return table.network, table.static()["text/plain"]


def made(at: Place) -> tuple:
    maker = scene_maker.SceneMaker(at.network(tasks()), seed=1)
    maker._why.value = "car"
    return maker.static(), maker._picture.value


def turned(at: Place) -> tuple:
    sheet = label_sheet.LabelSheet(at.data(roads()), at.data(LOGITS[:, :4]))
    sheet.labels = torch.ones_like(sheet.labels)
    return sheet.static(), sheet.terms(), sheet.gradient(), sheet.loss()


def needle(at: Place) -> tuple:
    found = compass.Compass({0: at.data(GRADIENTS), 5: at.data(GRADIENTS.flip(0))}, scenes.THE_FOUR)
    return found.static(), found.cosines, found._table.value


def taught(at: Place) -> tuple:
    """What the page is told; seconds differ from run to run."""
    widget = teach.Teach(("dark", "light"), at.network(tasks()), size=32)
    for thing, value in ((0, 90), (0, 80), (1, 200), (1, 210)):
        Image.new("RGB", (32, 32), (value, 90, 90)).save(file := io.BytesIO(), "jpeg")
        widget.reply({"do": "keep", "thing": thing}, file.getvalue())
    learned = widget.reply({"do": "learn"})
    sure = torch.tensor(widget.reply({"do": "look"}, file.getvalue())["sure"], device="cpu")
    return learned["ready"], learned["unsure"], sure, widget.network.head, widget.data


def watched_run(at: Place) -> networks.Network:
    network = at.network(tasks())
    run = _frame.Run(lambda text: None)
    run.fit(network, at.data(roads()), steps=2, seed=0, batch_size=16)
    return network


_DRAWN = torch.Generator().manual_seed(0)
GRADIENTS = torch.randn(4, 50, generator=_DRAWN)
LOGITS = torch.randn(24, 10, generator=_DRAWN)
CLASS = torch.randint(10, (24,), generator=_DRAWN)
FEATURES = torch.randn(12, 30, generator=_DRAWN)
KNOWN = torch.randint(2, (24, 10), generator=_DRAWN)
FILTERS = torch.randn(5, 3, 3, 3, generator=_DRAWN)
WEIGHT = torch.rand(24, 4, generator=_DRAWN)
CASES = {
    "networks.Network": lambda at: (
        lambda n: n.eval()(at.data(digits()).images.to(n.head.weight.device))
    )(at.network(classes())),
    "networks.blocks": lambda at: len(networks.blocks(at.network(classes()))),
    "networks.classifier": lambda at: networks.classifier(at.data(digits()), width=2),
    "networks.with_copied_layers": lambda at: networks.with_copied_layers(
        at.network(classes()), at.data(digits()), 1, 2
    ),
    "networks.freeze": lambda at: networks.freeze(at.network(classes())),
    "networks.reinitialized": lambda at: networks.reinitialized(
        at.network(classes()), at.data(digits()), 1
    ),
    "networks.reinitialized of a backbone": lambda at: networks.reinitialized(
        at.network(networks.backbone("resnet18", ["a"], pretrained=False)), at.data(digits()), 1
    ),
    "networks.frozen": lambda at: networks.frozen(at.network(classes())),
    "networks.layers": lambda at: networks.layers(at.network(classes())),
    "networks.moved": moved,
    "networks.new_head": lambda at: networks.new_head(at.network(classes()), at.data(digits()), 1),
    "networks.signature": lambda at: networks.signature(at.network(classes())),
    "networks.trainable": lambda at: networks.trainable(at.network(classes())),
    "training.fit": lambda at: trained(at, tasks(), roads()),
    "training.fit of a head": lambda at: trained(at, frozen(classes()), digits()),
    "training.fit with a backward": lambda at: trained(
        at, tasks(), roads(), backward=training.sum_backward
    ),
    "training.kind": lambda at: training.kind(at.network(classes()), at.data(digits())),
    "training.fit_many": lambda at: together(at, tasks, roads()),
    "training.sum_backward": lambda at: step(at, lambda network: training.sum_backward),
    "evaluation.check_fit": lambda at: evaluation.check_fit(
        at.network(classes()), at.data(digits())
    ),
    "analysis.cka": lambda at: analysis.cka(at.data(FEATURES), at.data(FEATURES[:, :9])),
    "evaluation.evaluate": lambda at: evaluation.evaluate(at.network(tasks()), at.data(roads())),
    "evaluation.evaluate of classes": lambda at: evaluation.evaluate(
        at.network(classes()), at.data(digits())
    ),
    "analysis.occlusion": lambda at: analysis.occlusion(
        at.network(tasks()), at.data(roads()).images[0], "car", 8, 8
    ),
    "evaluation.portions": lambda at: list(evaluation.portions(at.data(roads()), machine("cpu"))),
    "evaluation.predict": lambda at: evaluation.predict(at.network(tasks()), at.data(roads())),
    "analysis.similarity": lambda at: analysis.similarity(
        at.network(tasks()), networks.shared(roads().tasks, width=2, seed=1), at.data(roads())
    ),
    "aggregators.Watch": watched,
    "aggregators.aggregated": lambda at: [combined(at, name) for name in aggregators.AGGREGATORS],
    "aggregators.aggregator": lambda at: [
        aggregators.aggregator(name)(at.data(GRADIENTS)) for name in ("MGDA", "CAGrad", "UPGrad")
    ],
    "gradients.cosines": lambda at: gradients.cosines(at.data(GRADIENTS)),
    "gradients.of_each_task": lambda at: gradients.of_each_task(
        at.network(tasks()), at.data(roads())
    ),
    "aggregators.uncertain": lambda at: step(at, lambda network: aggregators.uncertain(4, 0.1)),
    "aggregators.weighted": lambda at: step(at, lambda network: aggregators.weighted((1, 2, 0, 1))),
    "transfer.adapt": lambda at: [
        transfer.adapt(at.network(classes()), at.data(digits()), how, **FIT)
        for how in transfer.WAYS
    ],
    "transfer.adapt of some layers": lambda at: transfer.adapt(
        at.network(classes()), at.data(digits()), "new head", layers=1, **FIT
    ),
    "transfer.pretrain": lambda at: transfer.pretrain(at.data(digits()), width=2, **FIT),
    "datasets.Dataset": lambda at: at.data(roads()),
    "datasets.Dataset.sample": lambda at: [
        at.data(data).sample(20, seed=1) for data in (roads(), digits())
    ],
    "datasets.Dataset.subset": lambda at: [
        at.data(roads()).subset(rows)
        for rows in ([2, 0], slice(3), at.data(torch.arange(3)), torch.arange(3), np.arange(3))
    ],
    "datasets.check_labels": lambda at: [
        datasets.check_labels(at.data(CLASS), (24, 10), True),
        datasets.check_labels(at.data(KNOWN), (24, 10), False),
    ],
    "datasets.hide": lambda at: [
        datasets.hide(at.data(roads()), 0.5, seed=1, weight=weight)
        for weight in (None, WEIGHT, at.data(WEIGHT))
    ],
    "datasets.normalise": lambda at: datasets.normalise(at.data(roads()).images),
    "datasets.only": lambda at: [
        datasets.only(at.data(digits()), digits().names[2:0:-1]),
        datasets.only(at.data(roads()), roads().tasks[:2]),
    ],
    "datasets.one_label": lambda at: datasets.one_label(at.data(roads()), seed=1),
    "losses.multi_task": lambda at: losses.multi_task(at.data(LOGITS), at.data(KNOWN)),
    "losses.multi_task_sums": lambda at: losses.multi_task_sums(at.data(LOGITS), at.data(KNOWN)),
    "losses.multi_task_losses": lambda at: losses.multi_task_losses(
        at.data(LOGITS), at.data(KNOWN)
    ),
    "losses.softmax": lambda at: losses.softmax(at.data(LOGITS), at.data(CLASS)),
    "losses.softmax_losses": lambda at: losses.softmax_losses(at.data(LOGITS), at.data(CLASS)),
    "figures.answers": lambda at: figures.answers(at.data(roads())),
    "figures.url": lambda at: figures.url(at.data(roads()).images[0]),
    "figures.architecture": lambda at: figures.architecture(
        at.network(classes()), at.data(digits()).images[:1]
    ),
    "figures.architecture of no convolution": lambda at: figures.architecture(
        at.network(perceptron()), at.data(digits()).images[:1]
    ),
    "figures.calibration": lambda at: figures.calibration(
        at.data(WEIGHT), at.data(KNOWN[:, :4]), scenes.THE_FOUR
    ),
    "figures.filters": lambda at: figures.filters(
        {
            "colour": at.data(FILTERS),
            "here": FILTERS[:2],
            "of a network": at.network(tasks()).trunk[0][0].weight,
        }
    ),
    "figures.filters of one channel": lambda at: figures.filters({"ink": at.data(FILTERS[:, :1])}),
    "figures.image": lambda at: figures.image(at.data(roads()).images[0], "A scene"),
    "figures.sheet": lambda at: figures.sheet(
        {"scenes": at.data(roads()).images, "digits": digits().images}
    ),
    "explorers.Compass": needle,
    "explorers.LabelSheet": turned,
    "explorers.Run": watched_run,
    "explorers.SceneMaker": made,
    "explorers.SurgeryTable": pressed,
    "explorers.Teach": taught,
    "explorers.train_heads": lambda at: teach.train_heads(
        at.data(FEATURES), at.data(torch.arange(12, device="cpu") % 2), 2
    ),
}
NO_TENSORS = {
    "training.load": "reads from disk, to the CPU; see test_fit",
    "training.save": "writes weights from the CPU; see test_fit",
    "networks.Heads": "holds layers",
    "networks.Trunks": "holds layers",
    "networks.backbone": "makes a network of its own, on the CPU",
    "networks.imagenet_file": "gives a path",
    "networks.separate": "makes a network of its own, on the CPU",
    "networks.shared": "makes a network of its own, on the CPU",
    "studies.Study": "holds settings",
    "studies.gain": "reads rows",
    "studies.interval": "reads rows",
    "studies.predicted": "reads rows",
    "studies.recipe": "hashes settings",
    "studies.run": "hands its source to a study's own code",
    "studies.study": "finds a study by its name",
    "datasets.Split": "holds two datasets",
    "datasets.clothes": "reads from disk, to the CPU",
    "datasets.handwritten_digits": "draws on the CPU; see the default devices below",
    "datasets.printed_digits": "draws on the device that it is given; see test_datasets",
    "datasets.stored": "reads from disk, to the CPU",
    "figures.Part": "holds numbers and names",
    "figures.bundle": "takes a figure",
    "figures.show": "takes a figure",
    "figures.surgery": "takes numbers and names",
    "explorers.Cells": "reads rows",
    "studies.cost": "reads rows",
    "studies.train_row": "hands its fit to a study's own code",
    "explorers.Answer": "is the place of an answer",
    "explorers.Explorer": "is the frame of the others",
    "explorers.Live": "is a button",
    "explorers.Prediction": "is a question",
    "explorers.Stopped": "is an exception",
    "explorers.output": "makes a widget of a text",
    "explorers.dropdown": "makes a widget of texts",
    "explorers.table": "makes HTML of texts",
    "explorers.button": "makes a widget of a text",
    "explorers.show_calibration": "reads the kept predictions",
    "explorers.so_far": "reads the kept predictions",
    "explorers.parameter": "takes numbers and words",
    "explorers.verdicts": "reads rows",
    "explorers.answer": "reads rows",
    "explorers.above_usual": "reads rows",
    "explorers.paired_gain": "reads rows",
    "explorers.fine_tuning": "checks a student's cell, on the CPU",
    "explorers.masked_gradient": "checks a student's cell, on the CPU",
    "explorers.thresholds": "checks a student's cell, on the CPU",
    "explorers.vectorised_loss": "checks a student's cell, on the CPU",
    "explorers.ranking": "checks a student's cell, on the CPU",
    "explorers.dealing": "checks a student's cell, on the CPU",
    "explorers.all_cosines": "checks a student's cell, on the CPU",
    "explorers.projection": "checks a student's cell, on the CPU",
    "explorers.last_block": "checks a student's cell, on the CPU",
    "explorers.question": "checks a student's string",
    "explorers.equal_weights": "checks a student's cell, on the CPU",
    "explorers.images_of_their_own": "checks a student's cell, on the CPU",
    "explorers.DecisionAid": "reads rows",
    "explorers.DrawDigit": "reads a file",
    "explorers.Front": "holds what a page shows",
    "explorers.TrainHead": "reads rows",
} | {
    f"figures.{name}": "draws numbers and tables" for name in (
        "arrows", "by_seed", "by_task", "compass", "curves", "dots", "gain_map", "gains", "history",
        "ladder", "matrices", "points",
    )
}  # fmt: skip


def frozen(network: networks.Network) -> networks.Network:
    networks.freeze(network.trunk)
    return network


def public(module) -> set[str]:
    names = getattr(module, "__all__", vars(module))
    found = {name: getattr(module, name) for name in names if not name.startswith("_")}
    return {
        name for name, thing in found.items()
        if (inspect.isfunction(thing) or inspect.isclass(thing))
        and (thing.__module__.startswith(module.__name__) or hasattr(module, "__all__"))
    }  # fmt: skip


def test_every_public_function_is_tried_or_has_a_reason_not_to_be():
    there = {
        f"{module.__name__.split('.')[1]}.{name}"
        for module in (
            networks,
            aggregators,
            analysis,
            evaluation,
            gradients,
            transfer,
            studies,
            datasets,
            losses,
            figures,
        )
        for name in public(module)
    }
    there |= {f"training.{name}" for name, f in vars(training).items()
              if inspect.isfunction(f) and f.__module__.startswith(training.__name__)
              and not name.startswith("_")}  # fmt: skip
    for module in pkgutil.iter_modules(explorers.__path__):
        own = importlib.import_module(f"mtl_course.explorers.{module.name}")
        there |= {f"explorers.{name}" for name in public(own)}
    tried = {".".join(case.split()[0].split(".")[:2]) for case in CASES}
    assert there - tried - NO_TENSORS.keys() == set(), "neither tried nor left out for a reason"
    assert (tried | NO_TENSORS.keys()) - there == set(), "no longer there"
    assert not tried & NO_TENSORS.keys()


# ---------------------------------------------------------------------- on a GPU


def plain(found: object) -> object:
    """What can be compared: everything on the CPU, figures as they are drawn."""
    if isinstance(found, Tensor):
        return found.detach().cpu()
    if isinstance(found, nn.Module):
        return plain(found.state_dict())
    if isinstance(found, Dataset):
        return {"images": plain(found.images), "labels": plain(found.labels), "n": found.names}
    if isinstance(found, pd.DataFrame):
        return found.to_dict("list")
    if isinstance(found, Figure):
        drawn = io.BytesIO()
        found.savefig(drawn, format="png", dpi=40)
        return drawn.getvalue()
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [plain(value) for value in found]
    return found


def agree(found: object, want: object, **near: object) -> None:
    if isinstance(want, dict):
        assert found.keys() == want.keys()
        for name in want:
            agree(found[name], want[name], **near)
    elif isinstance(want, list):
        assert len(found) == len(want)
        for pair in zip(found, want, strict=True):
            agree(*pair, **near)
    elif isinstance(want, (Tensor, float)):
        torch.testing.assert_close(found, want, equal_nan=True, **near)
    else:
        assert found == want


@contextlib.contextmanager
def trains_on(device: str):
    """Training and answering choose this device by themselves."""
    there = Machine(torch.device(device), "float32", "pretended")
    optimizers = sys.modules["torch.optim.optimizer"]
    with pytest.MonkeyPatch.context() as patch:
        for module in [m for name, m in sys.modules.items() if name.startswith("mtl_course")]:
            if hasattr(module, "machine"):
                patch.setattr(module, "machine", lambda *_, **__: there)
        patch.setattr(Machine, "autocast", lambda _: contextlib.nullcontext())
        patch.setattr(Machine, "own_stream", lambda _: contextlib.nullcontext())
        kinds = "_get_fused_kernels_supported_devices"
        patch.setattr(optimizers, kinds, lambda: ["cpu", PLACE.type])
        yield


@pytest.mark.parametrize("case", CASES)
@trains_on("cpu")
def test_it_gives_the_same_wherever_things_lie(case):
    nowhere = Place()
    want = plain(CASES[case](nowhere))
    wheres = [("data",), ("network",), ("data", "network")]
    for on_gpu in [where for where in wheres if nowhere.asked.issuperset(where)]:
        at = Place(on_gpu)
        with gpu(), said(f"on the GPU: {' and '.join(on_gpu)}"):
            agree(plain(CASES[case](at)), want)
            for network, before in at.given:
                assert layout(network) == before, "the network came back elsewhere or otherwise"


@trains_on("cpu")
def test_a_network_made_from_another_lies_where_that_one_does():
    for name in (
        "networks.new_head",
        "networks.reinitialized",
        "networks.with_copied_layers",
        "transfer.adapt",
    ):
        with gpu():
            made = CASES[name](Place(("network",)))
            for network in made if isinstance(made, list) else [made]:
                where = {x.device for x in network.state_dict().values()}
                assert where == {PLACE}, f"{name} made a network on {where}"


@trains_on("cpu")
def test_answers_come_back_on_the_cpu_and_gradients_on_the_networks_device():
    for name in ("evaluation.predict", "analysis.occlusion"):
        with gpu():
            assert CASES[name](Place(("data", "network"))).device.type == "cpu", name
    with gpu():
        assert CASES["gradients.of_each_task"](Place(("network",))).device == PLACE
        assert CASES["gradients.of_each_task"](Place(("data",))).device.type == "cpu"


@pytest.mark.parametrize(
    "case",
    ["training.fit", "training.fit of a head", "training.fit with a backward",
     "training.fit_many", "aggregators.Watch",
     "aggregators.aggregated", "evaluation.evaluate", "evaluation.predict", "analysis.similarity",
     "transfer.adapt", "transfer.pretrain", "explorers.SceneMaker", "explorers.SurgeryTable"],
)  # fmt: skip
def test_what_a_gpu_trains_comes_back_to_the_cpu(case):
    with trains_on("cpu"):
        want = plain(CASES[case](Place()))
    at = Place()
    with trains_on(PLACE.type), gpu():
        agree(plain(CASES[case](at)), want)
    for network, before in at.given:
        assert layout(network) == before, "the network came back elsewhere or otherwise"


def drawn(count, seed, tasks=scenes.THE_FOUR):
    """What the studies draw, on the device where they train."""
    place = training.machine().device
    data = scenes.draw(min(count, 60), seed, tasks=tasks, jobs=1)
    return replace(data, images=data.images.to(place), labels=data.labels.to(place))


def with_gaps(hidden: str) -> Dataset:
    some = lesson_04.Roads(drawn(60, 1), drawn(60, 2), torch.ones(60, 4))
    return lesson_04.partly_known(some, 0, hidden, 0.2)


def softmax(tuned: bool) -> dict:
    some = lesson_04.Roads(drawn(60, 1), drawn(60, 2), torch.ones(60, 4))
    one = datasets.one_label(some.train, seed=0)
    return lesson_03.softmax_answers(networks.classifier(one, width=2), some, tuned)


HIDDEN = (*lesson_04.HIDDEN, lesson_04.ONE_LABEL, lesson_04.FEWER)
OF_STUDIES = {
    **{f"labels hidden: {how}": functools.partial(with_gaps, how) for how in HIDDEN},
    **{
        f"'?' treated: {way}": functools.partial(
            lambda way: lesson_04.treat(with_gaps(lesson_04.HIDDEN[0]), way, 0, 1e-2, 2), way
        )
        for way in lesson_04.TREATMENTS
    },
    "one softmax": lambda: softmax(tuned=False),
    "one softmax, tuned": lambda: softmax(tuned=True),
    "random labels": lambda: lesson_05.shuffled(drawn(60, 1), 0),
    "a hundred tasks": lambda: lesson_05_amounts.images_of_each(
        0, lesson_05_amounts.SAME_FAMILY, 2
    ),
    "a pair": lambda: lesson_06_pairs.images_of(0, *lesson_06_pairs.SIX[:2]),
    "A beside B": lambda: lesson_05_amounts.a_and_b(0, 1_000, lesson_05_amounts.MIXED),
    "shuffled pixels": lambda: lesson_02.images_of(0, lesson_02.SHUFFLED),
    "labels of others": lambda: lesson_02.images_of(0, lesson_02.RANDOM),
    "support vectors": lambda: common.support_vectors(digits(), digits(), 1.0),
    "scores": lambda: common.scored(
        learned(networks.shared(scenes.THE_FOUR, width=2)), 0, scenes.THE_FOUR[0]
    ),
}


def learned(network: networks.Network) -> networks.Network:
    training.fit(network, drawn(60, 1), **FIT)
    return network


@pytest.mark.parametrize("name", OF_STUDIES)
def test_studies_give_the_same_on_a_gpu(name, monkeypatch):
    monkeypatch.setattr(common, "draw", drawn)
    for module in (lesson_05_amounts, lesson_06_pairs):
        monkeypatch.setattr(module, "THOUSAND", 20)
    small = {"STEPS_OF_A": {1_000: 2}, "BATCH": 5, "BATCH_OF_A": 9, "STEPS": 4}
    for name_of, value in small.items():
        monkeypatch.setattr(lesson_05_amounts, name_of, value)
    monkeypatch.setattr(lesson_04, "TOO_FEW", 1)
    with trains_on("cpu"):
        want = plain(OF_STUDIES[name]())
    with trains_on(PLACE.type), gpu():
        agree(plain(OF_STUDIES[name]()), want)


@pytest.mark.parametrize(("loss", "labels"), [("multi_task", KNOWN), ("softmax", CLASS)])
def test_a_loss_names_labels_that_lie_elsewhere(loss, labels):
    with gpu(), pytest.raises(ValueError, match="labels must lie on the device of the logits"):
        getattr(losses, loss)(LOGITS.to(PLACE), labels)


LEFT_AS_LAID_OUT = {
    "fit": lambda network: training.fit(network, roads(), **FIT),
    "fit_many": lambda network: training.fit_many([network, tasks()], roads(), **MANY),
    "predict": lambda network: evaluation.predict(network, roads()),
    "evaluate": lambda network: evaluation.evaluate(network, roads()),
    "similarity": lambda network: analysis.similarity(network, network, roads()),
    "of_each_task": lambda network: gradients.of_each_task(network, roads()),
    "architecture": lambda network: figures.architecture(network, roads().images[:1]),
}


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", LEFT_AS_LAID_OUT)
def test_a_network_stays_laid_out_as_it_was(name, order):
    network = tasks().to(memory_format=order)
    before = layout(network)
    LEFT_AS_LAID_OUT[name](network)
    assert layout(network) == before


def test_a_figure_leaves_a_network_in_the_mode_it_was_in():
    network = classes().train()
    figures.architecture(network, digits().images[:1])
    assert network.training and network.trunk.training


@contextlib.contextmanager
def said(where: str):
    """Adds to an error where things lay."""
    try:
        yield
    except Exception as error:
        error.add_note(where)
        raise


# ---------------------------------------------------------------------- other tensors on the CPU


def wanting_a_gradient(values: Tensor) -> Tensor:
    return values.clone().requires_grad_() if values.is_floating_point() else values


def strided(values: Tensor) -> Tensor:
    """The same values in a tensor that is not contiguous."""
    wide = torch.zeros(*values.shape[:-1], 2 * values.shape[-1], dtype=values.dtype)
    wide[..., ::2] = values
    return wide[..., ::2]


def channels_last(values: Tensor) -> Tensor:
    return values.to(memory_format=torch.channels_last) if values.ndim == 4 else values


def half(values: Tensor) -> Tensor:
    """In bfloat16. What it is compared with is rounded to as many bits."""
    return values.bfloat16() if values.is_floating_point() else values


TAKEN = {
    "cka": lambda to: analysis.cka(to(FEATURES), to(FEATURES[:, :9])),
    "cosines": lambda to: gradients.cosines(to(GRADIENTS)),
    "hide": lambda to: datasets.hide(roads(), 0.5, seed=1, weight=to(WEIGHT)),
    "Dataset.sample": lambda to: laid_out(to).sample(20, seed=1),
    "one_label": lambda to: datasets.one_label(laid_out(to), seed=1),
    "normalise": lambda to: datasets.normalise(to(roads().images)),
    "multi_task": lambda to: losses.multi_task(to(LOGITS), to(KNOWN)),
    "multi_task_sums": lambda to: losses.multi_task_sums(to(LOGITS), to(KNOWN)),
    "multi_task_losses": lambda to: losses.multi_task_losses(to(LOGITS), to(KNOWN)),
    "softmax": lambda to: losses.softmax(to(LOGITS), to(CLASS)),
    "softmax_losses": lambda to: losses.softmax_losses(to(LOGITS), to(CLASS)),
    "answers": lambda to: figures.answers(laid_out(to)),
    "architecture": lambda to: figures.architecture(classes(), to(digits().images[:1])),
    "calibration": lambda to: figures.calibration(to(WEIGHT), to(KNOWN[:, :4]), roads().tasks),
    "filters": lambda to: figures.filters({"some": to(FILTERS), "ink": to(FILTERS[:, :1])}),
    "image": lambda to: figures.image(to(roads().images[:1])[0], "A scene"),
    "sheet": lambda to: figures.sheet({"a": to(roads().images), "b": to(digits().images)}),
    "Compass": lambda to: compass.Compass({0: to(GRADIENTS)}, roads().tasks).static(),
    "LabelSheet": lambda to: label_sheet.LabelSheet(laid_out(to), to(LOGITS[:, :4])).static(),
    "predict": lambda to: evaluation.predict(tasks(), laid_out(to)),
    "occlusion": lambda to: analysis.occlusion(tasks(), to(roads().images[:1])[0], "car", 8, 8),
    "of_each_task": lambda to: gradients.of_each_task(tasks(), laid_out(to)),
    "fit": lambda to: training.fit(tasks(), laid_out(to), **FIT),
}


def laid_out(to) -> Dataset:
    return Dataset(to(roads().images), to(roads().labels), tasks=roads().tasks)


@pytest.mark.parametrize("to", [wanting_a_gradient, strided, channels_last, half])
@pytest.mark.parametrize("name", TAKEN)
def test_it_takes_every_tensor_of_these_values(name, to):
    want = TAKEN[name](lambda x: half(x).to(x.dtype) if to is half else x)
    near = {"rtol": 0.02, "atol": 0.02, "check_dtype": False} if to is half else {}
    agree(plain(TAKEN[name](to)), plain(want), **near)


# ---------------------------------------------------------------------- torch's defaults


def test_draws_and_figures_are_the_same_under_other_defaults():
    odd, clean = (("meta float64", "with meta", ""), ("",))
    script = Path(__file__).with_name("all_draws.py")
    (under, within, after), (want,) = (
        json.loads(subprocess.check_output([sys.executable, "-W", "error", script, *rounds]))
        for rounds in (odd, clean)
    )
    for found, when in (
        (under, "with other defaults set"),
        (within, "within torch.device"),
        (after, "with the usual defaults: something wrong was kept"),
    ):
        assert [name for name in want if found[name] != want[name]] == [], when


# ---------------------------------------------------------------------- gradients switched off


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_says_so(off):
    with off(), pytest.raises(ValueError, match="gradients are switched off"):
        gradients.of_each_task(tasks(), roads())


# ---------------------------------------------------------------------- no convolution


def test_the_figure_of_a_perceptron_names_its_layers():
    (axes,) = figures.architecture(perceptron(), digits().images[:1]).axes
    told = [text.get_text() for text in axes.texts if text.get_text()]
    assert told[:6] == ["image", "1 × 8 × 8", "linear", "32", "features", "32"]


@pytest.mark.parametrize("weights", [torch.ones(32, 64), torch.ones(4, 2, 3, 3)])
def test_filters_of_what_is_no_first_convolution_are_refused(weights):
    with pytest.raises(ValueError, match=r"first convolutions.*'trunk' is"):
        figures.filters({"trunk": weights})
