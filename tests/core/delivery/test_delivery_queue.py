"""The delivery queue by example: order, retries, splitting, bounds, counters, status."""

import pytest

from openqoe.core.delivery.byte_pool import BytePool
from openqoe.core.delivery.delivery_queue import DeliveryQueue
from openqoe.core.delivery.delivery_rules import MAX_FORWARD_WAIT
from openqoe.core.delivery.payload import BodySplitter
from openqoe.core.delivery.payload_buffer import MAX_LOADED
from openqoe.core.effects import (
    HttpResult,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    PayloadKind,
    RemoteWrite,
)
from openqoe.core.version import VERSION
from tests.core.delivery.queue_driver import (
    LOKI,
    NOW,
    OK,
    drive,
    due,
    filled_queue,
    halves,
    make_queue,
    next_poll,
    payload,
    run,
)

# Requests


@pytest.mark.parametrize(("kind", "effect"), [("metrics", RemoteWrite), ("logs", LokiPush)])
def test_request_has_url_headers_and_body(
    kind: PayloadKind, effect: type[RemoteWrite] | type[LokiPush]
) -> None:
    queue = filled_queue(b"abc", kind=kind)
    assert queue.next_request(7, NOW) == effect(
        id=7,
        destination="loki",
        url="http://loki/push",
        headers=(
            ("Content-Type", "x"),
            ("X-Scope-OrgID", "shop"),
            ("User-Agent", f"openqoe-worker/{VERSION}"),
        ),
        body=b"abc",
    )


def test_payloads_are_sent_one_at_a_time_in_order() -> None:
    queue = filled_queue(b"a", b"b", b"c")
    assert due(queue, 1, NOW).body == b"a"
    assert queue.next_request(2, NOW) is None
    assert queue.next_poll is None
    queue.complete(1, OK, NOW)
    assert due(queue, 2, NOW).body == b"b"
    queue.complete(2, OK, NOW)
    assert not queue.is_empty
    assert due(queue, 3, NOW).body == b"c"
    queue.complete(3, OK, NOW)
    assert queue.is_empty
    assert queue.next_poll is None
    assert queue.next_request(4, NOW) is None


def test_payload_of_wrong_kind_raises() -> None:
    with pytest.raises(ValueError, match="queue of logs was offered metrics"):
        make_queue("logs").offer(payload(b"a", "metrics"), NOW)


@pytest.mark.parametrize("stale", [0, 1, 3])
def test_stale_results_are_ignored(stale: int) -> None:
    queue = filled_queue(b"a", b"b")
    assert queue.complete(stale, OK, NOW) == ()
    queue.next_request(1, NOW)
    queue.complete(1, OK, NOW)
    queue.next_request(2, NOW)
    assert queue.complete(stale, HttpResult(415), NOW) == ()
    assert queue.counters.answers["dropped"] == 0
    assert queue.next_request(9, NOW) is None  # 2 is still in flight
    queue.complete(2, OK, NOW)
    assert queue.counters.delivered == 2


# Retries


@pytest.mark.parametrize(
    "failure", [NetworkFailure("refused"), HttpResult(500), HttpResult(429), HttpResult(529)]
)
def test_failed_payload_is_retried_before_others(failure: HttpResult | NetworkFailure) -> None:
    queue, now = filled_queue(b"a", b"b"), NOW
    sent: list[bytes] = []
    for attempt in range(3):
        sent.append(due(queue, attempt, now).body)
        queue.complete(attempt, failure, now)
        assert queue.next_request(99, next_poll(queue) - 1) is None
        now = next_poll(queue)
    assert sent == [b"a"] * 3
    assert queue.status(now).failures == 3
    assert run(queue, lambda body: OK, now) == [b"a", b"b"]
    assert queue.counters.answers["retried"] == 3
    assert queue.counters.bytes_out == 5


def waits(queue: DeliveryQueue, failure: HttpResult | NetworkFailure, count: int) -> list[int]:
    now = NOW
    result: list[int] = []
    for attempt in range(count):
        queue.next_request(attempt, now)
        queue.complete(attempt, failure, now)
        result.append(next_poll(queue) - now)
        now = next_poll(queue)
    return result


