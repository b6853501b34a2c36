"""What the widgets of the lessons share: a frame, and a run that is watched and can be stopped."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Sequence

import ipywidgets as widgets
import pandas as pd
from torch import Tensor

from mtl_course.datasets import Dataset
from mtl_course.networks import Network
from mtl_course.training import fit, sum_backward

LABELS = {"description_width": "160px"}
"""The style of controls with a name at their left."""

# JupyterLab takes a key before the control that has the focus gets it (x cuts the cell, an arrow
# moves to the next one), unless the control asks it not to. A screen reader is told what changes.
_KEYS = """<script>
(() => {
  if (window.mtlExplorers) return;
  window.mtlExplorers = true;
  const prepare = event => {
    const frame = event.target.closest && event.target.closest(".mtl-explorer");
    if (!frame) return;
    event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    frame.querySelectorAll(".mtl-answer").forEach(a => a.setAttribute("aria-live", "polite"));
  };
  for (const kind of ["focusin", "keydown"]) window.addEventListener(kind, prepare, true);
})();
</script>"""
_STILL = "<p><em>A picture of a widget: run this cell in JupyterLab to work with it.</em></p>"


class Explorer(widgets.VBox):
    """A widget of a lesson. Where no widget can run, its static picture stands in its place.

    name: the page finds it by its class ``mtl-{name}``.
    """

    def __init__(self, name: str, children: Sequence[widgets.Widget]) -> None:
        super().__init__(children)
        self.add_class("mtl-explorer")
        self.add_class(f"mtl-{name}")

    def static(self) -> dict[str, str]:
        """What the widget shows, by MIME type, as `figures.bundle` gives it."""
        raise NotImplementedError(f"{type(self).__name__} has no picture for where no widget runs")

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        display(HTML(_KEYS))
        still = self.static()
        still["text/html"] += _STILL
        display(self._repr_mimebundle_() | still, raw=True)


def answer(text: str = "") -> widgets.HTML:
    """A sentence that changes, and is spoken when it does: what the controls have brought about."""
    return widgets.HTML(text).add_class("mtl-answer")


def button(text: str) -> widgets.Button:
    """A button as wide as its text."""
    return widgets.Button(description=text, layout={"width": "auto", "align_self": "flex-start"})


def picture(page: str = "") -> widgets.HTML:
    """A part that changes and is looked at: an `figures.image`, a table."""
    return widgets.HTML(page).add_class("mtl-picture")


TABLE = (
    "<style>.mtl-table {background: white; color: black; border-collapse: collapse; margin: 4px}"
    ".mtl-table td, .mtl-table th {padding: 1px 8px; text-align: right; line-height: 1.3}"
    ".mtl-table th:first-child {text-align: left}"
    ".mtl-table caption {background: white; color: black; text-align: left}"
    ".mtl-table .chosen {outline: 2px solid black}</style>"
)
"""How a table of the class ``mtl-table`` looks, on a light page and on a dark one."""


# ---------------------------------------------------------------------- runs


class Stopped(Exception):
    """The run was stopped by its reader."""


_ONE_AT_A_TIME = threading.Lock()
_TELL_EVERY = 0.1  # seconds


class Run:
    """One run of some training: counts its steps, tells how far it is, and ends when asked to.

    tell: is given HTML that says how far the run is.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self._stop, self._told = tell, threading.Event(), 0.0

    def stop(self) -> None:
        """Ends the run at its next step."""
        self._stop.set()

    def check(self) -> None:
        """Raises: Stopped if the run was asked to end."""
        if self._stop.is_set():
            raise Stopped

    def fit(self, network: Network, data: Dataset, **settings) -> pd.DataFrame:
        """What `training.fit` does. Raises: Stopped when the run is asked to end."""
        backward = settings.pop("backward", None) or sum_backward
        steps, done = settings["steps"], 0

        def watched(terms: Tensor) -> None:
            nonlocal done
            self.check()
            backward(terms)
            done += 1
            if (now := time.perf_counter()) - self._told > _TELL_EVERY or done == steps:
                self._told = now
                self.tell(_bar(done, steps))

        return fit(network, data, **settings | {"backward": watched, "progress": False})


def _bar(done: int, steps: int) -> str:
    text = f"step {done:,} of {steps:,}"
    return f'<progress aria-label="{text}" max="{steps}" value="{done}"></progress> {text}'


class Live(widgets.HBox):
    """A button that starts a run in front of the reader, and stops it when it is pressed again.

    Training has a thread of its own, so that the page is heard meanwhile; runs of several widgets
    wait for each other.
    work: is given the `Run`, trains by it, and returns HTML for `said`. It is called in the thread.
    before: is called at once, on the press, and returns what `work` should know of the controls.
    """

    def __init__(
        self, label: str, said: widgets.HTML, work: Callable[..., str], before: Callable[[], dict]
    ) -> None:
        self._label, self._said, self._work, self._before = label, said, work, before
        self._button = button(label)
        self._progress = widgets.HTML().add_class("mtl-progress")
        self._run: Run | None = None
        self._thread: threading.Thread | None = None
        # Or what a run says of its last step could come after "Stopped.", and stand for ever.
        self._lock = threading.Lock()
        super().__init__([self._button, self._progress])
        self.add_class("mtl-live")
        self._button.on_click(self._pressed)

    def wait(self, seconds: float | None = None) -> None:
        """Returns when the run has ended, for tests and scripts."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _pressed(self, _: object) -> None:
        if (running := self._run) is not None:
            running.stop()
            self._end(running, "Stopped.")
            return
        self._run = run = Run(lambda text: self._tell(run, text))
        self._button.description, self._progress.value = "Stop", "Starting …"
        self._thread = threading.Thread(
            target=self._train, args=(run, self._before()), name=self._label, daemon=True
        )
        self._thread.start()

    def _tell(self, run: Run, text: str) -> None:
        with self._lock:
            if run is self._run:  # not one that was stopped
                self._progress.value = text

    def _end(self, run: Run, text: str, answer: str | None = None) -> None:
        with self._lock:
            if run is not self._run:
                return
            self._run = None
            self._button.description, self._progress.value = self._label, text
            if answer is not None:
                self._said.value = answer

    def _train(self, run: Run, asked: dict) -> None:
        start = time.perf_counter()
        try:
            while not _ONE_AT_A_TIME.acquire(timeout=_TELL_EVERY):
                run.check()
                run.tell("Waiting for another run to end …")
            try:
                start = time.perf_counter()
                text = self._work(run, **asked)
            finally:
                _ONE_AT_A_TIME.release()
        except Stopped:
            return
        except Exception as error:
            self._end(run, f"The run failed: {html.escape(str(error))}")
            raise
        self._end(run, f"Done in {time.perf_counter() - start:.1f} s.", text)
