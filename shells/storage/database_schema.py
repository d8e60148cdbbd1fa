"""The tables of a slot's database, and how their rows are written and read.

Every blob carries a CRC-32, so a damaged row is detected and skipped while the sound rows beside
it are kept. ``PRAGMA user_version`` holds the version of the format.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from openqoe.core.effects import DedupEntry, PayloadKind, StoredPayload

from .private_files import create_private_file
from .storage_errors import NewerFormatError

APPLICATION_ID = 0x51304551  # "Q0EQ"

FORMAT = 4
"""Version of the format. Later versions of the worker must read files of this one."""

# Batches are in order of time. Digests are random: a primary key of digests would put each of a
# flush's tens of thousands on a page of its own, which takes ten times as long.
_SCHEMA = """
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1), crc INTEGER, state BLOB,
    through INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, headers TEXT NOT NULL,
    size INTEGER NOT NULL, items INTEGER NOT NULL, created INTEGER NOT NULL,
    thinnable INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL,
    destination TEXT NOT NULL
);
CREATE TABLE batches (digest BLOB NOT NULL, at INTEGER NOT NULL, events INTEGER NOT NULL);
CREATE INDEX batches_by_time ON batches (at);
CREATE TABLE highest (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO highest VALUES ('record', 0), ('payload', 0);
"""

BLOB_CHUNK = 1024 * 1024
"""Bytes of a snapshot that are written at a time."""

CACHE_KIB = 512
"""Size of SQLite's page cache; its default is 2 MiB. Pages are written and rarely read again."""

ROWS_PER_STATEMENT = (256, 32, 4, 1)
"""Rows that one statement inserts. A few fixed sizes, so that statements stay prepared."""


def open_database(path: str, *, full: bool) -> sqlite3.Connection:
    """Open a file, or create it.

    Args:
        path: The file.
        full: Whether a commit returns only when it is on the disk itself, not just with the
            operating system.

    Raises:
        NewerFormatError: It was written by a newer version.
        sqlite3.Error: It is damaged, or cannot be opened.
    """
    with suppress(OSError):  # otherwise SQLite names the fault
        create_private_file(Path(path))
    # Threads use it one at a time: the one that opens it, then the writer.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    # Damaged text must not make sound rows unreadable.
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        if not pages:
            # Returns the space of an outage's outbox to the file system. Takes effect only before
            # anything is written to a new file, even the journal mode.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Some systems build SQLite to overwrite deleted rows, which are most of those written.
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise NewerFormatError(
                f"{path} has format {version}, this version of the worker reads format {FORMAT}: "
                "start the newer version again"
            )
        if version < FORMAT:
            database.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT};"
                f"PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
            )
    except BaseException:
        database.close()
        raise
    return database


def add_payload(database: sqlite3.Connection, payload: StoredPayload) -> None:
    """Insert a payload; one that an attempt reported as failed has stored is replaced."""
    database.execute(
        "INSERT OR REPLACE INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            payload.number,
            payload.kind,
            json.dumps(payload.headers),
            payload.size,
            payload.items,
            payload.created,
            payload.thinnable,
            zlib.crc32(payload.body),
            payload.body,
            payload.destination,
        ),
    )


def delete_payloads(database: sqlite3.Connection, numbers: Sequence[int]) -> None:
    if numbers:
        database.execute(
            "DELETE FROM outbox WHERE number IN (SELECT value FROM json_each(?))",
            (json.dumps(numbers),),
        )


def read_payloads(database: sqlite3.Connection) -> tuple[list[StoredPayload], int]:
    """Read the outbox in order, without bodies.

    Returns:
        The payloads, and the number of damaged rows, which are skipped.
    """
    rows = database.execute(
        "SELECT number, kind, headers, size, items, created, thinnable, destination "
        "FROM outbox ORDER BY number"
    )
    payloads: list[StoredPayload] = []
    damaged = 0
    for number, kind, headers, size, items, created, thinnable, destination in rows:
        try:
            pairs = tuple((str(name), str(value)) for name, value in json.loads(headers))
        except (ValueError, TypeError):
            damaged += 1
            continue
        if kind in get_args(PayloadKind):
            payloads.append(
                StoredPayload(
                    number, kind, pairs, b"", size, items, created, bool(thinnable), destination
                )
            )
        else:
            damaged += 1
    return payloads, damaged


