"""The store as a destination: its answers; no data is lost or stored twice."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openqoe.core.effects import LokiPush, RemoteWrite
from openqoe.core.governance.dimension import overflow_label
from openqoe.core.governance.hashing import hash_label
from openqoe.core.qoe.labeller import METRIC_LABELS
from openqoe.core.sinks.series_exporter import STALE
from openqoe.core.wire.loki_push import ENCODINGS
from openqoe.embedded import FILE
from openqoe.embedded.sample_schema import SERIES_LABELS
from openqoe.shells.storage import StorageError
from tests.embedded.stored_rig import Stored, by_series, entries, metrics, rows, stored
from tests.support.event_builders import NOW

MINUTE = 60_000
VIEWS = {"__name__": "views_total", "instance": "i-0", "video_id": "bucket_7"}


def samples(directory: Path) -> list[tuple[int, float | None]]:
    (found,) = by_series(directory).values()
    return found


def statuses(store: Stored, *effects: RemoteWrite | LokiPush) -> list[int]:
    return [result.status for result in store.write(*effects)]


# Columns


def test_every_label_of_metrics_has_a_column() -> None:
    assert {"instance", *METRIC_LABELS} == set(SERIES_LABELS)


# Samples


def test_sample_is_stored_when_its_value_changes_and_every_five_minutes(tmp_path: Path) -> None:
    values = [1.0, 1.0, 2.0, *[2.0] * 25]
    with stored(tmp_path) as store:
        for number, value in enumerate(values):
            store.write(metrics((VIEWS, [(NOW + number * 15_000, value)])))
    assert [((at - NOW) // 15_000, value) for at, value in samples(tmp_path)] == [
        (0, 1.0),
        (2, 2.0),
        (22, 2.0),
    ]
    assert rows(tmp_path, "SELECT first_seen, (last_seen - ?) / 60000 FROM series", NOW) == [
        (NOW, 6)
    ]


def test_first_sample_and_stale_marker_of_a_series_are_stored(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(metrics((VIEWS, [(NOW - 5, 0.0), (NOW, 3.0)])))
        store.write(metrics((VIEWS, [(NOW + 10, STALE)])))
        store.write(metrics((VIEWS, [(NOW + 11, 0.0), (NOW + 20, math.inf)])))
    assert samples(tmp_path) == [
        *((NOW - 5, 0.0), (NOW, 3.0)),
        (NOW + 10, None),
        *((NOW + 11, 0.0), (NOW + 20, math.inf)),
    ]


def test_reopened_store_stores_resent_requests_once(tmp_path: Path) -> None:
    requests = [
        metrics((VIEWS, [(NOW + number * 15_000, float(number // 3))])) for number in range(9)
    ]
    with stored(tmp_path) as store:
        store.write(*requests[:6])
    with stored(tmp_path) as store:
        store.write(*requests[4:])  # the answers to two of them were lost
        twice = store.dump()
    with stored(tmp_path / "once") as store:
        store.write(*requests)
        assert store.dump() == twice


@pytest.mark.parametrize(
    ("bound", "expected"), [("+Inf", math.inf), ("0.5", 0.5), ("odd", None), (None, None)]
)
def test_bucket_bound_is_stored_as_a_number(
    bound: str | None, expected: float | None, tmp_path: Path
) -> None:
    labels = VIEWS if bound is None else {**VIEWS, "le": bound}
    with stored(tmp_path) as store:
        store.write(metrics((labels, [(NOW, 1.0)])))
    assert rows(tmp_path, "SELECT le FROM series") == [(expected,)]


def test_metric_description_is_replaced_by_the_latest(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(metrics(described=("a_total", "b_total")), metrics(described=("a_total",)))
    assert rows(tmp_path, "SELECT * FROM metrics ORDER BY name") == [
        ("a_total", "counter", "Help.", "s"),
        ("b_total", "counter", "Help.", "s"),
    ]


# Entries

EVENT = {
    "event_type": "seek",
    "view_id": "v",
    "session_id": "s",
    "viewer_id": "u",
    "video": {"id": "film", "title": "The film"},
}
STREAM = {"event_type": "seek", "env": 'a "quoted", {odd} \\ value', "org_id": "ö"}


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("with_metadata", [True, False])
def test_entry_stores_the_line_and_the_ids_of_an_event(
    encoding: str, with_metadata: bool, tmp_path: Path
) -> None:
    push = entries(STREAM, (NOW, EVENT), encoding=encoding, with_metadata=with_metadata)
    with stored(tmp_path) as store:
        assert statuses(store, push, push) == [204, 204]
    columns = "at, event_type, view_id, session_id, viewer_id, video_id"
    (row,) = rows(tmp_path, f"SELECT {columns}, line FROM entries")
    assert row[:-1] == (NOW, "seek", "v", "s", "u", "film")
    assert json.loads(row[-1]) == EVENT
    ((labels, env, org),) = rows(tmp_path, "SELECT labels, env, org_id FROM streams")
    assert json.loads(labels) == STREAM
    assert (env, org) == (STREAM["env"], STREAM["org_id"])


def test_equal_entries_of_a_stream_are_stored_once(tmp_path: Path) -> None:
    other = {**EVENT, "view_id": "w"}
    with stored(tmp_path) as store:
        store.write(
            entries(STREAM, (NOW, EVENT), (NOW, EVENT), (NOW, other), (NOW + 1, EVENT)),
            entries({**STREAM, "env": "x"}, (NOW, EVENT)),
        )
    assert len(rows(tmp_path, "SELECT * FROM entries")) == 4


@pytest.mark.parametrize(
    "event", [{"view_id": 7}, {"video": 5}, {"video": {"id": {}}}, {"video": None}, {}]
)
def test_event_with_unexpected_types_is_stored(event: dict[str, Any], tmp_path: Path) -> None:
    push = entries(STREAM, (NOW, event), with_metadata=False)
    with stored(tmp_path) as store:
        assert statuses(store, push) == [204]
    ((line,),) = rows(tmp_path, "SELECT line FROM entries")
    assert json.loads(line) == event


def video(number: object, title: str | None = None) -> dict[str, Any]:
    return {"video": {"id": number} if title is None else {"id": number, "title": title}}


def test_governed_label_is_mapped_to_its_video_and_title(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(
            entries(
                STREAM,
                *((NOW, video(12, "Twelve")), (NOW, video(9_999)), (NOW, video("film", "Film"))),
                (NOW + 2 * MINUTE, video(12)),  # without its title
            )
        )
    found = rows(tmp_path, "SELECT label, video_id, title, last_seen FROM videos ORDER BY title")
    (untitled, film, twelve) = found
    assert untitled == ("0-10000", "9999", None, NOW)
    assert film[0].startswith("bucket_")
    assert film[1:] == ("film", "Film", NOW)
    assert twelve == ("0-10000", "12", "Twelve", NOW + 2 * MINUTE)


@pytest.mark.parametrize(
    ("limit", "labels"),
    [
        ('{"action":"allow"}', ["film"]),
        ('{"action":"hash"}', [hash_label("film")]),
        ('{"action":"drop"}', []),
    ],
)
def test_video_label_follows_the_governance_action(
    limit: str, labels: list[str], tmp_path: Path
) -> None:
    settings = {"CARDINALITY_LIMITS": '{"video_id":' + limit + "}"}
    with stored(tmp_path, settings) as store:
        store.write(entries(STREAM, (NOW, video("film"))))
    assert [label for (label,) in rows(tmp_path, "SELECT label FROM videos")] == labels


def test_video_that_was_not_admitted_is_mapped_by_its_folded_label(tmp_path: Path) -> None:
    settings = {"CARDINALITY_LIMITS": '{"video_id":{"action":"allow","max_cardinality":1}}'}
    folded = overflow_label("film")
    with stored(tmp_path, settings) as store:
        store.write(
            metrics(({**VIEWS, "video_id": folded}, [(NOW, 1.0)])),
            entries(STREAM, (NOW, video("film"))),
        )
    found = rows(tmp_path, "SELECT label FROM videos WHERE video_id = 'film' ORDER BY label")
    assert found == [("film",), (folded,)]


# Answers


@pytest.mark.parametrize(
    "effect",
    [
        RemoteWrite(1, "", "embedded:metrics", (), b"not snappy"),
        RemoteWrite(1, "", "embedded:metrics", (), b"\x05\x10\xff\xff\xff\xff\xff"),
        LokiPush(1, "", "embedded:logs", (), b"not snappy"),
        LokiPush(1, "", "embedded:logs", (("Content-Type", "application/json"),), b"not gzip"),
    ],
)
def test_undecodable_request_is_answered_400(
    effect: RemoteWrite | LokiPush, tmp_path: Path
) -> None:
    with stored(tmp_path) as store:
        (result,) = store.write(effect)
        assert result.status == 400
        assert result.body.startswith(b"not a ")
        assert statuses(store, metrics((VIEWS, [(NOW, 1.0)]))) == [204]


@pytest.mark.parametrize("labels", ["", "{", '{a="b}', "{a=b}", '{a="\\x"}', '{"a"="b"}'])
def test_request_with_malformed_stream_labels_stores_nothing(labels: str, tmp_path: Path) -> None:
    one = ENCODINGS["protobuf"]
    good = (NOW, b"{}", b"")
    body = one.encode_request([('{a="b"}', [good]), (labels, [good])])
    with stored(tmp_path) as store:
        (result,) = store.write(LokiPush(1, "", "embedded:logs", one.headers, body))
        assert result.status == 400
        assert store.rows("SELECT count(*) FROM entries") == [(0,)]
        assert store.rows("SELECT count(*) FROM streams") == [(0,)]


def test_request_is_answered_503_while_the_disk_is_nearly_full(tmp_path: Path) -> None:
    with stored(tmp_path, reserve=1 << 60) as store:
        (result,) = store.write(metrics((VIEWS, [(NOW, 1.0)])))
        assert result.status == 503
        assert b"left on the disk" in result.body


def test_request_is_answered_503_while_the_file_cannot_grow(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        database = store.store._database
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        push = entries(STREAM, *((NOW + n, {**EVENT, "n": "x" * 900}) for n in range(100)))
        assert statuses(store, push) == [503]
        assert store.rows("SELECT count(*) FROM streams") == [(0,)]
        database.execute("PRAGMA max_page_count = 1000000")
        assert statuses(store, push) == [204]
        assert store.rows("SELECT count(*) FROM entries") == [(100,)]


def test_full_disk_loses_no_entry_and_recovers_when_space_is_freed(
    tmp_path: Path,
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("small file systems cannot be mounted here")
    try:
        (small / "ballast").write_bytes(bytes(2_000_000))
        pushes = [
            entries(
                STREAM,
                *((NOW + number, {"x": "x" * 9_000, "n": f"{number}-{n}"}) for n in range(9)),
            )
            for number in range(30)
        ]
        with stored(small) as store:
            given = statuses(store, *pushes)
            assert set(given) == {204, 503}
            failed = given.index(503)
            assert store.rows("SELECT count(*) FROM entries") == [(9 * given.count(204),)]
            (small / "ballast").unlink()
            assert statuses(store, pushes[failed]) == [204]
            assert not list(small.glob("*.damaged-*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_request_is_answered_503_while_the_file_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqoe.embedded.sample_schema.BUSY_TIMEOUT", 0.05)
    with stored(tmp_path) as store:
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        (result,) = store.write(metrics((VIEWS, [(NOW, 1.0)])))
        assert (result.status, result.body) == (503, b"database is locked")
        other.close()
        assert statuses(store, metrics((VIEWS, [(NOW, 1.0)]))) == [204]


def test_readers_and_writers_do_not_block_each_other(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(metrics((VIEWS, [(NOW, 1.0)])))
        reader = sqlite3.connect(tmp_path / FILE, isolation_level=None, timeout=0)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM samples").fetchone() == (1,)
        assert statuses(store, metrics((VIEWS, [(NOW + 1, 2.0)]))) == [204]
        assert reader.execute("SELECT count(*) FROM samples").fetchone() == (1,)
        reader.close()


# The file


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def test_damaged_file_is_renamed_and_replaced_when_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        (tmp_path / FILE).write_bytes(b"no database at all " * 500)
        with stored(tmp_path) as store:
            assert statuses(store, metrics((VIEWS, [(NOW, 1.0)]))) == [204]
        assert (tmp_path / f"{FILE}.damaged-{number}").read_bytes().startswith(b"no database")
        assert len(samples(tmp_path)) == 1
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["kept_as"]) for line in logged] == [
        ("embedded store was damaged; started a new file", f"{FILE}.damaged-{number}")
        for number in (1, 2)
    ]


def test_damage_found_by_a_request_loses_no_request(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(*(metrics((VIEWS, [(NOW + n, float(n))])) for n in range(50)))
    damage(tmp_path / FILE)
    with stored(tmp_path) as store:
        assert statuses(store, metrics((VIEWS, [(NOW + 99, 5.0)]))) == [204]
        assert store.rows("SELECT at, value FROM samples") == [(NOW + 99, 5.0)]
    assert (tmp_path / f"{FILE}.damaged-1").exists()


@pytest.mark.parametrize("damage", ["cut off", "removed", "none"])
def test_lost_end_of_the_log_is_reported_when_opened(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "killed"
    with stored(tmp_path / "live") as store:
        store.write(*(metrics((VIEWS, [(NOW + n, float(n))])) for n in range(30)))
        shutil.copytree(tmp_path / "live", killed)
    log = killed / f"{FILE}-wal"
    if damage == "cut off":
        os.truncate(log, log.stat().st_size // 2)
    elif damage == "removed":
        log.unlink()
        (killed / f"{FILE}-shm").unlink()
    capsys.readouterr()
    for _ in range(2):  # it is reported once
        with stored(killed) as store:
            assert statuses(store, metrics((VIEWS, [(NOW + 99, 5.0)]))) == [204]
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    missing = [one["requests"] for one in events if "lost the end of its log" in one["event"]]
    assert len(missing) == (damage != "none")
    assert all(0 < requests <= 30 for requests in missing)


def test_file_that_was_deleted_on_purpose_is_no_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stored(tmp_path) as store:
        store.write(metrics((VIEWS, [(NOW, 1.0)])))
    (tmp_path / FILE).unlink()
    with stored(tmp_path) as store:
        assert statuses(store, metrics((VIEWS, [(NOW + 99, 5.0)]))) == [204]
    assert capsys.readouterr().err == ""


def test_removed_file_is_created_again(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        store.write(metrics((VIEWS, [(NOW, 1.0)])))
        (tmp_path / FILE).unlink()
        assert statuses(store, metrics((VIEWS, [(NOW + 1, 1.0)]))) == [204]
        assert store.rows("SELECT at FROM samples") == [(NOW + 1,)]


def test_directory_deleted_in_use_is_created_again(tmp_path: Path) -> None:
    with stored(tmp_path / "data") as store:
        store.write(metrics((VIEWS, [(NOW, 1.0)])))
        shutil.rmtree(tmp_path / "data")
        assert statuses(store, metrics((VIEWS, [(NOW + 1, 1.0)]))) == [204]
        assert store.rows("SELECT at FROM samples") == [(NOW + 1,)]


def test_file_of_a_newer_version_is_not_changed(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StorageError, match="has format 99"):
        Stored(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_directory_that_cannot_be_created_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="OPENQOE_EMBEDDED=off"):
        Stored(tmp_path / "file")


WRITER = """
import sys
from pathlib import Path
from tests.embedded.stored_rig import entries, metrics, stored
number, directory = int(sys.argv[1]), Path(sys.argv[2])
with stored(directory) as store:
    for turn in range(60):
        at = 1_760_000_000_000 + turn
        series = [
            ({"__name__": f"m{n}_total", "instance": f"i-{number}", "video_id": "film"},
             [(at, float(turn))])
            for n in range(20)
        ]
        line = {"view_id": f"v-{number}", "turn": turn, "video": {"id": turn}}
        results = store.write(
            metrics(*series),
            entries({"env": f"e{turn % 3}"}, (at, line), (at, {"of": "all", "turn": turn})),
        )
        assert [result.status for result in results] == [204, 204], results
"""


def test_several_processes_write_to_one_file_without_loss(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(number), str(tmp_path)],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
        )
        for number in range(3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert rows(tmp_path, "SELECT count(*) FROM series") == [(3 * 20,)]
    assert rows(tmp_path, "SELECT count(*) FROM samples") == [(3 * 20 * 60,)]
    # One each, and one that is the same to all of them.
    assert rows(tmp_path, "SELECT count(*) FROM entries") == [(3 * 60 + 60,)]
    assert rows(tmp_path, "SELECT count(*) FROM streams") == [(3,)]
