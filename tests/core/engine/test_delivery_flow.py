"""From the flush to the receivers: a worker with both destinations and answers by script.

What each answer means is tested with the queue; here it is that the whole worker keeps its word:
in order, nothing lost that could be kept, totals right, and one line in the log for each change.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.delivery_queue import MAX_ATTEMPTS
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


def seek(rig: Rig, number: int) -> None:
    rig.post(player_event((rig.now - NOW) / SECOND, "seek", 1.0, view=f"view-{number}"))


def views(rig: Rig) -> list[str]:
    return [json.loads(line)["view_id"] for line in rig.log_lines()]


def sent(rig: Rig, kind: Kind) -> list[tuple[int, bytes, DeliveryResult]]:
    return [(at, effect.body, answer) for at, effect, answer in rig.sent if type(effect) is kind]


def events(rig: Rig) -> list[str]:
    return [notice.event for notice in rig.notices]


def test_a_flush_is_one_request_to_each() -> None:
    rig = Rig()
    seek(rig, 0)
    assert rig.sent == []
    rig.flush()
    assert [(at, type(effect)) for at, effect, _ in rig.sent] == [
        (NOW + FLUSH, RemoteWrite),
        (NOW + FLUSH, LokiPush),
    ]
    assert len({effect.id for _, effect, _ in rig.sent}) == 2


@pytest.mark.parametrize("answer", TRANSIENT, ids=["500", "503", "429", "network"])
def test_what_could_not_be_taken_is_sent_again(kind: Kind, answer: DeliveryResult) -> None:
    rig = Rig()
    rig.scripted_results[kind].append(answer)
    seek(rig, 0)
    rig.flush()
    assert len(sent(rig, kind)) == 1
    rig.pass_time(SECOND)
    (first_at, first, _), (second_at, second, taken) = sent(rig, kind)
    assert first == second
    assert SECOND // 2 <= second_at - first_at <= SECOND
    assert isinstance(taken, HttpResult)
    assert taken.status == 204
    assert rig.total("openqoe_seeks_total") == 1
    assert views(rig) == ["view-0"]


def test_retry_after_is_waited_for(kind: Kind) -> None:
    rig = Rig()
    rig.scripted_results[kind].append(HttpResult(429, {"retry-after": "40"}))
    seek(rig, 0)
    rig.flush()
    seek(rig, 1)
    rig.flush(4)
    first, second = (at for at, _, _ in sent(rig, kind)[:2])
    assert second - first == 40 * SECOND
    assert rig.total("openqoe_seeks_total") == 2
    assert views(rig) == ["view-0", "view-1"]


def test_an_outage_is_made_up_for_in_order(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=NetworkFailure("refused"))
    for number in range(6):
        seek(rig, number)
        rig.flush()
    rig.end_outage()
    rig.pass_time(2 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 6
    assert views(rig) == [f"view-{number}" for number in range(6)]
    (samples,) = rig.receiver.select("openqoe_seeks_total").values()
    assert [value for _, value in samples][:7] == [0, 1, 2, 3, 4, 5, 6]
    assert rig.worker.undelivered == {"prometheus": 0, "loki": 0}


def test_one_destinations_outage_is_not_the_others(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=HttpResult(503))
    for number in range(3):
        seek(rig, number)
        rig.flush()
    other = next(one for one in KINDS if one is not kind)
    assert len(sent(rig, other)) == 3
    assert (rig.total("openqoe_seeks_total"), len(views(rig))) == (
        (0, 3) if kind is RemoteWrite else (3, 0)
    )


@pytest.mark.parametrize("status", [409, 415, 422])
def test_what_is_refused_is_not_sent_again_and_holds_up_nothing(status: int, kind: Kind) -> None:
    rig = Rig()
    rig.scripted_results[kind].append(HttpResult(status, {}, b"no: I do not like it"))
    seek(rig, 0)
    rig.flush()
    seek(rig, 1)
    rig.flush()
    bodies = [body for _, body, _ in sent(rig, kind)]
    assert len(bodies) == len(set(bodies)) == 2
    # Metrics are totals, so the next flush makes up for it; a line is gone.
    assert rig.total("openqoe_seeks_total") == 2
    assert views(rig) == (["view-0", "view-1"] if kind is RemoteWrite else ["view-1"])
    (notice,) = rig.notices
    assert "no: I do not like it" in dict(notice.fields).values()


def test_what_is_too_large_goes_in_halves_before_what_waits(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=HttpResult(503))
    for number in range(2):
        rig.post(*(player_event(number, "seek", 1.0, view=f"{number}-{n}") for n in range(4)))
        rig.flush()
    rig.end_outage()
    rig.scripted_results[kind].append(HttpResult(413))
    rig.pass_time(2 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 8
    assert sorted(views(rig)) == sorted(f"{number}-{n}" for number in range(2) for n in range(4))
    statuses = [answer.status for _, _, answer in sent(rig, kind) if isinstance(answer, HttpResult)]
    after = statuses[statuses.index(413) + 1 :]
    assert set(after) <= {200, 204}
    assert len(after) >= 3
    assert "payload dropped" not in events(rig)


def test_one_request_at_a_time(kind: Kind) -> None:
    """Until the answer is there nothing else is sent to that destination, so order holds."""
    config = Config.from_environment(DESTINATIONS)
    worker = Worker(config, instance="rig-0")
    rig = Rig()  # only its receivers
    handle(worker, post(player_event(0, "seek")), NOW)
    first = [e for e in worker.poll(NOW + FLUSH) if isinstance(e, kind)]
    handle(worker, post(player_event(1, "seek")), NOW + FLUSH)
    assert [e for e in worker.poll(NOW + 2 * FLUSH) if isinstance(e, kind)] == []
    answer = deliver(first[0], rig.receiver if kind is RemoteWrite else rig.loki)
    second = worker.complete(first[0].id, answer, NOW + 2 * FLUSH)
    assert [type(effect) for effect in second] == [kind]
    # an answer that comes twice is none
    assert worker.complete(first[0].id, HttpResult(500), NOW + 2 * FLUSH) == ()


def test_a_lost_answer_counts_nothing_twice() -> None:
    rig = Rig()
    seek(rig, 0)
    lost = NetworkFailure("connection reset")
    rig.start_outage(result=lost)
    rig.flush()
    for _, effect, _ in rig.sent:  # they were kept, only nobody heard of it
        deliver(effect, rig.receiver if isinstance(effect, RemoteWrite) else rig.loki)
    rig.end_outage()
    rig.pass_time(MINUTE)
    assert rig.receiver.resent > 0
    assert rig.total("openqoe_seeks_total") == 1
    assert views(rig) == ["view-0"]
    assert len(rig.loki.duplicates) == 1


def test_an_outage_is_two_lines_in_the_log(kind: Kind) -> None:
    rig = Rig()
    rig.start_outage(kind, result=HttpResult(503, {}, b"out for lunch"))
    for number in range(10):
        seek(rig, number)
        rig.flush()
    rig.end_outage()
    rig.pass_time(5 * MINUTE)
    assert events(rig) == ["destination unavailable; retrying", "destination available again"]
    fields = dict(rig.notices[0].fields)
    assert (fields["status"], fields["answer"]) == (503, "out for lunch")
    assert fields["destination"] == ("prometheus" if kind is RemoteWrite else "loki")


def test_the_log_tells_neither_payload_nor_credentials() -> None:
    rig = Rig(
        PROMETHEUS_USERNAME="worker",
        PROMETHEUS_PASSWORD="s3cr3t-word",
        LOKI_USERNAME="worker",
        LOKI_PASSWORD="s3cr3t-word",
    )
    header = dict(next(iter(_flushed(rig))).headers)["Authorization"]
    words = f"you sent {header} as s3cr3t-word".encode()
    for status in (500, 401):
        rig.start_outage(result=HttpResult(status, {}, words))
        seek(rig, status)
        rig.flush(10)
    text = repr(rig.notices)
    assert "you sent" in text
    assert "s3cr3t-word" not in text
    assert header.removeprefix("Basic ") not in text
    assert "view-" not in text


def _flushed(rig: Rig) -> list[RemoteWrite | LokiPush]:
    rig.flush()
    return [effect for _, effect, _ in rig.sent]


def test_closing_tries_at_once_what_waits() -> None:
    rig = Rig()
    rig.start_outage(result=NetworkFailure("refused"))
    for number in range(8):
        seek(rig, number)
        rig.flush()
    assert not rig.worker.drained
    assert all(waiting > 0 for waiting in rig.worker.undelivered.values())
    seek(rig, 8)
    rig.end_outage()
    rig.close()
    assert rig.worker.drained
    assert rig.total("openqoe_seeks_total") == 9
    assert views(rig) == [f"view-{number}" for number in range(9)]


def test_metadata_goes_along_at_first_and_every_five_minutes() -> None:
    rig = Rig()
    rig.pass_time(11 * MINUTE)
    described = [
        at - NOW for at, body, _ in sent(rig, RemoteWrite) if decode_write_request(body).metadata
    ]
    assert described == [FLUSH, FLUSH + 5 * MINUTE, FLUSH + 10 * MINUTE]


def test_without_an_interval_each_request_is_flushed() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="0")
    for number in range(3):
        seek(rig, number)
        assert rig.total("openqoe_seeks_total") == number + 1
        assert len(views(rig)) == number + 1
    assert rig.worker.next_poll() is None or rig.worker.drained


def test_the_same_calls_give_the_same_bytes() -> None:
    def run(seed: int) -> list[tuple[int, bytes]]:
        rig = Rig(seed=seed)
        rig.scripted_results[RemoteWrite].extend(TRANSIENT)
        rig.scripted_results[LokiPush].extend(TRANSIENT)
        for number in range(5):
            seek(rig, number)
            rig.flush()
        rig.close()
        return [(at, effect.body) for at, effect, _ in rig.sent]

    assert run(seed=1) == run(seed=1)
    assert run(seed=1) != run(seed=2)  # the jitter differs


ANY_ANSWER = st.sampled_from(
    [
        HttpResult(204),  # of a proxy in between: said to be taken, and never arrived
        HttpResult(400),
        HttpResult(413),
        HttpResult(401),
        *TRANSIENT,
        HttpResult(429, {"retry-after": "30"}),
    ]
)


@given(st.lists(ANY_ANSWER, max_size=8), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_totals_are_right_whatever_was_answered(script: list[DeliveryResult], batches: int) -> None:
    """Every flush sends totals, so only the last one has to arrive."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60")
    rig.scripted_results[RemoteWrite].extend(script)
    for number in range(batches):
        seek(rig, number)
        rig.flush()
    rig.pass_time(20 * MINUTE)
    assert not rig.scripted_results[RemoteWrite]
    assert rig.total("openqoe_seeks_total") == batches
    assert rig.total("openqoe_events_total") == batches


@given(st.lists(st.sampled_from(TRANSIENT), max_size=7), st.booleans(), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_every_line_arrives_once_and_in_order(
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
    assert views(rig) == expected
    assert rig.loki.duplicates == []
    assert "payload dropped" not in events(rig)
