"""The delivery queues of all destinations: payloads in, requests out.

Theory of operation. There may be several destinations of a kind (the embedded store beside
Prometheus and Loki), each with a queue of its own. A payload is encoded once and offered to each
queue; the outbox stores it once for each destination, under a number of its own. So each queue
delivers, thins and drops its payloads independently. The cost is a second body on the disk where
there are several destinations.

A destination may have tenants (``access/tenants``), each with a queue of its own. A queue is found
by its destination's name, in which the tenant is ("mimir/acme"): so snapshot and outbox need
nothing else, and a restored worker sends what waits to the tenants that it was for.

The other slots of the host are destinations, too: of the batches that ``cluster/forwarding``
gathers for them.
"""

from collections.abc import Iterable, Mapping
from itertools import chain

from ..access.tenants import Tenants
from ..cluster.forwarding import slot_name
from ..config.destinations import Destination, split_destination, usable_destinations
from ..config.worker_config import Config
from ..delivery.byte_pool import BytePool
from ..delivery.delivery_queue import DeliveryQueue
from ..delivery.log_redating import LateEntryRedater
from ..delivery.payload import BodySplitter, Payload
from ..delivery.payload_buffer import MAX_LOADED
from ..delivery.queue_group import QueueGroup
from ..delivery.queue_status import DeliveryQueueState
from ..effects import Delivery, DeliveryResult, LoadPayload, Notice, PayloadKind, StoredPayload
from ..primitives.timer import earliest
from ..sinks.log_buffer import LogBuffer
from ..wire import remote_write, view_rows
from ..wire.loki_push import ENCODINGS
from .durability import Durability
from .effect_ids import EffectIds


