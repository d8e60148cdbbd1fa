"""Known batches through every host into a real Prometheus: all numbers are exact."""

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.hosts import HOSTS, Host
from tests.support.prometheus_server import Prometheus
from tests.support.services import require

VIEWS = 84
HEARTBEATS = 10
STARTUP_BOUNDS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 30)


@dataclass
class Truth:
    """The expected values of the sent batches."""

    counters: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    startups: list[float] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)


def views(seed: int, truth: Truth) -> list[list[dict[str, Any]]]:
    """Batches of realistic views, in sending order."""
    chance = random.Random(seed)
    begin = int(time.time() * 1000) - 120_000
    batches: list[list[dict[str, Any]]] = []
    for number in range(VIEWS):
        base = {
            "org_id": f"org_{number % 3}",
            "player_id": "web",
            "view_id": f"view-{seed}-{number}",
            "session_id": f"session-{number}",
            "viewer_id": f"viewer-{number % 50}",
            "env": "test",
            "device": {"category": ("desktop", "mobile")[number % 2]},
            "player": {"name": "hlsjs"},
            "video": {"id": f"movie-{number % 5}"},
        }
        at = begin + number * 10
        events: list[dict[str, Any]] = []

        def add(
            event_type: str,
            ms: int,
            position: float,
            base: Any = base,
            at: int = at,
            events: list[dict[str, Any]] = events,
            **data: Any,
        ) -> None:
            when = at + ms
            events.append(
                {
                    "event_type": event_type,
                    "event_time": when,
                    "viewer_time": when,
                    "playback_time": position,
                    **base,
                    "data": data,
                }
            )
            truth.counters["events"] += 1

        startup = chance.uniform(80, 4000)
        add("viewstart", 0, 0)
        add("playing", 10, 0, video_startup_time=startup, bitrate=2_400_000)
        truth.startups.append(startup / 1000)
        truth.counters["started"] += 1
        for beat in range(1, HEARTBEATS + 1):
            add(
                "heartbeat",
                beat * 10_000,
                beat * 10_000,
                playing_time=beat * 9_500.5,
                dropped_frames=beat * 2,
            )
        truth.counters["dropped"] += HEARTBEATS * 2
        if number % 4 == 0:
            duration = chance.uniform(200, 6000)
            add("stall_start", 101_000, 101_000)
            add("stall_end", 101_000 + int(duration), 101_000, stall_duration=duration)
            truth.stalls.append(duration / 1000)
        if number % 7 == 0:
            add("error", 109_000, 104_000, error_family="network", error_code=str(number % 2))
            truth.counters[f"error {number % 2}"] += 1
        add("ended", 110_000, 110_000, playing_time=HEARTBEATS * 9_500.5 + 300, completion_rate=1)
        truth.counters["played"] += HEARTBEATS * 9_500.5 + 300
        truth.counters["completed"] += 1
        batches += [events[i : i + 5] for i in range(0, len(events), 5)]
    return batches


@pytest.fixture(params=HOSTS, ids=[host.name for host in HOSTS], scope="module")
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.param
    return found


@pytest.fixture(scope="module")
def prometheus(host: Host) -> Iterator[Prometheus]:
    require("prometheus")
    with Prometheus() as server:
        yield server


@pytest.fixture(scope="module")
def truth(prometheus: Prometheus, host: Host) -> Truth:
    """Send everything, spread over at least five flushes, and stop the worker."""
    truth = Truth()
    batches = views(1, truth)
    settings = {
        "PROMETHEUS_URL": prometheus.write_url,
        "OPENQOE_FLUSH_INTERVAL": "0.5",
        "OPENQOE_INSTANCE": "e2e",
    }
    with host.run(settings) as worker:
        slice_size = len(batches) // 6 + 1
        for start in range(0, len(batches), slice_size):
            for batch in batches[start : start + slice_size]:
                status, answer = worker.post(json.dumps({"events": batch}).encode())
                assert (status, answer["events_received"]) == (202, len(batch))
            time.sleep(0.55)
        assert worker.count_events() == truth.counters["events"]
        assert worker.stop() in host.exits
        worker.run_command("drain")
    return truth


def total(prometheus: Prometheus, selector: str) -> float:
    """The exact increase: the sum of last minus first sample over the series."""
    ranges = prometheus.samples(selector)
    assert ranges, f"nothing found for {selector}"
    return sum(one.samples[-1][1] - one.samples[0][1] for one in ranges)


