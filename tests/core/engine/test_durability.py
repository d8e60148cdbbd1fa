"""Durability: an acknowledged batch survives a crash, and a flush is stored before it is sent."""

import msgspec
import pytest

from openqoe.core import Config, Worker
from openqoe.core.effects import (
    Append,
    Forget,
    HttpResult,
    LoadPayload,
    LokiPush,
    Notice,
    PayloadBody,
    Persist,
    RemoteWrite,
    Stored,
)
from openqoe.core.engine import checkpoint
from openqoe.core.engine.snapshot import decode
from openqoe.core.http.messages import Request
from tests.core.api.worker_client import Answer
from tests.core.engine.durable_worker import (
    DISK_FULL,
    accept_batch,
    effects_of,
    journal_batch,
    make_batch,
    make_worker,
)
from tests.support.event_builders import NOW, event, post
from tests.support.handling import complete, handle
from tests.support.rig import DESTINATIONS


def begin_flush(worker: Worker, now: int) -> Persist:
    """Let a worker flush until it stores the flush."""
    effects = worker.poll(now)
    while worker.next_poll() == now:
        effects += worker.poll(now)
    assert not effects_of(RemoteWrite, effects), "sent before it was stored"
    (persist,) = effects_of(Persist, effects)
    return persist


def count_views(worker: Worker) -> int:
    return int(Answer.of(handle(worker, Request("GET", "/stats"), NOW).response).json["views"])


def get_status(worker: Worker, path: str, now: int) -> int:
    return handle(worker, Request("GET", path), now).response.status


def resume_worker(persist: Persist, now: int, **settings: str) -> Worker:
    """Create the worker that starts from a stored flush."""
    config = Config.from_environment({**DESTINATIONS, **settings})
    worker = Worker(config, instance="p-0", durable=True)
    worker.restore(b"".join(persist.snapshot))
    worker.resume(persist.payloads, persist.accepted, persist.through, 10, now)
    return worker


def test_answer_waits_until_the_record_is_written() -> None:
    worker = make_worker()
    append = accept_batch(worker)
    assert append.record.at == NOW
    assert b"viewstart" in append.record.body
    assert complete(worker, append.id, Stored(), NOW).response.status == 202


def test_batch_is_applied_once_its_record_is_written() -> None:
    worker = make_worker()
    append = accept_batch(worker)
    assert count_views(worker) == 0
    worker.complete(append.id, Stored(), NOW)
    assert count_views(worker) == 1


def test_batch_whose_record_cannot_be_written_has_no_effect_and_may_come_again() -> None:
    worker = make_worker()
    append = accept_batch(worker)
    failed = complete(worker, append.id, DISK_FULL, NOW)
    assert failed.response.status == 503
    (persist,) = effects_of(Persist, worker.poll(NOW + 1_000))
    worker.complete(persist.id, Stored(), NOW + 1_000)
    assert count_views(worker) == 0
    retried = handle(worker, make_batch(), NOW + 1_000)
    (second,) = effects_of(Append, retried.effects)
    assert second.record.number > append.record.number
    worker.complete(second.id, Stored(), NOW + 1_000)
    assert count_views(worker) == 1


def test_batches_are_applied_in_order_when_records_complete_out_of_order() -> None:
    worker = make_worker()
    first, second = accept_batch(worker, 1), accept_batch(worker, 2)
    assert complete(worker, second.id, Stored(), NOW).response.status == 202
    assert count_views(worker) == 0
    worker.complete(first.id, Stored(), NOW)
    assert count_views(worker) == 2


def test_answer_to_a_duplicate_waits_for_the_same_record() -> None:
    worker = make_worker()
    append = accept_batch(worker)
    outcome = handle(worker, make_batch(), NOW)
    assert (outcome.answers, effects_of(Append, outcome.effects)) == ({}, [])
    answers = complete(worker, append.id, Stored(), NOW).answers
    assert [response.status for response in answers.values()] == [202, 202]
    assert handle(worker, make_batch(), NOW).response.status == 202


def test_duplicate_of_a_batch_journalled_out_of_order_is_answered_at_once() -> None:
    worker = make_worker()
    accept_batch(worker, 1)
    second = accept_batch(worker, 2)
    worker.complete(second.id, Stored(), NOW)  # waits for the first to be applied
    assert handle(worker, make_batch(2), NOW).response.status == 202


def test_flush_that_fails_by_a_fault_is_reported_and_made_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = make_worker()
    journal_batch(worker)
    with monkeypatch.context() as broken:
        broken.setattr(checkpoint, "capture", lambda *args: iter([1 / 0]))
        effects = worker.poll(NOW + 15_000)
        while worker.next_poll() == NOW + 15_000:
            effects += worker.poll(NOW + 15_000)
    events = [notice.event for notice in effects_of(Notice, effects)]
    assert events == ["flush failed", "storage failed; rejecting batches"]
    assert get_status(worker, "/ready", NOW + 15_000) == 503
    persist = begin_flush(worker, NOW + 16_000)
    assert effects_of(RemoteWrite, worker.complete(persist.id, Stored(), NOW + 16_000))
    assert get_status(worker, "/ready", NOW + 16_000) == 200
    journal_batch(worker, 2, now=NOW + 16_000)


