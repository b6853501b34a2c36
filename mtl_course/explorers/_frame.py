"""What the lessons' widgets share, and a training run that is watched and can be stopped."""

import html
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import anywidget
import ipywidgets as widgets
import pandas as pd
import traitlets
from torch import Tensor

from mtl_course.base import ASSETS
from mtl_course.datasets import Dataset
from mtl_course.networks import Network
from mtl_course.training import fit, sum_backward

# JupyterLab takes a key before the control that has the focus gets it (x cuts the cell, an arrow
# moves to the next one), unless the control asks it not to. A screen reader reads what changes.
_KEYS = """<script>
(() => {
  if (window.mtlExplorers) return;
  window.mtlExplorers = true;
  const prepare = event => {
    if (!event.target.closest || !event.target.closest(".mtl-explorer")) return;
    event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    document.querySelectorAll(".mtl-answer").forEach(a => a.setAttribute("aria-live", "polite"));
  };
  for (const kind of ["focusin", "keydown"]) window.addEventListener(kind, prepare, true);
})();
</script>"""
_STILL = "<p><em>A picture of a widget: run this cell in JupyterLab to work with it.</em></p>"
# The picture stands where no widget does: before the cell was run, on GitHub, in a printout. In a
# notebook that was opened again JupyterLab looks for the widget, and says that it found none.
_WIDGET = '[data-mime-type="application/vnd.jupyter.widget-view+json"]'
_ONE_OF_TWO = (
    f"<style>.jp-OutputArea:has({_WIDGET}:not(.jupyter-widgets)) .mtl-still,"
    f".jp-OutputArea:has(.mtl-explorer) .mtl-still,"
    f".jp-OutputArea:has(.mtl-still) {_WIDGET}.jupyter-widgets {{display: none}}"
    ".mtl-explorer.jupyter-widgets-disconnected::before {content: 'The kernel was restarted: run "
    "this cell again.'; font-weight: bold}"
    ".mtl-explorer .jupyter-widgets-disconnected::before {content: none}</style>"
)
_TABLE = (  # for light pages and dark ones
    "<style>.mtl-table {background: white; color: black; border-collapse: collapse; margin: 4px}"
    ".mtl-table td, .mtl-table th {padding: 1px 8px; text-align: right; line-height: 1.3}"
    ".mtl-table th:first-child {text-align: left}"
    ".mtl-table caption {background: white; color: black; text-align: left}"
    ".mtl-table .chosen {outline: 2px solid black}</style>"
)
_ONE_AT_A_TIME = threading.Lock()
_PAUSE = 0.1  # seconds between two messages


class Explorer(widgets.VBox):
    """A widget of a lesson. Where no widget can run, its static picture stands in its place.

    Each has `static`, which returns what it shows as `figures.bundle` does, and `_update`, which
    each change of `controls` calls. name: its class on the page is ``mtl-{name}``.
    Where its first child is a `Front`, the site runs that in the picture's place.
    """

    def __init__(self, name: str, children: Sequence, controls: Sequence = ()) -> None:
        super().__init__(children)
        self.add_class("mtl-explorer").add_class(f"mtl-{name}")
        for control in controls:
            control.observe(lambda _: self._update(), "value")
        self._update()

    def _update(self) -> None:
        pass

    def _ipython_display_(self) -> None:
        from IPython.display import display

        still, front = self.static(), self.children[0]
        about = f" {front.attributes()}" if isinstance(front, Front) else ""
        page = f'<div class="mtl-still"{about}>{still["text/html"]}{_STILL}</div>'
        display(still | {"text/html": f"{_KEYS}{_ONE_OF_TWO}{page}"}, raw=True)
        display(self._repr_mimebundle_() | {"text/html": "", "text/plain": ""}, raw=True)


class Front(anywidget.AnyWidget):
    """A widget that answers in the page: the module ``{name}.js`` beside this file, after _page.js.

    The module runs with a kernel and without one. data: what it shows; value: what its reader
    changes, here and there. Both are JSON. file: of more data, below the course's folder; a page
    without a kernel holds it once.
    """

    data = traitlets.Dict().tag(sync=True)
    value = traitlets.Any().tag(sync=True)

    def __init__(self, name: str, data: dict, value: object, file: str = "") -> None:
        self.name, self._about, self._file = name, data, file
        more = json.loads((ASSETS.parent / file).read_text(encoding="utf-8")) if file else {}
        parts = (Path(__file__).with_name(f"{part}.js") for part in ("_page", name))
        self._esm = "".join(part.read_text(encoding="utf-8") for part in parts)
        super().__init__(data=data | more, value=value)

    def attributes(self) -> str:
        """Return what an element of a page needs to become this widget, as HTML attributes."""
        state = html.escape(json.dumps({"data": self._about, "value": self.value}))
        file = f' data-mtl-file="{self._file}"' if self._file else ""
        return f'data-mtl-front="{self.name}"{file} data-mtl-state="{state}"'


