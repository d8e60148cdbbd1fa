"""Delivery from the flush to the receivers: a worker with both destinations and scripted results.

The tests of the queue cover the meaning of each result. These cover the whole worker: payloads
arrive in order, none is lost without need, totals are right, and each change gives one notice.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.quarantine import MAX_ATTEMPTS
from openqoe.core.effects import HttpResult, LokiPush, NetworkFailure, RemoteWrite
from openqoe.core.worker import Worker
from tests.support.event_builders import NOW, post
from tests.support.handling import handle
from tests.support.rig import (
    DESTINATIONS,
    FLUSH,
    MINUTE,
    SECOND,
    DeliveryResult,
    Rig,
    deliver,
    logged_views,
    player_event,
)
from tests.support.wire_codec import decode_write_request

Kind = type[RemoteWrite] | type[LokiPush]
KINDS: list[Kind] = [RemoteWrite, LokiPush]
TRANSIENT: list[DeliveryResult] = [
    HttpResult(500),
    HttpResult(503),
    HttpResult(429),
    NetworkFailure("refused"),
]


@pytest.fixture(params=KINDS, ids=["metrics", "logs"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def sent_to(rig: Rig, kind: Kind) -> list[tuple[int, bytes, DeliveryResult]]:
    """Return time, body and result of each request to a destination."""
    return [(at, effect.body, result) for at, effect, result in rig.sent if type(effect) is kind]


def notice_events(rig: Rig) -> list[str]:
    return [notice.event for notice in rig.notices]


def test_flush_sends_one_request_to_each_destination() -> None:
    rig = Rig()
    rig.post_seek(0)
    assert rig.sent == []
    rig.flush()
    assert [(at, type(effect)) for at, effect, _ in rig.sent] == [
        (NOW + FLUSH, RemoteWrite),
        (NOW + FLUSH, LokiPush),
    ]
    assert len({effect.id for _, effect, _ in rig.sent}) == 2


@pytest.mark.parametrize("result", TRANSIENT, ids=["500", "503", "429", "network"])
def test_payload_is_sent_again_after_a_transient_failure(
    kind: Kind, result: DeliveryResult
) -> None:
    rig = Rig()
    rig.scripted_results[kind].append(result)
    rig.post_seek(0)
    rig.flush()
    assert len(sent_to(rig, kind)) == 1
    rig.pass_time(SECOND)
    (first_at, first, _), (second_at, second, resent) = sent_to(rig, kind)
    assert first == second
    assert SECOND // 2 <= second_at - first_at <= SECOND
    assert isinstance(resent, HttpResult)
    assert resent.status == 204
    assert rig.total("openqoe_seeks_total") == 1
    assert logged_views(rig.loki) == ["view-0"]


def test_retry_waits_for_retry_after(kind: Kind) -> None:
    rig = Rig()
    rig.scripted_results[kind].append(HttpResult(429, {"retry-after": "40"}))
    rig.post_seek(0)
    rig.flush()
    rig.post_seek(1)
    rig.flush(4)
    first, second = (at for at, _, _ in sent_to(rig, kind)[:2])
    assert second - first == 40 * SECOND
    assert rig.total("openqoe_seeks_total") == 2
    assert logged_views(rig.loki) == ["view-0", "view-1"]


def test_payloads_of_an_outage_are_delivered_in_order_after_it(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=NetworkFailure("refused"))
    for number in range(6):
        rig.post_seek(number)
        rig.flush()
    rig.end_outage()
    rig.pass_time(2 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 6
    assert logged_views(rig.loki) == [f"view-{number}" for number in range(6)]
    (samples,) = rig.receiver.select("openqoe_seeks_total").values()
    assert [value for _, value in samples][:7] == [0, 1, 2, 3, 4, 5, 6]
    assert rig.worker.undelivered == {"prometheus": 0, "loki": 0}


def test_outage_of_one_destination_does_not_affect_the_other(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=HttpResult(503))
    for number in range(3):
        rig.post_seek(number)
        rig.flush()
    other = next(one for one in KINDS if one is not kind)
    assert len(sent_to(rig, other)) == 3
    assert (rig.total("openqoe_seeks_total"), len(logged_views(rig.loki))) == (
        (0, 3) if kind is RemoteWrite else (3, 0)
    )


@pytest.mark.parametrize("status", [409, 415, 422])
def test_refused_payload_is_dropped_and_does_not_block_the_queue(status: int, kind: Kind) -> None:
    rig = Rig()
    rig.scripted_results[kind].append(HttpResult(status, {}, b"no: I do not like it"))
    rig.post_seek(0)
    rig.flush()
    rig.post_seek(1)
    rig.flush()
    bodies = [body for _, body, _ in sent_to(rig, kind)]
    assert len(bodies) == len(set(bodies)) == 2
    # Metrics are totals, so the next flush repeats them; a log line is lost.
    assert rig.total("openqoe_seeks_total") == 2
    assert logged_views(rig.loki) == (["view-0", "view-1"] if kind is RemoteWrite else ["view-1"])
    (notice,) = rig.notices
    assert "no: I do not like it" in dict(notice.fields).values()


def test_payload_that_is_too_large_is_halved_and_sent_before_the_next(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=HttpResult(503))
    for number in range(2):
        rig.post(*(player_event(number, "seek", 1.0, view=f"{number}-{n}") for n in range(4)))
        rig.flush()
    rig.end_outage()
    rig.scripted_results[kind].append(HttpResult(413))
    rig.pass_time(2 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 8
    assert sorted(logged_views(rig.loki)) == sorted(
        f"{number}-{n}" for number in range(2) for n in range(4)
    )
    statuses = [
        result.status for _, _, result in sent_to(rig, kind) if isinstance(result, HttpResult)
    ]
    after = statuses[statuses.index(413) + 1 :]
    assert set(after) <= {200, 204}
    assert len(after) >= 3
    assert "payload dropped" not in notice_events(rig)


def test_destination_gets_one_request_at_a_time(kind: Kind) -> None:
    """The next request waits for the result of the one in flight, which keeps the order."""
    config = Config.from_environment(DESTINATIONS)
    worker = Worker(config, instance="rig-0")
    rig = Rig()  # for its receivers only
    handle(worker, post(player_event(0, "seek")), NOW)
    first = [e for e in worker.poll(NOW + FLUSH) if isinstance(e, kind)]
    handle(worker, post(player_event(1, "seek")), NOW + FLUSH)
    assert [e for e in worker.poll(NOW + 2 * FLUSH) if isinstance(e, kind)] == []
    result = deliver(first[0], rig.receiver if kind is RemoteWrite else rig.loki)
    second = worker.complete(first[0].id, result, NOW + 2 * FLUSH)
    assert [type(effect) for effect in second] == [kind]
    # A second result of the same request is ignored.
    assert worker.complete(first[0].id, HttpResult(500), NOW + 2 * FLUSH) == ()


def test_payload_resent_after_a_lost_response_counts_once() -> None:
    rig = Rig()
    rig.post_seek(0)
    lost = NetworkFailure("connection reset")
    rig.start_outage(result=lost)
    rig.flush()
    for _, effect, _ in rig.sent:  # the receivers stored them, but the responses were lost
        deliver(effect, rig.receiver if isinstance(effect, RemoteWrite) else rig.loki)
    rig.end_outage()
    rig.pass_time(MINUTE)
    assert rig.receiver.resent > 0
    assert rig.total("openqoe_seeks_total") == 1
    assert logged_views(rig.loki) == ["view-0"]
    assert len(rig.loki.duplicates) == 1


def test_outage_gives_one_notice_at_its_start_and_one_at_its_end(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=HttpResult(503, {}, b"out for lunch"))
    for number in range(10):
        rig.post_seek(number)
        rig.flush()
    rig.end_outage()
    rig.pass_time(5 * MINUTE)
    assert notice_events(rig) == [
        "destination unavailable; retrying",
        "destination available again",
    ]
    fields = dict(rig.notices[0].fields)
    assert (fields["status"], fields["answer"]) == (503, "out for lunch")
    assert fields["destination"] == ("prometheus" if kind is RemoteWrite else "loki")


def test_notices_contain_neither_payload_nor_credentials() -> None:
    rig = Rig(
        PROMETHEUS_USERNAME="worker",
        PROMETHEUS_PASSWORD="s3cr3t-word",
        LOKI_USERNAME="worker",
        LOKI_PASSWORD="s3cr3t-word",
    )
    rig.flush()
    (_, first, _), *_ = rig.sent
    header = dict(first.headers)["Authorization"]
    answer_text = f"you sent {header} as s3cr3t-word".encode()
    for status in (500, 401):
        rig.start_outage(result=HttpResult(status, {}, answer_text))
        rig.post_seek(status)
        rig.flush(10)
    text = repr(rig.notices)
    assert "you sent" in text
    assert "s3cr3t-word" not in text
    assert header.removeprefix("Basic ") not in text
    assert "view-" not in text


def test_close_sends_queued_payloads_at_once() -> None:
    rig = Rig()
    rig.start_outage(result=NetworkFailure("refused"))
    for number in range(8):
        rig.post_seek(number)
        rig.flush()
    assert not rig.worker.drained
    assert all(waiting > 0 for waiting in rig.worker.undelivered.values())
    rig.post_seek(8)
    rig.end_outage()
    rig.close()
    assert rig.worker.drained
    assert rig.total("openqoe_seeks_total") == 9
    assert logged_views(rig.loki) == [f"view-{number}" for number in range(9)]


def test_metadata_is_sent_with_the_first_flush_and_every_five_minutes() -> None:
    rig = Rig()
    rig.pass_time(11 * MINUTE)
    described = [
        at - NOW for at, body, _ in sent_to(rig, RemoteWrite) if decode_write_request(body).metadata
    ]
    assert described == [FLUSH, FLUSH + 5 * MINUTE, FLUSH + 10 * MINUTE]


def test_flush_interval_of_zero_flushes_each_request() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="0")
    for number in range(3):
        rig.post_seek(number)
        assert rig.total("openqoe_seeks_total") == number + 1
        assert len(logged_views(rig.loki)) == number + 1
    assert rig.worker.next_poll() is None or rig.worker.drained


def test_same_calls_and_seed_give_the_same_bytes() -> None:
    def run(seed: int) -> list[tuple[int, bytes]]:
        rig = Rig(seed=seed)
        rig.scripted_results[RemoteWrite].extend(TRANSIENT)
        rig.scripted_results[LokiPush].extend(TRANSIENT)
        for number in range(5):
            rig.post_seek(number)
            rig.flush()
        rig.close()
        return [(at, effect.body) for at, effect, _ in rig.sent]

    assert run(seed=1) == run(seed=1)
    assert run(seed=1) != run(seed=2)  # the jitter differs


ANY_RESULT = st.sampled_from(
    [
        HttpResult(204),  # of a proxy that loses the request
        HttpResult(400),
        HttpResult(413),
        HttpResult(401),
        *TRANSIENT,
        HttpResult(429, {"retry-after": "30"}),
    ]
)


@given(st.lists(ANY_RESULT, max_size=8), st.integers(1, 5))
@settings(max_examples=25)
def test_totals_are_right_after_any_sequence_of_results(
    script: list[DeliveryResult], batches: int
) -> None:
    """Every flush sends totals, so only the last must arrive."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60")
    rig.scripted_results[RemoteWrite].extend(script)
    for number in range(batches):
        rig.post_seek(number)
        rig.flush()
    rig.pass_time(20 * MINUTE)
    assert not rig.scripted_results[RemoteWrite]
    assert rig.total("openqoe_seeks_total") == batches
    assert rig.total("openqoe_events_total") == batches


@given(st.lists(st.sampled_from(TRANSIENT), max_size=7), st.booleans(), st.integers(1, 5))
@settings(max_examples=25)
def test_log_lines_arrive_once_and_in_order_after_any_failures(
    script: list[DeliveryResult], too_large: bool, batches: int
) -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60")
    rig.scripted_results[LokiPush].extend(script)
    if too_large and len(script) < MAX_ATTEMPTS:  # of two lines, which can be halved
        rig.scripted_results[LokiPush].append(HttpResult(413))
    expected = []
    for number in range(batches):
        expected += [f"view-{number}a", f"view-{number}b"]
        rig.post(*(player_event(number * 60, "seek", 1.0, view=view) for view in expected[-2:]))
        rig.flush()
    rig.pass_time(6 * MINUTE)
    assert not rig.scripted_results[LokiPush]
    assert sorted(logged_views(rig.loki)) == expected
    if len(script) <= MAX_ATTEMPTS:  # no part of a divided payload was set aside
        assert logged_views(rig.loki) == expected
    assert rig.loki.duplicates == []
    assert "payload dropped" not in notice_events(rig)
