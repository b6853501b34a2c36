"""JupyterLab in Chromium, for tests and benchmarks: the server, a page, a notebook run in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from notebook_files import NOTEBOOKS, ROOT
from playwright import sync_api

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HERE = {"127.0.0.1", "localhost"}
# Seconds after which something hangs: ten times and more of what an idle machine takes.
RUN_ALL, START, ANSWER = 600, 600, 120
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
# Under Voilà there is no notebook's panel.
ANSWERED = f"() => !document.querySelector('.jp-NotebookPanel') || ({READY})()"
LISTEN = """() => {
  window.faults = [];
  window.jupyterapp.shell.currentWidget.sessionContext.iopubMessage.connect((_, message) => {
    const { header, content } = message;
    if (header.msg_type === "error") window.faults.push(`${content.ename}: ${content.evalue}`);
    // The widgets' manager asks the kernel which widgets it has, and then each for its state: a
    // progress bar that has gone in between, or a kernel that is new, answers "No such comm".
    if (header.msg_type === "stream" && content.name === "stderr"
        && !content.text.trim().split("\\n").every(line => line.startsWith("No such comm")))
      window.faults.push(`stderr: ${content.text}`);
  });
}"""
RUN = """seconds => Promise.race([
  window.jupyterapp.commands.execute("notebook:run-all-cells"),
  new Promise(done => setTimeout(() => done("too slow"), 1000 * seconds)),
])"""

RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"

# ------------------------------------------------------------------ the server and the browser


@dataclass(frozen=True)
class Server:
    """A running JupyterLab and the folder that it serves: a copy of the course."""

    url: str
    folder: Path


def chromium() -> str | None:
    """Chromium's path, if it is on this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextlib.contextmanager
def jupyterlab(base: Path, folder: Path | None = None) -> Iterator[Server]:
    """A JupyterLab with settings and state of its own in `base`.

    folder: which it serves; None takes a copy of the course, also in `base`.
    """
    if folder is None:
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

    variables["MTL_COURSE_PREDICTIONS"] = str(base / "predictions.csv")
    variables["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # JupyterLab's debugger warns on stderr
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
            process.wait(START)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _address(process: subprocess.Popen, runtime: Path, log: Path) -> str:
    end = time.monotonic() + START
    while process.poll() is None and time.monotonic() < end:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text())["url"]
            except (ValueError, KeyError):  # still being written
                pass
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@contextlib.contextmanager
def browser(*options: str) -> Iterator[sync_api.Browser]:
    """A running Chromium, which must be on this machine."""
    with sync_api.sync_playwright() as playwright:
        arguments = ["--disable-dev-shm-usage", *options] + ["--no-sandbox"] * _is_root()
        running = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield running
        running.close()


@dataclass
class Tab:
    """A page, and what went wrong in it."""

    page: sync_api.Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("websocket", lambda socket: self._asked(socket.url))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname not in HERE:
            self.foreign.append(url)

    def assert_clean(self) -> None:
        """No error in the page or the kernel, no stderr, no request to another host."""
        faults = self.page.evaluate("window.faults")
        assert not faults, faults
        assert not self.errors
        assert not self.foreign


@contextlib.contextmanager
def new_tab(browser: sync_api.Browser) -> Iterator[Tab]:
    """A page of its own."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(1000 * START)
    tab = Tab(context.new_page())
    yield tab
    if tab.page.evaluate("Boolean(window.jupyterapp)"):  # its kernel holds memory
        tab.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    context.close()


def run_all(tab: Tab, server: Server, path: Path) -> sync_api.Locator:
    """Open a copy of the notebook, run all cells, and return the notebook in the page."""
    lesson = open_copy(tab, server, path)
    run_cells(tab)
    return lesson


def open_copy(tab: Tab, server: Server, path: Path) -> sync_api.Locator:
    """Open a copy of the notebook, with its outputs, and return the notebook in the page."""
    # A fresh name: under a known one JupyterLab attaches the kernel of before.
    inside = path.relative_to(NOTEBOOKS) if path.is_relative_to(NOTEBOOKS) else Path(path.name)
    copy = server.folder / "notebooks" / inside.with_stem(f"{path.stem}-{time.monotonic_ns()}")
    shutil.copy(path, copy)

    page = tab.page
    page.goto(f"{server.url}lab/tree/{copy.relative_to(server.folder).as_posix()}?reset")
    page.wait_for_function("() => window.jupyterapp")
    page.evaluate("async () => { await window.jupyterapp.restored; }")
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    page.wait_for_function(READY)
    page.evaluate(LISTEN)
    return page.locator(".jp-NotebookPanel:visible")


def run_cells(tab: Tab) -> None:
    """Run all cells of the notebook in the page."""
    page = tab.page
    outcome = page.evaluate(RUN, RUN_ALL)
    faults = page.evaluate("window.faults")
    assert outcome is True, f"Run All answered {outcome}: {faults}"
    page.wait_for_function(READY)


def restart(tab: Tab) -> None:
    """Restart the kernel of the notebook in the page."""
    tab.page.evaluate(RESTART)
    tab.page.wait_for_function(READY)


# ------------------------------------------------------------------------------ by keyboard

# A number: figures are a megabyte of text, which would go to and fro with every key.
SHOWN = """explorer => {
  const parts = explorer.querySelectorAll(".mtl-answer, .mtl-picture");
  const text = [...parts].map(part => part.innerHTML).join();
  let hash = text.length;
  for (let at = 0; at < text.length; at += 1) hash = (31 * hash + text.charCodeAt(at)) | 0;
  return hash;
}"""


def press(explorer: sync_api.Locator, control: sync_api.Locator, key: str) -> None:
    """Press a key on a control, and wait until the explorer says or shows something else.

    All of it then: a select whose options change with another one's choice has its new ones.
    """
    before = explorer.evaluate(SHOWN)
    control.focus()
    explorer.page.keyboard.press(key)
    explorer.page.wait_for_function(
        f"([explorer, before]) => ({SHOWN})(explorer) !== before",
        arg=[explorer.element_handle(), before],
        polling=20,
        timeout=1000 * ANSWER,
    )
    explorer.page.wait_for_function(ANSWERED)


def sweep(explorer: sync_api.Locator, pressed: Callable[[], None] = lambda: None) -> None:
    """Move every control of an explorer across its range, by keyboard; it answers each change.

    pressed: is called after each key's answer.
    """

    def go(control: sync_api.Locator, *keys: str) -> None:
        for key in keys:
            press(explorer, control, key)
            pressed()

    for number in range(explorer.locator("select").count()):
        control = explorer.locator("select").nth(number)
        chosen, options = control.evaluate("s => [s.selectedIndex, s.options.length]")
        if chosen:
            go(control, "Home")
            options = control.evaluate("s => s.options.length")
        go(control, *["ArrowDown"] * (options - 1))
    for control in explorer.locator("button:not(.mtl-live *)").all():
        if control.is_enabled():  # a prediction that was committed is closed
            go(control, "Space")
    for control in explorer.locator("input[type=range]").all():
        go(control, "End", "ArrowLeft", "Home")
    for control in explorer.locator("input[type=number]").all():
        go(control, "ArrowUp", "ArrowUp", "ArrowDown")
