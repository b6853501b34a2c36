"""The class is the experiment: each student trains one seed, and a folder brings the rows together.

Thirty students are thirty seeds. What they hand in is data, see `_handed_in`.
"""

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mtl_course.base import atomic, check_count, check_writable
from mtl_course.storage import results_folder
from mtl_course.studies._handed_in import CELLS, OVER, SEEDS, STUDY, WAY, gather, line
from mtl_course.studies._runner import run
from mtl_course.studies.statistics import gain

INVENTED = (
    "A result that is invented but looks honest cannot be found out by looking at it. Only "
    "training its seed again can tell: `python -m mtl_course class FOLDER --check N` does so for N "
    "students, drawn at random."
)
CLOSE = 0.02  # in accuracy
"""How far apart rounding may bring one seed on two processors: by 0.008, at most, in eight rows of
two seeds, trained with AVX-512 and with SSE4 alone. On one kind of processor nothing differs."""
_SHIPPED = "the lesson's seeds"


def take_part(number: int | None, folder: Path | str | None = None) -> None:
    """Train one student's seed, keep its rows in a file, and display it beside the shipped seeds.

    number: the student's own in the class, from 1 to 9,999. With None, nothing is trained.
    folder: for the file, such as one that the class shares; None takes ``results/class``.
    Raises: ValueError for another number; OSError if the folder cannot be written to.
    """
    from IPython.display import Markdown, display

    from mtl_course import figures

    if number is None:
        display(Markdown("Nothing is trained yet: set `number` to take part."))
        return
    if check_count("number", number, least=1) > len(SEEDS):
        raise ValueError(f"number must be at most {len(SEEDS):,}; got {number}.")
    seed = SEEDS[number - 1]
    folder = Path(folder).expanduser() if folder else results_folder() / "class"
    check_writable(folder, "name another folder")
    rows = _rows([seed], jobs=1)
    text = line(rows)
    # Two students with one number do not overwrite each other's results, or nobody would notice.
    path = folder / f"class_{seed}_{text[-8:]}.csv"
    with atomic(path) as file:
        rows.to_csv(file, index=False, lineterminator="\n")
    figures.show(figure(rows, f"your seed, {seed}"))
    pasted = f"paste this line where your class collects them:\n\n```text\n{text}\n```"
    display(Markdown(f"Your rows are in `{path}`. Hand in this file, or {pasted}"))


def _rows(seeds: Sequence[int] | None = None, **how: object) -> pd.DataFrame:
    only = {key: [*dict.fromkeys(cell[key] for cell in CELLS)] for key in CELLS[0]}
    return run(STUDY, seeds, only=only, **how)


# ---------------------------------------------------------------------- the class


def report(folder: Path | str, check: int = 0) -> Iterator[str | Figure]:
    """Yield what a class found, beside the seeds that ship: sentences, a figure and tables.

    folder: what the students handed in, see `gather`.
    check: so many students, drawn at random, have their seeds trained again, a minute each.
    Raises: what `gather` raises; ValueError for a negative `check`.
    """
    check_count("check", check, least=0)
    rows, left_out = gather(folder)
    seeds = sorted(map(int, rows["seed"].unique()))
    yield f"{len(seeds)} seeds can be used."
    if left_out:
        yield "\n".join(
            ["Left out, or counted once:", *left_out[:100], *["and more"] * (len(left_out) > 100)]
        )
    if len(seeds) < 2:
        yield "An interval takes at least two seeds."
        return
    name = f"your class, {len(seeds)} seeds"
    yield figure(rows, name)
    tables = {who: gain(r, WAY, OVER) for who, r in {_SHIPPED: _rows(), name: rows}.items()}
    table = pd.concat(tables, names=["whose"]).reset_index("whose").round(4)
    yield f"accuracy, {WAY} − {OVER}:\n{table.to_string(index=False)}"
    yield INVENTED
    if check:
        yield checked(rows, random.SystemRandom().sample(seeds, min(check, len(seeds))))


def checked(rows: pd.DataFrame, seeds: Sequence[int]) -> str:
    """Train these seeds again, and say how far the results of `rows` lie from theirs."""
    with tempfile.TemporaryDirectory() as folder:
        again = _rows(seeds, store=folder, shipped=False)
    keys = ["seed", *CELLS[0]]
    both = rows.merge(again[[*keys, "accuracy"]], on=keys, suffixes=("", " again"))
    both["apart"] = (both["accuracy again"] - both["accuracy"]).abs()
    far = sorted(set(both["seed"][both["apart"] > CLOSE].astype(int)))
    verdict = f"Apart by more, and so invented or changed: {far}." if far else "All agree."
    words = f"{len(seeds)} seeds trained again; rounding alone moves a result by less than {CLOSE}"
    return f"{words}.\n{both.to_string(index=False)}\n{verdict}"


def show(folder: Path | str, check: int = 0) -> None:
    """Display in a notebook what `report` yields."""
    from IPython.display import display

    from mtl_course import figures

    for part in report(folder, check):
        if isinstance(part, Figure):
            figures.show(part)
        else:
            display({"text/plain": part}, raw=True)


def figure(rows: pd.DataFrame, name: str) -> Figure:
    """Draw what each seed in `rows`, together called `name`, gains, beside the seeds that ship."""
    from mtl_course import figures

    panels: dict[str, dict[str, pd.Series]] = {}
    for who, table in {_SHIPPED: _rows(), name: rows}.items():
        scores = table.pivot(index=["labels", "seed"], columns="way", values="accuracy")
        for labels, gains in (scores[WAY] - scores[OVER]).groupby(level=0):
            panels.setdefault(f"{labels} labels", {})[who] = gains
    return figures.by_seed(panels, xlabel=f"accuracy, {WAY} − {OVER}")
