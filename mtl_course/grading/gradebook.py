"""nbgrader's part in grading a class: its converters, its gradebook, and tables of points."""

import contextlib
import copy
import hashlib
import html
import io
import json
import logging
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pandas as pd
from jinja2 import pass_context
from latex2mathml.converter import convert_to_element
from nbconvert.exporters import HTMLExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters.base import BaseConverter
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from sqlalchemy.engine import make_url
from traitlets.config import Config, PyFileConfigLoader

from mtl_course.base import atomic

_COLUMNS = {  # of each exported table, and their names there
    "grades": {"student": "student", "name": "name", "email": "email",
               "by_hand": "to mark by hand"},
    "canvas": {"name": "Student", "number": "ID", "student": "SIS User ID",
               "email": "SIS Login ID", "section": "Section"},
    "moodle": {"student": "ID number", "first": "First name", "last": "Last name",
               "email": "Email address"},
}  # fmt: skip
_BY_HAND = {"grade": ("manual_score", "extra_credit"), "comment": ("manual_comment",)}
_FORMULA_LIMIT = 2_000  # characters
_ATTRIBUTES = {  # of MathML, that lead nowhere
    "xmlns", "display", "displaystyle", "accent", "stretchy", "fence", "form", "separator",
    "lspace", "rspace", "minsize", "maxsize", "movablelimits", "mathvariant", "linethickness",
    "columnalign", "columnspacing", "rowspacing", "scriptlevel", "width", "height", "depth",
}  # fmt: skip
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; font-src data:\">"
)


_STEPS = (  # of nbgrader's autograding: none runs any code
    "mtl_course.grading.gradebook.OnlyMarked",
    *(f"nbgrader.preprocessors.{s}"
      for s in ("SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")),
)  # fmt: skip


def configure(c: Config) -> None:
    """Make a class's `nbgrader_config.py` safe, whichever command or button of nbgrader's reads it.

    Autograding enters the points that this package's grader wrote down, and runs nothing; pages of
    feedback run no script.
    """
    c.Autograde.sanitize_preprocessors = []
    c.Autograde.autograde_preprocessors = list(_STEPS)
    c.GenerateFeedback.exporter_class = "mtl_course.grading.gradebook.SafePages"
    c.Execute.kernel_name = "none, since these notebooks are students'"  # for `nbgrader validate`


class OnlyMarked(NbGraderPreprocessor):
    """Lets a notebook into the gradebook that the grader has marked, as it marked it."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Return both unchanged. Raises: ValueError for a notebook that the grader did not make."""
        about = resources["nbgrader"]
        folder = Path(make_url(about["db_url"]).database).parent / "records"
        path = folder / about["assignment"] / f"{about['student']}.json"
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if record.get("marked") != digest(nb):
            raise ValueError(
                f"{about['student']}: this is no notebook that the grader marked. "
                "Put submissions into submitted/, and run python -m mtl_course grading grade."
            )
        return nb, resources


def digest(notebook: NotebookNode) -> str:
    """Return a digest of what points are read from: texts, outputs, and nbgrader's own marks."""
    parts = [(c.source, c.get("outputs"), c.metadata.get("nbgrader")) for c in notebook.cells]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class SafePages(HTMLExporter):
    """Pages that run no script and request nothing from other servers. Formulas are MathML."""

    @pass_context
    def markdown2html(self, context: Mapping, source: str) -> str:
        """Return Markdown as HTML."""
        pictures = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(_Renderer(escape=False, attachments=pictures)).render(source)

    def from_notebook_node(self, nb: NotebookNode, *args, **how) -> tuple[str, dict]:
        """Return a page with its policy. Raises: RuntimeError if there is no place for it."""
        # The lexer for IPython takes a time that grows with the square of a line's length.
        self.filters = self.filters | {"highlight_code": Highlight2HTML(pygments_lexer="python3")}
        page, resources = super().from_notebook_node(nb, *args, **how)
        page, heads = re.subn("<head>", f"<head>{_POLICY}", page, count=1)
        if not heads:
            raise RuntimeError("nbgrader made a page without a head, which is not safe")
        return page, resources


