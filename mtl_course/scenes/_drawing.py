"""Driving scenes in memory, on disk, with the things that you choose, and the facts behind them."""

import contextlib
import difflib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mtl_course.base import atomic, check_count, derive_seed, threads
from mtl_course.datasets import Dataset
from mtl_course.devices import machine
from mtl_course.scenes._painting import paint
from mtl_course.scenes._sprites import KINDS
from mtl_course.scenes._tasks import TASKS, THE_FOUR, Facts
from mtl_course.scenes._world import SLOTS, imagine, slots_of
from mtl_course.storage import new_array

TIMES = ("day", "dusk", "night")  # that `compose` takes and `facts` returns

_CHUNK = 512  # scenes of 32 × 32 painted together on a CPU, fewer of larger ones
_CHUNK_GPU = 65_536


def draw(
    count: int, seed: int, *, start: int = 0, tasks: Sequence[str] = THE_FOUR, size: int = 32,
    device: str = "cpu", jobs: int | None = None, progress: bool = False,
) -> Dataset:  # fmt: skip
    """Draw `count` driving scenes with an answer to each task.

    Scene i is a function of (seed, i) alone: [start, start + count) is a slice of a longer draw,
    bit for bit, on every machine. A question about a thing is answered 1 when `VISIBLE` pixels of
    it can be seen.

    tasks: names from `TASKS`. size: the side of the picture in pixels.
    jobs: threads that draw on a CPU; None takes one a core.
    Returns: images uint8 (count, 3, size, size), labels int8 (count, tasks) in {0, 1}, on `device`.
    Raises: ValueError for a number out of its range, for a task that does not exist (with similar
        names) or appears twice, or for a device that is not on this machine.
    """
    tasks = _checked(tasks)
    pieces = _pieces(count, seed, start, size, device, jobs)
    images = torch.empty(count, 3, size, size, dtype=torch.uint8, device=device)
    labels = torch.empty(count, len(tasks), dtype=torch.int8, device=device)
    _fill(images, labels, tasks, pieces, progress)
    return Dataset(images, labels, tasks=tasks)


def write(
    folder: Path | str, count: int, seed: int, *, tasks: Sequence[str] = THE_FOUR, size: int = 32,
    device: str = "cpu", progress: bool = True,
) -> None:  # fmt: skip
    """Draw scenes to disk, in bounded memory, for `datasets.stored` to open.

    Raises: FileExistsError if there is such a folder; OSError, before anything is drawn, if it is
        read-only or the disk too full; and what `draw` raises.
    """
    tasks = _checked(tasks)
    pieces = _pieces(count, seed, 0, size, device)
    if Path(folder).exists():
        raise FileExistsError(f"folder {folder} exists already: choose another or delete it.")
    with atomic(folder) as draft:
        draft.mkdir()
        images = new_array(draft / "images.npy", (count, 3, size, size), np.uint8)
        labels = new_array(draft / "labels.npy", (count, len(tasks)), np.int8)
        _fill(torch.from_numpy(images), torch.from_numpy(labels), tasks, pieces, progress)
        images.flush()
        labels.flush()
        del images, labels  # closed: Windows moves no folder with an open file
        (draft / "names.json").write_text(json.dumps({"tasks": tasks}), encoding="utf-8")


def facts(count: int, seed: int, *, start: int = 0, size: int = 32) -> pd.DataFrame:
    """Return the facts behind the scenes that `draw` gives for the same arguments, a row a thing.

    Things that stand outside of the picture have a row, too.
    Columns: scene (its index), time, fog (0 none, 1 thin, 2 thick), thing, look and distance
        (numbers of `_sprites.KINDS` and `_sprites.SCALES`), x and y (the pixel where it stands),
        pixels (how many of it are seen) and seen (at least `VISIBLE` are).
    """
    columns = ["scene", "time", "fog", "thing", "look", "distance", "x", "y", "pixels", "seen"]
    parts = []
    for rows, _, facts in _pieces(count, seed, start, size):
        world = facts.world
        scene, slot = world.present.nonzero(as_tuple=True)
        time, fog = world.scene["time"][scene], world.scene["fog"][scene]
        each = (world.look, world.distance, world.x, world.y, facts.pixels, facts.seen)
        things = [values[scene, slot] for values in each]
        parts.append(torch.stack([scene + rows.start + start, time, fog, slot, *things], dim=1))
    table = pd.DataFrame(torch.cat(parts).numpy(), columns=columns).astype({"seen": bool})
    table["time"] = table["time"].map(dict(enumerate(TIMES)))
    table["thing"] = table["thing"].map(dict(enumerate(slot.kind for slot in SLOTS)))
    return table


def effort(
    count: int, seed: int, *, start: int = 0, tasks: Sequence[str] = THE_FOUR, size: int = 32,
    device: str = "cpu",
) -> Tensor:  # fmt: skip
    """Return how hard each question of these scenes is to answer: weights for `datasets.hide`.

    The effort doubles by night, doubles in fog, and for a thing that is there grows as less of it
    can be seen: 40 / (its visible pixels) times that of a scene without it, at least 0.5 times.
    tasks: kinds of things, such as the lecture's four.
    Returns: float32 (count, tasks). Raises: ValueError for other tasks, and as `draw`.
    """
    tasks = _checked(tasks)
    if others := [task for task in tasks if task not in KINDS]:
        raise ValueError(f"tasks must be kinds of things for their effort; got {others[0]!r}.")
    weights = []
    for _, _, facts in _pieces(count, seed, start, size, device):
        dark, foggy = 1 + facts.scene("time", 2).float(), 1 + facts.scene("fog", 1, 2).float()
        seen = facts.pixels * facts.seen
        largest = torch.stack([seen[:, slots_of(task)].amax(dim=1) for task in tasks], dim=1)
        largest = largest.float() / (size * size / (32 * 32))  # (n, tasks)
        small = torch.where(largest > 0, (40 / largest).clamp(min=0.5), 1.0)
        weights.append((dark * foggy)[:, None] * small)
    return torch.cat(weights)


