"""Selects and opens the store that the settings ask for."""

from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from openqoe.core.config.worker_config import Config

from ..service.extras import needs
from ..storage import StorageError
from .sqlite_store import SqliteStore
from .store_interface import Store, StoreError
from .store_runner import StoreRunner

FILE = "shared.db"
"""The store of the processes that share a data directory, beside their slots."""

Kind = Literal["memory", "sqlite", "redis"]


def store_kind(config: Config, *, several: bool) -> Kind:
    """Return the kind of store that the settings ask for.

    Args:
        config: The settings.
        several: Whether this process is expected to be one of several.
    """
    if config.kv_url == "auto":
        return "sqlite" if several and config.durability != "memory" else "memory"
    if config.kv_url == "memory":
        return "memory"
    return "sqlite" if config.kv_url.startswith("sqlite") else "redis"


def open_store(config: Config, *, several: bool) -> StoreRunner | None:
    """Open the store that the settings ask for; None if this process shares nothing.

    A server need not be reachable yet.

    Raises:
        StorageError: The file cannot be used.
        MissingExtraError: The client of the server is not installed.
    """
    kind = store_kind(config, several=several)
    if kind == "memory":
        return None
    try:
        store: Store
        if kind == "sqlite":
            store = SqliteStore(store_file(config))
        else:
            with needs("redis"):
                from .redis_store import RedisStore
            store = RedisStore(config.kv_url, config.kv_prefix)
    except StoreError as error:
        raise StorageError(f"cannot use the shared store: {error}") from None
    return StoreRunner(store)


def has_store(config: Config) -> bool:
    """Whether the processes of the data directory have shared a store there."""
    return (Path(config.data_dir) / FILE).exists()


def store_file(config: Config) -> Path:
    """Return the SQLite file that the settings ask for."""
    if config.kv_url.startswith("sqlite:"):
        return Path(unquote(urlsplit(config.kv_url).path))
    return Path(config.data_dir) / FILE
