"""Restricts a connection to the rows of some organisations.

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

_VIEWS: Final = """
CREATE TEMP TABLE visible_orgs (org_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP VIEW series AS SELECT * FROM main.series
    WHERE org_id IN (SELECT org_id FROM visible_orgs);
CREATE TEMP VIEW streams AS SELECT * FROM main.streams
    WHERE org_id IN (SELECT org_id FROM visible_orgs);
CREATE TEMP VIEW entries AS SELECT * FROM main.entries
    WHERE stream IN (SELECT id FROM streams);
CREATE TEMP VIEW views AS SELECT * FROM main.views
    WHERE org_id IN (SELECT org_id FROM visible_orgs);
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


def restrict_to_orgs(database: sqlite3.Connection, orgs: Collection[str]) -> None:
    """Restrict a connection to the rows of these organisations, before it is read from."""
    database.execute("PRAGMA query_only = OFF")  # for the temporary schema; the file is read-only
    for statement in _VIEWS.split(";"):
        database.execute(statement)
    database.executemany("INSERT INTO visible_orgs VALUES (?)", [(org,) for org in orgs])
    database.execute("PRAGMA query_only = ON")
