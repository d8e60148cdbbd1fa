from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import DESKTOP, Browser


@pytest.fixture(scope="session")
def started_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests, because its start is slow."""
    browser = Browser(Path(tmp_path_factory.mktemp("chromium")))
    yield browser
    browser.close()


@pytest.fixture
def browser(started_browser: Browser) -> Browser:
    """The browser, reset to a light desktop."""
    started_browser.resize(*DESKTOP)
    started_browser.scheme("light")
    return started_browser
