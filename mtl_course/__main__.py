"""``python -m mtl_course``: a report about this machine, and a command for everything that runs."""

import argparse
import importlib.metadata
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mtl_course.base import check_writable
from mtl_course.storage import results_folder

_PARTS = ("torch", "torchvision", "jupyterlab", "ipywidgets", "matplotlib", "scikit-learn")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, draw, check and grade from the command line. Without a command: this machine."""
    printable_output()
    asked = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        for lines in asked.run(asked):
            sys.stdout.write(f"{lines}\n")
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{str(stop) or 'Interrupted.'}\n")
        sys.exit(130)
    except (ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"python -m mtl_course {asked.command}: error: {error}\n")
        sys.exit(2)


def printable_output() -> None:
    """Print "?" for a character that the terminal's encoding lacks, instead of an error."""
    for output in (sys.stdout, sys.stderr):
        if hasattr(output, "reconfigure"):  # not in Jupyter, where there is no need
            output.reconfigure(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mtl_course", description=main.__doc__)
    parser.set_defaults(run=_report, command="report")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], Iterator[str]]) -> argparse.ArgumentParser:
        name, text = run.__name__.strip("_"), run.__doc__
        own = commands.add_parser(name, help=text, description=text)
        own.set_defaults(run=run, command=name)
        return own

    command(_report)
    own = command(_studies)
    own.add_argument("name", nargs="?", help="a study; without it, the studies are listed")
    own.add_argument("--seeds", type=int, nargs="+", help="default: those that ship")
    own.add_argument("--only", action="append", default=[], metavar="KEY=VALUE",
                     help="only these cells, such as labels=100; may be repeated")  # fmt: skip
    own.add_argument("--jobs", type=int, help="processes; default: one a core")
    own.add_argument("--golden", action="store_true", help="renew assets/golden_run.json")
    _where(own)
    own = command(_claims)
    own.add_argument("lesson", help="its number, such as 02")
    _where(own)
    own = command(_headline)
    own.add_argument("--folder", type=Path, default=results_folder() / "headline",
                     help="for the trunk and the rows; default: results/headline")  # fmt: skip
    own.add_argument("--count", type=int, default=1_000_000, help="scenes of A")
    own.add_argument("--device", help="default: the fastest here")
    own.add_argument("--ship", action="store_true", help="only put the trunk into assets")
    own = command(_scenes)
    own.add_argument("count", type=int)
    own.add_argument("folder", type=Path)
    own.add_argument("--seed", type=int, default=0)
    own.add_argument("--tasks", nargs="+", metavar="TASK", help="default: the lecture's four")
    own.add_argument("--size", type=int, default=32, help="pixels on a side; default: 32")
    own.add_argument("--device", default="cpu")
    own = command(_grading)
    own.add_argument("step", choices=("release", "grade", "feedback", "export"))
    own.add_argument("course", help="the folder of the class")
    own.add_argument("names", nargs="*", help="assignments; all of them if none is named")
    own.add_argument("--jobs", type=int, help="processes (grade); default: one a core")
    own.add_argument("--seconds", type=float, default=20.0, help="for a cell or an answer (20)")
    own.add_argument("--total-seconds", type=float, default=150.0, help="for a notebook (150)")
    own.add_argument("--again", action="store_true", help="grade what is graded already, too")
    own.add_argument("--root", action="store_true", help="grade although you are root")
    return parser


def _where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--fresh", action="store_true", help="train again, into results/fresh")
    where.add_argument("--ship", action="store_true", help="store in assets, for the course")


# ---------------------------------------------------------------------- the machine


def _report(asked: argparse.Namespace) -> Iterator[str]:
    """Report versions, device, precision and why, and whether the course's parts are there."""
    yield report()


def report() -> str:
    """Return versions, device, precision and why, cores, and whether the course's parts exist."""
    from mtl_course.training import machine as here  # with torch, which grading needs not

    machine = here()
    lines = {"mtl_course": _version("mtl_course"), "Python": platform.python_version()}
    lines |= {name: _version(name) for name in _PARTS}
    lines |= {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "device": str(machine.device),
        "precision": machine.precision,
        "because": machine.reason,
        "browser (tests)": _there("chromium", "install Chromium to run the browser tests"),
        "sandbox (grading)": _there("bwrap", "install bubblewrap, on Linux, to grade"),
    }
    return "\n".join(f"{name:<18} {text}" for name, text in lines.items())


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _there(program: str, advice: str) -> str:
    return "found" if shutil.which(program) else f"not found: {advice}"


# ---------------------------------------------------------------------- studies


