"""The pages of the dashboard by their paths.

``load`` may block and is called from several threads at once, never from that of a loop.
"""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Page
from openqoe.embedded import FILE

from . import charting
from .charting import Charting
from .dashboard_api import Api

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
"""By suffix. Files with another one are not served."""

CHARTS: Final = "{charts}"
"""Stands in the index for the address of the charting library; replaced by nothing if it is not
installed."""

UNWANTED: Final = "{unwanted}"
"""Stands there for ``Charting.unwanted``."""

KEYS: Final = "{keys}"
"""Stands there for whether one has to sign in."""

UNCHANGING: Final = "private, max-age=31536000, immutable"
"""Of a file that was asked for with its version (``?v=``)."""


class StaticFile:
    """A file, read once.

    Attributes:
        version: A hash of its content.
    """

    def __init__(self, content: bytes, content_type: str) -> None:
        self.version = blake2b(content, digest_size=8).hexdigest()
        self._content = content
        self._content_type = content_type

    def page(self, version: str | None) -> Page:
        """The file as an answer to a request for some version of it."""
        lasting = version == self.version
        headers = (
            ("Content-Type", self._content_type),
            ("ETag", f'"{self.version}"'),
            ("Cache-Control", UNCHANGING if lasting else "private, no-cache"),
        )
        return Page(200, headers, self._content)


class Pages:
    """All pages.

    The index is at ``/``. It names other files relative to that (``dashboard/app.js``), so that
    the dashboard works under any prefix of a proxy; their versions are added to such names here.

    Args:
        config: The settings.
    """

    def __init__(self, config: Config) -> None:
        self._api = Api(config, Path(config.data_dir) / FILE)
        self._charting = Charting()
        self._files = {
            path.name: StaticFile(path.read_bytes(), CONTENT_TYPES[path.suffix])
            for path in STATIC.iterdir()
            if path.suffix in CONTENT_TYPES and path.name != INDEX
        }
        index = (STATIC / INDEX).read_text(encoding="utf-8")
        for name, file in self._files.items():
            index = index.replace(f'"dashboard/{name}"', f'"dashboard/{name}?v={file.version}"')
        charts = f"dashboard/{charting.NAME}?v={self._charting.version}"
        index = index.replace(CHARTS, charts if self._charting.version else "")
        index = index.replace(UNWANTED, " ".join(self._charting.unwanted))
        index = index.replace(KEYS, "yes" if config.api_keys else "")
        self._index = StaticFile(index.encode(), CONTENT_TYPES[".html"])

    def load(self, path: str, query: Mapping[str, str]) -> Page:
        """The page at a path; with status 404 if there is none."""
        if path == "/":
            return self._index.page(None)
        if path.startswith(API):
            return self._api.answer(path.removeprefix(API), query)
        if path == PREFIX + charting.NAME:
            library = self._charting.page(query, UNCHANGING)
            if library is not None:
                return library
        file = self._files.get(path.removeprefix(PREFIX))
        if file is None:
            return Page(404, (("Content-Type", CONTENT_TYPES[".txt"]),), b"Not found\n")
        return file.page(query.get("v"))
