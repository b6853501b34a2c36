"""Guards mtl_course.figures: every figure reaches the notebook with its alt text."""

import base64

import pandas as pd
import pytest
import torch

from mtl_course import figures

ALT = 'Two ways against "labels", with <intervals> that overlap nowhere.'


def _rows() -> pd.DataFrame:
    cells = [(way, x, seed) for way in ("a", "b") for x in (10, 100) for seed in range(3)]
    rows = pd.DataFrame(cells, columns=["way", "labels", "seed"])
    return rows.assign(accuracy=0.5 + 0.01 * rows["seed"] + 0.1 * (rows["way"] == "b"))


def test_show_puts_out_html_with_alt_text_and_a_png_beside_it(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    figures.show(figures.curves(_rows(), "labels", ["a", "b"]), ALT)
    data = shown[0]
    assert 'alt="Two ways against &quot;labels&quot;, with &lt;intervals&gt;' in data["text/html"]
    assert data["text/plain"].startswith("Two ways")
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["image/png"] in data["text/html"]


def test_a_figure_without_a_sentence_is_refused():
    with pytest.raises(ValueError, match="alt"):
        figures.show(figures.curves(_rows(), "labels", ["a"]), "a plot")


def test_curves_draw_means_and_student_intervals():
    axes = figures.curves(_rows(), "labels", ["a", "b"]).axes[0]
    means = [line.lines[0].get_ydata().tolist() for line in axes.containers]
    assert means == [pytest.approx([0.51, 0.51]), pytest.approx([0.61, 0.61])]
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 1]
    reach = 4.302653 * 0.01 / 3**0.5  # t(0.975, 2 degrees of freedom) · s / √n
    assert (low, high) == pytest.approx((0.51 - reach, 0.51 + reach))


def test_series_differ_in_colour_and_in_marker():
    axes = figures.curves(_rows(), "labels", ["a", "b"]).axes[0]
    lines = [container.lines[0] for container in axes.containers]
    assert (
        len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 2
    )


def test_sheet_shows_every_picture_once():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 8, 8)
    axes = figures.sheet({"five": images}, columns=3).axes[0]
    picture = axes.images[0].get_array()
    assert picture.shape == (17, 26)  # two lines of three, 8 pixels each and one between
    assert [picture[0, 0], picture[0, 9], picture[0, 18], picture[9, 0], picture[9, 9]] == [
        0,
        1,
        2,
        3,
        4,
    ]
