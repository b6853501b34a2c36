"""Driving scenes: pictures of a road with their yes/no answers, as many as you like (M1–M4).

`world` imagines and paints a scene, the rules in `questions` turn what can be seen into answers,
and this module gives them out: in memory, to disk, with the facts behind them.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtl_course.base import atomic, check_count, derive_seed, threads
from mtl_course.datasets import Dataset
from mtl_course.scenes._sprites import KINDS
from mtl_course.scenes._tasks import TASKS, THE_FOUR, VISIBLE, Facts
from mtl_course.scenes._world import SLOTS, Order, imagine, paint, slots_of
from mtl_course.storage import new_array

_CHUNK = 512  # scenes of 32 × 32 painted together on a CPU, fewer of larger ones
_CHUNK_GPU = 65_536


def draw(
    count: int,
    seed: int,
    *,
    start: int = 0,
    tasks: Sequence[str] = THE_FOUR,
    size: int = 32,
    device: str = "cpu",
    jobs: int | None = None,
    progress: bool = False,
) -> Dataset:
    """`count` driving scenes with an answer to each task.

    Scene i is a function of (seed, i) alone: [start, start + count) is a slice of a longer draw,
    bit for bit, on every machine. A question about a thing is answered 1 when `VISIBLE` pixels of
    it can be seen. tasks: names from `TASKS`. size: the side of the picture in pixels.
    jobs: threads that draw on a CPU; None takes one a core.

    Returns: images uint8 (count, 3, size, size), labels int8 (count, tasks) in {0, 1}, on `device`.
    Raises: ValueError if a count is not a whole number in its range, a task does not exist (with
        names that are near) or stands there twice, or the device is not on this machine.
    """
    count = check_count("count", count, least=1)
    tasks, device = _known(tasks), _there(device)
    images = torch.empty(count, 3, check_count("size", size, least=16), size, dtype=torch.uint8,
                         device=device)  # fmt: skip
    labels = torch.empty(count, len(tasks), dtype=torch.int8, device=device)
    with (
        contextlib.closing(_pieces(count, seed, start, size, device, jobs)) as pieces,
        tqdm(total=count, desc="drawing", unit="scene", disable=not progress, leave=False) as bar,
    ):
        for rows, part, facts in pieces:
            images[rows] = part
            labels[rows] = _answers(facts, tasks)
            bar.update(len(part))
    return Dataset(images, labels, tasks=tasks)


def facts(
    count: int, seed: int, *, start: int = 0, size: int = 32, device: str = "cpu"
) -> pd.DataFrame:
    """The facts behind the scenes that `draw` gives for the same arguments, one row a thing,
    also those that stand outside of the picture.

    Columns: scene (its index), time, fog (0 none, 1 thin, 2 thick), thing, look and distance
        (numbers of `sprites.KINDS` and `sprites.SCALES`), x and y (the pixel where it stands),
        pixels (how many of it are seen) and seen (at least `VISIBLE` are).
    """
    count = check_count("count", count, least=1)
    parts = []
    for rows, _, piece in _pieces(count, seed, start, size, device, None):
        scene, slot = piece.world.there.nonzero(as_tuple=True)
        columns = {name: getattr(piece.world, name)[scene, slot] for name in _COLUMNS}
        columns |= {"pixels": piece.pixels[scene, slot], "seen": piece.seen[scene, slot]}
        table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
        table.insert(0, "scene", scene.cpu().numpy() + rows.start + start)
        table.insert(1, "time", [TIMES[t] for t in piece.world.scene["time"][scene].tolist()])
        table.insert(2, "fog", piece.world.scene["fog"][scene].cpu().numpy())
        table.insert(3, "thing", [SLOTS[s].kind for s in slot.tolist()])
        parts.append(table)
    order = pd.concat(parts, ignore_index=True)
    return order.sort_values("scene", kind="stable", ignore_index=True)


def compose(
    seed: int,
    things: Mapping[str, int | None],
    *,
    time: str = "day",
    fog: int = 0,
    start: int = 0,
    tasks: Sequence[str] = THE_FOUR,
) -> tuple[Dataset, dict[str, int]]:
    """A scene to order, and how many pixels of each thing in it can be seen.

    It is scene number `start` of what `draw` gives for this seed, with its road, its houses and its
    trees, but for what is ordered.

    things: kinds of `sprites.KINDS`, and for each the distance of the one thing of its kind, one of
        `distances`, or None for none of it. Other kinds stay as they are drawn.
    time: "day", "dusk" or "night". fog: 0 none, 1 thin, 2 thick.
    Returns: one image, as `draw` does; pixels by kind, of the kinds in `things`.
    Raises: ValueError if a kind, distance, time or fog does not exist, and what `draw` raises.
    """
    tasks, size = _known(tasks), 32
    for kind, far in things.items():
        if kind not in KINDS:
            raise ValueError(f"things: there is no {kind!r}; there are {', '.join(KINDS)}.")
        if far is not None and far not in distances(kind):
            there = distances(kind)
            got = f"{there.start} to {there.stop - 1}, or None; got {far!r}"
            raise ValueError(f"things: a {kind} has the distances {got}.")
    if time not in TIMES or fog not in (0, 1, 2):
        raise ValueError(f"time must be one of {', '.join(TIMES)}, fog 0, 1 or 2; got {time!r} "
                         f"and {fog!r}.")  # fmt: skip
    order = Order(things, {"time": TIMES.index(time), "fog": fog})
    index = torch.tensor([check_count("start", start, least=0)], device="cpu")
    world = imagine(derive_seed(seed, "scenes"), index, size, order)
    images, pixels = paint(world)
    answers = _answers(Facts(world, pixels, _seen(pixels, size)), tasks)
    counts = {kind: int(pixels[0, slots_of(kind)].sum()) for kind in things}
    return Dataset(images, answers, tasks=tasks), counts


def distances(kind: str) -> range:
    """How far away `compose` may put a thing of this kind, the nearest first."""
    slot = SLOTS[slots_of(kind)[0]]
    return range(slot.nearest, slot.farthest + 1)


def _seen(pixels: Tensor, size: int) -> Tensor:
    return pixels * 32 * 32 >= VISIBLE * size * size


_COLUMNS = ("look", "distance", "x", "y")
TIMES = ("day", "dusk", "night")
"""What `compose` may be told, and what `facts` tells."""


def effort(
    count: int,
    seed: int,
    *,
    start: int = 0,
    tasks: Sequence[str] = THE_FOUR,
    size: int = 32,
    device: str = "cpu",
) -> Tensor:
    """How hard each question of these scenes is to answer: weights for `datasets.hide`.

    The effort doubles by night, doubles in fog, and for a thing that is there grows as less of it
    can be seen: 40 / (its visible pixels) times that of a scene without it, at least 0.5 times.
    Whoever skips questions in proportion skips small, dark and far things more often.

    tasks: names of kinds of things (`sprites.KINDS`), such as the lecture's four.
    Returns: float32 (count, tasks). Raises: ValueError for other tasks.
    """
    count, tasks = check_count("count", count, least=1), _known(tasks)
    if strange := [task for task in tasks if task not in KINDS]:
        raise ValueError(f"tasks must be kinds of things for their effort; got {strange[0]!r}.")
    weights = torch.empty(count, len(tasks), dtype=torch.float32, device=device)
    for rows, _, piece in _pieces(count, seed, start, size, device, None):
        dark = 1 + (piece.world.scene["time"] == 2).float()
        foggy = 1 + (piece.world.scene["fog"] > 0).float()
        share = size * size / (32 * 32)
        for column, task in enumerate(tasks):
            largest = (piece.pixels * piece.seen)[:, slots_of(task)].amax(dim=1).float() / share
            small = torch.where(largest > 0, (40 / largest).clamp(min=0.5), 1.0)
            weights[rows, column] = dark * foggy * small
    return weights


def write(
    folder: Path | str,
    count: int,
    seed: int,
    *,
    tasks: Sequence[str] = THE_FOUR,
    size: int = 32,
    device: str = "cpu",
    progress: bool = True,
) -> None:
    """Draws scenes to disk, in bounded memory, for `datasets.stored` to open.

    Raises: FileExistsError if there is such a folder; OSError before anything is drawn if it cannot
        be written, or the disk has no room for it; and what `draw` raises.
    """
    count, size = check_count("count", count, least=1), check_count("size", size, least=16)
    tasks = _known(tasks)
    shapes = {
        "images": ((count, 3, size, size), np.uint8),
        "labels": ((count, len(tasks)), np.int8),
    }
    if Path(folder).exists():
        raise FileExistsError(f"folder {folder} is there already: choose another or delete it.")
    with atomic(folder) as draft:
        draft.mkdir()
        arrays = {
            name: new_array(draft / f"{name}.npy", shape, dtype)
            for name, (shape, dtype) in shapes.items()
        }
        with (
            contextlib.closing(_pieces(count, seed, 0, size, device, None)) as pieces,
            tqdm(total=count, desc="drawing", unit="scene", disable=not progress) as bar,
        ):
            for rows, images, facts in pieces:
                arrays["images"][rows] = images.cpu().numpy()
                arrays["labels"][rows] = _answers(facts, tasks).cpu().numpy()
                bar.update(len(images))
        for name in list(arrays):
            arrays.pop(name).flush()  # and closed: Windows moves no folder with an open file
        (draft / "names.json").write_text(json.dumps({"tasks": tasks}), encoding="utf-8")


def _known(tasks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tasks, str):
        raise ValueError(f"tasks must be a sequence of names; got the single text {tasks!r}.")
    tasks = tuple(tasks)
    if not tasks:
        raise ValueError("tasks must hold at least one name.")
    for task in tasks:
        if task not in TASKS:
            near = difflib.get_close_matches(str(task), TASKS, n=3, cutoff=0.5)
            hint = f"near to it: {', '.join(near)}" if near else "see scenes.TASKS"
            raise ValueError(f"tasks: there is no task {task!r}; {hint}.")
        if tasks.count(task) > 1:
            raise ValueError(f"tasks must differ; {task!r} stands there twice.")
    return tasks


def _there(device: str) -> str:
    """The device, where it is on this machine."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises both
        raise ValueError(f"device {device!r} is not on this machine.") from error
    return device


