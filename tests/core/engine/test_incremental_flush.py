"""Flushes of many series are made in steps, and capture the state of one moment all the same."""

import dataclasses
import uuid
from itertools import pairwise
from typing import Any

from openqoe.core import Config, Worker
from openqoe.core.effects import Append, KvResult, KvUpdate, Persist, StorageFailure, Stored
from openqoe.core.engine.snapshot import decode
from tests.core.engine.test_durability import accepted, journalled, of
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.memory_store import MemoryStore
from tests.support.rig import DESTINATIONS, FLUSH

THEN = NOW + FLUSH
VIEWS = 40
FULL = StorageFailure("no space left", full=True)


def busy(budget: int = 10, *, durable: bool = True, **settings: str) -> Worker:
    """A worker with some views, each with series of its own, that has begun its flush."""
    config = Config.from_environment({**DESTINATIONS, "OPENQOE_FLUSH_INTERVAL": "15", **settings})
    made = Worker(config, instance="p-0", durable=durable, budget=budget)
    made.poll(NOW)
    for number in range(VIEWS):
        accepted_all(
            made, event("heartbeat", at=NOW, view_id=f"v-{number}", player_id=f"p-{number}")
        )
    return made


def accepted_all(made: Worker, *events: dict[str, Any]) -> None:
    """Let a worker accept a batch and write its record."""
    for effect in of(Append, handle(made, post(*events, now=NOW), NOW).effects):
        made.complete(effect.id, Stored(), NOW)


def ended(made: Worker, now: int = THEN) -> tuple[Persist, int]:
    """The flush goes on to its end; returns what it stores, and how many calls it took."""
    for calls in range(1, 10_000):
        for persist in of(Persist, made.poll(now)):
            return persist, calls
        due = made.next_poll()
        assert due is not None
        assert due <= now, "it has to be called again at once"
    raise AssertionError("it never ends")


def views(persist: Persist) -> int:
    """How many views the snapshot holds."""
    return len(decode(b"".join(persist.snapshot)).recorder.views.views)


def test_no_call_does_more_than_its_budget() -> None:
    _, calls = ended(busy(budget=10))
    series_and_views = 3 * VIEWS
    assert calls >= series_and_views / 10
    _, calls = ended(busy(budget=1_000_000))
    assert calls == 1


def test_new_series_need_more_calls_than_known_ones_because_their_labels_are_encoded() -> None:
    made = busy(budget=10)
    first, calls = ended(made)
    made.complete(first.id, Stored(), THEN)
    while made.next_poll() == THEN:
        made.poll(THEN)
    _, calls_then = ended(made, THEN + FLUSH)
    assert calls - calls_then >= 2 * VIEWS / 10


def test_flush_in_steps_stores_the_same_bytes_as_a_flush_at_once() -> None:
    in_parts, _ = ended(busy(budget=1))
    at_once, _ = ended(busy(budget=1_000_000))
    assert dataclasses.replace(in_parts, id=at_once.id) == at_once


def test_snapshot_of_many_views_comes_in_pieces_of_bounded_size() -> None:
    made = busy(budget=1_000_000)
    ids = [uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128) for n in range(5_000)]
    for first in range(0, len(ids), 500):
        some = ids[first : first + 500]
        accepted_all(made, *(event("heartbeat", at=NOW, view_id=str(one)) for one in some))
    persist, _ = ended(made)
    sizes = [len(piece) for piece in persist.snapshot]
    assert sum(sizes) > 4 * max(sizes)
    assert max(sizes) <= 64 * 1024
    assert min(sizes) > 0
    assert views(persist) == VIEWS + len(ids)


def test_batch_that_arrives_during_a_flush_is_not_part_of_it() -> None:
    made = busy()
    made.poll(THEN)
    append = accepted(made, now=THEN)
    persist, _ = ended(made)
    assert views(persist) == VIEWS
    assert append.record.number == persist.through + 1
    made.complete(append.id, Stored(), THEN)
    made.complete(persist.id, Stored(), THEN)
    made.poll(THEN)
    assert len(decode(made.snapshot()).recorder.views.views) == VIEWS + 1


def test_batches_are_applied_in_the_order_of_their_arrival() -> None:
    made = busy()
    made.poll(THEN)
    for number in range(30):
        journalled(made, number, now=THEN)
    persist, _ = ended(made)
    made.complete(persist.id, Stored(), THEN)
    for number in range(30, 40):
        journalled(made, number, now=THEN)
    while made.next_poll() == THEN:
        made.poll(THEN)
    names = [saved.key.view_id for _, saved in decode(made.snapshot()).recorder.views.views]
    assert names[VIEWS:] == [f"v{number}" for number in range(40)]


