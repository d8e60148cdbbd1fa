"""A key-value store in a SQLite file: for the processes of one host.

Every call is one transaction. The file survives the processes, but is not synced to the disk: a
host that fails ends all processes, and each republishes its state from its journal on restart.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep

from openqoe.core.kv import (
    AddMembers,
    Claim,
    Extend,
    ListRecent,
    Mark,
    Members,
    Operation,
    Reply,
    Summarize,
)

from ..service.clock import monotonic, now_ms
from ..storage.private_files import create_private_file, create_private_folder
from . import sqlite_logs as logs
from .store_interface import StoreError

VERSION = 1
"""Version of the schema. A file of another version is emptied: workers republish their state."""

BUSY_TIMEOUT = 5.0
"""Seconds to wait for a transaction of another process."""

SWEEP_INTERVAL = 60_000
"""ms between two sweeps of expired keys."""

_SCHEMA = """
CREATE TABLE sets (key TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE members (
    place INTEGER PRIMARY KEY, key TEXT NOT NULL, member TEXT NOT NULL, day INTEGER NOT NULL,
    UNIQUE (key, member)
);
CREATE INDEX members_place ON members (key, place);
CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL, ends INTEGER) WITHOUT ROWID;
CREATE TABLE logs (
    key TEXT PRIMARY KEY, length INTEGER NOT NULL, start INTEGER NOT NULL,
    summarized INTEGER NOT NULL, summary BLOB, ends INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE entries (
    key TEXT NOT NULL, place INTEGER NOT NULL, id BLOB NOT NULL, writer TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX entries_place ON entries (key, place, id);
CREATE TABLE recent (
    key TEXT NOT NULL, member TEXT NOT NULL, mark INTEGER NOT NULL, ends INTEGER NOT NULL,
    PRIMARY KEY (key, member)
) WITHOUT ROWID;
CREATE INDEX claims_ends ON claims (ends);
CREATE INDEX logs_ends ON logs (ends)
"""


class SqliteStore:
    """A store in a file.

    Args:
        path: The file; created if it is missing.
        clock: Returns the time in ms.

    Raises:
        StoreError: The file cannot be created or used.
    """

    def __init__(self, path: Path, clock: Callable[[], int] = now_ms) -> None:
        self._path = path
        self._clock = clock
        self._swept_at = 0
        self._database: sqlite3.Connection | None = None
        self._inode: int | None = None  # of the open file
        try:
            create_private_folder(path.parent)
        except OSError as error:
            raise StoreError(f"cannot create {path.parent}: {error.strerror}") from None
        self._connect()

    def run(self, operations: tuple[Operation, ...]) -> tuple[Reply, ...]:
        """Run operations in order; return their replies.

        Raises:
            StoreError: The file cannot be written, or is locked for too long.
        """
        now = self._clock()
        try:
            database = self._connect()
            with database:
                database.execute("BEGIN IMMEDIATE")
                replies = _run(database, operations, now)
                if not 0 <= now - self._swept_at < SWEEP_INTERVAL:
                    self._sweep(database, now)
                    self._swept_at = now
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.DatabaseError) and "malformed" in str(error):
                self._remove_file()
            raise StoreError(f"{self._path}: {error}") from None
        return replies

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _connect(self) -> sqlite3.Connection:
        if self._database is not None:
            if self._inode == self._current_inode():
                return self._database
            self.close()  # the file was removed, or recreated by another process
        try:
            database = self._open()
            (version,) = database.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise StoreError(f"{self._path}: {error}") from None
            self._remove_file()  # it is not a database
            database, version = self._open(), 0
        if version != VERSION:
            self._create_tables(database)
        self._database = database
        self._inode = self._current_inode()
        return database

    def _open(self) -> sqlite3.Connection:
        with suppress(OSError):  # otherwise SQLite names the fault
            create_private_folder(self._path.parent)
            create_private_file(self._path)
        database = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        end = monotonic() + BUSY_TIMEOUT
        while True:
            try:
                database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                # SQLite does not wait for a process that does the same.
                if monotonic() > end:
                    database.close()
                    raise
                sleep(0.01)
        database.execute("PRAGMA synchronous = OFF")
        return database

    def _create_tables(self, database: sqlite3.Connection) -> None:
        """Create the tables, unless another process has done so."""
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                (version,) = database.execute("PRAGMA user_version").fetchone()
                if version == VERSION:
                    return
                tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                for (table,) in tables.fetchall():
                    database.execute(f'DROP TABLE "{table}"')
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error as error:
            database.close()
            raise StoreError(f"{self._path}: {error}") from None

    def _remove_file(self) -> None:
        """Remove a damaged file. Processes that have it open notice by its inode."""
        was_open = self._database is not None
        self.close()
        if was_open and self._inode != self._current_inode():
            return  # another process has removed it
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                self._path.with_name(self._path.name + suffix).unlink()

    def _current_inode(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except OSError:
            return None

    def _sweep(self, database: sqlite3.Connection, now: int) -> None:
        database.execute("DELETE FROM claims WHERE ends <= ?", (now,))
        database.execute("DELETE FROM recent WHERE ends <= ?", (now,))
        database.execute(
            "DELETE FROM entries WHERE key IN (SELECT key FROM logs WHERE ends <= ?)", (now,)
        )
        database.execute("DELETE FROM logs WHERE ends <= ?", (now,))


def _run(
    database: sqlite3.Connection, operations: Sequence[Operation], now: int
) -> tuple[Reply, ...]:
    """Run operations with the effect of running them in order.

    Kinds of operations are independent of each other, so all claims are made together, and all
    extensions of logs up to the next summary.
    """
    replies: list[Reply] = [None] * len(operations)
    claims: list[tuple[int, Claim]] = []
    extensions: list[tuple[int, Extend]] = []

    def flush_extensions() -> None:
        tails = logs.extend_logs(database, [extension for _, extension in extensions], now)
        for (place, _), tail in zip(extensions, tails, strict=True):
            replies[place] = tail
        extensions.clear()

    for place, operation in enumerate(operations):
        match operation:
            case Claim():
                claims.append((place, operation))
            case Extend():
                extensions.append((place, operation))
            case Summarize():
                flush_extensions()
                logs.summarize_log(database, operation, now)
            case AddMembers():
                replies[place] = _add_members(database, operation)
            case Mark():
                replies[place] = _mark(database, operation, now)
            case ListRecent(key, since):
                rows = database.execute(
                    "SELECT member FROM recent WHERE key = ? AND mark >= ? ORDER BY member",
                    (key, since),
                )
                replies[place] = tuple(member for (member,) in rows)
    flush_extensions()
    owners = logs.claim_keys(database, [claim for _, claim in claims], now)
    for (place, _), owner in zip(claims, owners, strict=True):
        replies[place] = owner
    return tuple(replies)


def _add_members(database: sqlite3.Connection, operation: AddMembers) -> Members:
    key, limit, day = operation.key, operation.limit, operation.day
    left = database.execute("DELETE FROM members WHERE key = ? AND day < ?", (key, day - 1))
    database.execute("INSERT OR IGNORE INTO sets VALUES (?, 0)", (key,))
    if left.rowcount:
        database.execute("UPDATE sets SET version = version + 1 WHERE key = ?", (key,))
    (version,) = database.execute("SELECT version FROM sets WHERE key = ?", (key,)).fetchone()
    (size,) = database.execute("SELECT count(*) FROM members WHERE key = ?", (key,)).fetchone()
    for member in operation.members:
        known = database.execute(
            "UPDATE members SET day = max(day, ?) WHERE key = ? AND member = ?", (day, key, member)
        )
        if not known.rowcount and (limit is None or size < limit):
            database.execute(
                "INSERT INTO members (key, member, day) VALUES (?, ?, ?)", (key, member, day)
            )
            size += 1
    start = operation.known if operation.version == version and operation.known <= size else 0
    rows = database.execute(
        "SELECT member FROM members WHERE key = ? ORDER BY place LIMIT -1 OFFSET ?", (key, start)
    )
    return Members(version, start, tuple(member for (member,) in rows))


def _mark(database: sqlite3.Connection, operation: Mark, now: int) -> int:
    key, ends = operation.key, now + operation.lifetime
    database.executemany(
        "INSERT INTO recent VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key, member) DO UPDATE "
        "SET mark = ?3, ends = ?4 "
        "WHERE abs(?3) > abs(mark) OR (?3 = -mark AND ?3 < 0)",
        [(key, member, mark, ends) for member, mark in operation.marks],
    )
    database.execute("DELETE FROM recent WHERE key = ? AND abs(mark) < ?", (key, operation.since))
    (count,) = database.execute(
        "SELECT count(*) FROM recent WHERE key = ? AND mark > 0", (key,)
    ).fetchone()
    return int(count)
