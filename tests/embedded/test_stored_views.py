"""Rows of views in the store: a later row replaces an earlier one; old files get the table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from openqoe.core.effects import StoreViews
from openqoe.core.qoe.view_rows import ViewRow
from openqoe.core.wire import view_rows
from openqoe.embedded import FILE, sample_schema
from openqoe.embedded.retention import Retention
from openqoe.embedded.sample_schema import open_writer
from openqoe.embedded.sample_writer import SampleWriter
from tests.embedded.stored_rig import config_of, rows, stored
from tests.support.event_builders import NOW

HOUR = 3_600_000


FIELDS = [(field.name, str(field.type)) for field in msgspec.structs.fields(ViewRow)]


def row_values(**changes: Any) -> dict[str, Any]:
    """The members of a row: zeros and None, but for its identity and its times."""
    values: dict[str, Any] = {}
    for name, kind in FIELDS:
        values[name] = None if "None" in kind else "" if "str" in kind else 0
    values |= {"is_live": False, "state": "playing", "org_id": "acme", "view_id": "view-1"}
    values |= {"video_id": "film", "player": "hlsjs", "began_at": NOW, "last_seen": NOW}
    return {**values, "updated_at": NOW, **changes}


def request(*changes: dict[str, Any]) -> StoreViews:
    encode = msgspec.msgpack.Encoder().encode
    body = view_rows.encode_request([encode(ViewRow(**row_values(**one))) for one in changes])
    return StoreViews(3, "embedded_views", "embedded:views", view_rows.HEADERS, body)


def test_columns_are_the_members_of_a_row(tmp_path: Path) -> None:
    with stored(tmp_path):
        columns = [name for (_, name, *_) in rows(tmp_path, "PRAGMA table_info(views)")]
    assert columns == ["id", *ViewRow.__struct_fields__]


def test_later_row_of_a_view_replaces_the_earlier_one(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(request({"rebuffers": 1}, {"view_id": "other"}))
        store.write(request({"rebuffers": 2, "updated_at": NOW + 1, "outcome": "completed"}))
    query = "SELECT view_id, rebuffers, outcome FROM views ORDER BY view_id"
    assert rows(tmp_path, query) == [("other", 0, None), ("view-1", 2, "completed")]


def test_request_that_is_sent_again_after_a_later_one_changes_nothing(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        early, late = request({}), request({"rebuffers": 2, "updated_at": NOW + 1})
        assert [r.status for r in store.write(early, late, early, late)] == [204] * 4
    assert rows(tmp_path, "SELECT rebuffers FROM views") == [(2,)]


def test_row_of_a_worker_that_knows_no_details_keeps_them(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(request({"viewer_id": "anna", "device_category": "tv"}))
        store.write(request({"updated_at": NOW + 1, "outcome": "stopped"}))
    query = "SELECT viewer_id, device_category, outcome FROM views"
    assert rows(tmp_path, query) == [("anna", "tv", "stopped")]


def test_same_view_id_of_two_organisations_videos_or_players_is_several_views(
    tmp_path: Path,
) -> None:
    with stored(tmp_path) as store:
        store.write(request({}, {"org_id": "b"}, {"video_id": "c"}, {"player": ""}))
    assert rows(tmp_path, "SELECT count(*) FROM views") == [(4,)]


def test_malformed_rows_are_refused(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        effect = StoreViews(3, "embedded_views", "embedded:views", (), b"\x00nonsense")
        assert [result.status for result in store.write(effect)] == [400]


def test_file_of_the_previous_format_gets_the_table_and_keeps_its_rows(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.executescript(f"{sample_schema._SCHEMA}; PRAGMA user_version = 1")
        database.execute("INSERT INTO videos VALUES ('label', 'film', 'Film', 1)")
        database.commit()
    with stored(tmp_path) as store:
        assert [result.status for result in store.write(request({}))] == [204]
    assert rows(tmp_path, "SELECT title FROM videos") == [("Film",)]
    assert rows(tmp_path, "SELECT view_id FROM views") == [("view-1",)]
    assert rows(tmp_path, "PRAGMA user_version") == [(sample_schema.VERSION,)]


def test_views_older_than_the_retention_are_removed(tmp_path: Path) -> None:
    config = config_of(tmp_path, OPENQOE_EMBEDDED_MAX_AGE="3600")
    with closing(open_writer(tmp_path / FILE, full=False)) as database:
        writer = SampleWriter(database, config)
        old = {"view_id": "old", "last_seen": NOW - HOUR - 1}
        long = {"view_id": "long", "began_at": NOW - 9 * HOUR, "last_seen": NOW - 1}
        writer.write_views(request(old, long).body)
        for _ in Retention(config).sweep(database, NOW):
            pass
    assert rows(tmp_path, "SELECT view_id FROM views") == [("long",)]


def test_oldest_views_are_removed_while_the_file_is_too_large(tmp_path: Path) -> None:
    config = replace(config_of(tmp_path), embedded_max_bytes=16 * 2**20)
    with closing(open_writer(tmp_path / FILE, full=False)) as database:
        writer = SampleWriter(database, config)
        for hour in range(20):
            at = NOW - hour * HOUR
            views = [
                {"view_id": f"view-{hour}-{n}", "title": "x" * 300, "last_seen": at}
                for n in range(2_000)
            ]
            writer.write_views(request(*views).body)
        for _ in Retention(config).sweep(database, NOW):
            pass
        ((oldest, newest),) = database.execute("SELECT min(last_seen), max(last_seen) FROM views")
    assert oldest > NOW - 19 * HOUR
    assert newest == NOW
