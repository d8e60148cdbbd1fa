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
from tests.support.event_builders import NOW, event, post
from tests.support.handling import complete, handle
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
    """Let a worker accept a batch; returns the effect that its answer waits for."""
    outcome = handle(made, post(event("viewstart", at=now, view_id=f"v{number}"), now=now), now)
    assert not outcome.answers, "answered before it was in the journal"
    (append,) = of(Append, outcome.effects)
    return append


def journalled(made: Worker, number: int = 1, *, now: int = NOW) -> Append:
    """Let a worker accept a batch and write its record."""
    append = accepted(made, number, now=now)
    assert complete(made, append.id, Stored(), now).response.status == 202
    return append


def flushed(made: Worker, now: int) -> Persist:
    effects = made.poll(now)
    while made.next_poll() == now:
        effects += made.poll(now)
    assert not of(RemoteWrite, effects), "sent before it was stored"
    (persist,) = of(Persist, effects)
    return persist


def again(number: int = 1, *, now: int = NOW) -> Request:
    """The request of ``accepted`` once more."""
    return post(event("viewstart", at=now, view_id=f"v{number}"), now=now)


def views(made: Worker) -> int:
    return int(Answer.of(handle(made, Request("GET", "/stats"), NOW).response).json["views"])


def test_answer_waits_until_the_record_is_written() -> None:
    made = worker()
    append = accepted(made)
    assert append.record.at == NOW
    assert b"viewstart" in append.record.body
    assert complete(made, append.id, Stored(), NOW).response.status == 202


def test_batch_is_applied_once_its_record_is_written() -> None:
    made = worker()
    append = accepted(made)
    assert views(made) == 0
    made.complete(append.id, Stored(), NOW)
    assert views(made) == 1


def test_batch_whose_record_cannot_be_written_has_no_effect_and_may_come_again() -> None:
    made = worker()
    append = accepted(made)
    failed = complete(made, append.id, FULL, NOW)
    assert failed.response.status == 503
    (persist,) = of(Persist, made.poll(NOW + 1_000))
    made.complete(persist.id, Stored(), NOW + 1_000)
    assert views(made) == 0
    retried = handle(made, again(), NOW + 1_000)
    (second,) = of(Append, retried.effects)
    assert second.record.number > append.record.number
    made.complete(second.id, Stored(), NOW + 1_000)
    assert views(made) == 1


def test_batches_are_applied_in_order_when_records_complete_out_of_order() -> None:
    made = worker()
    first, second = accepted(made, 1), accepted(made, 2)
    assert complete(made, second.id, Stored(), NOW).response.status == 202
    assert views(made) == 0
    made.complete(first.id, Stored(), NOW)
    assert views(made) == 2


def test_answer_to_a_duplicate_waits_for_the_same_record() -> None:
    made = worker()
    append = accepted(made)
    outcome = handle(made, again(), NOW)
    assert (outcome.answers, of(Append, outcome.effects)) == ({}, [])
    answers = complete(made, append.id, Stored(), NOW).answers
    assert [response.status for response in answers.values()] == [202, 202]
    assert handle(made, again(), NOW).response.status == 202


def keyed(view: str, key: str = "b-1", api_key: str = "") -> Request:
    headers = {"idempotency-key": key, **({"x-api-key": api_key} if api_key else {})}
    return post(event("viewstart", view_id=view), headers=headers, now=NOW)


def test_same_idempotency_key_with_the_same_body_is_a_duplicate() -> None:
    made = worker()
    (append,) = of(Append, handle(made, keyed("v1"), NOW).effects)
    made.complete(append.id, Stored(), NOW)
    again = handle(made, keyed("v1"), NOW)
    assert (again.response.status, of(Append, again.effects)) == (202, [])
    assert views(made) == 1


def test_same_idempotency_key_with_another_body_is_answered_422_and_counted() -> None:
    made = worker()
    (append,) = of(Append, handle(made, keyed("v1"), NOW).effects)
    made.complete(append.id, Stored(), NOW)
    answer = handle(made, keyed("v2"), NOW)
    assert (answer.response.status, of(Append, answer.effects)) == (422, [])
    assert views(made) == 1
    metrics = handle(made, Request("GET", "/metrics"), NOW).response.body.decode()
    assert 'batches_rejected_total{reason="idempotency_key"} 1' in metrics


