"""The charting library: plotly.js from the Python package ``plotly``, which is the extra
``[dashboard]``.

Without it the dashboard shows tiles and tables but no charts. The package is not imported: its one
file is read, compressed once, and cached by browsers.
"""

import gzip
import re
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Final

from openqoe.core.effects import Page

NAME: Final = "plotly.min.js"

_STYLED: Final = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')


class PlotlyLibrary:
    """The library's file, if it is installed.

    Attributes:
        version: A hash of the file; "" if there is none.
        unwanted: The ids of style elements that the library adds for maps. The page's policy
            forbids them, and browsers would report an error. The library adds none if an element
            with its id exists already, and our charts need no maps.
    """

    def __init__(self) -> None:
        self._path = _installed()
        self._lock = Lock()
        self.version = ""
        self.unwanted: tuple[str, ...] = ()
        if self._path is not None:
            content = self._path.read_bytes()
            self.version = blake2b(content, digest_size=8).hexdigest()
            self.unwanted = tuple(id.decode() for id in _STYLED.findall(content))

    def page(self, query: Mapping[str, str], caching: str) -> Page | None:
        """The file as a page; None if it is not installed.

        Args:
            query: The fields of the request.
            caching: The Cache-Control of a file that was requested with its version.
        """
        if self._path is None:
            return None
        headers = (
            ("Content-Type", "text/javascript; charset=utf-8"),
            # 1.4 MB instead of 4.8; all browsers accept gzip.
            ("Content-Encoding", "gzip"),
            ("ETag", f'"{self.version}"'),
            ("Cache-Control", caching if query.get("v") == self.version else "private, no-cache"),
        )
        with self._lock:
            return Page(200, headers, self._packed)

    @cached_property
    def _packed(self) -> bytes:
        assert self._path is not None
        return gzip.compress(self._path.read_bytes(), 6, mtime=0)


def _installed() -> Path | None:
    spec = find_spec("plotly")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "package_data" / NAME
        if path.is_file():
            return path
    return None
