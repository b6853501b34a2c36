"""The walls of a sandbox: what bubblewrap shows, what is limited, and what Linux refuses."""

import errno
import functools
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mtl_course.base import ASSETS, HOME

_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts")
_BWRAP = """
bwrap --unshare-all --unshare-user --disable-userns --cap-drop ALL --uid 1000 --gid 1000
--hostname sandbox --die-with-parent --new-session --clearenv
--setenv PATH /usr/local/bin:/usr/bin:/bin --setenv HOME /tmp/home --setenv LANG C.UTF-8
--setenv PYTHONPATH {home} --setenv PYTHONDONTWRITEBYTECODE 1 --setenv PYTHONNOUSERSITE 1
--setenv OMP_NUM_THREADS 1 --setenv MPLBACKEND module://matplotlib_inline.backend_inline
--setenv PYTHONUNBUFFERED 1 --setenv PYTHONIOENCODING utf-8:replace
--proc /proc --dev /dev --dev-bind /dev/null /dev/zero
--size {disk} --tmpfs /tmp --size {disk} --tmpfs /dev/shm
--dir /tmp/home --chdir /tmp/home
"""  # one thread: there is a sandbox per core. A shared map of /dev/zero would be nobody's memory.
# Memory that belongs to no process counts as nobody's: memfd_create, memfd_secret, shmget, msgget
# and semget are refused. So are add_key, request_key and keyctl, since all sandboxes share one
# session's keys; io_uring_setup, by which other calls could be made unseen; and sched_setaffinity,
# by which one could leave its core. By machine: its number in an audit's terms, theirs, those of
# mmap and socket.
CALLS = {
    "x86_64": (0xC000003E, (319, 447, 29, 68, 64, 248, 249, 250, 425, 203), 9, 41),
    "aarch64": (0xC00000B7, (279, 447, 194, 186, 190, 217, 218, 219, 425, 122), 222, 198),
}
_FAMILIES = (1, 2, 10, 16)  # of sockets that may be made: local, IPv4, IPv6 and netlink
_SHARED = 0x21  # MAP_SHARED | MAP_ANONYMOUS: such maps are refused, too


@dataclass(frozen=True)
class Limits:
    """Limits of one sandbox."""

    seconds: float = 20.0  # of computing, for a cell, or for an answer to a check
    total_seconds: float = 150.0  # of computing, for a notebook with all its checks
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


@functools.cache
def has_groups() -> bool:
    """Return whether systemd gives this user a control group for a sandbox, with its limit."""
    if not (shutil.which("systemd-run") and os.environ.get("XDG_RUNTIME_DIR")):
        return False
    read = "cat /sys/fs/cgroup$(tail -n1 /proc/self/cgroup | cut -d: -f3)/memory.max"
    command = [*_group(limits := Limits()), "sh", "-c", read]
    try:
        trial = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return trial.stdout.strip() == str(_most(limits))


def _most(limits: Limits) -> int:
    """Return a control group's bytes: some more than the watcher's, who can say what happened."""
    return (limits.memory * 5 // 4) // 4096 * 4096  # whole pages


def _group(limits: Limits) -> list[str]:
    """Return what stands before a command that is to run in a control group of its own."""
    bounds = f"-p MemoryMax={_most(limits)} -p MemorySwapMax=0 -p TasksMax={2 * limits.processes}"
    return f"systemd-run --user --scope --quiet --collect {bounds} --".split()


def visible() -> set[Path]:
    """Return the folders that a sandbox sees: the system's, this Python's, and the course's own."""
    folders = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve()}
    folders |= {*map(Path, _SYSTEM), HOME / "mtl_course", ASSETS}
    return {folder for folder in folders if folder.is_dir()}


def start(code: str, limits: Limits, **pipes: int) -> subprocess.Popen:
    """Start a Python that runs `code`, shut in."""
    command = [part.format(home=HOME, disk=limits.disk) for part in _BWRAP.split()]
    for path in sorted(visible()):  # from the outside in
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
        command = [name, "--args", str(options.fileno()), *inside]
        env = {"PATH": os.environ["PATH"]}
        if has_groups():
            command = [*_group(limits), "env", "-i", f"PATH={env['PATH']}", *command]
            env |= {k: v for k, v in os.environ.items() if k.startswith(("XDG_", "DBUS_"))}
        fds = [calls.fileno(), options.fileno()]
        return subprocess.Popen(command, start_new_session=True, pass_fds=fds, env=env, **pipes)


def _call_filter() -> bytes:
    """Return the program that decides in Linux about each system call: see seccomp(2)."""
    number, calls, mmap, socket = CALLS[platform.machine()]
    families = len(_FAMILIES)
    refuse = len(calls) + 6 + families  # steps from the first comparison with a call's number
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, number), (0x06, 0, 0, 0), (0x20, 0, 0, 0)]
    steps += [(0x35, refuse, 0, 0x40000000)]  # x32, another way to call
    steps += [(0x15, refuse - 1 - k, 0, call) for k, call in enumerate(calls)]
    # 40 and 16: the fourth argument, and the first.
    steps += [(0x15, 0, 3, mmap), (0x20, 0, 0, 40), (0x54, 0, 0, _SHARED)]
    steps += [(0x15, families + 2, families + 3, _SHARED)]
    steps += [(0x15, 0, families + 2, socket), (0x20, 0, 0, 16)]
    steps += [(0x15, families - k, 0, family) for k, family in enumerate(_FAMILIES)]
    steps += [(0x06, 0, 0, 0x00050000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
