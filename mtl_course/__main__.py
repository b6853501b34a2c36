"""``python -m mtl_course``: what a teacher asks first about a machine."""

import importlib.metadata
import os
import platform
import shutil
import sys

from mtl_course.base import printable_output
from mtl_course.training import machine

_PARTS = ("torch", "torchvision", "jupyterlab", "ipywidgets", "matplotlib", "scikit-learn")


def report() -> str:
    """Versions, device, precision and why, cores, and whether the course's parts are there."""
    place = machine()
    lines = {"mtl_course": _version("mtl_course"), "Python": platform.python_version()}
    lines |= {name: _version(name) for name in _PARTS}
    lines |= {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "device": str(place.device),
        "precision": place.precision,
        "because": place.reason,
        "browser (tests)": _there("chromium", "install Chromium to run the browser tests"),
        "sandbox (grading)": _there("bwrap", "install bubblewrap, on Linux, to grade"),
    }
    return "\n".join(f"{name:<18} {text}" for name, text in lines.items()) + "\n"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _there(program: str, advice: str) -> str:
    return "found" if shutil.which(program) else f"not found: {advice}"


if __name__ == "__main__":
    printable_output()
    sys.stdout.write(report())
