"""Erases the events and views of a viewer from the embedded store, down to the last byte."""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import msgspec

from .sample_schema import open_writer, transaction


class _Sender(msgspec.Struct):
    """Whose event a line is. SQLite's JSON takes the first of repeated members, and does not find
    names with escapes; the decoder of events takes the last."""

    org_id: object = None
    viewer_id: object = None


_decode_sender = msgspec.json.Decoder(_Sender).decode

_THEIR_VIEWS = "org_id = ?1 AND viewer_id IN (SELECT value FROM json_each(?2))"


def erase_viewer(path: Path, org_id: str, viewer_ids: Collection[str]) -> tuple[int, bool]:
    """Delete the events and views of a viewer.

    The file is rewritten and its log truncated, because pages that were freed earlier, by retention
    for example, still hold the bytes of deleted events. Other processes may use the file meanwhile:
    their writes wait.

    Args:
        path: The store's file.
        org_id: The viewer's organisation.
        viewer_ids: The forms in which the viewer's id may be stored.

    Returns:
        The number of events deleted, and whether the file was rewritten completely (not if other
        processes kept reading from its log).

    Raises:
        sqlite3.Error: The file is damaged, or locked for too long.
    """
    if not path.exists():
        return 0, True
    # As JSON, so that the number of ids does not change the statement.
    ids = msgspec.json.encode(sorted(viewer_ids)).decode()
    with closing(open_writer(path, full=True)) as database:

        def is_theirs(line: str) -> bool:
            try:
                sender = _decode_sender(line)
            except msgspec.DecodeError:  # an entry of another sender than the worker
                return False
            return sender.org_id == org_id and sender.viewer_id in viewer_ids

        database.create_function("is_theirs", 1, is_theirs, deterministic=True)
        with transaction(database):
            deleted = database.execute("DELETE FROM entries WHERE is_theirs(line)")
            database.execute(f"DELETE FROM views WHERE {_THEIR_VIEWS}", (org_id, ids))
        return deleted.rowcount, rewrite_file(database)


def rewrite_file(database: sqlite3.Connection) -> bool:
    """Rewrite a database without free pages, and truncate its log.

    Returns:
        Whether the log is empty.
    """
    database.execute("VACUUM")
    busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