def test_waits_grow_and_reset_after_success() -> None:
    queue = filled_queue(b"a", b"b")
    steps = (1, 2, 4, 8, 16, 32, 60, 60)
    for wait, step in zip(waits(queue, HttpResult(500), 8), steps, strict=True):
        assert step * 500 <= wait <= step * 1000
    now = next_poll(queue)
    queue.next_request(100, now)
    queue.complete(100, OK, now)
    assert queue.next_poll == now
    queue.next_request(101, now)
    queue.complete(101, HttpResult(500), now)
    assert 500 <= next_poll(queue) - now <= 1000


def test_waits_depend_on_seed() -> None:
    def series(seed: int) -> list[int]:
        return waits(filled_queue(b"a", seed=seed), HttpResult(500), 10)

    assert series(1) == series(1)
    assert series(1) != series(2)
    assert len(set(series(1))) == 10  # those at the cap differ, too


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("20", 20_000, 20_000), ("0", 500, 1_000), ("99999", 300_000, 300_000), ("x", 500, 1_000)],
)
def test_retry_after_is_lower_bound_of_wait(asked: str, least: int, most: int) -> None:
    (wait,) = waits(filled_queue(b"a"), HttpResult(429, {"retry-after": asked}), 1)
    assert least <= wait <= most


def test_payload_offered_during_wait_does_not_shorten_it() -> None:
    queue = filled_queue(b"a")
    queue.next_request(1, NOW)
    queue.complete(1, HttpResult(503, {"retry-after": "30"}), NOW)
    queue.offer(payload(b"b"), NOW + 10_000)
    assert queue.next_poll == NOW + 30_000


def test_clock_set_back_does_not_stop_queue() -> None:
    queue = filled_queue(b"a")
    queue.next_request(1, NOW)
    queue.complete(1, HttpResult(503, {"retry-after": "30"}), NOW)
    earlier = NOW - 86_400_000
    assert queue.next_request(2, earlier) is None
    assert queue.next_poll == earlier + 30_000
    assert queue.next_request(2, earlier + 30_000) is not None


def test_drain_ends_backoff_but_not_retry_after() -> None:
    queue = filled_queue(b"a")
    waits(queue, HttpResult(500), 6)
    queue.begin_drain()
    assert due(queue, 100, NOW + 60_000).body == b"a"
    queue.complete(100, HttpResult(503, {"retry-after": "5"}), NOW)
    queue.begin_drain()
    assert queue.next_poll == NOW + 5_000


# Answers that finish a payload


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (412, "http_412"),
        (415, "http_415"),
        (422, "http_422"),
    ],
)
def test_poison_payload_is_dropped_and_blocks_nothing(status: int, reason: str) -> None:
    queue = filled_queue(b"a", b"bad", b"c")
    sent = run(queue, lambda body: HttpResult(status) if body == b"bad" else OK)
    assert sent == [b"a", b"bad", b"c"]
    assert queue.counters.dropped == {reason: 3}
    assert queue.counters.delivered == 2
    assert queue.counters.answers["dropped"] == 1


def test_rejected_metrics_are_not_sent_again() -> None:
    queue = filled_queue(b"a", b"bad", b"c", kind="metrics")
    sent = run(queue, lambda body: HttpResult(400) if body == b"bad" else OK)
    assert sent == [b"a", b"bad", b"c"]
    assert (queue.counters.rejected, queue.counters.delivered) == (3, 2)
    assert queue.counters.dropped == {}


@pytest.mark.parametrize(
    "answer",
    [
        b"out of order sample",
        b"too old sample",
        b"out of bounds",
        b"duplicate sample for timestamp",
        b"sample rejected (err-mimir-sample-out-of-order)",
    ],
)
def test_first_payload_with_samples_that_the_destination_has_leaves_the_queue(
    answer: bytes,
) -> None:
    """After a restart, the answer to a delivered payload may have been lost."""
    queue = filled_queue(b"ab", kind="metrics")
    sent = drive(queue, lambda body: HttpResult(400, body=answer))
    assert sent == [b"ab"]
    assert queue.is_empty
    assert queue.counters.rejected == 2


