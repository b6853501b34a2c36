"""The notebooks in JupyterLab, in Chromium: Run All, and every widget of a lesson."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from notebook_files import NOTEBOOKS, ROOT, label, notebooks

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = sync_api.expect

SCREENSHOTS = ROOT / "results" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HERE = {"127.0.0.1", "localhost"}
RUN_ALL = 120  # seconds
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    # All cells stay in the page, also those off screen.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}

READY = """() => {
  const widget = window.jupyterapp.shell.currentWidget;
  const kernel = widget?.sessionContext?.session?.kernel;
  return Boolean(widget?.sessionContext?.isReady && kernel?.status === "idle");
}"""
LISTEN = """() => {
  window.faults = [];
  window.jupyterapp.shell.currentWidget.sessionContext.iopubMessage.connect((_, message) => {
    const { header, content } = message;
    if (header.msg_type === "error") window.faults.push(`${content.ename}: ${content.evalue}`);
    if (header.msg_type === "stream" && content.name === "stderr")
      window.faults.push(`stderr: ${content.text}`);
  });
}"""
RUN = """seconds => Promise.race([
  window.jupyterapp.commands.execute("notebook:run-all-cells"),
  new Promise(done => setTimeout(() => done("too slow"), 1000 * seconds)),
])"""


# ------------------------------------------------------------------ the server and the browser


@dataclass(frozen=True)
class Server:
    """A running JupyterLab and the folder that it serves: a copy of the course."""

    url: str
    folder: Path


@pytest.fixture(scope="module")
def chromium() -> str:
    """Chromium's path."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium: install it, for example with apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One JupyterLab for all tests here, with settings and state of its own."""
    base = tmp_path_factory.mktemp("lab")
    folder = base / "course"
    ignore = shutil.ignore_patterns(".ipynb_checkpoints")
    for name in ("notebooks", "assets"):  # as in the repository: relative links keep working
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)

    variables = {
        name: str(base / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "IPYTHONDIR",
        )
    }
    labconfig = Path(variables["JUPYTER_CONFIG_DIR"]) / "labconfig"
    labconfig.mkdir(parents=True)
    (labconfig / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))

    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--notebook-dir={folder}"]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--IdentityProvider.token="]
    command += ["--LabApp.expose_app_in_browser=True"]
    if _is_root():
        command.append("--allow-root")
    with (base / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=os.environ | variables, cwd=folder, stdout=log, stderr=log
        )
    try:
        yield Server(
            _address(process, Path(variables["JUPYTER_RUNTIME_DIR"]), base / "log"), folder
        )
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _address(process: subprocess.Popen, runtime: Path, log: Path) -> str:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text())["url"]
            except (ValueError, KeyError):  # still being written
                pass
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[sync_api.Browser]:
    """One Chromium for all tests here."""
    with sync_api.sync_playwright() as playwright:
        arguments = ["--disable-dev-shm-usage"] + ["--no-sandbox"] * _is_root()
        running = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield running
        running.close()


@dataclass
class Tab:
    """A page, and what went wrong in it."""

    page: sync_api.Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    restored: bool = False

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("websocket", self._listen)

    def _listen(self, socket: sync_api.WebSocket) -> None:
        self._asked(socket.url)
        socket.on("framereceived", self._heard)

    def _heard(self, frame: str | bytes) -> None:
        text = frame if isinstance(frame, bytes) else frame.encode()
        self.restored = self.restored or b"comm_info_reply" in text

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname not in HERE:
            self.foreign.append(url)

    def assert_clean(self) -> None:
        """No error in the page or the kernel, no stderr, no request to another host."""
        assert not self.page.evaluate("window.faults")
        assert not self.errors
        assert not self.foreign


