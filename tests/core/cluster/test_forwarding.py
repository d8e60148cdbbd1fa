"""Batches with views of other workers are forwarded: they gather, wait and leave in order."""

from openqoe.core.cluster.forwarding import GATHERING_TIME
from openqoe.core.effects import Append, Forward, NetworkFailure, Respond, StorageFailure, Stored
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from tests.core.cluster.test_partition import name_view, view_events
from tests.core.engine.durable_worker import effects_of
from tests.support.event_builders import NOW, post
from tests.support.fleet import Fleet
from tests.support.rig import SECOND, player_event

# Owners that are away


def test_batches_for_a_dead_owner_wait_and_are_counted_once_it_is_back() -> None:
    fleet = Fleet(2, partitioned=True)
    fleet.stop(1)
    for second in range(0, 60, 10):
        fleet.post(0, *view_events(name_view(1, 2), second))
        fleet.pass_time(10 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 0
    assert b'destination="slot-1"' in fleet.handle(0, Request("GET", "/metrics")).body
    fleet.stop(0)  # with batches in its outbox and its journal
    fleet.start(0)
    fleet.start(1)
    fleet.pass_time(30 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 12
    assert fleet.receiver.total("openqoe_views_loaded_total") == 1
    assert fleet.receiver.total("openqoe_worker_dropped_total", destination="slot-1") == 0


def test_full_queue_of_an_owner_refuses_its_batches_only() -> None:
    fleet = Fleet(2, partitioned=True, OPENQOE_OUTBOX_MAX_BYTES="1048576")
    fleet.stop(1)
    filler = "x" * 2_000
    number = 0
    while number < 1_000:
        padded = [player_event(0, "playing", 0.0, view=name_view(1, 2), title=filler)] * 4
        padded.append(player_event(number, "heartbeat", 0.0, view=name_view(1, 2)))
        if fleet.handle(0, post(*padded, now=fleet.now)).status == 503:
            break
        number += 1
        fleet.pass_time(SECOND)
    assert 50 < number < 1_000
    fleet.post(0, *view_events(name_view(0, 2)))
    fleet.start(1)
    fleet.pass_time(5 * SECOND)
    fleet.post(0, *view_events(name_view(1, 2)))
    fleet.pass_time(30 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 5 * number + 4


# One worker


def make_owner() -> Worker:
    fleet = Fleet(2, partitioned=True)
    return fleet.workers[1]


def forward(worker: Worker) -> Forward:
    """The effect with which a worker forwards a batch whose owner did not take the request."""
    request = post(*view_events(name_view(1, 2)), now=NOW)
    (relay,) = effects_of(Forward, worker.handle(1, request, NOW))
    (append,) = effects_of(Append, worker.complete(relay.id, NetworkFailure("refused"), NOW))
    effects = worker.complete(append.id, Stored(), NOW)
    (answer,) = effects_of(Respond, effects)
    assert answer.response.status == 202
    assert effects_of(Forward, effects) == []  # batches gather for a moment
    due = worker.next_poll()
    assert due is not None
    assert NOW < due <= NOW + GATHERING_TIME
    (found,) = effects_of(Forward, worker.poll(due))
    return found


def test_batch_is_forwarded_as_it_was_accepted() -> None:
    fleet = Fleet(2, partitioned=True)
    request = post(*view_events(name_view(1, 2)), now=NOW)
    assert fleet.workers[0].next_poll() is not None
    effect = forward(fleet.workers[0])
    assert effect.destination == "slot-1"
    assert request.body in effect.body


def test_owner_answers_once_all_batches_are_in_its_journal() -> None:
    effect = forward(Fleet(2, partitioned=True).workers[0])
    owner = make_owner()
    (append,) = effects_of(Append, owner.handle_peer(7, effect.body, NOW))
    assert effects_of(Append, owner.handle_peer(8, effect.body, NOW)) == []
    answers = effects_of(Respond, owner.complete(append.id, Stored(), NOW))
    assert {(one.request_id, one.response.status) for one in answers} == {(7, 204), (8, 204)}
    (again,) = effects_of(Respond, owner.handle_peer(9, effect.body, NOW))
    assert again.response.status == 204


def test_owner_refuses_batches_that_its_disk_refuses() -> None:
    effect = forward(Fleet(2, partitioned=True).workers[0])
    owner = make_owner()
    (append,) = effects_of(Append, owner.handle_peer(7, effect.body, NOW))
    effects = owner.complete(append.id, StorageFailure("full"), NOW)
    (answer,) = effects_of(Respond, effects)
    assert answer.response.status == 503
    (answer,) = effects_of(Respond, owner.handle_peer(8, effect.body, NOW))
    assert answer.response.status == 503


def test_unreadable_request_of_another_worker_is_refused() -> None:
    (answer,) = effects_of(Respond, make_owner().handle_peer(7, b"nonsense", NOW))
    assert answer.response.status == 400


def test_stopping_owner_flushes_once_more_and_keeps_later_batches_in_its_journal() -> None:
    fleet = Fleet(2, partitioned=True)
    owner, sender = fleet.workers[1], fleet.workers[0]
    fleet.run(owner, owner.close(fleet.now))
    for second in range(5):
        fleet.post(0, *view_events(name_view(1, 2), second * 10))
        fleet.pass_time(SECOND)
    assert sender.is_at_rest
    assert owner.drained
    assert fleet.receiver.total("openqoe_events_total") == 2
    assert owner.waiting_batches == 4
    fleet.start(1)
    assert fleet.workers[1].waiting_batches == 4
    fleet.pass_time(15 * SECOND)
    assert fleet.workers[1].waiting_batches == 0
    assert fleet.receiver.total("openqoe_events_total") == 10
    assert fleet.receiver.total("openqoe_views_loaded_total") == 1
