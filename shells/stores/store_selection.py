"""Opens the store that the settings ask for."""

from openqoe.core.config.worker_config import Config

from ..service.extras import needs
from ..storage import StorageError
from .store_interface import StoreError
from .store_runner import StoreRunner


def uses_store(config: Config) -> bool:
    """Whether workers coordinate through a store, instead of dividing the views of their host."""
    return config.kv_url != "none"


def open_store(config: Config) -> StoreRunner | None:
    """Open the store that the settings ask for; None if they ask for none.

    Its server need not be reachable yet.

    Raises:
        StorageError: The store cannot be used.
        MissingExtraError: The client of the server is not installed.
    """
    if not uses_store(config):
        return None
    with needs("redis"):
        from .redis_store import RedisStore
    try:
        return StoreRunner(RedisStore(config.kv_url, config.kv_prefix))
    except StoreError as error:
        raise StorageError(f"cannot use the shared store: {error}") from None
