"""Many works at once: what they ask `fit` to train is collected, and one kind trains in one pass.

A work is a function that takes a `fit` and trains networks with it. Each runs in a thread of its
own, one at a time, and waits in its call of `fit` until its network has been trained.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import pandas as pd

from mtl_course import training
from mtl_course.datasets import Dataset
from mtl_course.devices import on_cpu
from mtl_course.networks import Network

_AT_ONCE = 64  # works: more need memory, and more networks in one pass hardly gain

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


def together(
    works: Mapping[Key, Callable[[training.Fit], Result]], **device: str | None
) -> Iterator[tuple[Key, Result]]:
    """Do many works, with the calls of `fit` that are of one kind made by `fit_many`.

    At most 64 works are under way at once, so that only theirs are the data in memory. A call with
    a `backward` of its own goes to `fit`.
    device: device and precision, for `fit_many`.
    Yields: the key and the result of each work, as soon as it has ended.
    Raises: KeyboardInterrupt once a training is interrupted, after the results that are complete;
        what a work raises. No work is left waiting.
    """
    ahead, waiting = list(works.items()), {}

    def advance(key: Key, history: pd.DataFrame | None = None) -> Iterator[tuple[Key, Result]]:
        if waiting[key].advance(history) is None:
            yield key, waiting.pop(key).result()

    try:
        while ahead or waiting:
            while ahead and len(waiting) < _AT_ONCE:
                key, function = ahead.pop(0)
                waiting[key] = _Work(function)
                yield from advance(key)
            kinds: dict[Hashable, list[Key]] = {}
            for key, work in waiting.items():
                kinds.setdefault(_kind(work.call), []).append(key)
            keys = max(kinds.values(), key=len, default=[])
            histories = _trained([waiting[key].call for key in keys], device) if keys else []
            for key, history in zip(keys, histories, strict=False):
                if history.attrs["interrupted"]:
                    raise KeyboardInterrupt
                yield from advance(key, history)
    finally:
        for work in waiting.values():
            work.stop()


class _Call(NamedTuple):
    """A call of `fit` that waits. settings: steps, seed, and what else `fit` takes."""

    network: Network
    data: Dataset
    settings: dict


class _Work:
    """A function in a thread that runs only while `advance` waits for it."""

    def __init__(self, function: Callable[[training.Fit], object]) -> None:
        self.call: _Call | None = None
        self._function, self._history, self._stopped = function, None, False
        self._result: object = None
        self._error: BaseException | None = None
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def advance(self, history: pd.DataFrame | None) -> _Call | None:
        """Let it run, with this history as what `fit` returns. Returns: its next call, or None."""
        self._history = history
        self._go.release()
        self._paused.acquire()
        return self.call

    def result(self) -> object:
        """Return what the function returned. Raises: what it raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def stop(self) -> None:
        """End it where it waits; while it draws or scores, wait until it has done so."""
        self._stopped = True
        self._go.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._wait()
            with on_cpu():  # torch's defaults are a thread's own
                self._result = self._function(self._fit)
        except BaseException as error:  # the waiting thread raises it
            self._error = error
        self.call = None
        self._paused.release()

    def _fit(self, network: Network, data: Dataset, **settings: object) -> pd.DataFrame:
        self.call = _Call(network, data, settings)
        self._paused.release()
        self._wait()
        return self._history

    def _wait(self) -> None:
        self._go.acquire()
        if self._stopped:
            raise SystemExit  # which ends a thread without a word


def _trained(calls: Sequence[_Call], device: Mapping) -> list[pd.DataFrame]:
    """Make calls of one kind. Returns: their histories, up to the first one interrupted."""
    settings = {k: v for k, v in calls[0].settings.items() if k not in ("seed", "progress")}
    if settings.get("backward") is None:
        settings.pop("backward", None)
        networks, data = [call.network for call in calls], [call.data for call in calls]
        seeds = [call.settings["seed"] for call in calls]
        return training.fit_many(networks, data, seeds=seeds, progress=False, **settings, **device)
    histories: list[pd.DataFrame] = []
    for call in calls:
        histories.append(training.fit(call.network, call.data, **call.settings, **device))
        if histories[-1].attrs["interrupted"]:
            break
    return histories


def _kind(call: _Call) -> Hashable:
    """Return what calls must share to be made at once."""
    settings = {k: v for k, v in call.settings.items() if k not in ("seed", "progress")}
    batch = min(len(call.data), settings.get("batch_size", training.BATCH_SIZE))
    return training.kind(call.network, call.data), batch, tuple(sorted(settings.items()))
