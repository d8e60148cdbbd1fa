"""Notices about a destination: one line per change of state, with the receiver's answer."""

import pytest

from openqoe.core.config.destinations import Destination
from openqoe.core.delivery.byte_pool import BytePool
from openqoe.core.delivery.delivery_queue import DeliveryQueue
from openqoe.core.delivery.payload import Payload
from openqoe.core.effects import HttpResult, NetworkFailure, Notice, PayloadKind

NOW = 1_700_000_000_000
MINUTE = 60_000
OK = HttpResult(204)


class ObservedQueue:
    """A queue that never runs empty; ``answer`` answers its head and returns the log lines."""

    def __init__(self, max_bytes: int = 100, kind: PayloadKind = "logs") -> None:
        self.kind = kind
        self.queue = DeliveryQueue(
            Destination(
                "loki", "http://loki/push?token=t0ken", (("Authorization", "Bearer s3cret"),)
            ),
            kind,
            pool=BytePool(max_bytes),
            loaded_pool=BytePool(max_bytes),
            seed=1,
            split=lambda payload: (),
        )
        self.now = NOW
        self.id = 0

    def offer(self) -> tuple[Notice, ...]:
        return self.queue.offer(Payload(self.kind, (), b"payl0ad", 3, self.now), self.now)

    def answer(self, result: HttpResult | NetworkFailure, after: int = 0) -> tuple[Notice, ...]:
        self.now += after
        if self.queue.is_empty:
            self.offer()
        due = self.queue.next_poll
        assert due is not None
        self.now = max(self.now, due)
        self.id += 1
        assert self.queue.next_request(self.id, self.now) is not None
        return self.queue.complete(self.id, result, self.now)

    def events(self, *results: HttpResult | NetworkFailure, after: int = 0) -> list[str]:
        return [n.event for result in results for n in self.answer(result, after)]


UNAVAILABLE = "destination unavailable; retrying"
AVAILABLE = "destination available again"
DROPPED = "payload dropped"
REFUSES = "destination refuses requests; check its URL, credentials and configuration"
REJECTED = "destination rejected part of a payload"
FULL = "queue full; oldest items dropped"


def test_success_logs_nothing() -> None:
    assert ObservedQueue().events(OK, OK, OK) == []


def test_outage_logs_begin_and_end() -> None:
    observed = ObservedQueue()
    (notice,) = observed.answer(HttpResult(503, {"retry-after": "30"}, b"down\nfor maintenance"))
    assert (notice.level, notice.event) == ("warning", UNAVAILABLE)
    assert dict(notice.fields) == {
        "destination": "loki",
        "url": "http://loki/push",
        "reason": "server_error",
        "status": 503,
        "answer": r"down\nfor maintenance",
        "retry_in_seconds": 30.0,
        "waiting_payloads": 1,
    }
    again = (HttpResult(500), HttpResult(408), NetworkFailure("refused"), HttpResult(502))
    assert observed.events(*again * 20) == []
    observed.offer()
    (notice,) = observed.answer(OK)
    assert (notice.level, notice.event) == ("info", AVAILABLE)
    assert dict(notice.fields) == {
        "destination": "loki",
        "url": "http://loki/push",
        "away_seconds": round((observed.now - NOW) / 1000, 1),
        "waiting_payloads": 1,
    }
    assert observed.events(OK, OK) == []


def test_network_failure_notice_has_no_status() -> None:
    (notice,) = ObservedQueue().answer(NetworkFailure("name not found"))
    fields = dict(notice.fields)
    assert (fields["reason"], fields["answer"]) == ("network", "name not found")
    assert "status" not in fields


@pytest.mark.parametrize(
    ("status", "event", "reason"),
    [
        (409, REJECTED, "conflict"),
        (413, DROPPED, "too_large"),
        (415, DROPPED, "http_415"),
    ],
)
def test_repeated_refusals_log_one_line(status: int, event: str, reason: str) -> None:
    observed = ObservedQueue()
    (notice,) = observed.answer(HttpResult(status, body=b"no"))
    assert (notice.level, notice.event) == ("warning", event)
    fields = dict(notice.fields)
    assert (fields["reason"], fields["status"], fields["items"]) == (reason, status, 3)
    assert observed.events(*[HttpResult(status)] * 50, after=MINUTE) == []
    assert observed.events(*[HttpResult(status)] * 5, after=60 * MINUTE) == []


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize(
    "answer",
    [
        b"out of bounds",
        b"too old sample",
        b"err-mimir-sample-timestamp-too-old",
        b"received a sample whose timestamp is too far in the past",
    ],
)
def test_late_samples_are_one_error_that_names_the_setting(status: int, answer: bytes) -> None:
    observed = ObservedQueue(kind="metrics")
    (notice,) = observed.answer(HttpResult(status, body=answer))
    assert notice.level == "error"
    assert "out_of_order_time_window" in notice.event
    assert dict(notice.fields)["items"] == 3
    assert observed.events(*[HttpResult(status, body=answer), OK] * 20, after=MINUTE) == []


