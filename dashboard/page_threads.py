"""Loads pages in threads, so that a slow query delays its own page only."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import LoadPage, Page
from openqoe.shells.service import logs

from .pages import Pages

Report = Callable[[LoadPage, Page], None]

THREADS: Final = 4
"""Pages that are loaded at once; others are queued."""

BROKEN: Final = Page(500, (("Content-Type", "application/json"),), b'{"message":"Internal error"}')


class PageThreads:
    """Executes ``LoadPage``. The threads start with the first one."""

    def __init__(self, config: Config, log: logs.Log) -> None:
        self._config = config
        self._log = log
        self._pool = ThreadPoolExecutor(THREADS, "openqoe-dashboard")

    def start(self, report: Report) -> None:
        """Start; ``report`` is called in one of the threads with each page."""
        self._report = report

    def submit(self, effect: LoadPage) -> None:
        """Queue a page to be loaded. Does not wait."""
        self._pool.submit(self._load, effect)

    def close(self) -> None:
        """Load the pages in the queue, and end the threads."""
        self._pool.shutdown(wait=False)

    @cached_property
    def _pages(self) -> Pages:
        return Pages(self._config)

    def _load(self, effect: LoadPage) -> None:
        try:
            page = self._pages.load(
                effect.path,
                effect.query,
                effect.orgs,
                effect.worker_state,
                hides_viewers=effect.hides_viewers,
            )
        except Exception:
            # An internal fault, or a file that has changed: clients see no details.
            self._log.exception("page failed", path=effect.path)
            page = BROKEN
        self._report(effect, page)
