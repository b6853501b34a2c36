"""A Python for code that nobody trusts, shut in by bubblewrap (Linux).

It has no network, sees no file but the system's and this environment's, and cannot see other
processes. Memory, processes, files, output and time are bounded. Two pipes are all that leads out.
It is killed when it is no longer needed, with all it has started, and never asked.
Namespaces are not a virtual machine: a hole in the Linux kernel is a hole in this sandbox.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import platform
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from mtl_course.base import HOME
from mtl_course.grading import wire

SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
FILES = ("/etc/hosts", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts")
_SHUT_IN = """
bwrap --unshare-all --unshare-user --disable-userns --cap-drop ALL --uid 1000 --gid 1000
--hostname sandbox --die-with-parent --new-session --clearenv
--setenv PATH /usr/local/bin:/usr/bin:/bin --setenv HOME /tmp/home --setenv LANG C.UTF-8
--setenv PYTHONPATH {home} --setenv PYTHONDONTWRITEBYTECODE 1 --setenv PYTHONNOUSERSITE 1
--setenv OMP_NUM_THREADS 1 --setenv MPLBACKEND module://matplotlib_inline.backend_inline
--setenv PYTHONUNBUFFERED 1 --setenv PYTHONIOENCODING utf-8:replace
--proc /proc --dev /dev --size {disk} --tmpfs /tmp --size {disk} --tmpfs /dev/shm
--dir /tmp/home --chdir /tmp/home
"""  # one thread: a sandbox a core
# Memory that belongs to no process is not counted as anybody's: memfd_create, memfd_secret, shmget,
# msgget and semget are refused. By machine: its number in an audit's words, and theirs.
_CALLS = {
    "x86_64": (0xC000003E, (319, 447, 29, 68, 64)),
    "aarch64": (0xC00000B7, (279, 447, 194, 186, 190)),
}
_LOOK_EVERY = 0.2  # seconds, at the clock and the memory


class Refused(RuntimeError):
    """Grading does not start, because it would not be safe. The text says what to do."""


class Died(RuntimeError):
    """The sandbox ended, or was ended. The text says why, to the student."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use."""

    seconds: float = 20.0  # a cell, or an answer to a check
    whole: float = 150.0  # seconds, a notebook with all its checks
    memory: int = 2_000_000_000  # bytes, of all its processes together
    data: int = 1_500_000_000  # bytes, of each process
    processes: int = 64
    disk: int = 256_000_000  # bytes, in memory; gone with the sandbox
    said: int = 200_000  # characters of output that are kept of a cell
    message: int = 12_000_000  # bytes of what comes out at once; more ends the sandbox


def ready(*, root: bool = False) -> None:
    """Makes sure that untrusted code can be shut in here, by shutting something in.

    root: grade although this process is root's, whom no limit on processes binds.
    Raises: Refused, with what to install or change.
    """
    if not sys.platform.startswith("linux") or platform.machine() not in _CALLS:
        raise Refused(f"the sandbox needs Linux on {' or '.join(_CALLS)}: use a virtual machine.")
    if os.geteuid() == 0 and not root:
        raise Refused(
            "root must not grade; do it as an ordinary user (or, knowing better, --root)."
        )
    for name, package in (("bwrap", "bubblewrap"), ("prlimit", "util-linux")):
        if not shutil.which(name):
            raise Refused(
                f"the sandbox needs {name}: install {package} (apt-get install {package})."
            )
    tried = _started("import IPython, mtl_course.grading.wire", Limits(), stderr=subprocess.PIPE)
    said = tried.communicate()[1].decode(errors="replace").strip()
    if tried.returncode:
        raise Refused(
            f"bubblewrap makes no sandbox here: {said[-300:]} It must be 0.8 or "
            "newer, and it needs user namespaces: on Ubuntu 24.04 an AppArmor profile for bwrap, "
            "in a container a seccomp profile. Or grade in a virtual machine with Debian."
        )


def version() -> str:
    """bubblewrap's."""
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout.strip()


