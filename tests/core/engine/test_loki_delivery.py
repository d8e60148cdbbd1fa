"""Every log line reaches a strict Loki: outages, late entries, limits, wrong configuration."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from openqoe.core.effects import HttpResult, LokiPush
from openqoe.core.worker import Worker
from tests.support.event_builders import NOW
from tests.support.fleet import Fleet
from tests.support.loki_double import LokiLimits
from tests.support.rig import HOUR, MINUTE, SECOND, Rig, player_event

ENCODINGS = ["protobuf", "json"]


def logging_rig(**settings: str) -> Rig:
    """A worker without metrics, which would cost most of the time."""
    return Rig(settings, PROMETHEUS_URL=None, OPENQOE_FLUSH_INTERVAL="60")


def two_workers(**settings: str) -> tuple[Rig, Rig]:
    """Two workers with one Loki."""
    one, two = logging_rig(**settings), logging_rig(**settings)
    config = two.worker.config
    two.worker = Worker(config, instance="rig-1", seed=2, started_at=two.now)
    two.loki = one.loki
    two._run(two.worker.poll(two.now))
    return one, two


def numbered(rig: Rig, number: int) -> dict[str, Any]:
    """An event of now."""
    second = (rig.now - 1_760_000_000_000) / 1000
    return {**player_event(second, "seek", 1.0, number=number), "event_time": rig.now}


def numbers(rig: Rig) -> Counter[int]:
    return Counter(json.loads(line)["data"]["number"] for line in rig.log_lines())


@pytest.mark.parametrize("labels", ["", "org_id,event_type"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_two_workers_deliver_every_line_once_after_three_hour_outage(
    encoding: str, labels: str
) -> None:
    settings = {"OPENQOE_LOKI_ENCODING": encoding}
    if labels:
        settings["OPENQOE_LOG_LABELS"] = labels
    one, two = two_workers(**settings)
    sent = 0
    for rig in (one, two):
        rig.start_outage(LokiPush, result=HttpResult(503))
    for _ in range(36):
        for rig in (one, two):
            rig.post(numbered(rig, sent), numbered(rig, sent + 1))
            rig.pass_time(5 * MINUTE)
            sent += 2
    # The first to drain has sent its newest lines before the other sends its oldest.
    for rig in (one, two):
        rig.end_outage()
        rig.pass_time(20 * MINUTE)
    assert numbers(one) == Counter(range(sent))
    assert one.loki.rejected == []


def test_redated_entry_keeps_event_time_in_its_line() -> None:
    rig = logging_rig(OPENQOE_LOG_LABELS="org_id,event_type")
    rig.start_outage(LokiPush, result=HttpResult(503))
    rig.post(numbered(rig, 1))
    created = rig.now
    rig.pass_time(2 * HOUR)
    rig.end_outage()
    rig.pass_time(5 * MINUTE)
    (entry,) = rig.loki.entries()
    assert entry.ts_ns > (created + HOUR) * 1_000_000
    assert json.loads(entry.line)["event_time"] == created
    log = rig.worker._components.log
    assert log is not None and log.adjusted["late"] >= 1


def test_backlog_of_own_streams_keeps_its_timestamps() -> None:
    rig = logging_rig()
    rig.start_outage(LokiPush, result=HttpResult(503))
    rig.post(numbered(rig, 1))
    created = rig.now
    rig.pass_time(2 * HOUR)
    rig.end_outage()
    rig.pass_time(5 * MINUTE)
    assert [entry.ts_ns for entry in rig.loki.entries()] == [created * 1_000_000]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_payload_above_burst_limit_is_divided(encoding: str) -> None:
    rig = logging_rig(OPENQOE_LOKI_ENCODING=encoding)
    rig.loki.limits = LokiLimits(rate_bytes=4_000, burst_bytes=6_000)
    rig.post(*(numbered(rig, number) for number in range(60)))
    rig.pass_time(10 * MINUTE)
    assert numbers(rig) == Counter(range(60))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_streams_beyond_limit_do_not_block_others(encoding: str) -> None:
    rig = logging_rig(OPENQOE_LOKI_ENCODING=encoding)
    rig.loki.limits = LokiLimits(max_streams=3)
    for number in range(3):
        rig.post({**numbered(rig, number), "org_id": f"org-{number}"})
    rig.flush()
    rig.post({**numbered(rig, 3), "org_id": "new"})
    rig.flush()
    for number in range(4, 24):
        rig.post({**numbered(rig, number), "org_id": f"org-{number % 3}"})
        rig.pass_time(MINUTE)
    assert set(numbers(rig)) == set(range(24)) - {3}
    assert rig.loki.rejected == []
    rig.loki.limits = LokiLimits()
    rig.pass_time(10 * MINUTE)
    assert numbers(rig) == Counter(range(24))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("known_org_is_last", [False, True])
def test_refused_streams_are_kept_whatever_follows_them(
    encoding: str, known_org_is_last: bool
) -> None:
    """Loki answers 204 to a request if it accepts the last stream of it."""
    rig = logging_rig(OPENQOE_LOKI_ENCODING=encoding)
    rig.loki.limits = LokiLimits(max_streams=3)
    for number in range(3):
        rig.post({**numbered(rig, number), "org_id": f"org-{number}"})
    rig.flush()
    sent, known = 3, {0, 1, 2}
    for _ in range(3):
        orgs = [f"new-{number}" for number in range(20)]
        orgs.insert(len(orgs) if known_org_is_last else 0, "org-0")
        for org in orgs:
            known |= {sent} if org == "org-0" else set()
            rig.post({**numbered(rig, sent), "org_id": org})
            sent += 1
        rig.flush()
    rig.pass_time(5 * MINUTE)
    assert set(numbers(rig)) == known
    assert rig.loki.rejected == []
    rig.loki.limits = LokiLimits()
    rig.pass_time(6 * MINUTE)
    assert numbers(rig) == Counter(range(sent))


def test_streams_above_their_rate_lose_nothing_and_block_no_other() -> None:
    rig = logging_rig()
    rig.loki.limits = LokiLimits(stream_rate_bytes=500, stream_burst_bytes=5_000)
    sent, quiet = 0, set[int]()
    for _ in range(10):
        for org in (*["busy-1"] * 40, *["busy-2"] * 30, "quiet"):
            quiet |= {sent} if org == "quiet" else set()
            rig.post({**numbered(rig, sent), "org_id": org})
            sent += 1
        rig.flush()
    rig.flush()
    assert quiet <= set(numbers(rig))
    rig.loki.limits = LokiLimits()
    rig.pass_time(10 * MINUTE)
    assert rig.loki.rejected == []
    assert numbers(rig) == Counter(range(sent))


def test_quarantined_lines_are_delivered_after_a_restart() -> None:
    """The outbox has their payload as a whole, so others of it may be stored twice."""
    fleet = Fleet(1, partitioned=True, OPENQOE_FLUSH_INTERVAL="60")
    fleet.loki.limits = LokiLimits(stream_rate_bytes=3, stream_burst_bytes=1_500)
    sent = 0
    for number in range(40):
        for org in ("busy", "busy", "busy", "quiet"):
            second = (fleet.now - NOW) / 1000
            fleet.post(0, {**player_event(second, "seek", 1.0, number=sent), "org_id": org})
            sent += 1
        fleet.pass_time(5 * MINUTE)
        if number == 35:
            fleet.stop(0)
            fleet.loki.limits = LokiLimits()
            fleet.start(0)
    fleet.pass_time(5 * MINUTE)
    stored = {json.loads(entry.line)["data"]["number"] for entry in fleet.loki.entries()}
    assert stored == set(range(sent))


def test_disallowed_structured_metadata_keeps_lines() -> None:
    rig = logging_rig()
    rig.loki.limits = LokiLimits(has_structured_metadata=False)
    for number in range(10):
        rig.post(numbered(rig, number))
        rig.flush()
    rig.pass_time(30 * MINUTE)
    assert rig.log_lines() == []
    assert [one.level for one in rig.notices if "refuses requests" in one.event] == ["error"]
    rig.loki.limits = LokiLimits()
    rig.pass_time(10 * MINUTE)
    assert numbers(rig) == Counter(range(10))


@pytest.mark.parametrize("status", [307, 308, 401, 403, 404, 408, 425, 499])
def test_transient_rejection_loses_no_lines(status: int) -> None:
    rig = Rig()
    rig.start_outage(result=HttpResult(status))
    for number in range(5):
        rig.post(numbered(rig, number))
        rig.pass_time(15 * SECOND)
    rig.pass_time(10 * MINUTE)
    rig.end_outage()
    rig.pass_time(10 * MINUTE)
    assert numbers(rig) == Counter(range(5))
    assert rig.total("openqoe_events_total") == 5
