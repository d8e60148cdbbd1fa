"""Restricts a connection to what a key may see: rows of its organisations, and who watched.

Views in the connection's own temporary schema take the names of the tables, and SQLite resolves a
name there first. So no query of the dashboard, present or future, can read a row of another
organisation by omission. Rows that belong to no organisation, those of the worker's own health, are
hidden as well. ``samples`` has no organisation; all queries reach it through ``series``.

A governed video label may stand for videos of several organisations. Then a video shows only if one
of the visible organisations has sent events of it, and without its title, which may be another's.
"""

import sqlite3
from collections.abc import Collection
from typing import Final

from .query_parameters import VIEWER_IDS

_VIEWS: Final = """
CREATE TEMP TABLE visible_orgs (org_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP VIEW series AS SELECT * FROM main.series
    WHERE org_id IN (SELECT org_id FROM visible_orgs);
CREATE TEMP VIEW streams AS SELECT * FROM main.streams
    WHERE org_id IN (SELECT org_id FROM visible_orgs);
CREATE TEMP VIEW entries AS SELECT * FROM main.entries
    WHERE stream IN (SELECT id FROM streams);
CREATE TEMP VIEW own_labels AS SELECT DISTINCT video_id AS label FROM series
    WHERE video_id IS NOT NULL AND video_id NOT IN (
        SELECT video_id FROM main.series WHERE video_id IS NOT NULL
        AND (org_id IS NULL OR org_id NOT IN (SELECT org_id FROM visible_orgs)));
CREATE TEMP VIEW videos AS
    SELECT * FROM main.videos WHERE label IN (SELECT label FROM own_labels)
    UNION ALL
    SELECT label, video_id, NULL, last_seen FROM main.videos AS shared
    WHERE label NOT IN (SELECT label FROM own_labels)
    AND EXISTS (SELECT 1 FROM entries WHERE entries.video_id = shared.video_id)
"""


def restrict(
    database: sqlite3.Connection, orgs: Collection[str] | None, *, hides_viewers: bool
) -> None:
    """Restrict a connection, before it is read from.

    Args:
        database: The connection.
        orgs: The organisations whose rows are visible; None for all rows.
        hides_viewers: Whether rows of views have no ids of viewers and sessions. Log entries are
            not restricted: they need the scope ``logs``, which shows them.
    """
    if orgs is None and not hides_viewers:
        return
    database.execute("PRAGMA query_only = OFF")  # for the temporary schema; the file is read-only
    columns = [name for _, name, *_ in database.execute("PRAGMA main.table_info(views)")]
    hidden = VIEWER_IDS if hides_viewers else ()
    shown = ", ".join(f"NULL AS {name}" if name in hidden else name for name in columns)
    condition = ""
    if orgs is not None:
        for statement in _VIEWS.split(";"):
            database.execute(statement)
        database.executemany("INSERT INTO visible_orgs VALUES (?)", [(org,) for org in orgs])
        condition = "WHERE org_id IN (SELECT org_id FROM visible_orgs)"
    database.execute(f"CREATE TEMP VIEW views AS SELECT {shown} FROM main.views {condition}")
    database.execute("PRAGMA query_only = ON")
