"""nbgrader's part in grading a class: its converters, its gradebook, and tables of points."""

import io
import logging
import re
import warnings
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateFeedback
from nbgrader.converters.base import BaseConverter
from nbgrader.coursedir import CourseDirectory
from traitlets.config import PyFileConfigLoader

from mtl_course.base import atomic

_COLUMNS = {  # of each exported table, and their names there
    "grades": {"student": "student", "name": "name", "email": "email",
               "by_hand": "to mark by hand"},
    "canvas": {"name": "Student", "number": "ID", "student": "SIS User ID",
               "email": "SIS Login ID", "section": "Section"},
    "moodle": {"student": "ID number", "first": "First name", "last": "Last name",
               "email": "Email address"},
}  # fmt: skip
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; font-src data:\">"
)


class SafeFeedback(GenerateFeedback):
    """nbgrader's feedback, on pages that run no script and request nothing from other servers."""

    def write_single_notebook(self, output: str, resources: dict) -> None:
        """Write a page with its policy. Raises: RuntimeError if there is no place for it."""
        page, heads = re.subn("<head>", f"<head>{_POLICY}", output, count=1)
        if not heads:
            raise RuntimeError("nbgrader made a page without a head, which is not safe")
        super().write_single_notebook(page, resources)


def opened(folder: Path) -> Gradebook:
    """Return the gradebook of the class in `folder`, to be closed by `with`."""
    return Gradebook(f"sqlite:///{folder / 'gradebook.db'}")


def convert(folder: Path, converter: type[BaseConverter], name: str, student: str = "*") -> None:
    """Run one of nbgrader's converters on the notebooks of one student, or of all.

    Raises: RuntimeError with nbgrader's log if it fails for anybody.
    """
    config = PyFileConfigLoader("nbgrader_config.py", str(folder)).load_config()
    place = {"root": str(folder), "db_url": f"sqlite:///{folder / 'gradebook.db'}"}
    config.CourseDirectory.update(**place, assignment_id=name, student_id=student)
    config.HTMLExporter.template_name = "feedback"
    config.Autograde.sanitize_preprocessors = []
    steps = ("SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")  # none runs any code
    config.Autograde.autograde_preprocessors = [f"nbgrader.preprocessors.{s}" for s in steps]
    log = io.StringIO()
    logger = logging.Logger("nbgrader")  # of its own: this is no news for the terminal
    logger.addHandler(logging.StreamHandler(log))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, about nbgrader
        folders = CourseDirectory(config=config, log=logger)
        app = converter(coursedir=folders, config=config, log=logger)
        app.force = True
        try:
            app.start()
        except (Exception, SystemExit) as error:
            raise RuntimeError(f"nbgrader failed: {log.getvalue()}{error}") from error


def export(folder: Path) -> list[Path]:
    """Write grades.csv, canvas.csv and moodle.csv, one row per student, and return their paths.

    Who handed in nothing, or was quarantined, has no points there (in nbgrader's own export: 0).
    What is still to be marked by hand counts 0, or after another submission what it got before.
    """
    with opened(folder) as book:
        people = [
            (unquote(one.id), one.first_name, one.last_name, one.email, one.lms_user_id)
            for one in book.students
        ]
        names = [assignment.name for assignment in book.assignments]
        scores = [
            (unquote(one.student_id), name, one.score - one.late_submission_penalty,
             one.needs_manual_grade)
            for name in names
            for one in book.assignment_submissions(name)
        ]  # fmt: skip
    table = pd.DataFrame(people, columns=["student", "first", "last", "email", "number"])
    # Somebody can be there twice: from the roster, and under the name that `student_id` made.
    table = table.replace("", None).groupby("student", sort=False).first().fillna("")
    table["student"] = table.index
    name = (table["first"] + " " + table["last"]).str.strip()
    table = table.assign(name=name.where(name != "", table.index), section="", by_hand="")
    marks = pd.DataFrame(scores, columns=["student", "name", "points", "by_hand"])
    table.loc[table.index.isin(marks.loc[marks["by_hand"], "student"]), "by_hand"] = "yes"
    points = marks.pivot_table("points", "student", "name", "last").clip(lower=0).round(2)
    points = points.reindex(index=table.index, columns=names)
    for kind, columns in _COLUMNS.items():
        chosen = pd.concat([table[list(columns)].rename(columns=columns), points], axis=1)
        with atomic(folder / f"{kind}.csv") as draft:
            chosen.to_csv(draft, index=False, encoding="utf-8")
    return [folder / f"{kind}.csv" for kind in _COLUMNS]
