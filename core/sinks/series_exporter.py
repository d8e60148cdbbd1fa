"""The export: what a flush sends of the registry.

The rules are those of a remote-write sender (``Prometheus remote write 1.0``, and the
behaviour of real receivers):

- The timestamps of one series ascend strictly, over all flushes and whatever the clock does.
- A new counter or histogram series starts with 0 at the time of the flush before, or its
  first increase would never show in ``increase()``. After a long silence (a host without
  background flushes, a long outage) that flush is too far back: receivers refuse a sample an
  hour older than their newest, and the rest of its request with it.
- Series that live are sent at every flush, changed or not: one without a sample for five
  minutes vanishes from queries.
- A series that ends gets a stale marker.
"""

import struct
from collections.abc import Iterator, Mapping

import msgspec

from ..metrics.label_table import LabelTable
from ..metrics.metric import Metric, MetricType
from ..metrics.registry import MetricName, Registry, SeriesKey, metric_name
from ..metrics.series import GAUGE_LIFETIME, Series
from ..primitives.incremental import STEP, Work
from ..primitives.msgpack_stream import MsgpackList
from ..wire.remote_write import encode_series

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""The NaN that marks the end of a series. Compare its bits: NaN equals nothing."""

MAX_ZERO_AGE = 300_000
"""ms between the 0 that a series starts with and its first value at the most: an older one
would have vanished from queries anyway."""

Sample = tuple[int, float]


class ExportedSeries(msgspec.Struct, frozen=True, gc=False):
    """One series of a write request that begins or ends.

    Attributes:
        head: How it begins, encoded (``remote_write.encode_series``).
        samples: Timestamps (ms) and values, ascending.
    """

    head: bytes
    samples: tuple[Sample, ...]


class SteadySeries(msgspec.Struct, frozen=True, gc=False):
    """Series that go on, with a sample each: nearly all of a flush, so a few at a time.

    Attributes:
        at: The timestamp of the samples, ms.
        samples: How each begins, encoded, and its value.
    """

    at: int
    samples: list[tuple[bytes, float]]


class ExporterState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An exporter in a snapshot."""

    flushed_at: int | None
    just_ended: list[tuple[MetricName, int]]


class SeriesExporter:
    """Exports a registry flush by flush.

    Attributes:
        flushed_at: Timestamp of the latest flush in ms; before the first it is the time
            at which the worker came to life.
    """

    def __init__(
        self,
        registry: Registry,
        instance: str,
        idle_timeout: int | None,
        *,
        is_registry_frozen: bool = False,
    ) -> None:
        """
        Args:
            registry: What is exported.
            instance: The label that keeps two workers' series apart.
            idle_timeout: ms without a change after which a counter or histogram ends; None
                for never, for series that are kept elsewhere and only read into the registry.
            is_registry_frozen: Whether the registry stays as it is during an export. Of one that
                does not, all series are noted first: hundreds of thousands are a hold of their own,
                and one more each time that the garbage collector comes across the list.
        """
        self._registry = registry
        self._instance = instance
        self._idle_timeout = idle_timeout
        self._is_registry_frozen = is_registry_frozen
        self._just_ended: dict[SeriesKey, None] = {}  # in order of their end
        self.flushed_at: int | None = None

    def mark_start(self, now: int) -> None:
        """Note the time at which the worker came to life, once."""
        if self.flushed_at is None:
            self.flushed_at = now - 1

    def export_series(self, now: int) -> Iterator[ExportedSeries | SteadySeries | None]:
        """Export everything as of now.

        Yields:
            What is to be sent; None for a series that was found to have idled, so that whoever
            does this in parts gets a say: they may be all.
        """
        self.mark_start(now)
        assert self.flushed_at is not None
        previous = self.flushed_at
        at = self.flushed_at = max(now, previous + 1)
        just_ended = self._just_ended
        self._just_ended = {}
        ending: list[Series] = []
        steady: list[tuple[bytes, float]] = []
        # What is new while the export goes on comes with the next one.
        for series in self._registry if self._is_registry_frozen else tuple(self._registry):
            is_gauge = series.metric.type is MetricType.GAUGE
            lifetime = GAUGE_LIFETIME if is_gauge else self._idle_timeout
            if series.collect_changes():
                series.changed_at = at
            elif lifetime is not None and at - series.changed_at >= lifetime:
                ending.append(series)
                yield None
                continue
            values = series.values()
            if not series.heads:
                self._encode_heads(series)
            if series.exported_at is None and not is_gauge:
                zero_at = max(previous, at - MAX_ZERO_AGE)
                if SeriesKey(series.metric, series.labels) in just_ended:
                    # The stale marker stands at the previous flush already.
                    zero_at = max(zero_at, previous + 1)
                if zero_at < at:
                    if steady:  # all come in their order
                        yield SteadySeries(at, steady)
                        steady = []
                    for head, value in zip(series.heads, values, strict=True):
                        yield ExportedSeries(head, ((zero_at, 0.0), (at, value)))
                    series.exported_at = at
                    continue
            series.exported_at = at
            steady += zip(series.heads, values, strict=True)
            if len(steady) >= STEP:
                yield SteadySeries(at, steady)
                steady = []
        if steady:
            yield SteadySeries(at, steady)
        for series in ending:
            self._registry.remove(series)
            if series.exported_at is not None:
                self._just_ended[SeriesKey(series.metric, series.labels)] = None
                if not series.heads:  # one that a snapshot brought back may end at once
                    self._encode_heads(series)
                for head in series.heads:
                    yield ExportedSeries(head, ((at, STALE),))

    def capture_state(self, table: LabelTable) -> Work[ExporterState]:
        """The state, for a snapshot. Meanwhile nothing must change."""
        ended = MsgpackList()
        for key in self._just_ended:
            ended.add((metric_name(key.metric), table.assign_number(key.labels)))
            yield 1
        return ExporterState(self.flushed_at, ended.raw())

    def restore_state(
        self, state: ExporterState, table: LabelTable, metrics: Mapping[MetricName, Metric]
    ) -> None:
        """Take a state back."""
        self.flushed_at = state.flushed_at
        self._just_ended = {
            SeriesKey(metrics[name], table.rows[labels]): None
            for name, labels in state.just_ended
            if name in metrics
        }

    def _encode_heads(self, series: Series) -> None:
        # Labels never change, so they are encoded once for all exports.
        series.heads = tuple(
            encode_series(
                sorted(
                    (
                        ("__name__", name),
                        *series.labels,
                        *more,
                        ("instance", self._instance),
                    )
                )
            )
            for name, more in series.sample_names()
        )
