"""The stores, each as several clients have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openqoe.core.kv import Operation, Reply
from openqoe.shells.stores import MemoryStore, SqliteStore, Store
from openqoe.shells.stores.redis_store import AsyncRedisStore, RedisStore
from tests.support.redis_server import Redis

KINDS = ("memory", "sqlite", "redis", "redis-async")

Clients = Callable[[], Store]
"""Makes one more client of the same store, which is empty at first."""


class Blocking:
    """The asynchronous client as a store like the others."""

    def __init__(self, url: str, prefix: str) -> None:
        self._runner = asyncio.Runner()
        self._store = self._runner.run(self._made(url, prefix))

    async def _made(self, url: str, prefix: str) -> AsyncRedisStore:
        return AsyncRedisStore(url, prefix)

    def run(self, operations: tuple[Operation, ...]) -> tuple[Reply, ...]:
        return self._runner.run(self._store.run(operations))

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(params=KINDS)
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clients]:
    """Clients of one new store."""
    kind: str = request.param
    memory = MemoryStore()
    made: list[Store] = []
    if kind.startswith("redis"):
        server: Redis = request.getfixturevalue("redis")
        server.delete_all()

    def make() -> Store:
        store: Store
        if kind == "memory":
            store = memory
        elif kind == "sqlite":
            store = SqliteStore(tmp_path / "shared.db")
        elif kind == "redis":
            store = RedisStore(server.url, "test")
        else:
            store = Blocking(server.url, "test")
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(clients: Clients) -> Store:
    """One client of a new store."""
    return clients()
