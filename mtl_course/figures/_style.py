"""The house style of the figures, and `show`, which gives each its alt text.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; every series also has a
marker of its own. Letters are large enough for a projector.
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
}


def show(figure: Figure, alt: str, again: str | None = None, *, banner: str = "") -> None:
    """Displays a figure as `bundle` gives it, with its alt text.

    Raises: ValueError if `alt` is too short.
    """
    from IPython.display import display

    display(bundle(figure, alt, again, banner=banner), raw=True)


def bundle(
    figure: Figure, alt: str, again: str | None = None, *, banner: str = ""
) -> dict[str, str]:
    """A figure by MIME type: HTML that carries its alt text, and a PNG for viewers without HTML.

    alt: what the figure shows and what it says, for a reader who cannot see it.
    again: the command that makes what the figure shows once more; it stands in its caption.
    banner: a warning that nobody may miss, across the top of the figure and before its alt text.
    Raises: ValueError if `alt` is too short to say that.
    """
    if len(alt) < 40:
        raise ValueError(f"alt must say what the figure shows, in a sentence; got {alt!r}.")
    if banner:
        alt = f"{banner}. {alt}"
    drawn = _under(banner, _png(figure)) if banner else _png(figure)
    code = base64.b64encode(_in_few_colours(drawn)).decode("ascii")
    page = _image(code, alt)
    if again is not None:
        caption = f"Its numbers again: <code>{html.escape(again)}</code>"
        page = f"<figure>{page}<figcaption>{caption}</figcaption></figure>"
        alt = f"{alt} Its numbers again: {again}"
    return {"text/html": page, "image/png": code, "text/plain": " ".join(alt.split())}


def image(picture: Figure | Tensor, alt: str, width: int | None = None) -> str:
    """An <img> with its alt text, made faster than by `show`, for a widget that changes.

    picture: a figure, or the pixels of an image, uint8 (3, height, width).
    width: in the page's pixels; an image's own are then shown as squares. None: as it is.
    """
    if isinstance(picture, Figure):
        return _image(base64.b64encode(_png(picture)).decode("ascii"), alt, width)
    drawn = io.BytesIO()
    Image.fromarray(array(picture.permute(1, 2, 0))).save(drawn, format="png")
    code = base64.b64encode(drawn.getvalue()).decode("ascii")
    return _image(code, alt, width, "image-rendering:pixelated;")


def _image(code: str, alt: str, width: int | None = None, style: str = "") -> str:
    """code: a PNG in base 64."""
    size = "max-width:100%" if width is None else f"width:{width}px"
    text = html.escape(" ".join(alt.split()))
    style = f"{style}{size};height:auto;background:white"
    return f'<img alt="{text}" style="{style}" src="data:image/png;base64,{code}">'


def _png(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=90)
    return drawn.getvalue()


def _under(banner: str, png: bytes) -> bytes:
    """The picture with a strip above it that says something in black on orange."""
    font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"), 16)
    high = 12 + 24 * len(banner.splitlines())
    with Image.open(io.BytesIO(png)) as drawn:
        whole = Image.new("RGB", (drawn.width, drawn.height + high), COLOURS[4])
        whole.paste(drawn, (0, high))
    middle = (whole.width // 2, high // 2)
    ImageDraw.Draw(whole).text(middle, banner, "black", font, anchor="mm", align="center")
    small = io.BytesIO()
    whole.save(small, format="png")
    return small.getvalue()


def _in_few_colours(png: bytes) -> bytes:
    """In 256 colours: a third of the size, and a notebook holds each picture twice.

    The colours cover all that there are, so that a light of a few pixels keeps its own.
    """
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as drawn:
        few = drawn.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE)
    few.save(small, format="png", optimize=True)
    return small.getvalue()


def array(values: Tensor) -> np.ndarray:
    """Return the values of a tensor that lies anywhere and may want a gradient, floats as float32.

    values: of any shape, such as (m, height, width, channels), which the array has too.
    """
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def axes_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size, in inches, with one pair of axes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots()


def ticks(axes: Axes, values: pd.Series, logarithmic: bool = True) -> None:
    """An x axis whose ticks are the values that were measured."""
    ticks = sorted(set(values))
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
