"""Reads the contents of a slot while another process may own it."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from openqoe.core.engine.snapshot import decode

from . import database_schema, journal
from .storage_errors import StorageError


@dataclass(frozen=True, slots=True)
class PendingPayloads:
    """Payloads of the outbox that wait for one destination.

    Attributes:
        kind: "metrics", "logs", "views" or "batches".
        destination: Its name.
        payloads: Number of requests.
        items: Samples, log entries, rows of views or batches in them.
        bytes: Their size.
        oldest: Time of the oldest one's flush, ms since the epoch.
    """

    kind: str
    destination: str
    payloads: int
    items: int
    bytes: int
    oldest: int


@dataclass(frozen=True, slots=True)
class SlotContents:
    """Undelivered data of a slot.

    Attributes:
        records: Batches in the journal: accepted and not flushed yet.
        pending: The outbox, by kind and destination.
        views: Views in the snapshot, ended ones included.
        pending_views: Views with events that wait for later ones, as of the snapshot.
        last_errors: Each failing destination's last error, as of the snapshot.
    """

    records: int
    pending: tuple[PendingPayloads, ...]
    views: int = 0
    pending_views: int = 0
    last_errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to deliver."""
        return not (self.records or self.pending or self.pending_views)


def inspect_slot(path: Path) -> SlotContents:
    """Read the contents of a slot.

    Args:
        path: The slot's database, which may not exist yet.

    Raises:
        StorageError: It cannot be read.
    """
    if not path.exists():
        return SlotContents(0, ())
    try:
        # Not opened read-only: SQLite must recover the write-ahead log that a crash left.
        with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as database:
            database.execute("PRAGMA query_only = ON")
            rows = database.execute(
                "SELECT kind, destination, count(*), sum(items), sum(size), min(created) "
                "FROM outbox GROUP BY 1, 2 ORDER BY 1, min(number)"
            ).fetchall()
            position = database_schema.snapshot_position(database)
            snapshot = database_schema.read_snapshot(database)
        records = journal.count_records(path.parent, position)
        state = None if snapshot is None else decode(snapshot)
    except (sqlite3.Error, OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}") from None
    pending = tuple(PendingPayloads(*row) for row in rows)
    if state is None:
        return SlotContents(records, pending)
    errors = {name: queue.last_error for name, queue in state.queues.items() if queue.last_error}
    views = state.recorder.views
    count = len(views.views) + len(views.ended)
    return SlotContents(records, pending, count, len(views.pending_views), errors)
