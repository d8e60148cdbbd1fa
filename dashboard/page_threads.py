"""Loads pages in threads of its own, so that a slow query holds up nothing but its page."""

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
"""Pages that are loaded at once; others wait."""

BROKEN: Final = Page(500, (("Content-Type", "application/json"),), b'{"message":"Internal error"}')


class PageThreads:
    """Carries out ``LoadPage``. Costs nothing before the first one."""

    def __init__(self, config: Config, log: logs.Log) -> None:
        self._config = config
        self._log = log
        self._pool = ThreadPoolExecutor(THREADS, "openqoe-dashboard")

    def start(self, report: Report) -> None:
        """Begin; ``report`` is called in one of the threads with each page."""
        self._report = report

    def submit(self, effect: LoadPage) -> None:
        """Load a page. Does not wait."""
        self._pool.submit(self._load, effect)

    def close(self) -> None:
        """End when the pages are loaded that were asked for."""
        self._pool.shutdown(wait=False)

    @cached_property
    def _pages(self) -> Pages:
        return Pages(self._config)

    def _load(self, effect: LoadPage) -> None:
        try:
            page = self._pages.load(effect.path, effect.query)
        except Exception:
            # A fault of ours, or a file that is not what it was: nothing to show to a client.
            self._log.exception("page failed", path=effect.path)
            page = BROKEN
        self._report(effect, page)
