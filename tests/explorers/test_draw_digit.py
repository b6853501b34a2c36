"""Guards mtl_course.explorers.draw_digit, its file of networks, and its module in Chromium."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from notebook_files import ROOT
from torch import Tensor
from torch.nn import functional

from mtl_course import datasets, networks, studies
from mtl_course.explorers.draw_digit import DrawDigit

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)

import kernelless  # noqa: E402 - what they import needs playwright
import lab  # noqa: E402

DIGITS = ROOT / "assets" / "digits"
KEPT = json.loads((DIGITS / "networks.json").read_text(encoding="utf-8"))


def command() -> ModuleType:
    """The script that makes the file."""
    spec = importlib.util.spec_from_file_location("networks", DIGITS / "networks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unpacked(numbers: dict, *shape: int) -> Tensor:
    levels = np.frombuffer(base64.b64decode(numbers["values"]), "<i2").astype(np.float32)
    return torch.tensor(levels * numbers["scale"]).reshape(shape)


def logits(kept: dict, images: Tensor) -> Tensor:
    """What PyTorch computes with the numbers of the file. images: uint8 (m, 1, 8, 8)."""
    x = datasets.normalise(images)
    for number, (weights, biases) in enumerate(KEPT["trunks"][kept["trunk"]]):
        bias = unpacked(biases, -1)
        x = functional.conv2d(x, unpacked(weights, len(bias), -1, 3, 3), bias, padding=1)
        x = (functional.max_pool2d(x, 2) if number < 2 else x).relu()
    weights, biases = KEPT["heads"][kept["head"]]
    return functional.linear(x.flatten(1), unpacked(weights, 10, -1), unpacked(biases, -1))


# ------------------------------------------------------------------------------------ the file


def test_its_networks_are_as_accurate_as_it_says_and_as_the_rows():
    test = datasets.handwritten_digits().test
    rows = studies.run("digits", only={"labels": [0, 10, 100]})
    rows = rows[rows["seed"] == 0].set_index(["way", "labels"])["accuracy"]
    assert len(KEPT["networks"]) == 7
    for kept in KEPT["networks"]:
        right = (logits(kept, test.images).argmax(1) == test.labels).double().mean()
        assert kept["accuracy"] == pytest.approx(float(right), abs=0.003)
        way = kept["way"] if kept["labels"] else "zero-shot"
        assert kept["accuracy"] == pytest.approx(rows[way, kept["labels"]], abs=0.03)
    assert (DIGITS / "networks.json").stat().st_size < 300_000


def test_a_block_is_folded_without_a_change():
    images = datasets.handwritten_digits().train.images[:64]
    network = networks.classifier(datasets.handwritten_digits().train, width=4, seed=0)
    network.train()(datasets.normalise(images))  # it has seen something
    block, x = network.eval().trunk[0], datasets.normalise(images)
    weights, biases = command().folded(block)
    mine = functional.conv2d(x, unpacked(weights, 4, 1, 3, 3), unpacked(biases, 4), padding=1)
    assert torch.allclose(functional.max_pool2d(mine, 2).relu(), block(x), atol=1e-3)


@pytest.mark.slow
def test_the_command_makes_the_networks_again(tmp_path: Path):
    """Up to what differs between processors."""
    command().main(tmp_path)
    made = json.loads((tmp_path / "networks.json").read_text(encoding="utf-8"))
    assert made["examples"] == KEPT["examples"]
    for again, kept in zip(made["networks"], KEPT["networks"], strict=True):
        assert [again[k] for k in ("way", "labels", "trunk", "head")] == [
            kept[k] for k in ("way", "labels", "trunk", "head")
        ]
        assert again["accuracy"] == pytest.approx(kept["accuracy"], abs=0.03)


def test_its_picture_says_how_often_each_network_is_right():
    for page in DrawDigit().static().values():
        for kept in KEPT["networks"]:
            assert kept["way"] in page and f"{kept['accuracy']:.3f}" in page


# ------------------------------------------------------------------------------------ in a page


def opened(tab: lab.Tab, folder: Path, style: str = kernelless.LIGHT):
    attributes = DrawDigit().children[0].attributes()
    tab.page.goto(kernelless.write(folder, "draw_digit", attributes, style))
    found = tab.page.locator(".mtl-digit")
    found.wait_for()
    return found


COUNTS = """widget => {
  const seen = widget.querySelector(".seen");
  const { data } = seen.getContext("2d").getImageData(0, 0, 8, 8);
  return Array.from({ length: 64 }, (_, k) => Math.round((data[4 * k + 3] * 16) / 255));
}"""


# Presses the button for each digit of the test: what is said, the pixels, the networks' logits.
EXAMPLES = """widget => Array.from({ length: 21 }, () => {
  [...widget.querySelectorAll("button")].at(-1).click();
  const rows = [...widget.querySelectorAll(".answer")];
  const said = widget.querySelector(".mtl-answer").textContent;
  return [said, (%s)(widget), rows.map(row => JSON.parse(row.dataset.logits))];
})"""


def test_its_logits_are_those_of_pytorch(tab: lab.Tab, tmp_path: Path):
    """On 21 digits of the test, by each of the seven networks."""
    page, test = opened(tab, tmp_path), datasets.handwritten_digits().test
    images = test.images[:: command().EVERY]
    assert len(images) == len(KEPT["examples"]) == 21
    ink = (images.flatten(1).float() * (16 / 255)).round().int().tolist()
    for labels in (10, 100):
        page.locator("select").select_option(str(labels))
        four = [each for each in KEPT["networks"] if each["labels"] in (0, labels)]
        wanted = torch.stack([logits(each, images) for each in four], 1).tolist()
        for number, (said, counts, found) in enumerate(page.evaluate(EXAMPLES % COUNTS)):
            assert said.startswith(f"Digit {number + 1} of the test")
            assert counts == ink[number]
            for mine, theirs in zip(found, wanted[number], strict=True):
                assert mine == pytest.approx(theirs, abs=2e-3)


def inked(page) -> np.ndarray:
    return np.array(page.evaluate(COUNTS)).reshape(8, 8)


def test_a_digit_is_drawn_with_a_mouse(tab: lab.Tab, tmp_path: Path):
    """It becomes as large and as dark as those of the data, wherever and however large it is."""
    page, mouse = opened(tab, tmp_path), tab.page.mouse
    page.get_by_role("button", name="Clear").click()
    assert "The paper is empty" in page.locator(".mtl-answer").inner_text()
    assert inked(page).sum() == 0
    box = page.locator(".draw").bounding_box()
    mouse.move(box["x"] + 60, box["y"] + 60)
    mouse.down()
    for right, down in ((110, 60), (110, 110), (60, 110), (60, 60)):  # a small zero
        mouse.move(box["x"] + right, box["y"] + down, steps=4)
    mouse.up()
    assert page.locator(".mtl-answer").inner_text().count("%") == 4
    ink = inked(page)
    assert ink.max() <= 16 and 0.25 < ink.sum() / 1024 < 0.36
    assert ink[3:5, 3:5].sum() == 0, "the middle of a zero is empty"
    assert (ink.sum(1) > 0).sum() >= 6 and (ink == ink[::-1]).mean() > 0.4


def test_a_digit_is_drawn_with_keys_alone(tab: lab.Tab, tmp_path: Path):
    page, keys = opened(tab, tmp_path), tab.page.keyboard
    page.locator(".draw").focus()
    keys.press("Backspace")
    keys.press("Space")
    for _ in range(20):
        keys.press("ArrowDown")
    assert "The pen is down at 16, 26" in page.locator(".mtl-answer").inner_text()
    ink = inked(page)
    assert (ink.sum(1) > 0).all(), "a one, as tall as there is room"
    assert (ink.sum(0) > 0).sum() <= 4
    keys.press("Space")
    keys.press("ArrowRight")
    assert (inked(page) == ink).all(), "the pen is up"
    keys.press("Space")
    keys.press("ArrowRight")
    keys.press("Backspace")
    assert inked(page).sum() == 0


def test_it_can_be_read_everywhere(tab: lab.Tab, tmp_path: Path):
    """At 150 % of a projector's 1366 × 768 pixels, on a phone; light and dark; at once."""
    page = opened(tab, tmp_path)
    for width, height in ((1366, 768), (910, 512), (390, 900)):
        tab.page.set_viewport_size({"width": width, "height": height})
        assert not tab.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert page.bounding_box()["height"] < height - 60
    took = page.evaluate(kernelless.TURNS)
    took += [ms for _ in range(2) for ms in page.evaluate(kernelless.PRESSES)]
    assert min(took) < 50, "milliseconds from a press to the changed picture, at best"
    for style in (kernelless.LIGHT, kernelless.DARK):
        opened(tab, tmp_path, style)
        found = axe.Axe().run(tab.page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
