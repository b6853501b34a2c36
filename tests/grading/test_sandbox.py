"""Guards `mtl_course.grading.sandbox`: what is counted, by whom, and what is a student's fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from grader import have_a_sandbox

from mtl_course.grading import _walls, sandbox

GROUPS = """#!/bin/sh
echo "$@" >> "{log}"
while [ "$1" != -- ]; do
    case "$1" in MemoryMax=*) most="${{1#MemoryMax=}}" ;; esac
    shift
done
shift
if [ "$1" = sh ]; then echo "{before}$most"; else exec "$@"; fi
"""


@pytest.fixture
def start() -> Iterator:
    """Start kernels that are closed after the test."""
    have_a_sandbox()
    started = []

    def new(**limits: float) -> sandbox.Kernel:
        started.append(sandbox.Kernel(sandbox.Limits(**limits)))
        return started[-1]

    yield new
    for kernel in started:
        kernel.close()


def printed(kernel: sandbox.Kernel, cell: str) -> str:
    return "".join(text for _, text in kernel.request({"cell": cell}))


def test_time_is_computing_and_not_waiting(start):
    kernel = start(seconds=1)
    assert printed(kernel, "import time\ntime.sleep(2)\nprint('slept')") == "slept\n"
    with pytest.raises(sandbox.Died, match="stopped after 1 seconds"):
        kernel.request({"cell": "while True:\n    pass"})
    assert 1 < kernel.seconds < 10


def test_who_only_sleeps_is_stopped_by_the_clock(start):
    with pytest.raises(sandbox.Died, match="stopped after 1 seconds"):
        start(seconds=1).request({"cell": "import time\ntime.sleep(1000)"})


def test_the_computing_of_processes_counts_that_have_ended(start, monkeypatch):
    monkeypatch.setattr(sandbox, "PATIENCE", 100)  # however busy the machine is
    cell = "import subprocess, sys\nfor _ in range(50):\n"
    cell += "    subprocess.run([sys.executable, '-c', 'sum(range(10_000_000))'])"
    kernel = start(seconds=2)
    with pytest.raises(sandbox.Died, match="stopped after 2 seconds"):
        kernel.request({"cell": cell})
    assert kernel.seconds > 2, "it was the clock that stopped it"


def test_files_and_sockets_count_as_memory(start):
    small = start(memory=200_000_000)
    with pytest.raises(sandbox.Died, match="too much memory"):
        small.request({"cell": "open('a', 'wb').write(bytes(250_000_000))\nimport time\n"
                               "time.sleep(20)"})  # fmt: skip
    few = start()
    sockets = "import socket, time\nheld = [socket.socketpair() for _ in range(60)]\n"
    with pytest.raises(sandbox.Died, match="too much memory"):
        few.request({"cell": sockets + "time.sleep(20)"})


def test_a_training_with_workers_stays_below_the_limits(start):
    pytest.importorskip("torch")
    cell = """
import torch
from torch.utils.data import DataLoader, TensorDataset

images = TensorDataset(torch.zeros(512, 3, 32, 32))
for _ in range(2):
    for (batch,) in DataLoader(images, batch_size=64, num_workers=2):
        last = torch.nn.functional.conv2d(batch, torch.zeros(8, 3, 3, 3)).shape
print(tuple(last))
"""
    assert printed(start(), cell) == "(64, 8, 30, 30)\n"


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Put a `systemd-run` on the path that gives no group, and writes down what it is told."""

    def install(before: str = "") -> Path:
        program, log = tmp_path / "systemd-run", tmp_path / "log"
        program.write_text(GROUPS.format(log=log, before=before))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        _walls.has_groups.cache_clear()
        return log

    yield install
    _walls.has_groups.cache_clear()


def test_linux_counts_where_systemd_gives_control_groups(start, systemd):
    log = systemd()
    assert sandbox.has_groups()
    kernel = start(memory=1_000_000_000)
    assert "--user --scope" in (said := log.read_text().splitlines()[-1])
    assert f"MemoryMax={1_250_000_000 // 4096 * 4096} -p MemorySwapMax=0" in said
    assert printed(kernel, "print(open('/proc/1/environ').read().count('XDG'))") == "0\n"
    assert psutil.Process(kernel._process.pid).name() == "bwrap"


def test_a_group_without_its_limit_is_none(start, systemd):
    log = systemd(before="max ")
    assert not sandbox.has_groups()
    start()
    assert len(log.read_text().splitlines()) == 1, "the trial alone"
