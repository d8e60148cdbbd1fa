"""Retention: removes data that is too old, and more when the file is too large.

It works in small steps, each a short transaction, with time for writers between them. A live series
keeps its newest sample before the horizon: the value at the horizon, from which increases are
counted.
"""

import sqlite3
from collections.abc import Iterator
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.shells.storage.database_schema import release_pages

from .sample_schema import SEEN_EVERY, transaction

SWEEP_INTERVAL: Final = 300_000
"""ms between two sweeps while the file is not too large."""

MIN_INTERVAL: Final = 10_000
"""ms between two sweeps while the file is too large."""

MIN_AGE: Final = 600_000
"""ms for which data is kept however large the file is: live series must not seem ended."""

ENTRIES_PER_STEP: Final = 1_000
"""Log entries or views removed in one step."""

SERIES_PER_STEP: Final = 200
"""Series examined in one step."""

PAGES_PER_STEP: Final = 256
"""Free pages given back to the file system in one step."""

PARTS: Final = 20
"""When the file is too large, the oldest of this many parts of its time range is removed."""


class Retention:
    """Decides when to sweep, and up to which horizon.

    Args:
        config: The settings.
    """

    def __init__(self, config: Config) -> None:
        self._max_age = config.embedded_max_age
        self._max_bytes = config.embedded_max_bytes
        self._floor = 0  # data before this time was removed because the file was too large

    def sweep(self, database: sqlite3.Connection, now: int) -> Iterator[None]:
        """Remove old data, one step per iteration. Yields nothing if no sweep is due, or if
        another worker has done it.

        Raises:
            sqlite3.Error: The file cannot be written; start again later.
        """
        interval = MIN_INTERVAL if used_bytes(database) > self._max_bytes else SWEEP_INTERVAL
        claim = database.execute(
            # A time in the future dates from before the clock was set back.
            "UPDATE upkeep SET swept_at = ?1 WHERE swept_at NOT BETWEEN ?1 - ?2 AND ?1",
            (now, interval - 1),
        )
        if not claim.rowcount:
            return
        yield
        latest = now - MIN_AGE
        while True:
            horizon = min(max(now - self._max_age, self._floor), latest)
            yield from _remove_entries(database, horizon)
            yield from _remove_views(database, horizon)
            yield from _sweep_series(database, horizon)
            _remove_unused(database, horizon)
            yield
            if used_bytes(database) <= self._max_bytes or horizon >= latest:
                break
            oldest = max(horizon, _oldest(database, now))
            self._floor = oldest + max((now - oldest) // PARTS, 1)
        yield from _free_pages(database)


def used_bytes(database: sqlite3.Connection) -> int:
    """Bytes of the file that hold data."""
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _remove_entries(database: sqlite3.Connection, horizon: int) -> Iterator[None]:
    while True:
        gone = database.execute(
            "DELETE FROM entries WHERE id IN "
            "(SELECT id FROM entries WHERE at < ? ORDER BY at LIMIT ?)",
            (horizon, ENTRIES_PER_STEP),
        )
        yield
        if gone.rowcount < ENTRIES_PER_STEP:
            return


def _remove_views(database: sqlite3.Connection, horizon: int) -> Iterator[None]:
    while True:
        gone = database.execute(
            "DELETE FROM views WHERE id IN "
            "(SELECT id FROM views WHERE last_seen < ? ORDER BY last_seen LIMIT ?)",
            (horizon, ENTRIES_PER_STEP),
        )
        yield
        if gone.rowcount < ENTRIES_PER_STEP:
            return


def _sweep_series(database: sqlite3.Connection, horizon: int) -> Iterator[None]:
    last = 0
    while True:
        series = database.execute(
            "SELECT id, last_seen FROM series WHERE id > ? AND first_seen < ? ORDER BY id LIMIT ?",
            (last, horizon, SERIES_PER_STEP),
        ).fetchall()
        if not series:
            return
        with transaction(database):
            ended = [one for one, last_seen in series if last_seen < horizon - SEEN_EVERY]
            for one, _ in series:
                _remove_samples(database, one, horizon)
            for one in ended:
                database.execute("DELETE FROM samples WHERE series = ? AND at < ?", (one, horizon))
                # Unless another worker has just written to it.
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


def _remove_unused(database: sqlite3.Connection, horizon: int) -> None:
    """Remove streams without entries, and videos without events, since the horizon."""
    horizon -= SEEN_EVERY
    with transaction(database):
        gone = database.execute("DELETE FROM streams WHERE last_seen < ?", (horizon,))
        if gone.rowcount:
            database.execute("UPDATE upkeep SET removals = removals + 1")
        database.execute("DELETE FROM videos WHERE last_seen < ?", (horizon,))


def _oldest(database: sqlite3.Connection, now: int) -> int:
    """Time of the oldest data."""
    (entry,) = database.execute("SELECT min(at) FROM entries").fetchone()
    (series,) = database.execute("SELECT min(first_seen) FROM series").fetchone()
    (view,) = database.execute("SELECT min(last_seen) FROM views").fetchone()
    known: list[int] = [at for at in (entry, series, view) if at is not None]
    return min(now, *known)


def _free_pages(database: sqlite3.Connection) -> Iterator[None]:
    """Give free pages back to the file system when they are many; a few will be reused soon."""
    while True:
        (free,) = database.execute("PRAGMA freelist_count").fetchone()
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        if free < PAGES_PER_STEP or free * 8 < pages:
            return
        release_pages(database, PAGES_PER_STEP)
        yield
