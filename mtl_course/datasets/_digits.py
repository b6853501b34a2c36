"""Printed digits, as many as you like (task A), and real handwritten ones (task B)."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mtl_course.base import check_count
from mtl_course.datasets._dataset import Dataset, Split

DIGITS = tuple("0123456789")
LETTERS = tuple("ABCDEFGHJK")
"""Ten letters, without I, which is a 1 in many typefaces."""

TYPEFACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{style}10" for style in ("r", "b", "ti", "ss", "tt")),
)
"""The typefaces task A is printed in: text faces that every matplotlib ships."""

_BLOCK = 1024  # images drawn together; image i is row i % _BLOCK of block i // _BLOCK
_PAPER = 32  # pixels on a side before the picture is averaged down to 8 × 8
_GLYPH = 64  # pixels on a side of a stored glyph, which fills the middle half


def printed_digits(
    count: int, seed: int, *, device: str = "cpu", characters: Sequence[str] = DIGITS
) -> Dataset:
    """Draw digits printed in many typefaces, as many as you like: task A.

    Each is a glyph in a random typeface, turned, sheared, stretched, moved, thinned or fattened,
    drawn on 32 × 32 pixels, averaged down to 8 × 8 as the handwritten digits were, and given a
    random contrast. Image i is a pure function of (seed, i), so a smaller draw is the beginning of
    a larger one.

    characters: what is printed in place of the ten digits, such as `LETTERS`.
    Returns: images uint8 (count, 1, 8, 8) and labels int64 (count,), a class a character, on
        `device`.
    Raises: ValueError if `count` is below 1, `seed` is negative, or `characters` are not two or
        more single characters.
    """
    count, seed = check_count("count", count, least=1), check_count("seed", seed, least=0)
    characters = tuple(characters)
    if len(characters) < 2 or any(len(character) != 1 for character in characters):
        raise ValueError(f"characters must be two or more single ones; got {characters}.")
    glyphs = _glyphs(characters).to(device)
    images, labels = [], []
    for block in range(-(-count // _BLOCK)):
        sequence = np.random.SeedSequence(seed, spawn_key=(block,))
        draws = np.random.Generator(np.random.SFC64(sequence)).random((_BLOCK, 11), np.float32)
        digit = torch.from_numpy((draws[:, 0] * len(characters)).astype(np.int64))
        face = torch.from_numpy((draws[:, 1] * len(TYPEFACES)).astype(np.int64))
        moves = torch.from_numpy(2 * draws[:, 2:] - 1).to(device)  # (block, 9) in [-1, 1)
        images.append(_print(glyphs[face, digit], moves))
        labels.append(digit.to(device))
    return Dataset(torch.cat(images)[:count], torch.cat(labels)[:count], classes=characters)


def _print(glyphs: Tensor, moves: Tensor) -> Tensor:
    """Print glyphs under a random affine map, with strokes and contrast of random strength.

    glyphs: float32 (m, 64, 64), the signed distance to the outline, in pixels of the paper.
    moves: float32 (m, 9) in [-1, 1). Returns: uint8 (m, 1, 8, 8).
    """
    turn, shear = moves[:, 0] * 0.20, moves[:, 1] * 0.35  # radians; sideways per unit of height
    wide, tall = 0.85 + moves[:, 2] * 0.20, 1 + moves[:, 3] * 0.10
    right, down = moves[:, 4] * 0.15, moves[:, 5] * 0.08  # of half the paper
    cos, sin = turn.cos(), turn.sin()
    # Where on the glyph each point of the paper lies: the inverse of the map that moves the glyph.
    first = torch.stack([(cos + shear * sin) / wide, (sin - shear * cos) / wide, right], dim=1)
    second = torch.stack([-sin / tall, cos / tall, down], dim=1)
    affine = torch.stack([first, second], dim=1) / 2  # a glyph fills its picture's middle half
    size = (len(glyphs), 1, _PAPER, _PAPER)
    points = functional.affine_grid(affine, size, align_corners=False)  # (m, 32, 32, 2)
    distance = functional.grid_sample(
        glyphs[:, None], points, padding_mode="border", align_corners=False
    )  # (m, 1, 32, 32)
    thicker = (0.9 + moves[:, 6] * 1.1)[:, None, None, None]  # pixels of the paper
    ink = (distance + thicker + 0.5).clamp_(0, 1)
    ink = functional.avg_pool2d(ink, _PAPER // 8)  # (m, 1, 8, 8)
    contrast = (0.92 + moves[:, 7] * 0.08)[:, None, None, None]
    gamma = (moves[:, 8] * 0.3).exp()[:, None, None, None]
    return (ink.pow(gamma) * contrast * 255).round_().to(torch.uint8)


@functools.lru_cache(maxsize=2)
def _glyphs(characters: tuple[str, ...]) -> Tensor:
    """Return each in every typeface, as the signed distance from its outline (inside: positive).

    Returns: float32 (typefaces, characters, 64, 64), in pixels of the 32 × 32 paper.
    """
    import matplotlib
    from matplotlib.ft2font import FT2Font, LoadFlags

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    glyphs = []
    for name in TYPEFACES:
        font = FT2Font(str(folder / f"{name}.ttf"))
        font.set_size(144, 72)  # 144 pixels to the em: outlines stay sharp when shrunk
        for character in characters:
            font.set_text(character, flags=LoadFlags.NO_HINTING)
            font.draw_glyphs_to_bitmap()
            glyphs.append(_distance(np.asarray(font.get_image()) > 127))
    return torch.stack(glyphs).unflatten(0, (len(TYPEFACES), -1))


def _distance(ink: np.ndarray) -> Tensor:
    """Return the signed distance to the outline of a glyph, its height scaled to the paper's.

    ink: bool (any height, any width). Returns: float32 (64, 64), in pixels of the paper.
    """
    from scipy.ndimage import distance_transform_edt

    ink = ink[ink.any(axis=1)][:, ink.any(axis=0)]
    height, width = ink.shape
    side = 2 * height  # the glyph fills the middle half
    sheet = np.zeros((side, side), bool)
    top, left = height // 2, height - width // 2
    sheet[top : top + height, left : left + width] = ink
    signed = distance_transform_edt(sheet) - distance_transform_edt(~sheet)
    signed = torch.from_numpy(signed.astype(np.float32))[None, None] * (_PAPER / height)
    return functional.interpolate(signed, (_GLYPH, _GLYPH), mode="area")[0, 0]


# ---------------------------------------------------------------------- handwritten digits

_POOL = 900  # images; neighbours share a writer, so the split is one cut, not a shuffle


def handwritten_digits() -> Split:
    """Return the 1,797 real handwritten digits that scikit-learn ships: task B.

    The first 900 are the pool to learn from, the last 897 the test. Writers sit next to each other
    in the file; a random split would put the same hand on both sides.

    Returns: `train` and `test`, images uint8 (m, 1, 8, 8), labels int64 (m,), ten classes.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    inked = torch.from_numpy(digits.images).float()[:, None]  # (1797, 1, 8, 8), of 16 pixels each
    images = (inked * (255 / 16)).round().to(torch.uint8)
    everything = Dataset(images, torch.from_numpy(digits.target).long(), classes=DIGITS)
    return Split(everything.subset(slice(_POOL)), everything.subset(slice(_POOL, None)))
