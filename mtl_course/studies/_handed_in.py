"""What students hand in, read as data: up to a size, checked value by value, and never executed."""

import csv
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mtl_course.studies._runner import recipe
from mtl_course.studies.common import cells

STUDY, WAY, OVER = "clothes", "new head", "all layers"
CELLS = cells(way=[WAY, OVER], labels=[10, 300])  # what a student trains
SEEDS = range(10_001, 20_000)  # of students, by number; no other rows of the course have them
TEST = 2_000  # photographs, of which an accuracy is a share
_BYTES, _FILES = 4_000_000, 2_000  # of a file; in the folder
_SUFFIXES = (".csv", ".json", ".txt", ".md", ".ipynb")
_MARK = "mtl-class:"
_LINE = re.compile(rf"\s+(\d+\s+\w+(?:\s+[\d.]+){{{len(CELLS)}}})\s+#([0-9a-f]{{8}})\b", re.ASCII)
_COLUMNS = {"study", "way", "labels", "seed", "accuracy", "steps", "moved", "seconds"}
_COLUMNS |= {"source_seconds", "device", "precision", "processor", "torch", "recipe"}


def line(rows: pd.DataFrame) -> str:
    """Return one student's rows as a line to paste, with a check sum against slips."""
    scores = rows.set_index(["way", "labels"])["accuracy"]
    scores = " ".join(f"{scores[tuple(cell.values())]:.4f}" for cell in CELLS)
    text = f"{rows['seed'].iloc[0]} {rows['recipe'].iloc[0]} {scores}"
    return f"{_MARK} {text} #{zlib.crc32(text.encode()):08x}"


def gather(folder: Path | str) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows of a class that can be used, and a sentence on each result that cannot.

    folder: with rows (.csv, .json) and pasted lines (.txt, .md, .ipynb), also in folders below.
    Raises: OSError if there is no folder; ValueError if it holds more files than a class has.
    """
    left_out, found, usable = [], [], {}
    for path in _files(folder := Path(folder)):
        name = ascii(path.relative_to(folder).as_posix())[1:-1]
        try:
            students = _read(path)
        except ValueError as error:
            left_out.append(f"{name} {error}")
            continue
        for rows in students:
            try:
                found.append((*_checked(rows), name))
            except (ValueError, RecursionError) as error:
                left_out.append(f"{name}: {error}")
    found, results, seeds = [*dict.fromkeys(found)], {}, {}
    for seed, scores, _ in found:
        results.setdefault(seed, set()).add(scores)
        seeds.setdefault(scores, set()).add(seed)
    for seed, scores, name in found:
        if len(results[seed]) > 1:
            why = "came with other results, too: two students with one number? None is used."
        elif others := seeds[scores] - {seed}:
            why = f"has the results of seed {min(others)} in every cell: a copy? Neither is used."
        elif seed in usable:
            why = "was handed in twice, with the same results. It counts once."
        else:
            usable[seed] = scores
            continue
        left_out.append(f"{name}: seed {seed} {why}")
    rows = [
        {**cell, "seed": seed, "accuracy": score}
        for seed, scores in sorted(usable.items())
        for cell, score in zip(CELLS, scores, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["way", "labels", "seed", "accuracy"])
    table.attrs["keys"] = ["way", "labels"]
    return table, [*dict.fromkeys(left_out)]


def _files(folder: Path) -> list[Path]:
    """Return the files in and below a folder, without hidden ones and links to folders."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: name the one with the class's files.")
    paths: list[Path] = []
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        paths += (Path(place, name) for name in names if not name.startswith("."))
        if len(paths) > _FILES:
            raise ValueError(f"folder: {folder} holds more than {_FILES:,} files.")
    return sorted(paths)


def _read(path: Path) -> list[list[Mapping]]:
    """Return the rows of each student in a file. Raises: ValueError that ends its name."""
    if (suffix := path.suffix.lower()) not in _SUFFIXES:
        raise ValueError(f"is not read: only {', '.join(_SUFFIXES)} are.")
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    try:
        with open(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is no file.")
            raw = file.read(_BYTES + 1)
    except OSError as error:
        raise ValueError(f"is a link, or cannot be read ({error.strerror}).") from None
    if len(raw) > _BYTES:
        raise ValueError(f"is larger than {_BYTES // 1_000_000} MB.")
    try:
        text = raw.decode("utf-8-sig")
        if suffix not in (".csv", ".json"):
            return [[*_pasted(rest)] for rest in text.split(_MARK)[1:]] or [[]]
        rows = json.loads(text) if suffix == ".json" else csv.DictReader(io.StringIO(text))
        students: dict[str, list] = {}
        for row in rows:
            students.setdefault(str(row["seed"]), []).append(row)
        return [*students.values()] or [[]]
    except (ValueError, TypeError, LookupError, RecursionError, csv.Error) as error:
        raise ValueError(f"is damaged: no rows can be read ({type(error).__name__}).") from None


def _pasted(text: str) -> Iterator[Mapping]:
    """Yield the rows of a pasted line, what follows its mark; none if it is damaged."""
    match = _LINE.match(text[:500])
    seed, made_by, *scores = match[1].split() if match else ("", "")
    if match and zlib.crc32(" ".join([seed, made_by, *scores]).encode()) == int(match[2], 16):
        for cell, score in zip(CELLS, scores, strict=True):
            yield {"study": STUDY, **cell, "seed": seed, "accuracy": score, "recipe": made_by}


def _checked(rows: Sequence[Mapping]) -> tuple[int, tuple[float, ...]]:
    """Return one student's seed, and scores in the order of `CELLS`. Raises: ValueError."""
    if not rows:
        raise ValueError("no rows, or a line that was not copied whole.")
    scores, seed, now = {}, str(rows[0]["seed"]), recipe(STUDY)
    who = f"seed {ascii(seed)[1:-1][:20]}"
    if not re.fullmatch(r"\d{5}", seed, re.ASCII) or int(seed) not in SEEDS:
        raise ValueError(f"{who} is none of a class, {SEEDS[0]} to {SEEDS[-1]}.")
    for row in rows:
        if strange := [ascii(key)[:40] for key in row if key not in _COLUMNS]:
            raise ValueError(f"{who} has a column {strange[0]}, which no such row has.")
        if row.get("study") != STUDY or row.get("recipe") != now:
            raise ValueError(
                f"{who} is not of {STUDY} by the recipe {now}, this version's: an older course, or "
                "a computer on which training gives other numbers."
            )
        cell = (str(row.get("way"))[:30], str(row.get("labels"))[:30])
        text = str(row.get("accuracy"))[:30]
        right = float(text) * TEST if re.fullmatch(r"[01]\.\d{1,17}", text, re.ASCII) else -1
        if not 0 <= right <= TEST or abs(right - round(right)) > 1e-6:
            raise ValueError(f"{who}: {text!a} is impossible, no share of {TEST:,} photographs.")
        if cell in scores:
            raise ValueError(f"{who} has {cell} twice.")
        scores[cell] = round(right) / TEST
    want = [(cell["way"], str(cell["labels"])) for cell in CELLS]
    if scores.keys() != set(want):
        raise ValueError(f"{who} has not the {len(want)} rows of a student, each once.")
    return int(seed), tuple(scores[cell] for cell in want)
