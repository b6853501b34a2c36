"""Seconds of one study of 60 networks: by `studies.run`, by a plain loop and by Lightning.

    python -m pip install -r tests/benchmarks/requirements.txt
    python tests/benchmarks/studies.py --write assets/benchmarks/studies.json

All layers are fine-tuned on handwritten digits for 200 steps: six numbers of labels, ten seeds,
from one trunk. Imports are not timed; a first study has its processes to start, too.
"""

from __future__ import annotations

from collections.abc import Callable

import joblib
import torch
from common import Elsewhere, a_busy_core, finish, interleaved, options, ratio, serve
from rivals import lightning, plain_loop

from mtl_course import datasets, networks, studies, training, transfer
from mtl_course.base import derive_seed
from mtl_course.networks import Network
from mtl_course.training import Fit

STEPS, LABELS, SEEDS = 200, (10, 30, 100, 300, 500, 800), range(10)
RATE = transfer.LEARNING_RATES["all layers"]


def train(source: Network, seed: int, way: str, labels: int, *, fit: Fit = training.fit) -> dict:
    """Train one network of the study, as `studies.run` does. Returns: its accuracy."""
    written = datasets.handwritten_digits()
    sample = written.train.sample(labels, seed=derive_seed(seed, "B"))
    settings = {"steps": STEPS, "seed": seed, "progress": False}
    target = transfer.adapt(source, sample, way, **settings, fit=fit)
    return {"accuracy": training.evaluate(target, written.test)["accuracy"].item()}


def by_hand(source: Network, fit: Callable, device: str) -> None:
    """Train the same networks one after another."""
    written = datasets.handwritten_digits()
    for seed in SEEDS:
        for labels in LABELS:
            sample = written.train.sample(labels, seed=derive_seed(seed, "B"))
            target = networks.new_head(source, sample, seed)
            fit(target, sample, steps=STEPS, batch_size=64, rate=RATE, device=device)
            training.evaluate(target, written.test, device)


def main() -> None:
    """Measure, print, and write when asked."""
    parser = options(__doc__, runs=5)
    parser.add_argument("--device", default=training.machine().device.type)
    asked = parser.parse_args()
    printed = datasets.printed_digits(20_000, seed=0)
    source = transfer.pretrain(printed, steps=300, seed=0, device=asked.device, progress=False)
    source = source.cpu()
    if asked.serve:
        rival = {"a plain loop": plain_loop, "Lightning": lightning}[asked.serve]
        return serve(lambda: by_hand(source, rival, asked.device))
    grid = [{"way": "all layers", "labels": labels} for labels in LABELS]
    study = studies.Study("How fast is a study?", grid, None, train, SEEDS, {"steps": STEPS})

    def ours() -> None:
        rows = studies.run(study, source=source, progress=False)
        assert len(rows) == len(LABELS) * len(SEEDS)

    def cold() -> None:
        joblib.externals.loky.get_reusable_executor().shutdown()
        ours()

    cold_name = "studies.run, processes not started,"
    contenders = {
        cold_name: cold,
        "studies.run": ours,
        "a plain loop": Elsewhere("a plain loop", "--device", asked.device),
        "Lightning": Elsewhere("Lightning", "--device", asked.device),
    }
    results = interleaved(contenders, asked.runs)
    found = {
        f"{mine} against {name}": ratio(results, mine, name)
        for mine in ("studies.run", cold_name)
        for name in ("a plain loop", "Lightning")
    }
    if asked.device == "cpu":
        with a_busy_core():
            busy = interleaved({"studies.run": ours}, asked.runs)["studies.run"]
        results["studies.run beside a busy core"] = busy
        found["studies.run beside a busy core keeps"] = ratio(
            results, "studies.run beside a busy core", "studies.run"
        )
    where = {"device": asked.device, "threads": torch.get_num_threads()}
    return finish(
        {"benchmark": "studies", **where, "results": results, "ratios": found}, asked.write
    )


if __name__ == "__main__":
    main()
