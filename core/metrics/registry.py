"""The registry: all series by metric and labels, and the limit on their number.

A ``Group`` is a shortcut for the events that share base labels: it finds a series by
metric and raw label values in one look-up. The registry owns the series; groups are caches
and can be thrown away at any time.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from ..primitives.incremental import STEP, Work
from ..primitives.interning import Interner
from ..primitives.msgpack_stream import MsgpackList
from .label_table import LabelTable
from .metric import Metric
from .series import SERIES_CLASSES, Labels, Series, sample_count

OVERFLOW: Labels = (("overflow", "true"),)

Govern = Callable[[str, str], str | None]
"""Governs one label: (name, value) to the value to use, or None to leave the label out."""

MAX_CACHED_PER_GROUP = 1_000
"""Entries after which a group's cache starts anew: label values come from outside."""

MAX_INTERNED_OWN_LABELS = 10_000
"""Labels of metrics' own that are shared by series at the most."""


class Group(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The series under one set of base labels.

    There may be 100,000, and they refer to nothing that refers back: the garbage collector
    need not look at them, which would hold everybody up.

    Attributes:
        labels: The base labels, sorted.
        known: Series by key, for a quick look; they may have ended.
    """

    labels: Labels
    series_cache: dict[object, Series] = {}

    def find_series(self, key: object) -> Series | None:
        """The series under a key, if it is known here and still lives."""
        series = self.series_cache.get(key)
        return None if series is None or series.has_ended else series

    def cache_series(self, key: object, series: Series) -> None:
        if len(self.series_cache) >= MAX_CACHED_PER_GROUP:
            self.series_cache.clear()
        self.series_cache[key] = series


MetricName = tuple[str, str]
"""A metric in snapshots: name and type. Some names are a gauge and a histogram."""


def metric_name(metric: Metric) -> MetricName:
    return metric.name, metric.type.name


class SeriesKey(msgspec.Struct, frozen=True, gc=False):
    """What identifies a series.

    Not a tuple: one that is new has the garbage collector go through the whole dictionary that it
    is a key of, and there may be hundreds of thousands.
    """

    metric: Metric
    labels: Labels


class MetricState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A metric in a snapshot: enough to find it again, if it is still the same."""

    name: MetricName
    buckets: tuple[float, ...]


class SeriesState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A series in a snapshot; numbers stand for its metric and its labels."""

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
        size: Samples exported at each flush, that is series as Prometheus counts them.
        overflowed: How often a new label set was sent to an overflow series (grows only).
    """

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._series: dict[SeriesKey, Series] = {}
        self._interner = Interner(MAX_INTERNED_OWN_LABELS)
        self.size = 0
        self.overflowed = 0

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())

    def find_or_create(self, metric: Metric, labels: Labels) -> Series:
        """The series of a metric with these labels (sorted), made if it is new.

        Past the limit it is the metric's overflow series, so that totals stay right.
        """
        key = SeriesKey(metric, labels)
        found = self._series.get(key)
        if found is not None:
            return found
        if self.size + sample_count(metric) > self._max_series and labels != OVERFLOW:
            self.overflowed += 1
            return self.find_or_create(metric, OVERFLOW)
        made = SERIES_CLASSES[metric.type](metric, labels)
        self._series[key] = made
        self.size += sample_count(metric)
        return made

    def series_in_group(
        self,
        group: Group,
        key: object,
        metric: Metric,
        values: tuple[str, ...],
        govern: Govern,
    ) -> Series:
        """The series of a metric under a group's labels and the metric's own label values; the
        group knows it by the key from now on."""
        labels = group.labels
        if values:
            own = [
                self._interner.of((name, governed))
                for name, value in zip(metric.labels, values, strict=True)
                if (governed := govern(name, value))
            ]
            labels = tuple(sorted((*labels, *own)))
        series = self.find_or_create(metric, labels)
        group.cache_series(key, series)
        return series

    def capture_state(self, table: LabelTable) -> Work[RegistryState]:
        """The state, for a snapshot. Meanwhile nothing must change."""
        metrics: dict[Metric, int] = {}
        saved = MsgpackList()
        few: list[tuple[int, int, int | None, int, list[float]]] = []
        labels: Labels | None = None
        row = 0
        for series in self._series.values():
            if series.labels is not labels:  # those that begin together share them
                labels = series.labels
                row = table.assign_number(labels)
            metric = metrics.setdefault(series.metric, len(metrics))
            numbers = series.capture_numbers()
            few.append((metric, row, series.exported_at, series.changed_at, numbers))
            if len(few) == STEP:
                saved.add_few(few)
                few.clear()
                yield STEP
        saved.add_few(few)
        named = [
            MetricState(metric_name(metric), tuple(float(bound) for bound in metric.buckets))
            for metric in metrics
        ]
        return RegistryState(named, saved.raw(), self.overflowed)

    def restore_state(
        self, state: RegistryState, table: LabelTable, metrics: Mapping[MetricName, Metric]
    ) -> None:
        """Take a state back. Left out is what this version does not know, or with other buckets."""
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
            self._series[SeriesKey(metric, series.labels)] = series
            self.size += sample_count(metric)
        self.overflowed = state.overflowed

    def remove(self, series: Series) -> None:
        """Forget a series; a later observation makes a new one."""
        del self._series[SeriesKey(series.metric, series.labels)]
        self.size -= sample_count(series.metric)
        series.has_ended = True
