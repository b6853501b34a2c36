"""The set that the course draws where there are no photographs, and what lesson 07 makes of it."""

import shutil
from pathlib import Path

import papermill
import pytest
import torch
import torchvision
from notebook_files import (
    NOTEBOOKS,
    alt_texts,
    code_cells,
    faults,
    poll_in_slices,
    read,
    result,
)
from small_disk import python_on_disk

from mtl_course import networks, photographs, studies
from mtl_course.datasets import UNKNOWN
from mtl_course.photographs import stand_in
from mtl_course.studies import lesson_07

LESSON = NOTEBOOKS / "07_real_photographs.ipynb"
TINY = lesson_07.SCALES["quick"]._replace(a_steps=4, steps=4, backbone_steps=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("drawn") / "set"
    stand_in.write(made)
    return made


def test_it_is_read_as_photographs_are(folder: Path):
    sizes = {"cifar10": (1000, 200), "stl10": (500, 300), "coco": (500, 300)}
    for name, (train, test) in sizes.items():
        data = getattr(photographs, name)(folder)
        assert (len(data.train), len(data.test)) == (train, test)
        assert data.train.images.float().std() > 20, "they are not empty"


def test_its_classes_are_those_of_the_real_sets(folder: Path):
    a, b = photographs.cifar10(folder).train.classes, photographs.stl10(folder).train.classes
    assert a == tuple(sorted(a)) and set(a) - set(b) == {"automobile", "frog"}
    assert set(b) - set(a) == {"car", "monkey"}
    letters = [stand_in.LETTERS[name] for name in a]
    assert len(set(letters)) == len(a) and stand_in.LETTERS["car"] == stand_in.LETTERS["automobile"]


def test_its_crowds_are_unknown(folder: Path):
    labels = photographs.coco(folder).train.labels
    unknown = (labels == UNKNOWN).sum(dim=0)
    assert unknown[0] > 20 and not unknown[1:].any()


def test_it_is_the_same_each_time(folder: Path, tmp_path: Path):
    stand_in.write(tmp_path / "again")
    for name in ("cifar10", "stl10", "coco"):
        one, two = (getattr(photographs, name)(f).train for f in (folder, tmp_path / "again"))
        assert torch.equal(one.images, two.images) and torch.equal(one.labels, two.labels)


def test_only_what_the_course_drew_has_the_banner(folder: Path, tmp_path: Path):
    assert stand_in.banner(folder) == stand_in.BANNER
    assert stand_in.banner(tmp_path) == ""


def test_photographs_of_yours_come_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MTL_COURSE_PHOTOGRAPHS", str(tmp_path))
    monkeypatch.setattr(stand_in, "results_folder", lambda: folder.parent)
    monkeypatch.setattr(stand_in, "_NAME", folder.name)
    assert stand_in.or_photographs("stl10", "coco") == folder
    (tmp_path / "stl10_binary").mkdir()
    assert stand_in.or_photographs("stl10") == tmp_path
    assert stand_in.or_photographs("stl10", "coco") == folder, "one is missing"
    for part in ("train", "test"):
        (tmp_path / "kept" / "coco-64" / part).mkdir(parents=True)
    assert stand_in.or_photographs("coco", size=64) == tmp_path, "kept at this size"
    assert stand_in.or_photographs("coco", size=32) == folder, "but not at this one"
    with pytest.raises(ValueError, match="name must be one of cifar10, stl10, coco"):
        stand_in.or_photographs("mnist")


DRAW = """import pathlib, sys
from mtl_course import storage
from mtl_course.photographs import stand_in
storage.HOME = stand_in.HOME = pathlib.Path(sys.argv[1])  # of the course
print(stand_in.or_photographs("coco"))
"""


@pytest.mark.parametrize("room", [2_000_000, 6_000_000, 20_000_000])
def test_a_set_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path, room: int):
    disk, none = tmp_path / "disk", str(tmp_path / "none")
    done = python_on_disk(disk, "-c", DRAW, str(disk), room=room, MTL_COURSE_PHOTOGRAPHS=none)
    message, there = done.stderr.splitlines()[-1], disk / "results" / "drawn-1"
    assert message == f"OSError: [Errno 28] No space left on device: '{there}'", done.stderr
    assert done.stdout.split() == [str(there.parent)], "something was left"


def test_in_a_course_that_cannot_be_written_to_it_goes_to_the_users_own_folder(tmp_path: Path):
    disk, own = tmp_path / "disk", tmp_path / "own"
    where = {"MTL_COURSE_PHOTOGRAPHS": str(tmp_path / "none"), "XDG_DATA_HOME": str(own)}
    done = python_on_disk(disk, "-c", DRAW, str(disk), **where)
    assert done.stdout.split() == [str(own / "mtl_course" / "drawn-1")], done.stderr
    assert (own / "mtl_course" / "drawn-1").is_dir()


# -------------------------------------------------------------------------- the lesson's studies


STUDIES = [lesson_07.cifar_to_stl, lesson_07.imagenet_to_coco, lesson_07.together]