def output(kind: str) -> widgets.HTML:
    """Return HTML that changes. kind: a screen reader reads an "answer", not a "picture"."""
    return widgets.HTML().add_class(f"mtl-{kind}")


def button(text: str) -> widgets.Button:
    """Return a button as wide as its text."""
    return widgets.Button(description=text, layout={"width": "auto", "align_self": "flex-start"})


def dropdown(name: str, options: Iterable, width: str | None = "440px") -> widgets.Dropdown:
    """Return a choice with its name at the left."""
    look = {"layout": {"width": width}, "style": {"description_width": "160px"}}
    return widgets.Dropdown(options=options, description=name, **look)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence], chosen: str = "") -> str:
    """Return HTML of a table. rows: cells as HTML, each row's head first. chosen: a framed row."""
    top = "".join(f'<th scope="col">{head}</th>' if head else "<td></td>" for head in heads)
    body = "".join(
        f'<tr{" class=chosen" if head == chosen else ""}><th scope="row">{head}</th>'
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for head, *cells in rows
    )
    top = f"<caption>{caption}</caption><tr>{top}</tr>"
    return f'<table class="mtl-table">{_TABLE}{top}{body}</table>'


class Stopped(Exception):
    """The run was stopped by its reader."""


class Run:
    """A training run that tells, as HTML, how far it is, and ends when `stop` is set."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.stop, self._last = tell, threading.Event(), 0.0

    def check(self) -> None:
        """Raise Stopped if the run was asked to end."""
        if self.stop.is_set():
            raise Stopped

    def fit(self, network: Network, data: Dataset, **settings) -> pd.DataFrame:
        """Train as `training.fit` does. Raises: Stopped when the run is asked to end."""
        backward, steps, done = settings.pop("backward", None) or sum_backward, settings["steps"], 0

        def watched(losses: Tensor) -> None:
            nonlocal done
            self.check()
            backward(losses)
            done += 1
            if (now := time.perf_counter()) - self._last > _PAUSE or done == steps:
                self._last, text = now, f"step {done:,} of {steps:,}"
                bar = f'<progress aria-label="{text}" max="{steps}" value="{done}"></progress>'
                self.tell(f"{bar} {text}")

        return fit(network, data, **settings | {"backward": watched, "progress": False})


class Live(widgets.HBox):
    """A button that starts a run in front of the reader, and stops it when it is pressed again.

    Each run has a `thread` of its own, so that the page still answers; runs wait for each other.
    chosen: is called on the press, and returns what `work` needs of the controls.
    work: is called in the thread with the `Run` and what was chosen; returns HTML for `answer`, or
        None if it shows its answer itself.
    """

    def __init__(
        self,
        name: str,
        answer: widgets.HTML | None,
        work: Callable[..., str | None],
        chosen: Callable[[], tuple],
    ) -> None:
        self._name, self._answer, self._work, self._chosen = name, answer, work, chosen
        self._button, self._progress = button(name), output("progress")
        self._run = self.thread = None
        self._lock = threading.Lock()  # or what a run says last could come after "Stopped."
        self._button.on_click(self._press)
        super().__init__([self._button, self._progress])
        self.add_class("mtl-live")

    def _press(self, _: object) -> None:
        if (running := self._run) is not None:
            running.stop.set()
            self._tell(running, "Stopped.", end=True)
            return
        self._run = run = Run(lambda text: self._tell(run, text))
        self._button.description, self._progress.value = "Stop", "Starting …"
        self.thread = threading.Thread(target=self._train, args=(run, *self._chosen()), daemon=True)
        self.thread.start()

    def _tell(self, run: Run, text: str, end: bool = False, answer: str | None = None) -> None:
        with self._lock:
            if run is not self._run:  # it was stopped
                return
            if end:
                self._run, self._button.description = None, self._name
            self._progress.value = text
            if answer is not None:
                self._answer.value = answer

    def _train(self, run: Run, *chosen: object) -> None:
        try:
            if _ONE_AT_A_TIME.locked():
                run.tell("Waiting for another run to end …")
            with _ONE_AT_A_TIME:
                run.check()
                start = time.perf_counter()
                answer = self._work(run, *chosen)
        except Stopped:
            return
        except Exception as error:
            self._tell(run, f"The run failed: {html.escape(str(error))}", end=True)
            raise
        self._tell(run, f"Done in {time.perf_counter() - start:.1f} s.", end=True, answer=answer)
