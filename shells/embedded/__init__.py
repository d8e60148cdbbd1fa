"""The embedded store: the destination of whoever has no Prometheus and no Loki.

One SQLite file in the data directory takes the very requests that those would get. Standard
library only, no runtime: all shells use the same.
"""

from openqoe.shells.embedded.schema import FILE, open_reader

__all__ = ["FILE", "open_reader"]
