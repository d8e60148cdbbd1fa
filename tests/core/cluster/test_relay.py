"""Requests are relayed to the workers that own their views."""

import pytest

from openqoe.core.cluster.partition import Partition
from openqoe.core.cluster.relay import MAX_BYTES, PATIENCE, encode_request, encode_response
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Append,
    Effect,
    Forward,
    HttpResult,
    NetworkFailure,
    Respond,
    Result,
    StorageFailure,
    Stored,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from tests.core.access.test_key_ring import document
from tests.core.api.worker_client import ask
from tests.core.cluster.test_partition import name_view, view_events
from tests.core.engine.durable_worker import effects_of
from tests.support.event_builders import NOW, event, post
from tests.support.fleet import Fleet
from tests.support.rig import SECOND

CMCD = {"content-type": "application/cmcd"}

REQUESTS = "openqoe_worker_requests_total"

FOREIGN = name_view(1, 2)
"""A view that worker 1 owns."""


def relay(worker: Worker, request_id: int = 1, now: int = NOW) -> Forward:
    """The effect that relays a request of view ``FOREIGN``."""
    second = float(request_id)
    effects = worker.handle(request_id, post(*view_events(FOREIGN, second), now=now), now)
    (effect,) = effects
    assert isinstance(effect, Forward)
    return effect


def accept_here(worker: Worker, effects: tuple[Effect, ...], now: int = NOW) -> int:
    """Write the record that a worker asks for, and return the status of the answer."""
    (append,) = effects_of(Append, effects)
    (answer,) = effects_of(Respond, worker.complete(append.id, Stored(), now))
    return answer.response.status


