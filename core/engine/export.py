"""The export pipeline: flushes turn series and log entries into payloads, queues deliver them.

Theory of operation. There may be several destinations of a kind (the embedded store beside
Prometheus and Loki), each with a queue of its own. A payload is encoded once and offered to each
queue; the outbox stores it once for each destination, under a number of its own. So each queue
delivers, thins and drops its payloads independently. The cost is a second body on the disk where
there are several destinations.

If all metric queues are full, the flush is held back. Otherwise the flush is made for the queues
that have room: one destination's outage does not affect the others. A full queue loses nothing that
the next flush does not repeat; requests in which series begin or end are queued all the same.

A destination may have tenants (``access/tenants``). Each has a queue of its own, and payloads of
its own: series and log entries are divided by tenant at the flush. The embedded store has no
tenants and gets the payloads of all. A queue is found by its destination's name, in which the
tenant is ("mimir/acme"): so snapshot and outbox need nothing else, and a restored worker sends what
waits to the tenants that it was for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import msgspec

from ..access.tenants import Tenants
from ..cluster.forwarding import PAYLOAD_BYTES, Forwarding, slot_name
from ..config.destinations import Destination, split_destination, tenant_destination
from ..config.worker_config import Config
from ..delivery.byte_pool import BytePool
from ..delivery.delivery_queue import DeliveryQueue
from ..delivery.log_redating import LateEntryRedater
from ..delivery.payload import BodySplitter, Payload
from ..delivery.payload_buffer import MAX_LOADED
from ..delivery.queue_group import QueueGroup
from ..delivery.queue_status import DeliveryQueueState
from ..effects import (
    Delivery,
    HttpResult,
    LoadPayload,
    NetworkFailure,
    Notice,
    PayloadBody,
    PayloadKind,
    StorageFailure,
    StoredPayload,
)
from ..metrics import health_metrics
from ..metrics.health_metrics import Health
from ..metrics.metric import Metric
from ..metrics.registry import Registry
from ..primitives.incremental import UNITS_PER_YIELD, IncrementalWork
from ..primitives.timer import Timer, earliest
from ..qoe import catalogue
from ..qoe.view_rows import ChangedViews
from ..sinks import metrics_payloads as metric_sink
from ..sinks import view_payloads as view_sink
from ..sinks.log_buffer import LogBuffer
from ..sinks.series_exporter import ExportedSeries, SeriesExporter, SteadySeries
from ..version import VERSION
from ..wire import remote_write, view_rows
from ..wire.loki_push import ENCODINGS
from .durability import Durability
from .effect_ids import EffectIds

SERIES_BEGUN = 3
"""Units of work of a series in its first export, which encodes its labels."""

GATHERING_TIME = 50
"""ms for which batches to forward gather. No client waits for them, and a request with many costs
little more than one with one: threads of two processes take turns for it."""

METADATA_INTERVAL = 300_000
"""ms between requests that carry the metrics' metadata."""