# Faults of the route, and backlogs


def test_fault_of_route_gives_one_loud_notice_and_slow_retries() -> None:
    queue, now = filled_queue(b"a", b"b"), NOW
    notices: list[Notice] = []
    for attempt in range(6):
        queue.next_request(attempt, now)
        notices += queue.complete(attempt, HttpResult(401), now)
        assert next_poll(queue) - now >= 30_000
        now = next_poll(queue)
    (notice,) = notices
    assert notice.level == "error"
    assert "credentials" in notice.event


def send_all(queue: DeliveryQueue, now: int, took: int) -> list[int]:
    """Sends every payload; returns how long the queue waited before each request, ms."""
    waited = []
    while (poll := queue.next_poll) is not None:
        waited.append(max(0, poll - now))
        now = max(now, poll)
        effect = due(queue, len(waited), now)
        now += took
        queue.complete(effect.id, OK, now)
    return waited


def make_with_outbox() -> DeliveryQueue:
    return DeliveryQueue(
        LOKI,
        "logs",
        pool=BytePool(1_000),
        loaded_pool=BytePool(MAX_LOADED),
        seed=1,
        split=halves,
        max_age=10**9,
    )


def test_live_payloads_are_sent_without_pauses() -> None:
    queue = make_with_outbox()
    for _ in range(5):
        queue.offer(payload(b"abc"), NOW)
    assert send_all(queue, NOW, took=400) == [0, 0, 0, 0, 0]


def test_backlog_of_a_failure_is_sent_with_pauses_until_the_queue_is_empty() -> None:
    queue = make_with_outbox()
    for _ in range(4):
        queue.offer(payload(b"abc"), NOW)
    queue.complete(due(queue, 90, NOW).id, HttpResult(500), NOW)
    assert send_all(queue, next_poll(queue), took=400) == [0, 400, 400, 400]
    later = NOW + 60_000
    for _ in range(3):
        queue.offer(payload(b"abc", created=later), later)
    assert send_all(queue, later, took=400) == [0, 0, 0]


def test_backlog_of_an_earlier_process_is_sent_with_pauses() -> None:
    queue = make_with_outbox()
    for _ in range(3):
        queue.offer(payload(b"abc", created=NOW - 600_000), NOW)
    assert send_all(queue, NOW, took=400) == [0, 400, 400]


def test_longest_delay_counts_from_the_flush_to_the_delivery() -> None:
    queue = make_with_outbox()
    queue.offer(payload(b"abc", created=NOW - 200), NOW)
    queue.offer(payload(b"abc"), NOW)
    send_all(queue, NOW, took=100)
    assert queue.pop_longest_delay() == 300
    assert queue.pop_longest_delay() is None


def test_last_error_is_cleared_after_recovery() -> None:
    queue = filled_queue(b"a")
    queue.next_request(1, NOW)
    queue.complete(1, HttpResult(503, body=b"down"), NOW)
    assert queue.status(NOW).last_error == "503: down"
    queue.next_request(2, NOW + 60_000)
    queue.complete(2, OK, NOW + 60_000)
    assert queue.status(NOW).last_error == ""


def test_conflict_is_a_rejection() -> None:
    queue = filled_queue(b"a", b"b", kind="metrics")
    run(queue, lambda body: HttpResult(409))
    assert (queue.counters.rejected, queue.counters.dropped) == (2, {})


def test_draining_against_rate_limit_gives_one_notice() -> None:
    queue, now = filled_queue(*[b"a"] * 20), NOW
    notices: list[Notice] = []
    for attempt in range(40):
        assert queue.next_request(attempt, now) is not None
        notices += queue.complete(attempt, OK if attempt % 2 else HttpResult(429), now)
        now = queue.next_poll or now
    assert [notice.event for notice in notices] == ["destination limits the rate"]
    assert queue.is_empty