def test_every_counter_equals_events_sent(prometheus: Prometheus, truth: Truth) -> None:
    counts = truth.counters
    assert total(prometheus, "openqoe_events_total") == counts["events"]
    assert total(prometheus, "openqoe_views_started_total") == counts["started"]
    assert total(prometheus, "openqoe_views_completed_total") == counts["completed"]
    assert total(prometheus, "openqoe_dropped_frames_total") == counts["dropped"]
    assert total(prometheus, 'openqoe_rebuffer_events_total{cause="rebuffer"}') == len(truth.stalls)
    for code in "01":
        selector = f'openqoe_errors_total{{error_family="network",error_code="{code}"}}'
        assert total(prometheus, selector) == counts[f"error {code}"]


def test_playing_time_equals_sum_over_views(prometheus: Prometheus, truth: Truth) -> None:
    played = total(prometheus, "openqoe_playing_time_seconds")
    assert played == pytest.approx(truth.counters["played"] / 1000, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("openqoe_reported_startup_seconds", lambda truth: truth.startups),
        ("openqoe_rebuffer_duration_seconds", lambda truth: truth.stalls),
    ],
)
def test_histogram_sum_and_count_equal_truth(
    prometheus: Prometheus, truth: Truth, metric: str, values: Any
) -> None:
    expected = values(truth)
    assert total(prometheus, f"{metric}_count") == len(expected)
    assert total(prometheus, f"{metric}_sum") == pytest.approx(sum(expected), rel=1e-12)


@pytest.mark.parametrize("quantile", [0.5, 0.95, 0.99])
def test_histogram_quantile_lies_in_bucket_of_true_quantile(
    prometheus: Prometheus, truth: Truth, quantile: float
) -> None:
    buckets = "sum by (le) (openqoe_reported_startup_seconds_bucket)"
    latest = max(one.samples[-1][0] for one in prometheus.samples("openqoe_events_total"))
    found = prometheus.value(f"histogram_quantile({quantile}, {buckets})", at=latest)
    true = sorted(truth.startups)[int(quantile * len(truth.startups))]
    above = next(i for i, bound in enumerate(STARTUP_BOUNDS) if true <= bound)
    low = STARTUP_BOUNDS[above - 1] if above else 0
    assert found is not None
    assert low <= found <= STARTUP_BOUNDS[above]


def test_increase_over_whole_run_equals_truth(prometheus: Prometheus, truth: Truth) -> None:
    # Prometheus extrapolates to the edges of the window. A window from a series' first sample to
    # its last needs no extrapolation.
    for one in prometheus.samples("openqoe_views_started_total"):
        first, last = one.samples[0][0], one.samples[-1][0]
        selector = ",".join(f'{k}="{v}"' for k, v in one.labels.items() if k != "__name__")
        window = f"{round((last - first) * 1000)}ms"
        query = f"increase(openqoe_views_started_total{{{selector}}}[{window}])"
        found = prometheus.value(query, at=last)
        assert found == pytest.approx(one.samples[-1][1] - one.samples[0][1], rel=1e-6)
    window = "1h"
    latest = max(one.samples[-1][0] for one in prometheus.samples("openqoe_events_total"))
    found = prometheus.value(f"sum(increase(openqoe_views_started_total[{window}]))", at=latest)
    assert found == pytest.approx(truth.counters["started"], rel=0.15)


def test_run_spans_at_least_five_flushes(prometheus: Prometheus, truth: Truth) -> None:
    longest = max(len(one.samples) for one in prometheus.samples("openqoe_events_total"))
    assert longest >= 6  # the zero before the first flush, then one sample per flush


def test_new_series_starts_with_zero_sample(prometheus: Prometheus, truth: Truth) -> None:
    ranges = prometheus.samples('{__name__=~"openqoe_.*(_total|_count|_bucket|_sum)"}')
    assert {one.samples[0][1] for one in ranges} == {0.0}


def test_prometheus_refuses_no_sample(prometheus: Prometheus, truth: Truth) -> None:
    prometheus.assert_nothing_rejected()


def test_worker_health_metrics_are_delivered(prometheus: Prometheus, truth: Truth) -> None:
    accepted = total(prometheus, "openqoe_worker_events_accepted_total")
    assert accepted == truth.counters["events"]
