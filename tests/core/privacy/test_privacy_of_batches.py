"""Privacy of a worker: nothing that was to be removed reaches the journal, logs or metrics."""

import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Append, HttpResult, LokiPush, Stored
from openqoe.core.worker import Worker
from tests.core.api.worker_client import counter_value, send
from tests.support.event_builders import NOW, OMIT, event, post
from tests.support.handling import complete, handle

MEMORY = {"OPENQOE_DURABILITY": "memory", "OPENQOE_FLUSH_INTERVAL": "0"}
HASH = {"OPENQOE_HASH_FIELDS": "viewer_id", "OPENQOE_HASH_KEY": "a key of the service"}


def make(settings: Mapping[str, str] | None = None, *, durable: bool = True) -> Worker:
    config = Config.from_environment(
        {"LOKI_URL": "http://l/push", "OPENQOE_LOKI_ENCODING": "json", **(settings or {})}
    )
    worker = Worker(config, instance="p-0", durable=durable)
    worker.poll(NOW)
    return worker


def journalled(worker: Worker, *events: Any, **headers: str) -> Append:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    (append,) = (
        effect
        for effect in handle(worker, post(*events, headers=named), NOW).effects
        if isinstance(effect, Append)
    )
    return append


def bodies(worker: Worker, append: Append) -> list[dict[str, Any]]:
    assert complete(worker, append.id, Stored(), NOW).response.status in (202, 207)
    found: list[dict[str, Any]] = json.loads(append.record.body)["events"]
    return found


def test_defaults_remove_addresses_and_queries_before_the_journal() -> None:
    one = event(
        "error",
        network={"country_code": "DE", "ip": "203.0.113.7"},
        data={"error_context": {"data": ["https://cdn.example/a?token=secret", 403]}},
    )
    append = journalled(make(), one)
    assert b"203.0.113.7" not in append.record.body
    assert b"secret" not in append.record.body
    (stored,) = json.loads(append.record.body)["events"]
    assert stored["network"] == {"country_code": "DE"}
    assert stored["data"]["error_context"]["data"] == ["https://cdn.example/a", 403]


def test_batch_without_anything_to_remove_is_journalled_as_received() -> None:
    one = post(event())
    append = journalled(make(), event())
    assert append.record.body == one.body


def test_invalid_events_beside_it_are_not_journalled_with_what_was_to_be_removed() -> None:
    worker = make()
    append = journalled(
        worker, event(), event(view_id=OMIT, ip="203.0.113.7"), event(at=1, ip="203.0.113.8")
    )
    assert b"203.0.113" not in append.record.body
    (stored,) = bodies(worker, append)
    assert stored["view_id"] == "view-1"
    worker.poll(NOW)
    assert counter_value(worker, "events_rejected_total", reason="missing") == 1
    assert counter_value(worker, "events_rejected_total", reason="too_old") == 1


def test_hashed_viewer_reaches_neither_journal_nor_logs() -> None:
    worker = make(HASH)
    append = journalled(worker, event(viewer_id="jane@example.org"))
    (stored,) = bodies(worker, append)
    assert b"jane" not in append.record.body
    assert len(stored["viewer_id"]) == 32
    plain = make(MEMORY | HASH, durable=False)
    effects = handle(plain, post(event(viewer_id="jane@example.org")), NOW).effects
    (push,) = (effect for effect in effects if isinstance(effect, LokiPush))
    text = _inflated(push)
    assert b"jane" not in text
    assert stored["viewer_id"].encode() in text


def _inflated(push: LokiPush) -> bytes:
    return gzip.decompress(push.body)


def test_replay_of_the_journal_gives_the_same_batch() -> None:
    worker = make(HASH)
    one = event(viewer_id="jane", network={"country_code": "DE", "ip": "203.0.113.7"})
    append = journalled(worker, one, idempotency_key="b-1")
    bodies(worker, append)
    # Rules may change between the crash and the start.
    for settings in (HASH, {}):
        replayed = make(settings)
        replayed.replay(append.record)
        replayed.poll(NOW)
        assert counter_value(replayed, "events_accepted_total") == 1
    replayed = make(HASH)
    replayed.replay(append.record)
    again = post(one, headers={"idempotency-key": "b-1"})
    assert send(replayed, again).status == 202
    assert counter_value(replayed, "batches_duplicate_total") == 1
    other = post(event("pause"), headers={"idempotency-key": "b-1"})
    assert send(replayed, other).status == 422


@pytest.mark.parametrize("fraction", ["0", "0.5", "1"])
def test_log_lines_are_sampled_by_view_and_metrics_stay_exact(fraction: str) -> None:
    worker = make(MEMORY | {"OPENQOE_LOG_SAMPLE": fraction}, durable=False)
    views = [f"view-{number}" for number in range(100)]
    batches = [[event(at=NOW + moment, view_id=view) for view in views] for moment in (0, 1)]
    seen: list[set[str]] = []
    for moment, events in enumerate(batches):
        effects = handle(worker, post(*events, now=NOW + moment), NOW + moment).effects
        pushes = [effect for effect in effects if isinstance(effect, LokiPush)]
        text = b"".join(map(_inflated, pushes))
        seen.append({view for view in views if f'\\"{view}\\"'.encode() in text})
        for push in pushes:
            worker.complete(push.id, HttpResult(204), NOW + moment)
    assert seen[0] == seen[1], "the same views each time"
    assert {"0": 0, "1": 100}.get(fraction, len(seen[0])) == len(seen[0])
    assert fraction != "0.5" or 30 < len(seen[0]) < 70
    assert counter_value(worker, "events_accepted_total") == 200
