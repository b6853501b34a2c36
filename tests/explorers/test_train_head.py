"""Guards mtl_course.explorers.train_head, its file of features, and its module in Chromium.

tests/test_browser.py has it in JupyterLab, tests/test_site.py in the site.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from notebook_files import ROOT
from PIL import Image

from mtl_course import datasets, studies
from mtl_course.explorers.train_head import TrainHead
from mtl_course.studies import lesson_01

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)

import kernelless  # noqa: E402 - what they import needs playwright
import lab  # noqa: E402

CLOTHES = ROOT / "assets" / "clothes"
COUNTS = {10: 0, 30: 3, 100: 6, 1_000: 12}  # where the slider has them


@pytest.fixture(scope="module")
def widget() -> TrainHead:
    return TrainHead(studies.run("clothes"))


# ------------------------------------------------------------------------------------ in Python


def levels(part: dict) -> np.ndarray:
    """The levels of a part's features, (m, 128), from 0 to 15."""
    packed = np.frombuffer(base64.b64decode(part["features"]), np.uint8).reshape(-1, 64)
    return np.stack([packed & 15, packed >> 4], axis=2).reshape(-1, 128).astype(int)


def test_the_command_makes_the_features_again(tmp_path: Path):
    """Up to what differs between processors, and between versions of what packs pictures."""
    spec = importlib.util.spec_from_file_location("features", CLOTHES / "features.py")
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    command.main(tmp_path)
    made, kept = (json.loads((at / "features.json").read_text()) for at in (tmp_path, CLOTHES))
    assert np.allclose(made["step"], kept["step"], rtol=1e-3)
    for part, size in (("pool", 2_000), ("test", 2_000)):
        assert made[part]["labels"] == kept[part]["labels"]
        apart = np.abs(levels(made[part]) - levels(kept[part]))
        assert apart.shape == (size, 128)
        assert apart.max() <= 1 and apart.mean() < 0.001


