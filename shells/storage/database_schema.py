"""The tables of the file, how a row is written, and how it is read again.

Every blob carries a CRC-32 of its plain form: a bad row is recognised and left out, the
good ones beside it are kept. ``PRAGMA user_version`` is the version of the format;
``FORMATS`` holds what makes a file of each version from one of the version before.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import snappy

from openqoe.core.effects import DedupEntry, Record, StoredPayload

from .storage_errors import NewerFormatError

APPLICATION_ID = 0x51304551  # "Q0EQ"

FORMATS = (
    """
    CREATE TABLE journal (
        number INTEGER PRIMARY KEY, at INTEGER NOT NULL, country TEXT, digest BLOB NOT NULL,
        crc INTEGER NOT NULL, body BLOB NOT NULL
    );
    CREATE TABLE snapshot (one INTEGER PRIMARY KEY CHECK (one = 1), crc INTEGER, state BLOB);
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY, kind TEXT NOT NULL, headers TEXT NOT NULL,
        size INTEGER NOT NULL, items INTEGER NOT NULL, created INTEGER NOT NULL,
        thinnable INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL
    );
    CREATE TABLE batches (digest BLOB PRIMARY KEY, at INTEGER NOT NULL, events INTEGER NOT NULL)
        WITHOUT ROWID;
    CREATE INDEX batches_by_time ON batches (at);
    CREATE TABLE highest (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO highest VALUES ('record', 0), ('payload', 0);
    """,
    "ALTER TABLE outbox ADD COLUMN destination TEXT NOT NULL DEFAULT '';",
    # In order of time, not of digests, which are random: a flush that puts tens of thousands of
    # them each into a place of its own holds all answers up, ten times as long as this.
    """
    CREATE TABLE accepted (digest BLOB NOT NULL, at INTEGER NOT NULL, events INTEGER NOT NULL);
    INSERT INTO accepted SELECT digest, at, events FROM batches ORDER BY at;
    DROP TABLE batches;
    ALTER TABLE accepted RENAME TO batches;
    CREATE INDEX batches_by_time ON batches (at);
    """,
    # The journal has files of its own from here on; what earlier versions left in the table is
    # still read. The snapshot says through which record it goes.
    "ALTER TABLE snapshot ADD COLUMN through INTEGER NOT NULL DEFAULT 0;",
)

Row = tuple[object, ...]

BLOB_CHUNK = 1024 * 1024
"""Bytes of a snapshot that are written at a time."""

CACHE_KIB = 512
"""KiB of pages in memory; SQLite's own idea is 2 MiB."""

ROWS_PER_STATEMENT = (256, 32, 4, 1)
"""Rows that one statement puts in: few different statements, so that they stay prepared."""


def _insert_rows(database: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    """Put rows in by few statements.

    At each step of a statement other threads may run, and while they are busy it takes
    milliseconds to be let in again.
    """
    done = 0
    for size in ROWS_PER_STATEMENT:
        while len(rows) - done >= size:
            part = rows[done : done + size]
            holes = f"({', '.join('?' * len(part[0]))})"
            values = ", ".join([holes] * size)
            database.execute(f"{statement} {values}", [value for row in part for value in row])
            done += size


def open_database(path: str, *, full: bool) -> sqlite3.Connection:
    """Open a file, or make it.

    Args:
        path: The file.
        full: Whether a commit is on the disk itself when it returns, not only with the
            operating system.

    Raises:
        NewerFormatError: It belongs to a newer version.
        sqlite3.Error: It is damaged, or cannot be opened.
    """
    # Only one thread uses it at a time: whoever opens it, then the writer.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    # Damaged text must not keep the good rows beside it from being read.
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    try:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        if not pages:
            # What an outage has filled is given back to the file system afterwards. To be said
            # before anything is written to a new file, even its mode.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        # It is written to, and hardly read: of the pages in memory few are used again.
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Some systems have SQLite overwrite what is deleted, which is most of what is written.
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(FORMATS):
            raise NewerFormatError(
                f"{path} has format {version}, this version of the worker knows up to "
                f"{len(FORMATS)}: start the newer version again"
            )
        for number, statements in enumerate(FORMATS[version:], version + 1):
            database.executescript(
                f"BEGIN; {statements} PRAGMA user_version = {number};"
                f"PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
            )
    except BaseException:
        database.close()
        raise
    return database


def read_record(row: tuple[int, int, str | None, bytes, int, bytes]) -> Record | None:
    """The record of a row, as earlier versions wrote it; None if it is damaged."""
    number, at, country, digest, crc, packed = row
    if not isinstance(packed, bytes):
        return None
    body = _unpacked(packed, crc)
    return None if body is None else Record(number, at, body, country, digest)


def _unpacked(packed: bytes, crc: int) -> bytes | None:
    """What was packed, whichever way; None if it is damaged."""
    for unpack in (bytes, _snappy, zlib.decompress):  # zlib: as the first version wrote it
        with suppress(zlib.error, snappy.UncompressError):
            plain = unpack(packed)
            if zlib.crc32(plain) == crc:
                return plain
    return None


def _snappy(packed: bytes) -> bytes:
    # A damaged beginning may announce gigabytes; no more than 22 times the size can be true.
    announced = 0
    for place, byte in enumerate(packed[:5]):
        announced |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    if announced > 64 * len(packed):
        raise snappy.UncompressError("it announces too much")
    plain: bytes = snappy.uncompress(packed)
    return plain


def add_payload(database: sqlite3.Connection, payload: StoredPayload) -> None:
    database.execute(
        "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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


def delete_payloads(database: sqlite3.Connection, numbers: Iterable[int]) -> None:
    numbers = list(numbers)
    if numbers:
        database.execute(
            "DELETE FROM outbox WHERE number IN (SELECT value FROM json_each(?))",
            (json.dumps(numbers),),
        )


def read_payload(row: tuple[int, str, str, int, int, int, int, str]) -> StoredPayload | None:
    """The payload of a row, its body left there; None if it is damaged."""
    number, kind, headers, size, items, created, thinnable, destination = row
    try:
        pairs = tuple((str(name), str(value)) for name, value in json.loads(headers))
    except (ValueError, TypeError):
        return None
    if kind not in ("metrics", "logs"):
        return None
    return StoredPayload(
        number,
        "metrics" if kind == "metrics" else "logs",
        pairs,
        b"",
        size,
        items,
        created,
        bool(thinnable),
        destination,
    )


def read_body(database: sqlite3.Connection, number: int) -> bytes | None:
    """The body of a payload; None if it is missing or damaged."""
    row = database.execute("SELECT crc, body FROM outbox WHERE number = ?", (number,)).fetchone()
    if row is None or not isinstance(row[1], bytes) or zlib.crc32(row[1]) != row[0]:
        return None
    return row[1]


def write_snapshot(database: sqlite3.Connection, pieces: Sequence[bytes], through: int) -> None:
    """Write a snapshot, given in pieces.

    In one piece SQLite would copy it while no other thread may run: 54 MB took 60 ms.
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
    """The same bytes in larger pieces: behind each that is dealt with other threads run, and
    while they are busy it takes milliseconds to be let in again."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= BLOB_CHUNK:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def snapshot_position(database: sqlite3.Connection) -> int:
    """The number of the last record that the snapshot holds.

    In two places, because a damaged file may lose one of them.
    """
    (number,) = database.execute(
        "SELECT max(coalesce((SELECT number FROM highest WHERE name = 'record'), 0), "
        "coalesce((SELECT through FROM snapshot), 0))"
    ).fetchone()
    return int(number or 0)


def read_snapshot(database: sqlite3.Connection) -> bytes | None:
    """The snapshot; None if there is none.

    Raises:
        ValueError: It is damaged.
    """
    row = database.execute("SELECT crc, state FROM snapshot").fetchone()
    if row is None:
        return None
    if not isinstance(row[1], bytes) or zlib.crc32(row[1]) != row[0]:
        raise ValueError("the snapshot is damaged")
    return row[1]


def add_batches(database: sqlite3.Connection, batches: tuple[DedupEntry, ...]) -> None:
    rows: list[Row] = [(batch.digest, batch.at, batch.events) for batch in batches]
    _insert_rows(database, "INSERT INTO batches VALUES", rows)


def trim_batches(database: sqlite3.Connection, since: int, most: int) -> None:
    database.execute("DELETE FROM batches WHERE at < ?", (since,))
    (count,) = database.execute("SELECT count(*) FROM batches").fetchone()
    if count > most:
        database.execute(
            "DELETE FROM batches WHERE rowid IN (SELECT rowid FROM batches ORDER BY at LIMIT ?)",
            (count - most,),
        )


def release_pages(database: sqlite3.Connection, most: int) -> None:
    """Give pages that have become free back to the file system."""
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, most)):
        # One by one: sqlite3 takes a single step of a statement without columns, and a step of
        # this one is a page.
        database.execute("PRAGMA incremental_vacuum(1)")


def raise_highest_number(database: sqlite3.Connection, name: str, number: int) -> None:
    database.execute("UPDATE highest SET number = max(number, ?) WHERE name = ?", (number, name))


def highest_number(database: sqlite3.Connection, name: str) -> int:
    """The highest number ever used, so that none is used twice."""
    table = {"record": "journal", "payload": "outbox"}[name]
    (number,) = database.execute(
        f"SELECT max((SELECT number FROM highest WHERE name = ?), "
        f"coalesce((SELECT max(number) FROM {table}), 0))",
        (name,),
    ).fetchone()
    return int(number or 0)