# Splitting


def test_parts_of_split_payload_replace_it() -> None:
    queue = filled_queue(b"abcd", b"e")
    sent = run(queue, lambda body: HttpResult(413) if len(body) > 1 else OK)
    assert sent == [b"abcd", b"ab", b"a", b"b", b"cd", b"c", b"d", b"e"]
    assert queue.counters.delivered == 5
    assert queue.counters.answers == {
        "delivered": 5,
        "rejected": 0,
        "dropped": 0,
        "split": 3,
        "retried": 0,
    }


def test_too_large_single_item_is_dropped() -> None:
    queue = filled_queue(b"aXb", b"c")
    sent = run(queue, lambda body: HttpResult(413) if b"X" in body else OK)
    assert sent == [b"aXb", b"a", b"Xb", b"X", b"b", b"c"]
    assert queue.counters.dropped == {"too_large": 1}
    assert queue.counters.delivered == 3


@pytest.mark.parametrize(
    "split",
    [
        lambda body: [],
        lambda body: [(body, 3)],
        lambda body: [(body, 3), (body, 3)],
        lambda body: [(b"", 0), (body, 3)],
        lambda body: [(b"a", 1)],
    ],
)
def test_invalid_split_neither_loops_nor_loses_items(split: BodySplitter) -> None:
    queue = filled_queue(b"abc", b"d", split=split)
    sent = run(queue, lambda body: HttpResult(413) if len(body) > 1 else OK)
    assert sent == [b"abc", b"d"]
    assert queue.counters.dropped == {"too_large": 3}


def test_parts_larger_than_whole_stay_within_bound() -> None:
    queue = filled_queue(b"ab", max_bytes=100, split=lambda body: [(b"x" * 60, 1)] * 2)
    queue.next_request(1, NOW)
    queue.complete(1, HttpResult(413), NOW)
    assert queue.status(NOW).bytes == 60
    assert queue.counters.dropped == {"queue_full": 1}


# Bounds


def test_full_queue_drops_oldest_logs() -> None:
    queue = filled_queue(b"aaaa", b"bbbb", b"cccc", max_bytes=9)
    assert queue.counters.dropped == {"queue_full": 4}
    assert run(queue, lambda body: OK) == [b"bbbb", b"cccc"]


def test_payload_in_flight_is_not_dropped() -> None:
    queue = filled_queue(b"aaaa", b"bbbb", max_bytes=9)
    queue.next_request(1, NOW)
    queue.offer(payload(b"cccc"), NOW)
    queue.complete(1, OK, NOW)
    assert queue.counters.dropped == {"queue_full": 4}
    assert queue.counters.delivered == 4
    assert run(queue, lambda body: OK) == [b"cccc"]


def test_single_oversized_payload_is_kept() -> None:
    queue = filled_queue(b"a", b"b" * 50, max_bytes=9)
    assert queue.is_full
    assert run(queue, lambda body: OK) == [b"b" * 50]


def test_full_queue_does_not_drop_metrics() -> None:
    queue = filled_queue(b"aaaa", b"bbbb", kind="metrics", max_bytes=9)
    assert not queue.is_full
    queue.offer(payload(b"cccc", "metrics"), NOW)
    assert queue.is_full
    assert queue.counters.dropped == {}
    assert run(queue, lambda body: OK) == [b"aaaa", b"bbbb", b"cccc"]
    assert not queue.is_full


def test_wait_remains_when_head_is_dropped() -> None:
    queue = filled_queue(b"aaaa", max_bytes=5)
    queue.next_request(1, NOW)
    queue.complete(1, HttpResult(503, {"retry-after": "30"}), NOW)
    queue.offer(payload(b"bbbb"), NOW + 1)
    assert queue.next_poll == NOW + 30_000
    assert due(queue, 2, NOW + 30_000).body == b"bbbb"


# Status


def test_new_queue_has_empty_status() -> None:
    status = make_queue().status(NOW)
    assert (status.state, status.payloads, status.items, status.bytes) == ("ok", 0, 0, 0)
    assert (status.oldest_age, status.last_error, status.last_success) == (None, "", None)
    assert status.next_attempt is None


