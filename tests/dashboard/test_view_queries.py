"""The list of views and the page of a view: filters, order, paging, counts, export, course."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from openqoe.dashboard import view_queries
from openqoe.dashboard.sample_reader import Reader
from openqoe.dashboard.view_queries import SORTS
from openqoe.dashboard.view_sentence import duration, sentence
from openqoe.embedded.sample_writer import SampleWriter
from tests.dashboard.filled_store import MINUTE, NOW, Store
from tests.embedded.test_stored_views import request, row_values
from tests.support.rig import player_event

SECOND = 1000


def add(store: Store, *changes: dict[str, Any]) -> None:
    """Store views that were last seen a minute ago."""
    writer = SampleWriter(store.database, store.config)
    times = {"began_at": NOW - 5 * MINUTE, "last_seen": NOW - MINUTE}
    writer.write_views(request(*({**times, **one} for one in changes)).body)


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["view_id"] for row in answer["views"]]


@pytest.fixture
def filled(store: Store) -> Store:
    """Five views."""
    add(
        store,
        {"view_id": "fine", "outcome": "completed", "viewer_id": "anna", "startup_ms": 800},
        {
            "view_id": "stalled",
            "outcome": "stopped",
            "rebuffers": 3,
            "rebuffer_ms": 18_000,
            "viewer_id": "anna",
            "startup_ms": 4_200,
            "device_category": "tv",
            "last_seen": NOW - 2 * MINUTE,
            "score": 40.5,
        },
        {"view_id": "failed", "outcome": "start_failure", "errors": 1, "error_code": "3"},
        {"view_id": "now", "last_seen": NOW - 1, "video_id": "other"},
        {"view_id": "old", "outcome": "completed", "last_seen": NOW - 300 * MINUTE},
    )
    return store


def test_list_has_the_views_of_the_range_latest_first_with_counts(filled: Store) -> None:
    answer = filled.ask("views", last="1h")
    assert ids(answer) == ["now", "failed", "fine", "stalled"]
    assert answer["count"] == 4
    assert not answer["is_capped"]
    assert answer["outcomes"] == {"completed": 1, "stopped": 1, "start_failure": 1, "running": 1}
    assert ids(filled.ask("views", last="6h"))[-1] == "old"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"outcome": "start_failure"}, ["failed"]),
        ({"outcome": "running"}, ["now"]),
        ({"min_rebuffer": "5"}, ["stalled"]),
        ({"min_rebuffer": "18.001"}, []),
        ({"min_startup": "0.5", "viewer_id": "anna"}, ["fine", "stalled"]),
        ({"min_startup": "1"}, ["stalled"]),
        ({"error_code": "3"}, ["failed"]),
        ({"view_id": "fine"}, ["fine"]),
        ({"device_category": "tv"}, ["stalled"]),
        ({"video_id": "other"}, ["now"]),
        ({"org_id": "unknown-org"}, []),
    ],
)
def test_filter_selects_views(filled: Store, query: dict[str, str], expected: list[str]) -> None:
    answer = filled.ask("views", **query)
    assert ids(answer) == expected
    assert answer["count"] == len(expected)


def test_filter_by_a_governed_label_finds_the_views_of_its_videos(filled: Store) -> None:
    filled.video("bucket_7", "other")
    assert ids(filled.ask("views", video_id="bucket_7")) == ["now"]


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("rebuffer_ms", "stalled"),
        ("startup_ms", "stalled"),
        ("errors", "failed"),
        ("score", "stalled"),
    ],
)
def test_sort_puts_the_worst_view_first(filled: Store, sort: str, first: str) -> None:
    assert ids(filled.ask("views", sort=sort))[0] == first


@pytest.mark.parametrize("counted", [5, 10_000])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_hold_each_view_once_in_the_order_of_the_whole_list(
    store: Store, monkeypatch: pytest.MonkeyPatch, sort: str, counted: int
) -> None:
    monkeypatch.setattr(view_queries, "COUNTED", counted)
    add(
        store,
        *(
            {
                "view_id": f"view-{n}",
                "rebuffer_ms": n % 3,
                "startup_ms": n % 4 or None,
                "score": n / 7 if n % 2 else None,
                "last_seen": NOW - n % 5,
            }
            for n in range(23)
        ),
    )
    first = store.ask("views", sort=sort)
    assert (first["count"], first["is_capped"]) == (min(counted, 23), counted < 23)
    whole = ids(first)
    expression, is_descending = SORTS[sort]
    direction = "DESC" if is_descending else "ASC"
    query = f"SELECT view_id FROM views ORDER BY {expression} {direction}, id {direction}"
    assert whole == [one for (one,) in store.database.execute(query)]
    paged: list[str] = []
    cursor = ""
    while True:
        answer = store.ask("views", sort=sort, limit=4, cursor=cursor)
        paged += ids(answer)
        cursor = answer["next"]
        if cursor is None:
            break
    assert paged == whole
    assert len(set(paged)) == 23


@pytest.mark.parametrize("orgs", [None, ("acme",)])
@pytest.mark.parametrize("sort", SORTS)
def test_sort_order_of_a_long_list_is_read_from_its_index(
    store: Store, sort: str, orgs: tuple[str, ...] | None
) -> None:
    expression, is_descending = SORTS[sort]
    direction = "DESC" if is_descending else "ASC"
    index = "views_seen" if sort == "last_seen" else f"views_{sort}"
    with Reader(store.path, orgs=orgs) as reader:
        plan = reader.rows(
            "EXPLAIN QUERY PLAN SELECT id FROM views WHERE +last_seen >= 0 "
            f"ORDER BY {expression} {direction}, id {direction} LIMIT 9",
            {},
        )
    assert any(f"INDEX {index}" in row[3] for row in plan), plan


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sort", "line"),
        ("cursor", "1; DROP TABLE views"),
        ("outcome", "good"),
        ("min_rebuffer", "-1"),
        ("min_startup", "five"),
        ("format", "xml"),
        ("limit", "0"),
    ],
)
def test_invalid_parameter_is_named(filled: Store, name: str, value: str) -> None:
    page = filled.page("views", **{name: value})
    assert page.status == 400
    assert json.loads(page.body)["errors"][0]["parameter"] == name


def test_csv_has_a_header_and_no_cell_that_is_a_formula(store: Store) -> None:
    title = '=HYPERLINK("http://evil","x")'
    add(store, {"view_id": "a", "title": title}, {"view_id": 'b,"\r\n', "title": None})
    page = store.page("views", format="csv")
    assert dict(page.headers)["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(page.body.decode(), newline="")))
    assert {row["view_id"] for row in rows} == {"a", 'b,"\r\n'}
    assert {row["title"] for row in rows} == {"'" + title, ""}


# One view


def stored_view(store: Store) -> None:
    for one in (
        player_event(-100, "playing", 0.0),
        player_event(-99.9, "stallstart", 0.0),
        player_event(-98, "stallend", 0.0, stall_duration=1900),
        player_event(-90, "qualitychange", 8.0, new_bitrate=3_000_000, bitrate=3_000_000),
        player_event(-88, "heartbeat", 10.0, playing_time=10_000, buffer_length=12_000),
        player_event(-88, "stallstart", 10.0),
        player_event(-85, "stallend", 10.0, stall_duration=3000),
        player_event(-80, "pause", 15.0),
        player_event(-70, "error", 15.0, error_family="network", error_code="<b>3"),
        player_event(-60, "moveaway", 15.0),
    ):
        store.entry(one, (one["event_time"] - NOW) / 1000, org_id="acme")


def test_page_has_the_row_the_events_and_the_course_of_a_view(store: Store) -> None:
    stored_view(store)
    add(
        store,
        {"outcome": "stopped", "watch_ms": 18_000, "session_id": "s", "viewer_id": "v"},
        {"view_id": "x", "outcome": "completed", "watch_ms": 6_000, "viewer_id": "v"},
        {"view_id": "y", "org_id": "another", "watch_ms": 6_000, "viewer_id": "v"},
    )
    answer = store.ask("view", org_id="acme", view_id="view-1")
    assert answer["view"]["watch_ms"] == 18_000
    assert [event["type"] for event in answer["events"]][:2] == ["playing", "stallstart"]
    assert len(answer["events"]) == 10
    states = [
        (one["state"], (one["since"] - NOW) // SECOND, (one["until"] - NOW) // SECOND)
        for one in answer["course"]["states"]
    ]
    assert states == [
        ("starting", -100, -98),
        ("playing", -98, -88),
        ("rebuffering", -88, -85),
        ("playing", -85, -80),
        ("paused", -80, -60),
    ]
    assert answer["course"]["buffers"] == [{"at": NOW - 88_000, "value": 12.0}]
    assert [point["value"] for point in answer["course"]["bitrates"]] == [3_000_000]
    moments = [(one["what"], one["text"]) for one in answer["course"]["moments"]]
    assert moments == [("error", "network <b>3"), ("hidden", "")]
    assert answer["medians"]["watch_ms"] == 12_000
    assert [row["view_id"] for row in answer["viewer"]] == ["x"]
    assert answer["sentence"] == "Watched 18 s, left while paused."


def test_page_of_an_unknown_view_or_of_another_organisation_has_none(filled: Store) -> None:
    assert filled.ask("view", org_id="acme", view_id="nothing") == {"view": None}
    assert filled.ask("view", org_id="another", view_id="fine") == {"view": None}
    assert filled.page("view", view_id="fine").status == 400


def test_events_of_another_organisation_with_the_same_view_id_are_not_shown(store: Store) -> None:
    stored_view(store)
    add(store, {"org_id": "another"})
    answer = store.ask("view", org_id="another", view_id="view-1")
    assert (answer["events"], answer["course"]) == ([], None)


# The sentence


@pytest.mark.parametrize(
    ("changes", "last_state", "expected"),
    [
        (
            {
                "outcome": "stopped",
                "startup_ms": 4_200,
                "shown_at": NOW,
                "watch_ms": 12 * MINUTE,
                "duration_ms": 45 * MINUTE,
                "rebuffers": 3,
                "rebuffer_ms": 18_000,
            },
            "rebuffering",
            "Waited 4.2 s, watched 12 min of 45 min, stalled 3 times for 18 s, "
            "left while stalling.",
        ),
        (
            {"outcome": "start_failure", "waited_ms": 9_000, "errors": 1, "error_code": "3"},
            "failed",
            "Waited 9.0 s without a picture, had 1 error (3), failed to start.",
        ),
        (
            {"outcome": None, "shown_at": NOW, "watch_ms": 900},
            "playing",
            "Watched 900 ms, is playing now.",
        ),
        ({"outcome": "bounce"}, "loaded", "Left before it started."),
    ],
)
def test_sentence_says_what_happened(
    changes: dict[str, Any], last_state: str, expected: str
) -> None:
    assert sentence(row_values(**changes), last_state) == expected


@pytest.mark.parametrize(
    ("ms", "text"),
    [(59_400, "59 s"), (59_600, "1 min"), (3_600_000, "1 h"), (3_900_000, "1 h 5 min")],
)
def test_duration_is_in_the_unit_that_fits(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_view_of_an_old_file_without_the_table_is_an_error_with_status_503(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.database.execute("DROP TABLE views")
    assert store.page("views").status == 503
