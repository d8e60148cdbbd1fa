"""Simulated viewers at a worker: what it counted against what it had to count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from openqoe.core.http.messages import Request
from openqoe.core.metrics.metric import Type
from openqoe.core.qoe.catalogue import METRICS
from openqoe.simulator import Batch, Simulation, Truth
from tests.support.rig import Rig

EXACT: Final = {
    "CARDINALITY_LIMITS": '{"limits":{"video_id":{"action":"allow","max_cardinality":1000}}}'
}
"""Settings of a worker whose labels are those that were sent."""

Labels = tuple[tuple[str, str], ...]

GAUGES: Final = {m.name for m in METRICS if m.type is Type.GAUGE}


def request(batch: Batch) -> Request:
    """A batch as a worker gets it."""
    headers = {name.lower(): value for name, value in batch.headers}
    return Request("POST", batch.path, "", headers, batch.body)


def watch(rig: Rig, simulation: Simulation, seconds: float) -> tuple[Truth, list[Batch]]:
    """Send the batches of some time at their times; each has to be accepted in full."""
    truth, sent = Truth(), []
    for batch in simulation.batches():
        if batch.at > simulation.start + seconds * 1000:
            break
        rig.pass_time(max(0, math.ceil(batch.at) - rig.now))
        response = rig.handle(request(batch))
        assert response.status == 202, response.body
        sent.append(batch)
        if not batch.is_copy:
            for labels, facts in batch.expected:
                truth.add(labels, facts)
    return truth, sent


def assert_counted(
    wanted: Mapping[str, Mapping[Labels, float]],
    samples: Iterable[tuple[Mapping[str, str], float]],
) -> None:
    """Compare with the newest samples of a receiver: counts exactly, sums of seconds to the
    precision of their additions.

    Args:
        wanted: By metric name and labels.
        samples: Labels (with the name) and values.
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
        is_sum = key[0].endswith(("_sum", "_seconds"))
        if not (math.isclose(want, got, rel_tol=1e-9, abs_tol=1e-9) if is_sum else want == got):
            differences.append((*key, want, got))
    assert not differences, differences[:12]
    assert len(expected) > 100