@pytest.fixture(scope="module")
def trunk(folder: Path) -> networks.Network:
    return lesson_07.imagenet_trunk(folder, TINY, seed=0)[0]


@pytest.mark.parametrize("make", STUDIES)
def test_a_study_of_the_lesson_scores_each_way_on_the_same_draws(folder: Path, trunk, make):
    source = trunk if make is lesson_07.imagenet_to_coco else None
    rates = lesson_07.chosen_rates(make, folder, TINY, source)
    study = make(folder, TINY, rates)
    rows = studies.run(study, [0], source=source, progress=False, jobs=1)
    assert len(rows) == len(study.grid) and {way for way, _ in rates} == set(rows["way"])
    assert rows[study.score].between(0, 1).all()


@pytest.mark.parametrize("make", STUDIES)
def test_rates_are_chosen_alike_and_without_the_test_set(
    folder: Path, trunk, make, monkeypatch: pytest.MonkeyPatch
):
    """From the same few for every way and size, on seeds and images that are not reported."""
    coco = photographs.coco(folder, size=TINY.size)
    for name, data in {"stl10": photographs.stl10(folder), "coco": coco}.items():
        blind = data._replace(test=None)
        monkeypatch.setattr(photographs, name, lambda *_, blind=blind, **__: blind)
    monkeypatch.setattr(lesson_07, "TRIED", {"own": (1e-3, 1e-2), "backbone": (1e-4, 1e-3)})
    source = trunk if make is lesson_07.imagenet_to_coco else None
    tuning = make(folder, TINY)
    rates = lesson_07.chosen_rates(make, folder, TINY._replace(tuned=True), source)
    cells = {tuple(value for key, value in c.items() if key != "rate") for c in tuning.grid}
    assert set(rates) == cells and len(tuning.grid) == 2 * len(cells)
    assert set(rates.values()) <= {c["rate"] for c in tuning.grid}
    assert min(tuning.seeds) >= 1000, "seeds that no reported study uses"


@pytest.mark.parametrize(("tried", "best"), [((1e-5, 1e-2), 1e-2), ((1e-2, 1.0), 1e-2)])
def test_the_best_rate_is_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tried: tuple[float, ...], best: float
):
    monkeypatch.setattr(lesson_07, "TRIED", lesson_07.TRIED | {"own": tried})
    scale = TINY._replace(labels=(100,), steps=25, a_steps=25, tuned=True)
    assert (
        lesson_07.chosen_rates(lesson_07.cifar_to_stl, folder, scale)["from scratch", 100] == best
    )


def test_without_a_trunk_the_study_says_what_to_give(folder: Path):
    study = lesson_07.imagenet_to_coco(folder, TINY)
    with pytest.raises(ValueError, match="give studies"):
        studies.run(study, [0], jobs=1, progress=False)


def test_a_size_that_there_is_too_little_for_is_left_out(folder: Path):
    """A fifth is held back while rates are chosen, so 400 of 500 are the most."""
    sizes = {(20, 100, 5_000): [20, 100], (5_000,): [400]}
    for wanted, available in sizes.items():
        grid = lesson_07.cifar_to_stl(folder, TINY._replace(labels=wanted)).grid
        assert sorted({cell["labels"] for cell in grid}) == available


# --------------------------------------------------------------------------------- the notebook


def pictures(path: Path) -> list[str]:
    """The alt texts of a notebook's pictures."""
    texts = []
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            texts += alt_texts("".join(output.get("data", {}).get("text/html", "")))
    return texts


def test_the_committed_lesson_says_at_every_figure_that_it_is_drawn():
    texts = pictures(LESSON)
    assert len(texts) >= 6
    assert all(alt.startswith(stand_in.BANNER) for alt in texts)


def test_with_photographs_in_place_no_figure_says_that_it_is_drawn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was read and kept once is all that the lesson needs, and a file of weights."""
    mine = tmp_path / "Fotos 写真"
    shutil.copytree(folder, mine, ignore=shutil.ignore_patterns("kept"))
    for read_in in (photographs.cifar10, photographs.stl10):
        read_in(mine)
    photographs.coco(mine, size=lesson_07.SCALES["quick"].size)
    (mine / stand_in.DRAWN).unlink()
    monkeypatch.setenv("MTL_COURSE_PHOTOGRAPHS", str(mine))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    weights = networks.imagenet_file("resnet18")
    weights.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    poll_in_slices()
    papermill.execute_notebook(
        LESSON, tmp_path / "out.ipynb", cwd=NOTEBOOKS, kernel_name="python3", progress_bar=False
    )
    assert not faults(read(tmp_path / "out.ipynb"))
    texts = pictures(tmp_path / "out.ipynb")
    assert len(texts) == len(pictures(LESSON))
    assert not [alt for alt in texts if stand_in.BANNER in alt or lesson_07.NOT_IMAGENET in alt]
    assert result(read(tmp_path / "out.ipynb"))["drawn"] is False
