"""Rates, quotas and sampling of keys."""

import json
from typing import Any

from openqoe.core.access.key_limits import DAY, OVER_QUOTA
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Append, Effect, Notice, Stored
from openqoe.core.events.view_sampling import is_view_kept
from openqoe.core.http.messages import Request
from openqoe.core.worker import Worker
from tests.core.access.test_key_ring import document
from tests.core.api.worker_client import ask, counter_value, send
from tests.support.event_builders import NOW, event, post
from tests.support.handling import complete, handle

FILE = document(
    fast={"rate": {"events_per_second": 2, "burst": 10}},
    other={"rate": {"events_per_second": 2, "burst": 10}},
    quota={"quota": {"events_per_day": 100}},
    half={"sample": 0.5},
    none={"sample": 0},
    free={"scopes": ["ingest", "read"]},
)
VIEWS = [f"view-{number}" for number in range(100)]


def make(*, durable: bool = False) -> Worker:
    return Worker(Config(keys_file="/k"), instance="l-0", keys=FILE, durable=durable)


def request(key: str, *events: dict[str, Any], now: int = NOW, **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return post(*events, headers={"x-api-key": key, **named}, now=now)


def some(count: int, tag: str, now: int = NOW) -> list[dict[str, Any]]:
    return [event(at=now, view_id=f"{tag}-{number}") for number in range(count)]


def every_view(now: int = NOW, **more: Any) -> list[dict[str, Any]]:
    return [event(at=now, view_id=view, **more) for view in VIEWS]


def counted(worker: Worker, name: str, now: int = NOW, **labels: str) -> float:
    """A counter with the label ``key``, which only a reader sees."""
    text = ask(worker, "/metrics", headers={"x-api-key": "free"}, now=now).body.decode()
    wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    (line,) = (
        line for line in text.splitlines() if line.startswith(f"openqoe_worker_{name}{{{wanted}}}")
    )
    return float(line.rpartition(" ")[2])


def test_key_above_its_rate_gets_503_and_when_to_retry() -> None:
    worker = make()
    assert send(worker, request("fast", *some(15, "a"))).status == 202, "into debt by one batch"
    answer = send(worker, request("fast", *some(1, "b")))
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "3"
    assert answer.json["message"] == "Rate of this API key exceeded"
    assert counted(worker, "requests_refused_total", reason="rate", key="fast") == 1
    later = NOW + 3_000
    assert send(worker, request("fast", *some(1, "b", later), now=later), later).status == 202


def test_rate_of_one_key_does_not_limit_another() -> None:
    worker = make()
    send(worker, request("fast", *some(100, "a")))
    assert send(worker, request("other", *some(1, "b"))).status == 202
    assert send(worker, request("fast", *some(1, "c"))).status == 503


def test_duplicates_and_invalid_events_spend_no_tokens() -> None:
    worker = make()
    for _ in range(20):
        assert send(worker, request("fast", *some(9, "a"))).status == 202
    assert send(worker, request("fast", {"event_type": "x"})).status == 400
    assert send(worker, request("fast", *some(1, "b"))).status == 202


def test_names_of_keys_are_shown_to_readers_only() -> None:
    worker = make()
    send(worker, request("fast", *some(100, "a")))
    send(worker, request("fast", *some(1, "b")))
    assert b'key="fast"' in ask(worker, "/metrics", headers={"x-api-key": "free"}).body
    assert b"fast" not in ask(worker, "/metrics").body


def test_sample_keeps_whole_views_and_says_so() -> None:
    worker = make()
    kept = sum(is_view_kept(view, 0.5) for view in VIEWS)
    assert 30 < kept < 70
    for moment in range(2):
        answer = send(worker, request("half", *every_view(NOW + moment)))
        assert answer.status == 202
        assert answer.json["message"] == "Events accepted, thinned by sampling"
        assert answer.json["events_thinned"] == 100 - kept
    worker.poll(NOW)
    assert counter_value(worker, "events_accepted_total") == 2 * kept
    left_out = counted(worker, "events_thinned_total", key="half", reason="sample")
    assert left_out == 2 * (100 - kept)


def test_batch_without_a_sampled_view_is_accepted_and_not_counted() -> None:
    worker = make()
    answer = send(worker, request("none", *every_view()))
    assert (answer.status, answer.json["events_thinned"]) == (202, 100)
    assert counter_value(worker, "events_accepted_total") == 0


def test_used_up_quota_thins_until_the_next_day() -> None:
    worker = make()
    assert "events_thinned" not in send(worker, request("quota", *every_view())).json
    thinned = 100 - sum(is_view_kept(view, OVER_QUOTA) for view in VIEWS)
    notices: list[Effect] = []
    for moment in (1, 2):
        outcome = handle(worker, request("quota", *every_view(NOW + moment)), NOW + moment)
        notices += (one for one in outcome.effects if isinstance(one, Notice))
        assert json.loads(outcome.response.body)["events_thinned"] == thinned
    (notice,) = notices
    assert isinstance(notice, Notice)
    assert notice.fields == (("key", "quota"), ("events_per_day", 100))
    assert counted(worker, "events_thinned_total", key="quota", reason="quota") == 2 * thinned
    tomorrow = (NOW // DAY + 1) * DAY
    answer = send(worker, request("quota", *every_view(tomorrow), now=tomorrow), tomorrow)
    assert "events_thinned" not in answer.json


def test_quota_survives_a_restart() -> None:
    worker = make()
    send(worker, request("quota", *every_view()))
    restarted = make()
    restarted.restore(worker.snapshot())
    assert "events_thinned" in send(restarted, request("quota", *every_view(NOW + 1))).json


def test_journal_holds_only_the_events_that_were_kept() -> None:
    worker = make(durable=True)
    outcome = handle(worker, request("half", *every_view()), NOW)
    (append,) = (effect for effect in outcome.effects if isinstance(effect, Append))
    assert complete(worker, append.id, Stored(), NOW).response.status == 202
    views = {one["view_id"] for one in json.loads(append.record.body)["events"]}
    assert views == {view for view in VIEWS if is_view_kept(view, 0.5)}


def test_thinned_batch_sent_again_is_a_duplicate_after_a_crash() -> None:
    one = request("half", *every_view(), idempotency_key="b-1")
    outcome = handle(make(durable=True), one, NOW)
    (append,) = (effect for effect in outcome.effects if isinstance(effect, Append))
    replayed = make(durable=True)
    replayed.replay(append.record)
    assert send(replayed, one).status == 202
    assert counter_value(replayed, "batches_duplicate_total") == 1
