"""Stores of each kind, for several clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from openqoe.shells.stores import Store
from openqoe.shells.stores.redis_store import RedisStore
from tests.support.memory_store import MemoryStore
from tests.support.redis_server import Redis

KINDS = ("memory", "redis")

Clients = Callable[[], Store]
"""Creates another client of the same store, which is empty at first."""


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(params=KINDS)
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Clients of one new store."""
    kind: str = request.param
    memory = MemoryStore()
    made: list[Store] = []
    if kind == "redis":
        server: Redis = request.getfixturevalue("redis")
        server.delete_all()

    def make() -> Store:
        store: Store
        store = memory if kind == "memory" else RedisStore(server.url, "test")
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(clients: Clients) -> Store:
    """One client of a new store."""
    return clients()
