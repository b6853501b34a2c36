"""Hidden checks of the multi-task assignment. Keep this file from your students."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import t

from mtl_course.grading.checks import Student, Wrong, same

UNKNOWN = -1
THINGS = ("pedestrian", "car", "stop sign", "traffic light", "cyclist", "mailbox", "fog", "night")


# ---------------------------------------------------------------------- 1. build_labels


def every_thing_noted(student: Student, draw: np.random.Generator) -> None:
    """Notes that speak of every task: yes, no and ?."""
    for m in (1, 2, 4, 9, 17, 30):
        tasks = _some_things(draw, least=1)
        _build(student, [_note(draw, tasks) for _ in range(m)], tasks)


def some_things_missing(student: Student, draw: np.random.Generator) -> None:
    """What is missing from a note is unknown; a note may say nothing, and all notes on a task."""
    for m in (1, 3, 5, 12, 20, 33):
        tasks = _some_things(draw, least=2)
        for things in (tasks, tasks[1:], tasks[:-1]):
            notes = [{}, *(_note(draw, things, keep=0.5) for _ in range(m))]
            _build(student, [notes[i] for i in draw.permutation(m + 1)], tasks)


def things_nobody_asked_about(student: Student, draw: np.random.Generator) -> None:
    """Notes that speak of things that are no task."""
    for m in (1, 3, 5, 12, 20, 33):
        tasks = _some_things(draw, least=2)
        _build(student, [_note(draw, THINGS, keep=0.7) for _ in range(m)], tasks)


def _some_things(draw: np.random.Generator, least: int) -> list[str]:
    return [str(thing) for thing in draw.permutation(THINGS)[: draw.integers(least, 7)]]


def _note(draw: np.random.Generator, things: Sequence[str], keep: float = 1.0) -> dict[str, str]:
    """A note in an order of its own: neither that of the tasks nor that of other notes."""
    said = [str(thing) for thing in draw.permutation(things) if draw.random() < keep]
    return {thing: str(draw.choice(["yes", "no", "?"])) for thing in said}


def _build(student: Student, notes: list[dict], tasks: list[str]) -> None:
    number = {"yes": 1, "no": 0, "?": UNKNOWN}
    wanted = [[number[note.get(task, "?")] for task in tasks] for note in notes]
    where = f"{len(notes)} notes, {len(tasks)} tasks"
    same(student.call("build_labels", notes, tasks), np.array(wanted), where)


# ---------------------------------------------------------------------- 2. lecture_columns


def some_columns(student: Student, draw: np.random.Generator) -> None:
    """Some columns from the middle of Y."""
    for _ in range(10):
        m = int(draw.integers(6, 40))
        first = int(draw.integers(2, m - 3))
        _cut(student, draw, m, first, int(draw.integers(first + 1, m)))


def one_column(student: Student, draw: np.random.Generator) -> None:
    """A single column, the first and the last among them."""
    for m in (1, 2, 5, 9, 30):
        for i in {1, m, int(draw.integers(1, m + 1))}:
            _cut(student, draw, m, i, i)


def all_columns(student: Student, draw: np.random.Generator) -> None:
    """All of Y, also where there are as many images as tasks."""
    for m in (1, 2, 3, 4, 5, 6, 7, 20):
        _cut(student, draw, m, 1, m, tasks=min(m, 7))


def _cut(
    student: Student, draw: np.random.Generator, m: int, first: int, last: int, tasks: int = 0
) -> None:
    labels = _labels(draw, m, tasks or int(draw.integers(2, 8)), unknown=0.3)
    where = f"y⁽{first}⁾ to y⁽{last}⁾ of {m} images with {labels.shape[1]} tasks"
    got = student.call("lecture_columns", labels, first, last)
    same(got, labels.numpy().T[:, first - 1 : last], where)


# ---------------------------------------------------------------------- 3. predict


def at_one_half(student: Student, draw: np.random.Generator) -> None:
    """Yes where ŷ is above one half, for each task by itself."""
    for m in (1, 2, 4, 7, 15, 30, 50, 80):
        _predict(student, draw, m, 0.5, scale=2)


def at_other_thresholds(student: Student, draw: np.random.Generator) -> None:
    """Other thresholds than one half."""
    for threshold in (0.02, 0.1, 1 / 6, 0.3, 0.62, 0.8, 0.9, 0.98):
        _predict(student, draw, int(draw.integers(5, 50)), threshold, scale=3)


def far_from_zero(student: Student, draw: np.random.Generator) -> None:
    """Logits as far from 0 as a thousand."""
    for threshold in (0.05, 0.3, 0.5, 0.5, 0.7, 0.95):
        _predict(student, draw, int(draw.integers(5, 50)), threshold, scale=400)


def _predict(
    student: Student, draw: np.random.Generator, m: int, threshold: float, scale: float
) -> None:
    tasks = int(draw.integers(1, 8))
    z = draw.normal(0, scale, (m, tasks)).clip(-1000, 1000)
    at = np.log(threshold / (1 - threshold))  # ŷ is above the threshold where z is above this
    z = np.where(abs(z - at) < 0.01, at + 0.05, z)  # rounding decides nothing
    got = student.call("predict", torch.tensor(z, dtype=torch.float32), threshold)
    where = f"{m} images, {tasks} tasks, threshold {threshold:.2f}"
    same(_as_numbers(got), (z > at).astype(int), where)


# ---------------------------------------------------------------------- 4. masked_loss


def _loss(student: Student, z: torch.Tensor, y: torch.Tensor) -> None:
    wanted, _ = _lecture(z, y)
    same(student.call("masked_loss", z, y), wanted, _words(y), tolerance=2e-5)


def loss_all_known(student: Student, draw: np.random.Generator) -> None:
    """With every label known it is the lecture's loss."""
    for m in (1, 2, 3, 5, 8, 16, 40):
        _loss(student, *_batch(draw, m, unknown=0))


