"""The runner: every cell of a study's grid over paired seeds, in parallel, as rows that are kept.

What is run stands in `experiments`. One row is one trained network: its configuration, its seed,
its scores, and what it was trained with. Rows that ship with the course lie in ``assets/studies``;
rows that you train go to ``results``, beside it. `python -m mtl_course.studies --help` trains any
of them again.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib
import json
import logging
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from mtl_course import datasets, networks, scenes, training, transfer
from mtl_course.base import atomic, one_thread, whole
from mtl_course.datasets import Dataset
from mtl_course.networks import Network

HOME = Path(__file__).parent.parent
SHIPPED = HOME / "assets" / "studies"
RESULTS = HOME / "results"
GOLDEN = HOME / "assets" / "golden_run.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """A grid and the function that trains one cell of it.

    question: what the study asks, one sentence.
    grid: one mapping a cell, all with the same keys.
    source: ``source(seed=…)`` makes what the cells of one seed share: a network pretrained on A, or
        the images that all of them learn from.
    train: ``train(source, seed=…, **cell)`` trains one network and returns its scores.
    seeds: the seeds whose rows ship with the course.
    settings: every constant the rows depend on; when one changes, older rows are stale.
    golden: which golden run guards the rows, see `golden_run`.
    """

    question: str
    grid: Sequence[Mapping[str, object]]
    source: Callable[..., object]
    train: Callable[..., dict[str, object]]
    seeds: Sequence[int]
    settings: Mapping[str, object]
    golden: str = "digits"

    @property
    def keys(self) -> list[str]:
        """The columns that name a cell."""
        return list(self.grid[0])


def study(name: str) -> Study:
    """The study of that name in `experiments`.

    Raises: ValueError if there is none, with the names that there are.
    """
    known = importlib.import_module("mtl_course.experiments").STUDIES
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(sorted(known))}; got {name!r}.")
    return known[name]


# ---------------------------------------------------------------------- running


def run(
    name: str,
    seeds: Iterable[int] | None = None,
    *,
    only: Mapping[str, Sequence] | None = None,
    fresh: bool = False,
    store: Path | str = RESULTS,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The rows of a study: stored ones are read, missing ones are trained and stored.

    seeds: None takes those that ship with the course. only: ``{"labels": [100]}`` keeps the cells
    with these values. fresh: True trains every row, and stores none. store: the folder for new
    rows. jobs: processes of one thread each; None takes one a core.
    Returns: one row a trained network, sorted by cell and seed.
    Raises: ValueError for an unknown study, key or value, or a damaged file of shipped rows.
    """
    chosen = study(name)
    seeds = chosen.seeds if seeds is None else seeds
    seeds = list(dict.fromkeys(whole("seeds", seed, least=0) for seed in seeds))
    if not seeds:
        raise ValueError("seeds must hold at least one seed.")
    cells = _cells(chosen, only or {})
    wanted = [(seed, cell) for seed in seeds for cell in cells]
    stored = pd.DataFrame() if fresh else _stored(name, chosen, Path(store))
    have = set(_marks(stored, chosen)) if len(stored) else set()
    missing = [(seed, cell) for seed, cell in wanted if (seed, *cell.values()) not in have]
    rows = stored
    for new in _train(name, chosen, missing, jobs, progress):
        rows = pd.concat([rows, new], ignore_index=True)
        if not fresh:
            _append(Path(store) / f"{name}.csv", new, recipe(name))
    asked = {(seed, *cell.values()) for seed, cell in wanted}
    rows = rows[[mark in asked for mark in _marks(rows, chosen)]]
    order = {tuple(cell.values()): i for i, cell in enumerate(cells)}
    place = [order[mark[1:]] for mark in _marks(rows, chosen)]
    return rows.iloc[np.lexsort((rows["seed"], place))].reset_index(drop=True)


def _cells(chosen: Study, only: Mapping[str, Sequence]) -> list[Mapping[str, object]]:
    for key, values in only.items():
        if key not in chosen.keys:
            raise ValueError(f"only: there is no key {key!r}; there are {', '.join(chosen.keys)}.")
        known = {cell[key] for cell in chosen.grid}
        if strange := [value for value in values if value not in known]:
            raise ValueError(f"only: {key} has no {strange[0]!r}; it has {sorted(known)}.")
    cells = [c for c in chosen.grid if all(c[key] in values for key, values in only.items())]
    if not cells:
        raise ValueError("only leaves no cell of the grid.")
    return cells


def _marks(rows: pd.DataFrame, chosen: Study) -> list[tuple]:
    """What makes a row the one it is: its seed and its cell."""
    return list(rows[["seed", *chosen.keys]].astype(object).itertuples(index=False, name=None))


