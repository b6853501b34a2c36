"""Submissions to the small assignment that mean harm: all stand in `double`'s answer cell.

Each is bounded, and harmless if it gets out. {place} is the folder of the class, {outside} a folder
that a sandbox must not reach, {port} one that listens on this machine. One that gets anywhere
prints REACHED or leaves a file in {outside}.
"""

from __future__ import annotations

# What each must come to: points. `mean`, which gives 2, is answered honestly in all of them.
ATTACKS: dict[str, tuple[float, str]] = {}


def _attack(name: str, code: str, points: float = 2.0) -> None:
    ATTACKS[name] = points, code


# ------------------------------------------------------------------ time, memory, processes

_attack("runs for ever", "while True:\n    pass\n")
_attack(
    "does not hear",
    """
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
""",
)
_attack("runs for ever when asked", "def double(x):\n    while True:\n        pass\n")
_attack(
    "takes all memory",
    """
held = []
for _ in range(60):
    held.append(bytearray(50_000_000))
print("REACHED")
""",
)
_attack(
    "takes all memory in many processes",
    """
import os, time

for _ in range(15):
    if os.fork() == 0:
        held = b"x" * 200_000_000
        time.sleep(20)
        os._exit(0)
time.sleep(20)
""",
)
_attack(
    "forks",
    """
import os, time

made = []
try:
    for _ in range(200):
        made.append(os.fork())
        if made[-1] == 0:
            time.sleep(20)
            os._exit(0)
except OSError:
    pass
for child in made:
    os.kill(child, 9)
    os.waitpid(child, 0)
print("REACHED" if len(made) > 100 else "")
""",
)
_attack(
    "stays behind",
    """
import subprocess

subprocess.Popen(["sleep", "543.21"], start_new_session=True)


def double(x):
    subprocess.Popen(["sleep", "543.21"], start_new_session=True)
    return 0
""",
)
_attack("ends the process", "import os\n\nos._exit(0)\n")
_attack(
    "ends the process when asked",
    "import os\n\n\ndef double(x):\n    os._exit(0)\n",
)
_attack(
    "kills",
    """
import os

for process in (os.getppid(), 1, os.getpid()):
    try:
        os.kill(process, 9)
    except OSError:
        pass
""",
)
_attack("exits", "raise SystemExit(0)\n")
_attack("exits when asked", "def double(x):\n    raise SystemExit(0)\n")
_attack(
    "outlives its killer",
    """
import ctypes, os, platform, subprocess, time

NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss"
NAMES += " fs_base gs_base ds es fs gs"
ask = ctypes.CDLL(None).ptrace
ask.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES.split()]


def turn_deaf():
    # Process 1 calls prctl(PR_SET_PDEATHSIG, 0): it no longer ends with the one that started it.
    if platform.machine() != "x86_64" or ask(16, 1, None, None):
        return
    os.waitpid(1, 0x40000000)
    before = Registers()
    ask(12, 1, None, ctypes.addressof(before))
    call = Registers.from_buffer_copy(before)
    call.rip, call.rax, call.orig_rax, call.rdi, call.rsi = before.rip - 2, 157, 2**64 - 1, 1, 0
    ask(13, 1, None, ctypes.addressof(call))
    ask(9, 1, None, None)
    os.waitpid(1, 0x40000000)
    ask(13, 1, None, ctypes.addressof(before))
    ask(17, 1, None, None)


turn_deaf()
subprocess.Popen(["sleep", "543.21"], start_new_session=True)
while True:
    time.sleep(1)
""",
)
_attack(
    "fills the disk",
    """
import glob, os

written = 0
for folder in (".", "/dev/shm", "/tmp"):
    try:
        for number in range(10):
            with open(f"{folder}/{number}", "wb") as file:
                for _ in range(10):
                    written += file.write(bytes(10_000_000))
    except OSError:
        pass
print("REACHED" if written > 900_000_000 else "")
""",
)

