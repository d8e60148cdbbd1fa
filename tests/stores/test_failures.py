"""Stores: behaviour and error texts when a server fails."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from openqoe.core.kv import Claim
from openqoe.shells.stores import StoreError
from openqoe.shells.stores.redis_store import RedisStore
from tests.support.redis_server import PASSWORD, Redis
from tests.support.services import free_port


def claim(store: RedisStore, by: str) -> object:
    (reply,) = store.run((Claim("k", by, None),))
    return reply


def reason(store: RedisStore) -> str:
    with pytest.raises(StoreError) as caught:
        claim(store, "a")
    assert PASSWORD not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def test_unreachable_server_is_named_without_password() -> None:
    port = free_port()
    store = RedisStore(f"redis://user:s3cret@127.0.0.1:{port}/0", "t")
    assert f"127.0.0.1:{port}" in reason(store)
    store.close()


def test_wrong_password_is_named_in_error(redis: Redis) -> None:
    store = RedisStore(f"redis://:s3cret@127.0.0.1:{redis.port}/0", "t")
    assert "password" in reason(store)
    store.close()


def test_hanging_server_times_out_and_is_used_again(redis: Redis) -> None:
    redis.delete_all()
    store = RedisStore(redis.url, "t")
    assert claim(store, "a") == "a"
    redis.pause()
    began = time.monotonic()
    assert "Timeout" in reason(store)
    assert time.monotonic() - began < 5
    redis.resume()
    assert claim(store, "b") == "a"
    store.close()


def test_full_server_fails_until_memory_is_freed(redis: Redis) -> None:
    redis.delete_all()
    store = RedisStore(redis.url, "t")
    claim(store, "a")
    redis.exhaust_memory()
    assert "maxmemory" in reason(store)
    redis.restore_memory()
    assert claim(store, "b") == "a"
    store.close()


def test_store_recovers_after_failover_behind_the_same_address() -> None:
    """The address first leads to one server, then to another: the first becomes a replica."""
    with Redis() as first, Redis() as second, Forwarder(first.port) as address:
        store = RedisStore(first.url.replace(f":{first.port}/", f":{address.port}/"), "t")
        assert claim(store, "a") == "a"
        # Without the primary's password it never loads its data, so each write gets READONLY.
        first.command("REPLICAOF", "127.0.0.1", str(second.port))
        address.target = second.port  # connections that are open stay
        assert "read-only replica; OPENQOE_KV_URL must lead to the primary" in reason(store)
        assert claim(store, "b") == "b"
        store.close()


def test_user_without_permission_is_named_in_error(redis: Redis) -> None:
    redis.command("ACL", "SETUSER", "some", "on", ">s3cret", "~other:*", "+@all")
    store = RedisStore(f"redis://some:s3cret@127.0.0.1:{redis.port}/0", "t")
    assert "its user may not do this; allow EVALSHA" in reason(store)
    store.close()
    redis.command("ACL", "DELUSER", "some")


def test_node_of_a_cluster_is_named_in_error() -> None:
    with Redis("127.0.0.1", "--cluster-enabled", "yes") as redis:
        redis.command("CLUSTER", "ADDSLOTS", "0")
        store = RedisStore(redis.url, "t")
        assert "cluster" in reason(store)
        store.close()


class Forwarder:
    """Forwards each new connection to the port ``target`` of this host."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Forwarder:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # the server has stopped
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:  # the other direction may have closed them
            while data := source.recv(65536):
                sink.sendall(data)


def test_scripts_are_reloaded_after_server_restart(redis: Redis) -> None:
    store = RedisStore(redis.url, "t")
    claim(store, "a")
    redis.restart()
    for _ in range(2):  # the first call finds its connection broken
        try:
            assert claim(store, "b") == "b"
        except StoreError:
            continue
        break
    else:
        raise AssertionError("the store does not recover")
    store.close()


def test_different_prefixes_share_no_keys(redis: Redis) -> None:
    redis.delete_all()
    one, other = RedisStore(redis.url, "one"), RedisStore(redis.url, "other")
    assert (claim(one, "a"), claim(other, "b")) == ("a", "b")
    one.close()
    other.close()


def test_invalid_address_is_refused() -> None:
    with pytest.raises(StoreError, match="OPENQOE_KV_URL"):
        RedisStore("http://127.0.0.1", "t")
