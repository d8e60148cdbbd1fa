"""Acknowledged means kept: what goes to disk, and what may happen only after it."""

from typing import TypeVar

import msgspec

from openqoe.core import Config, Worker
from openqoe.core.effects import (
    Append,
    Effect,
    Forget,
    HttpResult,
    LoadPayload,
    LokiPush,
    Notice,
    PayloadBody,
    Persist,
    RemoteWrite,
    StorageFailure,
    Stored,
)
from openqoe.core.engine.snapshot import decode
from openqoe.core.http.messages import Request
from tests.core.api.worker_client import Answer
from tests.support.events import NOW, event, post
from tests.support.rig import DESTINATIONS

FULL = StorageFailure("no space left", full=True)
T = TypeVar("T", bound=Effect)


def worker(**settings: str) -> Worker:
    config = Config.from_environment({**DESTINATIONS, "OPENQOE_FLUSH_INTERVAL": "15", **settings})
    made = Worker(config, instance="p-0", durable=True)
    made.poll(NOW)
    return made


def of(kind: type[T], effects: tuple[Effect, ...]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def accepted(made: Worker, number: int = 1, *, now: int = NOW) -> Append:
    outcome = made.handle(post(event("viewstart", at=now, view_id=f"v{number}"), now=now), now)
    assert outcome.response.status == 202
    (append,) = of(Append, outcome.effects)
    assert outcome.after == append.id
    return append


def flushed(made: Worker, now: int) -> Persist:
    effects = made.poll(now)
    assert not of(RemoteWrite, effects), "sent before it was stored"
    (persist,) = of(Persist, effects)
    return persist


def test_the_answer_waits_for_the_journal() -> None:
    append = accepted(worker())
    assert append.record.at == NOW
    assert b"viewstart" in append.record.body


def test_the_answer_to_a_duplicate_waits_for_the_same_record() -> None:
    made = worker()
    append = accepted(made)
    again = post(event("viewstart", at=NOW, view_id="v1"), now=NOW)
    outcome = made.handle(again, NOW)
    assert (outcome.after, of(Append, outcome.effects)) == (append.id, [])
    made.complete(append.id, Stored(), NOW)
    assert made.handle(again, NOW).after is None


def test_a_name_of_the_clients_own_identifies_a_batch() -> None:
    made = worker()
    for number in (1, 2):
        request = post(
            event("viewstart", view_id=f"v{number}"), headers={"idempotency-key": "b-1"}, now=NOW
        )
        assert made.handle(request, NOW).response.status == 202
    assert Answer.of(made.handle(Request("GET", "/stats"), NOW).response).json["views"] == 1


def test_nothing_is_sent_before_it_is_stored() -> None:
    made = worker()
    accepted(made)
    persist = flushed(made, NOW + 15_000)
    assert {payload.kind for payload in persist.payloads} == {"metrics", "logs"}
    assert persist.through == 1
    sent = made.complete(persist.id, Stored(), NOW + 15_000)
    assert of(RemoteWrite, sent)
    assert of(LokiPush, sent)


def test_what_was_delivered_is_forgotten() -> None:
    made = worker()
    accepted(made)
    persist = flushed(made, NOW + 15_000)
    (push,) = of(LokiPush, made.complete(persist.id, Stored(), NOW + 15_000))
    (forget,) = of(Forget, made.complete(push.id, HttpResult(204), NOW + 15_000))
    (logs,) = [payload.number for payload in persist.payloads if payload.kind == "logs"]
    assert forget.numbers == (logs,)


def status(made: Worker, path: str, now: int) -> int:
    return made.handle(Request("GET", path), now).response.status


def test_while_nothing_can_be_written_nothing_is_accepted_and_readiness_says_so() -> None:
    made = worker()
    append = accepted(made)
    (notice,) = of(Notice, made.complete(append.id, FULL, NOW))
    assert (notice.level, dict(notice.fields)) == ("error", {"reason": "no space left"})
    assert status(made, "/ready", NOW) == 503
    assert status(made, "/health", NOW) == 200
    refused = made.handle(post(event(view_id="v2"), now=NOW), NOW).response
    assert refused.status == 503
    assert "Retry-After" in dict(refused.headers)


def test_not_even_a_duplicate_is_acknowledged_then() -> None:
    made = worker()
    append = accepted(made)
    made.complete(append.id, FULL, NOW)
    again = made.handle(post(event("viewstart", at=NOW, view_id="v1"), now=NOW), NOW)
    assert again.response.status == 503


def test_the_next_attempt_makes_good_what_was_not_written() -> None:
    made = worker()
    append = accepted(made)
    made.complete(append.id, FULL, NOW)
    assert made.next_poll() == NOW + 1_000
    effects = made.poll(NOW + 1_000)
    (persist,) = of(Persist, effects)
    assert [batch.digest for batch in persist.batches] == [append.record.digest]
    made.complete(persist.id, Stored(), NOW + 1_000)
    assert status(made, "/ready", NOW + 1_000) == 200
    again = made.handle(post(event("viewstart", at=NOW, view_id="v1"), now=NOW), NOW)
    assert (again.response.status, again.after) == (202, None)


def test_what_fits_only_into_the_reserve_does_not_end_a_failure() -> None:
    made = worker()
    made.complete(accepted(made).id, FULL, NOW)
    now = NOW
    for _ in range(3):
        now += 1_000
        (persist,) = of(Persist, made.poll(now))
        assert not of(Notice, made.complete(persist.id, Stored("no space left"), now))
        assert status(made, "/ready", now) == 503
        refused = made.handle(post(event(view_id="v2"), now=now), now)
        assert (refused.response.status, refused.after) == (503, None)
    now += 1_000
    (persist,) = of(Persist, made.poll(now))
    (notice,) = of(Notice, made.complete(persist.id, Stored(), now))
    assert notice.event == "storage works again"
    assert status(made, "/ready", now) == 200


def test_a_flush_that_leaves_no_room_for_the_journal_is_sent_and_no_batch_accepted() -> None:
    made = worker()
    accepted(made)
    persist = flushed(made, NOW + 15_000)
    effects = made.complete(persist.id, Stored("no space left"), NOW + 15_000)
    assert of(RemoteWrite, effects)
    assert [notice.level for notice in of(Notice, effects)] == ["error"]
    assert status(made, "/ready", NOW + 15_000) == 503


def test_a_flush_that_could_not_be_written_is_written_later_and_sent_once() -> None:
    made = worker()
    accepted(made)
    first = flushed(made, NOW + 15_000)
    assert not of(RemoteWrite, made.complete(first.id, FULL, NOW + 15_000))
    (second,) = of(Persist, made.poll(NOW + 16_000))
    kept = {payload.number for payload in second.payloads}
    assert {payload.number for payload in first.payloads} <= kept
    assert of(RemoteWrite, made.complete(second.id, Stored(), NOW + 16_000))


def resumed(persist: Persist, now: int, **settings: str) -> Worker:
    config = Config.from_environment({**DESTINATIONS, **settings})
    made = Worker.restore(config, b"".join(persist.snapshot), instance="p-0", durable=True)
    made.resume(persist.payloads, persist.batches, persist.through, 10, now)
    return made


def test_payloads_of_the_outbox_get_their_bodies_when_they_are_due() -> None:
    made = worker()
    accepted(made)
    persist = flushed(made, NOW + 15_000)
    again = resumed(persist, NOW + 20_000)
    loads = of(LoadPayload, again.poll(NOW + 20_000))
    bodies = {payload.number: payload.body for payload in persist.payloads}
    assert {load.number for load in loads} == {
        min(p.number for p in persist.payloads if p.kind == kind) for kind in ("metrics", "logs")
    }
    for load in loads:
        sent = again.complete(load.id, PayloadBody(bodies[load.number]), NOW + 20_000)
        assert bodies[load.number] in [
            e.body for e in sent if isinstance(e, RemoteWrite | LokiPush)
        ]


def test_what_has_waited_too_long_is_dropped_and_counted() -> None:
    made = worker()
    accepted(made)
    persist = flushed(made, NOW + 15_000)
    late = NOW + 4_000_000
    again = resumed(persist, late, OPENQOE_OUTBOX_MAX_AGE="3600", OPENQOE_FLUSH_INTERVAL="9999")
    effects = again.poll(late)
    assert not of(LoadPayload, effects)
    (forget, *more) = of(Forget, effects)
    numbers = {n for one in (forget, *more) for n in one.numbers}
    assert numbers == {payload.number for payload in persist.payloads}
    text = again.handle(Request("GET", "/metrics"), late).response.body.decode()
    assert 'openqoe_worker_dropped_total{destination="loki",reason="too_old"} 1' in text


def test_after_a_crash_the_journal_leads_to_the_same_state() -> None:
    made, again = worker(), worker()
    for number in range(5):
        again.replay(accepted(made, number, now=NOW + number).record)
    mine, others = decode(made.snapshot()), decode(again.snapshot())
    assert msgspec.to_builtins((mine.qoe, mine.meter)) == msgspec.to_builtins(
        (others.qoe, others.meter)
    )


def test_metrics_of_a_long_outage_are_thinned_to_the_newest_of_each_minute() -> None:
    made = worker(OPENQOE_OUTBOX_MAX_BYTES="20000", LOKI_URL="")
    accepted(made)
    now = NOW
    for _ in range(60):
        now += 15_000
        persist = flushed(made, now)
        made.complete(persist.id, Stored(), now)
        for request in of(RemoteWrite, made.poll(now)):
            made.complete(request.id, HttpResult(503), now)
    text = made.handle(Request("GET", "/metrics"), now).response.body.decode()
    assert 'reason="thinned"' in text
    waiting = Answer.of(made.handle(Request("GET", "/stats"), now).response).json["destinations"][0]
    assert waiting["bytes"] <= 20_000
