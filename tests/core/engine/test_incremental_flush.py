"""Incremental flushes: made in steps, they still capture the state of one moment."""

import dataclasses
import uuid
from itertools import pairwise

from openqoe.core import Worker
from openqoe.core.effects import Append, KvResult, KvUpdate, Persist, Stored
from openqoe.core.engine.snapshot import decode
from tests.core.engine.durable_worker import (
    BUSY_VIEWS,
    DISK_FULL,
    NEXT_FLUSH,
    accept_batch,
    effects_of,
    journal_batch,
    journal_events,
    make_busy_worker,
    make_worker,
)
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.memory_store import MemoryStore
from tests.support.rig import FLUSH


def complete_flush(worker: Worker, now: int = NEXT_FLUSH) -> tuple[Persist, int]:
    """Complete a flush; returns what it stores, and the number of calls."""
    for calls in range(1, 10_000):
        for persist in effects_of(Persist, worker.poll(now)):
            return persist, calls
        due = worker.next_poll()
        assert due is not None
        assert due <= now, "a flush under way must be due at once"
    raise AssertionError("the flush does not end")


def count_views(persist: Persist) -> int:
    """Return the number of views in a snapshot."""
    return len(decode(b"".join(persist.snapshot)).recorder.views.views)


def test_call_does_no_more_work_than_its_budget() -> None:
    _, calls = complete_flush(make_busy_worker(budget=10))
    series_and_views = 3 * BUSY_VIEWS
    assert calls >= series_and_views / 10
    _, calls = complete_flush(make_busy_worker(budget=1_000_000))
    assert calls == 1


def test_new_series_need_more_calls_than_known_ones_because_their_labels_are_encoded() -> None:
    worker = make_busy_worker(budget=10)
    first, calls = complete_flush(worker)
    worker.complete(first.id, Stored(), NEXT_FLUSH)
    while worker.next_poll() == NEXT_FLUSH:
        worker.poll(NEXT_FLUSH)
    _, calls_then = complete_flush(worker, NEXT_FLUSH + FLUSH)
    assert calls - calls_then >= 2 * BUSY_VIEWS / 10


def test_flush_in_steps_stores_the_same_bytes_as_a_flush_at_once() -> None:
    in_steps, _ = complete_flush(make_busy_worker(budget=1))
    at_once, _ = complete_flush(make_busy_worker(budget=1_000_000))
    assert dataclasses.replace(in_steps, id=at_once.id) == at_once


def test_snapshot_of_many_views_comes_in_pieces_of_bounded_size() -> None:
    worker = make_busy_worker(budget=1_000_000)
    ids = [uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for n in range(5_000)]
    for first in range(0, len(ids), 500):
        some = ids[first : first + 500]
        journal_events(worker, *(event("heartbeat", at=NOW, view_id=str(each)) for each in some))
    persist, _ = complete_flush(worker)
    sizes = [len(piece) for piece in persist.snapshot]
    assert sum(sizes) > 4 * max(sizes)
    assert max(sizes) <= 64 * 1024
    assert min(sizes) > 0
    assert count_views(persist) == BUSY_VIEWS + len(ids)


def test_batch_that_arrives_during_a_flush_is_not_part_of_it() -> None:
    worker = make_busy_worker()
    worker.poll(NEXT_FLUSH)
    append = accept_batch(worker, now=NEXT_FLUSH)
    persist, _ = complete_flush(worker)
    assert count_views(persist) == BUSY_VIEWS
    assert append.record.number == persist.through + 1
    worker.complete(append.id, Stored(), NEXT_FLUSH)
    worker.complete(persist.id, Stored(), NEXT_FLUSH)
    worker.poll(NEXT_FLUSH)
    assert len(decode(worker.snapshot()).recorder.views.views) == BUSY_VIEWS + 1


def test_batches_that_arrive_during_a_flush_are_applied_in_order() -> None:
    worker = make_busy_worker()
    worker.poll(NEXT_FLUSH)
    for number in range(30):
        journal_batch(worker, number, now=NEXT_FLUSH)
    persist, _ = complete_flush(worker)
    worker.complete(persist.id, Stored(), NEXT_FLUSH)
    for number in range(30, 40):
        journal_batch(worker, number, now=NEXT_FLUSH)
    while worker.next_poll() == NEXT_FLUSH:
        worker.poll(NEXT_FLUSH)
    names = [saved.key.view_id for _, saved in decode(worker.snapshot()).recorder.views.views]
    assert names[BUSY_VIEWS:] == [f"v{number}" for number in range(40)]


