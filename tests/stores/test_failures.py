"""What a store says and does when it cannot do its work."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from openqoe.core.kv import Claim, ListRecent, Mark
from openqoe.shells.stores import SqliteStore, StoreError
from openqoe.shells.stores import sqlite_store as sqlite_module
from openqoe.shells.stores.redis_store import RedisStore
from tests.stores.conftest import Blocking
from tests.support.redis_server import PASSWORD, Redis
from tests.support.services import free_port

CLIENTS = [RedisStore, Blocking]
NAMES = ["threads", "asyncio"]


def claim(store: SqliteStore | RedisStore | Blocking, by: str) -> object:
    (reply,) = store.run((Claim("k", by, None),))
    return reply


def reason(store: SqliteStore | RedisStore | Blocking) -> str:
    with pytest.raises(StoreError) as caught:
        claim(store, "a")
    assert PASSWORD not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


# SQLite


def test_a_file_that_is_no_database_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    path.write_bytes(b"not a database" * 1000)
    store = SqliteStore(path)
    assert claim(store, "a") == "a"
    assert claim(SqliteStore(path), "b") == "a"


def test_a_file_of_another_version_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    claim(SqliteStore(path), "a")
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("CREATE TABLE later (x)")
    database.close()
    assert claim(SqliteStore(path), "b") == "b"


def test_a_file_damaged_in_use_is_begun_anew_by_one_and_found_by_the_others(tmp_path: Path) -> None:
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


def test_a_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    one, other = SqliteStore(path), SqliteStore(path)
    assert claim(one, "a") == "a"
    for file in tmp_path.iterdir():
        file.unlink()
    assert claim(other, "b") == "b"
    assert claim(one, "a") == "b"


def test_a_transaction_of_another_process_that_lasts_is_a_failure(
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


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        SqliteStore(tmp_path / "file" / "shared.db")


# Redis


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_a_server_that_is_away_is_named_without_the_password(
    client: type[RedisStore] | type[Blocking],
) -> None:
    port = free_port()
    store = client(f"redis://user:s3cret@127.0.0.1:{port}/0", "t")
    assert f"127.0.0.1:{port}" in reason(store)
    store.close()


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_a_wrong_password_is_said(client: type[RedisStore] | type[Blocking], redis: Redis) -> None:
    store = client(f"redis://:s3cret@127.0.0.1:{redis.port}/0", "t")
    assert "password" in reason(store)
    store.close()


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_a_server_that_hangs_is_given_up_and_used_again_later(
    client: type[RedisStore] | type[Blocking], redis: Redis
) -> None:
    redis.delete_all()
    store = client(redis.url, "t")
    assert claim(store, "a") == "a"
    redis.pause()
    began = time.monotonic()
    assert "Timeout" in reason(store)
    assert time.monotonic() - began < 5
    redis.resume()
    assert claim(store, "b") == "a"
    store.close()


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_a_full_server_says_so_and_takes_all_again_afterwards(
    client: type[RedisStore] | type[Blocking], redis: Redis
) -> None:
    redis.delete_all()
    store = client(redis.url, "t")
    claim(store, "a")
    redis.exhaust_memory()
    assert "maxmemory" in reason(store)
    redis.restore_memory()
    assert claim(store, "b") == "a"
    store.close()


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_a_server_that_was_restarted_has_its_scripts_again(
    client: type[RedisStore] | type[Blocking], redis: Redis
) -> None:
    store = client(redis.url, "t")
    claim(store, "a")
    redis.restart()
    for _ in range(2):  # the connection of before is found broken first
        try:
            assert claim(store, "b") == "b"
        except StoreError:
            continue
        break
    else:
        raise AssertionError("it does not come back")
    store.close()


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_installations_with_different_prefixes_do_not_meet(
    client: type[RedisStore] | type[Blocking], redis: Redis
) -> None:
    redis.delete_all()
    one, other = client(redis.url, "one"), client(redis.url, "other")
    assert (claim(one, "a"), claim(other, "b")) == ("a", "b")
    one.close()
    other.close()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(StoreError, match="OPENQOE_KV_URL"):
        RedisStore("http://127.0.0.1", "t")
