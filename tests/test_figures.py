"""Guards mtl_course.figures: every figure reaches the notebook with its alt text."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mtl_course import figures, networks, scenes
from mtl_course.datasets import UNKNOWN, Dataset

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


def test_a_banner_stands_above_the_figure_and_before_its_alt_text():
    rows, alt = _rows(), "Accuracy against the number of labels, two lines."
    one, two = "These are drawn", "These are drawn.\nAll of them"
    plain, single, double = (
        figures.bundle(figures.curves(rows, "labels", ["a", "b"]), alt, banner=banner)
        for banner in ("", one, two)
    )
    assert single["text/plain"] == f"{one}. {alt}"
    assert f'alt="These are drawn. All of them. {alt}"' in double["text/html"]
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        for data in (plain, single, double)
    ]
    (width, low), (_, middle), (_, high) = (picture.size for picture in sizes)
    assert low < middle < high and {picture.size[0] for picture in sizes} == {width}
    strip = sizes[1].convert("RGB").getpixel((3, 3))
    assert "#{:02X}{:02X}{:02X}".format(*strip) == figures.COLORS[4]


@pytest.mark.parametrize("banner", ["", "A banner of more than forty letters, and no alt text"])
def test_a_figure_without_a_sentence_is_refused(banner):
    with pytest.raises(ValueError, match="alt"):
        figures.show(figures.curves(_rows(), "labels", ["a"]), "a plot", banner=banner)


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


def test_sheet_shows_colours_as_they_are():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    picture = figures.sheet({"two": images}, columns=2).axes[0].images[0].get_array()
    assert picture.shape == (8, 17, 3)
    assert (picture[:, 9:] == images[1].permute(1, 2, 0).numpy()).all()


def test_curves_leave_out_cells_without_an_interval():
    rows = _rows()
    rows.loc[(rows["way"] == "a") & (rows["labels"] == 100), "accuracy"] = float("nan")
    axes = figures.curves(rows, "labels", ["a", "b"], logarithmic=False).axes[0]
    assert [len(line.lines[0].get_xdata()) for line in axes.containers] == [1, 2]
    assert axes.get_xscale() == "linear"


def test_two_scores_have_a_panel_each_with_its_dashed_line():
    rows = _rows().assign(auc=lambda r: r["accuracy"] + 0.1)
    lines = {"auc": (0.5, "guessing"), "accuracy": (0.25, "always the\nsame")}
    figure = figures.curves(rows, "labels", ["a", "b"], score=["auc", "accuracy"], lines=lines)
    for axes, (score, (height, name)) in zip(figure.axes, lines.items(), strict=True):
        assert axes.get_ylabel() == score
        assert [text.get_text() for text in axes.texts] == [name]
        assert height in [line.get_ydata()[0] for line in axes.lines]
        mean = rows[rows["way"] == "a"].groupby("labels")[score].mean()
        assert axes.containers[0].lines[0].get_ydata().tolist() == pytest.approx(mean.tolist())
        assert f"{score} against labels, with 95 % intervals and a dashed line" in figure.alt
    assert "at 0.250: always the same." in figure.alt
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_what_stands_in_the_cells_of_y_can_be_read_from_the_last_row():
    """Three lines a cell, as the label sheet has them, in a room: 11 points of a page's 90 dots."""
    notes = [["0.76\n▲ -0.066", "0\n0"]] * 3
    lower = figures.answers(_roads(), notes).axes[1]
    assert min(text.get_fontsize() for text in lower.texts) >= 11


def test_no_line_is_drawn_where_nothing_was_measured():
    """Way a has a gap at 100; a way that ends early has none."""
    cells = [(way, x, seed) for way in "abc" for x in (10, 100, 1_000) for seed in range(3)]
    rows = pd.DataFrame(cells, columns=["way", "labels", "seed"])
    rows["accuracy"] = 0.5 + 0.01 * rows["seed"]
    rows = rows[((rows["way"] != "a") | (rows["labels"] != 100))]
    rows = rows[((rows["way"] != "c") | (rows["labels"] != 1_000))]
    axes = figures.curves(rows, "labels", ["a", "b", "c"]).axes[0]
    styles = [container.lines[0].get_linestyle() for container in axes.containers]
    assert styles == ["None", "-", "-"]


