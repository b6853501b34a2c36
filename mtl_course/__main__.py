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

from mtl_course.base import HOME, atomic, check_writable
from mtl_course.copies import copy_lessons
from mtl_course.storage import results_folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, draw, check and grade from the command line. Without a command: this machine."""
    for output in (sys.stdout, sys.stderr):
        if hasattr(output, "reconfigure"):  # not in Jupyter
            output.reconfigure(errors="replace")  # "?" for what the terminal's encoding lacks
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mtl_course", description=main.__doc__)
    parser.set_defaults(run=_report, command="report")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    stored = argparse.ArgumentParser(add_help=False)
    where = stored.add_mutually_exclusive_group()
    where.add_argument("--fresh", action="store_true", help="train again, into results/fresh")
    where.add_argument("--ship", action="store_true", help="store in assets, for the course")

    def command(run: Callable, *parents: argparse.ArgumentParser) -> Callable:
        name, text = run.__name__.strip("_"), run.__doc__
        own = commands.add_parser(name, help=text, description=text, parents=parents)
        own.set_defaults(run=run, command=name)
        return own.add_argument

    add = command(_start)
    add("folder", type=Path, nargs="?", default=HOME / "my_course", help="default: my_course")
    add("--copy", action="store_true", help="only copy: for JupyterHub or an editor")
    command(_report)
    add = command(_studies, stored)
    add("name", nargs="?", help="a study; without it, the studies are listed")
    add("--seeds", type=int, nargs="+", help="default: those that ship")
    add("--only", action="append", default=[], metavar="KEY=VALUE",
        help="only these cells, such as labels=100; may be repeated")  # fmt: skip
    add("--jobs", type=int, help="processes; default: one a core")
    add("--golden", action="store_true", help="renew assets/golden_run.json")
    add = command(_claims, stored)
    add("lesson", help="its number, such as 02")
    add = command(_class)
    add("folder", type=Path, help="what the students handed in: their files, or lines in texts")
    add("--check", type=int, default=0, metavar="N", help="train N students' seeds again")
    add("--figure", type=Path, default=results_folder() / "class.png",
        help="where it is saved; default: results/class.png")  # fmt: skip
    add = command(_headline)
    add("--folder", type=Path, default=results_folder() / "headline",
        help="for the trunk and the rows; default: results/headline")  # fmt: skip
    add("--count", type=int, default=1_000_000, help="scenes of A")
    add("--device", help="default: the fastest here")
    add("--ship", action="store_true", help="only put the trunk into assets")
    add = command(_scenes)
    add("count", type=int)
    add("folder", type=Path)
    add("--seed", type=int, default=0)
    add("--tasks", nargs="+", metavar="TASK", help="default: the lecture's four")
    add("--size", type=int, default=32, help="pixels on a side; default: 32")
    add("--device", default="cpu")
    add = command(_grading)
    add("step", choices=("release", "grade", "feedback", "export"))
    add("course", help="the folder of the class")
    add("names", nargs="*", help="assignments; all of them if none is named")
    add("--jobs", type=int, help="processes (grade); default: one a core")
    add("--seconds", type=float, default=20.0, help="of computing for a cell or an answer (20)")
    add("--total-seconds", type=float, default=150.0, help="of computing for a notebook (150)")
    add("--again", action="store_true", help="grade what is graded already, too")
    add("--root", action="store_true", help="grade although you are root")
    return parser


def _start(asked: argparse.Namespace) -> Iterator[str]:
    """Copy the lessons into a folder where they are yours, and open them in JupyterLab."""
    folder = asked.folder.expanduser().absolute()
    yield from copy_lessons(folder)
    if asked.copy:
        return
    try:
        from jupyterlab.labapp import LabApp
    except ModuleNotFoundError as error:
        raise ValueError(f"{error}. Install: python -m pip install -r requirements.txt") from error
    root = HOME if folder == HOME / "my_course" else folder
    first = (folder / "00_start_here.ipynb").relative_to(root).as_posix()
    options = {"ServerApp.root_dir": root, "LabApp.default_url": f"/lab/tree/{first}"}
    LabApp.launch_instance([f"--{name}={value}" for name, value in options.items()])


def _report(_: argparse.Namespace) -> Iterator[str]:
    """Report versions, device, precision and why, and whether the course's parts are there."""
    from mtl_course.devices import machine  # with torch, which grading needs not

    here, python = machine(), platform.python_version()
    parts = ("torch", "torchvision", "jupyterlab", "ipywidgets", "matplotlib", "scikit-learn")
    programs = {
        "browser (tests)": ("chromium", "install Chromium to run the browser tests"),
        "sandbox (grading)": ("bwrap", "install bubblewrap, on Linux, to grade"),
    }
    lines = {"mtl_course": _version("mtl_course"), "Python": python}
    lines |= {name: _version(name) for name in parts}
    lines |= {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()}
    lines |= {"device": str(here.device), "precision": here.precision, "because": here.reason}
    for name, (program, advice) in programs.items():
        lines[name] = "found" if shutil.which(program) else f"not found: {advice}"
    yield "\n".join(f"{name:<18} {text}" for name, text in lines.items())


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


