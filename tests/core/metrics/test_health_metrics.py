"""Health metrics: equal numbers at `/metrics` and in remote write."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from openqoe.core.api.routes import Route
from openqoe.core.effects import HttpResult, LokiPush, RemoteWrite
from openqoe.core.engine.load_shedding import INTERVAL
from openqoe.core.http.messages import Request
from openqoe.core.metrics import health_metrics
from openqoe.core.worker import Worker
from tests.support.event_builders import NOW, event, post
from tests.support.rig import MINUTE, Rig, player_event

LATE = 4
"""Batches that are late before one is shed, its number included."""

SAMPLE = re.compile(r"(openqoe_worker_[a-z_]+)(?:\{(.*)\})? (\S+)")


def name_of(name: str, labels: Iterable[str]) -> str:
    return f"{name}{{{','.join(sorted(labels))}}}"


def shown(rig: Rig) -> dict[str, float]:
    """Samples at `/metrics`, by name and labels."""
    found = {}
    for line in rig.metrics_text().splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name, labels, value = match.groups()
            found[name_of(name, (labels or "").split(","))] = float(value)
    return found


def eventful() -> Rig:
    """A worker in which every counter has counted something."""
    rig = Rig(
        OPENQOE_MAX_SERIES="3",
        OPENQOE_MAX_VIEWS="1",
        OPENQOE_DEDUP_MAX="1",
        OPENQOE_QUEUE_MAX_BYTES="1024",
        CARDINALITY_LIMITS='{"limits":{"app_name":{"action":"allow","max_cardinality":1}}}',
    )
    rig.post(player_event(0, "playing", 0.0))
    rig.post(player_event(0, "playing", 0.0))
    rig.post(
        # by a clock that is an hour ahead
        {**player_event(3600, "playing", 0.0, view="view-2", bitrate="fast"), "app_name": "other"}
    )
    rig.handle(post(player_event(0, "playing"), event(at=0), "nonsense"))
    rig.post(player_event(-3600, "seek", 0.0, note="x" * 300_000))
    rig.handle(Request("GET", "/health", last_byte_at=rig.now - 2))
    rig.scripted_results[LokiPush].append(HttpResult(415, {}, b"no such media type"))
    rig.start_outage(RemoteWrite, result=HttpResult(503))
    rig.flush(3)
    rig.end_outage()
    for _ in range(LATE):  # too much work: all have waited, so one is shed
        rig.handle(Request("POST", "/v1/events", body=b"{", last_byte_at=rig.now - 5_000))
        rig.pass_time(INTERVAL // 2)
    rig.worker.note_missing_records(1)
    rig.pass_time(7 * MINUTE)
    return rig


@pytest.fixture(scope="module")
def rig() -> Rig:
    return eventful()


def test_every_health_metric_is_exposed_and_sent(rig: Rig) -> None:
    text = rig.metrics_text()
    sent = {dict(labels)["__name__"] for labels in rig.receiver.samples}
    for metric in health_metrics.METRICS:
        if metric.name.startswith("openqoe_worker_kv_") or metric is health_metrics.UNFOLLOWED:
            continue  # there is no shared store here: tests/core/cluster
        if metric.name.startswith("openqoe_worker_tenants"):
            continue  # there are none here: tests/core/engine/test_tenants.py
        if "key" in metric.labels:
            continue  # only readers see keys: tests/core/api/test_limits_of_keys.py
        assert f"# HELP {metric.name} {metric.help}" in text
        assert f"# TYPE {metric.name} {metric.type.name.lower()}" in text
        sample = f"{metric.name}_count" if metric.buckets else metric.name
        assert sample in sent, metric.name
        assert rig.receiver.metadata[metric.name].help == metric.help


def test_exposed_and_sent_values_are_equal(rig: Rig) -> None:
    rig.flush()
    sent = {}
    for labels, samples in rig.receiver.samples.items():
        own = dict(labels)
        name = own.pop("__name__")
        if name.startswith("openqoe_worker_"):
            assert own.pop("instance") == "rig-0"
            parts = (f'{label}="{value}"' for label, value in own.items())
            sent[name_of(name, parts)] = samples[-1][1]
    told_here = shown(rig)
    assert told_here.keys() == sent.keys()
    for name, value in sent.items():
        # Deliveries and requests continued after the flush that reports them.
        if not re.search("deliver|requests|queue", name):
            assert told_here[name] == value, name


@pytest.mark.parametrize(
    ("series", "value"),
    [
        ('openqoe_worker_requests_total{route="events",status="202"}', 4),
        ('openqoe_worker_requests_total{route="events",status="207"}', 1),
        ('openqoe_worker_requests_total{route="events",status="400"}', LATE - 1),
        ('openqoe_worker_requests_total{route="health",status="200"}', 1),
        ('openqoe_worker_request_duration_seconds_count{route="health"}', 1),
        ('openqoe_worker_request_duration_seconds_sum{route="health"}', 0.002),
        ('openqoe_worker_request_duration_seconds_bucket{le="0.001",route="health"}', 0),
        ('openqoe_worker_request_duration_seconds_bucket{le="0.0025",route="health"}', 1),
        ("openqoe_worker_events_accepted_total{}", 4),
        ('openqoe_worker_events_rejected_total{reason="too_old"}', 1),
        ('openqoe_worker_events_rejected_total{reason="wrong_type"}', 1),
        ('openqoe_worker_batches_rejected_total{reason="not_json"}', LATE - 1),
        ("openqoe_worker_batches_duplicate_total{}", 1),
        ("openqoe_worker_clock_corrected_total{}", 1),
        ('openqoe_worker_fields_ignored_total{field="data.bitrate"}', 1),
        ('openqoe_worker_log_entries_adjusted_total{reason="late"}', 1),
        ('openqoe_worker_log_entries_adjusted_total{reason="line_shortened"}', 1),
        ('openqoe_worker_cardinality{dimension="app_name"}', 1),
        ('openqoe_worker_queue_length{destination="prometheus"}', 0),
        ('openqoe_worker_queue_age_seconds{destination="prometheus"}', 0),
        ('openqoe_worker_queue_bytes{destination="loki"}', 0),
        ('openqoe_worker_deliveries_total{destination="loki",outcome="dropped"}', 1),
        ('openqoe_worker_dropped_total{destination="loki",reason="http_415"}', 4),
    ],
)
def test_counter_has_exact_value(rig: Rig, series: str, value: float) -> None:
    assert shown(rig)[series] == value


@pytest.mark.parametrize(
    "series",
    [
        "openqoe_worker_series_overflowed_total{}",
        "openqoe_worker_views_forgotten_total{}",
        "openqoe_worker_batches_forgotten_total{}",
        "openqoe_worker_flushes_held_total{}",
        'openqoe_worker_cardinality_folded_total{dimension="app_name"}',
        'openqoe_worker_deliveries_total{destination="prometheus",outcome="retried"}',
        'openqoe_worker_deliveries_total{destination="prometheus",outcome="delivered"}',
        'openqoe_worker_items_delivered_total{destination="prometheus"}',
        'openqoe_worker_delivery_bytes_total{destination="prometheus"}',
        "openqoe_worker_series_live{}",
        "openqoe_worker_views_live{}",
    ],
)
def test_series_with_varying_value_is_positive(rig: Rig, series: str) -> None:
    assert shown(rig)[series] > 0


def test_queue_metrics_grow_during_outage() -> None:
    rig = Rig()
    rig.start_outage(RemoteWrite, result=HttpResult(503))
    rig.flush(3)
    found = shown(rig)
    assert found['openqoe_worker_queue_length{destination="prometheus"}'] == 4  # one was divided
    assert found['openqoe_worker_queue_bytes{destination="prometheus"}'] > 500
    assert found['openqoe_worker_queue_age_seconds{destination="prometheus"}'] == 30


def test_request_duration_has_route_label() -> None:
    rig = Rig()
    paths = ("/health", "/ready", "/stats", "/metrics", "/nowhere", "/v1/events", "/cmcd")
    for path in (*paths, "/admin/erase"):
        rig.handle(Request("GET", path, last_byte_at=rig.now - 300))
    rig.handle(Request("OPTIONS", "/events", last_byte_at=rig.now - 300))
    rig.post(player_event(0, "seek"))
    rig.flush()
    name = "openqoe_worker_request_duration_seconds_count"
    routes = {dict(labels)["route"] for labels in rig.receiver.select(name)}
    assert routes == {route.value for route in Route} - {"dashboard"}


def test_series_limit_does_not_affect_health_metrics() -> None:
    """The limit bounds only series whose labels clients choose."""
    rig = Rig(OPENQOE_MAX_SERIES="1")
    rig.flush()
    for labels in rig.receiver.samples:
        assert "overflow" not in dict(labels)


def test_start_time_is_that_of_process() -> None:
    rig = Rig()
    rig.flush(2)
    assert shown(rig)["openqoe_worker_start_time_seconds{}"] == NOW / 1000
    blob = rig.worker.snapshot()
    rig.worker = Worker(rig.worker.config, instance="rig-0", started_at=rig.now)
    rig.worker.restore(blob)
    assert shown(rig)["openqoe_worker_start_time_seconds{}"] == rig.now / 1000 > NOW / 1000
