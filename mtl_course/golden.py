"""The golden run: a tiny training of everything, by which stored rows know that it changed."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from mtl_course import datasets, networks, scenes, sounds, training, transfer
from mtl_course.base import HOME, atomic, threads
from mtl_course.datasets import LETTERS, Dataset
from mtl_course.evaluation import similarity
from mtl_course.networks import Network

FILE = HOME / "assets" / "golden_run.json"

_TOLERANCE = 5e-3  # relative; processors and libraries differ by less, changed training by more


def run(world: str) -> list[float]:
    """A tiny run through everything that makes a row: drawing, training, answers.

    world: "digits" pretrains on printed digits and adapts in each way; "scenes" trains a shared
        network, a separate one and a softmax on driving scenes, with labels hidden; "dials" copies
        a layer of a network that has learned sounds to another question about scenes.
    Returns: losses and mean squared logits, in float32 on one thread of the CPU.
    """
    with threads(1):
        return _WORLDS[world]()


_SETTINGS = {"seed": 0, "device": "cpu", "precision": "float32", "progress": False}


def _golden_digits() -> list[float]:
    printed, written = (datasets.printed_digits(256, seed=0), datasets.handwritten_digits())
    source = transfer.pretrain(printed, steps=6, width=4, batch_size=32, **_SETTINGS)
    sample, seen = written.train.sample(40, seed=0), written.test.subset(slice(100))
    numbers = source.history["loss"].tolist()
    for how in transfer.WAYS:
        target = transfer.adapt(source, sample, how, steps=6, learning_rate=3e-3, **_SETTINGS)
        numbers += [*target.history["loss"], _square(target, seen)]
    return numbers


def _golden_scenes() -> list[float]:
    roads = scenes.draw(128, seed=0, jobs=1)
    hidden = datasets.hide(roads, 0.5, seed=0, weight=scenes.effort(128, seed=0))
    one = datasets.one_label(roads, seed=0)
    numbers = []
    for network, data in (
        (networks.shared(roads.tasks, width=4, seed=0), hidden),
        (networks.separate(roads.tasks, width=2, seed=0), hidden),
        (networks.classifier(one, width=4, seed=0), one),
    ):
        training.fit(network, data, steps=4, batch_size=32, **_SETTINGS)
        numbers += [*network.history["loss"], _square(network, data)]
    return numbers


def _golden_dials() -> list[float]:
    heard, roads = sounds.draw(128, seed=0), scenes.draw(128, seed=0, tasks=["two cars"], jobs=1)
    letters = datasets.printed_digits(64, seed=0, characters=LETTERS)
    source = networks.shared(heard.tasks, width=4, seed=0)
    training.fit(source, heard, steps=4, batch_size=32, **_SETTINGS)
    how = {"how": "head then all", "layers": 1, "steps": 4, "learning_rate": 3e-3}
    target = transfer.adapt(source, roads, **how, **_SETTINGS)
    drawn = [data.images.double().mean().item() for data in (heard, letters)]
    trained = [*source.history["loss"], *target.history["loss"], _square(target, roads)]
    return [*drawn, *trained, *similarity(source, target, roads)]


_WORLDS = {"digits": _golden_digits, "scenes": _golden_scenes, "dials": _golden_dials}


def _square(network: Network, data: Dataset) -> float:
    return training.predict(network, data, "cpu", "float32").square().mean().item()


def stored(world: str) -> str:
    """Return the digest in ``assets/golden_run.json``. Nothing is trained."""
    return json.loads(FILE.read_text(encoding="utf-8"))[world]["digest"]


def differences(world: str) -> list[str]:
    """Return a line for each number of a new golden run that deviates from the stored one."""
    here, there = run(world), json.loads(FILE.read_text(encoding="utf-8"))[world]["numbers"]
    if len(here) != len(there):
        return [f"{world}: {len(here)} numbers here, {len(there)} there"]
    return [
        f"{world}, number {k}: {one:.6g} here, {other:.6g} there"
        for k, (one, other) in enumerate(zip(here, there, strict=True))
        if not np.isclose(one, other, rtol=_TOLERANCE, atol=0)
    ]


@functools.lru_cache(maxsize=3)
def digest(world: str) -> str:
    """The digest in ``assets/golden_run.json`` while a new golden run agrees with the one there."""
    numbers = run(world)
    known = json.loads(FILE.read_text(encoding="utf-8"))[world]
    same = len(numbers) == len(known["numbers"])
    if same and np.allclose(numbers, known["numbers"], rtol=_TOLERANCE, atol=0):
        return known["digest"]
    return _digest_of(numbers)


def _digest_of(numbers: Sequence[float]) -> str:
    return hashlib.sha256(json.dumps([f"{x:.3e}" for x in numbers]).encode()).hexdigest()[:8]


def write() -> dict[str, str]:
    """Makes today's golden runs those in ``assets``, where they differ. Returns: the digests.

    A run that agrees with the one that is there stays as it is, and so do the rows it guards.
    """
    digest.cache_clear()
    content = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    digests = {}
    for world in _WORLDS:
        numbers = run(world)
        digests[world] = digest(world) if world in content else _digest_of(numbers)
        if content.get(world, {}).get("digest") != digests[world]:
            rounded = [float(f"{x:.6g}") for x in numbers]
            content[world] = {"digest": digests[world], "numbers": rounded}
    with atomic(FILE) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    digest.cache_clear()
    return digests