def test_batch_that_cannot_be_written_during_a_flush_has_no_effect() -> None:
    worker = make_busy_worker()
    worker.poll(NEXT_FLUSH)
    append = accept_batch(worker, now=NEXT_FLUSH)
    worker.complete(append.id, DISK_FULL, NEXT_FLUSH)
    persist, _ = complete_flush(worker)
    assert count_views(persist) == BUSY_VIEWS
    worker.complete(persist.id, Stored(), NEXT_FLUSH)
    assert accept_batch(worker, now=NEXT_FLUSH).record.number > append.record.number


def test_last_flush_waits_for_a_record_that_is_being_written() -> None:
    worker = make_busy_worker()
    append = accept_batch(worker, now=NOW)
    assert not effects_of(Persist, worker.close(NOW, 10_000))
    assert not worker.drained
    (persist,) = effects_of(Persist, worker.complete(append.id, Stored(), NOW))
    assert persist.through == append.record.number
    assert count_views(persist) == BUSY_VIEWS + 1


def test_last_flush_does_not_wait_for_a_disk_that_hangs() -> None:
    worker = make_busy_worker()
    append = accept_batch(worker, now=NOW)
    worker.close(NOW, 10_000)
    assert worker.next_poll() == NOW + 5_000
    (persist,) = effects_of(Persist, worker.poll(NOW + 5_000))
    assert persist.through == append.record.number - 1


def test_arriving_batches_advance_the_flush() -> None:
    worker = make_busy_worker()
    worker.poll(NEXT_FLUSH)
    for number in range(500):
        append = accept_batch(worker, number, now=NEXT_FLUSH)
        if effects_of(Persist, worker.complete(append.id, Stored(), NEXT_FLUSH)):
            return
    raise AssertionError("batches do not advance the flush")


def test_waiting_batches_shrink_although_each_arrival_applies_only_a_little() -> None:
    worker = make_busy_worker(budget=500)
    queue = worker._components.queue
    queue.is_held = True
    waited = []
    for number in range(1_000, 1_400):
        if number == 1_100:
            queue.is_held = False
        data = {"n": f"{number:1000}"}
        beats = [event(at=NEXT_FLUSH + n, view_id=f"v-{n}", data=data) for n in range(4)]
        request = post(*beats, now=NEXT_FLUSH)
        (append,) = effects_of(Append, handle(worker, request, NEXT_FLUSH).effects)
        worker.complete(append.id, Stored(), NEXT_FLUSH)
        waited.append(queue.bytes / len(request.body))
    assert max(waited) == 100
    assert waited[-1] == 0
    # An arrival applies at most one batch more than its own, because a client waits for it.
    assert min(after - before for before, after in pairwise(waited)) >= -1


def test_clock_that_is_set_back_does_not_stop_a_flush() -> None:
    worker = make_busy_worker()
    worker.poll(NEXT_FLUSH)
    worker.poll(NOW - 1_000)
    due = worker.next_poll()
    assert due is not None
    assert due <= NOW - 1_000


def test_close_completes_the_flush_under_way_before_the_last_one() -> None:
    worker = make_busy_worker()
    worker.poll(NEXT_FLUSH)
    journal_batch(worker, now=NEXT_FLUSH)
    (persist,) = effects_of(Persist, worker.close(NEXT_FLUSH))
    assert not worker.drained
    (last,) = effects_of(Persist, worker.complete(persist.id, Stored(), NEXT_FLUSH))
    assert last.through == BUSY_VIEWS + 1


def test_flush_without_a_disk_is_made_in_steps_as_well() -> None:
    worker = make_busy_worker(durable=False)
    worker.poll(NEXT_FLUSH)
    assert worker.next_poll() == NEXT_FLUSH
    for _ in range(1_000):
        if worker.poll(NEXT_FLUSH):
            return
    raise AssertionError("nothing was sent")


def test_batch_claimed_after_a_failed_last_flush_is_flushed_as_well() -> None:
    worker = make_worker(shared=True)
    append = accept_batch(worker)
    (update,) = effects_of(KvUpdate, worker.complete(append.id, Stored(), NOW))
    worker.close(NOW, 2_000)
    (persist,) = effects_of(Persist, worker.poll(NOW + 1_000))
    assert persist.through == 0
    worker.complete(persist.id, DISK_FULL, NOW + 1_000)
    replies = MemoryStore(lambda: NOW).run(update.operations)
    worker.complete(update.id, KvResult(replies), NOW + 1_000)
    (again,) = effects_of(Persist, worker.poll(NOW + 2_000))
    assert again.through == 1
    effects = worker.complete(again.id, Stored(), NOW + 2_000)
    assert effects_of(Persist, effects), (
        "the batch is counted and out of the journal, but never sent"
    )
