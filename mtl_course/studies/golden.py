"""The golden run: a tiny training of everything, by which stored rows know that it changed."""

import functools
import hashlib
import json
import math

import torch
from torch import Tensor

from mtl_course import datasets, networks, scenes, training, transfer
from mtl_course.analysis import similarity
from mtl_course.base import ASSETS, atomic, threads
from mtl_course.datasets import LETTERS, Dataset
from mtl_course.networks import Network
from mtl_course.studies import spectrograms

FILE = ASSETS / "golden_run.json"

# Relative. On x86 the numbers move by less than 5e-6 between instruction sets (SSE to AVX-512, in
# torch 2.15, MKL, oneDNN), and an error of 1e-6 in the output of each layer moves them by up to
# 3e-4. What changes training moves one in each world by 1e-2 or more: see its tests.
_TOLERANCE = 1e-3
_SETTINGS = {"seed": 0, "device": "cpu", "precision": "float32", "progress": False}


def run(world: str) -> dict[str, float]:
    """Run through everything that makes a row, on a tiny scale: drawing, training, predicting.

    world: "digits" pretrains on printed digits and adapts in each way; "scenes" trains a shared
        network, a separate one and a softmax, with labels hidden; "dials" draws sounds and letters,
        and copies a layer of a network of four tasks. Each world also trains a head alone.
    Returns: losses, mean squared logits and the like by name, in float32 on one thread of the CPU.
    Raises: KeyboardInterrupt when interrupted, where `training.fit` would keep what it has.
    """
    with threads(1), torch.device("cpu"):
        return WORLDS[world]()


def _digits() -> dict[str, float]:
    printed, written = datasets.printed_digits(256, seed=0), datasets.handwritten_digits()
    source = transfer.pretrain(printed, steps=6, width=4, batch_size=32, **_SETTINGS)
    sample, test = written.train.sample(40, seed=0), written.test.subset(slice(100))
    numbers = _learned("printed digits", source)
    for how in transfer.WAYS:
        target = transfer.adapt(source, sample, how, steps=6, learning_rate=3e-3, **_SETTINGS)
        numbers |= _learned(how, target, test)
    return numbers | _head_alone(printed)


def _scenes() -> dict[str, float]:
    roads = scenes.draw(128, seed=0, jobs=1)
    hidden = datasets.hide(roads, 0.5, seed=0, weight=scenes.effort(128, seed=0))
    one = datasets.one_label(roads, seed=0)
    numbers = {}
    for name, network, data in (
        ("shared", networks.shared(roads.tasks, width=4, seed=0), hidden),
        ("separate", networks.separate(roads.tasks, width=2, seed=0), hidden),
        ("softmax", networks.classifier(one, width=4, seed=0), one),
    ):
        training.fit(network, data, steps=4, batch_size=32, **_SETTINGS)
        numbers |= _learned(name, network, data)
    return numbers | _head_alone(roads)


def _dials() -> dict[str, float]:
    letters = datasets.printed_digits(64, seed=0, characters=LETTERS)
    numbers = {"letters: brightness": _mean(letters.images.double())}
    numbers |= _sounds(spectrograms.draw(128, seed=0))
    four = scenes.draw(128, seed=3, jobs=1)
    roads = scenes.draw(128, seed=0, tasks=["two cars"], jobs=1)
    rate = {"learning_rate": 1e-3}  # at three times that, a rounding error grows more
    source = networks.shared(four.tasks, width=4, seed=0)
    training.fit(source, four, steps=4, batch_size=32, **rate, **_SETTINGS)
    how = {"how": "head then all", "layers": 1, "steps": 4}
    target = transfer.adapt(source, roads, **how, **rate, **_SETTINGS)
    numbers |= _learned("four questions", source) | _learned("another question", target, roads)
    alike = enumerate(similarity(source, target, roads))
    return numbers | {f"similarity of block {b}": x for b, x in alike} | _head_alone(roads)


WORLDS = {"digits": _digits, "scenes": _scenes, "dials": _dials}


