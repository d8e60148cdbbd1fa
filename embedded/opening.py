"""Whether there is an embedded store, and where one begins."""

from typing import TYPE_CHECKING

from openqoe.core.config.worker_config import Config
from openqoe.shells.service import logs
from openqoe.shells.service.extras import needs

if TYPE_CHECKING:
    from .sample_store import EmbeddedStore


def open_embedded(config: Config, log: logs.Log) -> "EmbeddedStore | None":
    """The embedded store, if the settings make it a destination.

    Raises:
        StorageError: The file cannot be made or used.
    """
    if not config.is_embedded:
        return None
    # Only now: what it decodes requests by (protobuf) takes 4 MB.
    with needs("shell"):
        from .sample_store import EmbeddedStore
    return EmbeddedStore(config, log)
