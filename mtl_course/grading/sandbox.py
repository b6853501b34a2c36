"""A Jupyter kernel for code that nobody trusts, shut in by bubblewrap (Linux).

It has no network, sees no file but the system's, this environment's and those it is given, and
cannot see other processes. Memory, processes, files, output and time are bounded. It is killed when
it is no longer needed, with all it has started, and never asked.
Namespaces are not a virtual machine: a hole in the Linux kernel is a hole in this sandbox.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import zmq
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from mtl_course.base import HOME

SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
FILES = ("/etc/hosts", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts")
_SHUT_IN = """
bwrap --unshare-all --unshare-user --disable-userns --cap-drop ALL --uid 1000 --gid 1000
--hostname sandbox --die-with-parent --new-session --clearenv
--setenv PATH /usr/local/bin:/usr/bin:/bin --setenv HOME /tmp/home --setenv LANG C.UTF-8
--setenv PYTHONPATH {home} --setenv PYTHONDONTWRITEBYTECODE 1 --setenv PYTHONNOUSERSITE 1
--setenv OMP_NUM_THREADS 1
--proc /proc --dev /dev --size {disk} --tmpfs /tmp --size {disk} --tmpfs /dev/shm
--dir /tmp/home --chdir /tmp/home
"""  # one thread: a sandbox a core
_SOCKETS = 5  # of a kernel
# Memory that belongs to no process is not counted as anybody's: memfd_create, memfd_secret, shmget
# and msgget are refused. By machine: its number in an audit's words, and theirs.
_CALLS = {
    "x86_64": (0xC000003E, (319, 447, 29, 68)),
    "aarch64": (0xC00000B7, (279, 447, 194, 186)),
}
_LOOK_EVERY = 0.2  # seconds, at the memory


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
    message: int = 48_000_000  # bytes; a larger one ends the connection


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
    with tempfile.TemporaryDirectory(prefix="mtl") as private:
        tried = _started(["true"], Limits(), Path(private), (), stderr=subprocess.PIPE)
        said = tried.communicate()[1].decode(errors="replace").strip()
    if tried.returncode:
        raise Refused(
            f"bubblewrap makes no sandbox here: {said[:300]} It must be 0.8 or "
            "newer, and it needs user namespaces: on Ubuntu 24.04 an AppArmor profile for bwrap, "
            "in a container a seccomp profile. Or grade in a virtual machine with Debian."
        )


def version() -> str:
    """bubblewrap's."""
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout.strip()


