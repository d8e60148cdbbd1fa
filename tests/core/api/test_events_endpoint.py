"""POST /events: every response."""

from typing import Any

import pytest
from msgspec.structs import replace

from openqoe.core.http.messages import Request
from tests.core.api.worker_client import ask, counter_value, make_worker, send
from tests.support.event_builders import NOW, OMIT, batch, event, post

TOO_OLD = {"field": "event_time", "error": "is too old (more than 24 hours)"}
NOT_JSON = "Invalid JSON in request body"


def raw(body: bytes) -> Request:
    return replace(post(), body=body)


@pytest.mark.parametrize("path", ["/events", "/v1/events", "/v2/events", "/v1/events/", "/events/"])
@pytest.mark.parametrize("event_type", ["stall_start", "stallstart", "stallend", "anything"])
def test_every_path_accepts_both_vocabularies(path: str, event_type: str) -> None:
    answer = send(make_worker(), post(event(event_type), path=path))
    assert answer.status == 202


ANSWERS: list[tuple[str, bytes, int, dict[str, Any]]] = [
    (
        "all good",
        batch(event(), event()),
        202,
        {
            "success": True,
            "message": "Events accepted",
            "events_received": 2,
            "processing_time_ms": 0,
        },
    ),
    (
        "some bad",
        batch(event(), event(at=0), event(org_id="", viewer_id=7), event()),
        207,
        {
            "success": True,
            "message": "Events partially accepted",
            "events_received": 4,
            "events_accepted": 2,
            "events_rejected": 2,
            "errors": [
                {"index": 1, **TOO_OLD},
                {"index": 2, "field": "org_id", "error": "must not be empty"},
                {"index": 2, "field": "viewer_id", "error": "must be a string"},
            ],
            "processing_time_ms": 0,
        },
    ),
    (
        "all bad",
        batch(event(at=NOW - 25 * 3_600_000), event(view_id=OMIT)),
        400,
        {
            "success": False,
            "message": "Validation failed",
            "errors": [
                {"index": 0, **TOO_OLD},
                {"index": 1, "field": "view_id", "error": "is required"},
            ],
        },
    ),
    (
        "wrong shape",
        b"[]",
        400,
        {
            "success": False,
            "message": "Validation failed",
            "errors": [{"field": "body", "error": 'must be an object with a list "events"'}],
        },
    ),
    (
        "no events",
        batch(),
        400,
        {
            "success": False,
            "message": "Validation failed",
            "errors": [{"field": "events", "error": "must hold 1 to 1000 events, not 0"}],
        },
    ),
    (
        "too many events",
        batch(*[event()] * 1001),
        400,
        {
            "success": False,
            "message": "Validation failed",
            "errors": [{"field": "events", "error": "must hold 1 to 1000 events, not 1001"}],
        },
    ),
    ("empty", b"", 400, {"success": False, "message": NOT_JSON, "error": "the body is empty"}),
    (
        "not JSON",
        b"hello",
        400,
        {
            "success": False,
            "message": NOT_JSON,
            "error": "JSON is malformed: invalid character (byte 0)",
        },
    ),
]