_attack(
    "takes memory that is nobody's",
    """
import mmap, os

held = []
for source in (-1, os.open("/dev/zero", os.O_RDWR)):
    try:
        for _ in range(50):
            held.append(mmap.mmap(source, 25_000_000))
            held[-1].write(bytes(25_000_000))
            held[-1].madvise(mmap.MADV_DONTNEED)
        print("REACHED")
    except OSError:
        pass
""",
)
_attack(
    "fills the system's tables with empty files",
    """
import os

for number in range(450_000):
    os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
print("REACHED")
""",
)
_attack(
    "fills sockets",
    """
import socket, time

held = []
for _ in range(100):
    held += socket.socketpair()
    held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10**9)
    held[-1].setblocking(False)
    try:
        while True:
            held[-1].send(bytes(100_000))
    except OSError:
        pass
time.sleep(1)
print("REACHED")
""",
)
_attack(
    "keeps every core busy",
    """
import os, time

for _ in range(55):
    if os.fork() == 0:
        while True:
            pass
time.sleep(1000)
""",
)
_attack(
    "leaves its core",
    """
import os

try:
    os.sched_setaffinity(0, range(os.cpu_count()))
    print("REACHED")
except OSError:
    pass
""",
)

# ------------------------------------------------------------------ reading, writing, calling

_attack(
    "reads what is hidden",
    """
import glob, os

for path in (
    "{place}/instructor/small_checks.py", "{place}/instructor/small/small.ipynb",
    "{place}/gradebook.db", "{place}/seed.txt", "{place}/submitted", "/etc/passwd", "/etc/shadow",
    "/proc/1/environ", "/home", "/root/.ssh", "{outside}/secret",
):
    try:
        found = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read()
        if found and not (path.startswith("/proc") and b"MTL_SECRET" not in found):
            print("REACHED", path)
    except OSError:
        pass
for path in glob.glob("/proc/[0-9]*/cmdline"):
    if b"grade" in open(path, "rb").read().split(bytes(1)):
        print("REACHED", path)
""",
)
_attack(
    "writes outside",
    """
import os, sys

import mtl_course

for folder in ("{outside}", "{place}", "{place}/submitted", "/usr", os.path.dirname(os.__file__),
               os.path.dirname(mtl_course.__file__), sys.prefix):
    try:
        with open(folder + "/reached.txt", "w") as file:
            file.write("x")
        os.unlink(folder + "/reached.txt")
        print("REACHED", folder)
    except OSError:
        pass
""",
)
_attack(
    "changes the gradebook",
    """
import sqlite3

try:
    with sqlite3.connect("{place}/gradebook.db") as book:
        book.execute("UPDATE grade SET manual_score = 1000")
    print("REACHED")
except sqlite3.Error:
    pass
""",
)
_attack(
    "calls out",
    """
import socket

for host, port in (("127.0.0.1", {port}), ("localhost", {port}), ("192.0.2.1", 80)):
    try:
        socket.create_connection((host, port), 1).close()
        print("REACHED", host)
    except OSError:
        pass
""",
)
_attack(
    "makes a namespace of its own",
    """
import ctypes

made = [flag for flag in (0x10000000, 0x00020000) if ctypes.CDLL(None).unshare(flag) == 0]
print("REACHED" if made else "")
""",
)
_attack(
    "leaves something for the next",
    """
import os, site

for path in (os.path.expanduser("~/.ipython/profile_default/startup/00.py"),
             site.getusersitepackages() + "/usercustomize.py", "numpy.py", "torch.py", "json.py"):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write("print('REACHED')\\n")
""",
)

# ------------------------------------------------------------------ tools, and lies

_attack(
    "patches the tools",
    """
import builtins
import json

import numpy

numpy.allclose = numpy.array_equal = lambda *a, **k: True
numpy.testing.assert_allclose = lambda *a, **k: None
builtins.all = builtins.any = lambda *a: True


def double(x):
    return 4
""",
)
_attack(
    "patches the shell",
    """
from IPython.core.interactiveshell import InteractiveShell

InteractiveShell.showtraceback = lambda *a, **k: None
get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)
get_ipython().ast_transformers.clear()


def double(x):
    raise AssertionError("a right answer")
""",
)
_attack(
    "rewrites what it is asked",
    """
def other(lines):
    return ["pass\\n"] if any("double" in line for line in lines) else lines


get_ipython().input_transformers_post.append(other)
""",
)
_attack(
    "is equal to everything",
    """
class All:
    __array_priority__ = 1e9
    shape, dtype, size, ndim = (), "float64", 1, 0
    __eq__ = __bool__ = __contains__ = lambda *a: True
    __ne__ = lambda *a: False
    __sub__ = __rsub__ = __abs__ = lambda self, *a: self
    __lt__ = __le__ = __gt__ = __ge__ = lambda *a: True
    __float__ = lambda self: 0.0
    __array_function__ = __array_ufunc__ = lambda *a, **k: True


def double(x):
    return All()
""",
)
_attack(
    "is a number that lies",
    """
class Number(float):
    __eq__ = __hash__ = lambda *a: True
    __sub__ = __rsub__ = lambda *a: 0.0


def double(x):
    return Number("nan")
""",
)
_attack(
    "is an array that lies",
    """
import numpy as np


class Array(np.ndarray):
    def __eq__(self, other):
        return np.ones(self.shape, bool)

    def tobytes(self, *_):
        return b""


def double(x):
    return np.zeros(np.shape(x)).view(Array)
""",
)
_attack(
    "peeks at its caller",
    """
import sys


def double(x):
    frame = sys._getframe()
    while frame is not None:
        for name in ("wanted", "reference", "solution", "expected"):
            if name in frame.f_locals or name in frame.f_globals:
                print("REACHED")
                return frame.f_locals.get(name, frame.f_globals.get(name))
        frame = frame.f_back
    return 0
""",
)
_attack(
    "raises something odd",
    """
import os


class Odd(Exception):
    def __str__(self):
        os._exit(0)

    __repr__ = __str__


def double(x):
    raise Odd
""",
)
_attack("knows the visible check", "def double(x):\n    return 4\n")
_attack("asks its teacher", "def double(x):\n    return input('twice ' + str(x))\n")

