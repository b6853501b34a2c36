"""A Python for untrusted code, shut in by bubblewrap (Linux).

It has no network, and sees only its own processes and the files of the system and this environment.
Memory, processes, files, output and time are limited. Only two pipes lead out. It is killed, with
all it has started. A hole in the Linux kernel is a hole in it: it is no virtual machine.
"""

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
from subprocess import DEVNULL, PIPE

import psutil

from mtl_course.base import HOME
from mtl_course.grading import wire

_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts")
_BWRAP = """
bwrap --unshare-all --unshare-user --disable-userns --cap-drop ALL --uid 1000 --gid 1000
--hostname sandbox --die-with-parent --new-session --clearenv
--setenv PATH /usr/local/bin:/usr/bin:/bin --setenv HOME /tmp/home --setenv LANG C.UTF-8
--setenv PYTHONPATH {home} --setenv PYTHONDONTWRITEBYTECODE 1 --setenv PYTHONNOUSERSITE 1
--setenv OMP_NUM_THREADS 1 --setenv MPLBACKEND module://matplotlib_inline.backend_inline
--setenv PYTHONUNBUFFERED 1 --setenv PYTHONIOENCODING utf-8:replace
--proc /proc --dev /dev --size {disk} --tmpfs /tmp --size {disk} --tmpfs /dev/shm
--dir /tmp/home --chdir /tmp/home
"""  # one thread: there is a sandbox per core
# Memory that belongs to no process counts as nobody's: memfd_create, memfd_secret, shmget, msgget
# and semget are refused. So are add_key, request_key and keyctl, since all sandboxes share one
# session's keys; and io_uring_setup, by which other calls could be made unseen. By machine: its
# number in an audit's terms, theirs, and that of socket.
_CALLS = {
    "x86_64": (0xC000003E, (319, 447, 29, 68, 64, 248, 249, 250, 425), 41),
    "aarch64": (0xC00000B7, (279, 447, 194, 186, 190, 217, 218, 219, 425), 198),
}
_FAMILIES = (1, 2, 10, 16)  # of sockets that may be made: local, IPv4, IPv6 and netlink
_WATCH_INTERVAL = 0.2  # seconds between looks at the clock and the memory


class Refused(RuntimeError):
    """Grading does not start, because it would not be safe. The text says what to do."""


class Died(RuntimeError):
    """The sandbox ended, or was killed. The text tells the student why."""


@dataclass(frozen=True)
class Limits:
    """Limits of one sandbox."""

    seconds: float = 20.0  # for a cell, or for an answer to a check
    total_seconds: float = 150.0  # for a notebook with all its checks
    memory: int = 2_000_000_000  # bytes, of all its processes together
    data: int = 1_500_000_000  # bytes, of each process
    processes: int = 64
    disk: int = 256_000_000  # bytes, in memory; gone with the sandbox
    output: int = 200_000  # characters that are kept of a cell's output
    message: int = 12_000_000  # bytes of a reply; a longer one ends the sandbox

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0; got {value}.")


def check_ready(*, root: bool = False) -> None:
    """Shut something in. Raises: Refused, with what to install, if that fails, or for root.

    root: grade even as root, whom no limit on processes binds.
    """
    if not sys.platform.startswith("linux") or platform.machine() not in _CALLS:
        raise Refused(f"the sandbox needs Linux on {' or '.join(_CALLS)}: use a virtual machine.")
    if os.geteuid() == 0 and not root:
        raise Refused("do not grade as root: use an ordinary user (or, knowing the risk, --root).")
    for name, package in (("bwrap", "bubblewrap"), ("prlimit", "util-linux")):
        if not shutil.which(name):
            raise Refused(f"the sandbox needs {name}: install it (apt-get install {package}).")
    trial = _start("import IPython, mtl_course.grading.wire", Limits(), stderr=PIPE)
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
    return not any(secret.resolve().is_relative_to(folder.resolve()) for folder in _visible())


def _visible() -> set[Path]:
    """Return the folders that a sandbox sees: the system's, this Python's, and the course's own."""
    folders = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()}
    folders |= {*map(Path, _SYSTEM), HOME / "mtl_course", HOME / "assets"}
    return {folder for folder in folders if folder.is_dir()}