def test_idempotency_key_belongs_to_its_api_key() -> None:
    made = worker(API_KEY="first,second")
    for number, api_key in enumerate(("first", "second"), 1):
        (append,) = of(Append, handle(made, keyed(f"v{number}", "b-1", api_key), NOW).effects)
        assert complete(made, append.id, Stored(), NOW).response.status == 202


def test_idempotency_key_is_checked_after_replay_of_the_journal() -> None:
    made = worker()
    (append,) = of(Append, handle(made, keyed("v1"), NOW).effects)
    restarted = worker()
    restarted.replay(append.record)
    assert handle(restarted, keyed("v1"), NOW).response.status == 202
    assert handle(restarted, keyed("v2"), NOW).response.status == 422


def test_persisted_deduplication_window_holds_the_pair_of_key_and_body() -> None:
    made = worker()
    (append,) = of(Append, handle(made, keyed("v1"), NOW).effects)
    made.complete(append.id, Stored(), NOW)
    persist = flushed(made, NOW + 15_000)
    restarted = worker()
    restarted.resume((), persist.accepted, 1, 0, NOW + 15_000)
    assert handle(restarted, keyed("v1"), NOW + 15_000).response.status == 202
    assert handle(restarted, keyed("v2"), NOW + 15_000).response.status == 422


def test_flush_is_sent_only_after_it_is_stored() -> None:
    made = worker()
    journalled(made)
    persist = flushed(made, NOW + 15_000)
    assert {payload.kind for payload in persist.payloads} == {"metrics", "logs"}
    assert persist.through == 1
    sent = made.complete(persist.id, Stored(), NOW + 15_000)
    assert of(RemoteWrite, sent)
    assert of(LokiPush, sent)


def test_delivered_payload_leaves_the_outbox() -> None:
    made = worker()
    journalled(made)
    persist = flushed(made, NOW + 15_000)
    (push,) = of(LokiPush, made.complete(persist.id, Stored(), NOW + 15_000))
    (forget,) = of(Forget, made.complete(push.id, HttpResult(204), NOW + 15_000))
    (logs,) = [payload.number for payload in persist.payloads if payload.kind == "logs"]
    assert forget.numbers == (logs,)


def status(made: Worker, path: str, now: int) -> int:
    return handle(made, Request("GET", path), now).response.status


def test_worker_is_not_ready_and_rejects_batches_while_storage_fails() -> None:
    made = worker()
    append = accepted(made)
    (notice,) = of(Notice, made.complete(append.id, FULL, NOW))
    assert (notice.level, dict(notice.fields)) == ("error", {"reason": "no space left"})
    assert status(made, "/ready", NOW) == 503
    assert status(made, "/health", NOW) == 200
    refused = handle(made, post(event(view_id="v2"), now=NOW), NOW).response
    assert refused.status == 503
    assert "Retry-After" in dict(refused.headers)


def test_duplicate_is_not_acknowledged_while_storage_fails() -> None:
    made = worker()
    append = accepted(made)
    made.complete(append.id, FULL, NOW)
    assert handle(made, again(), NOW).response.status == 503


def test_successful_checkpoint_ends_a_storage_failure() -> None:
    made = worker()
    journalled(made, 2)
    append = accepted(made)
    made.complete(append.id, FULL, NOW)
    assert made.next_poll() == NOW + 1_000
    (persist,) = of(Persist, made.poll(NOW + 1_000))
    assert len(persist.accepted) == 1
    made.complete(persist.id, Stored(), NOW + 1_000)
    assert status(made, "/ready", NOW + 1_000) == 200


def test_checkpoint_that_fits_only_into_the_reserve_does_not_end_a_storage_failure() -> None:
    made = worker()
    made.complete(accepted(made).id, FULL, NOW)
    now = NOW
    for _ in range(3):
        now += 1_000
        (persist,) = of(Persist, made.poll(now))
        assert not of(Notice, made.complete(persist.id, Stored("no space left"), now))
        assert status(made, "/ready", now) == 503
        refused = handle(made, post(event(view_id="v2"), now=now), now)
        assert refused.response.status == 503
    now += 1_000
    (persist,) = of(Persist, made.poll(now))
    (notice,) = of(Notice, made.complete(persist.id, Stored(), now))
    assert notice.event == "storage is available again"
    assert status(made, "/ready", now) == 200