def _started(code: str, limits: Limits, **pipes: int) -> subprocess.Popen:
    """Starts a Python that runs `code`, shut in."""
    command = [part.format(home=HOME, disk=limits.disk) for part in _SHUT_IN.split()]
    for path in sorted(_seen()):  # from the outside in
        link = path.is_symlink()
        command += ["--symlink" if link else "--ro-bind", os.readlink(path) if link else path, path]
    for path in FILES:
        command += ["--ro-bind-try", path, path]
    # Last of all, for without a size of their own they would be filled.
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]
    # After the namespace is made: its processes are counted apart from the grader's own.
    bounds = [f"--data={limits.data}", f"--nproc={limits.processes}", f"--fsize={limits.disk}"]
    # Tables of pages and buffers of sockets are counted as no process's memory.
    bounds += ["--as=16000000000", "--nofile=256", "--core=0"]
    inside = ["prlimit", *bounds, "--", sys.executable, "-c", code]
    with tempfile.TemporaryFile() as calls:
        calls.write(_refused_calls())
        calls.seek(0)
        return subprocess.Popen(
            [*command, "--seccomp", str(calls.fileno()), *inside],
            start_new_session=True,
            pass_fds=[calls.fileno()],
            env={"PATH": os.environ["PATH"]},  # it can be read in there, as that of process 1
            **pipes,
        )


def _refused_calls() -> bytes:
    """A program for the Linux kernel, which it asks about each call: see seccomp(2)."""
    number, calls = _CALLS[platform.machine()]
    refuse = len(calls) + 1  # steps from the first comparison with a call's number
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, number), (0x06, 0, 0, 0), (0x20, 0, 0, 0)]
    steps += [(0x35, refuse, 0, 0x40000000)]  # numbers of another way to call, x32
    steps += [(0x15, refuse - 1 - k, 0, call) for k, call in enumerate(calls)]
    steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | errno.ENOSYS)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _seen() -> set[Path]:
    """The folders that a sandbox sees: the system's, this Python's, and the course's own."""
    folders = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()}
    folders |= {*map(Path, SYSTEM), HOME / "mtl_course", HOME / "assets"}
    return {folder for folder in folders if folder.is_dir()}


def hides(secret: Path) -> bool:
    """True when no sandbox sees this file or folder."""
    return not any(secret.resolve().is_relative_to(folder.resolve()) for folder in _seen())


class Kernel:
    """A Python in a sandbox of its own; until it is killed it does what it is asked (`wire.serve`).

    Raises: Refused if it does not start.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._why = limits, "stopped: it ended its own process"
        code = "from mtl_course.grading import wire; wire.serve()"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process, self._end = _started(code, limits, **pipes), math.inf
        self._first: list[psutil.Process] = []  # of the sandbox's processes, once it is there
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            self.ask({"cell": ""}, 60)
        except Died as died:  # no code of a student's has run yet
            raise Refused(f"the sandbox does not start: {died}") from None
        self._first = psutil.Process(self._process.pid).children()

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Ends all that runs in the sandbox. It may be called more than once."""
        with contextlib.suppress(ProcessLookupError):
            if not self.dead:
                os.killpg(self._process.pid, signal.SIGKILL)
        # All that runs in there ends with its first process, which a student's code can have made
        # deaf to the end of the one that started it.
        for process in self._first:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def ask(self, asked: dict, seconds: float | None = None) -> object:
        """What comes back when the sandbox is `asked` something: see `wire.serve`.

        Raises: Died if the time is over, a limit is passed, or it ends.
        """
        seconds = self._limits.seconds if seconds is None else seconds
        number = secrets.token_hex(8)  # that no reply can be ready for beforehand
        line = f"{wire.pack([number, asked])}\n".encode()
        self._late, self._end = f"stopped after {seconds:.0f} seconds", time.monotonic() + seconds
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            while (line := self._process.stdout.readline(self._limits.message)).endswith(b"\n"):
                answered, reply = wire.unpack(line.decode())
                if answered == number:  # all else is what nobody has asked for
                    return reply
            much = len(line) == self._limits.message
            why = "stopped: it put out too much" if much else self._why
        except BrokenPipeError:
            why = self._why
        except (ValueError, TypeError):
            why = "stopped: it sent nonsense"
        finally:
            self._end = math.inf
        self.kill()
        raise Died(why)

    def _watch(self) -> None:
        """Kills it when its time is over or it takes too much memory: then the pipes end, too."""
        try:
            while not self.dead:
                if time.monotonic() > self._end:
                    self._why = self._late
                    return
                if _memory(self._process.pid) > self._limits.memory:
                    self._why = "stopped: it took too much memory"
                    return
                time.sleep(_LOOK_EVERY)
        finally:  # whatever happens, nothing runs unwatched
            self.kill()


def _memory(pid: int) -> int:
    """Bytes that a process and all it has started hold, what they share counted once."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [(first := psutil.Process(pid)), *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    total += process.memory_full_info().pss
                except psutil.AccessDenied:
                    total += process.memory_info().rss
    return total
