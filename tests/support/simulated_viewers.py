"""Simulated viewers: sends their batches to a worker and compares its counts with the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from openqoe.core.http.messages import Request
from openqoe.core.metrics.metric import MetricType
from openqoe.core.qoe.catalogue import METRICS
from openqoe.simulator import Batch, Simulation, Truth
from tests.support.rig import Rig

UNLIMITED_LABELS: Final = {
    "CARDINALITY_LIMITS": '{"limits":{"video_id":{"action":"allow","max_cardinality":1000}}}'
}
"""Settings of a worker that changes no label of the simulation."""

Labels = tuple[tuple[str, str], ...]

SUMS: Final = ("_sum", "_seconds", "_seconds_total", "_bits_total", "_frames_expected_total")
"""Ends of the names of sums of times, which are exact up to rounding."""

GAUGES: Final = {m.name for m in METRICS if m.type is MetricType.GAUGE}


def make_request(batch: Batch) -> Request:
    """The request of a batch."""
    headers = {name.lower(): value for name, value in batch.headers}
    path, _, query = batch.path.partition("?")
    return Request("POST", path, query, headers, batch.body)


def send_simulation(rig: Rig, simulation: Simulation, seconds: float) -> tuple[Truth, list[Batch]]:
    """Send the batches of the first seconds, each at its time; each must be accepted in full."""
    truth, sent = Truth(), []
    for batch in simulation.batches():
        if batch.at > simulation.start + seconds * 1000:
            break
        rig.pass_time(max(0, math.ceil(batch.at) - rig.now))
        response = rig.handle(make_request(batch))
        assert response.status in (202, 204), response.body
        sent.append(batch)
        if not batch.is_copy:
            truth.add(batch.expected)
    return truth, sent


def assert_counted(
    wanted: Mapping[str, Mapping[Labels, float]],
    samples: Iterable[tuple[Mapping[str, str], float]],
) -> None:
    """Compare the newest samples of a receiver with the expected values: counts exactly, sums of
    seconds up to rounding.

    Args:
        wanted: Expected values by metric name and labels.
        samples: Labels, including the name, and values.
    """
    found: dict[tuple[str, Labels], float] = {}
    for labels, value in samples:
        own = {name: text for name, text in labels.items() if name not in ("__name__", "instance")}
        metric = labels["__name__"]
        if metric not in GAUGES and not metric.startswith("openqoe_worker_") and value:
            found[metric, tuple(sorted(own.items()))] = value
    expected = {
        (metric, labels): value
        for metric, series in wanted.items()
        for labels, value in series.items()
        if value
    }
    differences: list[Any] = []
    for key in expected.keys() | found.keys():
        want, got = expected.get(key, 0.0), found.get(key, 0.0)
        is_sum = key[0].endswith(SUMS)
        if not (math.isclose(want, got, rel_tol=1e-9, abs_tol=1e-9) if is_sum else want == got):
            differences.append((*key, want, got))
    assert not differences, differences[:12]
    assert len(expected) > 100
