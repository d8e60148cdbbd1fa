"""Series: the cumulative state of one label set of one metric.

Hot code: an event touches several series. They are slotted structs, and all work that can wait
for the flush does.
"""

from bisect import bisect_left
from collections.abc import Iterator

import msgspec

from .metric import Metric, MetricType

Labels = tuple[tuple[str, str], ...]

MAX_OBSERVATION = 1e15
"""Upper bound of a plausible observation; no unit in use reaches it. Larger ones, infinity and NaN
would spoil a sum for good, so every series ignores them."""

MAX_TOTAL = 1e18
"""Upper bound of a plausible restored total: 1,000 of the largest observations."""


def _is_total(*numbers: float) -> bool:
    return all(-MAX_TOTAL <= number <= MAX_TOTAL for number in numbers)  # false for NaN


GAUGE_LIFETIME = 300_000
"""ms without an observation after which a gauge ends."""


class SeriesBase(msgspec.Struct, gc=False, eq=False):
    """Base of counters, gauges and histograms.

    Each has ``observe``; ``collect_changes``, which returns whether there was an observation since
    its last call; ``values`` of its samples, in the order of ``sample_names``; and
    ``capture_numbers`` and ``restore_numbers`` for snapshots.

    There are many. They are in no reference cycle, so the garbage collector ignores them:
    traversing all would pause the process.

    Attributes:
        metric: The metric it belongs to.
        labels: Its labels, sorted, without name and instance.
        heads: The encoded head of each of its samples, filled at the first export.
        exported_at: Time of its latest sample in ms; None before the first, and again
            after a stale marker.
        changed_at: Time of the latest export that found it changed, ms.
        has_ended: Whether the registry has removed it; a cache may still hold it.
    """

    metric: Metric
    labels: Labels
    heads: tuple[bytes, ...] = ()
    exported_at: int | None = None
    changed_at: int = 0
    has_ended: bool = False

    def sample_names(self) -> Iterator[tuple[str, Labels]]:
        """Name and additional labels of each of its samples."""
        yield self.metric.name, ()


class Counter(SeriesBase, gc=False, eq=False):
    value: float = 0.0
    _seen: float = -1.0

    def observe(self, value: float) -> None:
        if 0.0 <= value <= MAX_OBSERVATION:  # false for NaN
            self.value += value

    def collect_changes(self) -> bool:
        changed = self.value != self._seen
        self._seen = self.value
        return changed

    def values(self) -> list[float]:
        return [self.value]

    def capture_numbers(self) -> list[float]:
        # Totals kept elsewhere are ints, but a restored value must be a float.
        return [float(self.value), float(self._seen)]

    def restore_numbers(self, numbers: list[float]) -> None:
        if _is_total(*numbers):
            self.value, self._seen = numbers


class Gauge(SeriesBase, gc=False, eq=False):
    """The mean of the observations since the latest flush, else the last such mean."""

    value: float = 0.0
    _sum: float = 0.0
    _count: int = 0

    def observe(self, value: float) -> None:
        if -MAX_OBSERVATION <= value <= MAX_OBSERVATION:
            self._sum += value
            self._count += 1

    def set(self, value: float) -> None:
        """Replaces the observations since the latest flush."""
        if not -MAX_OBSERVATION <= value <= MAX_OBSERVATION:
            return
        self.value = self._sum = value
        self._count = 1

    def collect_changes(self) -> bool:
        if not self._count:
            return False
        self.value = self._sum / self._count
        self._sum, self._count = 0.0, 0
        return True

    def values(self) -> list[float]:
        return [self.value]

    def capture_numbers(self) -> list[float]:
        # A value that was set may be an int or a bool.
        return [float(self.value), float(self._sum), self._count]

    def restore_numbers(self, numbers: list[float]) -> None:
        if _is_total(*numbers):
            self.value, self._sum, count = numbers
            self._count = int(count)


class Histogram(SeriesBase, gc=False, eq=False):
    counts: list[int] = []
    """Observations by bucket, not cumulative; the last is above all bounds."""
    sum: float = 0.0
    _seen: int = -1
    _bounds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.metric.buckets) + 1)
        self._bounds = self.metric.buckets

    def observe(self, value: float) -> None:
        if not -MAX_OBSERVATION <= value <= MAX_OBSERVATION:  # true for NaN
            return
        # bisect_left: a value equal to a bound belongs to the bucket of that bound (le).
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def collect_changes(self) -> bool:
        count = sum(self.counts)
        changed = count != self._seen
        self._seen = count
        return changed

    def values(self) -> list[float]:
        values: list[float] = []
        total = 0
        for count in self.counts:
            total += count
            values.append(total)
        values += (self.sum, total)
        return values

    def capture_numbers(self) -> list[float]:
        return [self.sum, self._seen, *self.counts]

    def restore_numbers(self, numbers: list[float]) -> None:
        if _is_total(*numbers):
            self.sum, self._seen = numbers[0], int(numbers[1])
            self.counts = [int(count) for count in numbers[2:]]

    def sample_names(self) -> Iterator[tuple[str, Labels]]:
        name = self.metric.name
        for bound in self._bounds:
            yield f"{name}_bucket", (("le", f"{bound:g}"),)
        yield f"{name}_bucket", (("le", "+Inf"),)
        yield f"{name}_sum", ()
        yield f"{name}_count", ()


Series = Counter | Gauge | Histogram

SERIES_CLASSES: dict[MetricType, type[Counter] | type[Gauge] | type[Histogram]] = {
    MetricType.COUNTER: Counter,
    MetricType.GAUGE: Gauge,
    MetricType.HISTOGRAM: Histogram,
}


def sample_count(metric: Metric) -> int:
    """The samples of one series of a metric; each is a series of its own to Prometheus."""
    return len(metric.buckets) + 3 if metric.type is MetricType.HISTOGRAM else 1
