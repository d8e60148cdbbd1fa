"""What waits in a slot, read beside the process that owns it."""

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
    """What waits for one destination.

    Attributes:
        kind: "metrics" or "logs".
        destination: Its name; "" in files of earlier versions.
        payloads: How many requests.
        items: Samples or log entries in them.
        bytes: Their size.
        oldest: When the oldest was flushed, ms since the epoch.
    """

    kind: str
    destination: str
    payloads: int
    items: int
    bytes: int
    oldest: int


@dataclass(frozen=True, slots=True)
class SlotContents:
    """What a slot holds.

    Attributes:
        records: Batches in the journal, accepted and not flushed yet.
        pending: The outbox, by kind and destination.
        last_errors: What destinations said when they last took nothing, as of the snapshot.
    """

    records: int
    pending: tuple[PendingPayloads, ...]
    last_errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to deliver."""
        return not self.records and not self.pending


def inspect_slot(path: Path) -> SlotContents:
    """Read what waits in a file.

    Raises:
        StorageError: It cannot be read.
    """
    if not path.exists():
        return SlotContents(0, ())
    try:
        # Not read-only by the URI: a file left by a crash needs its log recovered first.
        with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as database:
            database.execute("PRAGMA query_only = ON")
            (records,) = database.execute("SELECT count(*) FROM journal").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > 3:
                records += journal.count_records(
                    path.parent, database_schema.snapshot_position(database)
                )
            destination = "destination" if version > 1 else "''"
            rows = database.execute(
                f"SELECT kind, {destination}, count(*), sum(items), sum(size), min(created) "
                "FROM outbox GROUP BY 1, 2 ORDER BY 1, min(number)"
            ).fetchall()
            errors = _last_errors(database_schema.read_snapshot(database))
    except (sqlite3.Error, OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}") from None
    return SlotContents(records, tuple(PendingPayloads(*row) for row in rows), errors)


def _last_errors(snapshot: bytes | None) -> Mapping[str, str]:
    if snapshot is None:
        return {}
    queues = decode(snapshot).queues
    return {name: queue.last_error for name, queue in queues.items() if queue.last_error}
