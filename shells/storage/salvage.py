"""A damaged file: save what is sound, keep the rest aside for whoever wants to look at it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from . import database_schema

TABLES = ("journal", "snapshot", "outbox", "batches", "highest")

KEYS = {"journal": "number", "outbox": "number"}


def salvage_file(path: Path) -> tuple[Path, str]:
    """Move a damaged file out of the way and write what is sound of it to a new one.

    Returns:
        Where the damaged file is now, and what was saved, in words.
    """
    damaged = damaged_name(path)
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{damaged}{suffix}")
    saved = dict.fromkeys(TABLES, 0)
    with closing(database_schema.open_database(str(path), full=True)) as fresh:
        with suppress(sqlite3.Error), closing(_reader(damaged)) as source:
            fresh.execute("BEGIN")
            for table in TABLES:
                for row in _rows(source, table):
                    # By name: a file of an earlier format has fewer columns.
                    columns, marks = ", ".join(row.keys()), ", ".join("?" * len(row))
                    with suppress(sqlite3.Error):
                        statement = f"REPLACE INTO {table} ({columns}) VALUES ({marks})"
                        fresh.execute(statement, tuple(row))
                        saved[table] += 1
            fresh.execute("COMMIT")
        if fresh.in_transaction:
            fresh.execute("COMMIT")
    words = f"{saved['outbox']} payloads, {'the' if saved['snapshot'] else 'no'} snapshot"
    if saved["journal"]:  # of an earlier version
        words = f"{saved['journal']} journalled batches, {words}"
    return damaged, words


def _reader(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA query_only = ON")
    return database


def _rows(source: sqlite3.Connection, table: str) -> Iterator[sqlite3.Row]:
    """The rows that can be read: in order, and around a damaged page from the other end."""
    seen: set[object] = set()
    key = KEYS.get(table)
    orders = ("",) if key is None else (f" ORDER BY {key}", f" ORDER BY {key} DESC")
    for order in orders:
        with suppress(sqlite3.Error):
            for row in source.execute(f"SELECT * FROM {table}{order}"):
                if key is None or row[0] not in seen:
                    seen.add(row[0])
                    yield row
            return


def damaged_name(path: Path) -> Path:
    """Where a damaged file can be kept."""
    number = 1
    while (damaged := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return damaged