def compose(
    seed: int, things: Mapping[str, int | None], *, time: str = "day", fog: int = 0, start: int = 0,
    tasks: Sequence[str] = THE_FOUR,
) -> tuple[Dataset, dict[str, int]]:  # fmt: skip
    """Draw a scene with the things that you choose, and count the pixels of each that can be seen.

    But for these choices it is scene number `start` of what `draw` gives for this seed.

    things: kinds of things, and for each the distance of the one thing of its kind, one of
        `distances`, or None for none of it. Other kinds stay as they are drawn.
    time: "day", "dusk" or "night". fog: 0 none, 1 thin, 2 thick.
    Returns: one image, as `draw` does; pixels by kind, of the kinds in `things`.
    Raises: ValueError if a kind, distance, time or fog does not exist, and what `draw` raises.
    """
    tasks = _checked(tasks)
    for kind, distance in things.items():
        if kind not in KINDS:
            raise ValueError(f"things: there is no {kind!r}; there are {', '.join(KINDS)}.")
        if distance is not None and distance not in distances(kind):
            choices = f"{distances(kind)[0]} to {distances(kind)[-1]}, or None"
            raise ValueError(f"things: a {kind} has the distances {choices}; got {distance!r}.")
    if time not in TIMES or fog not in (0, 1, 2):
        raise ValueError(f"time must be in {TIMES}, fog in (0, 1, 2); got {time!r} and {fog!r}.")
    index = torch.tensor([check_count("start", start, least=0)], device="cpu")
    scene = {"time": TIMES.index(time), "fog": fog}
    world = imagine(derive_seed(seed, "scenes"), index, 32, things, **scene)
    image, pixels = paint(world)
    counts = {kind: int(pixels[0, slots_of(kind)].sum()) for kind in things}
    return Dataset(image, _answers(Facts(world, pixels), tasks), tasks=tasks), counts


def distances(kind: str) -> range:
    """Return how far away `compose` may put a thing of this kind, the nearest first."""
    slot = SLOTS[slots_of(kind)[0]]
    return range(slot.nearest, slot.farthest + 1)


def _checked(tasks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tasks, str) or not (tasks := tuple(tasks)):
        raise ValueError(f"tasks must be a sequence of one or more names; got {tasks!r}.")
    for task in tasks:
        if task not in TASKS:
            similar = difflib.get_close_matches(str(task), TASKS, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(similar)}?" if similar else "see scenes.TASKS."
            raise ValueError(f"tasks: there is no task {task!r}; {hint}")
        if tasks.count(task) > 1:
            raise ValueError(f"tasks must differ; {task!r} appears twice.")
    return tasks


def _pieces(
    count: int, seed: int, start: int, size: int, device: str = "cpu", jobs: int | None = None
) -> Iterator[tuple[slice, Tensor, Facts]]:
    """Check the arguments, and return scenes in pieces: rows from 0 to `count`, images, facts."""
    check_count("count", count, least=1)
    check_count("start", start, least=0)
    check_count("size", size, least=16)
    key = derive_seed(seed, "scenes")
    jobs = joblib.cpu_count() if jobs is None else check_count("jobs", jobs, least=1)
    on_cpu = machine(device).device.type == "cpu"
    chunk = max(1, (_CHUNK if on_cpu else _CHUNK_GPU) * 32 * 32 // (size * size))
    firsts = range(0, count, chunk)

    def piece(first: int) -> tuple[slice, Tensor, Facts]:
        rows = slice(first, min(first + chunk, count))
        with torch.inference_mode():
            index = torch.arange(start + rows.start, start + rows.stop, device=device)
            images, pixels = paint(world := imagine(key, index, size))
        return rows, images, Facts(world, pixels)

    def pieces() -> Iterator[tuple[slice, Tensor, Facts]]:
        if not on_cpu or jobs == 1 or len(firsts) == 1:
            yield from map(piece, firsts)
            return
        # A thread a piece, not several that share one; and few pieces that wait to be taken.
        with threads(1), ThreadPoolExecutor(jobs) as pool:
            waiting = deque()
            for first in firsts:
                waiting.append(pool.submit(piece, first))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            for future in waiting:
                yield future.result()

    return pieces()


def _fill(
    images: Tensor, labels: Tensor, tasks: Sequence[str], pieces: Iterator, progress: bool
) -> None:
    """Put scenes and their answers into tensors of their shapes."""
    bar = tqdm(total=len(images), desc="drawing", unit="scene", disable=not progress, leave=False)
    with contextlib.closing(pieces), bar:
        for rows, part, facts in pieces:
            images[rows] = part
            labels[rows] = _answers(facts, tasks)
            bar.update(len(part))


def _answers(facts: Facts, tasks: Sequence[str]) -> Tensor:
    """Return the answers to the tasks, int8 (n, tasks) in {0, 1}."""
    return torch.stack([TASKS[task].rule(facts) for task in tasks], dim=1).to(torch.int8)
