"""Recovers the sound rows of a damaged database and keeps the damaged file for inspection."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from . import database_schema

TABLES = ("snapshot", "outbox", "batches", "highest")


def salvage_file(path: Path) -> tuple[Path, str]:
    """Move a damaged database aside and write its sound rows to a new one.

    Returns:
        The new path of the damaged file, and a description of the rows that were recovered.
    """
    damaged = damaged_name(path)
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{damaged}{suffix}")
    saved = dict.fromkeys(TABLES, 0)
    with closing(database_schema.open_database(str(path), full=True)) as fresh:
        fresh.execute("BEGIN")
        with suppress(sqlite3.Error), closing(_open_damaged(damaged)) as source:
            for table in TABLES:
                for row in _read_rows(source, table):
                    with suppress(sqlite3.Error):
                        marks = ", ".join("?" * len(row))
                        fresh.execute(f"REPLACE INTO {table} VALUES ({marks})", row)
                        saved[table] += 1
        if fresh.in_transaction:
            fresh.execute("COMMIT")
    return damaged, f"{saved['outbox']} payloads, {'the' if saved['snapshot'] else 'no'} snapshot"


def damaged_name(path: Path) -> Path:
    """Return a free name for a damaged file."""
    number = 1
    while (damaged := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return damaged


def _open_damaged(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    database.execute("PRAGMA query_only = ON")
    return database


def _read_rows(source: sqlite3.Connection, table: str) -> Iterator[tuple[object, ...]]:
    """Read the rows of a table; those of the outbox behind a damaged page from the other end."""
    orders = (" ORDER BY number", " ORDER BY number DESC") if table == "outbox" else ("",)
    seen: set[object] = set()
    for order in orders:
        with suppress(sqlite3.Error):
            for row in source.execute(f"SELECT * FROM {table}{order}"):
                if table != "outbox" or row[0] not in seen:
                    seen.add(row[0])
                    yield row
            return