def _studies(asked: argparse.Namespace) -> Iterator[str]:
    """Train the rows of a study that are missing; an interrupted run resumes when run again."""
    from mtl_course import studies
    from mtl_course.studies import golden

    if asked.golden:
        yield f"{golden.FILE}: {golden.write()}"
        return
    if asked.name is None:
        known = studies.STUDIES.items()
        yield from (f"{name}: {s.question}{studies.cost(name)}" for name, s in known)
        return
    chosen = studies.study(asked.name)
    only, store = _only(chosen.grid, asked.only), studies.SHIPPED if asked.ship else None
    how = {"only": only, "store": store, "fresh": asked.fresh, "jobs": asked.jobs}
    rows = studies.run(asked.name, asked.seeds, **how)
    scores = [score for score in ("accuracy", "auc") if score in rows]
    table = rows.groupby(chosen.keys, sort=False)[scores].agg(["count", "mean", "min", "max"])
    yield table.round(3).to_string()


def _only(grid: Sequence[Mapping[str, object]], pairs: Sequence[str]) -> dict[str, list]:
    """Return ``labels=100`` as ``{"labels": [100]}``, in the type that the grid has."""
    only: dict[str, list] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        same = [cell[key] for cell in grid if str(cell.get(key)) == text]
        only.setdefault(key, []).append(same[0] if same else text)
    return only


def _claims(asked: argparse.Namespace) -> Iterator[str]:
    """Compare a lesson's claims, and a random sample, with ten other seeds; train missing rows."""
    from mtl_course import studies
    from mtl_course.studies import claims

    where: dict[str, object] = {}
    if asked.ship:
        where = {"store": studies.SHIPPED / studies.OTHERS}
    if asked.fresh:
        where = {"store": results_folder() / "fresh" / studies.OTHERS, "shipped": False}
    for table in claims.replicated(asked.lesson, **where):
        yield table.round(3).to_string()


def _headline(asked: argparse.Namespace) -> Iterator[str]:
    """Draw 1,000,000 scenes, pretrain on them, and adapt to 1,000 with ten seeds."""
    from mtl_course import studies, training
    from mtl_course.studies import headline

    check_writable(asked.folder, "name another --folder")
    start = time.perf_counter()
    trunk = headline.pretrained(asked.folder / "trunk.pt", asked.count, asked.device)
    if asked.ship:
        training.save(trunk, headline.TRUNK)
        yield str(headline.TRUNK)
        return
    middle = time.perf_counter()
    rows = studies.run("headline", store=asked.folder, source=trunk)
    end = time.perf_counter()
    seconds = f"{middle - start:.0f} s for A, {end - middle:.0f} s for B"
    yield f"{headline.report(rows)}\n{seconds}"


# ---------------------------------------------------------------------- scenes and grading


def _scenes(asked: argparse.Namespace) -> Iterator[str]:
    """Draw driving scenes to a folder, which `mtl_course.datasets.stored` opens."""
    from mtl_course import scenes

    start = time.perf_counter()
    tasks = asked.tasks or scenes.THE_FOUR
    scenes.write(asked.folder, asked.count, asked.seed, tasks=tasks, size=asked.size,
                 device=asked.device)  # fmt: skip
    seconds = time.perf_counter() - start
    speed = f"{asked.count / seconds:,.0f} scenes a second"
    yield f"{asked.folder}: {asked.count:,} scenes in {seconds:.1f} s, {speed}"


def _grading(asked: argparse.Namespace) -> Iterator[str]:
    """Release assignments, grade submissions, and write feedback and points for a class."""
    try:
        from mtl_course.grading.course import Course
    except ModuleNotFoundError as error:
        raise ValueError(f'{error}. Install: python -m pip install -e ".[grading]"') from error
    from mtl_course.grading.sandbox import Limits

    course = Course(asked.course)
    if asked.step == "export":
        yield from map(str, course.export())
        return
    for name in asked.names or course.names:
        if asked.step == "release":
            yield str(course.release(name))
        elif asked.step == "feedback":
            yield f"{name}: {len(course.feedback(name))} pages in {course.folder / 'feedback'}"
        else:
            limits = Limits(seconds=asked.seconds, total_seconds=asked.total_seconds)
            how = {"jobs": asked.jobs, "again": asked.again, "root": asked.root}
            graded = course.grade(name, limits=limits, **how)
            out = graded["quarantined"] != ""
            if len(noted := graded[out | (graded["notes"] != "")]):
                yield noted.to_string(index=False)
            count = f"{len(graded)} submissions, {out.sum()} quarantined"
            yield f"{name}: {count}; see report_{name}.csv"


if __name__ == "__main__":
    main()
