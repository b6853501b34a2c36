"""The site: made offline from what is committed, searched, read aloud, followed link by link."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
from notebook_files import NOTEBOOKS, ROOT, code_cells, for_students, read

pytest.importorskip("myst_nb", reason='python -m pip install -e ".[site]"')
pytest.importorskip("playwright", reason="pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)
lab = pytest.importorskip("lab")

needs_chromium = pytest.mark.skipif(
    lab.chromium() is None, reason="Chromium is not on the PATH: install it (apt: chromium)."
)
# A process that is started without a network says so at once; it does not wait for an answer.
OFFLINE = ["unshare", "--user", "--map-current-user", "--net"]


class Page(HTMLParser):
    """A page's links, its names for places in it, and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.silent: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := about.get(key))]
        self.places |= {value for key in ("id", "name") if (value := about.get(key))}
        if tag == "img" and not (about.get("alt") or "").strip():
            self.silent.append(str(about)[:200])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made by the documented command, in a process without a network."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-c", ".site", ".", folder]
    offline = subprocess.run([*OFFLINE, "true"], capture_output=True).returncode == 0
    done = subprocess.run(
        [*(OFFLINE if offline else []), *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page that a reader meets."""
    return {path.resolve(): Page(path) for path in site.rglob("*.html")}


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    """Where the site is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with lab.browser() as running:
        yield running


def test_every_lesson_has_its_page(site: Path):
    for path in for_students():
        assert (site / "notebooks" / path.relative_to(NOTEBOOKS)).with_suffix(".html").exists()
    assert (site / "index.html").exists()


def test_nothing_of_the_instructors_is_in_it(site: Path):
    assert not [path for path in site.rglob("*") if "instructor" in path.parts]
    assert not list(site.rglob("*_checks*"))


def test_every_link_inside_leads_somewhere(site: Path, pages: dict[Path, Page]):
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            known = pages[target].places if target in pages else {unquote(parts.fragment)}
            if not target.exists() or unquote(parts.fragment) not in known:
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    assert not dead, "\n".join(dead)


def test_every_picture_says_what_it_shows(pages: dict[Path, Page]):
    assert not {path.name: page.silent for path, page in pages.items() if page.silent}


@needs_chromium
def test_its_pages_are_read_by_everyone(url: str, site: Path, browser, subtests):
    """Without another host, with typeset mathematics, and nothing serious that axe finds."""
    formulas = 0
    for path in sorted(site.rglob("*.html")):
        with subtests.test(path.name), lab.new_tab(browser) as tab:
            page = tab.page
            page.goto(f"{url}/{path.relative_to(site).as_posix()}")
            page.wait_for_load_state("networkidle")
            if raw := page.locator(".math").count():
                page.wait_for_function(
                    f"() => document.querySelectorAll('.math mjx-container').length >= {raw}"
                )
                formulas += raw
            assert not page.locator("mjx-merror").count()
            assert not tab.errors and not tab.foreign
            # Code looks alike on all pages: one of them will do for its thousands of words.
            # What passes need not be listed.
            code = None if path.name == "01_transfer.html" else {"exclude": [[".highlight pre"]]}
            options = {"resultTypes": ["violations"]}
            found = axe.Axe().run(page, context=code, options=options).response
            found = found["violations"]
            bad = [v for v in found if v["impact"] in ("serious", "critical")]
            assert not bad, [(v["id"], [n["target"] for n in v["nodes"]][:5]) for v in bad]
    assert formulas > 10, "the lessons hold formulas"


@needs_chromium
def test_it_can_be_searched(url: str, browser):
    with lab.new_tab(browser) as tab:
        tab.page.goto(f"{url}/search.html?q=PCGrad")
        tab.page.locator("#search-results li a", has_text="06 When tasks fight").first.wait_for()
        assert not tab.errors and not tab.foreign


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_widgets_that_need_no_kernel_work_in_it(site: Path, browser, scheme: str):
    """From a disk, too, where a page may fetch no module."""
    with lab.new_tab(browser) as tab:
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.goto((site / "notebooks" / "04_unknown_labels.html").as_uri())
        sheet = tab.page.locator(".mtl-label-sheet")
        before = sheet.locator(".mtl-picture").inner_text()
        sheet.locator("td button").first.press("Space")
        assert "pedestrian in scene 1 is now" in sheet.locator(".mtl-answer").inner_text()
        assert sheet.locator(".mtl-picture").inner_text() != before
        found = axe.Axe().run(tab.page, context={"include": [[".mtl-label-sheet"]]})
        assert not found.response["violations"]
        assert not tab.errors and not tab.foreign


@needs_chromium
@pytest.mark.parametrize("name", ["index.html", "notebooks/01_transfer.html"])
def test_a_reader_trains_a_head_in_it(site: Path, browser, name: str):
    """At its front, and in the lesson: nothing is installed, nothing is asked of anybody."""
    with lab.new_tab(browser) as tab:
        tab.page.goto((site / name).as_uri())
        widget = tab.page.locator(".mtl-train-head")
        before = widget.locator(".mtl-answer").inner_text()
        widget.locator("input").press("End")
        said = widget.locator(".mtl-answer").inner_text()
        assert said != before and "trained here on 1,000 labels" in said
        assert 0.9 < float(said[:5]) < 1
        found = axe.Axe().run(tab.page, context={"include": [[".mtl-train-head"]]})
        assert not found.response["violations"]
        assert not tab.errors and not tab.foreign


FRONTS = {  # a page, and what its widgets say once the last of their choices is taken
    "02_when_transfer_makes_sense.html": {"cells": "over from scratch", "decision-aid": "T3"},
    "05_when_multi_task_makes_sense.html": {"cells": "over alone", "decision-aid": "M5"},
    "evidence/01_transfer.html": {"draw-digit": "from scratch: "},
}


@needs_chromium
def test_dials_aid_and_paper_answer_in_it(site: Path, browser):
    with lab.new_tab(browser) as tab:
        for name, widgets in FRONTS.items():
            tab.page.goto((site / "notebooks" / name).as_uri())
            for kind, words in widgets.items():
                widget = tab.page.locator(f".mtl-{kind}").first
                before = widget.locator(".mtl-picture").inner_html()
                widget.locator("select").last.press("End")
                widget.locator("select").nth(1 if kind != "draw-digit" else 0).press("End")
                assert words in widget.locator(".mtl-answer").inner_text()
                assert widget.locator(".mtl-picture").inner_html() != before
                found = axe.Axe().run(tab.page, context={"include": [[f".mtl-{kind}"]]})
                assert not found.response["violations"]
                if link := widget.locator("a").all():
                    assert (site / "notebooks" / link[0].get_attribute("href")).exists()
        assert not tab.errors and not tab.foreign


# ---------------------------------------------------------------------------------- Colab, Binder


def for_colab() -> ModuleType:
    """The script that makes the copies."""
    spec = importlib.util.spec_from_file_location("for_colab", ROOT / ".site" / "for_colab.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_copies_for_colab_are_the_lessons_behind_a_cell_that_installs(tmp_path: Path):
    copies = for_colab().write(tmp_path, "alice/course", "main")
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    lessons = sorted(NOTEBOOKS.glob("0*.ipynb"))
    assert [copy.name for copy in copies] == [path.name for path in lessons]
    for copy, path in zip(copies, lessons, strict=True):
        title, _, install, *rest = read(copy).cells
        assert [title, *rest] == read(path).cells
        assert "git+https://github.com/alice/course@main" in install.source
        base = "https://colab.research.google.com/github/alice/course/blob/main/colab"
        assert f"]({base}/{path.name})" in page
        assert f"/alice/course/main?urlpath=lab/tree/notebooks/{path.name})" in page


def test_lessons_themselves_hold_no_tricks_of_the_shell():
    for path in for_students():
        code = "\n".join(cell.source for cell in code_cells(read(path)))
        assert not re.findall(r"^\s*(?:!|%pip|%%bash|%cd).*", code, re.MULTILINE), path.name


@pytest.mark.skipif(not shutil.which("git"), reason="git is not on the PATH: install it.")
def test_the_cell_for_colab_fetches_the_course_and_its_rows(tmp_path: Path):
    """From a repository with these files; what pip would install besides is here already."""
    pytest.importorskip("setuptools", reason="pip install setuptools")
    there = tmp_path / "there"
    for name in ("mtl_course", "assets"):
        shutil.copytree(ROOT / name, there / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, there)
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for step in (["init", "-q", "-b", "main"], ["add", "."], [*me, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *step], cwd=there, check=True)
    code = for_colab().set_up(there.as_uri().replace("///", "//localhost/"), "main")
    code += "\nfrom mtl_course import studies\nprint(studies.__file__, len(studies.run('digits')))"
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "cell.ipy").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "cell.ipy"],
        # pip reads "0" as the value of "build isolation"
        env=os.environ
        | {"PIP_TARGET": str(site), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        | {"PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert f"{site / 'mtl_course' / 'studies'}" in done.stdout, done.stdout + done.stderr
    rows = len((ROOT / "assets" / "studies" / "digits.csv").read_text().splitlines()) - 1
    assert f" {rows}" in done.stdout


def test_binder_installs_what_students_install():
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert "-r ../requirements.txt" in lines
    runtime = (ROOT / ".binder" / "runtime.txt").read_text().strip()
    assert runtime in ("python-3.11", "python-3.12", "python-3.13")
