"""Retention: what is too old leaves, or more of it when the file has become too large.

It goes in small steps, each a short transaction, with time for writers between them. Of a series
that lives its newest sample before the horizon stays: it is the value at the horizon, from which
increases are counted.
"""

import sqlite3
from collections.abc import Iterator
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.shells.storage.database_schema import release_pages

from .sample_schema import SEEN_EVERY, transaction

INTERVAL: Final = 300_000
"""ms between two sweeps, while the file is not too large."""

LEAST: Final = 10_000
"""ms between two sweeps in any case."""

KEPT: Final = 600_000
"""ms that are kept however large the file is: series that live must not seem to have ended."""

ROWS: Final = 1_000
"""Entries that leave in one step."""

SERIES: Final = 200
"""Series looked at in one step."""

PAGES: Final = 256
"""Free pages that go back to the file system in one step."""

SHARE: Final = 20
"""The part of the time kept that leaves at once when the file is too large: one in so many."""


class Retention:
    """Knows when to sweep, and what.

    Args:
        config: The settings.
    """

    def __init__(self, config: Config) -> None:
        self._max_age = config.embedded_max_age
        self._max_bytes = config.embedded_max_bytes
        self._floor = 0  # what is older had to leave for want of room

    def sweep(self, database: sqlite3.Connection, now: int) -> Iterator[None]:
        """Let go of what is too old, a step each time it is asked to go on; nothing if it is not
        time yet, or another worker has done it.

        Raises:
            sqlite3.Error: The file cannot be written; begin anew some time later.
        """
        interval = LEAST if used_bytes(database) > self._max_bytes else INTERVAL
        claim = database.execute(
            # A time that lies ahead is of before the clock was put back.
            "UPDATE upkeep SET swept_at = ?1 WHERE swept_at NOT BETWEEN ?1 - ?2 AND ?1",
            (now, interval - 1),
        )
        if not claim.rowcount:
            return
        yield
        latest = now - KEPT
        while True:
            horizon = min(max(now - self._max_age, self._floor), latest)
            yield from _entries(database, horizon)
            yield from _samples(database, horizon)
            _the_rest(database, horizon)
            yield
            if used_bytes(database) <= self._max_bytes or horizon >= latest:
                break
            oldest = max(horizon, _oldest(database, now))
            self._floor = oldest + max((now - oldest) // SHARE, 1)
        yield from _free_pages(database)


def used_bytes(database: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _entries(database: sqlite3.Connection, horizon: int) -> Iterator[None]:
    while True:
        gone = database.execute(
            "DELETE FROM entries WHERE id IN "
            "(SELECT id FROM entries WHERE at < ? ORDER BY at LIMIT ?)",
            (horizon, ROWS),
        )
        yield
        if gone.rowcount < ROWS:
            return


def _samples(database: sqlite3.Connection, horizon: int) -> Iterator[None]:
    last = 0
    while True:
        series = database.execute(
            "SELECT id, last_seen FROM series WHERE id > ? AND first_seen < ? ORDER BY id LIMIT ?",
            (last, horizon, SERIES),
        ).fetchall()
        if not series:
            return
        with transaction(database):
            ended = [one for one, last_seen in series if last_seen < horizon - SEEN_EVERY]
            for one, _ in series:
                _remove_samples(database, one, horizon)
            for one in ended:
                database.execute("DELETE FROM samples WHERE series = ? AND at < ?", (one, horizon))
                # Not one that another worker has just seen again.
                database.execute(
                    "DELETE FROM series WHERE id = ?1 AND "
                    "NOT EXISTS (SELECT 1 FROM samples WHERE series = ?1)",
                    (one,),
                )
            if ended:
                database.execute("UPDATE upkeep SET removals = removals + 1")
        last = series[-1][0]
        yield


def _remove_samples(database: sqlite3.Connection, series: int, horizon: int) -> None:
    """Remove the samples before the newest one that is not after the horizon."""
    database.execute(
        "DELETE FROM samples WHERE series = ?1 AND at < "
        "(SELECT max(at) FROM samples WHERE series = ?1 AND at <= ?2)",
        (series, horizon),
    )


def _the_rest(database: sqlite3.Connection, horizon: int) -> None:
    """Streams without entries, and videos that nobody has played since."""
    horizon -= SEEN_EVERY
    with transaction(database):
        gone = database.execute("DELETE FROM streams WHERE last_seen < ?", (horizon,))
        if gone.rowcount:
            database.execute("UPDATE upkeep SET removals = removals + 1")
        database.execute("DELETE FROM videos WHERE last_seen < ?", (horizon,))


def _oldest(database: sqlite3.Connection, now: int) -> int:
    """When what is kept begins."""
    (entry,) = database.execute("SELECT min(at) FROM entries").fetchone()
    (series,) = database.execute("SELECT min(first_seen) FROM series").fetchone()
    return min(now if entry is None else entry, now if series is None else series)


def _free_pages(database: sqlite3.Connection) -> Iterator[None]:
    """Give pages back to the file system when they are many; a few are soon used again."""
    while True:
        (free,) = database.execute("PRAGMA freelist_count").fetchone()
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        if free < PAGES or free * 8 < pages:
            return
        release_pages(database, PAGES)
        yield
