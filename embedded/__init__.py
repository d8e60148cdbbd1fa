"""The embedded store: the destination of workers that have neither Prometheus nor Loki.

One SQLite file in the data directory stores the requests that those would get. It needs the
standard library and the codecs of the wire, no runtime, so all shells use it.

    sample_store       the thread that writes requests
    payload_decoder    decodes them
    sample_writer      writes them into the tables
    sample_schema      the tables, and how the file is opened
    retention          removes old data
"""

from typing import TYPE_CHECKING

from openqoe.core.config.worker_config import Config
from openqoe.shells.service import logs
from openqoe.shells.service.extras import needs

from .sample_schema import FILE, open_reader

if TYPE_CHECKING:
    from .sample_store import EmbeddedStore

__all__ = ["FILE", "open_embedded", "open_reader"]


def open_embedded(config: Config, log: logs.Log) -> "EmbeddedStore | None":
    """Open the embedded store, if the settings make it a destination.

    Raises:
        StorageError: The file cannot be created or used.
    """
    if not config.is_embedded:
        return None
    # Imported here because protobuf needs 4 MB of memory.
    with needs("shell"):
        from .sample_store import EmbeddedStore
    return EmbeddedStore(config, log)