def _start(code: str, limits: Limits, **pipes: int) -> subprocess.Popen:
    """Start a Python that runs `code`, shut in."""
    command = [part.format(home=HOME, disk=limits.disk) for part in _BWRAP.split()]
    for path in sorted(_visible()):  # from the outside in
        link = path.is_symlink()
        command += ["--symlink" if link else "--ro-bind", os.readlink(path) if link else path, path]
    for path in _FILES:
        command += ["--ro-bind-try", path, path]
    # Last, because these have no size of their own and would be filled.
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]
    # Inside the namespace: its processes are counted apart from the grader's own.
    bounds = [f"--data={limits.data}", f"--nproc={limits.processes}", f"--fsize={limits.disk}"]
    # Page tables and socket buffers are counted as no process's memory.
    bounds += ["--as=16000000000", "--nofile=256", "--core=0"]
    inside = ["prlimit", *bounds, "--", sys.executable, "-c", code]
    with tempfile.TemporaryFile() as calls, tempfile.TemporaryFile() as options:
        calls.write(_call_filter())
        calls.seek(0)
        name, *rest = map(str, [*command, "--seccomp", calls.fileno()])
        options.write("\0".join(rest).encode())
        options.seek(0)
        # Of process 1 command and environment can be read in there: no path of the grader's.
        command, env = [name, "--args", str(options.fileno())], {"PATH": os.environ["PATH"]}
        command += inside
        fds = [calls.fileno(), options.fileno()]
        return subprocess.Popen(command, start_new_session=True, pass_fds=fds, env=env, **pipes)


def _call_filter() -> bytes:
    """Return the program that decides in Linux about each system call: see seccomp(2)."""
    number, calls, socket = _CALLS[platform.machine()]
    families = len(_FAMILIES)
    refuse = len(calls) + 2 + families  # steps from the first comparison with a call's number
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, number), (0x06, 0, 0, 0), (0x20, 0, 0, 0)]
    steps += [(0x35, refuse, 0, 0x40000000)]  # x32, another way to call
    steps += [(0x15, refuse - 1 - k, 0, call) for k, call in enumerate(calls)]
    steps += [(0x15, 0, families + 2, socket), (0x20, 0, 0, 16)]  # 16: its first argument
    steps += [(0x15, families - k, 0, family) for k, family in enumerate(_FAMILIES)]
    steps += [(0x06, 0, 0, 0x00050000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class Kernel:
    """A Python in a sandbox of its own, for requests. Raises: Refused if it does not start."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._reason = limits, "stopped: it ended its own process"
        self._end, self._inside = math.inf, []  # the sandbox's first processes
        code = "from mtl_course.grading import wire; wire.serve()"
        self._process = _start(code, limits, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            self.request({"cell": ""}, 60)
        except Died as died:  # no code of a student's has run yet
            raise Refused(f"the sandbox does not start: {died}") from None
        self._inside = psutil.Process(self._process.pid).children()

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Kill all that runs in the sandbox, and close the pipes. It may be called again."""
        self._kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def request(self, request: dict, seconds: float | None = None) -> object:
        """Return the reply of `wire.serve`. Raises: Died if it ends or exceeds a limit."""
        seconds = self._limits.seconds if seconds is None else seconds
        number = secrets.token_hex(8)  # so that no reply can be ready beforehand
        line = f"{wire.pack([number, request])}\n".encode()
        self._late, self._end = f"stopped after {seconds:.0f} seconds", time.monotonic() + seconds
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
            self._end = math.inf
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
                late = time.monotonic() > self._end
                much = _memory(self._process.pid) > self._limits.memory
            if late or much:
                self._reason = self._late if late else "stopped: it took too much memory"
        finally:  # whatever happens, nothing runs unwatched
            self._kill()


def _memory(pid: int) -> int:
    """Return the bytes that a process and its descendants hold, shared ones counted once."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [(first := psutil.Process(pid)), *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    total += process.memory_full_info().pss
                except psutil.AccessDenied:
                    total += process.memory_info().rss
    return total