def _answers(facts: Facts, tasks: Sequence[str]) -> Tensor:
    """Returns: int8 (n, tasks) in {0, 1}."""
    return torch.stack([TASKS[task].rule(facts) for task in tasks], dim=1).to(torch.int8)


def _pieces(
    count: int, seed: int, start: int, size: int, device: str, jobs: int | None
) -> Iterator[tuple[slice, Tensor, Facts]]:
    """Scenes in pieces of bounded size: their rows from 0 to `count`, pictures and facts."""
    key, start = derive_seed(seed, "scenes"), check_count("start", start, least=0)
    _there(device)
    check_count("size", size, least=16)
    on_cpu = torch.device(device).type == "cpu"
    chunk = max(1, (_CHUNK if on_cpu else _CHUNK_GPU) * 32 * 32 // (size * size))
    jobs = joblib.cpu_count() if jobs is None else check_count("jobs", jobs, least=1)

    def piece(first: int) -> tuple[slice, Tensor, Facts]:
        last = min(first + chunk, count)
        with torch.inference_mode():
            scene = imagine(key, torch.arange(start + first, start + last, device=device), size)
            images, pixels = paint(scene)
        return slice(first, last), images, Facts(scene, pixels, _seen(pixels, size))

    firsts = range(0, count, chunk)
    if not on_cpu or jobs == 1 or len(firsts) == 1:
        yield from map(piece, firsts)
        return
    # A thread a piece, not several that share one; and no more pieces than are soon asked for.
    with threads(1), ThreadPoolExecutor(jobs) as pool:
        waiting: deque[Future] = deque()
        try:
            for first in firsts:
                waiting.append(pool.submit(piece, first))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
