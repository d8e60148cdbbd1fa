"""POST /events: every answer it can give."""

from typing import Any

import pytest
from msgspec.structs import replace

from openqoe.core.http.messages import Request
from tests.core.api.asking import ask, counted, make_worker, send
from tests.support.event_builders import NOW, OMIT, batch, event, post

TOO_OLD = {"field": "event_time", "error": "is too old (more than 24 hours)"}
NOT_JSON = "Invalid JSON in request body"


def raw(body: bytes) -> Request:
    return replace(post(), body=body)


@pytest.mark.parametrize("path", ["/events", "/v1/events", "/v2/events", "/v1/events/", "/events/"])
@pytest.mark.parametrize("event_type", ["stall_start", "stallstart", "stallend", "anything"])
def test_both_vocabularies_are_taken_everywhere(path: str, event_type: str) -> None:
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
        batch(event(at=0), event(view_id=OMIT)),
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
    (
        "empty",
        b"",
        400,
        {"success": False, "message": NOT_JSON, "error": "the body is empty"},
    ),
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
def test_answers(body: bytes, status: int, content: dict[str, Any]) -> None:
    answer = send(make_worker(), raw(body))
    assert answer.status == status
    assert answer.json == content
    assert answer.headers == {"Content-Type": "application/json", "Vary": "Origin"}


def test_at_most_100_errors_are_listed_and_all_are_counted() -> None:
    worker = make_worker()
    answer = send(worker, post(event(), *[event(at=0)] * 150))
    assert answer.status == 207
    assert answer.json["events_rejected"] == 150
    assert [error["index"] for error in answer.json["errors"]] == list(range(1, 101))
    assert counted(worker, "events_rejected_total", reason="too_old") == 150
    refused = send(worker, post(*[event(org_id="")] * 150))
    assert refused.status == 400
    assert len(refused.json["errors"]) == 100


@pytest.mark.parametrize(("began", "took"), [(NOW - 7, 7), (NOW, 0), (NOW + 9, 0), (0, 0)])
def test_processing_time_runs_from_the_first_byte(began: int, took: int) -> None:
    """It is never negative, and 0 where the host does not know when the request began."""
    request = replace(post(event()), first_byte_at=began)
    assert send(make_worker(), request).json["processing_time_ms"] == took


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
def test_what_was_taken_and_what_not_is_counted(
    body: bytes, metric: str, labels: dict[str, Any], count: int
) -> None:
    worker = make_worker()
    send(worker, raw(body))
    assert counted(worker, metric, **labels) == count


# Batches that come twice


def test_a_batch_that_comes_twice_is_acknowledged_and_counted_once() -> None:
    worker = make_worker()
    first = send(worker, post(event(), event()))
    again = send(worker, post(event(), event(), path="/v2/events"), NOW + 60_000)
    assert (again.status, again.json["events_received"]) == (202, 2)
    assert first.json["events_received"] == 2
    assert counted(worker, "events_accepted_total") == 2
    assert counted(worker, "batches_duplicate_total") == 1


def test_a_batch_that_was_refused_is_judged_again() -> None:
    worker = make_worker()
    ahead = post(event(at=NOW + 400_000))
    assert send(worker, ahead).status == 400
    assert send(worker, ahead, NOW + 200_000).status == 202
    assert counted(worker, "batches_duplicate_total") == 0


def test_the_accepted_part_of_a_batch_is_not_counted_again() -> None:
    worker = make_worker()
    partly = post(event(), event(at=0))
    assert [send(worker, partly).status for _ in range(2)] == [207, 202]
    assert counted(worker, "events_accepted_total") == 1


@pytest.mark.parametrize(
    ("window", "later", "events"),
    [("60", 60_000, 1), ("60", 60_001, 2), ("0", 0, 2)],
)
def test_a_batch_is_known_for_as_long_as_the_window(window: str, later: int, events: int) -> None:
    worker = make_worker(OPENQOE_DEDUP_WINDOW=window)
    for now in (NOW, NOW + later):
        assert send(worker, post(event()), now).status == 202
    assert counted(worker, "events_accepted_total") == events


def test_only_so_many_batches_are_remembered() -> None:
    worker = make_worker(OPENQOE_DEDUP_MAX="2")
    for view in ("a", "b", "c", "a", "c"):
        send(worker, post(event(view_id=view)))
    assert counted(worker, "events_accepted_total") == 4  # "a" was forgotten, "c" was not
    assert counted(worker, "batches_forgotten_total") == 2


# Where the viewer is


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
def test_the_country_is_the_events_else_the_cdns(
    headers: dict[str, str], network: dict[str, str] | None, country: str | None
) -> None:
    worker = make_worker()
    send(worker, post(event(network=network), headers=headers))
    values = ask(worker, "/stats", query="dimension=network_country").json["values"]
    assert values == ([] if country is None else [country])


def test_the_headers_that_name_the_country_are_a_setting() -> None:
    worker = make_worker(OPENQOE_COUNTRY_HEADERS="X-Geo")
    send(worker, post(event(network={}), headers={"x-geo": "FR", "cf-ipcountry": "IT"}))
    assert ask(worker, "/stats", query="dimension=network_country").json["values"] == ["FR"]
