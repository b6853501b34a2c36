"""The house style of the figures, and `show`, which gives each its alt text.

Color-blind readers can tell Okabe and Ito's colors apart; every series also has its own marker.
"""

import base64
import html
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DPI = 90  # as shown; what a notebook keeps has twice as many, for projectors and sharp screens
_STYLE = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
}


def show(figure: Figure, alt: str = "", again: str = "", *, banner: str = "") -> None:
    """Display a figure as `bundle` makes it. Raises: ValueError if `alt` is too short."""
    from IPython.display import display

    display(bundle(figure, alt, again, banner=banner), raw=True)


def described(figure: Figure, text: str) -> Figure:
    """Return the figure with its alt text, `figure.alt`: what it shows, and what its data say."""
    figure.alt = " ".join(text.split())
    return figure


def bundle(figure: Figure, alt: str = "", again: str = "", *, banner: str = "") -> dict[str, str]:
    """Return a figure by MIME type: HTML with its alt text, a PNG for viewers without HTML, text.

    alt: what the figure shows and says, for a reader who cannot see it; without it, `figure.alt`.
    again: the command that computes the numbers again, for the caption.
    banner: a warning that nobody may miss, across the top of the figure and before its alt text.
    Raises: ValueError if `alt` is too short to say that.
    """
    alt = alt or getattr(figure, "alt", "")
    if len(alt) < 40:
        raise ValueError(f"alt must say what the figure shows, in a sentence; got {alt!r}.")
    figure.savefig(drawn := io.BytesIO(), format="png", dpi=2 * _DPI)
    picture = Image.open(drawn).convert("RGB")
    if banner:
        alt, picture = f"{banner}. {alt}", _below(banner, picture)
    # 256 colors take a third of the size, and a notebook holds each picture twice. They cover all
    # the colors there are, so that a light of a few pixels keeps its own.
    few = picture.quantize(method=Image.Quantize.MAXCOVERAGE)
    code = _png(few, optimize=True)
    page = _img(code, alt, picture.width // 2)
    if again:
        caption = f"Its numbers again: <code>{html.escape(again)}</code>"
        page = f"<figure>{page}<figcaption>{caption}</figcaption></figure>"
        alt = f"{alt} Its numbers again: {again}"
    return {"text/html": page, "image/png": code, "text/plain": " ".join(alt.split())}


def image(picture: Figure | Tensor, alt: str, width: int | None = None) -> str:
    """Return an <img> with its alt text, faster than `bundle`, for a widget that changes.

    picture: a figure, or the pixels of an image, uint8 (3, height, width).
    width: in the page's pixels; an image's own are then shown as squares. None: as it is.
    """
    if isinstance(picture, Figure):
        return _img(_png(picture, dpi=_DPI), alt, width)
    return _img(_pixels(picture), alt, width, "image-rendering:pixelated;")


def url(picture: Tensor) -> str:
    """Return the pixels of an image, uint8 (3, height, width), as a URL that holds them."""
    return f"data:image/png;base64,{_pixels(picture)}"


def _pixels(picture: Tensor) -> str:
    return _png(Image.fromarray(array(picture.permute(1, 2, 0))))


def _png(picture: Figure | Image.Image, **settings) -> str:
    save = picture.savefig if isinstance(picture, Figure) else picture.save
    save(file := io.BytesIO(), format="png", **settings)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _img(code: str, alt: str, width: int | None = None, style: str = "") -> str:
    size = "max-width:100%;" + (f"width:{width}px;" if width else "")
    style, alt = f"{style}{size}height:auto;background:white", html.escape(" ".join(alt.split()))
    return f'<img alt="{alt}" style="{style}" src="data:image/png;base64,{code}">'


def _below(banner: str, picture: Image.Image) -> Image.Image:
    font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"), 32)
    height = 24 + 48 * len(banner.splitlines())
    both = ImageOps.expand(picture, (0, height, 0, 0), COLORS[4])
    at = (both.width // 2, height // 2)
    ImageDraw.Draw(both).text(at, banner, "black", font, anchor="mm", align="center")
    return both


def array(values: Tensor) -> np.ndarray:
    """Return a tensor as an array of the same shape, floating point as float32."""
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def text_of(value: object) -> str:
    """Return a name as it is, and a number with commas between its thousands."""
    return value if isinstance(value, str) else f"{value:,}"


def subplots(
    width: float, height: float, *, grid: bool = True, layout: str = "constrained", **settings
) -> tuple[Figure, np.ndarray]:
    """Return a figure of this size, in inches, and its axes, line by line, in the house style.

    settings: for `Figure.subplots`.
    """
    with mpl.rc_context(_STYLE | {"axes.grid": grid}):
        figure = Figure(figsize=(width, height), layout=layout)
        return figure, figure.subplots(squeeze=False, **settings).flatten()


def draw_series(axes: Axes, number: int, x: object, y: object, **style) -> None:
    """Draw a series. x, y: numbers, or a table of means and intervals."""
    ends = {}
    for name, values in (("x", x), ("y", y)):
        ends[name] = values
        if isinstance(values, pd.DataFrame):
            ends[name], low, high = (values[column] for column in ("mean", "low", "high"))
            ends[f"{name}err"] = [ends[name] - low, high - ends[name]]
    style = {"color": COLORS[number], "marker": MARKERS[number], "capsize": 4} | style
    axes.errorbar(**ends, **style)
