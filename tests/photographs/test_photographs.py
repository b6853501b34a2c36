"""Real photographs: read from miniature trees in the formats of CIFAR-10, STL-10 and COCO."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import pickle
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from small_disk import python_on_disk
from torchvision.datasets import CIFAR10, STL10

from mtl_course import networks, photographs, training
from mtl_course.datasets import UNKNOWN, Dataset

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
draw = np.random.default_rng(0)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name is not in ASCII."""
    made = tmp_path / "Fotos für später 写真"
    made.mkdir()
    return made


# ------------------------------------------------------------------------------- CIFAR-10, STL-10


@pytest.fixture
def cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """CIFAR-10 with 20 images a batch. Returns: its images and labels."""
    base, kept = folder / "cifar-10-batches-py", {}
    base.mkdir()
    for part in ("train_list", "test_list"):
        rows, labels, sums = [], [], []
        for name, _ in getattr(CIFAR10, part):
            data, answers = draw.integers(0, 256, (20, 3072), np.uint8), draw.permutation(20) % 10
            batch = {"data": data, "labels": answers.tolist(), "batch_label": name}
            (base / name).write_bytes(pickle.dumps(batch))
            rows.append(data)
            labels.append(answers)
            sums.append([name, md5(base / name)])
        monkeypatch.setattr(CIFAR10, part, sums)
        kept[part] = np.concatenate(rows).reshape(-1, 3, 32, 32)
        kept[f"{part} labels"] = np.concatenate(labels)
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    meta = CIFAR10.meta | {"md5": md5(base / "batches.meta")}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return kept


@pytest.fixture
def stl(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """STL-10 with few images, whose columns come first, as in the real files."""
    base, kept = folder / "stl10_binary", {}
    base.mkdir()
    for part, count in (("train", 10), ("test", 20)):
        images = draw.integers(0, 256, (count, 3, 96, 96), np.uint8)
        labels = draw.permutation(count) % 10
        images.transpose(0, 1, 3, 2).tofile(base / f"{part}_X.bin")
        (labels + 1).astype(np.uint8).tofile(base / f"{part}_y.bin")
        sums = [[f"{part}_{what}.bin", md5(base / f"{part}_{what}.bin")] for what in "Xy"]
        more = [["unlabeled_X.bin", "no such file"]] if part == "train" else []
        monkeypatch.setattr(STL10, f"{part}_list", sums + more)
        kept[part], kept[f"{part} labels"] = images, labels
    (base / "class_names.txt").write_text("\n".join(CLASSES))
    return kept


def test_cifar10_is_what_its_files_hold(folder: Path, cifar: dict[str, np.ndarray]):
    train, test = photographs.cifar10(folder)
    for part, data in (("train_list", train), ("test_list", test)):
        assert np.array_equal(data.images.numpy(), cifar[part])
        assert np.array_equal(data.labels.numpy(), cifar[f"{part} labels"])
        assert data.classes == CLASSES


def test_stl10_is_what_its_files_hold(folder: Path, stl: dict[str, np.ndarray]):
    train, test = photographs.stl10(folder, size=96)
    assert np.array_equal(train.images.numpy(), stl["train"])
    assert np.array_equal(test.labels.numpy(), stl["test labels"])


def test_images_are_averaged_down(folder: Path, stl: dict[str, np.ndarray]):
    images = photographs.stl10(folder, size=32).test.images
    wanted = torch.nn.functional.avg_pool2d(torch.from_numpy(stl["test"]).float(), 3)
    assert images.shape == (20, 3, 32, 32)
    assert (images.float() - wanted).abs().max() <= 1


def test_what_was_read_once_is_opened_from_disk(folder: Path, cifar: dict[str, np.ndarray]):
    first = photographs.cifar10(folder, size=16)
    shutil.rmtree(folder / "cifar-10-batches-py")
    again = photographs.cifar10(folder, size=16)
    assert torch.equal(first.train.images, again.train.images)
    with pytest.raises(FileNotFoundError):
        photographs.cifar10(folder, size=24)


def test_a_changed_file_is_reported(folder: Path, cifar: dict[str, np.ndarray]):
    path = folder / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cifar-10-batches-py is damaged"):
        photographs.cifar10(folder)
    assert not (folder / "kept").exists() or not list((folder / "kept").rglob("*.npy"))


def test_a_network_learns_them(folder: Path, cifar: dict[str, np.ndarray]):
    train, test = photographs.cifar10(folder)
    network = networks.classifier(train, width=4)
    training.fit(network, train, steps=3, batch_size=10, seed=0, progress=False)
    assert training.evaluate(network, test)["accuracy"].between(0, 1).all()


# ------------------------------------------------------------------------------------------- COCO


def coco_tree(folder: Path, part: str, marks: list[tuple[int, str, int]], images: int) -> None:
    """A part of COCO: marks are (image, category, iscrowd); image 3 is gray."""
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / part).mkdir()
    names = ["traffic light", "bicycle", "person", "stop sign", "car", "zebra"]
    categories = [{"id": 10 + 7 * k, "name": name} for k, name in enumerate(names)]
    numbers = {category["name"]: category["id"] for category in categories}
    content = {
        "images": [
            {"id": 500 - i, "file_name": f"{500 - i:012}.jpg", "width": 60, "height": 40}
            for i in range(images)
        ],
        "annotations": [
            {"id": k, "image_id": 500 - i, "category_id": numbers[name], "iscrowd": crowd}
            for k, (i, name, crowd) in enumerate(marks)
        ],
        "categories": categories,
    }
    path = folder / "annotations" / f"instances_{part}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for i in range(images):
        picture = Image.new(
            "L" if i == 3 else "RGB", (60, 40), 40 * i if i == 3 else (40 * i, 0, 9)
        )
        picture.save(folder / part / f"{500 - i:012}.jpg", quality=100)


