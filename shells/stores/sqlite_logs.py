"""Claims and logs in SQLite, many per statement.

Each statement releases the interpreter lock; where other threads answer requests, reacquiring it
takes many times as long as the statement itself.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from openqoe.core.kv import Claim, Entry, Extend, Summarize, Tail

ROWS_PER_STATEMENT = 150
"""Maximum number of rows in one statement. SQLite before 3.32 accepts 999 values in one."""

T = TypeVar("T")


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), ROWS_PER_STATEMENT):
        yield items[at : at + ROWS_PER_STATEMENT]


@lru_cache(maxsize=3 * ROWS_PER_STATEMENT)
def _placeholders(count: int, width: int) -> str:
    """Return placeholders of rows for a VALUES clause."""
    return ",".join([f"({','.join('?' * width)})"] * count)


def claim_keys(database: sqlite3.Connection, claims: Sequence[Claim], now: int) -> Iterator[str]:
    """Make claims; yield the owners."""
    for part in _chunks(claims):
        values: list[object] = []
        for each in part:
            ends = None if each.lifetime is None else now + each.lifetime
            values += (each.key, each.by, ends)
        made = database.execute(
            f"INSERT INTO claims VALUES {_placeholders(len(part), 3)} ON CONFLICT (key) DO UPDATE "
            "SET owner = excluded.owner, ends = excluded.ends "
            "WHERE owner = excluded.owner OR ends <= ?",
            (*values, now),
        )
        if made.rowcount == len(part):  # nearly always: no other worker owns any of them
            yield from (each.by for each in part)
            continue
        for each in part:
            found = database.execute("SELECT owner FROM claims WHERE key = ?", (each.key,))
            yield str(found.fetchone()[0])


@dataclass(slots=True)
class _Log:
    """A log while it is extended.

    Attributes:
        length: Number of entries it has had.
        start: Number of entries removed, the oldest.
        summarized: Number of entries that its summary replaces.
        ends: Time of its expiry, ms.
        added: Its latest entries, which are not written yet.
    """

    length: int = 0
    start: int = 0
    summarized: int = 0
    ends: int = 0
    added: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        self.added.append(entry)
        self.length += 1

    def places(self) -> Iterator[tuple[int, Entry]]:
        """Return the entries to write, with their places."""
        return enumerate(self.added, self.length - len(self.added) + 1)


_EntryKey = tuple[str, bytes]
"""The key of a log and the id of an entry."""


def extend_logs(database: sqlite3.Connection, extensions: Sequence[Extend], now: int) -> list[Tail]:
    """Extend logs in order; return a tail for each extension."""
    logs, known = _read(database, [(each.key, each.entry.id) for each in extensions], now)
    tails = []
    for each in extensions:
        log, entry = logs[each.key], each.entry
        if (each.key, entry.id) not in known and each.only_at in (None, log.length):
            known.add((each.key, entry.id))
            log.add(entry)
        log.ends = now + each.lifetime
        tails.append(_tail(database, each, log))
    _write(database, logs)
    return tails


def _read(
    database: sqlite3.Connection, asked: Sequence[_EntryKey], now: int
) -> tuple[dict[str, _Log], set[_EntryKey]]:
    """Read logs, and which of the entries exist. Expired logs are deleted."""
    logs = {key: _Log() for key, _ in asked}
    known = set()
    for part in _chunks(asked):
        # All rows in one text: each row would be a step of the statement.
        (found,) = database.execute(
            f"WITH asked (number, key, id) AS (VALUES {_placeholders(len(part), 3)}) "
            "SELECT group_concat(number || ' ' || length || ' ' || start || ' ' || summarized "
            "|| ' ' || ends || ' ' || EXISTS ("
            "SELECT 1 FROM entries WHERE entries.key = asked.key AND entries.id = asked.id"
            ")) FROM asked JOIN logs ON logs.key = asked.key",
            [value for number, (key, id) in enumerate(part) for value in (number, key, id)],
        ).fetchone()
        for row in found.split(",") if found else ():
            number, length, start, summarized, ends, is_known = map(int, row.split())
            key, id = part[number]
            if ends <= now:
                database.execute("DELETE FROM entries WHERE key = ?", (key,))
                database.execute("DELETE FROM logs WHERE key = ?", (key,))
                continue
            logs[key] = _Log(length, start, summarized)
            if is_known:
                known.add((key, id))
    return logs, known


def _tail(database: sqlite3.Connection, extension: Extend, log: _Log) -> Tail:
    begin, summary = extension.after, None
    if begin < log.start:
        begin = log.summarized
        found = database.execute("SELECT summary FROM logs WHERE key = ?", (extension.key,))
        (summary,) = found.fetchone()
    written = log.length - len(log.added)
    entries: Iterable[Entry] = log.added[max(0, begin - written) :]
    if begin < written:  # entries of other workers, or of an earlier call
        rows = database.execute(
            "SELECT id, writer, data FROM entries WHERE key = ? AND place > ? ORDER BY place",
            (extension.key, begin),
        )
        entries = (*(Entry(*row) for row in rows.fetchall()), *entries)
    return Tail(begin, summary, tuple(entries), log.length - log.start)


def _write(database: sqlite3.Connection, logs: dict[str, _Log]) -> None:
    entries = [
        (key, place, entry.id, entry.by, entry.data)
        for key, log in logs.items()
        for place, entry in log.places()
    ]
    for rows in _chunks(entries):
        database.execute(
            f"INSERT INTO entries VALUES {_placeholders(len(rows), 5)}",
            [value for row in rows for value in row],
        )
    for part in _chunks(list(logs.items())):
        database.execute(
            "INSERT INTO logs (key, length, ends, start, summarized) "
            f"VALUES {_placeholders(len(part), 5)} "
            "ON CONFLICT (key) DO UPDATE SET length = excluded.length, ends = excluded.ends",
            [value for key, log in part for value in (key, log.length, log.ends, 0, 0)],
        )


def summarize_log(database: sqlite3.Connection, operation: Summarize, now: int) -> None:
    """Replace the oldest entries of a log by a summary."""
    key = operation.key
    logs, _ = _read(database, [(key, b"")], now)
    log = logs[key]
    if not log.summarized < operation.length <= log.length:
        return
    start = max(log.start, operation.length - operation.keep)
    database.execute("DELETE FROM entries WHERE key = ? AND place <= ?", (key, start))
    database.execute(
        "UPDATE logs SET start = ?, summarized = ?, summary = ?, ends = ? WHERE key = ?",
        (start, operation.length, operation.summary, now + operation.lifetime, key),
    )