def _train(
    name: str, chosen: Study, missing: list, jobs: int | None, progress: bool
) -> Iterable[pd.DataFrame]:
    """Trains what is missing; yields the rows of one group of cells as soon as it is done."""
    groups: dict[int, list] = {}
    for seed, cell in missing:
        groups.setdefault(seed, []).append(cell)
    if not groups:
        return
    jobs = min(joblib.cpu_count() if jobs is None else whole("jobs", jobs, least=1), len(groups))
    work = [joblib.delayed(_group)(name, seed, cells) for seed, cells in groups.items()]
    with (
        tqdm(
            total=len(missing), desc=name, unit="network", disable=not progress, leave=False
        ) as bar,
        joblib.parallel_config(backend="loky" if jobs > 1 else "sequential"),
        warnings.catch_warnings(),
    ):
        # loky replaces a worker whose memory has grown, and warns; where warnings are errors, that
        # would end the thread that hands out the work, and the study would wait for ever.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")
        for rows in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(work):
            bar.update(len(rows))
            yield pd.DataFrame(rows)


def _group(name: str, seed: int, cells: Sequence[Mapping[str, object]]) -> list[dict]:
    """One row for each cell of one seed, one after another on one thread. Runs in a worker."""
    chosen, place = study(name), training.machine()
    with one_thread():
        about = {
            "device": place.device.type,
            "precision": place.precision,
            "processor": platform.machine(),
            "torch": torch.__version__,
            "recipe": recipe(name),
        }
        source, source_seconds = _timed(chosen.source, seed=seed)
        rows = []
        for cell in cells:
            scores, seconds = _timed(chosen.train, source, seed=seed, **cell)
            times = {"seconds": seconds, "source_seconds": source_seconds}
            rows.append({"study": name, **cell, "seed": seed, **scores, **times, **about})
    return rows


def _timed(function: Callable, *arguments, **keywords) -> tuple:
    start = time.perf_counter()
    value = function(*arguments, **keywords)
    return value, round(time.perf_counter() - start, 3)


# ---------------------------------------------------------------------- keeping rows


def _stored(name: str, chosen: Study, store: Path) -> pd.DataFrame:
    """The rows that ship with the course, then the reader's own, each cell and seed once."""
    parts = []
    for folder in dict.fromkeys([SHIPPED, store]):
        path = folder / f"{name}.csv"
        if path.exists():
            parts.append(_read(path, name, keep=folder != SHIPPED))
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return rows[~pd.Index(_marks(rows, chosen)).duplicated()] if len(rows) else rows


def _read(path: Path, name: str, keep: bool) -> pd.DataFrame:
    """The rows of one file that were trained by today's recipe.

    keep: the file is the reader's own: what cannot be used is moved aside, never overwritten.
    """
    needed = ["seed", "recipe", *study(name).keys]
    try:
        rows = pd.read_csv(path, dtype={"recipe": str})
        if lost := set(needed) - set(rows.columns):
            raise ValueError(f"the columns {', '.join(sorted(lost))} are missing")
        if rows[needed].isna().any(axis=None):
            raise ValueError("a row is cut short")
    except (ValueError, pd.errors.ParserError) as error:
        if not keep:
            raise ValueError(f"{path} is damaged ({error}): restore it from git.") from error
        _log.warning("%s is damaged (%s): kept as %s.", path, error, _aside(path, "damaged"))
        return pd.DataFrame(columns=needed)
    old = rows["recipe"] != recipe(name)
    if old.any():
        names = ", ".join(sorted(rows.loc[old, "recipe"].unique()))
        if keep:
            aside = _aside(path, "older")
            _log.warning("%s has rows of an older recipe (%s): kept as %s.", path, names, aside)
            if not old.all():
                _append(path, rows[~old], recipe(name))
        else:
            _log.warning(
                "%s has %d rows of an older recipe (%s), not used.", path, old.sum(), names
            )
    return rows[~old]


def _aside(path: Path, why: str) -> Path:
    """Moves a file to a free name beside it. Returns: the new path."""
    number = 1
    while (target := path.with_name(f"{path.stem}.{why}-{number}.csv")).exists():
        number += 1
    return path.rename(target)


def _append(path: Path, rows: pd.DataFrame, current: str) -> None:
    """Adds rows to a file. Stale ones, which only a shipped file still holds, go: git has them."""
    if path.exists():
        old = pd.read_csv(path, dtype={"recipe": str})
        rows = pd.concat([old[old["recipe"] == current], rows], ignore_index=True)
    with atomic(path) as file:
        rows.to_csv(file, index=False, lineterminator="\n")