MARKS = [
    (0, "person", 0), (0, "car", 0), (0, "person", 0),  # two of one kind
    (1, "person", 1),  # nothing but a crowd
    (2, "person", 1), (2, "person", 0), (2, "zebra", 0),  # a crowd and one of it
    (3, "person", 0), (3, "person", 1), (3, "stop sign", 0),  # the other way round
    (4, "zebra", 0), (4, "bicycle", 1),  # nothing that is asked for
]  # fmt: skip


@pytest.fixture
def coco(folder: Path) -> Path:
    coco_tree(folder, "train2017", MARKS, images=6)  # of image 5 nothing is marked
    coco_tree(folder, "val2017", [(0, "traffic light", 0)], images=2)
    return folder


def test_coco_answers_the_four_questions(coco: Path):
    train, test = photographs.coco(coco)
    assert train.tasks == ("pedestrian", "car", "stop sign", "traffic light")
    wanted = [  # by image number, which runs the other way
        [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [UNKNOWN, 0, 0, 0], [1, 1, 0, 0],
    ]  # fmt: skip
    assert train.labels.tolist() == wanted
    assert test.labels.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


def test_coco_images_go_with_their_answers(coco: Path):
    images = photographs.coco(coco).train.images
    assert images.shape == (6, 3, 64, 64)
    reds = images[:, 0].float().mean(dim=(1, 2))
    assert (reds - torch.tensor([200, 160, 120, 80, 40, 0])).abs().max() < 3
    assert images[2].float().mean(dim=(1, 2)).std() < 1, "a gray picture has three equal channels"


@pytest.mark.parametrize("damage", ["missing", "cut off", "no picture"])
def test_a_bad_image_is_named(coco: Path, damage: str):
    path = coco / "train2017" / f"{498:012}.jpg"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:300] if damage == "cut off" else b"a page")
    error = FileNotFoundError if damage == "missing" else ValueError
    with pytest.raises(error, match=f"{498:012}"):
        photographs.coco(coco)
    assert not list((coco / "kept").rglob("train")), "nothing half is kept"


def test_bad_annotations_are_named(coco: Path):
    path = coco / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text()[:-10])
    with pytest.raises(ValueError, match=r"instances_train2017\.json is damaged"):
        photographs.coco(coco)


# ----------------------------------------------------------------------- full and read-only disks


def test_photographs_that_the_disk_has_no_room_for(coco: Path):
    code = "from mtl_course import photographs; photographs.coco(size=256)"
    done = python_on_disk(
        coco / "kept", "-c", code, room=1_000_000, MTL_COURSE_PHOTOGRAPHS=str(coco)
    )
    message = done.stderr.splitlines()[-1]
    assert "No space left on device: 1.2 MB needed, 1.0 MB free" in message, done.stderr
    assert message.endswith("kept/coco-256/train/images.npy'")
    assert "train" not in done.stdout, "something was left"


@pytest.mark.parametrize("there", ["unpacked", "packed", "nothing"])
def test_a_folder_that_cannot_be_written_is_reported_first(coco: Path, there: str):
    """Before an archive is read or fetched, which takes long."""
    if there == "packed":
        (coco / "stl10_binary.tar.gz").write_bytes(b"not yet looked at")
    call = "coco()" if there == "unpacked" else f"stl10(download={there == 'nothing'})"
    code = f"from mtl_course import photographs; photographs.{call}"
    done = python_on_disk(coco, "-c", code, MTL_COURSE_PHOTOGRAPHS=str(coco))
    message = done.stderr.splitlines()[-1]
    assert message.startswith("OSError: [Errno 30] Read-only file system: "), done.stderr
    assert "folder= or MTL_COURSE_PHOTOGRAPHS" in message and str(coco) in message


