"""The registry: all series by metric and labels, with a limit on their number.

A ``Group`` caches the series of events that share base labels: one look-up by metric and raw
label values. The registry owns the series, so groups can be discarded at any time.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from ..primitives.incremental import UNITS_PER_YIELD, IncrementalWork
from ..primitives.interning import Interner
from ..primitives.memory_size import memory_size
from ..primitives.msgpack_stream import MsgpackList
from .label_table import LabelTable
from .metric import Metric
from .series import SERIES_CLASSES, Labels, Series, sample_count

OVERFLOW: Labels = (("overflow", "true"),)

Govern = Callable[[str, str], str | None]
"""Governs one label: maps (name, value) to the value to use, or to None to omit the label."""


class ProvisionalLabel(str):
    """A label that the same value may not have again, so nothing that follows from it is cached."""

    __slots__ = ()


MAX_CACHED_PER_GROUP = 1_000
"""Cached series after which a group's cache is cleared: clients choose the label values."""

MAX_CACHE_BYTES = 16 * 1024 * 1024
"""Approximate bytes that the caches of all groups may use before the groups must be discarded."""

CACHED_SERIES_BYTES = 100
"""Approximate bytes of a cached series, besides its raw label values."""

MAX_INTERNED_BYTES = 2 * 1024 * 1024
"""Approximate bytes of interned labels of metrics' own."""

SAMPLE_BYTES = 640
"""Average bytes that a sample may use: ``max_series`` bounds the memory of all series as well, so
those with long labels take the places of several."""

SERIES_OVERHEAD = 300
SAMPLE_OVERHEAD = 90
"""Approximate bytes of a series, and of each of its samples, without the text of its labels."""


