"""Answers of the dashboard API to valid and invalid questions."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from openqoe.dashboard.dashboard_api import MAX_CACHED_BYTES, Api
from openqoe.dashboard.sample_reader import QueryTimeoutError, Reader, Values
from tests.dashboard.filled_store import MINUTE, NOW, Store

STARTUP_BOUNDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 30)


@pytest.fixture
def filled(store: Store) -> Store:
    """Two devices, one of them with stalls and errors."""
    for device, views, played, stalls, stalled, errors in (
        ("desktop", 8, 7200.0, 4, 6.0, 0),
        ("tv", 2, 1800.0, 10, 30.0, 6),
    ):
        labels = {"device_category": device, "org_id": "acme", "video_id": f"bucket_{views}"}
        count: list[tuple[int, float | None]] = [(-600, 0.0), (-300, float(views))]
        store.series("openqoe_views_started_total", count, **labels)
        store.series("openqoe_events_total", [(-600, 0), (0, 99)], event_type="playing", **labels)
        store.series("openqoe_views_completed_total", [(-600, 0), (-60, views / 2)], **labels)
        store.series("openqoe_playing_time_seconds", [(-600, 0), (-60, played)], **labels)
        store.series("openqoe_watch_time_seconds", [(-600, 0), (-60, played + stalled)], **labels)
        outcomes = {"completed": 4, "exit_before_start": 2, "start_failure": 2, "bounce": 9}
        if errors:
            outcomes = {"stopped": 3, "playback_failure": 1, "unknown": 7}
        for outcome, ended in outcomes.items():
            store.series(
                "openqoe_view_outcomes_total", [(-600, 0), (-60, ended)], outcome=outcome, **labels
            )
        for part, points in (("all", 80.0), ("startup", 10.0)):
            for end, value in (("sum", points * views), ("count", views)):
                store.series(
                    f"openqoe_view_score_{end}", [(-600, 0), (-60, value)], part=part, **labels
                )
        for cause, factor in (("rebuffer", 1), ("seek", 100)):
            store.series(
                "openqoe_rebuffer_events_total",
                [(-600, 0), (-60, stalls * factor)],
                cause=cause,
                **labels,
            )
            store.series(
                "openqoe_rebuffer_duration_seconds_sum",
                [(-600, 0), (-60, stalled * factor)],
                cause=cause,
                **labels,
            )
        if errors:
            store.series(
                "openqoe_errors_total",
                [(-600, 0), (-60, errors - 1)],
                error_family="network",
                error_code="fragLoadError",
                **labels,
            )
            store.series(
                "openqoe_errors_total",
                [(-600, 0), (-60, 1)],
                error_family="decoder",
                error_code="3",
                **labels,
            )
        startups = [0.4] * views if device == "desktop" else [4.0] * views
        store.histogram(
            "openqoe_video_startup_seconds", startups, STARTUP_BOUNDS, source="measured", **labels
        )
        for quartile, share in (("25", 1.0), ("50", 0.5), ("75", 0.5), ("100", 0.5)):
            store.series(
                "openqoe_quartile_reached_total",
                [(-600, 0), (-60, views * share)],
                quartile=quartile,
                **labels,
            )
        store.series("openqoe_concurrent_views_current", [(-300, views), (-30, 1)], **labels)
    store.video("bucket_2", "film-2", "The <b>second</b> film")
    store.video("bucket_2", "film-3", None, NOW - 1)
    return store


def test_overview_has_the_measures_of_the_range(filled: Store) -> None:
    answer = filled.ask("overview")
    assert answer["from"], answer["to"] == (NOW - 60 * MINUTE, NOW)
    assert answer["concurrent_views"] == {"now": 2, "peak": 10}
    current = answer["current"]
    assert current["views_started"] == 10
    assert current["views_completed"] == 5
    assert current["playing_seconds"] == 9000
    assert current["rebuffer_events"] == 14
    assert current["watch_seconds"] == 9036
    assert current["rebuffering_ratio"] == 36 / 9036
    assert current["rebuffers_per_hour"] == 14 * 3600 / 9036
    # Bounces and unknown outcomes count for neither side.
    assert current["exit_before_start_ratio"] == 2 / 12
    assert current["start_failure_ratio"] == 2 / 12
    assert current["playback_failure_ratio"] == 1 / 8
    assert current["outcomes"]["bounce"] == 9
    assert current["score"] == 80
    assert current["errors_per_view"] == 0.6
    # Eight between 0.25 and 0.5, two between 3 and 5.
    assert current["startup_seconds"] == {
        "count": 10,
        "p50": pytest.approx(0.25 + 0.25 * 5 / 8),
        "p95": pytest.approx(3 + 2 * 1.5 / 2),
        "p99": pytest.approx(3 + 2 * 1.9 / 2),
    }
    assert [stage["views"] for stage in answer["funnel"]] == [10, 10, 5, 5, 5]


def test_overview_has_no_previous_range_before_the_first_event(filled: Store) -> None:
    assert filled.ask("overview")["previous"] is None
    later = filled.ask("overview", from_=NOW - 5 * MINUTE)
    assert later["previous"]["views_started"] == 10
    assert later["current"]["views_started"] == 0


def test_ratio_without_views_is_null(store: Store) -> None:
    current = store.ask("overview")["current"]
    assert current["views_started"] == 0
    assert current["rebuffering_ratio"] is None
    assert current["errors_per_view"] is None
    assert current["exit_before_start_ratio"] is None
    assert current["playback_failure_ratio"] is None
    assert current["score"] is None
    assert current["startup_seconds"]["p50"] is None


def test_filter_applies_to_all_answers(filled: Store) -> None:
    answer = filled.ask("overview", device_category="tv")
    assert answer["current"]["views_started"] == 2
    assert answer["concurrent_views"]["peak"] == 2
    assert filled.ask("errors", device_category="desktop")["errors"] == []
    assert filled.ask("overview", video_id="film-3")["current"]["errors"] == 6
    assert filled.ask("overview", org_id="unknown-org")["current"]["views_started"] == 0


def test_timeline_sums_equal_the_overview(filled: Store) -> None:
    answer = filled.ask("timeline", step="1m")
    assert answer["step"] == MINUTE
    count = len(answer["times"])
    assert answer["times"][-2:] == [NOW // MINUTE * MINUTE, NOW]
    assert answer["running"] is True
    assert all(len(values) == count for values in answer["series"].values())
    assert sum(answer["series"]["views_started"]) == 10
    assert max(value or 0 for value in answer["series"]["concurrent_views"]) == 10
    assert {family: sum(values) for family, values in answer["errors"].items()} == {
        "network": 5,
        "decoder": 1,
    }
    startups = [value for value in answer["series"]["startup_p50"] if value is not None]
    assert startups == [pytest.approx(0.25 + 0.25 * 5 / 8)]


def test_breakdown_has_measures_per_value(filled: Store) -> None:
    rows = {row["value"]: row for row in filled.ask("breakdown", by="device_category")["rows"]}
    assert list(rows) == ["desktop", "tv"]
    assert rows["tv"]["rebuffering_ratio"] == pytest.approx(30 / 1830)
    assert rows["tv"]["playback_failure_ratio"] == 0.25
    assert rows["desktop"]["exit_before_start_ratio"] == 0.25
    assert rows["tv"]["errors_per_view"] == 3
    assert rows["desktop"]["startup_seconds"]["p50"] == 0.375


def test_breakdown_by_video_has_titles_and_order(filled: Store) -> None:
    slowest = filled.ask("breakdown", by="video_id", order="startup_p95")["rows"]
    assert [row["value"] for row in slowest] == ["bucket_2", "bucket_8"]
    assert slowest[0]["title"] == "The <b>second</b> film, film-3"
    assert slowest[0]["video_ids"] == ["film-2", "film-3"]
    failing = filled.ask("breakdown", by="video_id", order="errors")["rows"]
    assert [row["value"] for row in failing] == ["bucket_2"]
    assert filled.ask("breakdown", by="video_id", order="errors", least_views=3)["rows"] == []


def test_errors_are_grouped_by_family_and_code(filled: Store) -> None:
    assert filled.ask("errors") | {"from": 0, "to": 0} == {
        "from": 0,
        "to": 0,
        "total": 6,
        "errors": [
            {"family": "network", "code": "fragLoadError", "errors": 5},
            {"family": "decoder", "code": "3", "errors": 1},
        ],
    }


def test_picture_has_counts_by_bit_rate_and_time_by_resolution(store: Store) -> None:
    store.histogram("openqoe_bitrate_bps", [2e5, 3e6, 3e6, 3e7], (2.5e5, 5e5, 5e6, 2e7))
    for resolution, count in (("720p", 3), ("1080p", 9)):
        store.series(
            "openqoe_rendition_playing_seconds_total",
            [(-600, 0), (0, count)],
            resolution=resolution,
        )
    answer = store.ask("picture")
    assert [(one["from"], one["to"], one["observations"]) for one in answer["bitrate"]] == [
        (0, 2.5e5, 1),
        (2.5e5, 5e5, 0),
        (5e5, 5e6, 2),
        (5e6, 2e7, 0),
        (2e7, None, 1),
    ]
    assert {one["resolution"]: one["seconds"] for one in answer["resolution"]} == {
        "720p": 3,
        "1080p": 9,
    }


def test_filters_offer_the_stored_values(filled: Store) -> None:
    offered = filled.ask("filters")["filters"]
    assert offered["device_category"] == [
        {"value": "desktop", "text": "desktop"},
        {"value": "tv", "text": "tv"},
    ]
    assert {"value": "bucket_2", "text": "The <b>second</b> film, film-3"} in offered["video_id"]
    assert offered["network_country"] == []


def test_cardinality_has_admitted_values_and_limits(store: Store) -> None:
    for instance, admitted in (("host-0", 6), ("host-1", 9)):
        labels = {"instance": instance, "dimension": "env"}
        store.series("openqoe_worker_cardinality", [(-20, admitted)], **labels)
        store.series("openqoe_worker_cardinality_folded_total", [(-90, 0), (-20, 2)], **labels)
    by_name = {one["dimension"]: one for one in store.ask("cardinality")["dimensions"]}
    assert by_name["env"] == {
        "dimension": "env",
        "action": "allow",
        "limit": 10,
        "admitted": 9,
        "folded": 4,
    }
    assert by_name["org_id"]["admitted"] is None


def test_delivery_has_destinations_and_workers(store: Store) -> None:
    for instance in ("host-0", "host-1"):
        loki = {"instance": instance, "destination": "loki"}
        store.series("openqoe_worker_queue_length", [(-20, 3)], **loki)
        store.series("openqoe_worker_queue_bytes", [(-20, 1000)], **loki)
        age = 40 if instance == "host-0" else 90
        store.series("openqoe_worker_queue_age_seconds", [(-20, age)], **loki)
        store.series(
            "openqoe_worker_deliveries_total", [(-90, 0), (-20, 5)], outcome="delivered", **loki
        )
        store.series("openqoe_worker_dropped_total", [(-90, 0), (-20, 7)], reason="too_old", **loki)
        store.series("openqoe_worker_items_delivered_total", [(-90, 0), (-20, 50)], **loki)
        store.series("openqoe_worker_build_info", [(-20, 1)], instance=instance, version="1.2.3")
        store.series("openqoe_worker_storage_ok", [(-20, instance == "host-0")], instance=instance)
    store.series("openqoe_worker_events_accepted_total", [(-90, 0), (-20, 500)])
    store.series("openqoe_worker_events_rejected_total", [(-90, 0), (-20, 2)], reason="too_old")
    answer = store.ask("delivery", last="15m")
    (loki_now,) = answer["destinations"]
    assert loki_now["queue_length"] == 6
    assert loki_now["queue_age_seconds"] == 90
    assert loki_now["requests"] == {"delivered": 10}
    assert loki_now["dropped"] == {"too_old": 14}
    assert loki_now["items_delivered"] == 100
    assert [(one["instance"], one["storage_ok"]) for one in answer["workers"]] == [
        ("host-0", True),
        ("host-1", False),
    ]
    assert answer["workers"][0]["version"] == "1.2.3"
    assert answer["intake"]["events_accepted"] == 500
    assert answer["intake"]["reasons"] == {"too_old": 2}


OWN_STATE: dict[str, Any] = {
    "instance": "host-0",
    "worker_version": "1.2.4",
    "storage_failure": "no space left",
    "shared_store": None,
    "series": {"live": 70_000},
    "views": 5,
    "flush_interval_ms": {"configured": 1_000, "current": 4_000},
    "destinations": [
        {
            "destination": "loki",
            "payloads": 500,
            "bytes": 9_000,
            "oldest_age": 52_000,
            "is_behind": True,
        }
    ],
}
"""The state of the worker that answers."""


def test_delivery_shows_the_worker_itself_not_its_late_samples(store: Store) -> None:
    for instance in ("host-0", "host-1"):
        loki = {"instance": instance, "destination": "loki"}
        store.series("openqoe_worker_queue_length", [(-20, 3)], **loki)
        store.series("openqoe_worker_queue_age_seconds", [(-20, 1)], **loki)
        store.series("openqoe_worker_views_live", [(-20, 1)], instance=instance)
        store.series("openqoe_worker_flush_interval_seconds", [(-20, 1)], instance=instance)
    page = store.api.answer("delivery", {"last": "15m"}, worker_state=OWN_STATE)
    answer = json.loads(page.body)
    (loki_now,) = answer["destinations"]
    assert loki_now["queue_length"] == 503
    assert loki_now["queue_age_seconds"] == 52
    assert loki_now["queue_behind"] == 1
    own, other = answer["workers"]
    assert (own["instance"], own["views"], own["series"]) == ("host-0", 5, 70_000)
    assert own["flush_interval_seconds"] == 4
    assert own["storage_ok"] is False
    assert (other["instance"], other["views"]) == ("host-1", 1)
    assert other["flush_interval_seconds"] == 1


def test_delivery_of_a_worker_without_samples_shows_its_queues(store: Store) -> None:
    answer = json.loads(store.api.answer("delivery", {"last": "15m"}, worker_state=OWN_STATE).body)
    assert answer["destinations"][0]["queue_length"] == 500
    assert [one["instance"] for one in answer["workers"]] == ["host-0"]


def test_delivery_in_a_range_of_the_past_shows_samples(store: Store) -> None:
    loki = {"instance": "host-0", "destination": "loki"}
    store.series("openqoe_worker_queue_length", [(-120, 3)], **loki)
    query = {"from": str(NOW - 600_000), "to": str(NOW - 60_000)}
    answer = json.loads(store.api.answer("delivery", query, worker_state=OWN_STATE).body)
    assert answer["destinations"][0]["queue_length"] == 3


class TestTail:
    @pytest.fixture(autouse=True)
    def _entries(self, store: Store) -> None:
        for number in range(6):
            store.entry(
                {
                    "event_type": "error" if number % 2 else "heartbeat",
                    "view_id": f"view-{number // 2}",
                    "video": {"id": "film" if number < 3 else "other"},
                    "data": {"error_message": f"Segment {number} of 50%_done"},
                },
                second=number,
                org_id="acme" if number < 4 else "other",
            )

    def numbers(self, store: Store, **query: str | int) -> list[int]:
        entries = store.ask("tail", **query)["entries"]
        return [(entry["at"] - NOW) // 1000 for entry in entries]

    def test_tail_returns_latest_entries_first(self, store: Store) -> None:
        assert self.numbers(store) == [5, 4, 3, 2, 1, 0]
        assert self.numbers(store, limit=2) == [5, 4]

    def test_tail_after_a_number_returns_later_entries_only(self, store: Store) -> None:
        latest = store.ask("tail")["latest"]
        assert self.numbers(store, after=latest) == []
        store.entry({"event_type": "seek", "view_id": "view-9"}, second=7)
        assert self.numbers(store, after=latest) == [7]

    def test_tail_filters_by_type_view_label_and_text(self, store: Store) -> None:
        assert self.numbers(store, event_type="error") == [5, 3, 1]
        assert self.numbers(store, view_id="view-1") == [3, 2]
        assert self.numbers(store, org_id="other") == [5, 4]
        assert self.numbers(store, video_id="film") == [2, 1, 0]
        assert self.numbers(store, contains="SEGMENT 3") == [3]
        assert self.numbers(store, contains="50%_d", event_type="heartbeat") == [4, 2, 0]

    def test_tail_line_is_the_stored_event(self, store: Store) -> None:
        entry = store.ask("tail", limit=1)["entries"][0]
        assert json.loads(entry["line"])["data"] == {"error_message": "Segment 5 of 50%_done"}
        assert entry["org_id"] == "other"

    def test_tail_leaves_out_the_oldest_entries_of_a_large_answer(self, store: Store) -> None:
        """1,000 lines of 256 KB made an answer of 243 MiB."""
        for second in range(10, 30):
            store.entry({"event_type": "large", "x": "x" * 250_000}, second=second)
        answer = store.ask("tail", limit=1000)
        assert [(entry["at"] - NOW) // 1000 for entry in answer["entries"]] == [*range(29, 13, -1)]
        assert answer["left_out"] == 10
        assert store.ask("tail", limit=3)["left_out"] == 0


@pytest.mark.parametrize(
    ("question", "query", "parameter", "fault"),
    [
        ("overview", {"last": "5x"}, "last", "must be a duration like 30s, 15m, 6h, 7d"),
        ("overview", {"last": "0m"}, "last", "must be a duration like 30s, 15m, 6h, 7d"),
        ("overview", {"last": "900d"}, "last", "the range is over 400 days"),
        ("overview", {"from_": "yesterday"}, "from", "must be a time in ms since the epoch"),
        ("overview", {"from_": "2", "to": "1"}, "from", "must be before to"),
        ("overview", {"from_": "1", "last": "1h"}, "last", "cannot be given beside from"),
        ("overview", {"to": "9" * 400}, "to", "must be a time in ms since the epoch"),
        ("overview", {"org_id": "x" * 3000}, "org_id", "is longer than 2048 characters"),
        ("overview", {"org_id": "\ud800"}, "org_id", "is not valid Unicode"),
        ("timeline", {"step": "1s"}, "step", "gives more than 1000 points for this range"),
        ("breakdown", {"order": "luck"}, "order", "must be one of views, startup_p95"),
        ("breakdown", {"by": "view_id"}, "by", "must be one of org_id, player_id"),
        ("breakdown", {"limit": "0"}, "limit", "must be a whole number from 1 to 500"),
        ("tail", {"after": "-1"}, "after", "must be a whole number from 0 to"),
        ("tail", {"last": "1h"}, "last", "is unknown; known are event_type, view_id"),
        ("overview", {"orgid": "acme"}, "orgid", "is unknown; known are from, to, last"),
    ],
)
def test_invalid_parameter_is_answered_400_with_its_name(
    store: Store, question: str, query: dict[str, str], parameter: str, fault: str
) -> None:
    page = store.page(question, **query)
    answer = json.loads(page.body)
    assert page.status == 400
    assert answer["success"] is False
    assert answer["errors"][0]["parameter"] == parameter
    assert answer["errors"][0]["error"].startswith(fault)
    assert answer["message"] == f"{parameter}: {answer['errors'][0]['error']}"


def test_special_characters_in_filters_are_values_not_sql(store: Store) -> None:
    for text in ("'; DROP TABLE series --", '"', "\\", "\x00\x1b[31m", "%", "😀"):
        for question in ("overview", "timeline", "breakdown", "errors", "picture"):
            assert store.page(question, org_id=text, video_id=text).status == 200
        assert store.ask("tail", contains=text, view_id=text, org_id=text)["entries"] == []


def test_unknown_question_is_answered_404(store: Store) -> None:
    page = store.page("secrets")
    assert page.status == 404
    assert "overview" in json.loads(page.body)["message"]


def test_answer_is_json_with_no_store(store: Store) -> None:
    for question in ("overview", "secrets"):
        headers = dict(store.page(question).headers)
        assert headers == {"Content-Type": "application/json", "Cache-Control": "no-store"}


def test_timeline_of_a_year_has_at_most_120_points(filled: Store) -> None:
    answer = filled.ask("timeline", last="365d")
    assert len(answer["times"]) <= 200
    assert sum(answer["series"]["views_started"]) in (0, 10)


def test_query_over_the_time_limit_is_aborted(store: Store) -> None:
    with Reader(store.path, time_limit=0.05) as reader, pytest.raises(QueryTimeoutError):
        reader.rows(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
            {},
        )


def test_slow_answer_is_cached_for_a_while(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("openqoe.dashboard.dashboard_api.monotonic", lambda: clock[0])
    rows = Reader.rows

    def slow(self: Reader, statement: str, values: Values) -> list[tuple[Any, ...]]:
        clock[0] += 1
        return rows(self, statement, values)

    monkeypatch.setattr(Reader, "rows", slow)
    before = filled.ask("errors")
    filled.series("openqoe_errors_total", [(-600, 0), (-60, 1)], error_family="source")
    assert filled.ask("errors") == before
    assert filled.ask("errors", last="2h")["total"] == before["total"] + 1, "another question"
    clock[0] += 6
    assert filled.ask("errors")["total"] == before["total"] + 1


def test_cache_of_answers_is_bounded_in_bytes_and_drops_expired_ones(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("openqoe.dashboard.dashboard_api.monotonic", lambda: clock[0])
    rows = Reader.rows

    def slow(self: Reader, statement: str, values: Values) -> list[tuple[Any, ...]]:
        clock[0] += 1
        return rows(self, statement, values)

    monkeypatch.setattr(Reader, "rows", slow)
    for _ in range(20):
        filled.entry({"event_type": "large", "x": "x" * 50_000})
    for limit in range(1, 101):
        clock[0] -= 2  # no time passes
        filled.ask("tail", limit=limit)
    cached = [len(page.body) for _, page in filled.api._cache.values()]
    assert len(cached) > 3
    assert sum(cached) <= MAX_CACHED_BYTES
    clock[0] += 60
    filled.ask("errors")
    assert len(filled.api._cache) == 1


def test_query_over_the_time_limit_is_answered_503(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        raise QueryTimeoutError

    monkeypatch.setattr(Reader, "rows", late)
    page = store.page("overview")
    assert page.status == 503
    assert "choose a shorter time range" in json.loads(page.body)["message"]


def test_reader_cannot_write(store: Store) -> None:
    with Reader(store.path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.rows("DELETE FROM series", {})


def test_missing_or_damaged_store_is_answered_503(store: Store, tmp_path: Path) -> None:
    api = Api(store.config, tmp_path / "other.db")
    assert api.answer("overview", {}).status == 503
    (tmp_path / "other.db").write_bytes(b"no database" * 1000)
    page = api.answer("overview", {})
    assert page.status == 503
    assert json.loads(page.body)["message"].startswith("The embedded store cannot be read")
