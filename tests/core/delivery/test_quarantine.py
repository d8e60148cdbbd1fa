"""The quarantine by example: whose fault a failure is, and what it blocks."""

import pytest

from openqoe.core.delivery.payload_buffer import MAX_LOADED
from openqoe.core.effects import HttpResult, PayloadKind
from tests.core.delivery.queue_driver import (
    NOW,
    OK,
    drive,
    filled_queue,
    make_queue,
    next_poll,
    payload,
)


def test_single_rejected_entry_of_logs_is_found_and_others_delivered() -> None:
    queue = filled_queue(b"a", b"bcXd", b"e")
    drive(queue, lambda body: HttpResult(400) if b"X" in body else OK)
    assert queue.is_empty
    assert (queue.counters.rejected, queue.counters.delivered) == (1, 5)
    assert queue.counters.dropped == {}


@pytest.mark.parametrize("kind", ["metrics", "logs"])
@pytest.mark.parametrize("status", [260, 307, 308, 400, 401, 403, 404, 408, 425, 499])
def test_destination_that_refuses_everything_loses_nothing(kind: PayloadKind, status: int) -> None:
    if status == 260 and kind == "metrics":
        return
    queue = filled_queue(b"abcdefgh", b"ijkl", b"m", kind=kind)
    sent = drive(queue, lambda body: HttpResult(status), hours=6)
    assert len(sent) < 600  # it gets few requests
    assert (queue.counters.rejected, queue.counters.dropped) == (0, {})
    assert queue.status(NOW).items == 13
    drive(queue, lambda body: OK, now=next_poll(queue))
    assert queue.is_empty
    assert queue.counters.delivered == 13


@pytest.mark.parametrize("kind", ["metrics", "logs"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_payload_that_never_passes_is_divided_until_it_does(kind: PayloadKind, status: int) -> None:
    queue = filled_queue(b"abcdefgh", b"ij", kind=kind)
    drive(queue, lambda body: HttpResult(status) if len(body) > 2 else OK)
    assert queue.is_empty
    assert queue.counters.delivered == 10


@pytest.mark.parametrize("status", [429, 500, 503])
def test_entry_that_never_passes_is_quarantined_and_others_flow(status: int) -> None:
    queue = filled_queue(b"abXc", b"d", b"e")
    sent = drive(queue, lambda body: HttpResult(status) if b"X" in body else OK, hours=1)
    assert queue.counters.delivered == 5
    assert queue.status(NOW).items == 1
    assert sent.count(b"X") < 20
    drive(queue, lambda body: OK, now=NOW + 3_600_000)
    assert queue.is_empty
    assert (queue.counters.delivered, queue.counters.dropped) == (6, {})


def test_many_rejected_entries_in_a_row_are_found_and_others_delivered() -> None:
    queue = filled_queue(b"XXXXXXXXabXXXXXXXXc", b"d")
    drive(queue, lambda body: HttpResult(400) if b"X" in body else OK)
    assert queue.is_empty
    assert (queue.counters.rejected, queue.counters.delivered) == (16, 4)


@pytest.mark.parametrize("status", [429, 500])
def test_series_that_never_passes_blocks_no_others(status: int) -> None:
    """It cannot wait in quarantine: its sample would arrive after later ones."""
    queue = make_queue("metrics")
    for flush in range(4):
        queue.offer(payload(b"abcXdefg", "metrics", NOW + flush * 15_000), NOW)
    sent = drive(queue, lambda body: HttpResult(status) if b"X" in body else OK)
    assert queue.is_empty
    assert queue.counters.delivered == 4 * 7
    assert sum(queue.counters.dropped.values()) == 4
    assert len(sent) < 4 * 20


@pytest.mark.parametrize("status", [429, 503])
def test_outage_after_a_delivery_drops_no_metrics(status: int) -> None:
    queue = make_queue("metrics")
    for flush in range(3):
        for body in (b"abcd", b"ef"):
            queue.offer(payload(body, "metrics", NOW + flush), NOW)
    answers = iter([OK])
    drive(queue, lambda body: next(answers, HttpResult(status)), hours=3)
    drive(queue, lambda body: OK, now=next_poll(queue))
    assert (queue.counters.delivered, queue.counters.dropped) == (18, {})


def test_quarantined_bodies_are_bounded() -> None:
    queue = make_queue(max_bytes=1_000 * 1024 * 1024, split=lambda _: ())
    for flush in range(12):
        for number, body in ((2 * flush + 1, b"X" * 1024 * 1024), (2 * flush + 2, b"a")):
            one = payload(body, created=NOW + flush).with_number(number)
            queue.offer(one, NOW, is_stored=False)
    drive(queue, lambda body: HttpResult(429) if b"X" in body else OK)
    queue.offer(payload(b"a"), NOW)
    assert queue.counters.delivered == 12
    assert 0 < sum(len(one.body) for one in queue.waiting) <= MAX_LOADED + 1
    assert set(queue.counters.dropped) == {"queue_full"}


def test_outage_keeps_order_of_payloads() -> None:
    queue = filled_queue(*(bytes([letter]) for letter in b"abcdefgh"))
    drive(queue, lambda body: HttpResult(503), hours=3)
    sent = drive(queue, lambda body: OK, now=next_poll(queue))
    assert sorted(sent) == [bytes([letter]) for letter in b"abcdefgh"]
    assert sent[4:] == [b"e", b"f", b"g", b"h"]


def test_outbox_keeps_whole_until_quarantined_part_is_delivered() -> None:
    queue = make_queue()
    queue.offer(payload(b"aXbc").with_number(7), NOW)
    drive(queue, lambda body: HttpResult(429) if b"X" in body else OK)
    assert queue.pop_finished_numbers() == ()
    drive(queue, lambda body: OK, now=NOW + 3_600_000)
    assert queue.pop_finished_numbers() == (7,)
