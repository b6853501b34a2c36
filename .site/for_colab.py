"""Copies of the lessons for Google Colab, and a page of links to them and to Binder.

`python .site/for_colab.py OWNER/REPOSITORY` writes them into the folder `colab`, for the GitHub
repository that your clone was pushed to. Commit that folder and push it: the links work then.
The lessons themselves stay as they are; a copy begins with a cell that fetches and installs the
course.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat

HOME = Path(__file__).resolve().parents[1]
ABOUT = """\
*On Colab*: the next cell fetches the course and installs it, once in a session. If an import fails
after it, *Runtime → Restart session* and run on: Colab had loaded an older package before. A GPU
(*Runtime → Change runtime type*) is used where there is one."""
SET_UP = '%pip install -q "mtl_course[aggregators] @ git+{address}@{branch}" "anywidget>=0.11"'
PAGE = """\
# The course without an installation

| lesson | on Colab | on Binder |
|---|---|---|
{rows}

Made by `python .site/for_colab.py {repository} --branch {branch}`; make it again after a change.
Binder builds the environment at the first visit, which takes minutes, and has no GPU.
"""
BINDER = "https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{path}"
COLAB = "https://colab.research.google.com/github/{repository}/blob/{branch}/colab/{name}"


def set_up(address: str, branch: str) -> str:
    """The cell that installs the course from `address`, a git repository's."""
    return SET_UP.format(address=address, branch=branch)


def write(folder: Path, repository: str, branch: str) -> list[Path]:
    """Writes the copies and the page into `folder`. Returns: the copies."""
    folder.mkdir(parents=True, exist_ok=True)
    copies, rows = [], []
    for path in sorted((HOME / "notebooks").glob("0*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        install = nbformat.v4.new_code_cell(
            set_up(f"https://github.com/{repository}", branch), id="set-up"
        )
        notebook.cells[1:1] = [nbformat.v4.new_markdown_cell(ABOUT, id="on-colab"), install]
        nbformat.write(notebook, folder / path.name)
        about = {"repository": repository, "branch": branch}
        links = (
            COLAB.format(name=path.name, **about),
            BINDER.format(path=f"notebooks/{path.name}", **about),
        )
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        rows.append(f"| {title} | [open]({links[0]}) | [open]({links[1]}) |")
        copies.append(folder / path.name)
    page = PAGE.format(rows="\n".join(rows), repository=repository, branch=branch)
    (folder / "README.md").write_text(page, encoding="utf-8")
    return copies


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", help="OWNER/REPOSITORY on GitHub")
    parser.add_argument("--branch", default="main")
    asked = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", asked.repository):
        parser.error(f"repository must be OWNER/REPOSITORY; got {asked.repository!r}.")
    write(HOME / "colab", asked.repository, asked.branch)


if __name__ == "__main__":
    main()
