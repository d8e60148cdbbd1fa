"""The exporter: selects the samples that a flush sends of a registry.

The rules are those of a remote-write sender (``Prometheus remote write 1.0``, and the
behaviour of real receivers):

- The timestamps of one series ascend strictly, over all flushes, even if the clock steps back.
- A new counter or histogram series starts with 0 at the time of the previous flush, or its first
  increase would not show in ``increase()``. After a long silence (a host without background
  flushes, a long outage) that flush is too far back: receivers reject a sample an hour older than
  their newest, and the rest of its request with it.
- Live series are sent at every flush, changed or not: one without a sample for five minutes
  disappears from queries.
- A series that ends gets a stale marker.
"""

import struct
from collections.abc import Callable, Iterator, Mapping

import msgspec

from ..metrics.label_table import LabelTable
from ..metrics.metric import Metric, MetricType
from ..metrics.registry import MetricName, Registry, SeriesKey, metric_name
from ..metrics.series import GAUGE_LIFETIME, Labels, Series
from ..primitives.incremental import UNITS_PER_YIELD, IncrementalWork
from ..primitives.msgpack_stream import MsgpackList
from ..wire.remote_write import encode_series

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""The NaN that marks the end of a series. Compare its bits: NaN equals nothing."""

MAX_ZERO_AGE = 300_000
"""Maximum ms between the initial 0 of a series and its first value: an older 0 would have
disappeared from queries."""

Sample = tuple[int, float]

TenantOf = Callable[[Labels], str]

NO_LABELS: Labels = (("", ""),)
"""Labels that no series has."""


class ExportedSeries(msgspec.Struct, frozen=True, gc=False):
    """One series of a write request that begins or ends.

    Attributes:
        head: Its encoded head (``remote_write.encode_series``).
        samples: Timestamps (ms) and values, ascending.
        tenant: Its tenant; "" for the default one.
    """

    head: bytes
    samples: tuple[Sample, ...]
    tenant: str = ""


class SteadySeries(msgspec.Struct, frozen=True, gc=False):
    """Several continuing series with one sample each: nearly all of a flush.

    Attributes:
        at: The timestamp of the samples, ms.
        samples: The encoded head and the value of each.
        tenant: Their tenant; "" for the default one.
    """

    at: int
    samples: list[tuple[bytes, float]]
    tenant: str = ""


class ExporterState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An exporter in a snapshot."""

    flushed_at: int | None
    just_ended: list[tuple[MetricName, int]]


class SeriesExporter:
    """Exports a registry flush by flush.

    Attributes:
        flushed_at: Timestamp of the latest flush in ms; before the first, the start of the worker.
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
            registry: The registry to export.
            instance: The label that separates the series of workers.
            idle_timeout: ms without a change after which a counter or histogram ends; None for
                never, if the series mirror totals kept elsewhere.
            is_registry_frozen: Whether the registry stays unchanged during an export. If not, the
                series are copied to a list first, which is a pause for hundreds of thousands, and
                another one each time the garbage collector meets the list.
        """
        self._registry = registry
        self._instance = instance
        self._idle_timeout = idle_timeout
        self._is_registry_frozen = is_registry_frozen
        self._just_ended: dict[SeriesKey, None] = {}  # ordered by end
        self.flushed_at: int | None = None

    def mark_start(self, now: int) -> None:
        """Records the start of the worker; only the first call counts."""
        if self.flushed_at is None:
            self.flushed_at = now - 1

    def export_series(
        self, now: int, tenant_of: TenantOf | None = None
    ) -> Iterator[ExportedSeries | SteadySeries | None]:
        """Exports all series as of now.

        Args:
            now: Current time in ms.
            tenant_of: Returns the tenant of a series with these labels; None if all are of the
                default one.

        Yields:
            Samples to send, or None for each series that has idled, so that the work can be
            spread: all series may have.
        """
        self.mark_start(now)
        assert self.flushed_at is not None
        previous = self.flushed_at
        at = self.flushed_at = max(now, previous + 1)
        just_ended = self._just_ended
        self._just_ended = {}
        ending: list[Series] = []
        steady: list[tuple[bytes, float]] = []
        tenant, labels = "", NO_LABELS
        others: dict[str, list[tuple[bytes, float]]] = {}  # of the other tenants
        # Series that appear during the export are part of the next one.
        for series in self._registry if self._is_registry_frozen else tuple(self._registry):
            is_gauge = series.metric.type is MetricType.GAUGE
            lifetime = GAUGE_LIFETIME if is_gauge else self._idle_timeout
            if series.collect_changes():
                series.changed_at = at
            elif lifetime is not None and at - series.changed_at >= lifetime:
                ending.append(series)
                yield None
                continue
            if tenant_of is not None and series.labels is not labels:  # many share them
                labels = series.labels
                others[tenant] = steady
                tenant = tenant_of(labels)
                steady = others.pop(tenant, [])
            values = series.values()
            if not series.heads:
                self._encode_heads(series)
            if series.exported_at is None and not is_gauge:
                zero_at = max(previous, at - MAX_ZERO_AGE)
                if SeriesKey(series.metric, series.labels) in just_ended:
                    # The stale marker has the timestamp of the previous flush.
                    zero_at = max(zero_at, previous + 1)
                if zero_at < at:
                    if steady:  # keep the order
                        yield SteadySeries(at, steady, tenant)
                        steady = []
                    for head, value in zip(series.heads, values, strict=True):
                        yield ExportedSeries(head, ((zero_at, 0.0), (at, value)), tenant)
                    series.exported_at = at
                    continue
            series.exported_at = at
            steady += zip(series.heads, values, strict=True)
            if len(steady) >= UNITS_PER_YIELD:
                yield SteadySeries(at, steady, tenant)
                steady = []
        if steady:
            yield SteadySeries(at, steady, tenant)
        for tenant, steady in others.items():
            if steady:
                yield SteadySeries(at, steady, tenant)
        for series in ending:
            self._registry.remove(series)
            if series.exported_at is not None:
                self._just_ended[SeriesKey(series.metric, series.labels)] = None
                if not series.heads:  # a restored series may end at once
                    self._encode_heads(series)
                tenant = "" if tenant_of is None else tenant_of(series.labels)
                for head in series.heads:
                    yield ExportedSeries(head, ((at, STALE),), tenant)

    def capture_state(self, table: LabelTable) -> IncrementalWork[ExporterState]:
        """Captures the state for a snapshot. Nothing may change meanwhile."""
        ended = MsgpackList()
        for key in self._just_ended:
            ended.add((metric_name(key.metric), table.assign_number(key.labels)))
            yield 1
        return ExporterState(self.flushed_at, ended.as_field())

    def restore_state(
        self, state: ExporterState, table: LabelTable, metrics: Mapping[MetricName, Metric]
    ) -> None:
        """Restores a captured state."""
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