# ------------------------------------------------------------------ what comes out

_attack("says much", "print('x' * 50_000_000)\n")
_attack(
    "says much, and answers",
    "print('█' * 3_000_000)\n\n\ndef double(x):\n    return 2 * x\n",
    points=6,
)
_attack("says something for ever", "while True:\n    print('x' * 1000)\n")
_attack(
    "talks on",
    """
import threading, time


def talk():
    while True:
        print("still here")
        time.sleep(0.05)


threading.Thread(target=talk, daemon=True).start()
""",
)
_attack(
    "closes its ears",
    "import os\n\n\ndef double(x):\n    os.closerange(3, 100)\n    return 2 * x\n",
)
_attack(
    "comes back twice",
    "import os\n\nos.fork()\n\n\ndef double(x):\n    os.fork()\n    return 2 * x\n",
    points=6,
)
_attack(
    "fills what has no size",
    """
written = 0
for folder in ("/", "/dev/", "/etc/", "/run/"):
    try:
        with open(folder + "more", "wb") as file:
            for _ in range(4):
                written += file.write(bytes(100_000_000))
    except OSError:
        pass
print("REACHED" if written else "")
""",
)
_attack(
    "takes memory that is nobody's",
    """
import ctypes, os

held = []
try:
    for number in range(12):
        held.append(os.memfd_create(str(number)))
        os.write(held[-1], bytes(100_000_000))
except OSError:
    pass
c = ctypes.CDLL(None)
segments = [c.shmget(0, 100_000_000, 0o1600), c.semget(0, 32_000, 0o1600)]
print("REACHED" if held or max(segments) >= 0 else "")
c.mmap.restype = ctypes.c_void_p
tables = c.mmap(None, ctypes.c_size_t(40_000_000_000), 1, 0x4022, -1, ctypes.c_size_t(0))
print("REACHED" if tables != ctypes.c_void_p(-1).value else "")
""",
)
_TELL = """
import os, stat, sys, time


def tell(line):
    for pipe in range(3, 100):
        try:
            if stat.S_ISFIFO(os.fstat(pipe).st_mode):
                os.write(pipe, line)
        except OSError:
            pass

"""  # to the grader, who hears by a pipe
_attack(
    "sends more than was asked for",
    _TELL + "\ndef double(x):\n    tell(b'x' * 40_000_000)\n    return 2 * x\n",
)
_attack(
    "sends more than was asked for, and for ever",
    _TELL + "\ndef double(x):\n    while True:\n        tell(b'[1, 2]\\n')\n",
)
_attack(
    "sends half a line, and waits",
    _TELL + "\ndef double(x):\n    tell(b'[1, ')\n    time.sleep(60)\n",
)
_attack(
    "answers what nobody has asked",
    _TELL + "\ndef double(x):\n    tell(b'[1, {}]\\n' * 20_000)\n    return 2 * x\n",
    points=6,
)
_attack(
    "takes the question away",
    """
import os, stat


def double(x):
    for pipe in range(3, 100):
        try:
            if stat.S_ISFIFO(os.fstat(pipe).st_mode):
                os.read(pipe, 10)
        except OSError:
            pass
""",
)
_attack(
    "raises half a character",
    "def double(x):\n    raise ValueError('\\ud800 \\x00 \\x1b[0m')\n",
)
_attack(
    "raises a verdict of its own",
    "def double(x):\n    raise ValueError('no\\n\u2713 Arrays are doubled.')\n",
)
_attack(
    "is small and becomes large",
    "def double(x):\n    return ['x' * 400_000] + [''] * 1000\n",
)
_attack(
    "leaves a key for the next",
    """
import ctypes, os

kernel = ctypes.CDLL(None, use_errno=True)
add, ask = {"x86_64": (248, 249), "aarch64": (217, 218)}[os.uname().machine]
if kernel.syscall(add, b"user", b"mtl", b"left", 4, -3) > 0:
    print("REACHED")
if kernel.syscall(ask, b"user", b"mtl", None, 0) > 0:
    print("REACHED")
""",
)
_attack(
    "opens sockets of other families",
    """
import socket

for family in (socket.AF_VSOCK, socket.AF_PACKET, socket.AF_CAN, socket.AF_ALG):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind)
            print("REACHED", family)
        except OSError:
            pass
socket.socket(socket.AF_INET), socket.socketpair()
""",
)
_attack(
    "reads who grades",
    """
from pathlib import Path

if Path("/etc/hosts").exists():
    print("REACHED")
for name in ("/proc/1/cmdline", "/proc/1/environ"):
    if any(word in Path(name).read_text() for word in ("--ro-bind", "{place}")):
        print("REACHED", name)
""",
)
_attack(
    "shows pages that do things",
    """
from IPython.display import HTML, SVG, Javascript, Markdown, display

for kind in (HTML, Markdown):
    display(kind("<img src=x onerror='window.reached = 1'><script>window.reached = 1</script>"))
display(Javascript("window.reached = 1"))
display({"image/png": "'><script>window.reached = 1</script>"}, raw=True)
display({"image/svg+xml": "<svg onload='window.reached = 1'/>"}, raw=True)
print("<script>window.reached = 1</script><img src=x onerror='window.reached = 1'>")
""",
)