@pytest.mark.parametrize("step", ["fetch", "unpack"])
def test_a_disk_that_gets_full_on_the_way_is_reported(
    folder: Path, offered: type[Offers], monkeypatch: pytest.MonkeyPatch, step: str
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    name = {"fetch": "download_url", "unpack": "extract_archive"}[step]
    monkeypatch.setattr(torchvision.datasets.utils, name, full)
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: '.*stl"):
        photographs.stl10(folder, download=True)
    assert {path.name for path in folder.iterdir()} <= {"stl.tar.gz"}, "nothing half is left"


# --------------------------------------------------------------------------------------- fetching


class Offers(http.server.BaseHTTPRequestHandler):
    """A server that breaks off after `most` bytes."""

    files: ClassVar[dict[str, bytes]]
    requests: ClassVar[list[str]]
    most = 10**9

    def do_GET(self) -> None:
        raw = self.files[self.path]
        self.requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[: self.most])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def offered(folder: Path, stl: dict, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Offers]]:
    """STL-10 is nowhere but on a server."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder / "stl10_binary", "stl10_binary")
    shutil.rmtree(folder / "stl10_binary")
    kind = type("Server", (Offers,), {"files": {"/stl.tar.gz": packed.getvalue()}, "requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/stl.tar.gz"
        checksum = hashlib.md5(packed.getvalue()).hexdigest()
        archive = photographs.ARCHIVES["stl10"][0]._replace(url=url, md5=checksum)
        monkeypatch.setitem(photographs.ARCHIVES, "stl10", [archive])
        yield kind
        server.shutdown()


def test_it_is_fetched_when_asked_to(folder: Path, offered: type[Offers], stl: dict):
    with pytest.raises(FileNotFoundError, match=r"Fetch http.*stl.tar.gz.* and put it into"):
        photographs.stl10(folder)
    assert not offered.requests, "nothing is fetched unasked"
    data = photographs.stl10(folder, size=96, download=True)
    assert np.array_equal(data.train.images.numpy(), stl["train"])


def test_one_that_broke_off_starts_over(folder: Path, offered: type[Offers]):
    offered.most = len(offered.files["/stl.tar.gz"]) // 2
    with pytest.raises(ValueError, match=r"incomplete.*Fetch http.* again"):
        photographs.stl10(folder, download=True)
    assert not list(folder.iterdir()), "nothing half is kept"
    offered.most *= 3
    photographs.stl10(folder, download=True)


def test_where_another_process_was_quicker_its_files_stay(
    folder: Path, offered: type[Offers], monkeypatch: pytest.MonkeyPatch
):
    extract = torchvision.datasets.utils.extract_archive

    def late(*arguments: object) -> None:
        extract(*arguments)
        shutil.copytree(Path(arguments[1], "stl10_binary"), folder / "stl10_binary")
        (folder / "stl10_binary" / "theirs").touch()

    monkeypatch.setattr(torchvision.datasets.utils, "extract_archive", late)
    photographs.stl10(folder, download=True)
    assert (folder / "stl10_binary" / "theirs").exists()
    assert {path.name for path in folder.iterdir()} == {"stl.tar.gz", "stl10_binary", "kept"}


def test_another_file_is_not_taken(folder: Path, offered: type[Offers]):
    offered.files["/stl.tar.gz"] += b"x"
    with pytest.raises(ValueError, match="another file"):
        photographs.stl10(folder, download=True)
    assert not list(folder.glob("stl*")), "and not kept"
    (folder / "stl.tar.gz").write_bytes(b"by hand")
    with pytest.raises(ValueError, match="damaged or another file"):
        photographs.stl10(folder)


def test_without_a_network_it_says_what_to_fetch(folder: Path, monkeypatch: pytest.MonkeyPatch):
    archive = photographs.ARCHIVES["cifar10"][0]._replace(url="http://127.0.0.1:9/cifar.tar.gz")
    monkeypatch.setitem(photographs.ARCHIVES, "cifar10", [archive])
    with pytest.raises(FileNotFoundError, match=r"could not be fetched.*Fetch http.*put it into"):
        photographs.cifar10(folder, download=True)


def test_the_folder_is_the_users_choice(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MTL_COURSE_PHOTOGRAPHS", raising=False)
    assert photographs.folder().parts[-2:] == ("results", "photographs")
    monkeypatch.setenv("MTL_COURSE_PHOTOGRAPHS", str(folder))
    assert photographs.folder() == folder
    assert photographs.folder("here") == Path("here")


# ------------------------------------------------------------------------------- for color networks


def test_a_gray_photograph_fills_three_channels_at_the_size_that_is_asked_for():
    """As PIL enlarges and reduces, which averages where pixels are lost."""
    gray = draw.integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)
    data = Dataset(torch.from_numpy(gray), torch.tensor([0, 1]), classes=("a", "b"))
    for size in (96, 12):
        found = photographs.in_color(data, size)
        assert found.images.shape == (2, 3, size, size) and found.images.dtype == torch.uint8
        assert torch.equal(found.labels, data.labels) and found.classes == data.classes
        for image, pixels in zip(found.images, gray, strict=True):
            want = Image.fromarray(pixels[0]).resize((size, size), Image.Resampling.BILINEAR)
            off = image.int() - torch.from_numpy(np.array(want)).int()
            assert off.abs().max() <= 1  # of rounding


def test_what_cannot_be_brought_to_color_is_refused():
    four = torch.zeros(1, 4, 8, 8, dtype=torch.uint8)
    data = Dataset(four, torch.tensor([0]), classes=("a",))
    with pytest.raises(ValueError, match="data must have images of one or three channels; got 4"):
        photographs.in_color(data, 96)
    with pytest.raises(ValueError, match="size must be"):
        photographs.in_color(data, 7)