class Group(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A cache of the series under one set of base labels.

    There may be 100,000. They are in no reference cycle, so the garbage collector ignores them:
    traversing all would pause the process.

    Attributes:
        labels: The base labels, sorted.
        series_cache: Series by key; they may have ended.
    """

    labels: Labels
    series_cache: dict[object, Series] = {}

    def find_series(self, key: object) -> Series | None:
        """The live series under a key, if it is cached."""
        series = self.series_cache.get(key)
        return None if series is None or series.has_ended else series

    def cache_series(self, key: object, series: Series) -> None:
        if len(self.series_cache) >= MAX_CACHED_PER_GROUP:
            self.series_cache.clear()
        self.series_cache[key] = series


MetricName = tuple[str, str]
"""A metric in snapshots: name and type, since a gauge and a histogram may share a name."""


def metric_name(metric: Metric) -> MetricName:
    return metric.name, metric.type.name


class SeriesKey(msgspec.Struct, frozen=True, gc=False):
    """The identity of a series.

    A struct, not a tuple: on each new tuple key the garbage collector would traverse the whole
    dictionary, which may hold hundreds of thousands.
    """

    metric: Metric
    labels: Labels


class MetricState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A metric in a snapshot, with the attributes that must be unchanged to restore it."""

    name: MetricName
    buckets: tuple[float, ...]


class SeriesState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A series in a snapshot; metric and labels are numbers."""

    metric: int
    labels: int
    exported_at: int | None
    changed_at: int
    numbers: list[int | float]


class RegistryState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A registry in a snapshot."""

    metrics: list[MetricState]
    series: list[SeriesState]
    overflowed: int


class Registry:
    """All series.

    Attributes:
        size: Samples per flush, that is, series as Prometheus counts them.
        bytes: Approximate bytes of the series.
        cached_bytes: Approximate bytes of the groups' caches; reset by the code that discards
            the groups.
        overflowed: New label sets that an overflow series absorbed; never decreases.
    """

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._series: dict[SeriesKey, Series] = {}
        self._interner = Interner(MAX_INTERNED_BYTES)
        self.size = 0
        self.bytes = 0
        self.cached_bytes = 0
        self.overflowed = 0

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())

    def find_or_create(self, metric: Metric, labels: Labels) -> Series:
        """Finds or creates the series of a metric with these labels (sorted).

        Beyond the limit it is the metric's overflow series, so that totals stay right.
        """
        key = SeriesKey(metric, labels)
        found = self._series.get(key)
        if found is not None:
            return found
        if labels != OVERFLOW and (
            self.size + sample_count(metric) > self._max_series
            or self.bytes + series_bytes(metric, labels) > self._max_series * SAMPLE_BYTES
        ):
            self.overflowed += 1
            return self.find_or_create(metric, OVERFLOW)
        made = SERIES_CLASSES[metric.type](metric, labels)
        self._add(key, made)
        return made

    def _add(self, key: SeriesKey, series: Series) -> None:
        self._series[key] = series
        self.size += sample_count(series.metric)
        self.bytes += series_bytes(series.metric, series.labels)

    def series_in_group(
        self,
        group: Group,
        key: object,
        metric: Metric,
        values: tuple[str, ...],
        govern: Govern,
    ) -> Series:
        """Finds or creates the series of a metric under the labels of a group and the metric's own
        label values; the group caches it by the key."""
        labels = group.labels
        is_provisional = False
        if values:
            own = []
            for name, value in zip(metric.labels, values, strict=True):
                if governed := govern(name, value):
                    is_provisional |= isinstance(governed, ProvisionalLabel)
                    own.append(self._interner.intern((name, str(governed))))
            labels = tuple(sorted((*labels, *own)))
        series = self.find_or_create(metric, labels)
        if not is_provisional:
            group.cache_series(key, series)
            self.cached_bytes += CACHED_SERIES_BYTES + memory_size(values)
        return series

    def capture_state(self, table: LabelTable) -> IncrementalWork[RegistryState]:
        """Captures the state for a snapshot. The registry must not change meanwhile."""
        metrics: dict[Metric, int] = {}
        saved = MsgpackList()
        few: list[tuple[int, int, int | None, int, list[float]]] = []
        labels: Labels | None = None
        row = 0
        for series in self._series.values():
            if series.labels is not labels:  # series that start together share labels
                labels = series.labels
                row = table.assign_number(labels)
            metric = metrics.setdefault(series.metric, len(metrics))
            numbers = series.capture_numbers()
            few.append((metric, row, series.exported_at, series.changed_at, numbers))
            if len(few) == UNITS_PER_YIELD:
                saved.extend(few)
                few.clear()
                yield UNITS_PER_YIELD
        saved.extend(few)
        named = [
            MetricState(metric_name(metric), tuple(float(bound) for bound in metric.buckets))
            for metric in metrics
        ]
        return RegistryState(named, saved.as_field(), self.overflowed)

    def restore_state(
        self, state: RegistryState, table: LabelTable, metrics: Mapping[MetricName, Metric]
    ) -> None:
        """Restores a captured state, without metrics that are unknown or have other buckets."""
        found = [metrics.get(saved.name) for saved in state.metrics]
        known = [
            metric if metric is not None and metric.buckets == saved.buckets else None
            for metric, saved in zip(found, state.metrics, strict=True)
        ]
        for saved in state.series:
            metric = known[saved.metric]
            if metric is None:
                continue
            series = SERIES_CLASSES[metric.type](metric, table.rows[saved.labels])
            series.restore_numbers(saved.numbers)
            series.exported_at, series.changed_at = saved.exported_at, saved.changed_at
            self._add(SeriesKey(metric, series.labels), series)
        self.overflowed = state.overflowed

    def remove(self, series: Series) -> None:
        """Removes a series that has ended; a later observation creates a new one."""
        del self._series[SeriesKey(series.metric, series.labels)]
        self.size -= sample_count(series.metric)
        self.bytes -= series_bytes(series.metric, series.labels)
        series.has_ended = True


def series_bytes(metric: Metric, labels: Labels) -> int:
    """Estimates the memory of a series: the labels are encoded once for each sample."""
    text = sum([len(name) + len(value) for name, value in labels])
    return SERIES_OVERHEAD + sample_count(metric) * (SAMPLE_OVERHEAD + text)
