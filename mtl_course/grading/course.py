"""A class: its folder, its gradebook (nbgrader's), and the four steps from release to export.

A course's folder holds ``nbgrader_config.py``, ``instructor/NAME/NAME.ipynb`` (nbgrader's source),
``instructor/NAME_checks.py`` (hidden checks), ``student/NAME/NAME.ipynb`` (released) and
``submitted/STUDENT/NAME/NAME.ipynb``. Releasing and grading add ``gradebook.db``, ``seed.txt``,
``records``, ``marked``, ``autograded``, ``feedback`` and reports.
"""

from __future__ import annotations

import ctypes
import json
import math
import multiprocessing
import os
import re
import secrets
import shutil
import signal
import sys
import warnings
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
from joblib import Parallel, delayed
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.plugins import ExportPlugin
from nbgrader.utils import parse_utc
from tqdm.auto import tqdm
from traitlets.config import PyFileConfigLoader

from mtl_course.base import atomic
from mtl_course.grading import intake, sandbox
from mtl_course.grading.marking import Assignment, mark, points
from mtl_course.grading.sandbox import Limits

_COLUMNS = {  # of each table that is exported, and what they are called there
    "grades": {"student": "student", "name": "name", "email": "email",
               "by hand": "to mark by hand"},
    "canvas": {"name": "Student", "number": "ID", "student": "SIS User ID",
               "email": "SIS Login ID", "section": "Section"},
    "moodle": {"student": "ID number", "first": "First name", "last": "Last name",
               "email": "Email address"},
}  # fmt: skip
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; font-src data:\">"
)