def keyed(view: str, key: str = "b-1", api_key: str = "") -> Request:
    headers = {"idempotency-key": key, **({"x-api-key": api_key} if api_key else {})}
    return post(event("viewstart", view_id=view), headers=headers, now=NOW)


def test_same_idempotency_key_with_the_same_body_is_a_duplicate() -> None:
    worker = make_worker()
    (append,) = effects_of(Append, handle(worker, keyed("v1"), NOW).effects)
    worker.complete(append.id, Stored(), NOW)
    again = handle(worker, keyed("v1"), NOW)
    assert (again.response.status, effects_of(Append, again.effects)) == (202, [])
    assert count_views(worker) == 1


def test_same_idempotency_key_with_another_body_is_answered_422_and_counted() -> None:
    worker = make_worker()
    (append,) = effects_of(Append, handle(worker, keyed("v1"), NOW).effects)
    worker.complete(append.id, Stored(), NOW)
    answer = handle(worker, keyed("v2"), NOW)
    assert (answer.response.status, effects_of(Append, answer.effects)) == (422, [])
    assert count_views(worker) == 1
    metrics = handle(worker, Request("GET", "/metrics"), NOW).response.body.decode()
    assert 'batches_rejected_total{reason="idempotency_key"} 1' in metrics


def test_idempotency_key_belongs_to_its_api_key() -> None:
    worker = make_worker(API_KEY="first,second")
    for number, api_key in enumerate(("first", "second"), 1):
        request = keyed(f"v{number}", "b-1", api_key)
        (append,) = effects_of(Append, handle(worker, request, NOW).effects)
        assert complete(worker, append.id, Stored(), NOW).response.status == 202


def test_idempotency_key_is_checked_after_replay_of_the_journal() -> None:
    worker = make_worker()
    (append,) = effects_of(Append, handle(worker, keyed("v1"), NOW).effects)
    restarted = make_worker()
    restarted.replay(append.record)
    assert handle(restarted, keyed("v1"), NOW).response.status == 202
    assert handle(restarted, keyed("v2"), NOW).response.status == 422


def test_persisted_deduplication_window_holds_the_pair_of_key_and_body() -> None:
    worker = make_worker()
    (append,) = effects_of(Append, handle(worker, keyed("v1"), NOW).effects)
    worker.complete(append.id, Stored(), NOW)
    persist = begin_flush(worker, NOW + 15_000)
    restarted = make_worker()
    restarted.resume((), persist.accepted, 1, 0, NOW + 15_000)
    assert handle(restarted, keyed("v1"), NOW + 15_000).response.status == 202
    assert handle(restarted, keyed("v2"), NOW + 15_000).response.status == 422


def test_flush_is_sent_only_after_it_is_stored() -> None:
    worker = make_worker()
    journal_batch(worker)
    persist = begin_flush(worker, NOW + 15_000)
    assert {payload.kind for payload in persist.payloads} == {"metrics", "logs"}
    assert persist.through == 1
    sent = worker.complete(persist.id, Stored(), NOW + 15_000)
    assert effects_of(RemoteWrite, sent)
    assert effects_of(LokiPush, sent)


def test_delivered_payload_leaves_the_outbox() -> None:
    worker = make_worker()
    journal_batch(worker)
    persist = begin_flush(worker, NOW + 15_000)
    (push,) = effects_of(LokiPush, worker.complete(persist.id, Stored(), NOW + 15_000))
    (forget,) = effects_of(Forget, worker.complete(push.id, HttpResult(204), NOW + 15_000))
    (logs,) = [payload.number for payload in persist.payloads if payload.kind == "logs"]
    assert forget.numbers == (logs,)


def test_worker_is_not_ready_and_rejects_batches_while_storage_fails() -> None:
    worker = make_worker()
    append = accept_batch(worker)
    (notice,) = effects_of(Notice, worker.complete(append.id, DISK_FULL, NOW))
    assert (notice.level, dict(notice.fields)) == ("error", {"reason": "no space left"})
    assert get_status(worker, "/ready", NOW) == 503
    assert get_status(worker, "/health", NOW) == 200
    refused = handle(worker, post(event(view_id="v2"), now=NOW), NOW).response
    assert refused.status == 503
    assert "Retry-After" in dict(refused.headers)


def test_duplicate_is_not_acknowledged_while_storage_fails() -> None:
    worker = make_worker()
    append = accept_batch(worker)
    worker.complete(append.id, DISK_FULL, NOW)
    assert handle(worker, make_batch(), NOW).response.status == 503


