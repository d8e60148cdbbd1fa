"""Builders of PromQL: selectors, rates, ratios and quantiles over the metrics of the catalogue.

An unknown metric name raises ``KeyError`` when the panel is defined.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from openqoe.core.metrics import health_metrics
from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.qoe import catalogue

STEP = "$__rate_interval"
"""The window of a graph's point."""

RANGE = "$__range"
"""The window of a number or a table: the selected time range."""


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
"""The metrics by sample name."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The series of a dashboard.

    Attributes:
        matchers: Label matchers of every selector.
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
        """The increase of a counter per second."""
        return f"sum{_by(by)} (rate({self.series(name, *more)}[{over}]))"

    def increase(self, name: str, *more: str, by: str = "", over: str = RANGE) -> str:
        """The increase of a counter."""
        return f"sum{_by(by)} (increase({self.series(name, *more)}[{over}]))"

    def sum(self, name: str, *more: str, by: str = "") -> str:
        """The sum of gauges."""
        return f"sum{_by(by)} ({self.series(name, *more)})"

    def mean(self, histogram: str, *more: str, by: str = "", over: str = STEP) -> str:
        """The mean of a histogram."""
        total = self.rate(f"{histogram}_sum", *more, by=by, over=over)
        count = self.rate(f"{histogram}_count", *more, by=by, over=over)
        return f"{total} / ({count} > 0)"

    def quantile(self, q: float, histogram: str, *more: str, by: str = "", over: str = STEP) -> str:
        """A quantile of a histogram, exact to the bucket."""
        buckets = self.rate(f"{histogram}_bucket", *more, by=f"{by}, le" if by else "le", over=over)
        return f"histogram_quantile({q}, {buckets})"


def ratio(part: str, whole: str) -> str:
    """The ratio of two rates: 0 if the numerator has no series yet, absent if the denominator
    is 0."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


# Ratios of several dashboards


def rebuffer_percentage(scope: Scope, *, by: str = "", over: str = STEP) -> str:
    """Time rebuffering, without start-up and seeks, of the time watched."""
    return ratio(
        scope.rate("openqoe_rebuffer_duration_seconds_sum", REBUFFERING, by=by, over=over),
        scope.rate("openqoe_watch_time_seconds", by=by, over=over),
    )


def rebuffering_frequency(scope: Scope, *, by: str = "", over: str = STEP) -> str:
    """Rebufferings per hour watched."""
    per_second = ratio(
        scope.rate("openqoe_rebuffer_events_total", REBUFFERING, by=by, over=over),
        scope.rate("openqoe_watch_time_seconds", by=by, over=over),
    )
    return f"3600 * {per_second}"


def errors_per_view(scope: Scope, *, by: str = "", over: str = STEP) -> str:
    """Errors per started view."""
    return ratio(
        scope.rate("openqoe_errors_total", by=by, over=over),
        scope.rate("openqoe_views_started_total", by=by, over=over),
    )


def outcome_ratio(scope: Scope, how: str, *, by: str = "", over: str = RANGE) -> str:
    """The fraction of ended views with an outcome: of the started ones for a playback failure, of
    all attempts but bounces otherwise."""
    of = STARTED if how == "playback_failure" else ATTEMPTS
    return ratio(
        scope.rate("openqoe_view_outcomes_total", f'outcome="{how}"', by=by, over=over),
        scope.rate("openqoe_view_outcomes_total", of, by=by, over=over),
    )


def weighted_bitrate(scope: Scope, *, by: str = "", over: str = STEP) -> str:
    """The bit rate weighted by the time for which each rendition was played."""
    bits = scope.rate("openqoe_bitrate_bits_total", by=by, over=over)
    return f"{bits} / ({scope.rate('openqoe_bitrate_known_seconds_total', by=by, over=over)} > 0)"


ATTEMPTS = 'outcome!~"bounce|unknown"'
"""Outcomes of attempts to play. Who leaves within a second is no evidence of either kind."""

STARTED = 'outcome=~"completed|stopped|playback_failure"'
"""Outcomes of views that showed a frame."""

REBUFFERING = 'cause="rebuffer"'