def test_flush_that_leaves_no_room_for_the_journal_is_sent_and_batches_are_rejected() -> None:
    made = worker()
    journalled(made)
    persist = flushed(made, NOW + 15_000)
    effects = made.complete(persist.id, Stored("no space left"), NOW + 15_000)
    assert of(RemoteWrite, effects)
    assert [notice.level for notice in of(Notice, effects)] == ["error"]
    assert status(made, "/ready", NOW + 15_000) == 503


def test_flush_that_could_not_be_stored_is_stored_later_and_sent_once() -> None:
    made = worker()
    journalled(made)
    first = flushed(made, NOW + 15_000)
    assert not of(RemoteWrite, made.complete(first.id, FULL, NOW + 15_000))
    (second,) = of(Persist, made.poll(NOW + 16_000))
    kept = {payload.number for payload in second.payloads}
    assert {payload.number for payload in first.payloads} <= kept
    assert of(RemoteWrite, made.complete(second.id, Stored(), NOW + 16_000))


def resumed(persist: Persist, now: int, **settings: str) -> Worker:
    config = Config.from_environment({**DESTINATIONS, **settings})
    made = Worker(config, instance="p-0", durable=True)
    made.restore(b"".join(persist.snapshot))
    made.resume(persist.payloads, persist.accepted, persist.through, 10, now)
    return made


def test_payload_of_the_outbox_is_loaded_when_it_is_due() -> None:
    made = worker()
    journalled(made)
    persist = flushed(made, NOW + 15_000)
    later = resumed(persist, NOW + 20_000)
    loads = of(LoadPayload, later.poll(NOW + 20_000))
    bodies = {payload.number: payload.body for payload in persist.payloads}
    assert {load.number for load in loads} == {
        min(p.number for p in persist.payloads if p.kind == kind) for kind in ("metrics", "logs")
    }
    for load in loads:
        sent = later.complete(load.id, PayloadBody(bodies[load.number]), NOW + 20_000)
        assert bodies[load.number] in [
            e.body for e in sent if isinstance(e, RemoteWrite | LokiPush)
        ]


def test_payload_past_the_maximum_age_is_dropped_and_counted() -> None:
    made = worker()
    journalled(made)
    persist = flushed(made, NOW + 15_000)
    late = NOW + 4_000_000
    resumed_worker = resumed(
        persist, late, OPENQOE_OUTBOX_MAX_AGE="3600", OPENQOE_FLUSH_INTERVAL="9999"
    )
    effects = resumed_worker.poll(late)
    assert not of(LoadPayload, effects)
    (forget, *more) = of(Forget, effects)
    numbers = {n for one in (forget, *more) for n in one.numbers}
    assert numbers == {payload.number for payload in persist.payloads}
    text = handle(resumed_worker, Request("GET", "/metrics"), late).response.body.decode()
    assert 'openqoe_worker_dropped_total{destination="loki",reason="too_old"} 1' in text


def test_replayed_journal_leads_to_the_same_state() -> None:
    made, replayed = worker(), worker()
    for number in range(5):
        replayed.replay(journalled(made, number, now=NOW + number).record)
    mine, others = decode(made.snapshot()), decode(replayed.snapshot())
    assert msgspec.to_builtins((mine.qoe, mine.meter)) == msgspec.to_builtins(
        (others.qoe, others.meter)
    )


def test_metrics_of_a_long_outage_are_thinned_to_one_sample_a_minute() -> None:
    made = worker(OPENQOE_OUTBOX_MAX_BYTES="20000", LOKI_URL="")
    journalled(made)
    now = NOW
    for _ in range(60):
        now += 15_000
        persist = flushed(made, now)
        made.complete(persist.id, Stored(), now)
        for request in of(RemoteWrite, made.poll(now)):
            made.complete(request.id, HttpResult(503), now)
    text = handle(made, Request("GET", "/metrics"), now).response.body.decode()
    assert 'reason="thinned"' in text
    stats = Answer.of(handle(made, Request("GET", "/stats"), now).response).json
    waiting = stats["destinations"][0]
    assert waiting["bytes"] <= 20_000
