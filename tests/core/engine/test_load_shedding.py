"""Load shedding: too much work is rejected early and cheaply, so that no queue grows."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core import Config, Worker
from openqoe.core.cluster.coordinator import MAX_BACKLOG
from openqoe.core.effects import Append, KvResult, KvUpdate, Stored
from openqoe.core.engine.load_shedding import INTERVAL, LoadShedder
from openqoe.core.http import ConnectionSet, Request
from openqoe.core.http.refusal import make_plain_refusal
from tests.core.engine.test_durability import of
from tests.core.engine.test_incremental_flush import THEN, busy
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.memory_store import MemoryStore

TARGET = 100


def shed_times(shedder: LoadShedder, delay: int, times: range) -> list[int]:
    """Times at which requests are shed that all waited for ``delay`` ms."""
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


def late_request(number: int, now: int, delay: int) -> Request:
    request = post(event("viewstart", at=NOW, view_id=f"v{number}"), now=now)
    return msgspec.structs.replace(request, last_byte_at=now - delay)


def overloaded(**settings: str) -> tuple[Worker, int]:
    """A worker that sheds load, and the time at which it has done so for a second."""
    config = Config.from_environment(settings)
    made = Worker(config, instance="o-0")
    for number in range(1_000):
        handle(made, late_request(number, NOW + number, 500), NOW + number)
    return made, NOW + 1_000


def statuses(made: Worker, delay: int, times: range) -> set[int]:
    return {handle(made, late_request(n, n, delay), n).response.status for n in times}


def test_maximum_wait_is_a_setting() -> None:
    made, now = overloaded(OPENQOE_MAX_WAIT="2")
    times = range(now, now + 1_000)
    assert statuses(made, 2_000, times) == {202}
    assert statuses(made, 2_001, times) == {202, 503}
    made, now = overloaded(OPENQOE_MAX_WAIT="0")
    assert statuses(made, 60_000, range(now, now + 1_000)) == {202}


def test_shed_batch_is_answered_503_counted_and_accepted_when_it_comes_again() -> None:
    made, now = overloaded()
    before = made._components.ingest.rejected["wait"]
    number, response = next(
        (n, response)
        for n in range(now, now + 1_000)
        if (response := handle(made, late_request(n, n, 500), n).response).status == 503
    )
    assert "Retry-After" in dict(response.headers)
    again = msgspec.structs.replace(late_request(number, number, 0), last_byte_at=0)
    assert handle(made, again, number).response.status == 202
    stats = handle(made, Request("GET", "/stats"), number).response.body
    assert f'"refused":{{"wait":{before + 1}}}'.encode() in stats
    metrics = handle(made, Request("GET", "/metrics"), number).response.body
    wanted = f'openqoe_worker_requests_refused_total{{reason="wait"}} {before + 1}'
    assert wanted.encode() in metrics


def test_request_whose_arrival_is_unknown_is_not_shed() -> None:
    made, now = overloaded()
    request = msgspec.structs.replace(late_request(0, now, 500), last_byte_at=0)
    assert handle(made, request, now).response.status == 202


def test_health_is_answered_however_long_the_request_waited() -> None:
    made, now = overloaded()
    for path in ("/health", "/ready", "/metrics", "/stats"):
        request = Request("GET", path, first_byte_at=now - 9_000, last_byte_at=now - 9_000)
        assert handle(made, request, now).response.status == 200


# Bytes that wait


def test_slow_journal_rejects_batches_until_it_has_caught_up() -> None:
    config = Config.from_environment({"OPENQOE_MAX_WAITING_BYTES": "1024"})
    made = Worker(config, instance="o-0", durable=True)
    appends: list[Append] = []
    rejected = 0
    for number in range(10):
        handled = handle(made, post(event("viewstart", view_id=str(number)), now=NOW), NOW)
        appends += of(Append, handled.effects)
        rejected += any(response.status == 503 for response in handled.answers.values())
    assert (len(appends), rejected) == (2, 8)
    for append in appends:
        made.complete(append.id, Stored(), NOW)
    handled = handle(made, post(event("viewstart", view_id="last"), now=NOW), NOW)
    assert of(Append, handled.effects)


def test_batches_that_wait_for_a_flush_are_bounded() -> None:
    made = busy(1, OPENQOE_MAX_WAITING_BYTES="2048")
    made.poll(THEN)
    for number in range(100):
        handled = handle(made, post(event("viewstart", view_id=f"n{number}"), now=THEN), THEN)
        if handled.answers:
            assert handled.response.status == 503
            break
        for append in of(Append, handled.effects):
            made.complete(append.id, Stored(), THEN)
    else:
        raise AssertionError("batches are not bounded")
    while made.next_poll() == THEN:
        made.poll(THEN)
    handled = handle(made, post(event("viewstart", view_id="last"), now=THEN), THEN)
    assert of(Append, handled.effects)


def test_slow_shared_store_rejects_batches_until_it_has_caught_up() -> None:
    made = Worker(Config(), instance="a", shared=True)
    updates: list[KvUpdate] = []

    def status(number: int) -> int:
        events = (event("custom", view_id=f"view-{number}") for _ in range(1_000))
        handled = handle(made, post(*events, now=NOW), NOW)
        updates.extend(of(KvUpdate, handled.effects))
        return handled.response.status

    accepted = next(number for number in range(1_000) if status(number) == 503)
    assert accepted == MAX_BACKLOG // 1_000 + 1
    store = MemoryStore(lambda: NOW)
    while updates:
        update = updates.pop(0)
        result = KvResult(store.run(update.operations))
        updates += of(KvUpdate, made.complete(update.id, result, NOW))
    assert status(accepted) == 202


# Bytes of partial requests

BODY = 10_000


def head(length: int) -> bytes:
    return b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length


def test_partial_bodies_are_bounded_over_all_connections() -> None:
    connections = ConnectionSet(Config(max_waiting_bytes=5 * BODY), make_plain_refusal)
    clients = [connections.open(NOW) for _ in range(8)]
    for client in clients:
        client.receive_data(head(BODY) + b"x" * (BODY - 1), NOW)
    refused = [client for client in clients if b" 503 " in client.data_to_send()]
    assert 3 <= len(refused) <= 4  # an eighth of the bound is freed as well
    for client in refused:
        connections.close(client)
    for client in set(clients) - set(refused):  # the others go on
        client.receive_data(b"x", NOW)
        assert client.next_request(NOW) is not None
    late = connections.open(NOW)
    late.receive_data(head(BODY) + b"x" * (BODY - 1), NOW)
    assert late.data_to_send() == b""


def test_client_that_disconnects_frees_its_share_of_the_bound() -> None:
    connections = ConnectionSet(Config(max_waiting_bytes=BODY + 100), make_plain_refusal)
    for _ in range(5):
        client = connections.open(NOW)
        client.receive_data(head(BODY) + b"x" * (BODY - 1), NOW)
        assert client.data_to_send() == b""
        connections.close(client)