def _roads() -> Dataset:
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    labels = torch.tensor([[0, 1], [UNKNOWN, 1], [1, 0]], dtype=torch.int8)
    return Dataset(images, labels, tasks=("car", "light"))


def test_answers_draw_y_as_the_lecture_does():
    """A column an image, a row a task, and a question mark where nothing is known."""
    upper, lower = figures.answers(_roads()).axes
    assert len(upper.images) == 3
    cells = {t.get_position(): t.get_text() for t in lower.texts}
    assert [cells[i + 0.5, 0.5] for i in range(3)] == ["0", "?", "1"]
    assert [cells[i + 0.5, 1.5] for i in range(3)] == ["1", "1", "0"]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["car", "light"]
    assert lower.get_ylim()[0] > lower.get_ylim()[1]  # the first task on top


def test_the_architecture_shows_the_shapes_of_the_layers():
    data = _roads()
    network = networks.shared(data.tasks, width=4)
    (axes,) = figures.architecture(network, data.images[:1]).axes
    texts = [text.get_text() for text in axes.texts]
    for shape in ("3 × 16 × 16", "4 × 16 × 16", "8 × 8 × 8", "8 × 4 × 4", "32"):
        assert shape in texts
    assert sum("hat y" in text for text in texts) == 2


def test_by_task_draws_each_mean_and_its_interval():
    rows = pd.DataFrame(
        [("a", seed, 0.8 + 0.01 * seed, 0.6) for seed in range(3)],
        columns=["way", "seed", "car", "light"],
    )
    (axes,) = figures.by_task(rows, ("car", "light"), ["a"], usual=[0.7, 0.5]).axes
    assert axes.containers[0].lines[0].get_ydata().tolist() == pytest.approx([0.81, 0.6])
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 4.302653 * 0.01 / 3**0.5)


def test_calibration_draws_shares_with_wilson_intervals():
    probability = torch.tensor([[0.05]] * 10 + [[0.95]] * 10)
    labels = torch.tensor([[1]] * 2 + [[0]] * 8 + [[1]] * 10, dtype=torch.int8)
    (axes,) = figures.calibration(probability, labels, ("car",)).axes
    points = [container.lines[0].get_xydata()[0].tolist() for container in axes.containers]
    assert points == [pytest.approx([0.05, 0.2]), pytest.approx([0.95, 1.0])]
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 1]
    p, n, z = 0.2, 10, 1.959964  # Wilson's formula
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert (low, high) == pytest.approx((centre - reach, centre + reach))


def test_the_history_of_many_tasks_has_a_line_for_each():
    history = pd.DataFrame({"loss": [2.0, 1.0], "car": [1.5, 0.5], "light": [0.5, 0.5]})
    (axes,) = figures.history(history).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["car", "light"]


def test_a_caption_says_how_to_make_it_again(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    figures.show(figures.curves(_rows(), "labels", ["a"]), ALT, again="python -m x --only a<b")
    caption = "<figcaption>Its numbers again: <code>python -m x --only a&lt;b</code>"
    assert caption in shown[0]["text/html"]
    assert shown[0]["text/plain"].endswith("Its numbers again: python -m x --only a<b")


def _gains() -> pd.DataFrame:
    verdicts = ("supported", "opposite", "no difference", "cannot tell")
    cells = [(a, b) for a in (10, 20) for b in (1, 2)]
    table = pd.DataFrame(cells, columns=["a", "b"]).assign(verdict=verdicts)
    return table.assign(mean=[0.1, -0.2, 0.0, 0.05], low=-0.3, high=0.3)


def test_a_map_writes_each_gain_where_it_belongs():
    labels = {"a": "size of A"}
    axes = figures.gain_map(_gains(), "b", "a", labels=labels, framed=[(2, 10)]).axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {
        (0, 0): "▲ +0.100\n± 0.300",
        (1, 0): "▼ -0.200\n± 0.300",
        (0, 1): "= +0.000\n± 0.300",
        (1, 1): "? +0.050\n± 0.300",
    }
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.1, -0.2], [0.0, 0.05]])
    assert axes.get_ylabel() == "size of A"
    (frame,) = axes.patches
    left, bottom = frame.get_xy()
    assert (left + frame.get_width() / 2, bottom + frame.get_height() / 2) == (1, 0)


