"""Recorded traffic of real players: the store holds the data of Prometheus and Loki."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from pathlib import Path

import pytest

from openqoe.core.effects import LokiPush, RemoteWrite, StoreViews
from openqoe.core.http.messages import Request
from openqoe.embedded.sample_schema import STREAM_LABELS
from tests.embedded.stored_rig import by_series, rows, stored
from tests.support.captures import NAMES, load
from tests.support.event_builders import NOW
from tests.support.loki_double import LogEntry
from tests.support.rig import Rig
from tests.support.wire_codec import STALE


def replay(name: str, encoding: str) -> Rig:
    """A recording through a worker that has the store beside others."""
    capture = load(name)
    rig = Rig(
        OPENQOE_EMBEDDED="on",
        OPENQOE_FLUSH_INTERVAL="30",
        OPENQOE_LOKI_ENCODING=encoding,
        OPENQOE_SERIES_IDLE_TIMEOUT="60",
    )
    for one in capture.shifted(NOW + capture.requests[-1].t):
        rig.pass_time(max(0, NOW + one.t - rig.now))
        rig.handle(Request(one.method, one.path, "", one.headers, one.body, rig.now))
    rig.flush(13)  # gauges end, and unchanged values are repeated
    return rig


@pytest.mark.parametrize("name", NAMES)
def test_store_holds_the_samples_and_entries_of_the_receivers(name: str, tmp_path: Path) -> None:
    rig = replay(name, "json" if NAMES.index(name) % 2 else "protobuf")
    effects = [effect for _, effect, _ in rig.sent if effect.url.startswith("embedded:")]
    with stored(tmp_path) as store:
        assert {result.status for result in store.write(*effects)} == {204}
        first = store.dump()
        assert {result.status for result in store.write(*effects)} == {204}
        assert store.dump() == first, "a resent request changes nothing"
    # At each time at which Prometheus got a sample, the newest one here has the same value.
    found = by_series(tmp_path)
    assert set(found) == set(rig.receiver.samples)
    fewer = 0
    for labels, samples in rig.receiver.samples.items():
        times = [at for at, _ in found[labels]]
        for at, value in samples:
            place = bisect_right(times, at) - 1
            assert found[labels][place][1] == (None if value is STALE else value), (labels, at)
            assert at - times[place] < 300_000
        fewer += len(samples) - len(times)
    assert fewer > len(found)
    kept = rows(
        tmp_path,
        "SELECT labels, at, line, view_id, session_id, viewer_id, video_id, entries.event_type "
        "FROM entries JOIN streams ON streams.id = stream",
    )
    expected = sorted(
        (
            _stored_labels(entry),
            entry.ts_ns // 1_000_000,
            entry.line,
            *(entry.metadata.get(f"{one}_id") for one in ("view", "session", "viewer", "video")),
            entry.labels["event_type"],
        )
        for entry in rig.loki.entries()
    )
    assert sorted(kept, key=lambda row: row[:3]) == expected
    described = {family: (one.type, one.help) for family, one in rig.receiver.metadata.items()}
    assert {n: (t, h) for n, t, h in rows(tmp_path, "SELECT name, type, help FROM metrics")} == (
        described
    )


def _stored_labels(entry: LogEntry) -> str:
    """The labels of a stream in the store: also those that Loki gets as structured metadata."""
    every = {**entry.labels, **entry.metadata}
    labels = {name: every[name] for name in STREAM_LABELS if name in every}
    return json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_video_labels_are_all_mapped_to_videos(tmp_path: Path) -> None:
    rig = replay("sdk2-hlsjs", "protobuf")
    with stored(tmp_path) as store:
        store.write(*(effect for _, effect, _ in rig.sent if "embedded" in effect.destination))
    missing = rows(
        tmp_path,
        "SELECT DISTINCT video_id FROM series WHERE video_id NOT IN (SELECT label FROM videos)",
    )
    assert missing == []
    titles = dict(rows(tmp_path, "SELECT video_id, title FROM videos"))
    assert titles["aurora"] == "Aurora over the fjord"


def test_columns_equal_the_labels(tmp_path: Path) -> None:
    rig = replay("sdk1-shaka", "protobuf")
    with stored(tmp_path) as store:
        store.write(*(effect for _, effect, _ in rig.sent if "embedded" in effect.destination))
    database = sqlite3.connect(tmp_path / "embedded.db")
    database.row_factory = sqlite3.Row
    for table in ("series", "streams"):
        for row in database.execute(f"SELECT * FROM {table}"):
            labels = json.loads(row["labels"])
            columns = {
                name: value
                for name, value in zip(row.keys(), row, strict=True)
                if value is not None
            }
            for name in ("id", "name", "labels", "first_seen", "last_seen", "hash"):
                columns.pop(name, None)
            if "le" in labels:
                columns["le"] = labels["le"]
                bound = float("inf") if labels["le"] == "+Inf" else float(labels["le"])
                assert row["le"] == bound
            assert columns.items() <= labels.items()
            shown = set(labels) - set(columns)
            own = {"event_type"} if table == "streams" else {"video_id", "instance"}
            assert not shown & {"org_id", "player_id", "env", *own}
    database.close()


def test_recording_produces_all_kinds_of_request() -> None:
    rig = replay("sdk2-html5", "protobuf")
    kinds = {type(effect) for _, effect, _ in rig.sent if effect.url.startswith("embedded:")}
    assert kinds == {RemoteWrite, LokiPush, StoreViews}