@pytest.mark.parametrize(
    ("body", "status", "content"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_response_by_body(body: bytes, status: int, content: dict[str, Any]) -> None:
    answer = send(make_worker(), raw(body))
    assert answer.status == status
    assert answer.json == content
    assert answer.headers == {"Content-Type": "application/json", "Vary": "Origin"}


def test_response_lists_100_errors_and_counts_all() -> None:
    worker = make_worker()
    answer = send(worker, post(event(), *[event(at=0)] * 150))
    assert answer.status == 207
    assert answer.json["events_rejected"] == 150
    assert [error["index"] for error in answer.json["errors"]] == list(range(1, 101))
    assert counter_value(worker, "events_rejected_total", reason="too_old") == 150
    refused = send(worker, post(*[event(org_id="")] * 150))
    assert refused.status == 400
    assert len(refused.json["errors"]) == 100


@pytest.mark.parametrize(
    ("first_byte_at", "elapsed"), [(NOW - 7, 7), (NOW, 0), (NOW + 9, 0), (0, 0)]
)
def test_processing_time_starts_at_the_first_byte(first_byte_at: int, elapsed: int) -> None:
    """It is never negative, and 0 if the arrival of the first byte is unknown."""
    request = replace(post(event()), first_byte_at=first_byte_at)
    assert send(make_worker(), request).json["processing_time_ms"] == elapsed


@pytest.mark.parametrize(
    ("body", "metric", "labels", "count"),
    [
        (batch(event(), event()), "events_accepted_total", {}, 2),
        (batch(event(), event(at=0)), "events_accepted_total", {}, 1),
        (batch(event(), event(at=0)), "events_rejected_total", {"reason": "too_old"}, 1),
        (batch(event(), event(at=NOW * 2)), "events_rejected_total", {"reason": "too_new"}, 1),
        (batch(event(), {}), "events_rejected_total", {"reason": "missing"}, 1),
        (batch(event(), 1), "events_rejected_total", {"reason": "wrong_type"}, 1),
        (batch(event(env="x" * 3000)), "events_rejected_total", {"reason": "too_long"}, 1),
        (batch(event(env=True)), "fields_ignored_total", {"field": "env"}, 1),
        (b"hello", "batches_rejected_total", {"reason": "not_json"}, 1),
        (b"[]", "batches_rejected_total", {"reason": "wrong_shape"}, 1),
        (batch(), "batches_rejected_total", {"reason": "batch_size"}, 1),
        (batch(event()), "requests_total", {"route": "events", "status": "202"}, 1),
        (b"hello", "requests_total", {"route": "events", "status": "400"}, 1),
    ],
)
def test_accepted_and_rejected_events_are_counted(
    body: bytes, metric: str, labels: dict[str, Any], count: int
) -> None:
    worker = make_worker()
    send(worker, raw(body))
    assert counter_value(worker, metric, **labels) == count


# Deduplication


def test_duplicate_batch_is_acknowledged_and_counted_once() -> None:
    worker = make_worker()
    first = send(worker, post(event(), event()))
    again = send(worker, post(event(), event(), path="/v2/events"), NOW + 60_000)
    assert (again.status, again.json["events_received"]) == (202, 2)
    assert first.json["events_received"] == 2
    assert counter_value(worker, "events_accepted_total") == 2
    assert counter_value(worker, "batches_duplicate_total") == 1


def test_rejected_batch_is_validated_again() -> None:
    worker = make_worker(OPENQOE_CLOCK_CORRECTION="refuse")
    ahead = post(event(at=NOW + 400_000))
    assert send(worker, ahead).status == 400
    assert send(worker, ahead, NOW + 200_000).status == 202
    assert counter_value(worker, "batches_duplicate_total") == 0


def test_partially_accepted_batch_is_a_duplicate() -> None:
    worker = make_worker()
    partly = post(event(), event(at=0))
    assert [send(worker, partly).status for _ in range(2)] == [207, 202]
    assert counter_value(worker, "events_accepted_total") == 1


@pytest.mark.parametrize(
    ("window", "later", "events"), [("60", 60_000, 1), ("60", 60_001, 2), ("0", 0, 2)]
)
def test_batch_is_a_duplicate_within_the_window(window: str, later: int, events: int) -> None:
    worker = make_worker(OPENQOE_DEDUP_WINDOW=window)
    for now in (NOW, NOW + later):
        assert send(worker, post(event()), now).status == 202
    assert counter_value(worker, "events_accepted_total") == events


def test_oldest_batch_is_evicted_from_a_full_window() -> None:
    worker = make_worker(OPENQOE_DEDUP_MAX="2")
    for view in ("a", "b", "c", "a", "c"):
        send(worker, post(event(view_id=view)))
    assert counter_value(worker, "events_accepted_total") == 4  # "a" was evicted, "c" was not
    assert counter_value(worker, "batches_forgotten_total") == 2


# Country


@pytest.mark.parametrize(
    ("headers", "network", "country"),
    [
        ({"cf-ipcountry": "fr"}, {}, "FR"),
        ({"cloudfront-viewer-country": "FR"}, {}, "FR"),
        ({"x-country-code": " fr "}, {}, "FR"),
        ({"cf-ipcountry": "FR", "x-country-code": "IT"}, {}, "FR"),
        ({"cf-ipcountry": "XX", "x-country-code": "IT"}, {}, "IT"),
        ({"cf-ipcountry": "T1"}, {}, None),
        ({"cf-ipcountry": ""}, {}, None),
        ({}, {}, None),
        ({"cf-ipcountry": "FR"}, {"country_code": "DE"}, "DE"),
        ({"cf-ipcountry": "FR"}, {"country": "DE"}, "DE"),
        ({"cf-ipcountry": "FR"}, None, "FR"),
        ({"x-geo": "FR"}, {}, None),
    ],
)
def test_country_is_from_the_event_else_from_a_header(
    headers: dict[str, str], network: dict[str, str] | None, country: str | None
) -> None:
    worker = make_worker()
    send(worker, post(event(network=network), headers=headers))
    values = ask(worker, "/stats", query="dimension=network_country").json["values"]
    assert values == ([] if country is None else [country])


def test_country_headers_are_a_setting() -> None:
    worker = make_worker(OPENQOE_COUNTRY_HEADERS="X-Geo")
    send(worker, post(event(network={}), headers={"x-geo": "FR", "cf-ipcountry": "IT"}))
    assert ask(worker, "/stats", query="dimension=network_country").json["values"] == ["FR"]
