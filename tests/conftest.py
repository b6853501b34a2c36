"""For all tests: their processes and their order, which are slow, no skips where CI is set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Kernels and all other processes that a test starts inherit these.
os.environ["OMP_NUM_THREADS"] = "1"  # tests take all cores: a second thread would only spin
os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # and a second worker would import torch to wait for a core
# Nobody has predicted anything, whoever runs the tests.
os.environ["MTL_COURSE_PREDICTIONS"] = str(ROOT / "results" / "nobody.csv")

# What takes longest comes first, so that all processes end at about the same time.
FIRST = [
    "tests/test_browser.py",
    "tests/grading/",
    "notebooks/",
    "tests/test_notebooks.py",
    "tests/test_site.py",
    "tests/studies/",
    "tests/",
]
QUICK = "notebooks/00_start_here.ipynb"  # the only notebook that runs in five seconds
OUTPUT = 300  # seconds that nbval waits for a message: five are too few for a busy machine


def _unattended() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.hookimpl(optionalhook=True)  # on a machine without xdist, too
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file in one process, as with --dist=loadfile, but each papermill run alone."""
    from xdist.scheduler import LoadScopeScheduling

    class Schedule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            return nodeid if test.startswith("test_runs_with_other_parameters[") else file

    return Schedule(config, log)


@pytest.hookimpl(tryfirst=True)  # before -m takes its choice
def pytest_collection_modifyitems(items):
    items.sort(
        key=lambda item: next(i for i, part in enumerate(FIRST) if item.nodeid.startswith(part))
    )
    for item in items:
        cell = item.path.suffix == ".ipynb"
        if (cell and not item.nodeid.startswith(QUICK)) or item.get_closest_marker("full"):
            item.add_marker("slow")
        if cell:
            item.output_timeout = OUTPUT


def _fail_if_skipped(report, may_skip: bool) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and not may_skip and _unattended():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"a skip counts as a failure when CI is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _fail_if_skipped(report, may_skip=item.get_closest_marker("gpu") is not None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _fail_if_skipped(report, may_skip=collector.get_closest_marker("gpu") is not None)
    return report
