"""For the widgets that answer in a page without a kernel: a browser, and a page of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """One Chromium for the tests of a file."""
    import lab  # it needs playwright, which other tests here do without

    if lab.chromium() is None:
        pytest.skip("no Chromium: install it, for example with apt-get install chromium")
    with lab.browser() as running:
        yield running


@pytest.fixture
def tab(browser) -> Iterator:
    """A page of its own; it asks nobody for anything, and nothing in it fails."""
    import lab

    with lab.new_tab(browser) as page:
        yield page
        assert not page.errors
        assert not page.foreign