class Course:
    """The folder of a class.

    Raises: ValueError if it has no assignments of an instructor's.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder).resolve()
        # nbgrader calls alembic by its name: it must be on the PATH of a Python that is not.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        if odd := re.search(r"[\[\]{}*?]", str(self.folder)):
            raise ValueError(f"course must be a path without {odd[0]}, which nbgrader cannot read.")
        found = sorted((self.folder / "instructor").glob("*/*.ipynb"))
        self.names = [path.stem for path in found if path.stem == path.parent.name]
        if not self.names or not (self.folder / "nbgrader_config.py").is_file():
            raise ValueError(
                "course must be a folder with instructor/NAME/NAME.ipynb and nbgrader_config.py: a "
                f"copy of notebooks/assignments in the course's repository; got {self.folder}."
            )

    # ------------------------------------------------------------------ release

    def release(self, name: str) -> Path:
        """Makes the student version, and enters the assignment into the gradebook.

        Returns: the released notebook, without solutions and without outputs.
        """
        self._nbgrader("generate_assignment", self._known(name))
        return self._released(name)

    # ------------------------------------------------------------------ grading

    def grade(
        self,
        name: str,
        *,
        jobs: int | None = None,
        again: bool = False,
        root: bool = False,
        limits: Limits | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Grades what was submitted and is not graded yet. It may be broken off, and goes on.

        jobs: processes, joblib's `n_jobs`; None takes a process a core. again: grade all again.
        root: grade although this is root. limits: of each sandbox.
        Returns: the report, a row a submission, also written to report_NAME.csv.
        Raises: Refused if the sandbox does not hold; FileNotFoundError if nothing is released.
        """
        sandbox.ready(root=root)
        assignment = self._assignment(name, limits or Limits())
        for path in (assignment.checks, self.folder / "submitted", self.folder / "gradebook.db"):
            if not sandbox.hides(path):
                raise sandbox.Refused(f"{path} would be seen in the sandbox: move the course away.")
        about, _ = assignment.about(), assignment.exercises()
        folders = self._submissions(name)
        todo = [one for one in folders.items() if again or not self._done(name, *one, about)]
        tasks = (delayed(self._mark)(assignment, *one) for one in todo)
        jobs = min(jobs or os.cpu_count(), max(len(todo), 1))
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
        for _ in tqdm(parallel(tasks), "grading", len(todo), disable=not progress, unit="student"):
            pass
        troubles = {}
        for student in tqdm(list(folders), "gradebook", disable=not progress, unit="student"):
            try:
                self._enter(name, student)
            except Exception as error:  # it must not keep the others from their grades
                troubles[student] = f"entering it failed: {error}"[:1000]
        return self._report(name, list(folders), troubles)

    def _mark(self, assignment: Assignment, student: str, folder: Path) -> None:
        """Marks one submission and writes down what came of it."""
        if multiprocessing.current_process().name != "MainProcess":
            # A worker ends when the grader is killed, and its sandbox ends with it.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        record, notebook = mark(assignment, folder)
        record |= {"student": unquote(student), "handed in": _handed_in(folder)}
        target = self.folder / "marked" / student / assignment.name / assignment.released.name
        try:
            if notebook is not None:
                with atomic(target) as draft:
                    nbformat.write(notebook, draft)
                stamp = target.with_name("timestamp.txt")
                if record["handed in"]:
                    stamp.write_text(record["handed in"], encoding="utf-8")
                else:
                    stamp.unlink(missing_ok=True)
            self._write_record(assignment.name, student, record)
        except Exception as error:  # such as a name that is too long for a file's
            print(f"{unquote(student)}: {type(error).__name__}: {error}", file=sys.stderr)

    def _enter(self, name: str, student: str) -> None:
        """Takes a record's points into nbgrader's gradebook, or a student's old ones out of it."""
        record = self._record(name, student)
        if record is None:
            raise RuntimeError("it has no record")
        if record.get("entered") or "failed" in record:  # of one that failed the old points stand
            return
        if "quarantined" in record:
            with Gradebook(self._url()) as gradebook:
                try:
                    gradebook.remove_submission(name, student)
                except MissingEntry:
                    gradebook.update_or_create_student(student)
            for step in ("marked", "autograded", "feedback"):
                shutil.rmtree(self.folder / step / student / name, ignore_errors=True)
        else:
            self._nbgrader("autograde", name, student)
        self._write_record(name, student, record | {"entered": True})

    def _done(self, name: str, student: str, folder: Path, about: dict) -> bool:
        record = self._record(name, student)
        now = (about, _handed_in(folder))
        if record is None or (record["against"], record["handed in"]) != now:
            return False
        try:
            return record.get("digest") == intake.read(folder, f"{name}.ipynb")[1]
        except intake.Quarantined as error:
            return record.get("quarantined") == str(error)

    def _report(self, name: str, students: list[str], troubles: dict[str, str]) -> pd.DataFrame:
        rows = []
        for student in students:
            record = self._record(name, student) or {"exercises": {}, "notes": []}
            earned, possible = points(record)
            out = [record.get("quarantined"), record.get("failed"), troubles.get(student)]
            out, notes = "; ".join(filter(None, out)), "; ".join(record["notes"])
            about = (unquote(student), name, round(earned, 2), possible)
            rows.append((*about, out, notes, record.get("seconds")))
        columns = ["student", "assignment", "points", "of", "quarantined", "notes", "seconds"]
        report = pd.DataFrame(rows, columns=columns).sort_values("student", ignore_index=True)
        with atomic(self.folder / f"report_{name}.csv") as draft:
            report.to_csv(draft, index=False, encoding="utf-8")
        return report

    # ------------------------------------------------------------------ feedback and export

    def feedback(self, name: str, *, progress: bool = True) -> list[Path]:
        """Makes the pages that students get back. Returns: their paths.

        A page runs no script and asks no other server for anything, whatever a student wrote.
        """
        pages, troubles = [], []
        graded = sorted((self.folder / "autograded").glob(f"*/{name}/{name}.ipynb"))
        for path in tqdm(graded, "feedback", disable=not progress, unit="student"):
            student = path.parent.parent.name
            page = self.folder / "feedback" / student / name / f"{name}.html"
            try:
                self._nbgrader("generate_feedback", name, student)
                _shut(page)
            except Exception as error:  # it must not keep the others from their pages
                troubles.append(f"{unquote(student)}: {error}"[:1000])
            else:
                pages.append(page)
        if troubles:
            raise RuntimeError(f"{len(pages)} pages are made, these are not: {'; '.join(troubles)}")
        return pages

    def export(self) -> list[Path]:
        """Writes grades.csv (a row a student) and the same for Canvas and Moodle to import."""
        with Gradebook(self._url()) as gradebook:
            OneRow(to=str(self.folder)).export(gradebook)
        return [self.folder / f"{table}.csv" for table in _COLUMNS]

    # ------------------------------------------------------------------ where things are

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(f"assignment must be one of {', '.join(self.names)}; got {name!r}.")
        return name

    def _released(self, name: str) -> Path:
        return self.folder / "student" / name / f"{name}.ipynb"

    def _assignment(self, name: str, limits: Limits) -> Assignment:
        checks = self.folder / "instructor" / f"{self._known(name)}_checks.py"
        if not checks.is_file():
            raise FileNotFoundError(f"{checks} is missing: write its checks.")
        with Gradebook(self._url()) as gradebook:
            entered = name in [assignment.name for assignment in gradebook.assignments]
        if not entered or not self._released(name).is_file():
            raise FileNotFoundError(f"{name} is not in the gradebook: release it first.")
        seed = self.folder / "seed.txt"
        if not seed.exists():
            with atomic(seed) as draft:
                draft.write_text(f"{secrets.randbelow(2**31)}\n", encoding="utf-8")
        number = int(seed.read_text(encoding="utf-8"))
        return Assignment(name, self._released(name), checks, number, limits)

    def _submissions(self, name: str) -> dict[str, Path]:
        """The folders that were handed in for this assignment, by student."""
        all_of_them = self.folder / "submitted"
        if not all_of_them.is_dir():
            raise FileNotFoundError(f"{all_of_them} is missing: it holds STUDENT/{name}.")
        folders = [path for path in sorted(all_of_them.iterdir()) if not path.is_symlink()]
        handed_in = [path / name for path in folders if os.path.lexists(path / name)]
        return {student_id(path.parent.name): path for path in handed_in}

    def _record_path(self, name: str, student: str) -> Path:
        return self.folder / "records" / name / f"{student}.json"

    def _record(self, name: str, student: str) -> dict | None:
        try:
            return json.loads(self._record_path(name, student).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _write_record(self, name: str, student: str, record: dict) -> None:
        with atomic(self._record_path(name, student)) as draft:
            draft.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")

    # ------------------------------------------------------------------ nbgrader

    def _url(self) -> str:
        return f"sqlite:///{self.folder / 'gradebook.db'}"

    def _nbgrader(self, step: str, *arguments: str) -> None:
        """Runs one of nbgrader's steps, with the class's own settings."""
        config = PyFileConfigLoader("nbgrader_config.py", str(self.folder)).load_config()
        config.CourseDirectory.root = str(self.folder)
        config.CourseDirectory.db_url = self._url()
        config.Autograde.sanitize_preprocessors = []
        config.Autograde.autograde_preprocessors = [  # none that runs a student's code
            f"nbgrader.preprocessors.{name}"
            for name in ("SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's, of nbgrader's ways
            result = getattr(NbGraderAPI(config=config), step)(*arguments)
        if not result["success"]:
            raise RuntimeError(f"nbgrader failed: {result.get('log') or ''}{result.get('error')}")


class OneRow(ExportPlugin):
    """nbgrader's export, a row a student: grades.csv for people, and for Canvas and Moodle.

    Who handed in nothing, or was quarantined, has no points there (in nbgrader's own export: 0).
    What is still to be marked by hand counts 0, or after another submission what it got before.
    """

    def export(self, gradebook: Gradebook) -> None:
        """Writes grades.csv, canvas.csv and moodle.csv into the folder `to`."""
        rows = [
            (unquote(one.id), one.first_name, one.last_name, one.email, one.lms_user_id)
            for one in gradebook.students
        ]
        about = pd.DataFrame(rows, columns=["student", "first", "last", "email", "number"])
        # Somebody can be there twice: from the roster, and under the name that `student_id` made.
        about = about.replace("", None).groupby("student", sort=False).first().fillna("")
        about["student"] = about.index
        name = (about["first"] + " " + about["last"]).str.strip()
        about = about.assign(name=name.where(name != "", about.index), section="")
        about["by hand"], marks = "", pd.DataFrame(index=about.index)
        for assignment in gradebook.assignments:
            marks[assignment.name] = math.nan
            for one in assignment.submissions:
                student = unquote(one.student_id)
                score = max(one.score - one.late_submission_penalty, 0)
                marks.loc[student, assignment.name] = round(score, 2)
                if one.needs_manual_grade:
                    about.loc[student, "by hand"] = "yes"
        for table, columns in _COLUMNS.items():
            chosen = about[list(columns)].rename(columns=columns)
            with atomic(Path(self.to) / f"{table}.csv") as draft:
                rows = pd.concat([chosen, marks], axis=1)
                rows.to_csv(draft, index=False, encoding="utf-8")


def _shut(page: Path) -> None:
    """Forbids nbgrader's page to run a script, or to ask other servers for anything."""
    text, heads = re.subn("<head>", f"<head>{_POLICY}", page.read_text(encoding="utf-8"), count=1)
    if not heads:
        page.unlink()
        raise RuntimeError("nbgrader made a page without a head, which is not safe")
    with atomic(page) as draft:
        draft.write_text(text, encoding="utf-8")


def _handed_in(folder: Path) -> str:
    """When: what timestamp.txt says, if it is a time; else nothing."""
    try:
        text = intake.read_bytes(folder, "timestamp.txt")[:100].decode().strip()
        parse_utc(text)
    except (ValueError, ArithmeticError):
        return ""
    return text


def student_id(folder: str) -> str:
    """A student's name in the gradebook: the folder's, where nbgrader can take it.

    What its patterns and paths take for something else is written as %XX; `unquote` reads it back.
    """

    def quoted(found: re.Match) -> str:
        return "".join(f"%{byte:02X}" for byte in os.fsencode(found[0]))

    return re.sub(r"[%*?\[\]{}+/\\\x00-\x1f\x7f\ud800-\udfff]|^[\s.]|\s$", quoted, folder)