def _sounds(data: Dataset) -> dict[str, float]:
    """Return how bright the pictures of sounds are: by pitch, from the top, and by task.

    Nothing is trained on them: the last bits of a spectrum decide to which gray a few hundred
    pixels are rounded, which four steps of training make a deviation of 0.5 %.
    """
    bands = {f"band {band}": images for band, images in enumerate(data.images.chunk(4, dim=2))}
    tasks = {task: data.images[data.labels[:, k] == 1] for k, task in enumerate(data.tasks)}
    return {f"sounds, {name}: brightness": _mean(x.double()) for name, x in (bands | tasks).items()}


def _mean(values: Tensor) -> float:
    return values.mean().item()


def _head_alone(data: Dataset) -> dict[str, float]:
    """Train a head for long enough to show the rules of all training: rates and the optimizer.

    A tenth of 20 steps is two; of fewer it is one, whatever the warm-up is. In 20 steps of all
    layers, a ReLU or a maximum that rounding turns the other way could move a number by 1 %.
    Weight decay would be lost in rounding: it acts once more, alone, at a rate that makes it large.
    """
    build = networks.shared if data.tasks else networks.classifier
    network = build(data.tasks or data, width=4, seed=1)
    networks.freeze(network.trunk)
    settings = {"steps": 20, "batch_size": 32, **_SETTINGS}
    training.fit(network, data, learning_rate=3e-2, **settings)
    numbers = _learned("head alone", network, data)
    settings |= {"learning_rate": 100.0, "backward": lambda losses: (0 * losses).sum().backward()}
    training.fit(network, data, **settings)
    _learned("decay alone", network)
    return numbers | {"decay alone: mean squared weight": _mean(network.head.weight.square())}


def _learned(name: str, network: Network, data: Dataset | None = None) -> dict[str, float]:
    """Return losses and mean squared logit. Raises: KeyboardInterrupt if they were cut short."""
    if network.history.attrs["interrupted"]:
        raise KeyboardInterrupt
    losses = network.history["loss"].tolist()
    numbers = {f"{name}: loss at step {step}": loss for step, loss in enumerate(losses)}
    if data:
        logits = training.predict(network, data, "cpu", "float32")
        numbers[f"{name}: mean squared logit"] = _mean(logits.square())
    return numbers


# ---------------------------------------------------------------------- against the stored one


@functools.cache
def numbers(world: str) -> dict[str, float]:
    """Return what `run` gives here; it runs once in a process."""
    return run(world)


def stored(world: str) -> str:
    """Return the digest in ``assets/golden_run.json``. It trains nothing."""
    return _content()[world]["digest"]


def differences(world: str) -> list[str]:
    """Return a line for each number of a golden run here that is not the stored one."""
    here, there, lines = numbers(world), _content()[world]["numbers"], []
    for name in there | here:
        x, y = here.get(name, math.nan), there.get(name, math.nan)
        if not abs(x - y) <= _TOLERANCE * abs(y):  # so that nan, or nothing, differs too
            lines.append(f"{world}, {name}: {x:.6g} here, {y:.6g} stored")
    return lines


def digest(world: str) -> str:
    """Return the stored digest while a golden run here agrees, else one of the numbers here."""
    return _digest_here(world) if differences(world) else stored(world)


def write() -> dict[str, str]:
    """Store today's golden runs in ``assets``, where they differ. Returns: the digests.

    A run that agrees with the stored one stays as it is, and so do the rows that it guards.
    """
    numbers.cache_clear()
    content = _content() if FILE.exists() else {}
    for world in WORLDS:
        if world not in content or differences(world):
            rounded = {name: float(f"{x:.6g}") for name, x in numbers(world).items()}
            content[world] = {"digest": _digest_here(world), "numbers": rounded}
    with atomic(FILE) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return {world: content[world]["digest"] for world in WORLDS}


def _content() -> dict:
    return json.loads(FILE.read_text(encoding="utf-8"))


def _digest_here(world: str) -> str:
    rounded = json.dumps([f"{x:.3e}" for x in numbers(world).values()])
    return hashlib.sha256(rounded.encode()).hexdigest()[:8]