# ---------------------------------------------------------------------- studies


def _studies(asked: argparse.Namespace) -> Iterator[str]:
    """Train the rows of a study that are missing; an interrupted run resumes when run again."""
    from mtl_course import studies
    from mtl_course.studies import golden

    if asked.golden:
        yield f"{golden.FILE}: {golden.write()}"
        return
    if asked.name is None:
        for name, study in studies.STUDIES.items():
            yield f"{name}: {study.question}{studies.cost(name)}"
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
    for key, _, text in (pair.partition("=") for pair in pairs):
        same = (cell[key] for cell in grid if str(cell.get(key)) == text)
        only.setdefault(key, []).append(next(same, text))
    return only


def _claims(asked: argparse.Namespace) -> Iterator[str]:
    """Compare a lesson's claims, and a random sample, with ten other seeds; train missing rows."""
    from mtl_course import studies
    from mtl_course.studies import claims

    where: dict[str, object] = {}
    if asked.ship or asked.fresh:
        folder = studies.SHIPPED if asked.ship else results_folder() / "fresh"
        where = {"store": folder / studies.OTHERS, "shipped": asked.ship}
    for table in claims.replicated(asked.lesson, **where):
        yield table.round(3).to_string()


def _class(asked: argparse.Namespace) -> Iterator[str]:
    """Put the seeds that the students of a class trained in lesson 01 together: its own figure."""
    from matplotlib.figure import Figure

    from mtl_course.studies import classroom

    for part in classroom.report(asked.folder, asked.check):
        if isinstance(part, Figure):
            with atomic(asked.figure) as file:
                part.savefig(file, format="png", dpi=180)
        yield f"The figure: {asked.figure}" if isinstance(part, Figure) else part


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
    yield headline.report(studies.run("headline", store=asked.folder, source=trunk))
    yield f"{middle - start:.0f} s for A, {time.perf_counter() - middle:.0f} s for B"


# ---------------------------------------------------------------------- scenes and grading


def _scenes(asked: argparse.Namespace) -> Iterator[str]:
    """Draw driving scenes to a folder, which `mtl_course.datasets.stored` opens."""
    from mtl_course import scenes

    start, count = time.perf_counter(), asked.count
    how = {"tasks": asked.tasks or scenes.THE_FOUR, "size": asked.size, "device": asked.device}
    scenes.write(asked.folder, count, asked.seed, **how)
    seconds = time.perf_counter() - start
    speed = f"{count:,} scenes in {seconds:.1f} s, {count / seconds:,.0f} scenes a second"
    yield f"{asked.folder}: {speed}"


def _grading(asked: argparse.Namespace) -> Iterator[str]:
    """Release assignments, grade submissions, and write feedback and points for a class."""
    try:
        from mtl_course.grading.course import Course
    except ModuleNotFoundError as error:
        raise ValueError(f'{error}. Install: python -m pip install -e ".[grading]"') from error
    from mtl_course.grading.sandbox import Limits, counted_by

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
            yield f"{name}: the memory of submissions was counted by {counted_by()}."
            out = graded["quarantined"] != ""
            if len(noted := graded[out | (graded["notes"] != "")]):
                yield noted.to_string(index=False)
            count = f"{len(graded)} submissions, {out.sum()} quarantined"
            yield f"{name}: {count}; see report_{name}.csv"


if __name__ == "__main__":
    main()
