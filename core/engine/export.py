"""Export: turns series, log entries and rows of views into payloads for their destinations.

Theory of operation. If all metric queues are full, the flush is held back. Otherwise it is made for
the queues that have room: one destination's outage does not affect the others. A full queue loses
nothing that the next flush does not repeat; requests in which series begin or end are queued all
the same.

A destination may have tenants (``access/tenants``): series and log entries are divided by tenant,
in payloads of their own. The embedded store has no tenants and gets the payloads of all.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

import msgspec

from ..access.tenants import Tenants
from ..config.destinations import usable_destinations
from ..config.worker_config import Config
from ..delivery.delivery_queue import DeliveryQueue
from ..delivery.payload import Payload
from ..effects import Notice
from ..metrics import health_metrics
from ..metrics.health_metrics import Health
from ..metrics.metric import Metric
from ..metrics.registry import Registry
from ..primitives.incremental import UNITS_PER_YIELD, IncrementalWork
from ..primitives.timer import Timer
from ..qoe import catalogue
from ..qoe.view_rows import ChangedViews
from ..sinks import metrics_payloads as metric_sink
from ..sinks import view_payloads as view_sink
from ..sinks.log_buffer import LogBuffer
from ..sinks.series_exporter import ExportedSeries, SeriesExporter, SteadySeries
from ..wire.loki_push import ENCODINGS
from .destination_queues import DestinationQueues

SERIES_BEGUN = 3
"""Units of work of a series in its first export, which encodes its labels."""

METADATA_INTERVAL = 300_000
"""ms between requests that carry the metrics' metadata."""


def create_log_buffer(config: Config, tenants: Tenants, *, embedded: bool) -> LogBuffer | None:
    """Create the buffer in which log entries gather; None if logs go nowhere."""
    destinations = usable_destinations(config.logs_destinations, embedded=embedded)
    if not destinations:
        return None
    return LogBuffer(
        ENCODINGS[config.loki_encoding],
        with_metadata=config.loki_structured_metadata,
        max_streams=config.loki_max_streams,
        tenants=tenants if any(one.has_tenants for one in destinations) else None,
    )


