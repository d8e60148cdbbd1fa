"""Stores: behaviour and error texts when a file or server fails."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from openqoe.core.kv import Claim, ListRecent, Mark
from openqoe.shells.stores import SqliteStore, StoreError
from openqoe.shells.stores import sqlite_store as sqlite_module
from openqoe.shells.stores.redis_store import RedisStore
from tests.support.redis_server import PASSWORD, Redis
from tests.support.services import free_port


def claim(store: SqliteStore | RedisStore, by: str) -> object:
    (reply,) = store.run((Claim("k", by, None),))
    return reply


def reason(store: SqliteStore | RedisStore) -> str:
    with pytest.raises(StoreError) as caught:
        claim(store, "a")
    assert PASSWORD not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


# SQLite


def test_file_that_is_not_a_database_is_recreated(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    path.write_bytes(b"not a database" * 1000)
    store = SqliteStore(path)
    assert claim(store, "a") == "a"
    assert claim(SqliteStore(path), "b") == "a"


def test_directory_deleted_in_use_is_created_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data" / "shared.db")
    assert claim(store, "a") == "a"
    shutil.rmtree(tmp_path / "data")
    assert claim(store, "b") == "b"


def test_file_of_another_version_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    claim(SqliteStore(path), "a")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("CREATE TABLE later (x)")
    database.close()
    assert claim(SqliteStore(path), "b") == "b"


def test_file_damaged_in_use_is_recreated_once_for_all_clients(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    one, other = SqliteStore(path), SqliteStore(path)
    marks = tuple((f"member-{n}", 1) for n in range(5000))
    one.run((Mark("k", marks, 0, 10**9),))
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    for _ in range(2):  # once to find out, and it may be that only the pages in memory are right
        for store in (one, other):
            try:
                store.run((ListRecent("k", 0), Claim("k", "a", None)))
            except StoreError as error:
                assert "malformed" in str(error)
    assert claim(one, "b") == claim(other, "c")
    one.run((Mark("k", (("new", 2),), 0, 10**9),))
    assert other.run((ListRecent("k", 2),)) == (("new",),)


def test_removed_file_is_recreated(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    one, other = SqliteStore(path), SqliteStore(path)
    assert claim(one, "a") == "a"
    for file in tmp_path.iterdir():
        file.unlink()
    assert claim(other, "b") == "b"
    assert claim(one, "a") == "b"


def test_long_transaction_of_another_process_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT", 0.1)
    path = tmp_path / "shared.db"
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert reason(store) == f"{path}: database is locked"
    other.execute("ROLLBACK")
    other.close()
    assert claim(store, "a") == "a"


def test_unusable_folder_is_named_in_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        SqliteStore(tmp_path / "file" / "shared.db")


# Redis


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
            far = socket.create_connection(("127.0.0.1", self.target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with source, sink:
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
