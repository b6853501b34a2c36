"""Disks of their own for tests: one that is soon full, or one that nobody can write to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from notebook_files import ROOT


def python_on_disk(
    place: Path, *arguments: str, room: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python where the folder `place` is an empty disk of `room` bytes, or, with 0, read-only.

    Root ignores the permissions of folders, so that only a disk of its own is the same for all.

    Returns: what it said; its standard output ends with the paths in a disk with room.
    """
    if not sys.platform.startswith("linux") or not shutil.which("bwrap"):
        pytest.skip("a disk of its own needs Linux and bubblewrap: apt-get install bubblewrap")
    place.mkdir(exist_ok=True)
    disk = ["--size", str(room), "--tmpfs"] if room else ["--ro-bind", str(place)]
    look = 'find "$0" -mindepth 1' if room else ":"
    script = f'"$@"; status=$?; {look}; exit $status'
    return subprocess.run(
        ["bwrap", "--dev-bind", "/", "/", *disk, str(place),
         "sh", "-c", script, str(place), sys.executable, *arguments],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, encoding="utf-8",
        timeout=600,
    )  # fmt: skip