def test_successful_checkpoint_ends_a_storage_failure() -> None:
    worker = make_worker()
    journal_batch(worker, 2)
    append = accept_batch(worker)
    worker.complete(append.id, DISK_FULL, NOW)
    assert worker.next_poll() == NOW + 1_000
    (persist,) = effects_of(Persist, worker.poll(NOW + 1_000))
    assert len(persist.accepted) == 1
    worker.complete(persist.id, Stored(), NOW + 1_000)
    assert get_status(worker, "/ready", NOW + 1_000) == 200


def test_checkpoint_that_fits_only_into_the_reserve_does_not_end_a_storage_failure() -> None:
    worker = make_worker()
    worker.complete(accept_batch(worker).id, DISK_FULL, NOW)
    now = NOW
    for _ in range(3):
        now += 1_000
        (persist,) = effects_of(Persist, worker.poll(now))
        assert not effects_of(Notice, worker.complete(persist.id, Stored("no space left"), now))
        assert get_status(worker, "/ready", now) == 503
        refused = handle(worker, post(event(view_id="v2"), now=now), now)
        assert refused.response.status == 503
    now += 1_000
    (persist,) = effects_of(Persist, worker.poll(now))
    (notice,) = effects_of(Notice, worker.complete(persist.id, Stored(), now))
    assert notice.event == "storage is available again"
    assert get_status(worker, "/ready", now) == 200


def test_flush_that_leaves_no_room_for_the_journal_is_sent_and_batches_are_rejected() -> None:
    worker = make_worker()
    journal_batch(worker)
    persist = begin_flush(worker, NOW + 15_000)
    effects = worker.complete(persist.id, Stored("no space left"), NOW + 15_000)
    assert effects_of(RemoteWrite, effects)
    assert [notice.level for notice in effects_of(Notice, effects)] == ["error"]
    assert get_status(worker, "/ready", NOW + 15_000) == 503


def test_flush_that_could_not_be_stored_is_stored_later_and_sent_once() -> None:
    worker = make_worker()
    journal_batch(worker)
    first = begin_flush(worker, NOW + 15_000)
    assert not effects_of(RemoteWrite, worker.complete(first.id, DISK_FULL, NOW + 15_000))
    (second,) = effects_of(Persist, worker.poll(NOW + 16_000))
    numbers = {payload.number for payload in second.payloads}
    assert {payload.number for payload in first.payloads} <= numbers
    assert effects_of(RemoteWrite, worker.complete(second.id, Stored(), NOW + 16_000))


def test_payload_of_the_outbox_is_loaded_when_it_is_due() -> None:
    worker = make_worker()
    journal_batch(worker)
    persist = begin_flush(worker, NOW + 15_000)
    later = resume_worker(persist, NOW + 20_000)
    loads = effects_of(LoadPayload, later.poll(NOW + 20_000))
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
    worker = make_worker()
    journal_batch(worker)
    persist = begin_flush(worker, NOW + 15_000)
    late = NOW + 4_000_000
    resumed = resume_worker(
        persist, late, OPENQOE_OUTBOX_MAX_AGE="3600", OPENQOE_FLUSH_INTERVAL="9999"
    )
    effects = resumed.poll(late)
    assert not effects_of(LoadPayload, effects)
    (forget, *more) = effects_of(Forget, effects)
    numbers = {n for one in (forget, *more) for n in one.numbers}
    assert numbers == {payload.number for payload in persist.payloads}
    text = handle(resumed, Request("GET", "/metrics"), late).response.body.decode()
    assert 'openqoe_worker_dropped_total{destination="loki",reason="too_old"} 1' in text


def test_replayed_journal_leads_to_the_same_state() -> None:
    worker, replayed = make_worker(), make_worker()
    for number in range(5):
        replayed.replay(journal_batch(worker, number, now=NOW + number).record)
    mine, others = decode(worker.snapshot()), decode(replayed.snapshot())
    assert msgspec.to_builtins((mine.qoe, mine.recorder)) == msgspec.to_builtins(
        (others.qoe, others.recorder)
    )


def test_metrics_of_a_long_outage_are_thinned_to_one_sample_a_minute() -> None:
    worker = make_worker(OPENQOE_OUTBOX_MAX_BYTES="20000", LOKI_URL="")
    journal_batch(worker)
    now = NOW
    for _ in range(60):
        now += 15_000
        persist = begin_flush(worker, now)
        worker.complete(persist.id, Stored(), now)
        for request in effects_of(RemoteWrite, worker.poll(now)):
            worker.complete(request.id, HttpResult(503), now)
    text = handle(worker, Request("GET", "/metrics"), now).response.body.decode()
    assert 'reason="thinned"' in text
    stats = Answer.of(handle(worker, Request("GET", "/stats"), now).response).json
    waiting = stats["destinations"][0]
    assert waiting["bytes"] <= 20_000