class ExportState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a snapshot holds besides the exported series and the queues.

    Attributes:
        described_at: When the metrics' metadata was sent last.
        described: Whether it ever was.
        held: Whether the latest flush of metrics was held back for some destination.
        heirs: See ``DestinationQueues``.
    """

    described_at: int | None
    described: bool
    held: bool
    heirs: dict[str, str] = {}


class Exporter:
    """Makes payloads and offers them to their queues; see ``components`` for the arguments.

    Attributes:
        series_exporters: The exporters of the two registries.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        health: Health,
        log: LogBuffer | None,
        changed_views: ChangedViews | None,
        delivery: DestinationQueues,
        tenants: Tenants,
        notices: list[Notice],
        instance: str,
    ) -> None:
        self._config = config
        self._health = health
        self._log = log
        self._changed_views = changed_views
        self._delivery = delivery
        self._tenants = tenants
        self._notices = notices
        self._metadata_timer = Timer(METADATA_INTERVAL)
        self._metadata_sent = False
        self._left_out: tuple[DeliveryQueue, ...] = ()  # of the latest flush of metrics
        # Our own health is read into its registry again and again, so its series never end:
        # one that did would come back from zero to the old total.
        self.series_exporters = (
            SeriesExporter(registry, instance, config.series_idle_timeout, is_registry_frozen=True),
            SeriesExporter(health.registry, instance, None),
        )

    def capture_state(self) -> ExportState:
        """Return the state for a snapshot."""
        return ExportState(
            self._metadata_timer.capture_state(),
            self._metadata_sent,
            bool(self._left_out),
            dict(self._delivery.heirs),
        )

    def restore_state(self, state: ExportState) -> None:
        """Restore a captured state, after that of the queues."""
        self._metadata_timer.restore_state(state.described_at)
        self._metadata_sent = state.described
        self._left_out = tuple(chain.from_iterable(self._delivery.metrics)) if state.held else ()

    def start(self, now: int) -> None:
        """Start timers and series; only the first call has an effect."""
        self._metadata_timer.start(now)
        for exporter in self.series_exporters:
            exporter.mark_start(now)

    def flush(self, now: int) -> IncrementalWork[None]:
        """Export all series, log entries and rows."""
        metrics = yield from self._metric_payloads(now)
        views = yield from self._view_payloads(now)
        payloads = (*metrics, *self._log_payloads(now), *views)
        self._delivery.release_tenants(now)
        self._delivery.offer_flushed(payloads, now)

    def export_logs_early(self, now: int, *, full_only: bool = False) -> None:
        """Export log entries without waiting for the flush: all, or those that fill a request."""
        is_full = self._log is not None and self._log.is_due(self._config.loki_batch_bytes)
        if is_full or not full_only:
            self._delivery.offer_early(self._log_payloads(now, full_only=full_only), now)

    @property
    def can_resume_held_flush(self) -> bool:
        """Whether a flush of metrics was held back that could be made now."""
        return any(not queue.is_full for queue in self._left_out)

    def _metric_payloads(self, now: int) -> IncrementalWork[Sequence[Payload]]:
        """All series for each destination, unless all queues are full."""
        queues = tuple(chain.from_iterable(self._delivery.metrics))
        full = tuple(queue for queue in queues if queue.is_full)
        # A single tenant's queue waits for the next flush: an earlier one would be for all.
        left_out = (group for group in self._delivery.metrics if group.is_full)
        self._left_out = tuple(chain.from_iterable(left_out)) if full else ()
        if full:
            # The registry keeps counting and the next flush sends the totals: an outage costs
            # resolution in time, never a count.
            self._health.count(health_metrics.FLUSHES_HELD)
            if len(full) == len(queues):
                return ()
        tenant_of = self._tenants.of_labels if self._delivery.has_tenants else None
        qoe, health = self.series_exporters
        exported = chain(qoe.export_series(now, tenant_of), health.export_series(now))
        if not self._delivery.metrics:
            for series in exported:  # they still have to age and end
                yield len(series.samples) if isinstance(series, SteadySeries) else 1
            return ()
        described = self._described(now)
        several = len(self._delivery.metrics) > 1 or tenant_of is not None
        make_writer = partial(
            metric_sink.MetricsPayloadWriter,
            described,
            now,
            self._config.max_samples_per_request,
            separate_edges=self._delivery.has_outbox or several,
        )
        writers = {"": make_writer()}
        units = 0
        for series in exported:
            if isinstance(series, ExportedSeries):
                units += SERIES_BEGUN if len(series.samples) > 1 else 1
            else:
                units += 1 if series is None else len(series.samples)
            if series is not None:
                writer = writers.get(series.tenant)
                if writer is None:
                    writer = writers[series.tenant] = make_writer(tenant=series.tenant)
                writer.add_series(series)
            if units >= UNITS_PER_YIELD:
                yield units
                units = 0
        payloads: list[Payload] = []
        for tenant, writer in writers.items():
            if tenant:
                yield UNITS_PER_YIELD  # compression takes time
            payloads += writer.finish()
            self._tenants.note_use(tenant, now)
        return tuple(self._addressed(payloads, full, now))

    def _described(self, now: int) -> tuple[Metric, ...]:
        if self._metadata_sent and not self._metadata_timer.is_due(now):
            return ()
        self._metadata_sent = True
        self._metadata_timer.restart(now)
        # Some names are a gauge and a histogram; metadata knows one type for a name.
        by_name = {metric.name: metric for metric in (*catalogue.METRICS, *health_metrics.METRICS)}
        return tuple(by_name.values())

    def _addressed(
        self, payloads: Iterable[Payload], full: tuple[DeliveryQueue, ...], now: int
    ) -> Iterator[Payload]:
        """Payloads of metrics for each destination; for a full one those that it cannot miss."""
        overfull = tuple(queue for queue in full if queue.is_overfull)
        for payload in payloads:
            for group in self._delivery.metrics:
                queue = group.queue_for(payload.tenant)
                if queue not in full or (not payload.thinnable and queue not in overfull):
                    yield group.address(payload)
                elif not payload.thinnable:
                    self._notices += queue.decline(payload, now)

    def _log_payloads(self, now: int, *, full_only: bool = False) -> Iterator[Payload]:
        """Log entries for each destination."""
        if self._log is not None:
            for payload in self._log.drain_payloads(
                now, self._config.loki_batch_bytes, full_only=full_only
            ):
                self._tenants.note_use(payload.tenant, now)
                for group in self._delivery.logs:
                    yield group.address(payload)

    def _view_payloads(self, now: int) -> IncrementalWork[Sequence[Payload]]:
        """Rows of the views that have changed, for each destination."""
        if self._changed_views is None:
            return ()
        payloads = yield from view_sink.drain_payloads(self._changed_views, now)
        return [group.address(payload) for payload in payloads for group in self._delivery.views]
