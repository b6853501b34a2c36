"""Command line: `python -m mtl_course.grading release|grade|feedback|export COURSE`."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from mtl_course.base import printable_output
from mtl_course.grading.sandbox import Limits, Refused


def main(arguments: list[str] | None = None) -> int:
    """Runs one step for a class. Returns: 0, or 1 after telling what is wrong."""
    printable_output()
    parser = argparse.ArgumentParser(prog="python -m mtl_course.grading", description=__doc__)
    parser.add_argument("step", choices=("release", "grade", "feedback", "export"))
    parser.add_argument("course", help="the folder of the class")
    parser.add_argument("names", nargs="*", help="assignments; all of them if none is named")
    parser.add_argument("--jobs", type=int, help="processes (grade); a process a core")
    parser.add_argument("--seconds", type=float, default=20.0, help="for a cell or an answer (20)")
    parser.add_argument("--whole", type=float, default=150.0, help="seconds for a notebook (150)")
    parser.add_argument("--again", action="store_true", help="grade what is graded already, too")
    parser.add_argument("--root", action="store_true", help="grade although you are root")
    asked = parser.parse_args(arguments)
    try:
        from mtl_course.grading.course import Course

        course = Course(asked.course)
        if asked.step == "export":
            print(*course.export(), sep="\n")
            return 0
        for name in asked.names or course.names:
            if asked.step == "release":
                print(course.release(name))
            elif asked.step == "feedback":
                print(f"{name}: {len(course.feedback(name))} pages in {course.folder / 'feedback'}")
            else:
                limits = Limits(seconds=asked.seconds, whole=asked.whole)
                about = {"jobs": asked.jobs, "again": asked.again, "root": asked.root}
                _tell(name, course.grade(name, limits=limits, **about))
    except ModuleNotFoundError as error:
        print(f'{error}. Install: python -m pip install -e ".[grading]"', file=sys.stderr)
        return 1
    except (Refused, ValueError, FileNotFoundError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on where it was.", file=sys.stderr)
        return 130
    return 0


def _tell(name: str, report: pd.DataFrame) -> None:
    """Prints what a teaching assistant should look at."""
    out = report["quarantined"] != ""
    told = report[out | (report["notes"] != "")]
    if len(told):
        print(told.to_string(index=False))
    print(f"{name}: {len(report)} submissions, {out.sum()} quarantined; see report_{name}.csv")


if __name__ == "__main__":
    sys.exit(main())
