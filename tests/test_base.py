"""Guards mtl_course.base: streams of random numbers, counts, files, disks, threads, the machine."""

import errno
import itertools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from small_disk import python_on_disk

from mtl_course import base, storage
from mtl_course.base import atomic, check_count, derive_seed, threads
from mtl_course.storage import new_array

# ---------------------------------------------------------------------- streams


def test_streams_of_roles_and_seeds_are_all_different():
    roles = ["A", "B", "A network", "B network", "trunk", "head", "sample", "epoch 0", "epoch 1"]
    words = [derive_seed(seed, role) for seed, role in itertools.product(range(50), roles)]
    assert len(set(words)) == len(words), "two roles or seeds share a stream of random numbers"
    assert all(0 <= word < 2**63 for word in words)


def test_a_stream_is_the_same_on_every_machine():
    # Worked out from numpy's documented SeedSequence, whose output numpy promises not to change.
    state = np.random.SeedSequence([3, 65]).generate_state(1, np.uint64)[0]
    assert derive_seed(3, "A") == int(state) // 2


def test_streams_share_no_draws():
    draws = [
        set(np.random.default_rng(derive_seed(seed, role)).random(1000).tolist())
        for seed, role in itertools.product(range(3), ["A", "B", "test"])
    ]
    assert not any(one & other for one, other in itertools.combinations(draws, 2))


@pytest.mark.parametrize("seed", [-1, 1.5, "3", None])
def test_a_seed_that_is_no_whole_number_is_named(seed):
    with pytest.raises(ValueError, match="seed"):
        derive_seed(seed, "A")


# ---------------------------------------------------------------------- counts


def test_numpy_integers_are_whole_numbers():
    assert derive_seed(np.int64(3), "A") == derive_seed(3, "A")
    assert check_count("steps", torch.tensor(3), least=3) == 3
    assert type(check_count("steps", np.int32(3), least=0)) is int


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (2, "steps must be at least 3; got 2"),
        (-1, "steps must be at least 3; got -1"),
        (3.0, "steps must be a whole number; got 3.0"),
        ("3", "steps must be a whole number; got '3'"),
        (None, "steps must be a whole number; got None"),
    ],
)
def test_a_count_that_is_wrong_is_named(value, word):
    with pytest.raises(ValueError, match=word):
        check_count("steps", value, least=3)


