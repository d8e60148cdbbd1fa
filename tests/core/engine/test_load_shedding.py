"""Load shedding: excess work is rejected early and cheaply, so that no queue grows."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core import Config, Worker
from openqoe.core.cluster.coordinator import MAX_BACKLOG
from openqoe.core.effects import Append, KvResult, KvUpdate, Persist, Stored
from openqoe.core.engine.load_shedding import INTERVAL, LoadShedder
from openqoe.core.http import ConnectionSet, Request
from openqoe.core.http.refusal import make_plain_refusal
from tests.core.engine.durable_worker import (
    NEXT_FLUSH,
    effects_of,
    journal_events,
    make_busy_worker,
)
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.memory_store import MemoryStore

TARGET = 100


def shed_times(shedder: LoadShedder, delay: int, times: range) -> list[int]:
    """Return the times at which requests are shed if each has waited for ``delay`` ms."""
    return [now for now in times if shedder.sheds(now - delay, now)]


# Controlled delay


def test_requests_within_the_target_are_never_shed() -> None:
    assert shed_times(LoadShedder(TARGET), TARGET, range(NOW, NOW + 60_000, 5)) == []


def test_delay_above_the_target_for_less_than_the_interval_sheds_nothing() -> None:
    shedder = LoadShedder(TARGET)
    shedder.sheds(NOW, NOW)
    assert shed_times(shedder, TARGET + 1, range(NOW, NOW + INTERVAL)) == []


def test_standing_queue_sheds_more_and_more_often() -> None:
    shedder = LoadShedder(TARGET)
    times = shed_times(shedder, 2 * TARGET, range(NOW, NOW + 5_000))
    assert times[0] <= NOW + INTERVAL + 1
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[0] == INTERVAL
    assert gaps[-1] < INTERVAL / 4
    assert max(gaps[20:]) < min(gaps[:3])


def test_shedding_follows_the_square_root_law() -> None:
    shedder = LoadShedder(TARGET)
    times = shed_times(shedder, 2 * TARGET, range(NOW, NOW + 4 * INTERVAL * 10))
    # The sum of 1/sqrt(k) up to n is about 2 sqrt(n), so n requests need 2 sqrt(n) intervals.
    assert len(times) == pytest.approx((40 / 2) ** 2, rel=0.1)


def test_one_request_within_the_target_ends_shedding() -> None:
    shedder = LoadShedder(TARGET)
    shed_times(shedder, 2 * TARGET, range(NOW, NOW + 1_000))
    assert not shedder.sheds(NOW + 1_000 - TARGET, NOW + 1_000)
    assert shed_times(shedder, 2 * TARGET, range(NOW + 1_001, NOW + 1_000 + INTERVAL)) == []


def test_overload_that_returns_soon_is_shed_at_the_rate_it_had() -> None:
    fresh, returning = LoadShedder(TARGET), LoadShedder(TARGET)
    shed_times(returning, 2 * TARGET, range(NOW, NOW + 3_000))
    returning.sheds(NOW + 3_000, NOW + 3_000)
    later = range(NOW + 3_001, NOW + 4_001)
    assert len(shed_times(returning, 2 * TARGET, later)) > 3 * len(
        shed_times(fresh, 2 * TARGET, later)
    )


def test_lone_client_of_a_slow_host_is_never_shed() -> None:
    shedder = LoadShedder(TARGET)
    # Each request arrives after the previous one was handled, and waits for half a second.
    assert shed_times(shedder, 499, range(NOW, NOW + 60_000, 500)) == []


def test_clock_that_is_set_back_sheds_nothing() -> None:
    shedder = LoadShedder(TARGET)
    shed_times(shedder, 2 * TARGET, range(NOW, NOW + 1_000))
    assert not shedder.sheds(NOW - 100_000 - 2 * TARGET, NOW - 100_000)


def test_target_of_zero_turns_shedding_off() -> None:
    assert shed_times(LoadShedder(0), 60_000, range(NOW, NOW + 10_000)) == []


@given(st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 1_000)), max_size=200))
def test_no_request_within_the_target_is_shed_whatever_came_before(
    requests: list[tuple[int, int]],
) -> None:
    shedder, now = LoadShedder(TARGET), NOW
    for pause, delay in requests:
        now += pause
        assert not (shedder.sheds(now - delay, now) and delay <= TARGET)


# The worker


def make_late_request(number: int, now: int, delay: int) -> Request:
    request = post(event("viewstart", at=NOW, view_id=f"v{number}"), now=now)
    return msgspec.structs.replace(request, last_byte_at=now - delay)


def make_overloaded_worker(**settings: str) -> tuple[Worker, int]:
    """Create a worker that has shed load for a second; returns it and its time."""
    config = Config.from_environment({"OPENQOE_MAX_WAIT": "0.1", **settings})
    worker = Worker(config, instance="o-0")
    for number in range(1_000):
        handle(worker, make_late_request(number, NOW + number, 500), NOW + number)
    return worker, NOW + 1_000


def send_late_requests(worker: Worker, delay: int, times: range) -> set[int]:
    """Return the statuses of requests that have waited for ``delay`` ms."""
    return {handle(worker, make_late_request(n, n, delay), n).response.status for n in times}


def test_setting_of_the_maximum_wait_is_the_shedding_target() -> None:
    worker, now = make_overloaded_worker(OPENQOE_MAX_WAIT="2")
    times = range(now, now + 1_000)
    assert send_late_requests(worker, 2_000, times) == {202}
    assert send_late_requests(worker, 2_001, times) == {202, 503}
    worker, now = make_overloaded_worker(OPENQOE_MAX_WAIT="0")
    assert send_late_requests(worker, 60_000, range(now, now + 1_000)) == {202}


def test_shed_batch_is_answered_503_counted_and_accepted_when_it_comes_again() -> None:
    worker, now = make_overloaded_worker()
    before = worker._components.ingest.rejected["wait"]
    number, response = next(
        (n, response)
        for n in range(now, now + 1_000)
        if (response := handle(worker, make_late_request(n, n, 500), n).response).status == 503
    )
    assert "Retry-After" in dict(response.headers)
    again = msgspec.structs.replace(make_late_request(number, number, 0), last_byte_at=0)
    assert handle(worker, again, number).response.status == 202
    stats = handle(worker, Request("GET", "/stats"), number).response.body
    assert f'"refused":{{"wait":{before + 1}}}'.encode() in stats
    metrics = handle(worker, Request("GET", "/metrics"), number).response.body
    wanted = f'openqoe_worker_requests_refused_total{{reason="wait"}} {before + 1}'
    assert wanted.encode() in metrics


def test_request_whose_arrival_is_unknown_is_not_shed() -> None:
    worker, now = make_overloaded_worker()
    request = msgspec.structs.replace(make_late_request(0, now, 500), last_byte_at=0)
    assert handle(worker, request, now).response.status == 202


def test_health_request_is_answered_after_any_wait() -> None:
    worker, now = make_overloaded_worker()
    for path in ("/health", "/ready", "/metrics", "/stats"):
        request = Request("GET", path, first_byte_at=now - 9_000, last_byte_at=now - 9_000)
        assert handle(worker, request, now).response.status == 200


# Bytes that wait


def test_batches_are_rejected_until_a_slow_journal_has_caught_up() -> None:
    config = Config.from_environment({"OPENQOE_MAX_WAITING_BYTES": "1024"})
    worker = Worker(config, instance="o-0", durable=True)
    appends: list[Append] = []
    rejected = 0
    for number in range(10):
        handled = handle(worker, post(event("viewstart", view_id=str(number)), now=NOW), NOW)
        appends += effects_of(Append, handled.effects)
        rejected += any(response.status == 503 for response in handled.answers.values())
    assert (len(appends), rejected) == (2, 8)
    for append in appends:
        worker.complete(append.id, Stored(), NOW)
    handled = handle(worker, post(event("viewstart", view_id="last"), now=NOW), NOW)
    assert effects_of(Append, handled.effects)


def test_batches_that_wait_for_a_flush_are_bounded() -> None:
    worker = make_busy_worker(1, OPENQOE_MAX_WAITING_BYTES="2048")
    worker.poll(NEXT_FLUSH)
    for number in range(100):
        handled = handle(
            worker, post(event("viewstart", view_id=f"n{number}"), now=NEXT_FLUSH), NEXT_FLUSH
        )
        if handled.answers:
            assert handled.response.status == 503
            break
        for append in effects_of(Append, handled.effects):
            worker.complete(append.id, Stored(), NEXT_FLUSH)
    else:
        raise AssertionError("batches are not bounded")
    while worker.next_poll() == NEXT_FLUSH:
        worker.poll(NEXT_FLUSH)
    handled = handle(worker, post(event("viewstart", view_id="last"), now=NEXT_FLUSH), NEXT_FLUSH)
    assert effects_of(Append, handled.effects)


@pytest.mark.parametrize("events_per_batch", [1, 20])
def test_clients_that_leave_no_time_for_a_flush_are_not_rejected(events_per_batch: int) -> None:
    worker = make_busy_worker(250, OPENQOE_MAX_WAITING_BYTES="128KiB")
    for first in range(0, 2_000, 200):
        views = range(first, first + 200)
        journal_events(worker, *(event("heartbeat", at=NOW, view_id=f"w-{v}") for v in views))
    now, persisted = NEXT_FLUSH, 0
    worker.poll(now)
    for number in range(3_000 // events_per_batch):  # not one call of ``poll`` in between
        data = {"n": number}
        events = (event(at=now, view_id=f"w-{n}", data=data) for n in range(events_per_batch))
        handled = handle(worker, post(*events, now=now), now)
        assert not handled.answers, "rejected"
        for append in effects_of(Append, handled.effects):
            persists = effects_of(Persist, worker.complete(append.id, Stored(), now))
            for persist in persists:
                worker.complete(persist.id, Stored(), now)
                persisted += 1
    assert persisted, "the flush does not end"
    assert worker._components.queue.bytes < 32 * 1024, "what waited is not applied"


def test_batches_are_rejected_until_a_slow_shared_store_has_caught_up() -> None:
    worker = Worker(Config(), instance="a", shared=True)
    updates: list[KvUpdate] = []

    def status(number: int) -> int:
        events = (event("custom", view_id=f"view-{number}") for _ in range(1_000))
        handled = handle(worker, post(*events, now=NOW), NOW)
        updates.extend(effects_of(KvUpdate, handled.effects))
        return handled.response.status

    accepted = next(number for number in range(1_000) if status(number) == 503)
    assert accepted == MAX_BACKLOG // 1_000 + 1
    store = MemoryStore(lambda: NOW)
    while updates:
        update = updates.pop(0)
        result = KvResult(store.run(update.operations))
        updates += effects_of(KvUpdate, worker.complete(update.id, result, NOW))
    assert status(accepted) == 202


# Bytes of partial requests

BODY = 10_000


def make_head(length: int) -> bytes:
    return b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length


def test_partial_bodies_are_bounded_over_all_connections() -> None:
    connections = ConnectionSet(Config(max_waiting_bytes=5 * BODY), make_plain_refusal)
    clients = [connections.open(NOW) for _ in range(8)]
    for client in clients:
        client.receive_data(make_head(BODY) + b"x" * (BODY - 1), NOW)
    refused = [client for client in clients if b" 503 " in client.data_to_send()]
    assert 3 <= len(refused) <= 4  # an eighth of the bound is freed as well
    for client in refused:
        connections.close(client)
    for client in set(clients) - set(refused):  # the others go on
        client.receive_data(b"x", NOW)
        assert client.next_request(NOW) is not None
    late = connections.open(NOW)
    late.receive_data(make_head(BODY) + b"x" * (BODY - 1), NOW)
    assert late.data_to_send() == b""


def test_client_that_disconnects_frees_its_share_of_the_bound() -> None:
    connections = ConnectionSet(Config(max_waiting_bytes=BODY + 100), make_plain_refusal)
    for _ in range(5):
        client = connections.open(NOW)
        client.receive_data(make_head(BODY) + b"x" * (BODY - 1), NOW)
        assert client.data_to_send() == b""
        connections.close(client)