# ---------------------------------------------------------------------- the recipe

_TOLERANCE = 5e-3  # relative; processors and libraries differ by less, changed training by more


def golden_run(world: str) -> list[float]:
    """A tiny run through everything that makes a row: drawing, training, answers.

    world: "digits" pretrains on printed digits and adapts in each way; "scenes" trains a shared
        network, a separate one and a softmax on driving scenes, with labels hidden.
    Returns: losses and mean squared logits, in float32 on one thread of the CPU.
    """
    with one_thread():
        return {"digits": _golden_digits, "scenes": _golden_scenes}[world]()


_GOLDEN_SETTINGS = {"seed": 0, "device": "cpu", "precision": "float32", "progress": False}


def _golden_digits() -> list[float]:
    printed, written = datasets.printed_digits(256, seed=0), datasets.handwritten_digits()
    source = transfer.pretrain(printed, steps=6, width=4, batch_size=32, **_GOLDEN_SETTINGS)
    sample, seen = written.train.sample(40, seed=0), written.test.subset(slice(100))
    numbers = source.history["loss"].tolist()
    for how in transfer.WAYS:
        target = transfer.adapt(
            source, sample, how, steps=6, learning_rate=3e-3, **_GOLDEN_SETTINGS
        )
        numbers += [*target.history["loss"], _square(target, seen)]
    return numbers


def _golden_scenes() -> list[float]:
    roads = scenes.draw(128, seed=0, jobs=1)
    hidden = datasets.hide(roads, 0.5, seed=0, weight=scenes.effort(128, seed=0))
    one = datasets.one_label(roads, seed=0)
    numbers = []
    for network, data in (
        (networks.shared(roads.tasks, width=4, seed=0), hidden),
        (networks.separate(roads.tasks, width=2, seed=0), hidden),
        (networks.classifier(one, width=4, seed=0), one),
    ):
        training.fit(network, data, steps=4, batch_size=32, **_GOLDEN_SETTINGS)
        numbers += [*network.history["loss"], _square(network, data)]
    return numbers


def _square(network: Network, data: Dataset) -> float:
    return training.predict(network, data, "cpu", "float32").square().mean().item()


def recipe(name: str) -> str:
    """The version of how rows of a study are made: 8 hexadecimal digits.

    They are a digest of the study's golden run and of its settings. When training, drawing or a
    setting changes, so do they, and older rows are stale.
    """
    chosen = study(name)
    settings = json.dumps(chosen.settings, sort_keys=True)
    return hashlib.sha256((_golden_digest(chosen.golden) + settings).encode()).hexdigest()[:8]


@functools.lru_cache(maxsize=2)
def _golden_digest(world: str) -> str:
    """The digest in ``assets/golden_run.json`` while a new golden run agrees with the one there."""
    numbers = golden_run(world)
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))[world]
    same = len(numbers) == len(known["numbers"])
    if same and np.allclose(numbers, known["numbers"], rtol=_TOLERANCE, atol=0):
        return known["digest"]
    return _digest(numbers)


def _digest(numbers: Sequence[float]) -> str:
    return hashlib.sha256(json.dumps([f"{x:.3e}" for x in numbers]).encode()).hexdigest()[:8]


def write_golden_run() -> dict[str, str]:
    """Makes today's golden runs those in ``assets``, where they differ. Returns: the digests.

    A run that agrees with the one that is there stays as it is, and so do the rows it guards.
    """
    _golden_digest.cache_clear()
    content = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    digests = {}
    for world in ("digits", "scenes"):
        numbers = golden_run(world)
        digests[world] = _golden_digest(world) if world in content else _digest(numbers)
        if content.get(world, {}).get("digest") != digests[world]:
            rounded = [float(f"{x:.6g}") for x in numbers]
            content[world] = {"digest": digests[world], "numbers": rounded}
    with atomic(GOLDEN) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _golden_digest.cache_clear()
    return digests


# ---------------------------------------------------------------------- what rows say


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean and Student's interval for it. Returns: mean, low, high.

    Raises: ValueError for fewer than two values: one run has no interval.
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        raise ValueError(f"values must hold at least two seeds for an interval; got {len(values)}.")
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    reach = t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return mean, mean - reach, mean + reach


def predicted(rows: pd.DataFrame, keys: Sequence[str], score: str = "accuracy") -> pd.DataFrame:
    """Where one further seed should land: Student's 95 % prediction interval, one row a group.

    Returns: the `keys`, then seeds (their number), mean, low, high.
    Raises: ValueError for a group of fewer than two rows.
    """
    table = []
    for group, values in rows.groupby(list(keys), sort=False)[score]:
        mean, low, _ = interval(values)
        reach = (mean - low) * np.sqrt(len(values) + 1)  # s √(1 + 1/n) in place of s / √n
        table.append([*group, len(values), mean, mean - reach, mean + reach])
    return pd.DataFrame(table, columns=[*keys, "seeds", "mean", "low", "high"])


