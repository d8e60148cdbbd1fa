"""The way out: flushes turn series and log entries into payloads, queues deliver them.

Theory of operation. There may be several destinations of a kind (the embedded store beside
Prometheus and Loki), each with a queue of its own. A payload is encoded once and offered to each;
in the outbox it is stored once for each, under a number of its own and with the destination's
name. So a queue lets go of its payloads when it likes, thins them and drops them, and no other
has to be asked; what that costs is a second body on the disk, in this one setting.

A queue of metrics that is full holds the flush, if it is the only one or all are. Otherwise the
flush is made, for the sake of those that have room: one destination's outage is not the others'.
What the full one then misses is what the next flush repeats anyway; requests in which series
begin or end it is given all the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from ..config.destinations import Destination
from ..config.worker_config import Config
from ..delivery.delivery_queue import DeliveryQueue
from ..delivery.payload import BodySplitter, Payload
from ..delivery.queue_status import DeliveryQueueState
from ..delivery.verdict import PayloadKind
from ..effects import (
    HttpResult,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    PayloadBody,
    RemoteWrite,
    StorageFailure,
    StoredPayload,
)
from ..metrics import health_metrics
from ..metrics.health_metrics import Health
from ..metrics.metric import Metric
from ..metrics.registry import Registry
from ..primitives.incremental import STEP, Work
from ..primitives.timer import Timer
from ..qoe import catalogue
from ..sinks import metrics_payloads as metric_sink
from ..sinks.log_buffer import LogBuffer
from ..sinks.series_exporter import ExportedSeries, SeriesExporter, SteadySeries
from ..version import VERSION
from ..wire import remote_write
from ..wire.loki_push import ENCODINGS
from .durability import Durability

SERIES_BEGUN = 3
"""Units of work that a series takes in its first export: its labels are encoded, once."""

METADATA_INTERVAL = 300_000
"""ms between requests that carry the metrics' metadata."""


