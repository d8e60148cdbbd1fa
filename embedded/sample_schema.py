"""The tables of ``embedded.db``, and how the file is opened.

Other programs, such as SQLite's own tools, may read the file while workers write to it;
``docs/embedded.md`` describes the tables. ``PRAGMA user_version`` is the version of the
format. Times are ms since the epoch.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Final

from openqoe.shells.service.clock import monotonic
from openqoe.shells.storage.private_files import create_private_file
from openqoe.shells.storage.storage_errors import NewerFormatError

FILE: Final = "embedded.db"
"""The store's file in the data directory, shared by all workers that use the directory."""

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process's transaction."""

CACHE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of pages kept in memory, and of the log kept on disk between transactions."""

SEEN_EVERY: Final = 60_000
"""Resolution of ``last_seen`` in ms: a row is not written for every sample."""

SERIES_LABELS: Final = (
    "instance",
    "org_id",
    "player_id",
    "env",
    "app_name",
    "app_version",
    "device_category",
    "os_family",
    "browser_family",
    "player_name",
    "network_country",
    "video_id",
    "content_type",
)
"""Labels of series that have a column, so that queries need not parse the JSON. They are written
out although ``METRIC_LABELS`` has the same: another label there needs another ``VERSION`` here."""

STREAM_LABELS: Final = (
    "org_id",
    "player_id",
    "event_type",
    "env",
    "app_name",
    "app_version",
    "device_category",
    "os_family",
    "browser_family",
    "player_name",
    "network_country",
    "content_type",
)
"""Labels of streams that have a column."""

_SCHEMA: Final = f"""
-- A series of Prometheus: a metric's name and a label set. labels is a JSON object sorted by
-- name, without __name__. le is infinite for the last bucket of a histogram. hash is of the
-- labels: an index of them would be as large as the table.
CREATE TABLE series (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL,
    {", ".join(f"{name} TEXT" for name in SERIES_LABELS)}, le REAL,
    first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, hash INTEGER NOT NULL
);
CREATE UNIQUE INDEX series_name ON series (name, hash);
CREATE INDEX series_video ON series (video_id) WHERE video_id IS NOT NULL;
-- A sample stands for the time until the next one. value is NULL where the series ended.
CREATE TABLE samples (
    series INTEGER NOT NULL, at INTEGER NOT NULL, value REAL, PRIMARY KEY (series, at)
) WITHOUT ROWID;
-- A stream of Loki: a label set.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE,
    {", ".join(f"{name} TEXT" for name in STREAM_LABELS)},
    last_seen INTEGER NOT NULL
);
-- An event as it came in. hash is of the line: equal entries of a stream are stored once.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, stream INTEGER NOT NULL,
    event_type TEXT, view_id TEXT, session_id TEXT, viewer_id TEXT, video_id TEXT,
    line TEXT NOT NULL, hash INTEGER NOT NULL
);
CREATE UNIQUE INDEX entries_at ON entries (at, stream, hash);
CREATE INDEX entries_video ON entries (video_id, at) WHERE video_id IS NOT NULL;
CREATE INDEX entries_view ON entries (view_id, at) WHERE view_id IS NOT NULL;
-- Which videos are behind a governed video_id label of series.
CREATE TABLE videos (
    label TEXT NOT NULL, video_id TEXT NOT NULL, title TEXT, last_seen INTEGER NOT NULL,
    PRIMARY KEY (label, video_id)
) WITHOUT ROWID;
CREATE TABLE metrics (name TEXT PRIMARY KEY, type TEXT, help TEXT, unit TEXT) WITHOUT ROWID;
-- When one of the workers last looked after retention, and how often series or streams were
-- removed by that: then the caches of workers are invalid.
CREATE TABLE upkeep (
    one INTEGER PRIMARY KEY CHECK (one = 1), swept_at INTEGER NOT NULL, removals INTEGER NOT NULL
);
INSERT INTO upkeep VALUES (1, 0, 0);
"""

_VIEWS: Final = """
-- A view: one playback of one video. A later row of a view replaces an earlier one. The columns are
-- described in core/qoe/view_rows.
CREATE TABLE views (
    id INTEGER PRIMARY KEY, org_id TEXT NOT NULL, view_id TEXT NOT NULL, video_id TEXT NOT NULL,
    player TEXT NOT NULL, session_id TEXT, viewer_id TEXT, title TEXT, error_family TEXT,
    error_code TEXT, player_id TEXT, env TEXT, app_name TEXT, app_version TEXT,
    device_category TEXT, os_family TEXT, browser_family TEXT, player_name TEXT,
    network_country TEXT, content_type TEXT, updated_at INTEGER NOT NULL,
    began_at INTEGER NOT NULL, asked_at INTEGER, shown_at INTEGER, last_seen INTEGER NOT NULL,
    state TEXT NOT NULL, outcome TEXT, is_live INTEGER NOT NULL, startup_ms INTEGER,
    waited_ms INTEGER NOT NULL, played_ms INTEGER NOT NULL, watch_ms INTEGER NOT NULL,
    paused_ms INTEGER NOT NULL, pauses INTEGER NOT NULL, rebuffers INTEGER NOT NULL,
    rebuffer_ms INTEGER NOT NULL, seeks INTEGER NOT NULL, bitrate_avg INTEGER,
    bitrate_last INTEGER, upshifts INTEGER NOT NULL, downshifts INTEGER NOT NULL,
    frames_dropped INTEGER NOT NULL, errors INTEGER NOT NULL, furthest_ms INTEGER NOT NULL,
    duration_ms INTEGER, score REAL
);
CREATE UNIQUE INDEX views_key ON views (view_id, org_id, video_id, player);
-- Lists are filtered by most filters in this index alone: other rows are not read.
CREATE INDEX views_seen ON views (
    last_seen, began_at, outcome, rebuffer_ms, startup_ms, org_id, device_category, player_name,
    network_country, app_version, os_family, browser_family, content_type, env, app_name, player_id
);
CREATE INDEX views_outcome ON views (outcome, last_seen, began_at);
CREATE INDEX views_error ON views (error_code, last_seen) WHERE error_code IS NOT NULL;
CREATE INDEX views_viewer ON views (viewer_id, last_seen) WHERE viewer_id IS NOT NULL;
CREATE INDEX views_session ON views (session_id, last_seen) WHERE session_id IS NOT NULL;
CREATE INDEX views_video ON views (video_id, last_seen);
-- The sort orders of lists, with the expressions of dashboard/view_queries.
CREATE INDEX views_startup_ms ON views (coalesce(startup_ms, -1));
CREATE INDEX views_rebuffer_ms ON views (rebuffer_ms);
CREATE INDEX views_watch_ms ON views (watch_ms);
CREATE INDEX views_errors ON views (errors);
CREATE INDEX views_score ON views (coalesce(score, 101.0));
"""

_WRITES: Final = """
-- How many requests were written since the file was created: see EmbeddedStore.
ALTER TABLE upkeep ADD COLUMN writes INTEGER NOT NULL DEFAULT 0
"""

_FORMATS: Final = (_SCHEMA, _VIEWS, _WRITES)
"""What each version adds to the one before, from an empty file on."""

VERSION: Final = len(_FORMATS)


def open_writer(path: Path, *, full: bool) -> sqlite3.Connection:
    """Open the file for writing; creates it if needed.

    Args:
        path: The file.
        full: Whether a commit is synced to the disk before it returns, rather than handed to
            the operating system.

    Raises:
        NewerFormatError: The file was written by a newer version.
        sqlite3.Error: It is damaged, locked, or cannot be opened.
    """
    with suppress(OSError):  # otherwise SQLite names the fault
        create_private_file(path)
    # One thread uses it at a time: the one that opens it, then the writer.
    database = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        _check_version(database, path)
        # Must be set before anything is written to a new file, even its mode.
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _use_wal(database)
        database.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        # A flush touches a page for each series that has changed.
        database.execute(f"PRAGMA cache_size = -{CACHE_BYTES // 1024}")
        database.execute(f"PRAGMA journal_size_limit = {CACHE_BYTES}")
        _create_tables(database)
    except BaseException:
        database.close()
        raise
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading. Readers and writers do not block each other.

    Raises:
        sqlite3.Error: It is missing or damaged.
    """
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
    )
    database.execute("PRAGMA query_only = ON")
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction: written as a whole or not at all."""
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _use_wal(database: sqlite3.Connection) -> None:
    end = monotonic() + BUSY_TIMEOUT
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait here for other processes that do the same.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > end:
                raise
            sleep(0.01)


def _check_version(database: sqlite3.Connection, path: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise NewerFormatError(
            f"{path} has format {version}, this version of the worker knows up to {VERSION}: "
            "start the newer version again"
        )


def _create_tables(database: sqlite3.Connection) -> None:
    """Create the tables that the file lacks, unless another process creates them."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version >= VERSION:
        return
    with transaction(database):
        (version,) = database.execute("PRAGMA user_version").fetchone()
        for added in _FORMATS[version:]:
            for statement in added.split(";"):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {max(version, VERSION)}")
