"""Guards mtl_course.photographs.own, on trees of clothes with odd files in them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import papermill
import pytest
from notebook_files import NOTEBOOKS, code_cells, faults, poll_in_slices, read, result
from PIL import Image

from mtl_course import datasets, networks, photographs, training

KINDS = ("bag", "sneaker")


@pytest.fixture(scope="module")
def clothes() -> datasets.Dataset:
    return datasets.only(datasets.clothes().train, KINDS)


@pytest.fixture
def tree(tmp_path: Path, clothes: datasets.Dataset) -> Path:
    """Eight photographs of each of two kinds of clothes, as PNG."""
    for k, kind in enumerate(KINDS):
        (tmp_path / kind).mkdir()
        rows = (clothes.labels == k).nonzero()[:8, 0].tolist()
        for number, row in enumerate(rows):
            Image.fromarray(clothes.images[row, 0].numpy()).save(tmp_path / kind / f"{number}.png")
    return tmp_path


def test_a_folder_is_learned_from(tree: Path, clothes: datasets.Dataset):
    data = photographs.own(tree, size=28)
    assert data.train.classes == KINDS and data.train.images.shape == (12, 3, 28, 28)
    assert data.train.labels.tolist() == [0] * 6 + [1] * 6
    first = clothes.images[(clothes.labels == 0).nonzero()[0, 0]]
    assert (data.train.images[0] == first).all(), "the first picture, in three equal channels"
    network = networks.classifier(data.train, width=8)
    training.fit(network, data.train, steps=60, seed=0, progress=False)
    assert training.evaluate(network, data.test)["accuracy"].item() == 1


def test_the_last_quarter_by_name_is_the_test(tree: Path):
    """Neighbors look alike: they lie on one side."""
    data = photographs.own(tree, size=8)
    for number, value in ((6, 40), (7, 90)):
        Image.new("L", (9, 9), value).save(tree / "bag" / f"{number}.png")
    changed = photographs.own(tree, size=8)
    assert (changed.train.images == data.train.images).all()
    assert [int(changed.test.images[row].max()) for row in (0, 1)] == [40, 90]


def test_every_kind_of_picture_is_read(tree: Path):
    """Gray, 16 bits, CMYK, a palette, transparent, moving, with other endings and names."""
    at, red = tree / "bag", Image.new("RGB", (64, 64), (250, 10, 10))
    red.convert("L").save(at / "a.gray.jpg")
    Image.fromarray(np.full((20, 20), 256 * 90, np.uint16)).save(at / "b.16.png")
    red.convert("CMYK").save(at / "c.JPEG")
    red.convert("P").save(at / "d.gif")
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(at / "e.png")
    red.save(at / "f.gif", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    red.save(at / "g 写真 ä.webp")
    red.save(at / "h.bmp")
    data = photographs.own(tree, size=16)
    pixels = [*data.train.images[data.train.labels == 0], *data.test.images[:4]]
    means = [image.float().mean(dim=(1, 2)) for image in pixels[8:]]
    colors = dict(zip("abcdefgh", means, strict=True))
    assert colors["a"].tolist() == pytest.approx([81] * 3, abs=3)
    assert colors["b"].tolist() == [90] * 3
    assert colors["e"].tolist() == [255] * 3, "a transparent picture lies on white"
    for letter in "cdfgh":
        assert colors[letter].tolist() == pytest.approx([250, 10, 10], abs=12), letter


def test_a_picture_is_upright_and_cut_around_the_middle(tree: Path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 30:50] = 255  # a white band in the middle
    pixels[:, :10] = (0, 255, 0)  # green at the left edge, which is cut off
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    for name in ("0.png", "1.png"):
        Image.fromarray(pixels).save(tree / "bag" / name, exif=exif if name == "1.png" else None)
    flat, turned = photographs.own(tree, size=8).train.images[:2].long()
    assert flat[1].sum() == flat[0].sum(), "no green is left"
    assert flat[0, 0, 3] == 255 and flat[0, 0, 0] == 0, "the band goes from top to bottom"
    assert turned[0, 3, 0] == 255 and turned[0, 0, 3] == 0, "turned, from left to right"


def test_a_large_photograph_is_read(tree: Path):
    """100 megapixels, as phones write them."""
    Image.new("RGB", (11_600, 8_700), (10, 200, 10)).save(tree / "bag" / "0.jpg", quality=30)
    assert photographs.own(tree, size=8).train.images[0, 1].float().mean() == pytest.approx(200, 2)


def test_hidden_files_are_passed_over(tree: Path):
    for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini"):
        (tree / "bag" / name).write_bytes(b"no picture")
    (tree / ".ipynb_checkpoints").mkdir()
    (tree / "notes.txt").write_text("beside the classes, it is nobody's picture")
    assert len(photographs.own(tree).train) == 12


ODD = {"broken.jpg": b"\xff\xd8\xff\xe0 no more", "notes.txt": b"text", "写真é.png": b""}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_is_no_picture_is_named(tree: Path, name: str):
    (tree / "sneaker" / name).write_bytes(ODD[name])
    with pytest.raises(ValueError, match="cannot be read") as error:
        photographs.own(tree)
    assert f"sneaker/{name} (" in str(error.value) and "skip_unreadable=True" in str(error.value)
    assert len(photographs.own(tree, skip_unreadable=True).train) == 12


def test_a_truncated_picture_is_named(tree: Path):
    path = tree / "bag" / "3.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"bag/3\.png \("):
        photographs.own(tree)


def test_of_many_unreadable_files_five_are_named(tree: Path):
    for number in range(9):
        (tree / "bag" / f"{number}.txt").write_text("text")
    with pytest.raises(ValueError, match=r"bag/4\.txt \(.*\) and 4 more\. "):
        photographs.own(tree)


def test_class_names_are_composed(tree: Path):
    """macOS writes é as two characters."""
    (tree / "bag").rename(tree / unicodedata.normalize("NFD", "café"))
    assert photographs.own(tree).train.classes[0] == unicodedata.normalize("NFC", "café")


def test_folders_below_a_class_count(tree: Path):
    (tree / "bag" / "z holiday").mkdir()
    for path in sorted((tree / "bag").glob("*.png"))[4:]:
        path.rename(tree / "bag" / "z holiday" / path.name)
    assert len(photographs.own(tree).train) == 12


@pytest.mark.parametrize("count", [0, 1])
def test_one_class_is_too_few(tree: Path, count: int):
    for kind in KINDS[count:]:
        (tree / kind).rename(tree / f".{kind}")
    with pytest.raises(ValueError, match="two classes or more"):
        photographs.own(tree)


def test_too_few_pictures_are_counted(tree: Path):
    for path in sorted((tree / "bag").iterdir())[3:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"4 pictures or more; too few: bag \(3\)"):
        photographs.own(tree)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        photographs.own(tmp_path / "nowhere")


def test_a_size_below_eight_is_refused(tree: Path):
    with pytest.raises(ValueError, match="size must be at least 8"):
        photographs.own(tree, size=4)


# --------------------------------------------------------------------------------- the notebook


def run(place: Path, **parameters: object) -> tuple[str, dict]:
    """Return what the evidence notebook prints with these parameters, and its result."""
    poll_in_slices()
    name, executed = "evidence/07_your_photographs.ipynb", place / "executed.ipynb"
    how = {"cwd": NOTEBOOKS / "evidence", "kernel_name": "python3", "progress_bar": False}
    papermill.execute_notebook(NOTEBOOKS / name, executed, parameters=parameters, **how)
    assert not faults(read(executed))
    outputs = [output for cell in code_cells(read(executed)) for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs), result(read(executed))


@pytest.mark.slow
def test_the_notebook_learns_from_a_folder_with_odd_files(tree: Path, tmp_path_factory):
    Image.new("CMYK", (90, 60), (0, 200, 0, 0)).save(tree / "bag" / "9.jpg")
    (tree / "sneaker" / "写真é.png").write_bytes(b"no picture")
    said, found = run(tmp_path_factory.mktemp("out"), folder=str(tree), labels=8)
    assert "sneaker/写真é.png (no picture" in said and "not your photographs" not in said
    assert "13 to learn from, 4 to test on: bag, sneaker" in said
    assert len(found["verdicts"]) == 2 and found["labels"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "coco"])
def test_the_notebook_takes_a_data_set_that_was_fetched(
    name: str, clothes: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With classes, and with tasks and their '?'."""
    images = photographs.in_color(clothes.sample(40, seed=0), 96)
    if name == "coco":
        labels = np.tile(np.array([[0, 1, 1, 0], [1, 0, -1, 1]], np.int8), (20, 1))
        names = {"tasks": list(photographs.COCO_NAMES)}
    else:
        labels, names = images.labels.numpy(), {"classes": KINDS}
    for part in ("train", "test"):
        kept = tmp_path / "kept" / f"{name}-96" / part
        kept.mkdir(parents=True)
        np.save(kept / "images.npy", images.images.numpy())
        np.save(kept / "labels.npy", labels)
        (kept / "names.json").write_text(json.dumps(names))
    monkeypatch.setenv("MTL_COURSE_PHOTOGRAPHS", str(tmp_path))
    said, found = run(tmp_path, data=name, labels=10)
    assert f"40 to learn from, 40 to test on: {next(iter(names.values()))[0]}" in said
    assert found["data"] == name and len(found["verdicts"]) == (1 if name == "coco" else 2)
