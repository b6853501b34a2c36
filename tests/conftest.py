"""For all tests: one thread for torch, and no silent skips where tests run unattended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Kernels of notebooks inherit it: nobody has predicted anything, whoever runs the tests.
os.environ["MTL_COURSE_PREDICTIONS"] = str(Path(__file__).parents[1] / "results" / "nobody.csv")


def _unattended() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """One thread in this process. The notebooks' kernels are processes of their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