def write_records(worker: Worker, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
    """Write the record that a worker may ask for, and return all effects."""
    for append in effects_of(Append, effects):
        effects += worker.complete(append.id, Stored(), NOW)
    return effects


# The owner answers


def test_owner_journals_the_batch_and_the_receiver_does_not() -> None:
    fleet = Fleet(2, partitioned=True)
    fleet.post(0, *view_events(FOREIGN))
    assert [worker.waiting_batches for worker in fleet.workers] == [0, 1]
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 2


@pytest.mark.parametrize(
    "request_",
    [
        post(*view_events(FOREIGN), now=NOW),
        post(*view_events(FOREIGN), {**event("pause", view_id=FOREIGN), "org_id": 7}, now=NOW),
        post({**event("pause", view_id=FOREIGN), "org_id": 7}, now=NOW),
    ],
    ids=["accepted", "partly", "invalid"],
)
def test_answer_is_that_of_the_owner(request_: Request) -> None:
    direct = Fleet(2, partitioned=True).handle(1, request_)
    assert Fleet(2, partitioned=True).handle(0, request_) == direct


def test_batch_of_several_owners_counts_once_for_each() -> None:
    fleet = Fleet(2, partitioned=True)
    fleet.post(0, *view_events(FOREIGN), *view_events(name_view(0, 2)))
    fleet.pass_time(15 * SECOND)
    for number in (0, 1):
        assert fleet.receiver.total("openqoe_events_total", instance=f"w-{number}") == 2


def test_request_is_counted_where_it_arrived() -> None:
    fleet = Fleet(2, partitioned=True)
    fleet.post(0, *view_events(FOREIGN))
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total(REQUESTS, route="events", instance="w-0") == 1
    assert fleet.receiver.total(REQUESTS, route="events", instance="w-1") == 0


def test_retries_at_all_workers_count_once() -> None:
    fleet = Fleet(2, partitioned=True)
    request = post(*view_events(FOREIGN), now=NOW)
    for number in (0, 1, 0):
        assert fleet.handle(number, request).status == 202
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 2


def test_worker_of_a_shell_that_cannot_relay_forwards() -> None:
    fleet = Fleet(2, partitioned=True, relays=False)
    fleet.post(0, *view_events(FOREIGN))
    assert [worker.waiting_batches for worker in fleet.workers] == [1, 0]
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 2


@pytest.mark.parametrize("before", ["", 'cid="a, b",', 'cid="sid=1",br=(1 2), '])
def test_records_of_cmcd_are_relayed(before: str) -> None:
    fleet = Fleet(2, partitioned=True)
    body = f'{before}sid="{FOREIGN}",ts={NOW},v=2,e=ps,sta=p'
    assert fleet.handle(0, Request("POST", "/v1/cmcd", "", CMCD, body.encode(), NOW)).status == 204
    assert [worker.waiting_batches for worker in fleet.workers] == [0, 1]
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 1


def test_events_without_a_view_are_handled_where_they_arrived() -> None:
    fleet = Fleet(2, partitioned=True)
    effects = fleet.workers[0].handle(1, post({"event_type": "x"}, now=NOW), NOW)
    assert effects_of(Forward, effects) == []


# The owner does not


@pytest.mark.parametrize(
    "result",
    [
        NetworkFailure("refused"),
        HttpResult(503),
        HttpResult(400),
        HttpResult(200, body=b"\xc1"),
        HttpResult(200, body=encode_response(Response(503)).body),
    ],
    ids=["away", "busy", "other version", "unreadable", "no disk"],
)
def test_request_that_the_owner_does_not_accept_is_handled_here(result: Result) -> None:
    worker = Fleet(2, partitioned=True).workers[0]
    effects = worker.complete(relay(worker).id, result, NOW)
    assert accept_here(worker, effects) == 202


def test_request_whose_owner_lost_its_answer_counts_once() -> None:
    fleet = Fleet(2, partitioned=True)
    receiver, owner = fleet.workers
    effect = relay(receiver)
    (append,) = effects_of(Append, owner.handle_peer(7, effect.body, NOW))
    owner.complete(append.id, Stored(), NOW)  # and its answer is lost
    assert accept_here(receiver, receiver.complete(effect.id, NetworkFailure("x"), NOW)) == 202
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 2


def test_request_of_a_slow_owner_is_handled_here_and_its_late_answer_ignored() -> None:
    worker = Fleet(2, partitioned=True).workers[0]
    effect = relay(worker)
    due = worker.next_poll()
    assert due is not None
    assert due <= NOW + PATIENCE
    assert effects_of(Append, worker.poll(NOW + PATIENCE - 1)) == []
    assert accept_here(worker, worker.poll(NOW + PATIENCE), NOW + PATIENCE) == 202
    late = HttpResult(200, body=encode_response(Response(202)).body)
    assert effects_of(Respond, worker.complete(effect.id, late, NOW + SECOND)) == []


def test_nothing_is_relayed_to_an_owner_until_it_has_answered() -> None:
    worker = Fleet(2, partitioned=True).workers[0]
    effect = relay(worker)
    worker.poll(NOW + PATIENCE)
    request = post(*view_events(FOREIGN, 20), now=NOW)
    assert effects_of(Append, worker.handle(2, request, NOW + PATIENCE))
    worker.complete(effect.id, NetworkFailure("timed out"), NOW + SECOND)
    assert relay(worker, 3, NOW + SECOND).destination == "slot-1"


def test_nothing_is_relayed_to_an_owner_that_is_known_to_be_away() -> None:
    fleet = Fleet(2, partitioned=True)
    fleet.stop(1)
    fleet.post(0, *view_events(FOREIGN))
    fleet.pass_time(SECOND)  # its batch could not be forwarded
    request = post(*view_events(FOREIGN, 20), now=fleet.now)
    assert effects_of(Append, fleet.workers[0].handle(2, request, fleet.now))


def test_owner_that_stops_accepts_nothing() -> None:
    receiver, owner = Fleet(2, partitioned=True).workers
    owner.drain()
    (answer,) = effects_of(Respond, owner.handle_peer(7, relay(receiver).body, NOW))
    assert answer.response.status == 503


@pytest.mark.parametrize(("age", "is_accepted"), [(PATIENCE - 1, True), (PATIENCE, False)])
def test_owner_refuses_a_request_that_its_receiver_has_handled(age: int, is_accepted: bool) -> None:
    receiver, owner = Fleet(2, partitioned=True).workers
    effects = owner.handle_peer(7, relay(receiver).body, NOW + age)
    assert bool(effects_of(Append, effects)) == is_accepted
    refusals = [one.response.status for one in effects_of(Respond, effects)]
    assert refusals == ([] if is_accepted else [503])


def test_owner_that_does_not_know_the_key_refuses_no_client() -> None:
    fleet = Fleet(2, partitioned=True, API_KEY="good")
    request = post(*view_events(FOREIGN), headers={"x-api-key": "other"}, now=NOW)
    body = encode_request(request, NOW)
    (answer,) = effects_of(Respond, fleet.workers[1].handle_peer(7, body, NOW))
    assert answer.response.status == 503
    assert fleet.handle(0, request).status == 401


def test_request_is_refused_only_above_the_parts_of_a_rate_of_owner_and_receiver() -> None:
    keys = document(
        limited={"rate": {"events_per_second": 2, "burst": 2}}, free={"scopes": ["ingest", "read"]}
    )
    config = Config(keys_file="/k", limit_workers=2)
    receiver, owner = (
        Worker(config, instance="w", durable=True, partition=Partition(2, slot), keys=keys)
        for slot in (0, 1)
    )
    receiver.start_relaying()
    statuses = []
    for number in range(1, 4):
        second = float(number)
        headers = {"x-api-key": "limited"}
        request = post(*view_events(FOREIGN, second), now=NOW, headers=headers)
        (forward,) = effects_of(Forward, receiver.handle(number, request, NOW))
        effects = write_records(owner, owner.handle_peer(number, forward.body, NOW))
        (answer,) = effects_of(Respond, effects)
        result = HttpResult(answer.response.status, body=answer.response.body)
        effects = write_records(receiver, receiver.complete(forward.id, result, NOW))
        statuses += [one.response.status for one in effects_of(Respond, effects)]
    assert statuses == [202, 202, 503]
    refusals = [
        'refused_total{key="limited",reason="rate"}'
        in ask(worker, "/metrics", headers={"x-api-key": "free"}).body.decode()
        for worker in (receiver, owner)
    ]
    assert refusals == [True, False]


def test_owner_whose_disk_fails_refuses_no_client() -> None:
    receiver, owner = Fleet(2, partitioned=True).workers
    effect = relay(receiver)
    (append,) = effects_of(Append, owner.handle_peer(7, effect.body, NOW))
    (answer,) = effects_of(Respond, owner.complete(append.id, StorageFailure("full"), NOW))
    result = HttpResult(answer.response.status, body=answer.response.body)
    assert accept_here(receiver, receiver.complete(effect.id, result, NOW)) == 202


def test_only_requests_with_events_are_accepted_from_others() -> None:
    owner = Fleet(2, partitioned=True).workers[1]
    for path in ("/stats", "/admin/erase", "/nowhere"):
        body = encode_request(Request("POST", path, body=b"{}"), NOW)
        (answer,) = effects_of(Respond, owner.handle_peer(7, body, NOW))
        assert answer.response.status == 503


# Limits and the end


def test_requests_beyond_the_bytes_that_may_wait_are_handled_here() -> None:
    worker = Fleet(2, partitioned=True).workers[0]
    filler = "x" * 1_000_000
    for number in range(1, 10):
        request = post(event("pause", view_id=FOREIGN, n=number, filler=filler), now=NOW)
        if effects_of(Append, worker.handle(number, request, NOW)):
            break
    assert number - 1 == MAX_BYTES // 1_000_000 + 1


def test_receiver_sheds_requests_that_waited_too_long() -> None:
    worker = Fleet(2, partitioned=True, OPENQOE_MAX_WAIT="0.1").workers[0]
    statuses = []
    for number in range(1, 400):
        now = NOW + number
        arrived = post(*view_events(FOREIGN, float(number)), now=now - 500)
        request = Request(
            *(arrived.method, arrived.path, "", arrived.headers, arrived.body),
            last_byte_at=now - 500,
        )
        effects = worker.handle(number, request, now)
        statuses += [one.response.status for one in effects_of(Respond, effects)]
    assert set(statuses) == {503}


def test_stopping_worker_handles_what_waits_for_owners() -> None:
    worker = Fleet(2, partitioned=True).workers[0]
    relay(worker)
    assert accept_here(worker, worker.close(NOW)) == 202