class ExportState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the way out knows beside its exporters and queues, in a snapshot.

    Attributes:
        described_at: When the metrics' metadata was sent last.
        described: Whether it ever was.
        held: Whether the latest flush of metrics was put off, for some destination at least.
        heirs: Which destination gets what the outbox has for another that is no more.
    """

    described_at: int | None
    described: bool
    held: bool
    heirs: dict[str, str] = {}


class ExportPipeline:
    """Everything between the registries and the destinations.

    Attributes:
        log: Where log entries gather; None if logs go nowhere.
    """

    def __init__(
        self,
        config: Config,
        health: Health,
        persistence: Durability | None,
        *,
        instance: str,
        seed: int,
        embedded: bool,
    ) -> None:
        self._config = config
        self._persistence = persistence
        self._health = health
        self._instance = instance
        self._exporters: tuple[SeriesExporter, ...] = ()
        self._metadata_timer = Timer(METADATA_INTERVAL)
        self._metadata_sent = False
        self._notices: list[Notice] = []
        self._metrics = tuple(
            self._queue(destination, "metrics", remote_write.split_request, seed)
            for destination in config.metrics_destinations
            if embedded or not destination.is_embedded
        )
        self._left_out: tuple[DeliveryQueue, ...] = ()  # of the latest flush of metrics
        self.log: LogBuffer | None = None
        self._logs: tuple[DeliveryQueue, ...] = ()
        destinations = [d for d in config.logs_destinations if embedded or not d.is_embedded]
        if destinations:
            encoding = ENCODINGS[config.loki_encoding]
            self.log = LogBuffer(encoding, with_metadata=config.loki_structured_metadata)
            self._logs = tuple(
                self._queue(destination, "logs", encoding.split_request, seed)
                for destination in destinations
            )
        self.queues = (*self._metrics, *self._logs)
        self._by_name = {queue.destination.name: queue for queue in self.queues}
        self._known: frozenset[str] = frozenset()  # destinations that the last process had
        self._heirs: dict[str, str] = {}

    def export(self, qoe: Registry, health: Registry) -> None:
        """Name the registries that flushes send."""
        # Our own health is read into its registry again and again, so its series never end:
        # one that did would come back from zero to the old total.
        idle = self._config.series_idle_timeout
        self._exporters = (
            SeriesExporter(qoe, self._instance, idle, is_registry_frozen=True),
            SeriesExporter(health, self._instance, None),
        )

    @property
    def exporters(self) -> tuple[SeriesExporter, ...]:
        """What has been sent of each registry."""
        return self._exporters

    def state(self) -> ExportState:
        """The state, for a snapshot."""
        return ExportState(
            self._metadata_timer.state(),
            self._metadata_sent,
            bool(self._left_out),
            dict(self._heirs),
        )

    def restore(self, state: ExportState, queues: Mapping[str, DeliveryQueueState]) -> None:
        """Take a state back, and those of the queues by destination."""
        self._metadata_timer.restore(state.described_at)
        self._metadata_sent = state.described
        self._left_out = self._metrics if state.held else ()
        self._known = frozenset(queues)
        self._heirs = {name: h for name, h in state.heirs.items() if name not in self._by_name}
        for name, queue in self._by_name.items():
            if name in queues:
                queue.restore_state(queues[name])

    def begin(self, now: int) -> None:
        """Note when the worker came to life; only the first call counts."""
        self._metadata_timer.start(now)
        for exporter in self._exporters:
            exporter.mark_start(now)

    def flush(self, now: int) -> Work[None]:
        """Send everything, or stage it to be stored first."""
        metrics = yield from self._metric_payloads(now)
        payloads = (*metrics, *self._log_payloads(now))
        if self._persistence is None:
            self._offer(payloads, now)
        else:
            numbered = tuple(self._persistence.number(payload) for payload in payloads)
            self._persistence.stage(numbered)

    def flush_logs(self, now: int) -> None:
        """Send all log entries."""
        self._send_early(self._log_payloads(now), now)

    def flush_many_logs(self, now: int) -> None:
        """Send log entries that fill a request: so many should not wait for the flush."""
        if self.log is not None and self.log.size >= self._config.loki_batch_bytes:
            self._send_early(self._log_payloads(now, full_only=True), now)

    def _send_early(self, payloads: Iterable[Payload], now: int) -> None:
        payloads = tuple(payloads)
        if self._persistence is not None:
            payloads = tuple(self._persistence.number(payload) for payload in payloads)
            for payload in payloads:
                self._persistence.sent_early(payload)
        self._offer(payloads, now)

    def stored(self, payloads: Iterable[Payload], now: int) -> None:
        """Staged payloads are in the outbox: they may go out."""
        self._offer(payloads, now)

    def resume(self, payloads: Iterable[StoredPayload], now: int) -> None:
        """Go on with payloads that an earlier process left in the outbox."""
        assert self._persistence is not None
        unwanted: dict[str, list[StoredPayload]] = {}
        for stored in payloads:
            queue = self._queue_of(stored)
            if queue is None:
                unwanted.setdefault(stored.kind, []).append(stored)
            else:
                self._notices += queue.offer(Payload.from_stored(stored), now)
        for kind, group in unwanted.items():
            self._persistence.left(tuple(stored.number for stored in group))
            fields = (("kind", kind), ("items", sum(stored.items for stored in group)))
            self._notices.append(
                Notice("warning", "dropped from the outbox: no destination for it", fields)
            )

    def _queue_of(self, stored: StoredPayload) -> DeliveryQueue | None:
        """The queue that a payload of the outbox belongs to; None if nobody wants it.

        If its destination is no more, whichever took its place is its heir: one that the last
        process did not have. One that it had got a copy of its own.
        """
        queues = {
            queue.destination.name: queue for queue in self.queues if queue.kind == stored.kind
        }
        if not stored.destination:
            return next(iter(queues.values()), None)
        name = self._heirs.get(stored.destination, stored.destination)
        if name not in queues:
            taken = {*self._known, *self._heirs.values()}
            heir = next((name for name in queues if name not in taken), None)
            if heir is None:
                return None
            name = self._heirs[stored.destination] = heir
        return queues[name]

    def _offer(self, payloads: Iterable[Payload], now: int) -> None:
        for payload in payloads:
            self._notices += self._by_name[payload.destination].offer(payload, now)

    def _metric_payloads(self, now: int) -> Work[Sequence[Payload]]:
        """All series for each destination, unless all queues are full."""
        full = self._left_out = tuple(queue for queue in self._metrics if queue.is_full)
        if full:
            # The registry goes on counting and the next flush sends the totals: what an
            # outage costs is resolution in time, never a count.
            self._health.count(health_metrics.FLUSHES_HELD)
            if len(full) == len(self._metrics):
                return ()
        exported = chain.from_iterable(exporter.export_series(now) for exporter in self._exporters)
        if not self._metrics:
            for series in exported:  # they still have to age and end
                yield len(series.samples) if isinstance(series, SteadySeries) else 1
            return ()
        writer = metric_sink.MetricsPayloadWriter(
            self._described(now),
            now,
            self._config.max_samples_per_request,
            separate_edges=self._persistence is not None or len(self._metrics) > 1,
        )
        units = 0
        for series in exported:
            if isinstance(series, ExportedSeries):
                units += SERIES_BEGUN if len(series.samples) > 1 else 1
            else:
                units += 1 if series is None else len(series.samples)
            if series is not None:
                writer.add_series(series)
            if units >= STEP:
                yield units
                units = 0
        return tuple(self._addressed(writer.finish(), full, now))

    def _addressed(
        self, payloads: Iterable[Payload], full: tuple[DeliveryQueue, ...], now: int
    ) -> Iterator[Payload]:
        """Payloads of metrics for each destination; for a full one those that it cannot miss."""
        overfull = tuple(queue for queue in full if queue.is_overfull)
        for payload in payloads:
            for queue in self._metrics:
                if queue not in full or (not payload.thinnable and queue not in overfull):
                    yield payload.for_destination(queue.destination.name)
                elif not payload.thinnable:
                    self._notices += queue.decline(payload, now)

    def _log_payloads(self, now: int, *, full_only: bool = False) -> Iterator[Payload]:
        """Log entries for each destination."""
        if self.log is not None:
            for payload in self.log.drain_payloads(
                now, self._config.loki_batch_bytes, full_only=full_only
            ):
                for queue in self._logs:
                    yield payload.for_destination(queue.destination.name)

    def due(self, next_id: int, now: int) -> tuple[RemoteWrite | LokiPush | LoadPayload, ...]:
        """The requests that are to be sent now, with ids from ``next_id`` on."""
        effects: list[RemoteWrite | LokiPush | LoadPayload] = []
        for queue in self.queues:
            effect = queue.next_request(next_id + len(effects), now)
            if effect is not None:
                effects.append(effect)
            if self._persistence is not None:
                self._persistence.left(queue.pop_finished_numbers())
        return tuple(effects)

    def complete(
        self,
        effect_id: int,
        result: HttpResult | NetworkFailure | PayloadBody | StorageFailure,
        now: int,
    ) -> None:
        """Take the result of a request, or a payload that was loaded for one."""
        for queue in self.queues:
            self._notices += queue.complete(effect_id, result, now)

    @property
    def may_catch_up(self) -> bool:
        """Whether a flush of metrics was held that could be made now."""
        return any(not queue.is_full for queue in self._left_out)

    def notices(self) -> tuple[Notice, ...]:
        """What there is to tell since the last call."""
        notices, self._notices = tuple(self._notices), []
        return notices

    def hurry(self) -> None:
        """The process is about to end: try again without delay."""
        for queue in self.queues:
            queue.begin_drain()

    def next_poll(self) -> int | None:
        """When the next request will be due."""
        times = [queue.next_poll for queue in self.queues]
        return min((time for time in times if time is not None), default=None)

    @property
    def waiting(self) -> Mapping[str, int]:
        """Samples or log entries that wait, by destination."""
        return {
            queue.destination.name: sum(payload.items for payload in queue.waiting)
            for queue in self.queues
        }

    def _described(self, now: int) -> tuple[Metric, ...]:
        if self._metadata_sent and not self._metadata_timer.is_due(now):
            return ()
        self._metadata_sent = True
        self._metadata_timer.restart(now)
        # Some names are a gauge and a histogram; metadata knows one type for a name.
        by_name = {metric.name: metric for metric in (*catalogue.METRICS, *health_metrics.METRICS)}
        return tuple(by_name.values())

    def _queue(
        self, destination: Destination, kind: PayloadKind, split: BodySplitter, seed: int
    ) -> DeliveryQueue:
        memory = self._persistence is None
        return DeliveryQueue(
            destination,
            kind,
            max_bytes=self._config.queue_max_bytes if memory else self._config.outbox_max_bytes,
            max_age=None if memory else self._config.outbox_max_age,
            seed=seed,
            split=split,
            user_agent=f"openqoe-worker/{VERSION}",
        )
