"""Training that is asked for, then made: calls of `fit` that are of one kind can go together.

What a study trains is written as a *plan*: a function that yields each `Fit` it needs and goes on
when that network has been trained. One plan is carried out as it stands; of many plans, those calls
that have one shape go to `fit_many` together; a call with a `backward` of its own goes to `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import pandas as pd

from mtl_course.datasets import Dataset
from mtl_course.networks import Network
from mtl_course.training import BATCH_SIZE, fit, fit_many, kind

_AT_ONCE = 64  # networks that train side by side: more need memory and hardly gain

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Fit(NamedTuple):
    """A call of `fit` that is asked for. settings: steps, seed, and what else `fit` takes."""

    network: Network
    data: Dataset
    settings: dict


Plan = Generator[Fit, pd.DataFrame, Result]
"""Yields each `Fit` it needs, is sent its history, and returns a result."""


def carry_out(plan: Plan[Result], train: Callable[..., pd.DataFrame] | None = None) -> Result:
    """Makes the calls of `fit` that a plan asks for, one after another. Returns: its result.

    train: what is called in place of `fit`.
    """
    try:
        asked = next(plan)
        while True:
            asked = plan.send((train or fit)(asked.network, asked.data, **asked.settings))
    except StopIteration as end:
        return end.value


def carry_out_together(
    plans: Mapping[Key, Plan[Result]], **place: str | None
) -> Iterator[tuple[Key, Result]]:
    """Carries out many plans, the calls of `fit` that are of one kind by `fit_many`.

    place: device and precision, for `fit_many`.
    Yields: the key and the result of each plan, as soon as it has ended.
    Raises: KeyboardInterrupt once a training is interrupted, after the results that it left whole.
    """
    asked: dict[Key, Fit] = {}

    def advance(key: Key, history: pd.DataFrame | None) -> Iterator[tuple[Key, Result]]:
        try:
            asked[key] = plans[key].send(history)
        except StopIteration as end:
            asked.pop(key, None)
            yield key, end.value

    for key in plans:
        yield from advance(key, None)
    while asked:
        kinds: dict[Hashable, list[Key]] = {}
        for key, call in asked.items():
            kinds.setdefault(_kind(call), []).append(key)
        keys = max(kinds.values(), key=len)[:_AT_ONCE]
        calls = [asked[key] for key in keys]
        settings = {k: v for k, v in calls[0].settings.items() if k not in ("seed", "progress")}
        if "backward" in settings:
            histories = _until_interrupted(calls, place)
        else:
            histories = fit_many(
                [call.network for call in calls],
                [call.data for call in calls],
                seeds=[call.settings["seed"] for call in calls],
                progress=False,
                **settings,
                **place,
            )
        for key, history in zip(keys, histories, strict=False):
            yield from advance(key, history)
        if histories[-1].attrs["interrupted"]:
            raise KeyboardInterrupt


def _until_interrupted(calls: Sequence[Fit], place: Mapping) -> list[pd.DataFrame]:
    """Make calls of `fit` one after another, until one of them is interrupted."""
    histories = []
    for call in calls:
        histories.append(fit(call.network, call.data, **call.settings, **place))
        if histories[-1].attrs["interrupted"]:
            break
    return histories


def _kind(call: Fit) -> Hashable:
    """What calls must share to be made at once."""
    settings = {k: v for k, v in call.settings.items() if k not in ("seed", "progress")}
    batch = min(len(call.data), settings.get("batch_size", BATCH_SIZE))
    return kind(call.network, call.data), batch, tuple(sorted(settings.items()))