def gain(
    rows: pd.DataFrame, way: str, over: str, *, score: str = "accuracy", margin: float = 0.01
) -> pd.DataFrame:
    """What `way` gains over another way, paired by seed, with its interval and its verdict.

    Each seed gives one difference, of two networks that learned from the same draws. The verdict
    is read off the 95 % interval of the mean difference (Student's t): "supported" when all of it
    is above 0, "opposite" when all of it is below, "no difference" when it holds 0 and lies
    within ± `margin`, else "cannot tell".

    Returns: one row a cell (every column of the study but `way`), with seeds (their number), mean,
        low, high, verdict, and detectable: the smallest true gain that so many seeds would find
        with probability 0.8.
    Raises: ValueError when a way is not in the rows, when no seed has both, or fewer than two do.
    """
    keys = [key for key in study(rows["study"].iloc[0]).keys if key != "way"]
    sides = []
    for name in (way, over):
        if name not in set(rows["way"]):
            known = ", ".join(map(repr, rows["way"].unique()))
            raise ValueError(f"way must be one of {known}; got {name!r}.")
        sides.append(rows[rows["way"] == name].set_index([*keys, "seed"])[score])
    difference = (sides[0] - sides[1]).dropna().rename(score)
    if difference.empty:
        raise ValueError(f"no cell and seed has both {way!r} and {over!r}.")
    table = []
    for cell, values in difference.reset_index().groupby(keys)[score]:
        mean, low, high = interval(values)
        verdict = _verdict(low, high, margin)
        table.append([*cell, len(values), mean, low, high, verdict, _detectable(values)])
    columns = [*keys, "seeds", "mean", "low", "high", "verdict", "detectable"]
    return pd.DataFrame(table, columns=columns)


def _verdict(low: float, high: float, margin: float) -> str:
    if low > 0:
        return "supported"
    if high < 0:
        return "opposite"
    return "no difference" if -margin < low and high < margin else "cannot tell"


def _detectable(differences: pd.Series, power: float = 0.8) -> float:
    """The true mean that a two-sided 5 % t-test on so many pairs finds with this probability."""
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    n, spread = len(differences), differences.std(ddof=1)
    bound = t.ppf(0.975, n - 1)
    effect = brentq(lambda x: nct.sf(bound, n - 1, x) - power, 0, 100)  # in standard errors
    return effect * spread / np.sqrt(n)


# ---------------------------------------------------------------------- the command


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the rows of a study: those that are missing, or with --fresh all of them again."""
    parser = argparse.ArgumentParser(prog="python -m mtl_course.studies", description=main.__doc__)
    parser.add_argument("name", nargs="?", help="a study; without it, the studies are listed")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those that ship")
    parser.add_argument("--only", action="append", default=[], metavar="KEY=VALUE",
                        help="only these cells, such as labels=100; may be repeated")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="train every row again, store none")
    parser.add_argument("--ship", action="store_true", help="store in assets, for the course")
    parser.add_argument("--jobs", type=int, help="processes; default: one a core")
    parser.add_argument("--golden", action="store_true", help="renew assets/golden_run.json")
    asked = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    if asked.golden:
        parser.exit(message=f"{GOLDEN}: {write_golden_run()}\n")
    if asked.name is None:
        known = importlib.import_module("mtl_course.experiments").STUDIES
        parser.exit(message="".join(f"{name}: {s.question}\n" for name, s in known.items()))
    try:
        chosen = study(asked.name)
        rows = run(asked.name, asked.seeds, only=_only(chosen, asked.only), fresh=asked.fresh,
                   store=SHIPPED if asked.ship else RESULTS, jobs=asked.jobs)  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    table = rows.groupby(chosen.keys, sort=False)["accuracy"].agg(["count", "mean", "min", "max"])
    sys.stdout.write(table.round(3).to_string() + "\n")
    parser.exit()


def _only(chosen: Study, pairs: Sequence[str]) -> dict[str, list]:
    """``labels=100`` as ``{"labels": [100]}``, in the type that the grid has."""
    only: dict[str, list] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        same = [cell[key] for cell in chosen.grid if str(cell.get(key)) == text]
        only.setdefault(key, []).append(same[0] if same else text)
    return only


if __name__ == "__main__":
    importlib.import_module("mtl_course.studies").main()
