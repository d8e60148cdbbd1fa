"""The charting library: plotly.js, as the Python package ``plotly`` brings it along.

Nothing of it is in this repository and nothing comes from another host. The package is the extra
``[dashboard]``; without it there are tiles and tables and no charts. It is not imported, only its
one file is read: packed once, and given to browsers that keep it.
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


class Charting:
    """The library's file, if it is there.

    Attributes:
        version: Names this very file; "" if there is none.
        unwanted: The ids of style elements that it would add for maps, which no chart of ours is.
            The page's policy forbids them, and browsers would complain; where there is an element
            with such an id already, the library adds none.
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
        """The file, or None if it is not there.

        Args:
            query: The fields of the request.
            caching: The Cache-Control of what was asked for with its version.
        """
        if self._path is None:
            return None
        headers = (
            ("Content-Type", "text/javascript; charset=utf-8"),
            # Of 4.8 MB a third of a third is left; all browsers take it so.
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