def test_batch_that_cannot_be_written_during_a_flush_has_no_effect() -> None:
    made = busy()
    made.poll(THEN)
    append = accepted(made, now=THEN)
    made.complete(append.id, FULL, THEN)
    persist, _ = ended(made)
    assert views(persist) == VIEWS
    made.complete(persist.id, Stored(), THEN)
    assert accepted(made, now=THEN).record.number > append.record.number


def test_last_flush_waits_for_a_record_that_is_being_written() -> None:
    made = busy()
    append = accepted(made, now=NOW)
    assert not of(Persist, made.close(NOW, 10_000))
    assert not made.drained
    (persist,) = of(Persist, made.complete(append.id, Stored(), NOW))
    assert persist.through == append.record.number
    assert views(persist) == VIEWS + 1


def test_last_flush_does_not_wait_for_a_disk_that_hangs() -> None:
    made = busy()
    append = accepted(made, now=NOW)
    made.close(NOW, 10_000)
    assert made.next_poll() == NOW + 5_000
    (persist,) = of(Persist, made.poll(NOW + 5_000))
    assert persist.through == append.record.number - 1


def test_arriving_batches_advance_the_flush() -> None:
    made = busy()
    made.poll(THEN)
    for number in range(500):
        append = accepted(made, number, now=THEN)
        if of(Persist, made.complete(append.id, Stored(), THEN)):
            return
    raise AssertionError("batches come faster than it gets on")


def test_waiting_batches_shrink_although_each_arrival_applies_only_a_little() -> None:
    made = busy(budget=500)
    queue = made._components.queue
    queue.is_held = True
    waited = []
    for number in range(1_000, 1_400):
        if number == 1_100:
            queue.is_held = False
        data = {"n": f"{number:1000}"}
        beats = [event(at=THEN + n, view_id=f"v-{n}", data=data) for n in range(4)]
        request = post(*beats, now=THEN)
        (append,) = of(Append, handle(made, request, THEN).effects)
        made.complete(append.id, Stored(), THEN)
        waited.append(queue.bytes / len(request.body))
    assert max(waited) == 100
    assert waited[-1] == 0
    # As much as it brings, or one batch more: a client waits for it.
    assert min(after - before for before, after in pairwise(waited)) >= -1


def test_clock_that_is_set_back_does_not_stop_a_flush() -> None:
    made = busy()
    made.poll(THEN)
    made.poll(NOW - 1_000)
    due = made.next_poll()
    assert due is not None
    assert due <= NOW - 1_000


def test_last_flush_completes_the_one_under_way() -> None:
    made = busy()
    made.poll(THEN)
    journalled(made, now=THEN)
    (persist,) = of(Persist, made.close(THEN))
    assert not made.drained
    (last,) = of(Persist, made.complete(persist.id, Stored(), THEN))
    assert last.through == VIEWS + 1


def test_flush_without_a_disk_is_made_in_steps_as_well() -> None:
    made = busy(durable=False)
    made.poll(THEN)
    assert made.next_poll() == THEN
    for _ in range(1_000):
        if made.poll(THEN):
            return
    raise AssertionError("nothing is sent")


def test_batch_claimed_after_a_failed_last_flush_is_flushed_as_well() -> None:
    config = Config.from_environment({**DESTINATIONS, "OPENQOE_FLUSH_INTERVAL": "15"})
    made = Worker(config, instance="p-0", durable=True, shared=True)
    made.poll(NOW)
    append = accepted(made)
    (update,) = of(KvUpdate, made.complete(append.id, Stored(), NOW))
    made.close(NOW, 2_000)
    (persist,) = of(Persist, made.poll(NOW + 1_000))
    assert persist.through == 0
    made.complete(persist.id, FULL, NOW + 1_000)
    replies = MemoryStore(lambda: NOW).run(update.operations)
    made.complete(update.id, KvResult(replies), NOW + 1_000)
    (again,) = of(Persist, made.poll(NOW + 2_000))
    assert again.through == 1
    effects = made.complete(again.id, Stored(), NOW + 2_000)
    assert of(Persist, effects), "counted, out of the journal, and never sent"
