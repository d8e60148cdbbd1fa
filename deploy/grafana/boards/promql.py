"""PromQL: selectors, rates, ratios and quantiles over the metrics of the catalogue.

A query can only be made of metrics that exist: an unknown name raises ``KeyError`` where the
panel is defined, not where it is looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from openqoe.core.metrics import health_metrics
from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.qoe import catalogue

STEP = "$__rate_interval"
"""Window of a point of a graph."""

RANGE = "$__range"
"""Window of a number or a table: all that the time picker shows."""


def _sample_names(metric: Metric) -> Iterator[str]:
    if metric.type is MetricType.HISTOGRAM:
        yield from (f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))
    else:
        yield metric.name


METRICS: dict[str, Metric] = {
    name: metric
    for metric in (*catalogue.METRICS, *health_metrics.METRICS)
    for name in _sample_names(metric)
}
"""The metrics by the names of their samples."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which series a dashboard looks at.

    Attributes:
        matchers: Label matchers that every selector has.
    """

    matchers: str

    def series(self, name: str, *more: str) -> str:
        """A selector; ``more`` are further matchers.

        Raises:
            KeyError: There is no such metric.
        """
        METRICS[name]
        return f"{name}{{{','.join((*more, self.matchers))}}}"

    def rate(self, name: str, *more: str, by: str = "", over: str = STEP) -> str:
        """What a counter gains in a second."""
        return f"sum{_by(by)} (rate({self.series(name, *more)}[{over}]))"

    def increase(self, name: str, *more: str, by: str = "", over: str = RANGE) -> str:
        """What a counter gains."""
        return f"sum{_by(by)} (increase({self.series(name, *more)}[{over}]))"

    def sum(self, name: str, *more: str, by: str = "") -> str:
        """Gauges, added up."""
        return f"sum{_by(by)} ({self.series(name, *more)})"

    def mean(self, histogram: str, *more: str, by: str = "", over: str = STEP) -> str:
        """The mean of what a histogram observed."""
        total = self.rate(f"{histogram}_sum", *more, by=by, over=over)
        count = self.rate(f"{histogram}_count", *more, by=by, over=over)
        return f"{total} / ({count} > 0)"

    def quantile(self, q: float, histogram: str, *more: str, by: str = "", over: str = STEP) -> str:
        """A quantile of what a histogram observed, exact to its bucket."""
        buckets = self.rate(f"{histogram}_bucket", *more, by=f"{by}, le" if by else "le", over=over)
        return f"histogram_quantile({q}, {buckets})"


def ratio(part: str, whole: str) -> str:
    """One rate for each of another: 0 where nothing of the part has happened yet, absent where
    nothing of the whole has."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


# What is asked of every dashboard of views, once


def rebuffering_ratio(scope: Scope, *, by: str = "", over: str = STEP) -> str:
    """Seconds stalled, start-up and seeks left out, for each second played."""
    return ratio(
        scope.rate("openqoe_rebuffer_duration_seconds_sum", REBUFFERING, by=by, over=over),
        scope.rate("openqoe_playing_time_seconds", by=by, over=over),
    )


def rebuffering_frequency(scope: Scope, *, by: str = "", over: str = STEP) -> str:
    """Rebufferings for each hour played."""
    per_second = ratio(
        scope.rate("openqoe_rebuffer_events_total", REBUFFERING, by=by, over=over),
        scope.rate("openqoe_playing_time_seconds", by=by, over=over),
    )
    return f"3600 * {per_second}"


def errors_per_view(scope: Scope, *, by: str = "", over: str = STEP) -> str:
    """Errors for each view started."""
    return ratio(
        scope.rate("openqoe_errors_total", by=by, over=over),
        scope.rate("openqoe_views_started_total", by=by, over=over),
    )


REBUFFERING = 'cause="rebuffer"'