def read_body(database: sqlite3.Connection, number: int) -> bytes | None:
    """Read the body of a payload; None if it is missing or damaged."""
    row = database.execute("SELECT crc, body FROM outbox WHERE number = ?", (number,)).fetchone()
    if row is None or not isinstance(row[1], bytes) or zlib.crc32(row[1]) != row[0]:
        return None
    return row[1]


def write_snapshot(database: sqlite3.Connection, pieces: Sequence[bytes], through: int) -> None:
    """Replace the snapshot by one that is given in pieces and covers records up to ``through``.

    SQLite copies a blob while it holds the interpreter lock: 54 MB in one piece took 60 ms.
    """
    blocks = tuple(_join_pieces(pieces))
    crc = 0
    for block in blocks:
        crc = zlib.crc32(block, crc)
    database.execute(
        "REPLACE INTO snapshot (one, crc, state, through) VALUES (1, ?, zeroblob(?), ?)",
        (crc, sum(map(len, blocks)), through),
    )
    with database.blobopen("snapshot", "state", 1) as blob:
        for block in blocks:
            blob.write(block)


def _join_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces into blocks.

    Each write releases the interpreter lock; while other threads are busy, reacquiring it takes
    milliseconds.
    """
    block: list[bytes] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size >= BLOB_CHUNK:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)


def read_snapshot(database: sqlite3.Connection) -> bytes | None:
    """Read the snapshot; None if there is none.

    Raises:
        ValueError: It is damaged.
    """
    row = database.execute("SELECT crc, state FROM snapshot").fetchone()
    if row is None:
        return None
    if not isinstance(row[1], bytes) or zlib.crc32(row[1]) != row[0]:
        raise ValueError("the snapshot is damaged")
    return row[1]


def snapshot_position(database: sqlite3.Connection) -> int:
    """Return the number of the last record that the snapshot covers.

    It is stored in two places, because a damaged file may lose one of them.
    """
    return _query_number(
        database,
        "SELECT max(coalesce((SELECT number FROM highest WHERE name = 'record'), 0), "
        "coalesce((SELECT through FROM snapshot), 0))",
    )


def highest_payload(database: sqlite3.Connection) -> int:
    """Return the highest number a payload ever had, so that none is used twice."""
    return _query_number(
        database,
        "SELECT max(coalesce((SELECT number FROM highest WHERE name = 'payload'), 0), "
        "coalesce((SELECT max(number) FROM outbox), 0))",
    )


def _query_number(database: sqlite3.Connection, query: str) -> int:
    (number,) = database.execute(query).fetchone()
    return int(number)


def raise_highest(database: sqlite3.Connection, name: str, number: int) -> None:
    database.execute("UPDATE highest SET number = max(number, ?) WHERE name = ?", (number, name))


def read_batches(database: sqlite3.Connection) -> Iterator[DedupEntry]:
    """Read the deduplication window, oldest batch first."""
    rows = database.execute("SELECT digest, at, events FROM batches ORDER BY at, rowid")
    return (DedupEntry(*row) for row in rows)


def add_batches(database: sqlite3.Connection, batches: Sequence[DedupEntry]) -> None:
    """Insert batches by few statements.

    Each step of a statement releases the interpreter lock; while other threads are busy,
    reacquiring it takes milliseconds.
    """
    done = 0
    for size in ROWS_PER_STATEMENT:
        values = ", ".join(["(?, ?, ?)"] * size)
        while len(batches) - done >= size:
            rows = batches[done : done + size]
            database.execute(
                f"INSERT INTO batches VALUES {values}",
                [value for one in rows for value in (one.digest, one.at, one.events)],
            )
            done += size


def trim_batches(database: sqlite3.Connection, since: int, most: int) -> None:
    """Delete batches older than ``since``, and the oldest beyond ``most``."""
    database.execute("DELETE FROM batches WHERE at < ?", (since,))
    (count,) = database.execute("SELECT count(*) FROM batches").fetchone()
    if count > most:
        database.execute(
            "DELETE FROM batches WHERE rowid IN (SELECT rowid FROM batches ORDER BY at LIMIT ?)",
            (count - most,),
        )


def release_pages(database: sqlite3.Connection, most: int) -> None:
    """Return up to ``most`` free pages to the file system."""
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, most)):
        # One by one: sqlite3 takes a single step of a statement without columns, and one step of
        # this statement is one page.
        database.execute("PRAGMA incremental_vacuum(1)")