def test_a_cell_that_cannot_be_told_is_pale_however_large_its_mean():
    table = _gains().assign(mean=[0.01, 0.01, 0.01, 0.5])
    table["verdict"] = ["supported", "opposite", "no difference", "cannot tell"]
    axes = figures.gain_map(table, "b", "a", labels={}).axes[0]
    alpha = dict(zip(table["verdict"], axes.images[0].get_alpha().flatten(), strict=True))
    assert alpha["supported"] == alpha["opposite"] == 1
    assert alpha["no difference"] == alpha["cannot tell"] < 0.5


def test_a_legend_stands_above_the_gains_and_ticks_may_have_names():
    tables = {name: _gains().iloc[[0, 1]] for name in ("one", "other")}
    figure = figures.gains(tables, "b", xlabel="b", ylabel="gain", ticks={1: "1\nfew", 2: "2"})
    assert figure.axes[0].get_legend() is None
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1\nfew", "2"]


def test_the_rungs_of_one_kind_stand_closer_than_two_kinds():
    table = _gains().assign(kind=["w", "x", "y", "z"])
    axes = figures.ladder({str(k): table for k in range(5)}, "kind", xlabel="gain").axes[0]
    heights = [line.lines[0].get_ydata() for line in axes.containers]
    assert heights[1][0] - heights[0][0] < heights[0][1] - heights[4][0]


def test_a_ladder_has_a_rung_a_kind_from_the_top():
    table = _gains().assign(kind=["w", "x", "y", "z"])
    axes = figures.ladder({"one": table, "two": table.iloc[:2]}, "kind", xlabel="gain").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["w", "x", "y", "z"]
    assert axes.yaxis_inverted()
    assert axes.containers[0].lines[0].get_xdata().tolist() == [0.1, -0.2, 0.0, 0.05]
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((-0.3, 0.3))


def test_a_line_parts_a_group_of_rungs_from_those_above():
    table = _gains().assign(kind=["w", "x", "y", "z"])
    lines = [
        {tuple(line.get_ydata()) for line in
         figures.ladder({"one": table}, "kind", xlabel="gain", groups=groups).axes[0].lines}
        for groups in ((), ("x", "z"))
    ]  # fmt: skip
    assert lines[1] - lines[0] == {(0.5, 0.5), (2.5, 2.5)}


def test_ladders_and_maps_say_their_numbers_and_verdicts():
    table = _gains().assign(kind=["w", "x", "y", "z"])
    ladder = figures.ladder({"one": table, "two": table.iloc[:2]}, "kind", xlabel="gain").alt
    assert "one: +0.100 at w (supported), -0.200 at x (opposite)" in ladder
    assert "two: +0.100 at w (supported), -0.200 at x (opposite)." in ladder
    drawn = figures.gain_map(_gains(), "b", "a", labels={"a": "size of A"}).alt
    assert "size of A" in drawn
    assert "20: +0.000 at 1 (no difference), +0.050 at 2 (cannot tell)." in drawn
    bare = figures.ladder({"one": table.drop(columns="verdict")}, "kind", xlabel="gain").alt
    assert "+0.100 at w, -0.200 at x" in bare


def test_filters_of_three_channels_are_pictures_with_grey_for_nothing():
    weights = torch.zeros(2, 3, 3, 3)
    weights[0, 0] = 2.0  # red, the strongest of all
    picture = figures.filters({"two": weights}).axes[0].images[0].get_array()
    assert picture[0, 0].tolist() == pytest.approx([1, 0.5, 0.5])
    assert picture[0, 4].tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_a_stored_picture_has_few_colours_and_looks_as_it_was_drawn():
    eight = scenes.draw(8, seed=0)
    figure = figures.answers(eight)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=180)  # twice what is shown
    small = base64.b64decode(figures.bundle(figure, "Eight scenes " * 4)["image/png"])
    with Image.open(drawn) as image:
        before = np.asarray(image.convert("RGB"), int)
    with Image.open(io.BytesIO(small)) as image:
        after = np.asarray(image.convert("RGB"), int)
    assert after.shape == before.shape
    assert abs(after - before).max() < 32  # of 255
    assert len(small) < 0.6 * len(drawn.getvalue())


