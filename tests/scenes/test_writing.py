"""Guards scenes.write and the command `python -m mtl_course scenes`: scenes on disk."""

import itertools
import json
import re
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from notebook_files import ROOT
from scene_helpers import same
from small_disk import python_on_disk

from mtl_course import datasets
from mtl_course.__main__ import main
from mtl_course.scenes import THE_FOUR, _drawing, draw, write


def test_scenes_on_disk_are_those_that_draw_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(_drawing, "_CHUNK", 16)
    folder = tmp_path / "new" / "roads"
    write(folder, 50, 3, tasks=("night", "car"), size=20, progress=False)
    kept = datasets.stored(folder)
    assert same(kept, draw(50, 3, tasks=("night", "car"), size=20))
    assert kept.tasks == ("night", "car")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["images.npy", "labels.npy", "names.json"]
    content = (folder / "images.npy").read_bytes()
    with pytest.raises(FileExistsError, match="roads exists already"):
        write(folder, 50, 4, progress=False)
    assert (folder / "images.npy").read_bytes() == content
    assert [path.name for path in folder.parent.iterdir()] == ["roads"]


@pytest.mark.parametrize(  # Ctrl-C reaches the thread that collects, never one that paints
    ("where", "error"),
    [("paint", OSError), ("_answers", OSError), ("_answers", KeyboardInterrupt)],
)
def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch, where, error):
    real, calls = getattr(_drawing, where), itertools.count()

    def breaks(*arguments):
        if next(calls) == 2:
            raise error("no space left on device")
        return real(*arguments)

    monkeypatch.setattr(_drawing, where, breaks)
    monkeypatch.setattr(_drawing, "_CHUNK", 8)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    with pytest.raises(error):
        write(tmp_path / "roads", 64, 3, progress=False)
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("tasks", [THE_FOUR, ("night",)])
def test_stored_images_stay_on_disk(tmp_path, monkeypatch, tasks):
    write(tmp_path / "roads", 20, 3, tasks=tasks, progress=False)
    maps, real = [], np.load

    def load(*arguments, **settings):
        maps.append(real(*arguments, **settings))
        return maps[-1]

    monkeypatch.setattr(np, "load", load)
    kept = datasets.stored(tmp_path / "roads")
    assert [type(array) for array in maps] == [np.memmap, np.memmap]
    assert kept.images.data_ptr() == maps[0].ctypes.data, "the images were copied into memory"
    assert len(kept.subset([3, 1])) == 2
    content = (tmp_path / "roads" / "images.npy").read_bytes()
    kept.images.fill_(0)
    assert (tmp_path / "roads" / "images.npy").read_bytes() == content, "a file was written to"


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def names(**content):
    return lambda folder: (folder / "names.json").write_text(json.dumps(content))


DAMAGE = {
    "no images": lambda folder: (folder / "images.npy").unlink(),
    "no labels": lambda folder: (folder / "labels.npy").unlink(),
    "images cut short": lambda folder: cut(folder / "images.npy"),
    "labels cut short": lambda folder: cut(folder / "labels.npy"),
    "images empty": lambda folder: (folder / "images.npy").write_bytes(b""),
    "labels are text": lambda folder: (folder / "labels.npy").write_text("0, 1, 0, 1"),
    "names cut short": lambda folder: cut(folder / "names.json"),
    "names empty": lambda folder: (folder / "names.json").write_bytes(b""),
    "names are no text": lambda folder: (folder / "names.json").write_bytes(b"\xff\xfe\x00"),
    "names are a list": lambda folder: (folder / "names.json").write_text('["car"]'),
    "names of something": names(colors=["red"]),
    "too few names": names(tasks=["car"]),
    "labels too few": lambda folder: np.save(folder / "labels.npy", np.zeros((3, 4), np.int8)),
    "labels out of range": lambda folder: np.save(
        folder / "labels.npy", np.full((20, 4), 7, np.int8)
    ),
    "labels of objects": lambda folder: np.save(
        folder / "labels.npy", np.array([{}, None]), allow_pickle=True
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_by_name(tmp_path, damage):
    folder = tmp_path / "roads"
    write(folder, 20, 3, progress=False)
    DAMAGE[damage](folder)
    with pytest.raises(ValueError, match=r"roads is damaged.*write it again"):
        datasets.stored(folder)


def test_a_folder_without_a_dataset_is_refused_by_name(tmp_path):
    for folder in (tmp_path, tmp_path / "nosuch"):
        with pytest.raises(FileNotFoundError, match=r"holds no dataset.*names\.json"):
            datasets.stored(folder)


# ---------------------------------------------------------------------- the command


def command(*arguments):
    main(["scenes", *map(str, arguments)])


def test_the_command_draws_the_same_scenes_in_another_process(tmp_path):
    folder = tmp_path / "roads"
    arguments = ["300", str(folder), "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "mtl_course", "scenes", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{folder}: 300 scenes in" in done.stdout
    assert "scenes a second" in done.stdout
    assert same(datasets.stored(folder), draw(300, seed=1))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["0", "roads"], "count must be at least 1"),
        (["many", "roads"], "count"),
        (["5", "roads", "--seed", "-1"], "seed must be at least 0"),
        (["5", "roads", "--size", "15"], "size must be at least 16"),
        (["5", "roads", "--tasks", "cat"], "no task 'cat'; did you mean .*car"),
        (["5", "there"], "there exists already"),
        (["5"], "folder"),
    ],
)
def test_the_command_says_what_is_wrong(capsys, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(SystemExit) as stop:
        command(*arguments)
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(f"^python -m mtl_course scenes: error: .*{word}", last), last
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_full_disk_is_told_before_anything_is_drawn(tmp_path):
    folder = tmp_path / "disk" / "roads"
    done = python_on_disk(
        folder.parent, "-m", "mtl_course", "scenes", "5000", str(folder), room=2_000_000
    )
    assert done.returncode == 2, done.stderr
    told = done.stderr.splitlines()[-1]
    assert "No space left on device: 15.4 MB needed, 2.0 MB free; make room or choose" in told
    assert told.endswith(f"'{folder}/images.npy'"), "the file, and not its draft"
    assert "drawing" not in done.stderr
    assert not done.stdout, "something was left"


def test_a_folder_that_cannot_be_written_is_told_by_the_command(tmp_path):
    folder = tmp_path / "disk" / "roads"
    done = python_on_disk(folder.parent, "-m", "mtl_course", "scenes", "5", str(folder))
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"Read-only file system: '{folder}'")


def test_the_command_knows_all_that_write_knows(tmp_path):
    folder = tmp_path / "roads"
    command(5, folder, "--tasks", "night", "red car", "--size", "20")
    assert same(datasets.stored(folder), draw(5, 0, tasks=("night", "red car"), size=20))
