"""A Python for untrusted code, shut in by bubblewrap (Linux).

It has no network, and sees only its own processes and the files of the system and this environment.
Memory, processes, files, output and time are limited. Only two pipes lead out. It is killed, with
all it has started. A hole in the Linux kernel is a hole in it: it is no virtual machine.

A watcher counts its memory. Where systemd gives this user control groups, Linux counts it as well.
"""

import contextlib
import functools
import importlib.util
import math
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE

import psutil

from mtl_course.base import HOME
from mtl_course.grading import wire
from mtl_course.grading._walls import CALLS, Limits, has_groups, start, visible

_WATCH_INTERVAL = 0.2  # seconds between looks at the clock and the memory
PATIENCE = 3  # seconds by the clock for each of computing: others may use the core, too
_PER_FILE = 5_000  # bytes that Linux keeps of an empty one, at most
_BUFFERS = ("core/wmem_max", "core/rmem_max", "ipv4/tcp_wmem", "ipv4/tcp_rmem")


class Refused(RuntimeError):
    """Grading does not start, because it would not be safe. The text says what to do."""


class Died(RuntimeError):
    """The sandbox ended, or was killed. The text tells the student why."""


def check_ready(*, root: bool = False) -> None:
    """Shut something in. Raises: Refused, with what to install, if that fails, or for root.

    root: grade even as root, whom no limit on processes binds.
    """
    if not sys.platform.startswith("linux") or platform.machine() not in CALLS:
        raise Refused(f"the sandbox needs Linux on {' or '.join(CALLS)}: use a virtual machine.")
    if os.geteuid() == 0 and not root:
        raise Refused("do not grade as root: use an ordinary user (or, knowing the risk, --root).")
    for name, package in (("bwrap", "bubblewrap"), ("prlimit", "util-linux")):
        if not shutil.which(name):
            raise Refused(f"the sandbox needs {name}: install it (apt-get install {package}).")
    for module in ("IPython", "numpy", "torch"):
        found = importlib.util.find_spec(module)
        if found is None or hides(Path(found.origin)):
            raise Refused(
                f"the sandbox sees no {module}, since pip put it into a folder of your own "
                "(--user): install everything into an environment (python -m venv), and use that."
            )
    if ":" in str(HOME):
        raise Refused(f"move the course to a folder without a colon in its path; it is {HOME}.")
    trial = start("import IPython, mtl_course.grading.wire", Limits(), stderr=PIPE)
    errors = trial.communicate()[1].decode(errors="replace").strip()
    if trial.returncode:
        raise Refused(
            f"bubblewrap makes no sandbox here: {errors[-300:]} It must be version 0.8 or newer, "
            "and it needs user namespaces: on Ubuntu 24.04 an AppArmor profile for bwrap, in a "
            "container a seccomp profile. Or grade in a virtual machine with Debian."
        )


def version() -> str:
    """Return bubblewrap's version."""
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout.strip()


def hides(secret: Path) -> bool:
    """Return whether no sandbox sees this file or folder."""
    return not any(secret.resolve().is_relative_to(folder.resolve()) for folder in visible())


def counted_by() -> str:
    """Return, in words, who counts the memory of a sandbox here."""
    group = "Linux, in a control group, and " if has_groups() else ""
    return f"{group}a watcher"


class Kernel:
    """A Python in a sandbox of its own, for requests. Raises: Refused if it does not start."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._reason = limits, "stopped: it ended its own process"
        self._end = math.inf, math.inf  # of computing, and by the clock
        self.seconds = 0.0  # of computing, so far
        self._inside: list[psutil.Process] = []  # the sandbox's first processes
        self._open: list[int] = []  # handles of its folders, and of Linux's count of its sockets
        code = "from mtl_course.grading import wire; wire.serve()"
        self._process = start(code, limits, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        try:
            self.request({"cell": ""}, 60)
        except Died as died:  # no code of a student's has run yet
            raise Refused(f"the sandbox does not start: {died}") from None
        self._inside = psutil.Process(self._process.pid).children()
        for path in ("root/tmp", "root/dev/shm", "net/sockstat"):
            try:
                self._open.append(os.open(f"/proc/{self._inside[0].pid}/{path}", os.O_RDONLY))
            except (IndexError, OSError) as error:
                self.close()
                raise Refused(f"the sandbox's {path} cannot be watched: {error}") from None

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Kill all that runs in the sandbox, and close the pipes. It may be called again."""
        self._kill()
        self._watcher.join()
        while self._open:
            os.close(self._open.pop())
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def request(self, request: dict, seconds: float | None = None) -> object:
        """Return the reply of `wire.serve`. Raises: Died if it ends or exceeds a limit."""
        seconds = self._limits.seconds if seconds is None else seconds
        number = secrets.token_hex(8)  # so that no reply can be ready beforehand
        line = f"{wire.pack([number, request])}\n".encode()
        self._late = f"stopped after {seconds:.0f} seconds"
        self._end = self.seconds + seconds, time.monotonic() + PATIENCE * seconds
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            while (line := self._process.stdout.readline(self._limits.message)).endswith(b"\n"):
                replied, reply = wire.unpack(line.decode())
                if replied == number:  # nobody requested anything else
                    return reply
            much = len(line) == self._limits.message
            reason = "stopped: it put out too much" if much else self._reason
        except BrokenPipeError:
            reason = self._reason
        except (ValueError, TypeError):
            reason = "stopped: it sent nonsense"
        finally:
            self._end = math.inf, math.inf
        self.close()
        raise Died(reason)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self.dead:
                os.killpg(self._process.pid, signal.SIGKILL)
        # All in there ends with its first process, which a student's code can have made deaf to
        # the end of the one that started it.
        for process in self._inside:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _watch(self) -> None:
        """Kill it when its time is over or it takes too much memory, which ends the pipes, too."""
        late = much = False
        try:
            while not (self.dead or late or much):
                time.sleep(_WATCH_INTERVAL)
                self.seconds, memory = self._usage()
                computed, clock = self._end
                late = self.seconds > computed or time.monotonic() > clock
                much = memory > self._limits.memory
            if late or much:
                self._reason = self._late if late else "stopped: it took too much memory"
        finally:  # whatever happens, nothing runs unwatched
            self._kill()

    def _usage(self) -> tuple[float, int]:
        """Return the seconds of computing, and bytes, of all in there; shared ones count once.

        What is no process's memory counts, too: files, and as much as its sockets can hold.
        """
        seconds, total = 0.0, 0
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            for process in [first, *first.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    seconds += sum(process.cpu_times()[:4])  # those of its ended children, too
                    try:
                        total += process.memory_full_info().pss
                    except psutil.AccessDenied:
                        total += process.memory_info().rss
        if len(self._open) == 3:
            *disks, sockets = self._open
            for about in map(os.fstatvfs, disks):
                total += (about.f_blocks - about.f_bfree) * about.f_frsize
                total += (about.f_files - about.f_ffree) * _PER_FILE
            total += int(os.pread(sockets, 100, 0).split()[2]) * _per_socket()
        return max(seconds, self.seconds), total


@functools.cache
def _per_socket() -> int:
    """Return the bytes that a socket can hold, on its way out and in."""
    set_out, set_in, out, received = (
        int((Path("/proc/sys/net") / name).read_text().split()[-1]) for name in _BUFFERS
    )
    return max(2 * set_out, out) + max(2 * set_in, received)  # Linux doubles what is set