def test_an_image_for_a_widget_has_its_alt_text_and_its_pixels():
    scene = scenes.draw(1, seed=0).images[0]
    page = figures.image(scene, 'a "scene" & more', width=224)
    assert 'alt="a &quot;scene&quot; &amp; more"' in page
    assert "width:224px" in page
    with Image.open(io.BytesIO(base64.b64decode(page.split("base64,")[1].split('"')[0]))) as image:
        assert np.array_equal(np.asarray(image), scene.permute(1, 2, 0).numpy())


def test_a_map_of_names_keeps_their_order_from_the_top_left():
    names = _gains().replace({"a": {10: "y", 20: "x"}, "b": {1: "q", 2: "p"}})
    axes = figures.gain_map(names, "b", "a", labels={}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["q", "p"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y"]  # from below
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written[0, 1].startswith("▲ +0.100")
    assert written[1, 0].startswith("? +0.050")


def test_matrices_write_each_entry_on_one_scale():
    one = pd.DataFrame([[1.0, -0.25], [-0.25, 1.0]], index=["a", "b"])
    figure = figures.matrices({"step 0": one, "step 9": -one})
    first, second, bar = figure.axes
    assert {t.get_position(): t.get_text() for t in first.texts} == {
        (0, 0): "1.0", (1, 0): "-0.25", (0, 1): "-0.25", (1, 1): "1.0",
    }  # fmt: skip
    assert [first.get_title(), second.get_title()] == ["step 0", "step 9"]
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-1, 1)
    assert [label.get_text() for label in first.get_yticklabels()] == ["1  a", "2  b"]
    assert bar.get_ylabel() == "cosine"
    assert figure.alt.endswith("step 0: -0.25 to -0.25; step 9: +0.25 to +0.25.")


def test_points_are_single_networks_side_by_side_on_one_scale():
    rows = pd.DataFrame({"share": [0.5, 0.9, 0.9], "one": [0.1, 0.2, 0.3], "two": [0.9, 0.8, 0.7]})
    panels = {"narrow": rows, "wide": rows + 0.05}
    figure = figures.points(panels, "one", "two", "share", labels={"one": "AUC of one"})
    narrow, wide = figure.axes
    assert [line.get_xydata().tolist() for line in narrow.lines] == [
        [[0.1, 0.9]], [[0.2, 0.8], [0.3, 0.7]],
    ]  # fmt: skip
    assert narrow.get_xlim() == wide.get_xlim()
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    assert "narrow: 3 networks, AUC of one 0.10 to 0.30, two 0.70 to 0.90" in figure.alt


def test_arrows_show_the_cone_that_opposes_neither():
    tasks = np.array([[1.0, 0.0], [0.0, 1.0]])
    figure = figures.arrows(tasks, {"sum": (1.0, 1.0), "minus": (-1.0, -1.0)})
    assert "cosine 0.00" in figure.alt
    assert "sum (1.00, 1.00), minus (-1.00, -1.00) opposes a task." in figure.alt
    assert [axes.get_title() for axes in figure.axes] == ["sum", "minus"]
    ends = [text.xy for text in figure.axes[0].texts if not text.get_text()]
    assert [tuple(end) for end in ends] == [(1, 0), (0, 1), (1, 1)]
    labels = {text.get_text(): tuple(text.xy) for text in figure.axes[0].texts if text.get_text()}
    assert labels == {"$g_1$": (1, 0), "$g_2$": (0, 1)}
    cone = figure.axes[0].collections[0].get_paths()[0]
    assert cone.contains_point((0.5, 0.5))
    assert not cone.contains_point((0.5, -0.5))