def test_its_features_and_pictures_are_those_of_the_photographs():
    kept = json.loads((CLOTHES / "features.json").read_text())
    assert (CLOTHES / "features.json").stat().st_size < 700_000
    test = datasets.only(lesson_01.photographs().test, lesson_01.B)
    assert kept["test"]["labels"] == "".join(map(str, test.labels.tolist()))
    features = lesson_01.pretrained().eval().trunk(datasets.normalise(test.images[:50]))
    rounded = levels(kept["test"])[:50] * np.array(kept["step"])
    errors = np.abs(rounded - features.detach().numpy()) / np.array(kept["step"])
    assert np.mean(errors > 0.51) < 0.01, "but for the few above the highest level"
    packed = base64.b64decode(kept["pictures"].partition(",")[2])
    whole = np.asarray(Image.open(io.BytesIO(packed)).convert("L")).astype(int)
    number = 123  # the second row of 50
    row, column = 28 * (number // 50), 28 * (number % 50)
    ink = 255 - test.images[number, 0].numpy().astype(int)
    assert np.abs(whole[row : row + 28, column : column + 28] - ink).mean() < 20


def test_its_curves_are_the_lessons(widget: TrainHead):
    rows = studies.run("clothes")
    for way, curve in widget._front.data["curves"].items():
        assert [labels for labels, *_ in curve] == list(lesson_01.LABELS)
        for labels, *ends in curve:
            cell = rows[(rows["way"] == way) & (rows["labels"] == labels)]["accuracy"]
            assert ends == pytest.approx(studies.interval(cell), abs=1e-4)
    assert "new head" in widget.static()["text/plain"]


def test_a_page_holds_the_features_once(widget: TrainHead):
    assert 'data-mtl-file="assets/clothes/features.json"' in widget._front.attributes()
    assert len(widget._front.attributes()) < 3_000


# ------------------------------------------------------------------------------------ in a page


def opened(tab: lab.Tab, folder: Path, widget: TrainHead, style: str = kernelless.LIGHT):
    tab.page.goto(kernelless.write(folder, "train_head", widget._front.attributes(), style))
    found = tab.page.locator(".mtl-head")
    found.wait_for()
    return found


# Sets the slider, then presses the button so many times; what was said, and how long it took.
DRAWS = """([place, times]) => {
  const slider = document.querySelector("input");
  slider.value = place;
  slider.dispatchEvent(new Event("input"));
  return Array.from({length: times}, () => {
    const start = performance.now();
    document.querySelector("button").click();
    document.body.offsetHeight;
    return [document.querySelector(".mtl-answer").textContent, performance.now() - start];
  });
}"""


def test_its_heads_are_as_accurate_as_the_lessons(tab: lab.Tab, tmp_path: Path, widget: TrainHead):
    """The mean of forty draws, at each number of labels; they share one A, and the lesson's not."""
    opened(tab, tmp_path, widget)
    rows = studies.run("clothes", only={"way": ["new head"]})
    for labels, place in COUNTS.items():
        said = [text for text, _ in tab.page.evaluate(DRAWS, [place, 40])]
        assert f"on {labels:,} labels" in said[0]
        scores = [float(text[:5]) for text in said]
        lesson = rows[rows["labels"] == labels]["accuracy"]
        error = np.hypot(np.std(scores) / 40**0.5, lesson.std() / len(lesson) ** 0.5)
        assert abs(np.mean(scores) - lesson.mean()) < 4 * error + 0.005
        assert len(set(scores)) > 5, "other labels give another head"


def test_a_head_is_trained_by_keys_alone(tab: lab.Tab, tmp_path: Path, widget: TrainHead):
    page, keys = opened(tab, tmp_path, widget), tab.page.keyboard
    answer, slider = page.locator(".mtl-answer"), page.locator("input")
    first = page.locator(".mtl-picture").inner_text()
    keys.press("Tab")
    assert slider.get_attribute("aria-valuetext") == "10 labels"
    keys.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "16 labels"
    assert "on 16 labels" in answer.inner_text()
    keys.press("Tab")
    keys.press("Space")
    assert page.locator("svg g:last-of-type circle").count() == 3, "a point a head"
    keys.press("Shift+Tab")
    keys.press("Home")
    assert "on 10 labels" in answer.inner_text()
    assert page.locator(".mtl-picture").inner_text() != first, "the draw is another one"
    assert page.locator("svg g:last-of-type circle").count() == 4


def test_what_it_gets_wrong_is_shown(tab: lab.Tab, tmp_path: Path, widget: TrainHead):
    page = opened(tab, tmp_path, widget)
    counts = [int(n) for n in re.findall(r"(\d+) times a", page.inner_text())]
    accuracy = float(page.locator(".mtl-answer").inner_text()[:5])
    assert sum(counts) == pytest.approx(2_000 * (1 - accuracy), abs=1)
    assert page.get_by_role("img", name="A T-shirt, called a pullover").count() == 8
    assert page.get_by_role("img", name="A pullover, called a T-shirt").count() == 8
    for sure in (page.locator(".wrong").nth(k).inner_text() for k in range(2)):
        percents = [int(n) for n in re.findall(r"(\d+) %", sure)]
        assert percents == sorted(percents, reverse=True)
        assert all(50 <= percent <= 100 for percent in percents)


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (910, 512), (390, 800)])
def test_it_fits_the_page(tab: lab.Tab, tmp_path: Path, widget: TrainHead, width: int, height: int):
    """Also at 150 % of a projector's 1366 × 768 pixels, and on a phone."""
    tab.page.set_viewport_size({"width": width, "height": height})
    page = opened(tab, tmp_path, widget)
    assert not tab.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    texts = page.evaluate(
        """head => [...head.querySelectorAll("svg text")].every(text => {
          const [inside, box] = [text.getBoundingClientRect(),
                                 text.ownerSVGElement.getBoundingClientRect()];
          return inside.left >= box.left - 1 && inside.right <= box.right + 1;
        })"""
    )
    assert texts, "a word of the plot is cut off"
    if width > 390:
        assert page.bounding_box()["height"] < height


@pytest.mark.parametrize("style", ["LIGHT", "DARK"])
def test_everyone_can_read_it(tab: lab.Tab, tmp_path: Path, widget: TrainHead, style: str):
    opened(tab, tmp_path, widget, getattr(kernelless, style))
    found = axe.Axe().run(tab.page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


def test_it_answers_at_once(tab: lab.Tab, tmp_path: Path, widget: TrainHead):
    """From a press to the changed picture well under a second, at best, in twenty tries."""
    opened(tab, tmp_path, widget)
    took = [milliseconds for _, milliseconds in tab.page.evaluate(DRAWS, [12, 20])]
    assert min(took) < 250
