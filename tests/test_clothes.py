"""Guards datasets.clothes, datasets.only and photographs.fashion_mnist."""

import gzip
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from notebook_files import ROOT
from torchvision.datasets.mnist import read_image_file, read_label_file

from mtl_course import datasets, photographs
from mtl_course.datasets import CLOTHES, UNKNOWN, Dataset, only
from mtl_course.photographs import _reading

SHIPPED = ROOT / "assets" / "clothes"
OFFICIAL = Path("/usr/share/datasets/fashion-mnist")
NAMES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]


@pytest.fixture(scope="module")
def clothes() -> datasets.Split:
    return datasets.clothes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The four files of two photographs each, one half of them unpacked."""
    pixels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    for name in NAMES:
        values = pixels if "images" in name else np.array([9, 0], np.uint8)
        head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
        data = head + values.tobytes()
        if name.startswith("train"):
            (tmp_path / name).write_bytes(data)
        else:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    return tmp_path


def test_the_shipped_photographs_are_as_many_as_said(clothes):
    for data, two, others in [(clothes.train, 2_500, 1_600), (clothes.test, 1_000, 150)]:
        assert data.images.shape == (2 * two + 8 * others, 1, 28, 28)
        counts = torch.bincount(data.labels).tolist()
        assert dict(zip(CLOTHES, counts, strict=True)) == {
            kind: two if kind in ("T-shirt", "pullover") else others for kind in CLOTHES
        }
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.gz")) < 12_000_000


def test_they_are_what_torchvision_reads(clothes, tmp_path):
    for part, data in zip(("train", "t10k"), clothes, strict=True):
        for kind in ("images-idx3", "labels-idx1"):
            name = f"{part}-{kind}-ubyte"
            (tmp_path / name).write_bytes(gzip.decompress((SHIPPED / f"{name}.gz").read_bytes()))
        assert torch.equal(
            read_image_file(str(tmp_path / f"{part}-images-idx3-ubyte")), data.images[:, 0]
        )
        assert torch.equal(
            read_label_file(str(tmp_path / f"{part}-labels-idx1-ubyte")), data.labels
        )


@pytest.mark.skipif(not OFFICIAL.exists(), reason="apt-get install dataset-fashion-mnist")
def test_they_are_the_first_of_each_kind_of_the_official_ones(clothes):
    for shipped, whole in zip(clothes, photographs.fashion_mnist(), strict=True):
        for kind in range(10):
            mine = shipped.images[shipped.labels == kind]
            assert torch.equal(mine, whole.images[whole.labels == kind][: len(mine)])


@pytest.mark.skipif(not OFFICIAL.exists(), reason="apt-get install dataset-fashion-mnist")
def test_the_command_beside_them_makes_them_again(clothes, tmp_path, monkeypatch):
    shutil.copy(SHIPPED / "make.py", tmp_path)
    monkeypatch.setattr(sys, "argv", ["make.py", str(OFFICIAL)])
    code = compile((tmp_path / "make.py").read_text(), str(tmp_path / "make.py"), "exec")
    exec(code, {"__file__": str(tmp_path / "make.py"), "__name__": "__main__"})
    for made, shipped in zip(datasets.clothes(tmp_path), clothes, strict=True):
        assert torch.equal(made.images, shipped.images)
        assert torch.equal(made.labels, shipped.labels)


def test_files_are_read_packed_and_unpacked(folder):
    for data in datasets.clothes(folder):
        assert data.labels.tolist() == [9, 0]
        assert data.images[1, 0, 0, :3].tolist() == [16, 17, 18]  # 784 remainder 256
        assert data.classes == CLOTHES


def test_a_missing_file_is_named(folder):
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte\.gz"):
        datasets.clothes(folder)


@pytest.mark.parametrize("damage", [b"", b"\0\0\x08", b"\0\0\x08\x03\0\0\0\x02", b"no gzip"])
def test_a_damaged_file_is_named(folder, damage):
    (folder / "train-images-idx3-ubyte").write_bytes(damage)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte in folder .* is damaged"):
        datasets.clothes(folder)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(damage)
    with pytest.raises(ValueError, match="is damaged"):
        datasets.clothes(folder)


def test_a_file_damaged_in_the_middle_is_named(folder):
    path = folder / "t10k-images-idx3-ubyte.gz"
    data = bytearray(path.read_bytes())
    data[10:30] = b"\xff" * 20  # where the packed values begin
    path.write_bytes(data)
    with pytest.raises(ValueError, match="t10k-images"):
        datasets.clothes(folder)


def test_the_whole_set_is_found_where_torchvision_puts_it(folder, tmp_path, monkeypatch):
    home = tmp_path / "home"
    raw = home / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in os.listdir(folder):
        if name.endswith(("ubyte", "ubyte.gz")):
            shutil.move(folder / name, raw)
    assert len(photographs.fashion_mnist(home).train) == 2
    monkeypatch.setenv("MTL_COURSE_PHOTOGRAPHS", str(home))
    assert len(photographs.fashion_mnist().test) == 2


def test_without_it_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(_reading, "_DEBIAN", tmp_path / "nowhere")
    monkeypatch.setenv("MTL_COURSE_PHOTOGRAPHS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"download=True.*dataset-fashion-mnist"):
        photographs.fashion_mnist()


def test_torchvision_is_asked_to_fetch_it(folder, tmp_path, monkeypatch):
    def fetch(root, download):
        assert download
        shutil.copytree(folder, Path(root) / "FashionMNIST" / "raw")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", fetch)
    assert len(photographs.fashion_mnist(tmp_path / "new", download=True).train) == 2


# ---------------------------------------------------------------------- only


def test_of_classes_only_those_images_are_left_and_numbered_anew(clothes):
    two = only(clothes.test, ["pullover", "T-shirt"])
    assert two.classes == ("pullover", "T-shirt")
    assert len(two) == 2_000
    for label, name in enumerate(two.classes):
        before = clothes.test.images[clothes.test.labels == CLOTHES.index(name)]
        assert torch.equal(two.images[two.labels == label], before)


def test_of_tasks_only_those_columns_are_left():
    labels = torch.tensor([[0, 1, UNKNOWN], [1, 0, 1]], dtype=torch.int8)
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    chosen = only(Dataset(images, labels, tasks=("a", "b", "c")), ["c", "a"])
    assert chosen.tasks == ("c", "a")
    assert chosen.labels.tolist() == [[UNKNOWN, 0], [1, 1]]
    assert chosen.images is images


@pytest.mark.parametrize("names", [["hat"], ["coat", "hat"], ["coat", "coat"]])
def test_a_name_that_is_not_there_or_there_twice_is_refused(clothes, names):
    with pytest.raises(ValueError, match="names"):
        only(clothes.test, names)