# Forged answers: the sandbox's own side of the wire is the student's.
for _name, _forged in {
    "nested": "'[' * 200_000",
    "nested a little": "'{\"answer\": ' + '[' * 50 + ']' * 50 + '}'",
    "not JSON": "'answer: yes'",
    "no object": "'true'",
    "too large": "'{\"answer\": \"' + 'x' * 40_000_000 + '\"}'",
    "a shape without bytes": (
        '\'{"answer": {"kind of thing": "array", "dtype": "float64", "shape": [1000000000],\''
        ' \' "data": ""}}\''
    ),
    "a shape below nothing": (
        '\'{"answer": {"kind of thing": "array", "dtype": "float64", "shape": [-1, -1],\''
        ' \' "data": "AAAAAAAA8D8="}}\''
    ),
    "objects": (
        '\'{"answer": {"kind of thing": "array", "dtype": "object", "shape": [1],\''
        ' \' "data": "AAAAAAAA8D8="}}\''
    ),
    "a huge number": "'{\"answer\": ' + '9' * 5000 + '}'",
    "the checker's own words": '\'{"passed": true, "score": 4, "points": 4}\'',
}.items():
    _attack(
        f"forges: {_name}",
        f"""
from mtl_course.grading import wire

honest = wire._answer


def forged(names, code, inputs):
    return {_forged} if "double" in code else honest(names, code, inputs)


wire._answer = forged
""",
    )
_attack(
    "forges: twice",
    """
from mtl_course.grading import wire

honest = wire._answer
wire._answer = lambda *request, **more: honest(*request, **more) + ']\\n["0", {"answer": 4}'


def double(x):
    return 2 * x
""",
    points=6,
)
_attack(
    "forges: an answer before the answer",
    _TELL
    + """
def double(x):
    frame = sys._getframe()
    while "number" not in frame.f_locals:
        frame = frame.f_back
    tell(f'["{frame.f_locals["number"]}", {{"answer": 4}}]\\n'.encode())
    return 2 * x
""",
)
_attack(
    "forges: nonsense on the wire",
    _TELL + "\ndef double(x):\n    tell(b'\\xff\\x00\\n' * 50)\n    return 2 * x\n",
)
_attack(
    "forges: what a cell put out",
    """
from mtl_course.grading import wire

honest = wire._run_cell


def forged(shell, cell, printed):
    honest(shell, cell, printed)
    much = ', ["text/plain", "."]' * 200_000
    return f'[1, [2], [[], {{}}], ["image/png", "AAAA"], ["text/html", "<b>REACHED"]{much}]'


wire._run_cell = forged
""",
)
