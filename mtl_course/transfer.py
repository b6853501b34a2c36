"""Transfer learning, A → B: pretrain on A, then adapt to B in one of four ways (T1–T3)."""

from __future__ import annotations

from mtl_course.base import stream, whole
from mtl_course.datasets import Dataset
from mtl_course.networks import Network, blocks, classifier, copied, freeze, fresh, new_head
from mtl_course.plans import Fit, Plan, carry_out

WAYS = ("from scratch", "new head", "all layers", "head then all")

LEARNING_RATES = {"from scratch": 1e-2, "new head": 3e-3, "all layers": 3e-3, "head then all": 3e-3}
"""The best of a small grid on development data, the same grid for every way: see the rows of the
study "digits_tuning", and `python -m mtl_course.studies digits_tuning` to train them again."""


def pretrain(
    data: Dataset, *, steps: int, seed: int, width: int = 16, batch_size: int = 128, **settings
) -> Network:
    """A network with random weights, trained on task A. `settings` go to `training.fit`."""
    settings |= {"steps": steps, "batch_size": batch_size}
    return carry_out(pretraining(data, seed=seed, width=width, **settings))


def pretraining(data: Dataset, *, seed: int, width: int = 16, **settings) -> Plan[Network]:
    """What `pretrain` does, as a plan."""
    network = classifier(data, width=width, seed=seed)
    yield Fit(network, data, {"seed": seed, **settings})
    return network


def adapt(
    source: Network,
    data: Dataset,
    how: str,
    *,
    steps: int,
    seed: int,
    learning_rate: float | None = None,
    layers: int | None = None,
    **settings,
) -> Network:
    """A network for task B, made from one that has learned task A. `source` is left as it was.

    how: "from scratch": the same layers with random weights, the control that ignores A;
        "new head": the trunk frozen, a new head trained;
        "all layers": a new head, then every layer trained;
        "head then all": half of the steps the head alone, then every layer (Kumar et al. 2022).
    learning_rate: None takes the tuned one of `LEARNING_RATES`. `settings` go to `training.fit`.
    layers: copy only so many blocks of the trunk, from the picture on (Yosinski et al. 2014). The
        others start from random weights and train, also where `how` holds the copied ones still.
    Runs with one seed start from the same head and see the same batches, whatever `how` is.
    Raises: ValueError if `how` is not one of these, or the trunk has fewer blocks than `layers`,
        and what `training.fit` raises.
    """
    settings |= {"steps": steps, "seed": seed, "learning_rate": learning_rate, "layers": layers}
    return carry_out(adaptation(source, data, how, **settings))


def adaptation(
    source: Network,
    data: Dataset,
    how: str,
    *,
    steps: int,
    seed: int,
    learning_rate: float | None = None,
    layers: int | None = None,
    **settings,
) -> Plan[Network]:
    """What `adapt` does, as a plan. Raises: ValueError as `adapt` does."""
    if how not in WAYS:
        raise ValueError(f"how must be one of {', '.join(map(repr, WAYS))}; got {how!r}.")
    steps = whole("steps", steps, least=2 if how == "head then all" else 1)
    settings["learning_rate"] = LEARNING_RATES[how] if learning_rate is None else learning_rate
    if how == "from scratch":
        network = fresh(source, data, seed)
    elif layers is None:
        network = new_head(source, data, seed)
    else:
        network = copied(source, data, seed, layers)
    if how in ("new head", "head then all"):
        still = [network.trunk] if layers is None else blocks(network)[:layers]
        for part in still:
            freeze(part)
    if how == "head then all":
        half = steps // 2
        first = {"steps": half, "seed": stream(seed, "head alone"), **settings}
        if first.get("checkpoint"):  # two runs, two files
            first["checkpoint"] = f"{first['checkpoint']}.head"
        history = yield Fit(network, data, first)
        if history.attrs["interrupted"]:
            return network
        network.trunk.requires_grad_(True)
        steps -= half
    yield Fit(network, data, {"steps": steps, "seed": seed, **settings})
    return network
