"""The embedded store: the destination of whoever has no Prometheus and no Loki.

One SQLite file in the data directory takes the very requests that those would get. Standard
library and the codecs of the wire, no runtime: all shells use the same. Most workers have none, so
``store`` is imported where one is opened.
"""

from .opening import open_embedded
from .sample_schema import FILE, open_reader

__all__ = ["FILE", "open_embedded", "open_reader"]