@pytest.fixture
def tab(browser: sync_api.Browser) -> Iterator[Tab]:
    """A page of its own for one test."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    yield Tab(context.new_page())
    context.close()


def run_all(tab: Tab, server: Server, path: Path) -> sync_api.Locator:
    """Open a copy of the notebook, run all cells, and return the notebook in the page."""
    # A fresh name: under a known one JupyterLab attaches the kernel of before.
    source = server.folder / "notebooks" / path.relative_to(NOTEBOOKS)
    copy = source.with_name(f"{source.stem}-{time.monotonic_ns()}.ipynb")
    shutil.copy(source, copy)

    page = tab.page
    page.goto(f"{server.url}lab/tree/{copy.relative_to(server.folder).as_posix()}?reset")
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("async () => { await window.jupyterapp.restored; }")
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    page.wait_for_function(READY)
    # The widgets' manager first asks the kernel which widgets it has, and then each for its state:
    # a progress bar that has come and gone in between is "No such comm" on stderr.
    end = time.monotonic() + 60
    while not tab.restored and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert tab.restored, "the widgets' manager did not ask the kernel for its widgets"
    page.wait_for_function(READY)
    page.evaluate(LISTEN)
    outcome = page.evaluate(RUN, RUN_ALL)
    faults = page.evaluate("window.faults")
    assert outcome is True, f"Run All answered {outcome}: {faults}"
    page.wait_for_function(READY)
    return page.locator(".jp-NotebookPanel:visible")


# ----------------------------------------------------------------------------- every widget


def options(dropdown: sync_api.Locator) -> list[str]:
    """The texts of a dropdown's options."""
    return dropdown.locator("option").all_inner_texts()


def sweep(dropdown: sync_api.Locator, answer: sync_api.Locator) -> None:
    """Choose each option of a dropdown in turn: the answer changes at each."""
    texts = options(dropdown)
    assert len(texts) > 1, texts
    for text in [*texts[1:], texts[0], texts[1]]:
        before = answer.inner_text()
        dropdown.select_option(text)
        expect(answer).not_to_have_text(before, timeout=10_000)


def named(control: sync_api.Locator) -> None:
    """Assert that a control has a label that a screen reader can say."""
    name = control.evaluate(
        "c => c.ariaLabel || [...(c.labels ?? [])].map(l => l.innerText).join()"
    )
    assert name.strip(), "a control without a name"


def use_predictions(lesson: sync_api.Locator) -> None:
    """Any lesson: each guess and how sure the student is."""
    for prediction in lesson.locator(".mtl-predict").all():
        answer = prediction.locator(".mtl-predict-answer")
        guess, sure = prediction.locator("select").all()
        for dropdown in (guess, sure):
            named(dropdown)
            sweep(dropdown, answer)
        expect(answer).to_contain_text("Kept")


def use_transfer(lesson: sync_api.Locator) -> None:
    """Lesson 01: the network to train."""
    picture = lesson.locator("img[alt^='Accuracy against']")
    picture.scroll_into_view_if_needed()
    lesson.page.screenshot(path=SCREENSHOTS / "lesson_01.png")  # README's, in assets

    for dropdown in lesson.locator(".mtl-try select").all():
        named(dropdown)
        sweep(dropdown, lesson.locator(".mtl-try-answer"))

    answer = lesson.locator(".mtl-try-answer")
    before = answer.inner_text()
    button = lesson.locator(".mtl-try").get_by_role("button", name="Train")
    button.click()
    expect(answer).not_to_have_text(before, timeout=60_000)
    expect(answer).to_contain_text(re.compile("accuracy", re.IGNORECASE), timeout=60_000)


# What a student does with the widgets that only one lesson has, after Run All.
WIDGETS: dict[str, Callable[[sync_api.Locator], None]] = {"01_transfer": use_transfer}

# How many predictions each lesson asks for.
PREDICTIONS = {
    "01_transfer": 2,
    "02_when_transfer_makes_sense": 3,
    "03_multi_task": 2,
    "04_unknown_labels": 2,
    "05_when_multi_task_makes_sense": 3,
    "06_when_tasks_fight": 3,
}


def test_lessons_with_widgets_exist():
    assert WIDGETS.keys() | PREDICTIONS.keys() <= {label(path) for path in notebooks()}


@pytest.mark.parametrize("path", notebooks(), ids=label)
def test_runs_in_the_browser(path: Path, tab: Tab, server: Server):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = SCREENSHOTS / f"{label(path).replace('/', '-')}.png"
    try:
        lesson = run_all(tab, server, path)
        expect(lesson.locator(".mtl-predict")).to_have_count(PREDICTIONS.get(label(path), 0))
        use_predictions(lesson)
        if label(path) in WIDGETS:
            WIDGETS[label(path)](lesson)
            tab.page.wait_for_function(READY)
    finally:
        tab.page.screenshot(path=picture)
    tab.assert_clean()
