"""Images a second of `training.fit`, beside a bare step and beside what people use instead.

    python -m pip install -r tests/benchmarks/requirements.txt
    python tests/benchmarks/training.py --write assets/benchmarks/training.json
    python tests/benchmarks/training.py --device cuda --write assets/benchmarks/training_cuda.json

One network of width 16 on scenes of 32 × 32, batches of 128, AdamW. The bare step is the same
network's on a batch that is already in place: the limit. Everybody trains in float32, unless
`--precision` says otherwise for us. On a GPU there is a longer run too, and 64 networks at once.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from common import Elsewhere, a_busy_core, finish, interleaved, options, ratio, serve
from rivals import RIVALS, plain_loop

from mtl_course import datasets, losses, networks, scenes, training
from mtl_course.base import derive_seed, threads
from mtl_course.datasets import normalise
from mtl_course.devices import Machine, machine
from mtl_course.networks import Network
from mtl_course.training import _run

STEPS, BATCH, WIDTH, RATE = 64, 128, 16, 1e-2
LONGER = 1_280  # steps, on a GPU


def bare(network: Network, images: torch.Tensor, labels: torch.Tensor, place: Machine) -> Callable:
    """Steps on one batch in place, on one thread, as `fit` takes."""
    network = copy.deepcopy(network).to(place.device, memory_format=torch.channels_last).train()
    images, labels = images.to(place.device), labels.to(place.device)
    weights = list(network.parameters())
    optimiser = torch.optim.AdamW(weights, RATE, weight_decay=1e-4, fused=True)

    def steps() -> None:
        with threads(1):
            for _ in range(STEPS):
                with place.autocast():
                    logits = network(images)
                loss = losses.multi_task_losses(logits.float(), labels).sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            loss.item()

    return steps


def frozen(place: Machine) -> dict[str, Callable]:
    """A new head on a frozen trunk, 1,000 images, 300 steps: features once, or at every step."""
    data = scenes.draw(1_000, seed=1)
    source = networks.freeze(networks.shared(data.tasks, width=WIDTH, seed=0))
    networks.freeze(source.trunk)

    def ours() -> None:
        target = networks.new_head(source, data, seed=0)
        networks.freeze(target.trunk)
        training.fit(target, data, steps=300, seed=0, device=str(place.device),
                     precision=place.precision, progress=False)  # fmt: skip

    def in_the_loop() -> None:
        target = networks.new_head(source, data, seed=0)
        target.to(place.device, memory_format=torch.channels_last)
        networks.freeze(target.trunk)
        optimiser = torch.optim.AdamW(target.head.parameters(), 3e-3, weight_decay=1e-4, fused=True)
        images, labels = data.images.to(place.device), data.labels.to(place.device)
        for rows in _run._batches(len(data), 64, 300, 0).to(place.device):
            with torch.no_grad(), place.autocast():
                features = target.trunk(normalise(images[rows]))
            loss = losses.multi_task_losses(target.head(features.float()), labels[rows]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        loss.item()

    names = ("features once", "trunk at every step, no gradient for it")
    return dict(zip(names, (ours, in_the_loop), strict=True))


def frozen_loop(device: str) -> None:
    """The plain way: a loop over a `DataLoader` through the whole network, its trunk frozen."""
    data = scenes.draw(1_000, seed=1)
    target = networks.shared(data.tasks, width=WIDTH, seed=0)
    networks.freeze(target.trunk)
    plain_loop(target, data, steps=300, batch_size=64, rate=3e-3, device=device)


def many(kind: str) -> dict[str, Callable]:
    """64 networks by `fit_many` and by 64 calls of `fit`, on a GPU that holds their images."""
    if kind == "digits":
        parts = [datasets.printed_digits(1_000, seed=k, device="cuda") for k in range(64)]
        make = lambda k: networks.classifier(parts[k], width=16, seed=k)  # noqa: E731
    else:
        parts = [scenes.draw(1_000, seed=k, device="cuda") for k in range(64)]
        make = lambda k: networks.shared(parts[k].tasks, width=16, seed=k)  # noqa: E731
    settings = {"steps": 300, "device": "cuda", "progress": False}

    def together() -> None:
        training.fit_many([make(k) for k in range(64)], parts, seeds=range(64), **settings)

    def alone() -> None:
        for k in range(64):
            training.fit(make(k), parts[k], seed=k, **settings)

    return {f"fit_many of 64, {kind}": together, f"64 calls of fit, {kind}": alone}


def main() -> None:
    """Measure, print, and write when asked."""
    parser = options(__doc__, runs=7)
    parser.add_argument("--device", help="default: the fastest here")
    parser.add_argument("--precision", help="ours: float32 (the default) or bfloat16")
    parser.add_argument("--steps", type=int, default=STEPS, help=argparse.SUPPRESS)  # of a rival
    asked = parser.parse_args()
    place = machine(asked.device, asked.precision)
    device = place.device.type
    roads = scenes.draw(STEPS * BATCH, seed=0, device=device if device == "cuda" else "cpu")
    start = networks.shared(roads.tasks, width=WIDTH, seed=derive_seed(0, "benchmark"))

    def fit(steps: int = STEPS) -> None:
        training.fit(copy.deepcopy(start), roads, steps=steps, seed=0, batch_size=BATCH,
                     learning_rate=RATE, device=device, precision=place.precision,
                     progress=False)  # fmt: skip

    if asked.serve in RIVALS:
        roads = scenes.draw(STEPS * BATCH, seed=0)  # a `DataLoader` takes its images from the CPU
        work = {"steps": asked.steps, "batch_size": BATCH, "rate": RATE, "device": device}
        return serve(lambda: RIVALS[asked.serve](copy.deepcopy(start), roads, **work))
    if asked.serve:
        return serve(lambda: frozen_loop(device))

    step = bare(start, roads.images[:BATCH], roads.labels[:BATCH], place)
    contenders = {"fit": fit, "bare step": step}
    contenders |= {name: Elsewhere(name, "--device", device) for name in RIVALS}
    results = interleaved(contenders, asked.runs)
    for row in results.values():
        row["images_per_s"] = round(STEPS * BATCH / row["median_s"])
    found = {
        f"fit against {name}": ratio(results, "fit", name) for name in contenders if name != "fit"
    }
    heads = frozen(place) | {"trunk in a DataLoader loop": Elsewhere("frozen", "--device", device)}
    results |= interleaved(heads, asked.runs)
    for name in list(heads)[1:]:
        found[f"new head: features once against {name}"] = ratio(results, "features once", name)
    if device == "cuda":
        loop, steps = "a DataLoader loop", ["--steps", str(LONGER)]
        names = [f"fit, {LONGER:,} steps", f"{loop}, {LONGER:,} steps"]
        longer = [lambda: fit(LONGER), Elsewhere(loop, "--device", device, *steps)]
        results |= interleaved(dict(zip(names, longer, strict=True)), asked.runs)
        found[" against ".join(names)] = ratio(results, *names)
        for kind in ("digits", "scenes"):
            pair = interleaved(many(kind), asked.runs)
            ours, other = pair
            results |= pair
            found[f"{ours} against {other}"] = ratio(pair, ours, other)
    else:
        with a_busy_core():
            results |= {"fit beside a busy core": interleaved({"fit": fit}, asked.runs)["fit"]}
        found["fit beside a busy core keeps"] = ratio(results, "fit beside a busy core", "fit")
    where = {"device": device, "precision": place.precision, "threads": torch.get_num_threads()}
    return finish(
        {"benchmark": "training", **where, "results": results, "ratios": found}, asked.write
    )


if __name__ == "__main__":
    main()