def _started(
    inside: Sequence[str], limits: Limits, private: Path, seen: Sequence[Path], **more: object
) -> subprocess.Popen:
    """Starts `inside` shut in. private: a folder that both sides may write to."""
    system = [path for path in map(Path, SYSTEM) if path.is_dir()]
    links = [path for path in system if path.is_symlink()]
    folders = {*system, *_environment(), HOME / "mtl_course", *seen} - {*links}
    command = [part.format(home=HOME, disk=limits.disk) for part in _SHUT_IN.split()]
    for path in links:
        command += ["--symlink", os.readlink(path), str(path)]
    for path in sorted(folders):  # from the outside in
        command += ["--ro-bind", str(path), str(path)]
    for path in (*FILES, str(HOME / "assets")):
        command += ["--ro-bind-try", path, path]
    command += ["--bind", str(private), str(private)]
    # Last of all, for without a size of their own they would be filled.
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]
    # After the namespace is made: its processes are counted apart from the grader's own.
    bounds = [f"--data={limits.data}", f"--nproc={limits.processes}", f"--fsize={limits.disk}"]
    inside = ["prlimit", *bounds, "--core=0", "--nofile=1024", "--", *inside]
    with tempfile.TemporaryFile() as calls:
        calls.write(_refused_calls())
        calls.seek(0)
        return subprocess.Popen(
            [*command, "--seccomp", str(calls.fileno()), *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[calls.fileno()],
            env={"PATH": os.environ["PATH"]},  # it can be read in there, as that of process 1
            **more,
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


def _environment() -> set[Path]:
    """The folders of this Python."""
    folders = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()}
    return {folder for folder in folders if not folder.is_relative_to("/usr")}


def hides(secret: Path) -> bool:
    """True when no sandbox sees this file or folder."""
    seen = (*map(Path, SYSTEM), *_environment(), HOME / "mtl_course", HOME / "assets")
    return not any(secret.resolve().is_relative_to(folder.resolve()) for folder in seen)


class Kernel:
    """A Python kernel in a sandbox of its own. Use it in a `with` statement; it is killed after.

    seen: more files and folders that its code may read.
    Raises: Refused if it does not start.
    """

    def __init__(self, limits: Limits, seen: Sequence[Path] = ()) -> None:
        self.dead = False
        self._limits, self._looked = limits, 0.0
        self._private = Path(tempfile.mkdtemp(prefix="mtl"))  # short: a socket's path has 107 bytes
        self._file: str | None = str(self._private / "kernel.json")
        place = str(self._private / "s")
        write_connection_file(
            self._file, transport="ipc", ip=place, key=os.urandom(32).hex().encode()
        )
        inside = [sys.executable, "-m", "ipykernel_launcher", "-f", self._file]
        self._process = _started(inside, limits, self._private, seen, stderr=subprocess.DEVNULL)
        self._own = psutil.Process().memory_info().rss
        self._context = zmq.Context()
        self._context.setsockopt(zmq.MAXMSGSIZE, limits.message)
        # Connected once, before any code of a student's runs: it could put a link in the socket's
        # place, to another socket of the grader's.
        self._context.setsockopt(zmq.RECONNECT_IVL, -1)
        self._client = BlockingKernelClient(connection_file=self._file, context=self._context)
        self._client.load_connection_file()
        try:
            self._connect(time.monotonic() + 60)
        except BaseException as error:
            self.kill()
            if isinstance(error, Died):  # no code of a student's has run yet
                raise Refused(f"the sandbox does not start: {error}") from None
            raise

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Ends all that runs in the sandbox. It may be called more than once."""
        self.dead = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._client.stop_channels()
        self._context.destroy(linger=0)
        # Not shutil's: a student can nest folders deeper than Python can follow.
        subprocess.run(["rm", "-rf", "--", str(self._private)], stderr=subprocess.DEVNULL)

    def execute(self, code: str, seconds: float | None = None) -> list[nbformat.NotebookNode]:
        """Runs `code`. Returns: its outputs, errors among them, as a notebook would hold them.

        Raises: Died if the time is over, a limit is passed, or the kernel ends.
        """
        seconds = self._limits.seconds if seconds is None else seconds
        end, outputs, room = time.monotonic() + seconds, [], self._limits.message
        try:
            asked = self._client.execute(code, allow_stdin=False, stop_on_error=False)
            while True:
                message = self._message(end, f"stopped after {seconds:g} seconds")
                if message["parent_header"].get("msg_id") != asked:
                    continue
                kind, content = message["msg_type"], message["content"]
                if kind == "status" and content["execution_state"] == "idle":
                    break
                if kind in ("stream", "display_data", "execute_result", "error"):
                    room -= len(repr(content))
                    if room < 0:
                        raise Died("stopped: it put out too much")
                    outputs.append(nbformat.v4.output_from_msg(message))
            for _ in range(100):  # answers that nobody waits for
                if not self._client.shell_channel.msg_ready():
                    break
                self._client.get_shell_msg(timeout=0)
            else:
                raise Died("stopped: it answers what nobody has asked")
            self._tidy()
        except Died:
            self.kill()
            raise
        except Exception as error:  # whatever it sent, it was no message
            self.kill()
            raise Died(f"stopped: the kernel sent nonsense ({type(error).__name__})") from None
        return outputs

    def _connect(self, end: float) -> None:
        while len(list(self._private.glob("s-*"))) < _SOCKETS:
            self._alive(end, "stopped after a minute")
            time.sleep(0.01)
        time.sleep(0.05)  # from bound to listening
        self._client.start_channels(stdin=False, hb=False)
        self._client.kernel_info()
        while not self._client.shell_channel.msg_ready():
            self._alive(end, "stopped after a minute without an answer")
            time.sleep(0.01)
        os.unlink(self._file)
        self._file = None  # from now on there are the sockets alone

    def _message(self, end: float, late: str) -> dict:
        """The next message; looks at the clock and the memory while it waits."""
        self._alive(end, late)
        while not self._client.iopub_channel.socket.poll(50):
            self._alive(end, late)
        return self._client.get_iopub_msg(timeout=0)

    def _alive(self, end: float, late: str) -> None:
        if self._process.poll() is not None:
            raise Died("stopped: it ended its own kernel")
        now = time.monotonic()
        if now > end:
            raise Died(late)
        if now - self._looked > _LOOK_EVERY:
            self._looked = now
            # What it sends lies in this process's memory until all of it has come.
            sent = psutil.Process().memory_info().rss - self._own
            if max(_memory(self._process.pid), 2 * sent) > self._limits.memory:
                raise Died("stopped: it took too much memory")
            self._tidy()

    def _tidy(self) -> None:
        """Only what was there at the start lies in the folder that both sides may write to."""
        there = [e for e in os.scandir(self._private) if e.path != self._file]
        if len(there) > _SOCKETS or not all(map(_is_socket, there)):
            raise Died("stopped: it wrote where it must not")


def _is_socket(entry: os.DirEntry) -> bool:
    return stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)


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