class DestinationQueues:
    """The queues of all destinations; see ``components`` for the arguments.

    Attributes:
        metrics: The queues of each destination of metrics.
        logs: Those of each destination of logs.
        views: Those of each destination of rows of views.
        slots: Those of batches for other slots of the host, by slot.
        groups: All of these.
        heirs: Destinations that inherit the payloads of destinations that are no longer configured.
    """

    def __init__(
        self,
        config: Config,
        log: LogBuffer | None,
        durability: Durability | None,
        tenants: Tenants,
        notices: list[Notice],
        *,
        seed: int,
        embedded: bool,
        slots: Iterable[int],
    ) -> None:
        self._config = config
        self._log = log
        self._durability = durability
        self._tenants = tenants
        self._notices = notices
        self._seed = seed

        def groups(
            destinations: Iterable[Destination], kind: PayloadKind, split: BodySplitter
        ) -> tuple[QueueGroup, ...]:
            usable = usable_destinations(destinations, embedded=embedded)
            return tuple(self._create_group(one, kind, split) for one in usable)

        split_logs = ENCODINGS[config.loki_encoding].split_request
        self.metrics = groups(config.metrics_destinations, "metrics", remote_write.split_request)
        self.logs = groups(config.logs_destinations, "logs", split_logs)
        self.views = groups(config.views_destinations, "views", view_rows.split_request)
        self.slots = {
            slot: self._create_group(Destination(slot_name(slot), ""), "batches", lambda _: ())
            for slot in slots
        }
        self.groups = (*self.metrics, *self.logs, *self.views, *self.slots.values())
        self._by_name = {group.destination.name: group for group in self.groups}
        self._known: frozenset[str] = frozenset()  # destinations that the last process had
        self.heirs: dict[str, str] = {}

    def _create_group(
        self, destination: Destination, kind: PayloadKind, split: BodySplitter
    ) -> QueueGroup:
        config, log, memory = self._config, self._log, self._durability is None
        pool = BytePool(config.queue_max_bytes if memory else config.outbox_max_bytes)
        loaded_pool = BytePool(MAX_LOADED)

        def make_queue(one: Destination) -> DeliveryQueue:
            redater = separator = None
            if kind == "logs" and log is not None and not one.is_embedded:
                separator = ENCODINGS[config.loki_encoding]
                has_own_streams = "instance" in config.log_labels
                redater = LateEntryRedater(log.redate_payload, has_own_streams=has_own_streams)
            return DeliveryQueue(
                one,
                kind,
                pool=pool,
                loaded_pool=loaded_pool,
                max_age=None if memory else config.outbox_max_age,
                seed=self._seed,
                split=split,
                redater=redater,
                separator=separator,
            )

        return QueueGroup(destination, make_queue)

    @property
    def has_outbox(self) -> bool:
        """Whether payloads are stored before they are sent."""
        return self._durability is not None

    @property
    def has_tenants(self) -> bool:
        """Whether series and log entries are divided by tenant."""
        return self._tenants.is_used and any(group.destination.has_tenants for group in self.groups)

    # Payloads

    def offer_flushed(self, payloads: Iterable[Payload], now: int) -> None:
        """Add the payloads of a flush; with an outbox they wait until they are stored."""
        if self._durability is None:
            self._offer(payloads, now)
        else:
            self._durability.stage(tuple(map(self._durability.number, payloads)))

    def release_staged(self, payloads: Iterable[Payload], now: int) -> None:
        """Add staged payloads: they are in the outbox now."""
        self._offer(payloads, now)
        if self._durability is not None:
            for group in self.groups:
                for queue in group.active:
                    queue.unload(self._durability.unstored)

    def offer_early(self, payloads: Iterable[Payload], now: int) -> None:
        """Add payloads whose batches are in the journal still, so that they need not be stored."""
        if self._durability is not None:
            payloads = tuple(map(self._durability.number, payloads))
            for payload in payloads:
                self._durability.note_early(payload)
        self._offer(payloads, now, is_stored=False)

    def _offer(self, payloads: Iterable[Payload], now: int, *, is_stored: bool = True) -> None:
        for payload in payloads:
            name, tenant = split_destination(payload.destination)
            group = self._by_name[name]
            self._notices += group.offer(payload, tenant, now, is_stored=is_stored)

    # Requests

    def due_requests(self, ids: EffectIds, now: int) -> list[Delivery | LoadPayload]:
        """Return the requests to send now."""
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

    def complete(self, effect_id: int, result: DeliveryResult, now: int) -> None:
        """Process the result of a request, or a payload that was loaded for one."""
        for group in self.groups:
            for queue in group.active:
                self._notices += queue.complete(effect_id, result, now)

    def next_poll(self) -> int | None:
        """Return when the next request is due, ms; None if none waits."""
        return earliest(group.next_poll for group in self.groups)

    @property
    def waiting(self) -> Mapping[str, int]:
        """Samples, log entries, rows or batches that wait, by destination."""
        return {
            queue.destination.name: sum(payload.items for payload in queue.waiting)
            for queue in chain.from_iterable(self.groups)
        }

    def begin_drain(self) -> None:
        """Retry without delay, because the process is about to end."""
        for group in self.groups:
            group.begin_drain()

    def release_tenants(self, now: int) -> None:
        """Remove the queues of tenants that have had no data for long."""
        if not self._tenants.count:
            return

        def is_idle(tenant: str) -> bool:
            queues = (group.tenants.get(tenant) for group in self.groups)
            return all(queue is None or queue.is_empty for queue in queues)

        for tenant in self._tenants.release_unused(is_idle, now):
            for group in self.groups:
                group.remove(tenant)

    # State

    def capture_state(self) -> dict[str, DeliveryQueueState]:
        """Return the states of the queues by destination, for a snapshot."""
        queues = chain.from_iterable(self.groups)
        return {queue.destination.name: queue.capture_state() for queue in queues}

    def restore_state(
        self, queues: Mapping[str, DeliveryQueueState], heirs: Mapping[str, str]
    ) -> None:
        """Restore captured states."""
        self._known = frozenset(split_destination(name)[0] for name in queues)
        self.heirs = {name: heir for name, heir in heirs.items() if name not in self._by_name}
        for name, saved in queues.items():
            destination, tenant = split_destination(name)
            group = self._by_name.get(destination)
            if group is not None and (group.destination.has_tenants or not tenant):
                self._restored_queue(group, tenant).restore_state(saved)

    def _restored_queue(self, group: QueueGroup, tenant: str) -> DeliveryQueue:
        if tenant:
            self._tenants.restore((tenant,))
        return group.queue_for(tenant)

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
        name = self.heirs.get(before, before)
        if name not in groups:
            excluded = {*self._known, *self.heirs.values()}
            heir = next((name for name in groups if name not in excluded), None)
            if heir is None:
                return None
            name = self.heirs[before] = heir
        return groups[name]
