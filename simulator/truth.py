"""The metrics that a worker must count for the batches that were sent.

The model attaches facts to every event: a view has started, a stall has this cause, so much media
was played. They are summed here after the documentation of the metrics, without the worker's code
for events, so that the two can be compared. Only the declarations of the metrics come from the
core: names, types, buckets.

Gauges are not included: they are means over a flush window. Labels are as sent: with the default
limits a worker writes ``video_id`` as a bucket.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from openqoe.core.metrics.metric import MetricType
from openqoe.core.qoe.catalogue import METRICS
from openqoe.core.qoe.observation_builder import DIGITS

Labels = tuple[tuple[str, str], ...]
"""Label names and values, sorted."""

BUCKETS: Final = {m.name: m.buckets for m in METRICS if m.type is MetricType.HISTOGRAM}
"""Upper bounds of histograms by name."""


class Fact(NamedTuple):
    """A change of one metric by an event.

    Attributes:
        metric: The name of a counter or a histogram.
        own: The metric's own labels.
        value: Increase of a counter, or observation of a histogram.
    """

    metric: str
    own: Labels = ()
    value: float = 1.0


class Period(NamedTuple):
    """Time that a viewer spends in one state, ms since the epoch."""

    state: str
    since: int
    until: int


class Expected(NamedTuple):
    """What a worker must count for the events of one view in a batch.

    Attributes:
        view: Id of the view.
        labels: Its labels.
        facts: Those of its events.
        closing: Those that are added if the view sends no further event, when the worker considers
            it ended. They replace those of earlier batches.
        periods: What the viewer saw up to each event.
    """

    view: str
    labels: Labels
    facts: tuple[Fact, ...]
    closing: tuple[Fact, ...] = ()
    periods: tuple[Period, ...] = ()


@dataclass(slots=True)
class Histogram:
    """The observations of one histogram series.

    Attributes:
        counts: By upper bound, not cumulative; the last is beyond all bounds.
        total: Their sum.
    """

    counts: list[int]
    total: float = 0.0


class Truth:
    """The counters and histograms of all facts so far."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}
        self._closings: dict[str, tuple[Labels, tuple[Fact, ...]]] = {}

    def add(self, expected: Iterable[Expected]) -> None:
        """Add what a worker must count for a batch."""
        for view, labels, facts, closing, _ in expected:
            self._add_facts(labels, facts)
            self._closings[view] = labels, closing

    def expire(self) -> None:
        """Let all views end: add what follows from the silence after their latest events."""
        for labels, facts in self._closings.values():
            self._add_facts(labels, facts)
        self._closings.clear()

    def _add_facts(self, base: Labels, facts: Iterable[Fact]) -> None:
        for metric, own, value in facts:
            key = metric, (tuple(sorted((*base, *own))) if own else base)
            bounds = BUCKETS.get(metric)
            if bounds is None:
                self._counters[key] = self._counters.get(key, 0.0) + value
                continue
            series = self._histograms.get(key)
            if series is None:
                series = self._histograms[key] = Histogram([0] * (len(bounds) + 1))
            value = round(value, DIGITS)  # without the rounding error of a sum, as the worker
            place = next((n for n, bound in enumerate(bounds) if value <= bound), len(bounds))
            series.counts[place] += 1
            series.total += value

    def samples(self) -> dict[str, dict[Labels, float]]:
        """All series as Prometheus writes them: a histogram has ``_bucket``, ``_sum`` and
        ``_count``."""
        out: dict[str, dict[Labels, float]] = {}
        for (metric, labels), value in self._counters.items():
            if value:
                out.setdefault(metric, {})[labels] = value
        for (metric, labels), series in self._histograms.items():
            reached = 0
            buckets = out.setdefault(f"{metric}_bucket", {})
            for bound, count in zip((*BUCKETS[metric], math.inf), series.counts, strict=True):
                reached += count
                le = "+Inf" if bound == math.inf else f"{bound:g}"
                buckets[tuple(sorted((*labels, ("le", le))))] = reached
            out.setdefault(f"{metric}_sum", {})[labels] = series.total
            out.setdefault(f"{metric}_count", {})[labels] = reached
        return out

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """All series for JSON: a list of labels and values by name."""
        return {
            name: [{"labels": dict(labels), "value": value} for labels, value in series.items()]
            for name, series in sorted(self.samples().items())
        }

    def total(self, metric: str, **labels: str) -> float:
        """The sum of a counter over all series that have these labels."""
        wanted = labels.items()
        return math.fsum(
            value
            for (name, found), value in self._counters.items()
            if name == metric and wanted <= dict(found).items()
        )

    def by(self, metric: str, *names: str) -> dict[tuple[str, ...], float]:
        """A counter by some of its labels, largest first."""
        sums: dict[tuple[str, ...], float] = {}
        for (name, found), value in self._counters.items():
            if name == metric and value:
                labels = dict(found)
                key = tuple(labels.get(label, "") for label in names)
                sums[key] = sums.get(key, 0.0) + value
        return dict(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0])))

    def histogram(self, metric: str, **labels: str) -> Histogram:
        """A histogram over all series that have these labels."""
        merged = Histogram([0] * (len(BUCKETS[metric]) + 1))
        for (name, found), series in self._histograms.items():
            if name == metric and labels.items() <= dict(found).items():
                merged.counts = [a + b for a, b in zip(merged.counts, series.counts, strict=True)]
                merged.total += series.total
        return merged


def quantile(metric: str, histogram: Histogram, q: float) -> float | None:
    """A quantile as ``histogram_quantile()`` of Prometheus estimates it; None without data."""
    count = sum(histogram.counts)
    if not count:
        return None
    bounds = BUCKETS[metric]
    rank, below = q * count, 0
    for place, bound in enumerate(bounds):
        inside = histogram.counts[place]
        if below + inside >= rank and inside:
            lower = bounds[place - 1] if place else 0.0
            return lower + (bound - lower) * (rank - below) / inside
        below += inside
    return bounds[-1]