class ExportState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The export pipeline in a snapshot, without its exporters and queues.

    Attributes:
        described_at: When the metrics' metadata was sent last.
        described: Whether it ever was.
        held: Whether the latest flush of metrics was held back for some destination.
        heirs: Destinations that inherit the payloads of destinations that are no longer configured.
    """

    described_at: int | None
    described: bool
    held: bool
    heirs: dict[str, str] = {}


class ExportPipeline:
    """Turns registries and log entries into payloads and delivers them.

    Attributes:
        groups: The queues of each destination.
        log: Where log entries gather; None if logs go nowhere.
        changed_views: Where views gather whose rows are due; None if rows go nowhere.
    """

    def __init__(
        self,
        config: Config,
        health: Health,
        durability: Durability | None,
        tenants: Tenants,
        notices: list[Notice],
        *,
        instance: str,
        seed: int,
        embedded: bool,
        forwarding: Forwarding | None = None,
    ) -> None:
        self._config = config
        self._forwarding = forwarding
        self._gathering_since: int | None = None  # when the first batch to forward came, ms
        self._gathering_time = GATHERING_TIME
        self._durability = durability
        self._health = health
        self._instance = instance
        self._exporters: tuple[SeriesExporter, ...] = ()
        self._metadata_timer = Timer(METADATA_INTERVAL)
        self._metadata_sent = False
        self._notices = notices
        self._tenants = tenants
        self._metrics = tuple(
            self._group(destination, "metrics", remote_write.split_request, seed)
            for destination in config.metrics_destinations
            if embedded or not destination.is_embedded
        )
        self._left_out: tuple[DeliveryQueue, ...] = ()  # of the latest flush of metrics
        self.log: LogBuffer | None = None
        self._logs: tuple[QueueGroup, ...] = ()
        destinations = [d for d in config.logs_destinations if embedded or not d.is_embedded]
        if destinations:
            encoding = ENCODINGS[config.loki_encoding]
            self.log = LogBuffer(
                encoding,
                with_metadata=config.loki_structured_metadata,
                max_streams=config.loki_max_streams,
                tenants=tenants if any(one.has_tenants for one in destinations) else None,
            )
            self._logs = tuple(
                self._group(destination, "logs", encoding.split_request, seed)
                for destination in destinations
            )
        self._views = tuple(
            self._group(destination, "views", view_rows.split_request, seed)
            for destination in config.views_destinations
            if embedded
        )
        self.changed_views = ChangedViews() if self._views else None
        self._slots = {
            slot: self._group(Destination(slot_name(slot), ""), "batches", _split_nothing, seed)
            for slot in (forwarding.partition.others if forwarding is not None else ())
        }
        self.groups = (*self._metrics, *self._logs, *self._views, *self._slots.values())
        self._by_name = {group.destination.name: group for group in self.groups}
        self._known: frozenset[str] = frozenset()  # destinations that the last process had
        self._heirs: dict[str, str] = {}

    def set_registries(self, qoe: Registry, health: Registry) -> None:
        """Set the registries that flushes send."""
        # Our own health is read into its registry again and again, so its series never end:
        # one that did would come back from zero to the old total.
        idle = self._config.series_idle_timeout
        self._exporters = (
            SeriesExporter(qoe, self._instance, idle, is_registry_frozen=True),
            SeriesExporter(health, self._instance, None),
        )

    @property
    def queues(self) -> tuple[DeliveryQueue, ...]:
        """All queues."""
        return tuple(chain.from_iterable(self.groups))

    @property
    def exporters(self) -> tuple[SeriesExporter, ...]:
        """The exporters of the two registries."""
        return self._exporters

    def capture_state(self) -> ExportState:
        """Return the state for a snapshot."""
        return ExportState(
            self._metadata_timer.capture_state(),
            self._metadata_sent,
            bool(self._left_out),
            dict(self._heirs),
        )

    def restore_state(self, state: ExportState, queues: Mapping[str, DeliveryQueueState]) -> None:
        """Restore a captured state, and those of the queues by destination."""
        self._metadata_timer.restore_state(state.described_at)
        self._metadata_sent = state.described
        self._known = frozenset(split_destination(name)[0] for name in queues)
        self._heirs = {name: h for name, h in state.heirs.items() if name not in self._by_name}
        for name, saved in queues.items():
            destination, tenant = split_destination(name)
            group = self._by_name.get(destination)
            if group is not None and (group.destination.has_tenants or not tenant):
                self._restored_queue(group, tenant).restore_state(saved)
        self._left_out = tuple(chain.from_iterable(self._metrics)) if state.held else ()

    def _restored_queue(self, group: QueueGroup, tenant: str) -> DeliveryQueue:
        if tenant:
            self._tenants.restore((tenant,))
        return group.queue_for(tenant)

    def start(self, now: int) -> None:
        """Start timers and series; only the first call has an effect."""
        self._metadata_timer.start(now)
        for exporter in self._exporters:
            exporter.mark_start(now)

    def flush(self, now: int) -> IncrementalWork[None]:
        """Export all series and log entries, or stage them to be stored first."""
        metrics = yield from self._metric_payloads(now)
        views = yield from self._view_payloads(now)
        payloads = (*metrics, *self._log_payloads(now), *views)
        self._release_tenants(now)
        if self._durability is None:
            self._offer(payloads, now)
        else:
            numbered = tuple(self._durability.number(payload) for payload in payloads)
            self._durability.stage(numbered)

    def empty_buffers(self, now: int) -> None:
        """Give all log entries and forwarded batches to their queues: a snapshot holds none."""
        self._send_early(self._log_payloads(now), now)
        self.forward_waiting(now)

    def forward_waiting(self, now: int) -> None:
        """Give all batches that wait for other workers to the queues, without gathering more."""
        if self._forwarding is not None:
            for slot in self._slots:
                self._send_early(self._forwarding.drain_payloads(slot, now), now)

    @property
    def is_forwarding(self) -> bool:
        """Whether a batch waits for another worker of the host, or is on its way there."""
        has_waiting = self._forwarding is not None and self._forwarding.has_waiting
        return has_waiting or not all(group.is_empty for group in self._slots.values())

    def must_forward(self, now: int) -> bool:
        """Whether it is time to forward batches to a slot whose queue is idle."""
        forwarding = self._forwarding
        if forwarding is None or not forwarding.has_waiting:
            return False
        if self._gathering_since is None or self._gathering_since > now:
            self._gathering_since = now
        is_time = now - self._gathering_since >= self._gathering_time
        return (is_time or forwarding.bytes >= PAYLOAD_BYTES) and self._has_idle_slot

    @property
    def _has_idle_slot(self) -> bool:
        """Whether batches wait for a slot whose queue is idle."""
        forwarding = self._forwarding
        return (
            forwarding is not None
            and forwarding.has_waiting
            and any(
                group.is_empty and forwarding.is_waiting(slot)
                for slot, group in self._slots.items()
            )
        )

    def _forward_batches(self, now: int) -> None:
        """Give forwarded batches to the queues that are idle; the others gather."""
        forwarding = self._forwarding
        if forwarding is None:
            return
        if self.must_forward(now):
            self._gathering_since = None
            for slot, group in self._slots.items():
                if group.is_empty and forwarding.is_waiting(slot):
                    self._send_early(forwarding.drain_payloads(slot, now), now)
        if forwarding.full_slots or any(group.is_full for group in self._slots.values()):
            full = (slot for slot, group in self._slots.items() if group.is_full)
            forwarding.full_slots = frozenset(full)

    def is_reachable(self, slot: int) -> bool:
        """Whether the owner of a slot accepted the latest batches that were forwarded to it."""
        return all(queue.is_accepting for queue in self._slots[slot])

    def flush_full_logs(self, now: int) -> None:
        """Export the log entries that fill a request, without waiting for the flush."""
        if self.log is not None and self.log.is_due(self._config.loki_batch_bytes):
            self._send_early(self._log_payloads(now, full_only=True), now)

    def _send_early(self, payloads: Iterable[Payload], now: int) -> None:
        payloads = tuple(payloads)
        if self._durability is not None:
            payloads = tuple(self._durability.number(payload) for payload in payloads)
            for payload in payloads:
                self._durability.note_early(payload)
        self._offer(payloads, now, is_stored=False)

    def release_staged(self, payloads: Iterable[Payload], now: int) -> None:
        """Offer staged payloads to their queues: they are in the outbox now."""
        self._offer(payloads, now)
        if self._durability is not None:
            for group in self.groups:
                for queue in group.active:
                    queue.unload(self._durability.unstored)

    def resume(self, payloads: Iterable[StoredPayload], now: int) -> None:
        """Queue the payloads that an earlier process left in the outbox."""
        assert self._durability is not None
        unwanted: dict[str, list[StoredPayload]] = {}
        for stored in payloads:
            group = self._group_of(stored)
            if group is None:
                unwanted.setdefault(stored.kind, []).append(stored)
                continue
            _, tenant = split_destination(stored.destination)
            tenant = tenant if group.destination.has_tenants else ""
            self._restored_queue(group, tenant)
            self._notices += group.offer(Payload.from_stored(stored), tenant, now)
        for kind, dropped in unwanted.items():
            self._durability.forget_payloads(tuple(stored.number for stored in dropped))
            fields = (("kind", kind), ("items", sum(stored.items for stored in dropped)))
            self._notices.append(
                Notice("warning", "payloads dropped: destination is no longer configured", fields)
            )

    def _group_of(self, stored: StoredPayload) -> QueueGroup | None:
        """Return the queues for a payload of the outbox; None if no destination wants it.

        A destination that is no longer configured is inherited by one that the previous process
        did not have: a destination that it had already got its own copy.
        """
        groups = {
            group.destination.name: group for group in self.groups if group.kind == stored.kind
        }
        before, _ = split_destination(stored.destination)
        name = self._heirs.get(before, before)
        if name not in groups:
            excluded = {*self._known, *self._heirs.values()}
            heir = next((name for name in groups if name not in excluded), None)
            if heir is None:
                return None
            name = self._heirs[before] = heir
        return groups[name]

    def _offer(self, payloads: Iterable[Payload], now: int, *, is_stored: bool = True) -> None:
        for payload in payloads:
            name, tenant = split_destination(payload.destination)
            group = self._by_name[name]
            self._notices += group.offer(payload, tenant, now, is_stored=is_stored)

    def _address(self, payload: Payload, group: QueueGroup) -> Payload:
        """Return the payload for the queue of its tenant."""
        tenant = payload.tenant if group.destination.has_tenants else ""
        return payload.for_destination(tenant_destination(group.destination.name, tenant))

    def _release_tenants(self, now: int) -> None:
        """Remove the queues of tenants that have had no data for long."""
        if not self._tenants.count:
            return

        def is_idle(tenant: str) -> bool:
            queues = (group.tenants.get(tenant) for group in self.groups)
            return all(queue is None or queue.is_empty for queue in queues)

        for tenant in self._tenants.release_unused(is_idle, now):
            for group in self.groups:
                group.remove(tenant)

    def _metric_payloads(self, now: int) -> IncrementalWork[Sequence[Payload]]:
        """All series for each destination, unless all queues are full."""
        queues = tuple(chain.from_iterable(self._metrics))
        full = tuple(queue for queue in queues if queue.is_full)
        # A single tenant's queue waits for the next flush: an earlier one would be for all.
        left_out = (group for group in self._metrics if group.is_full)
        self._left_out = tuple(chain.from_iterable(left_out)) if full else ()
        if full:
            # The registry keeps counting and the next flush sends the totals: an outage costs
            # resolution in time, never a count.
            self._health.count(health_metrics.FLUSHES_HELD)
            if len(full) == len(queues):
                return ()
        tenant_of = self._tenants.of_labels if self._has_tenants else None
        qoe, health = self._exporters
        exported = chain(qoe.export_series(now, tenant_of), health.export_series(now))
        if not self._metrics:
            for series in exported:  # they still have to age and end
                yield len(series.samples) if isinstance(series, SteadySeries) else 1
            return ()
        described = self._described(now)
        several = len(self._metrics) > 1 or tenant_of is not None
        make_writer = partial(
            metric_sink.MetricsPayloadWriter,
            described,
            now,
            self._config.max_samples_per_request,
            separate_edges=self._durability is not None or several,
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

    def _addressed(
        self, payloads: Iterable[Payload], full: tuple[DeliveryQueue, ...], now: int
    ) -> Iterator[Payload]:
        """Payloads of metrics for each destination; for a full one those that it cannot miss."""
        overfull = tuple(queue for queue in full if queue.is_overfull)
        for payload in payloads:
            for group in self._metrics:
                queue = group.queue_for(payload.tenant)
                if queue not in full or (not payload.thinnable and queue not in overfull):
                    yield self._address(payload, group)
                elif not payload.thinnable:
                    self._notices += queue.decline(payload, now)

    def _log_payloads(self, now: int, *, full_only: bool = False) -> Iterator[Payload]:
        """Log entries for each destination."""
        if self.log is not None:
            for payload in self.log.drain_payloads(
                now, self._config.loki_batch_bytes, full_only=full_only
            ):
                self._tenants.note_use(payload.tenant, now)
                for group in self._logs:
                    yield self._address(payload, group)

    def _view_payloads(self, now: int) -> IncrementalWork[Sequence[Payload]]:
        """Rows of the views that have changed, for each destination."""
        if self.changed_views is None:
            return ()
        payloads = yield from view_sink.drain_payloads(self.changed_views, now)
        return [self._address(payload, group) for payload in payloads for group in self._views]

    def due_requests(self, ids: EffectIds, now: int) -> list[Delivery | LoadPayload]:
        """Return the requests to send now."""
        self._forward_batches(now)
        effects: list[Delivery | LoadPayload] = []
        for group in self.groups:
            for queue in group.active:
                effect = queue.next_request(ids.upcoming, now)
                if effect is not None:
                    ids.issue()
                    effects.append(effect)
                if self._durability is not None:
                    self._durability.forget_payloads(queue.pop_finished_numbers())
                group.note_finished(queue)
        return effects

    def complete(
        self,
        effect_id: int,
        result: HttpResult | NetworkFailure | PayloadBody | StorageFailure,
        now: int,
    ) -> None:
        """Process the result of a request, or a payload that was loaded for one."""
        for group in self.groups:
            for queue in group.active:
                self._notices += queue.complete(effect_id, result, now)

    @property
    def can_resume_held_flush(self) -> bool:
        """Whether a flush of metrics was held back that could be made now."""
        return any(not queue.is_full for queue in self._left_out)

    def hurry(self) -> None:
        """Retry without delay, because the process is about to end."""
        self._gathering_time = 0
        for group in self.groups:
            group.begin_drain()

    def next_poll(self) -> int | None:
        """Return when the next request is due, ms; None if none waits."""
        times = [group.next_poll for group in self.groups]
        if self._has_idle_slot:
            times.append((self._gathering_since or 0) + self._gathering_time)
        return earliest(times)

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

    @property
    def _has_tenants(self) -> bool:
        """Whether series and log entries are divided by tenant."""
        return self._tenants.is_used and any(group.destination.has_tenants for group in self.groups)

    def _group(
        self, destination: Destination, kind: PayloadKind, split: BodySplitter, seed: int
    ) -> QueueGroup:
        memory = self._durability is None
        pool = BytePool(self._config.queue_max_bytes if memory else self._config.outbox_max_bytes)
        loaded_pool = BytePool(MAX_LOADED)

        def make_queue(one: Destination) -> DeliveryQueue:
            redater = separator = None
            if kind == "logs" and self.log is not None and not one.is_embedded:
                separator = ENCODINGS[self._config.loki_encoding]
                has_own_streams = "instance" in self._config.log_labels
                redater = LateEntryRedater(self.log.redate_payload, has_own_streams=has_own_streams)
            return DeliveryQueue(
                one,
                kind,
                pool=pool,
                loaded_pool=loaded_pool,
                max_age=None if memory else self._config.outbox_max_age,
                seed=seed,
                split=split,
                redater=redater,
                separator=separator,
                user_agent=f"openqoe-worker/{VERSION}",
            )

        return QueueGroup(destination, make_queue)


def _split_nothing(body: bytes) -> Sequence[tuple[bytes, int]]:
    return ()