# ---------------------------------------------------------------------- whole files


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_leaves_the_old_file_and_no_other(tmp_path, error):
    file = tmp_path / "notes.txt"
    file.write_text("old")
    with pytest.raises(error), atomic(file) as new:
        new.write_text("new")
        assert file.read_text() == "old"
        raise error
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    with atomic(file) as new:
        new.write_text("new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_makes_a_folder_whole_or_not_at_all(tmp_path, error):
    folder = tmp_path / "new" / "roads"
    with pytest.raises(error), atomic(folder) as draft:
        draft.mkdir()
        (draft / "images.npy").write_text("half")
        raise error
    assert list(folder.parent.iterdir()) == []
    with atomic(str(folder)) as draft:
        draft.mkdir()
        (draft / "images.npy").write_text("whole")
        assert not folder.exists()
    assert (folder / "images.npy").read_text() == "whole"
    assert list(folder.parent.iterdir()) == [folder]


def test_atomic_never_takes_the_place_of_a_folder_that_holds_something(tmp_path):
    folder = tmp_path / "roads"
    folder.mkdir()
    (folder / "mine").write_text("old")
    with pytest.raises(OSError), atomic(folder) as draft:
        draft.mkdir()
    assert (folder / "mine").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_atomic_cleans_up_where_nothing_was_written(tmp_path):
    with pytest.raises(RuntimeError), atomic(tmp_path / "notes.txt"):
        raise RuntimeError
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "notes.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- full and read-only disks


def test_an_error_of_the_disk_names_the_file_and_not_its_draft(tmp_path):
    with pytest.raises(OSError) as full, atomic(tmp_path / "notes.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.filename == str(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError) as nowhere, atomic(tmp_path / "roads") as draft:
        draft.mkdir()
        (draft / "there" / "images.npy").write_text("")
    assert nowhere.value.filename == str(tmp_path / "roads" / "there" / "images.npy")
    with pytest.raises(OSError, match=r"^the server is gone$"), atomic(tmp_path / "roads"):
        raise OSError("the server is gone")
    assert list(tmp_path.iterdir()) == []


def test_a_new_array_has_its_room_on_the_disk(tmp_path):
    array = new_array(tmp_path / "images.npy", (1000, 3, 32), np.int16)
    array[:] = 7
    array.flush()
    assert np.array_equal(np.load(tmp_path / "images.npy"), np.full((1000, 3, 32), 7, np.int16))
    if hasattr(os, "posix_fallocate"):
        new_array(tmp_path / "zeros.npy", (1000, 3, 32), np.int16)
        assert os.stat(tmp_path / "zeros.npy").st_blocks * 512 >= 192_000, "the file has holes"


def test_where_no_room_can_be_taken_it_is_measured(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    usage = shutil.disk_usage(tmp_path)._replace(free=900_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    new_array(tmp_path / "small.npy", (800_000,), np.int8)
    with pytest.raises(OSError, match=r"1\.0 MB needed, 0\.9 MB free.*large\.npy"):
        new_array(tmp_path / "large.npy", (1_000_000,), np.int8)
    assert [path.name for path in tmp_path.iterdir()] == ["small.npy"]


SAVE = """import sys
from mtl_course.training import _checkpoints
from mtl_course import networks
_checkpoints.save(networks.shared(("car",), width=16, seed=0), sys.argv[1])
"""


@pytest.mark.parametrize("room", [4_096, 12_288, 24_576, 40_960])  # it takes 72 kB
def test_a_checkpoint_that_the_disk_has_no_room_for_is_named(tmp_path, room):
    done = python_on_disk(tmp_path / "disk", "-c", SAVE, f"{tmp_path}/disk/trunk.pt", room=room)
    assert "OSError: [Errno 28] No space left on device" in done.stderr, done.stderr
    assert "disk/trunk.pt'" in done.stderr.splitlines()[-1]
    assert not done.stdout, "something was left"


def test_a_checkpoint_where_nothing_can_be_written_asks_for_another_path(tmp_path):
    done = python_on_disk(tmp_path / "disk", "-c", SAVE, f"{tmp_path}/disk/new/trunk.pt")
    assert "choose another path for the checkpoint" in done.stderr, done.stderr
    assert "disk/new'" in done.stderr.splitlines()[-1]


# ---------------------------------------------------------------------- threads


def test_one_thread_gives_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError), threads(1):
            raise RuntimeError
        assert torch.get_num_threads() == 2
        assert threads(1)(torch.get_num_threads)() == 1, "it is a decorator, too"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_calls_of_threads_that_overlap_leave_the_number_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    inside, leave = threading.Event(), threading.Event()
    seen = {}

    def other():
        with threads(1):
            inside.set()
            leave.wait(600)
            seen["in the other, alone"] = torch.get_num_threads()
        seen["after the other"] = torch.get_num_threads()

    try:
        thread = threading.Thread(target=other)
        with threads(1):
            thread.start()
            inside.wait(600)
            seen["in both"] = torch.get_num_threads()
        seen["after the first"] = torch.get_num_threads()
        leave.set()
        thread.join()
        fresh = threading.Thread(target=lambda: seen.update(fresh=torch.get_num_threads()))
        fresh.start()
        fresh.join()
        seen["in the end"] = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert seen == {
        "in both": 1, "after the first": 2, "in the other, alone": 1, "after the other": 2,
        "fresh": 2, "in the end": 2,
    }  # fmt: skip


def test_calls_of_threads_nest():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads(2):
            with threads(1):
                with threads(2):
                    assert torch.get_num_threads() == 1
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------------- the reader's machine


def test_results_lie_in_the_course_if_it_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "HOME", tmp_path)
    assert storage.results_folder() == tmp_path / "results"
    assert list(tmp_path.iterdir()) == [], "asking for the folder leaves something in the course"


def test_results_lie_in_the_users_folder_if_the_course_is_read_only(tmp_path, monkeypatch):
    """No folder can be made under a file, whoever runs the tests."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(storage, "HOME", tmp_path / "file")
    monkeypatch.setattr(storage.platformdirs, "user_data_path", lambda name: Path("data of", name))
    assert storage.results_folder() == Path("data of", "mtl_course")


def test_a_folder_on_a_disk_that_refuses_files_cannot_be_written(tmp_path):
    assert storage.writable(tmp_path / "new" / "rows")
    code = "import pathlib, sys; from mtl_course.storage import writable as w; "
    code += "print(w(pathlib.Path(sys.argv[1])))"
    done = python_on_disk(tmp_path / "disk", "-c", code, str(tmp_path / "disk" / "new" / "rows"))
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_character_that_the_terminal_lacks_is_no_error(encoding):
    code = "import sys; from mtl_course.__main__ import main; main(['report'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('a \\u2192 b'); print('\\u2212', file=sys.stderr)"],
        cwd=base.HOME, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = done.stdout.decode(encoding).splitlines()[-1]
    assert last.split() == ["a", "→" if encoding == "utf-8" else "?", "b"]


def test_an_interruption_is_one_line_in_jupyter(capsys):
    shell = InteractiveShell()
    shell.user_ns["Interrupted"] = storage.Interrupted
    shell.run_cell("raise Interrupted('Interrupted: 3 of 12 are kept.')")
    shown = capsys.readouterr()
    assert (shown.out + shown.err).strip() == "Interrupted: 3 of 12 are kept."
    assert shell.run_cell("1 + 1").result == 2
