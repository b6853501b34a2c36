"""Transfer learning, A → B: pretrain on A, then adapt to B in one of four ways (T1–T3)."""

from mtl_course import networks, training
from mtl_course.base import check_count, derive_seed
from mtl_course.datasets import Dataset

WAYS = ("from scratch", "new head", "all layers", "head then all")

LEARNING_RATES = {"from scratch": 1e-2, "new head": 3e-3, "all layers": 3e-3, "head then all": 3e-3}
"""The best of a small grid on development data, the same grid for every way: see the rows of the
study "digits_tuning", and `python -m mtl_course studies digits_tuning` to train them again."""


def pretrain(
    data: Dataset,
    *,
    steps: int,
    seed: int,
    width: int = 16,
    batch_size: int = 128,
    fit: training.Fit = training.fit,
    **settings,
) -> networks.Network:
    """Return a network trained on task A from random weights. `settings` go to `training.fit`.

    fit: what trains in place of `training.fit`.
    """
    network = networks.classifier(data, width=width, seed=seed)
    fit(network, data, steps=steps, seed=seed, batch_size=batch_size, **settings)
    return network


def adapt(
    source: networks.Network,
    data: Dataset,
    how: str,
    *,
    steps: int,
    seed: int,
    learning_rate: float | None = None,
    layers: int | None = None,
    fit: training.Fit = training.fit,
    **settings,
) -> networks.Network:
    """Return a network for task B, made from one trained on task A, which is left as it was.

    how: "from scratch": the same layers with random weights, the control that ignores A;
        "new head": the trunk frozen, a new head trained (feature extraction);
        "all layers": a new head, then every layer trained (fine-tuning);
        "head then all": half of the steps the head alone, then every layer (Kumar et al. 2022).
    learning_rate: None takes the tuned one of `LEARNING_RATES`. `settings` go to `training.fit`.
    layers: copy only the first so many blocks of the trunk (Yosinski et al. 2014). The others
        start from random weights and train, even where `how` freezes the copied ones.
    fit: what trains in place of `training.fit`.
    Runs with one seed start from the same head and see the same batches, whatever `how` is.
    Raises: ValueError if `how` is not one of these, or the trunk has fewer blocks than `layers`,
        and what `training.fit` raises.
    """
    if how not in WAYS:
        raise ValueError(f"how must be one of {', '.join(map(repr, WAYS))}; got {how!r}.")
    steps = check_count("steps", steps, least=2 if how == "head then all" else 1)
    settings["learning_rate"] = LEARNING_RATES[how] if learning_rate is None else learning_rate
    if how == "from scratch":
        network = networks.reinitialized(source, data, seed)
    elif layers is None:
        network = networks.new_head(source, data, seed)
    else:
        network = networks.with_copied_layers(source, data, seed, layers)
    if how in ("new head", "head then all"):
        for part in [network.trunk] if layers is None else networks.blocks(network)[:layers]:
            networks.freeze(part)
    if how == "head then all":
        half = steps // 2
        first = {"steps": half, "seed": derive_seed(seed, "head alone"), **settings}
        if first.get("checkpoint"):  # two runs, two files
            first["checkpoint"] = f"{first['checkpoint']}.head"
        if fit(network, data, **first).attrs["interrupted"]:
            return network
        network.trunk.requires_grad_(True)
        steps -= half
    fit(network, data, steps=steps, seed=seed, **settings)
    return network
