"""Guards mtl_course.explorers.label_sheet, and its module in Chromium, without a kernel.

tests/test_browser.py has it in JupyterLab, tests/test_presenter.py under Voilà, tests/test_site.py
in the site.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_course import datasets, losses, scenes
from mtl_course.datasets import UNKNOWN, Dataset
from mtl_course.explorers.label_sheet import LabelSheet

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)

import kernelless  # noqa: E402 - what they import needs playwright
import lab  # noqa: E402

TEXT = {0: "0", 1: "1", UNKNOWN: "?"}


def sheet(labels: list[list[int]], logits: list[list[float]], **more) -> LabelSheet:
    images = torch.zeros(len(labels), 3, 32, 32, dtype=torch.uint8)
    start = torch.tensor(labels, dtype=torch.int8)
    return LabelSheet(Dataset(images, start, tasks=scenes.THE_FOUR), torch.tensor(logits), **more)


entries = st.lists(
    st.lists(st.sampled_from([0, 1, UNKNOWN]), min_size=4, max_size=4), min_size=8, max_size=8
)
numbers = st.lists(
    st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), min_size=8, max_size=8
)


@settings(max_examples=50, deadline=None)
@given(entries, numbers)
def test_the_label_sheet_shows_the_lectures_loss(labels, logits):
    """For every state: the loss, its terms and its gradient are those of `losses.multi_task`."""
    widget = sheet([[0] * 4] * 8, logits)
    widget._front.value = labels  # as the page sends them
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(labels, dtype=torch.int8)
    loss = losses.multi_task(z, y)
    loss.backward()
    assert torch.equal(widget.labels, y)
    assert widget.loss() == pytest.approx(loss.item(), abs=1e-9)
    assert torch.allclose(widget.gradient(), z.grad, atol=1e-12)
    assert (widget.gradient()[y == UNKNOWN] == 0).all()
    sums = losses.multi_task_sums(z.detach(), y)[0]
    assert torch.allclose(widget.terms().sum(dim=0), sums, atol=1e-9)


def test_the_sheet_says_what_must_be_known_of_its_images():
    widget = sheet([[0] * 4] * 8, [[0.0] * 4] * 8, banner="Drawn <i>")
    assert widget.static()["text/plain"].startswith("Drawn <i>. Y of 8 scenes")
    assert "Drawn &lt;i&gt;" in widget._front.attributes()


def test_the_sheet_refuses_logits_of_other_tasks():
    with pytest.raises(ValueError, match="logits"):
        sheet([[0] * 4] * 8, [[0.0] * 3] * 8)


def test_its_picture_carries_what_a_page_needs(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    sheet([[0] * 4] * 8, [[0.0] * 4] * 8)._ipython_display_()
    assert 'class="mtl-still" data-mtl-front="label_sheet" data-mtl-state=' in shown[0]["text/html"]


# ------------------------------------------------------------------------------------ in a page


@pytest.fixture(scope="module")
def roads() -> LabelSheet:
    """Real scenes with unknown labels, and some logits."""
    logits = torch.linspace(-4, 4, 32).reshape(8, 4).flip(0)
    return LabelSheet(datasets.hide(scenes.draw(8, seed=3), fraction=0.3, seed=1), logits)


def opened(tab: lab.Tab, folder: Path, widget: LabelSheet, style: str = kernelless.LIGHT):
    tab.page.goto(kernelless.write(folder, "label_sheet", widget._front.attributes(), style))
    found = tab.page.locator(".mtl-sheet")
    found.wait_for()
    return found


def test_the_page_computes_what_python_computes(tab: lab.Tab, tmp_path: Path):
    luck = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 2, (8, 4), generator=luck).tolist()
    widget = sheet(labels, (3 * torch.randn(8, 4, generator=luck)).tolist(), banner="<b>Drawn</b>")
    page = opened(tab, tmp_path, widget)
    buttons = page.locator("td button").all()
    for j, task in enumerate(scenes.THE_FOUR):
        for i in range(8):
            y, term, push = labels[i][j], widget.terms()[i, j], widget.gradient()[i, j]
            want = f"{task} in scene {i + 1}: {TEXT[y]}, term {term:.2f}, gradient {push:+.3f}"
            if y == UNKNOWN:
                want = f"{task} in scene {i + 1}: ?, term 0, gradient 0"
            named = buttons[8 * j + i].get_attribute("aria-label")
            assert named.replace("−", "-") == want
            arrow = {True: "▲", False: "▼"}[bool(push < 0)] if y != UNKNOWN else ""
            assert arrow in buttons[8 * j + i].inner_text()
    known = sum(y != UNKNOWN for row in labels for y in row)
    assert f"= {widget.loss():.3f}, a sum over {known} of 32" in page.inner_text()
    assert "<b>Drawn</b>" in page.inner_text(), "a banner is text"
    sums = [f"{total:.2f}" for total in widget.terms().sum(dim=0)]
    assert page.locator("tr > td:last-child").all_inner_texts() == sums


def test_a_press_turns_0_into_1_into_unknown_and_back(tab: lab.Tab, tmp_path: Path):
    page = opened(tab, tmp_path, sheet([[0] * 4] * 8, [[2.0] * 4] * 8))
    entry, answer = page.locator("[title='car in scene 2']"), page.locator(".mtl-answer")
    before = page.locator(".mtl-picture").inner_text()
    seen = []
    for _ in range(3):
        entry.click()
        seen.append((entry.inner_text()[0], answer.inner_text()))
    assert [label for label, _ in seen] == ["1", "?", "0"]
    # The network was wrong, with ŷ = 0.88: log(1 + e²) = 2.13, log(1 + e⁻²) = 0.13.
    assert "car in scene 2 is now 1. Its term goes from 2.13 to 0.13" in seen[0][1]
    assert "The loss falls" in seen[1][1]
    assert "The loss rises" in seen[2][1]
    entry.click()
    page.get_by_role("button", name="Y as it was").click()
    assert "Y is as it was" in answer.inner_text()
    assert page.locator(".mtl-picture").inner_text() == before


def test_the_arrows_move_between_the_entries(tab: lab.Tab, tmp_path: Path, roads: LabelSheet):
    page, keys = opened(tab, tmp_path, roads), tab.page.keyboard
    here = "document.activeElement.title || document.activeElement.textContent"
    visited = []
    for key in ("Tab", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft"):
        keys.press(key)
        visited.append(tab.page.evaluate(here))
    pedestrian, car, stop = scenes.THE_FOUR[:3]
    assert visited == [
        f"{pedestrian} in scene 1", f"{pedestrian} in scene 1", f"{pedestrian} in scene 2",
        f"{car} in scene 2", f"{stop} in scene 2", f"{stop} in scene 1", f"{stop} in scene 1",
    ]  # fmt: skip
    for key in ("Space", "Enter"):
        before = page.locator(f"[title='{stop} in scene 1']").inner_text()
        keys.press(key)
        assert page.locator(f"[title='{stop} in scene 1']").inner_text() != before
        assert tab.page.evaluate(here) == f"{stop} in scene 1", "the focus stays"
    outline = tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    keys.press("Tab")
    assert tab.page.evaluate(here) == "Y as it was", "one stop for the whole sheet"
    keys.press("Shift+Tab")
    assert tab.page.evaluate(here) == f"{stop} in scene 1", "and back to where it was"


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (910, 512), (390, 800)])
def test_each_number_stands_in_its_column(
    tab: lab.Tab, tmp_path: Path, roads: LabelSheet, width: int, height: int
):
    """Also at 150 % of a projector's 1366 × 768 pixels, and on a phone."""
    tab.page.set_viewport_size({"width": width, "height": height})
    page = opened(tab, tmp_path, roads)
    columns = page.evaluate(
        """sheet => [...sheet.querySelectorAll("tr")].map(row =>
          [...row.children].slice(1, 9).map(cell => {
            const box = (cell.querySelector("button, img") ?? cell).getBoundingClientRect();
            return (box.left + box.right) / 2;
          }))"""
    )
    assert len(columns) == 5
    for row in columns:
        assert row == pytest.approx(columns[0], abs=1)
    spilled = page.evaluate(
        "s => [...s.querySelectorAll('button')].filter(b => b.scrollWidth > b.clientWidth).length"
    )
    assert not spilled, "a number is wider than its button"
    assert not tab.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    if width > 390:
        box, last = page.bounding_box(), page.locator("td button").last.bounding_box()
        assert last["y"] + last["height"] - box["y"] < height, "loss, images and Y at one sight"
    else:  # the table scrolls, its tasks stay
        page.locator("td button").last.scroll_into_view_if_needed()
        assert page.locator("th[scope=row]").first.bounding_box()["x"] >= 0


@pytest.mark.parametrize("style", ["LIGHT", "DARK"])
def test_everyone_can_read_it(tab: lab.Tab, tmp_path: Path, roads: LabelSheet, style: str):
    page = opened(tab, tmp_path, roads, getattr(kernelless, style))
    page.locator("button").last.focus()
    found = axe.Axe().run(tab.page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


def test_it_answers_at_once(tab: lab.Tab, tmp_path: Path, roads: LabelSheet):
    """From a press to the changed picture under 50 ms, at best, in twenty tries."""
    opened(tab, tmp_path, roads)
    took = tab.page.evaluate(
        """async () => {
          const took = [];
          for (const button of [...document.querySelectorAll("td button")].slice(0, 20)) {
            const start = performance.now();
            button.click();
            document.body.offsetHeight;
            await new Promise(requestAnimationFrame);
            took.push(performance.now() - start);
          }
          return took;
        }"""
    )
    assert min(took) < 50


def test_its_module_says_what_it_does():
    text = (Path(kernelless.ROOT) / "mtl_course/explorers/label_sheet.js").read_text("utf-8")
    assert text.startswith("// The label sheet")
    assert not re.findall(r"https?:|import ", text), "it needs nothing from elsewhere"