def test_status_reports_backlog_and_failures() -> None:
    queue = make_queue()
    queue.offer(payload(b"abc", created=NOW - 5_000), NOW)
    queue.offer(payload(b"d"), NOW)
    queue.next_request(1, NOW)
    queue.complete(1, HttpResult(503, body=b"down\nfor maintenance"), NOW)
    status = queue.status(NOW + 1_000)
    assert (status.state, status.failures) == ("failing", 1)
    assert (status.payloads, status.items, status.bytes) == (2, 4, 4)
    assert status.oldest_age == 6_000
    assert status.last_error == r"503: down\nfor maintenance"
    assert status.last_success is None
    assert status.next_attempt == queue.next_poll

    queue.next_request(2, NOW + 1_000)
    queue.complete(2, OK, NOW + 1_000)
    status = queue.status(NOW + 1_000)
    assert (status.state, status.failures, status.last_success) == ("ok", 0, NOW + 1_000)

    queue.next_request(3, NOW + 2_000)
    queue.complete(3, HttpResult(409, body=b"too old"), NOW + 2_000)
    status = queue.status(NOW + 2_000)
    assert (status.state, status.last_error) == ("refusing", "409: too old")
    assert status.last_success == NOW + 1_000


def test_network_failure_sets_last_error() -> None:
    queue = filled_queue(b"a")
    queue.next_request(1, NOW)
    queue.complete(1, NetworkFailure("connection refused"), NOW)
    assert queue.status(NOW).last_error == "network: connection refused"


def test_payloads_can_be_offered_to_new_queue() -> None:
    queue = filled_queue(b"a", b"b", b"c")
    queue.next_request(1, NOW)
    queue.complete(1, OK, NOW)
    queue.next_request(2, NOW)
    again = make_queue()
    for each in queue.waiting:
        again.offer(each, NOW)
    assert run(again, lambda body: OK) == [b"b", b"c"]


def test_bodies_beyond_the_bound_leave_memory_once_they_are_stored() -> None:
    queue = make_queue(max_bytes=10 * MAX_LOADED)
    for number in (1, 2, 3):
        early = payload(b"x" * (MAX_LOADED // 2 + 1)).with_number(number)
        queue.offer(early, NOW, is_stored=False)
    queue.unload(unstored={2})
    assert [one.unloaded_size > 0 for one in queue.waiting] == [False, False, True]
    for number in (1, 2):
        assert len(due(queue, number, NOW).body) == MAX_LOADED // 2 + 1
        queue.complete(number, OK, NOW)
    assert queue.next_request(3, NOW) == LoadPayload(3, 3)


def test_parts_stay_in_memory_because_the_outbox_has_only_their_whole() -> None:
    queue = DeliveryQueue(
        LOKI,
        "logs",
        pool=BytePool(1_000),
        loaded_pool=BytePool(5),
        seed=1,
        split=halves,
        max_age=10**9,
    )
    queue.offer(payload(b"abcdefgh").with_number(1), NOW, is_stored=False)
    queue.complete(due(queue, 1, NOW).id, HttpResult(413), NOW)
    queue.unload(frozenset())
    assert [one.body for one in queue.waiting] == [b"abcd", b"efgh"]


def test_batches_for_another_worker_are_kept_in_order_and_tried_often() -> None:
    queue = filled_queue(b"abcd", b"efgh", kind="batches", max_bytes=6, split=lambda _: ())
    assert queue.is_full
    now = NOW
    for number in range(1, 12):
        request = queue.next_request(number, now)
        assert not isinstance(request, LoadPayload | None)
        assert request.body == b"abcd"
        queue.complete(number, NetworkFailure("refused") if number % 2 else HttpResult(503), now)
        assert next_poll(queue) <= now + MAX_FORWARD_WAIT
        now = next_poll(queue)
    assert len(queue.waiting) == 2
    assert sum(queue.counters.dropped.values()) == 0
