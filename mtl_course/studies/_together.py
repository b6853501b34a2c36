"""Many works at once: their calls of `fit` are collected, and those of one kind train in one pass.

A work is a function that is called with ``fit=…`` and trains networks with it. Each runs in a
thread of its own, one at a time, and waits in its call of `fit` until its network is trained.
"""

import queue
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import pandas as pd

from mtl_course import training
from mtl_course.datasets import Dataset
from mtl_course.networks import Network

_AT_ONCE = 64  # works: more need memory, and more networks in one pass hardly gain

Done = tuple[Hashable, object]  # the key of a work, and what it returned


def together(works: Mapping[Hashable, Callable], **device: str | None) -> Iterator[Done]:
    """Do many works, with the calls of `fit` that are of one kind made by `fit_many`.

    They begin in order, at most 64 at once, so that the data of no more are in memory. A call with
    a `backward` of its own goes to `fit`.

    device: device and precision, for `fit` and `fit_many`.
    Yields: the key and the result of each work, as soon as it has ended.
    Raises: KeyboardInterrupt once a training is interrupted, after the results that are complete;
        what a work raises, or a training. However it ends, no thread of a work is left.
    """
    ahead, waiting = list(works.items()), {}

    def advance(key: Hashable, history: pd.DataFrame | None = None) -> Iterator[Done]:
        if waiting[key].advance(history) is None:
            yield key, waiting.pop(key).result()

    try:
        while ahead or waiting:
            while ahead and len(waiting) < _AT_ONCE:
                key, function = ahead.pop(0)
                waiting[key] = _Work(function)
                yield from advance(key)
            kinds: dict[Hashable, list] = {}
            for key, work in waiting.items():
                kinds.setdefault(_kind(work.call), []).append(key)
            keys = max(kinds.values(), key=len, default=[])
            histories = _trained([waiting[key].call for key in keys], device) if keys else []
            for key, history in zip(keys, histories, strict=False):
                if history.attrs["interrupted"]:
                    raise KeyboardInterrupt
                yield from advance(key, history)
    finally:
        for work in waiting.values():  # all of them, before a second Ctrl-C can end the wait
            work.stop()
        for work in waiting.values():
            work.join()


class _Call(NamedTuple):
    """A call of `fit` that waits. settings: steps, and what else `fit` takes."""

    network: Network
    data: Dataset
    seed: int
    settings: dict


class _Stopped(BaseException):
    """Ends a work that waits in `fit`."""


class _Work:
    """A function in a thread that runs only while `advance` waits for it."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.call: _Call | None = None
        self._outcome: Future = Future()
        self._histories: queue.SimpleQueue[pd.DataFrame | None] = queue.SimpleQueue()
        self._paused = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)

    def advance(self, history: pd.DataFrame | None) -> _Call | None:
        """Begin it, or resume it with the history that `fit` returns. Returns: its next call."""
        if history is None:
            self._thread.start()
        else:
            self._histories.put(history)
        self._paused.acquire()
        return self.call

    def result(self) -> object:
        """Return what the function returned. Raises: what it raised."""
        self.join()
        try:
            return self._outcome.result()
        finally:
            del self._outcome  # or an error would hold itself, and by its frames what was drawn

    def stop(self) -> None:
        """Have it end in its call of `fit`: in this one, or, while it draws or scores, the next."""
        self._histories.put(None)

    def join(self) -> None:
        """Wait until its thread has ended."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self, function: Callable[..., object]) -> None:
        try:
            self._outcome.set_result(function(fit=self._fit))
        except _Stopped:
            pass
        except BaseException as error:
            self._outcome.set_exception(error)
        self.call = None
        self._paused.release()

    def _fit(
        self, network: Network, data: Dataset, *, seed: int, backward: Callable | None = None,
        progress: bool = True, **settings: object,
    ) -> pd.DataFrame:  # fmt: skip
        own = {} if backward is None else {"backward": backward}
        self.call = _Call(network, data, seed, settings | own)
        self._paused.release()
        history = self._histories.get()
        if history is None:
            self.stop()  # a call that it makes while it ends must not wait either
            raise _Stopped
        return history


def _trained(calls: Sequence[_Call], device: Mapping) -> list[pd.DataFrame]:
    """Make calls of one kind. Returns: their histories, up to the first one interrupted."""
    networks, data, seeds, (settings, *_) = zip(*calls, strict=True)
    settings = {"progress": False, **settings, **device}
    if "backward" not in settings:
        return training.fit_many(networks, data, seeds=seeds, **settings)
    histories: list[pd.DataFrame] = []
    for call in calls:
        histories.append(training.fit(call.network, call.data, seed=call.seed, **settings))
        if histories[-1].attrs["interrupted"]:
            break
    return histories


def _kind(call: _Call) -> Hashable:
    """Return what calls must share to be made at once."""
    batch = min(len(call.data), call.settings.get("batch_size", training.BATCH_SIZE))
    return training.kind(call.network, call.data), batch, tuple(sorted(call.settings.items()))
