"""A class: its folder, its gradebook (nbgrader's), and the four steps from release to export.

Its folder holds ``nbgrader_config.py``, ``instructor/NAME/NAME.ipynb`` (nbgrader's source) and
``NAME_checks.py`` (hidden), ``student/NAME/NAME.ipynb`` (released), ``submitted/STUDENT/NAME``.
Grading adds ``gradebook.db``, ``seed.txt``, ``records``, ``marked``, ``autograded`` and reports;
releasing again adds ``releases``, the texts of earlier ones.
"""

import ctypes
import itertools
import json
import multiprocessing
import os
import re
import resource
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import TimeoutError, as_completed
from pathlib import Path

import nbformat
import pandas as pd
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from pebble import ProcessExpired, ProcessPool
from tqdm.auto import tqdm

from mtl_course.base import atomic
from mtl_course.grading import gradebook, intake, sandbox
from mtl_course.grading.marking import Assignment, mark
from mtl_course.storage import Interrupted

_MEMORY = 3_000_000_000  # bytes of a worker: an answer that becomes larger fails alone


class Course:
    """The folder of a class. Raises: ValueError if it has no instructor's assignments."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder).resolve()
        # nbgrader runs alembic, which may not be on the PATH though it is beside this Python.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        if odd := re.search(r"[\[\]{}*?]", str(self.folder)):
            raise ValueError(f"course must be a path without {odd[0]}, which nbgrader cannot read.")
        sources = sorted((self.folder / "instructor").glob("*/*.ipynb"))
        self.names = [path.stem for path in sources if path.stem == path.parent.name]
        if not self.names or not (self.folder / "nbgrader_config.py").is_file():
            wanted = "a folder with instructor/NAME/NAME.ipynb and nbgrader_config.py: a copy of "
            wanted += "notebooks/assignments in the course's repository"
            raise ValueError(f"course must be {wanted}; got {self.folder}.")
        gradebook.settings(self.folder)

    def release(self, name: str) -> Path:
        """Make the student version, without solutions, and enter it into the gradebook.

        The texts of earlier ones are kept: who hands in one of those has edited nothing.
        """
        released = self._notebook("student", name)
        if released.is_file():
            texts = intake.texts(nbformat.read(released, as_version=4), self._earlier(name))
            with atomic(self.folder / "releases" / f"{name}.json") as draft:
                draft.write_text(json.dumps(texts, indent=1), encoding="utf-8")
        gradebook.convert(self.folder, GenerateAssignment, name)
        return released

    def grade(
        self,
        name: str,
        *,
        jobs: int | None = None,
        again: bool = False,
        root: bool = False,
        limits: sandbox.Limits | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Grade the submissions that are new or have changed. An interrupted run can be resumed.

        jobs: processes, each on a core of its own as far as there are; None takes one per core, 0
            marks in this process. again: grade all again. root: even as root.
        Returns: the report, a row per submission, also written to report_NAME.csv.
        Raises: Refused if the sandbox does not hold; FileNotFoundError if nothing is released.
        """
        sandbox.check_ready(root=root)
        assignment = self._assignment(name, limits or sandbox.Limits())
        for path in (assignment.checks, self.folder / "submitted", self.folder / "gradebook.db"):
            if not sandbox.hides(path):
                raise sandbox.Refused(f"{path} would be seen in the sandbox: move the course away.")
        conditions, _ = assignment.conditions(), assignment.exercises()
        folders = intake.submissions(self.folder / "submitted", name)
        todo = [
            one for one in folders.items() if again or not self._is_graded(name, *one, conditions)
        ]
        jobs = os.cpu_count() if jobs is None else jobs
        if todo and jobs:
            marked = self._side_by_side(assignment, dict(todo), min(jobs, len(todo)))
        else:
            marked = (self._mark(assignment, *one) for one in todo)
        students = itertools.chain(folders.keys() - dict(todo).keys(), marked)
        problems = self._misplaced(name, folders)
        try:
            for student in tqdm(students, name, len(folders), disable=not progress):
                try:
                    self._enter(name, student)
                except Exception as error:  # which must not keep the others from their grades
                    problems[student] = f"entering it failed: {error}"[:1000]
        except KeyboardInterrupt:
            marked.close()  # ends the workers
            raise Interrupted("Interrupted. Run the same command again to resume.") from None
        return self._report(name, [*folders, *(problems.keys() - folders)], problems)

    def feedback(self, name: str) -> list[Path]:
        """Make the pages that students get back, and return their paths.

        Raises: RuntimeError if any page cannot be made, after making the others.
        """
        students = [path.parent.name for path in (self.folder / "autograded").glob(f"*/{name}")]
        if students:
            gradebook.convert(self.folder, GenerateFeedback, name)
        return [self.folder / "feedback" / one / name / f"{name}.html" for one in sorted(students)]

    def export(self) -> list[Path]:
        """Write grades.csv (one row per student) and the same for Canvas and Moodle to import."""
        return gradebook.export(self.folder)

    def _side_by_side(
        self, assignment: Assignment, todo: Mapping[str, Path], jobs: int
    ) -> Iterator[str]:
        """Mark submissions in processes, each of which can die alone. Yields: who is marked."""
        fresh = multiprocessing.get_context("spawn")
        cores = fresh.Queue()
        for core in itertools.islice(itertools.cycle(sorted(os.sched_getaffinity(0))), jobs):
            cores.put(core)
        pool = ProcessPool(jobs, initializer=_prepare, initargs=[cores], context=fresh)
        longest = 60 + 10 * assignment.limits.total_seconds
        # Workers inherit this, and leave Ctrl-C to the one that started them.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            marked = {
                pool.schedule(self._mark, [assignment, *one], timeout=longest): one[0]
                for one in todo.items()
            }
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            for future in as_completed(marked):
                student = marked[future]
                try:
                    future.result()
                except (ProcessExpired, TimeoutError) as error:
                    why = f"grading it failed, and is tried again: its process ended ({error!r})"
                    about = {"student": gradebook.name_of(student), "failed": why}
                    about |= self._kept(assignment.name, student)
                    self._write_record(assignment.name, student, about)
                yield student
        finally:
            pool.stop()
            pool.join()

    def _mark(self, assignment: Assignment, student: str, folder: Path) -> str:
        """Mark one submission and write down the results. Returns: the student."""
        record, notebook = mark(assignment, folder)
        time, odd = intake.submission_time(folder)
        record |= {"student": gradebook.name_of(student), "handed in": time}
        record |= self._kept(assignment.name, student)
        record["notes"] += odd
        if notebook is not None:
            record["marked"] = gradebook.digest(notebook)
        target = self._notebook(f"marked/{student}", assignment.name)
        try:
            if notebook is not None:
                with atomic(target) as draft:
                    nbformat.write(notebook, draft)
                timed = target.with_name("timestamp.txt")
                timed.unlink(missing_ok=True)
                if record["handed in"]:  # formgrader stumbles over an empty file
                    timed.write_text(record["handed in"])
            self._write_record(assignment.name, student, record)
        except Exception as error:  # such as a name that is too long for a file's
            name = gradebook.name_of(student)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return student

    def _enter(self, name: str, student: str) -> None:
        """Enter a record's points into nbgrader's gradebook, or remove a student's old ones."""
        record = self._record(name, student)
        if not record:
            raise RuntimeError("it has no record")
        if record.get("entered") or "failed" in record:  # the old points of a failed one stand
            return
        if "quarantined" in record:
            marks = gradebook.remove(self.folder, name, student)
            record = {"by hand": marks} | record  # unless some are kept already
            for step in ("marked", "autograded", "feedback"):
                shutil.rmtree(self.folder / step / student / name, ignore_errors=True)
        else:
            gradebook.convert(self.folder, Autograde, name, student)
            gradebook.mark_by_hand(self.folder, name, student, record.pop("by hand", []))
        self._write_record(name, student, record | {"entered": True})

    def _is_graded(self, name: str, student: str, folder: Path, conditions: dict) -> bool:
        record = self._record(name, student)
        now = (conditions, intake.submission_time(folder)[0])
        if (record.get("against"), record.get("handed in")) != now:
            return False
        try:
            return record.get("digest") == intake.read(folder, f"{name}.ipynb")[1]
        except intake.Quarantined as error:
            return record.get("quarantined") == str(error)

    def _report(self, name: str, students: list[str], problems: dict[str, str]) -> pd.DataFrame:
        rows = []
        for student in students:
            record = self._record(name, student)
            exercises = record.get("exercises", {}).values()
            score = round(sum(exercise["score"] for exercise in exercises), 2)
            possible = sum(exercise["points"] for exercise in exercises)
            reasons = [record.get("quarantined"), record.get("failed"), problems.get(student)]
            texts = "; ".join(filter(None, reasons)), "; ".join(record.get("notes", []))
            rows.append(
                (gradebook.name_of(student), name, score, possible, *texts, record.get("seconds"))
            )
        columns = ["student", "assignment", "points", "of", "quarantined", "notes", "seconds"]
        report = pd.DataFrame(rows, columns=columns).sort_values("student", ignore_index=True)
        with atomic(self.folder / f"report_{name}.csv") as draft:
            report.to_csv(draft, index=False, encoding="utf-8")
        return report

    def _notebook(self, part: str, name: str) -> Path:
        if name not in self.names:
            raise ValueError(f"assignment must be one of {', '.join(self.names)}; got {name!r}.")
        return self.folder / part / name / f"{name}.ipynb"

    def _assignment(self, name: str, limits: sandbox.Limits) -> Assignment:
        released = self._notebook("student", name)
        checks = self.folder / "instructor" / f"{name}_checks.py"
        if not checks.is_file():
            raise FileNotFoundError(f"{checks} is missing: write its checks.")
        with gradebook.opened(self.folder) as book:
            due = {one.name: str(one.duedate or "") for one in book.assignments}
        if name not in due or not released.is_file():
            raise FileNotFoundError(f"{name} is not in the gradebook: release it first.")
        seed = self.folder / "seed.txt"
        if not seed.exists():
            with atomic(seed) as draft:
                draft.write_text(f"{secrets.randbelow(2**31)}\n")
        number, earlier = int(seed.read_text()), self._earlier(name)
        return Assignment(name, released, checks, number, limits, due[name], earlier)

    def _earlier(self, name: str) -> dict[str, list[str]]:
        """Return the texts that cells had in earlier releases, by their ids."""
        path = self.folder / "releases" / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _misplaced(self, name: str, folders: Mapping[str, Path]) -> dict[str, str]:
        """Return, by student, what lies in the wrong place, or is no longer there."""
        reasons = intake.misplaced(self.folder / "submitted", name, self.names)
        graded = {path.stem for path in (self.folder / "records" / name).glob("*.json")}
        gone = "what was graded is no longer there; its points stand"
        return dict.fromkeys(sorted(graded - folders.keys()), gone) | reasons

    def _record(self, name: str, student: str) -> dict:
        path = self.folder / "records" / name / f"{student}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # damaged ones are made again
            return {}

    def _kept(self, name: str, student: str) -> dict:
        """Return what a new record takes from the old one: marks that wait for a submission."""
        return {k: v for k, v in self._record(name, student).items() if k == "by hand"}

    def _write_record(self, name: str, student: str, record: dict) -> None:
        with atomic(self.folder / "records" / name / f"{student}.json") as draft:
            draft.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")


def _prepare(cores: multiprocessing.Queue) -> None:
    """Make a worker one that ends with its grader, keeps to a core, and cannot take all memory."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    core = cores.get()
    cores.put(core)  # for one that takes the place of a worker that died
    os.sched_setaffinity(0, {core})  # its sandbox's too: a hog takes no other's time