def loss_some_unknown(student: Student, draw: np.random.Generator) -> None:
    """Where a label is unknown it has no term."""
    for m in (2, 3, 5, 8, 16, 40):
        _loss(student, *_batch(draw, m, unknown=0.4))


def loss_nothing_known(student: Student, draw: np.random.Generator) -> None:
    """Images, tasks or whole batches of which nothing is known."""
    for batch in _with_holes(draw):
        _loss(student, *batch)


def loss_far_from_zero(student: Student, draw: np.random.Generator) -> None:
    """Logits as far from 0 as a hundred, where log(1 − ŷ) would be log 0."""
    for m in (1, 3, 6, 12, 25, 40):
        _loss(student, *_batch(draw, m, unknown=0.3, far=True))


# ---------------------------------------------------------------------- 5. masked_gradient


def _gradient(student: Student, z: torch.Tensor, y: torch.Tensor) -> None:
    _, wanted = _lecture(z, y)
    got, where = student.call("masked_gradient", z, y), _words(y)
    same(got, wanted, where, tolerance=1e-6)
    pushed = np.asarray(_rows(got))[y.numpy() == UNKNOWN]
    if (pushed != 0).any():
        raise Wrong(f"{where}: at {(pushed != 0).sum()} unknown labels it is not exactly 0.")


def gradient_all_known(student: Student, draw: np.random.Generator) -> None:
    """With every label known it is the derivative of the lecture's loss."""
    for m in (1, 2, 3, 5, 8, 16, 40):
        _gradient(student, *_batch(draw, m, unknown=0))


def gradient_some_unknown(student: Student, draw: np.random.Generator) -> None:
    """Where a label is unknown it is exactly 0."""
    for m in (2, 3, 5, 8, 16, 40):
        _gradient(student, *_batch(draw, m, unknown=0.4))


def gradient_nothing_known(student: Student, draw: np.random.Generator) -> None:
    """Images, tasks or whole batches of which nothing is known."""
    for batch in _with_holes(draw):
        _gradient(student, *batch)


