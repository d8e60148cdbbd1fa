"""Keys that are limited to organisations: their events, and what a crash leaves of them."""

import json

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Append, Stored
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from tests.core.access.test_key_ring import document
from tests.core.api.worker_client import Answer, ask, counter_value, send
from tests.support.event_builders import NOW, OMIT, event, post
from tests.support.handling import complete, handle

FILE = document(
    acme={"orgs": ["acme", "acme-eu"]},
    rival={"orgs": ["rival"]},
    all={"scopes": ["ingest", "read"]},
    reader={"scopes": ["read", "logs"], "orgs": ["acme"]},
)

MIXED = (event(), event(org_id="rival"), event(view_id=OMIT), event(org_id="acme-eu"))


def make(*, durable: bool = False) -> Worker:
    return Worker(Config(keys_file="/k"), instance="o-0", keys=FILE, durable=durable)


def request(key: str, *events: object, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return post(*events, headers={"x-api-key": key, **named})


def rejected(worker: Worker, reason: str) -> float:
    return counter_value(worker, "events_rejected_total", reason=reason)


def test_events_of_other_organisations_are_rejected_and_the_rest_accepted() -> None:
    worker = make()
    answer = send(worker, request("acme", *MIXED))
    assert answer.status == 207
    assert answer.json["events_accepted"] == 2
    assert answer.json["errors"] == [
        {"index": 1, "field": "org_id", "error": "is none of this API key's organisations"},
        {"index": 2, "field": "view_id", "error": "is required"},
    ]
    assert (rejected(worker, "org"), rejected(worker, "missing")) == (1, 1)
    worker.poll(NOW)
    assert counter_value(worker, "events_accepted_total") == 2


def test_batch_of_other_organisations_only_is_400() -> None:
    worker = make()
    answer = send(worker, request("rival", event(), event()))
    assert (answer.status, len(answer.json["errors"])) == (400, 2)
    assert rejected(worker, "org") == 2


def test_key_without_organisations_may_write_all() -> None:
    assert send(make(), request("all", event(), event(org_id="any"))).status == 202


def test_same_bytes_count_for_keys_of_both_organisations() -> None:
    worker = make()
    both = (event(), event(org_id="rival"))
    for key in ("acme", "rival", "acme", "rival"):
        assert send(worker, request(key, *both)).status in (202, 207)
    assert counter_value(worker, "events_accepted_total") == 2
    assert counter_value(worker, "batches_duplicate_total") == 2


def accept(worker: Worker, one: Request) -> tuple[Append, Answer]:
    (append,) = (e for e in handle(worker, one, NOW).effects if isinstance(e, Append))
    return append, Answer.of(complete(worker, append.id, Stored(), NOW).response)


def test_journal_holds_only_permitted_events() -> None:
    append, answer = accept(make(durable=True), request("acme", *MIXED))
    assert answer.status == 207
    events = json.loads(append.record.body)["events"]
    assert [one["org_id"] for one in events] == ["acme", "acme-eu"]
    replayed = make(durable=True)
    replayed.replay(append.record)
    replayed.poll(NOW)
    assert counter_value(replayed, "events_accepted_total") == 2


def test_journal_holds_a_batch_without_foreign_events_as_received() -> None:
    one = request("acme", event(), event(view_id=OMIT))
    append, _ = accept(make(durable=True), one)
    assert append.record.body == one.body


def test_batch_sent_again_after_a_crash_is_a_duplicate() -> None:
    for headers in ({}, {"idempotency_key": "batch-1"}):
        one = request("acme", *MIXED, **headers)
        append, _ = accept(make(durable=True), one)
        replayed = make(durable=True)
        replayed.replay(append.record)
        assert send(replayed, one).status == 202
        assert counter_value(replayed, "batches_duplicate_total") == 1


def test_idempotency_key_with_another_body_is_422_after_a_crash() -> None:
    append, _ = accept(make(durable=True), request("acme", *MIXED, idempotency_key="batch-1"))
    replayed = make(durable=True)
    replayed.replay(append.record)
    for other in ((event("pause"),), (event("pause"), event(org_id="rival"))):
        assert send(replayed, request("acme", *other, idempotency_key="batch-1")).status == 422


def test_stats_are_closed_to_keys_of_some_organisations() -> None:
    worker = make()
    for query in ("", "dimension=org_id"):
        for key, status in (("all", 200), ("reader", 403), ("acme", 403), ("", 401)):
            answer = ask(worker, "/stats", query=query, headers={"x-api-key": key})
            assert answer.status == status