@pytest.mark.parametrize(
    "answer", [b"out of order sample", b"duplicate sample", b"too far in the future"]
)
def test_other_rejected_samples_are_a_warning(answer: bytes) -> None:
    (notice,) = ObservedQueue(kind="metrics").answer(HttpResult(400, body=answer))
    assert (notice.level, notice.event) == ("warning", REJECTED)


def test_each_reason_and_status_logs_one_line() -> None:
    observed = ObservedQueue()
    results = [HttpResult(status) for status in (412, 415, 422, 412, 415, 422)]
    assert observed.events(*results) == [DROPPED] * 3


@pytest.mark.parametrize("status", [260, 307, 400, 401, 403, 404])
def test_each_fault_of_route_is_one_error(status: int) -> None:
    observed = ObservedQueue()
    (notice,) = observed.answer(HttpResult(status, body=b"no"))
    assert (notice.level, notice.event) == ("error", REFUSES)
    assert observed.events(*[HttpResult(status)] * 20) == []
    assert observed.events(OK) == [AVAILABLE]
    assert observed.events(HttpResult(status), OK, HttpResult(status)) == []


def test_redirect_is_an_error_that_names_its_target() -> None:
    result = HttpResult(308, {"location": "https://loki/loki/api/v1/push?t=1"}, b"<html>")
    (notice,) = ObservedQueue().answer(result)
    assert (notice.level, notice.event) == ("error", REFUSES)
    fields = dict(notice.fields)
    assert fields["answer"] == "Location: https://loki/loki/api/v1/push"
    assert fields["reason"] == "redirect"


def test_refusals_between_successes_log_one_line() -> None:
    assert ObservedQueue().events(*[HttpResult(409), OK] * 50, after=MINUTE) == [REJECTED]


def test_refusal_after_success_and_quiet_period_logs_again() -> None:
    observed = ObservedQueue()
    observed.answer(HttpResult(409))
    assert observed.events(OK, HttpResult(409), after=5 * MINUTE) == [REJECTED]
    # A quiet period alone is not enough: no payload has been accepted since.
    assert observed.events(HttpResult(409), HttpResult(409), after=60 * MINUTE) == []


def test_partly_accepted_payload_ends_outage() -> None:
    assert ObservedQueue().events(HttpResult(500), HttpResult(409)) == [
        UNAVAILABLE,
        AVAILABLE,
        REJECTED,
    ]


def test_refusal_does_not_end_outage() -> None:
    observed = ObservedQueue()
    results = [HttpResult(500), HttpResult(415), HttpResult(500), HttpResult(415)]
    assert observed.events(*results * 5) == [UNAVAILABLE, DROPPED]
    assert observed.events(OK) == [AVAILABLE]


def test_destination_that_fails_every_other_request_logs_one_outage() -> None:
    observed = ObservedQueue()
    assert observed.events(*[HttpResult(503), OK] * 50) == [UNAVAILABLE, AVAILABLE]


def test_outage_soon_after_another_is_logged_once_it_lasts() -> None:
    observed = ObservedQueue()
    observed.events(HttpResult(503), OK)
    assert observed.events(HttpResult(503), HttpResult(503)) == []
    assert observed.events(HttpResult(503), OK, after=MINUTE) == [UNAVAILABLE, AVAILABLE]


def test_full_queue_logs_one_line() -> None:
    observed = ObservedQueue(max_bytes=10)
    assert observed.offer() == ()
    (notice,) = observed.offer()
    assert (notice.level, notice.event) == ("warning", FULL)
    assert dict(notice.fields) == {
        "destination": "loki",
        "url": "http://loki/push",
        "reason": "queue_full",
        "items": 3,
        "max_bytes": 10,
    }
    assert [observed.offer() for _ in range(50)] == [()] * 50


def test_notices_contain_no_payload_or_secret() -> None:
    observed = ObservedQueue(max_bytes=10)
    echo = b"Authorization: Bearer s3cret"
    results = [HttpResult(status, body=echo) for status in (500, 401, 400, 404, 204)]
    notices = [notice for result in results for notice in observed.answer(result)]
    notices += [*observed.offer(), *observed.offer()]
    assert len(notices) == 6
    for secret in ("s3cret", "payl0ad", "t0ken"):
        assert secret not in repr([notice.fields for notice in notices])
