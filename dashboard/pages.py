"""The pages of the dashboard by their paths.

``load`` may block. It is called from several threads at once, never from that of an event loop.
"""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Page
from openqoe.embedded import FILE

from . import plotly_library
from .dashboard_api import Api
from .plotly_library import PlotlyLibrary

STATIC: Final = Path(__file__).with_name("static")

PREFIX: Final = "/dashboard/"

API: Final = PREFIX + "api/"

INDEX: Final = "index.html"

CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""Content types by suffix. Files with another suffix are not served."""

CHARTS: Final = "{charts}"
"""Placeholder in the index for the address of plotly.js; "" if it is not installed."""

UNWANTED: Final = "{unwanted}"
"""Placeholder for ``PlotlyLibrary.unwanted``."""

KEYS: Final = "{keys}"
"""Placeholder for whether users have to sign in."""

UNCHANGING: Final = "private, max-age=31536000, immutable"
"""Cache-Control of a file that was requested with its version (``?v=``)."""


class StaticFile:
    """A file of ``static/``, read once.

    Attributes:
        version: A hash of its content.
    """

    def __init__(self, content: bytes, content_type: str) -> None:
        self.version = blake2b(content, digest_size=8).hexdigest()
        self._content = content
        self._content_type = content_type

    def page(self, version: str | None) -> Page:
        """The file as a page; a browser may keep it if it asked for this version."""
        lasting = version == self.version
        headers = (
            ("Content-Type", self._content_type),
            ("ETag", f'"{self.version}"'),
            ("Cache-Control", UNCHANGING if lasting else "private, no-cache"),
        )
        return Page(200, headers, self._content)


class Pages:
    """All pages by path.

    The index is at ``/``. It names other files by relative paths (``dashboard/app.js``), so that
    the dashboard works under any prefix of a proxy. Versions are added to these paths here.

    Args:
        config: The settings.
    """

    def __init__(self, config: Config) -> None:
        self._api = Api(config, Path(config.data_dir) / FILE)
        self._plotly_library = PlotlyLibrary()
        self._files = {
            path.name: StaticFile(path.read_bytes(), CONTENT_TYPES[path.suffix])
            for path in STATIC.iterdir()
            if path.suffix in CONTENT_TYPES and path.name != INDEX
        }
        index = (STATIC / INDEX).read_text(encoding="utf-8")
        for name, file in self._files.items():
            index = index.replace(f'"dashboard/{name}"', f'"dashboard/{name}?v={file.version}"')
        charts = f"dashboard/{plotly_library.NAME}?v={self._plotly_library.version}"
        index = index.replace(CHARTS, charts if self._plotly_library.version else "")
        index = index.replace(UNWANTED, " ".join(self._plotly_library.unwanted))
        has_keys = config.api_keys or config.read_keys or config.keys_file
        index = index.replace(KEYS, "yes" if has_keys else "")
        self._index = StaticFile(index.encode(), CONTENT_TYPES[".html"])

    def load(
        self,
        path: str,
        query: Mapping[str, str],
        orgs: tuple[str, ...] | None = None,
        worker_state: Mapping[str, Any] | None = None,
        *,
        hides_viewers: bool = False,
    ) -> Page:
        """Load the page at a path; with status 404 if there is none.

        Args:
            path: The path.
            query: The query's fields.
            orgs: Organisations whose data it may show; None for all.
            worker_state: The current state of the worker; see ``LoadPage``.
            hides_viewers: Whether it must not show ids of viewers and sessions.
        """
        if path == "/":
            return self._index.page(None)
        if path.startswith(API):
            question = path.removeprefix(API)
            return self._api.answer(
                question, query, orgs, worker_state, hides_viewers=hides_viewers
            )
        if path == PREFIX + plotly_library.NAME:
            library = self._plotly_library.page(query, UNCHANGING)
            if library is not None:
                return library
        file = self._files.get(path.removeprefix(PREFIX))
        if file is None:
            return Page(404, (("Content-Type", CONTENT_TYPES[".txt"]),), b"Not found\n")
        return file.page(query.get("v"))