class _Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return _formula(body, "inline", f"${body}$")

    def block_math(self, body: str) -> str:
        return _formula(body, "block", f"$${body}$$")


def _formula(tex: str, display: str, otherwise: str) -> str:
    """Return a formula as MathML, or where that cannot be made the text `otherwise`."""
    try:
        if len(tex) > _FORMULA_LIMIT:
            raise ValueError("too long")
        root = convert_to_element(tex, display=display)
        for element in root.iter():
            # The library leaves text as it was written, which might be a tag.
            element.text = html.unescape(element.text or "")
            for odd in element.attrib.keys() - _ATTRIBUTES:
                del element.attrib[odd]
        return ElementTree.tostring(root, encoding="unicode")
    except Exception:  # whatever a formula that is none brings about in there
        return html.escape(otherwise)


def name_of(student: str) -> str:
    """Return the name behind nbgrader's id; names that differ stay different."""
    return unquote(student, errors="backslashreplace")


def remove(folder: Path, name: str, student: str) -> list[dict]:
    """Remove a student's points. Returns: what was marked by hand, for `mark_by_hand`."""
    marks = []
    with opened(folder) as book:
        try:
            for notebook in book.find_submission(name, student).notebooks:
                for kind, entries in (("grade", notebook.grades), ("comment", notebook.comments)):
                    for one in entries:
                        by_hand = {field: getattr(one, field) for field in _BY_HAND[kind]}
                        if any(value is not None for value in by_hand.values()):
                            marks.append({"of": kind, "at": (one.name, notebook.name)} | by_hand)
            book.remove_submission(name, student)
        except MissingEntry:
            book.update_or_create_student(student)
    return marks


def mark_by_hand(folder: Path, name: str, student: str, marks: Iterable[Mapping]) -> None:
    """Enter marks that `remove` returned, to be looked at again: the answer is another."""
    with opened(folder) as book:
        for mark in marks:
            find = {"grade": book.find_grade, "comment": book.find_comment}[mark["of"]]
            with contextlib.suppress(MissingEntry):  # of an exercise that there is no longer
                entry = find(*mark["at"], name, student)
                for field in _BY_HAND[mark["of"]]:
                    setattr(entry, field, mark[field])
                if mark["of"] == "grade":
                    entry.needs_manual_grade = True
        book.db.commit()


def opened(folder: Path) -> Gradebook:
    """Return the gradebook of the class in `folder`, to be closed by `with`."""
    return Gradebook(f"sqlite:///{folder / 'gradebook.db'}")


def settings(folder: Path) -> Config:
    """Return a class's settings of nbgrader. Raises: ValueError if these would not be safe."""
    config = PyFileConfigLoader("nbgrader_config.py", str(folder)).load_config()
    configure(safe := copy.deepcopy(config))
    if config != safe:
        raise ValueError(
            f"course: nbgrader's own buttons would run students' code by {folder}/"
            "nbgrader_config.py. Copy that of notebooks/assignments anew; it calls configure(c)."
        )
    return config


def convert(folder: Path, converter: type[BaseConverter], name: str, student: str = "*") -> None:
    """Run one of nbgrader's converters on the notebooks of one student, or of all.

    Raises: RuntimeError with nbgrader's log if it fails for anybody.
    """
    config = settings(folder)
    place = {"root": str(folder), "db_url": f"sqlite:///{folder / 'gradebook.db'}"}
    config.CourseDirectory.update(**place, assignment_id=name, student_id=student)
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
            (name_of(one.id), one.first_name, one.last_name, one.email, one.lms_user_id)
            for one in book.students
        ]
        names = [assignment.name for assignment in book.assignments]
        scores = [
            (name_of(one.student_id), name, one.score - one.late_submission_penalty,
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
        people = table[list(columns)].rename(columns=columns)
        # A spreadsheet would compute what begins so.
        people = people.replace(r"^(?=[=+\-@\t\r])", "'", regex=True)
        chosen = pd.concat([people, points], axis=1)
        with atomic(folder / f"{kind}.csv") as draft:
            chosen.to_csv(draft, index=False, encoding="utf-8")
    return [folder / f"{kind}.csv" for kind in _COLUMNS]
