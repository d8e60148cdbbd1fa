"""The embedded store: the destination of whoever has no Prometheus and no Loki.

One SQLite file in the data directory takes the very requests that those would get. Standard
library and the codecs of the wire, no runtime: all shells use the same.
"""

from openqoe.shells.embedded.schema import FILE, open_reader
from openqoe.shells.embedded.store import EmbeddedStore, open_embedded

__all__ = ["FILE", "EmbeddedStore", "open_embedded", "open_reader"]