def gradient_far_from_zero(student: Student, draw: np.random.Generator) -> None:
    """Logits as far from 0 as a hundred."""
    for m in (1, 3, 6, 12, 25, 40):
        _gradient(student, *_batch(draw, m, unknown=0.3, far=True))


def _labels(draw: np.random.Generator, m: int, tasks: int, unknown: float) -> torch.Tensor:
    y = draw.integers(0, 2, (m, tasks))
    y[draw.random((m, tasks)) < unknown] = UNKNOWN
    return torch.tensor(y, dtype=torch.int8)


def _batch(
    draw: np.random.Generator, m: int, unknown: float, far: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels. far: some logits are ±30 to ±100, right and wrong ones."""
    tasks = int(draw.integers(2, 8))
    z = draw.normal(0, 2, (m, tasks))
    if far:
        away = draw.random((m, tasks)) < 0.5
        away[0, 0] = True
        z = np.where(away, draw.uniform(30, 100, z.shape) * draw.choice([-1, 1], z.shape), z)
    y = _labels(draw, m, tasks, unknown)
    if far:  # at least one that is sure and wrong
        y[0, 0] = int(z[0, 0] < 0)
    elif unknown:  # at least one gap, and one label
        y[0, 0], y[-1, -1] = UNKNOWN, 1
    return torch.tensor(z, dtype=torch.float32), y


def _with_holes(draw: np.random.Generator) -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches = [_batch(draw, m, unknown=0.3) for m in (2, 4, 7, 12, 25, 3, 6)]
    for _, y in batches[:3]:
        y[int(draw.integers(len(y)))] = UNKNOWN  # an image
    for _, y in batches[3:5]:
        y[:, int(draw.integers(y.shape[1]))] = UNKNOWN  # a task
    for _, y in batches[5:]:
        y[:] = UNKNOWN  # everything
    return batches


def _lecture(z: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The lecture's loss and its gradient, in float64."""
    z, y = z.double().numpy(), y.double().numpy()
    known = y != UNKNOWN
    terms = np.logaddexp(0, z) - y * z
    chance = np.exp(-np.logaddexp(0, -z))
    return np.where(known, terms, 0).sum() / len(z), np.where(known, chance - y, 0) / len(z)


def _words(y: torch.Tensor) -> str:
    return f"{y.shape[0]} images, {y.shape[1]} tasks, {int((y == UNKNOWN).sum())} labels unknown"


# ---------------------------------------------------------------------- 6. accuracy


def accuracy_all_known(student: Student, draw: np.random.Generator) -> None:
    """With every label known: the share of right answers, a number a task."""
    for m in (1, 2, 5, 8, 20, 60):
        _accuracy(student, *_batch(draw, m, unknown=0))


def accuracy_some_unknown(student: Student, draw: np.random.Generator) -> None:
    """An unknown label is neither right nor wrong."""
    for m in (3, 5, 8, 15, 30, 60):
        _accuracy(student, *_batch(draw, m, unknown=0.4))


def accuracy_nobody_answered(student: Student, draw: np.random.Generator) -> None:
    """A task without a known label has no accuracy."""
    for m in (1, 4, 9, 20, 40, 60):
        z, y = _batch(draw, m, unknown=0.3)
        y[:, int(draw.integers(y.shape[1]))] = UNKNOWN
        _accuracy(student, z, y)


def _accuracy(student: Student, z: torch.Tensor, y: torch.Tensor) -> None:
    wanted = []
    for answers, truth in zip((z > 0).numpy().T, y.numpy().T, strict=True):
        known = truth != UNKNOWN
        wanted.append((answers[known] == truth[known]).mean() if known.any() else np.nan)
    same(student.call("accuracy", z, y), np.array(wanted), _words(y), tolerance=1e-6)


# ---------------------------------------------------------------------- 7. equal_width


def a_few_tasks(student: Student, draw: np.random.Generator) -> None:
    """From two to eight tasks, and one alone."""
    _equal(student, int(draw.integers(1, 20)), 1)
    _equal_widths(student, draw, np.arange(2, 9), widest=30)


def many_tasks(student: Student, draw: np.random.Generator) -> None:
    """From nine to sixty tasks."""
    _equal_widths(student, draw, np.arange(9, 61), widest=12)


def _equal_widths(
    student: Student, draw: np.random.Generator, tasks: np.ndarray, widest: int
) -> None:
    """Of many cases those that fit most narrowly, that miss most narrowly, and where √tasks is off.

    Who counts a few weights more or fewer gets another width in the first or the second.
    """
    drawn = {(int(draw.integers(1, widest + 1)), int(draw.choice(tasks))) for _ in range(150)}
    cases = sorted(drawn, key=lambda case: _left(*case))
    off = [case for case in cases if _widest(*case) != int(case[0] * case[1] ** 0.5)]
    for case in (*cases[:4], *cases[-4:], *off[len(off) // 2 :][:4]):
        _equal(student, *case)


def _weights(width: int, answers: int) -> int:
    return 54 * width**2 + 37 * width + (8 * width + 1) * answers


def _widest(width: int, tasks: int) -> int:
    room = tasks * _weights(width, 1)
    return max(w for w in range(width, width * tasks + 1) if _weights(w, tasks) <= room)


def _left(width: int, tasks: int) -> float:
    """The room that is left, as a share of what one more channel takes."""
    widest, room = _widest(width, tasks), tasks * _weights(width, 1)
    used, more = _weights(widest, tasks), _weights(widest + 1, tasks)
    return (room - used) / (more - used)


def _equal(student: Student, width: int, tasks: int) -> None:
    got, where = student.call("equal_width", width, tasks), f"width {width}, {tasks} tasks"
    same(got, _widest(width, tasks), where, tolerance=0)


# ---------------------------------------------------------------------- 8. crossover

WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
# By its interval: better or equal, so by a hair, worse, and worse by a hair though the mean is not.
OK, CLOSE, WORSE, UNCLEAR = "ok", "close", "worse", "unclear"


def it_catches_up(student: Student, draw: np.random.Generator) -> None:
    """Sharing is worse where networks are narrow, and catches up, or never does."""
    for _ in range(8):
        kinds = [WORSE] * int(draw.integers(0, 6))
        kinds += [OK] * int(draw.integers(len(kinds) == 0, 6 - len(kinds)))
        _crossover(student, draw, kinds)


def an_interval_decides(student: Student, draw: np.random.Generator) -> None:
    """Means that are not worse, with intervals that reach further down, also by a hair."""
    for _ in range(8):
        unclear = int(draw.integers(1, 6))
        worse = int(draw.integers(0, 6 - unclear))
        kinds = [WORSE] * worse + [UNCLEAR] * unclear + [CLOSE] + [OK] * (5 - worse - unclear)
        _crossover(student, draw, kinds)


def it_must_last(student: Student, draw: np.random.Generator) -> None:
    """Sharing that is not worse at one width, and worse again at a larger one."""
    for _ in range(8):
        last = int(draw.integers(1, 6))  # the largest width at which it is worse
        before = [str(draw.choice([OK, OK, WORSE, UNCLEAR])) for _ in range(last)]
        before[int(draw.integers(last))] = OK
        kinds = [*before, str(draw.choice([WORSE, UNCLEAR]))] + [OK] * (5 - last)
        _crossover(student, draw, kinds)


def only_pairs_count(student: Student, draw: np.random.Generator) -> None:
    """A seed that has only one of the two does not count at that width."""
    for _ in range(8):
        kinds = [
            str(draw.choice([OK, OK, WORSE, UNCLEAR])) for _ in range(int(draw.integers(2, 7)))
        ]
        _crossover(student, draw, kinds, strays=True)


def _crossover(
    student: Student, draw: np.random.Generator, kinds: Sequence[str], strays: bool = False
) -> None:
    margin = float(draw.choice([0.005, 0.01, 0.02]))
    widths = sorted(map(int, draw.choice(WIDTHS, len(kinds), replace=False)))
    rows = []
    for width, kind in zip(widths, kinds, strict=True):
        rows += _sweep_rows(draw, width, kind, margin, strays)
    table = pd.DataFrame(rows).iloc[draw.permutation(len(rows))].reset_index(drop=True)
    wanted = None
    for width, kind in reversed(list(zip(widths, kinds, strict=True))):
        if kind not in (OK, CLOSE):
            break
        wanted = width
    got = student.call("crossover", table, margin)
    if isinstance(got, (np.ndarray, float)) and np.ndim(got) == 0 and float(got).is_integer():
        got = int(got)
    if type(got) not in (int, type(None)):
        raise Wrong(f"widths {widths}: the answer must be a whole number or None.")
    if got != wanted:
        raise Wrong(f"widths {widths}, margin {margin}: not the right width.")


def _sweep_rows(
    draw: np.random.Generator, width: int, kind: str, margin: float, strays: bool
) -> list[dict]:
    """Pairs whose interval of shared − four is of this kind.

    By a hair is by half a percent of half the interval's width: less than any wrong interval is
    off. Seeds differ far more than the two ways do. strays: seeds with only one way, which would
    turn the answer if they counted.
    """
    count = int(draw.integers(4, 11))
    widths = {OK: (0.2, 3), CLOSE: (0.2, 3), WORSE: (0.3, 1.4), UNCLEAR: (2.6, 5)}
    half = margin * draw.uniform(*widths[kind])
    ends = {OK: (-0.8, 0.6), CLOSE: (-1, -1), WORSE: (-9, -4), UNCLEAR: (-1, -1)}
    low = margin * draw.uniform(*ends[kind]) + {CLOSE: 0.005, UNCLEAR: -0.005}.get(kind, 0) * half
    noise = draw.normal(size=count)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    leads = low + half + noise * half * np.sqrt(count) / t.ppf(0.975, count - 1)
    seeds = draw.permutation(40)
    rows = []
    for seed, lead in zip(map(int, seeds), leads, strict=False):
        four = 0.8 + draw.normal(0, 0.05)
        for way, auc in (("one shared network", four + lead), ("four networks", four)):
            rows.append({"way": way, "width": width, "seed": seed, "auc": auc})
    for seed in map(int, seeds[count : count + 6 * strays]):
        way = "four networks" if kind in (OK, CLOSE) else "one shared network"
        rows.append({"way": way, "width": width, "seed": seed, "auc": 0.97})
    return rows


# ----------------------------------------------------------------------


def _as_numbers(got: object) -> object:
    """Booleans as 0 and 1; anything else as it came."""
    try:
        array = np.asarray(_rows(got))
    except ValueError:
        return got
    return array.astype(int) if array.dtype.kind == "b" else got


def _rows(got: object) -> object:
    """A table, which comes by columns, by rows; anything else as it came."""
    return list(zip(*got.values(), strict=True)) if isinstance(got, dict) else got


EXERCISES = {
    "build_labels": [every_thing_noted, some_things_missing, things_nobody_asked_about],
    "lecture_columns": [some_columns, one_column, all_columns],
    "predict": [at_one_half, at_other_thresholds, far_from_zero],
    "masked_loss": [loss_all_known, loss_some_unknown, loss_nothing_known, loss_far_from_zero],
    "masked_gradient": [
        gradient_all_known,
        gradient_some_unknown,
        gradient_nothing_known,
        gradient_far_from_zero,
    ],
    "accuracy": [accuracy_all_known, accuracy_some_unknown, accuracy_nobody_answered],
    "equal_width": [a_few_tasks, many_tasks],
    "crossover": [it_catches_up, an_interval_decides, it_must_last, only_pairs_count],
}
