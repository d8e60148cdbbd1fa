"""The queues of one destination: one for each tenant, so that none waits for another.

The queue of the default tenant always exists, the others from their first payload on. Reports name
the destination and add its queues up, because tenants may be many.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..config.destinations import Destination, tenant_destination
from ..effects import Notice
from ..primitives.timer import earliest
from .delivery_queue import DeliveryQueue
from .payload import Payload
from .queue_status import DeliveryCounters, QueueStatus

MAX_LISTED = 20
"""Tenants that a status names at the most."""


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """A tenant of a destination whose latest request was not accepted.

    Attributes:
        tenant: The tenant; "" for the default one.
        state: The latest answer.
        payloads: Queued payloads.
        last_error: Status and text of that answer.
    """

    tenant: str
    state: str
    payloads: int
    last_error: str


class QueueGroup:
    """The queues of one destination.

    Args:
        destination: The destination, for its default tenant.
        make_queue: Makes the queue of a tenant of the destination.

    Attributes:
        destination: The destination.
    """

    def __init__(
        self, destination: Destination, make_queue: Callable[[Destination], DeliveryQueue]
    ) -> None:
        self.destination = destination
        self._make_queue = make_queue
        self._default = make_queue(destination)
        self._queues: dict[str, DeliveryQueue] = {"": self._default}
        self._active: dict[str, DeliveryQueue] = {}
        self._is_draining = False

    def __iter__(self) -> Iterator[DeliveryQueue]:
        """All queues, that of the default tenant first."""
        return iter(self._queues.values())

    @property
    def kind(self) -> str:
        """The kind of its payloads."""
        return self._default.kind

    @property
    def tenants(self) -> Mapping[str, DeliveryQueue]:
        """The queues by tenant; "" for the default one."""
        return self._queues

    @property
    def active(self) -> tuple[DeliveryQueue, ...]:
        """The queues with payloads, and perhaps some without."""
        return tuple(self._active.values())

    def queue_for(self, tenant: str) -> DeliveryQueue:
        """Return the queue of a tenant; that of the default one if the destination has no tenants.

        Args:
            tenant: The tenant; "" for the default one.
        """
        if not self.destination.has_tenants:
            return self._default
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = self._make_queue(self.destination.for_tenant(tenant))
            if self._is_draining:
                queue.begin_drain()
        return queue

    def address(self, payload: Payload) -> Payload:
        """Return a payload for the queue of its tenant."""
        tenant = payload.tenant if self.destination.has_tenants else ""
        return payload.for_destination(tenant_destination(self.destination.name, tenant))

    def offer(
        self, payload: Payload, tenant: str, now: int, *, is_stored: bool = True
    ) -> tuple[Notice, ...]:
        """Add a payload to the queue of a tenant."""
        queue = self.queue_for(tenant)
        self._active[queue.destination.name] = queue
        return queue.offer(payload, now, is_stored=is_stored)

    def note_finished(self, queue: DeliveryQueue) -> None:
        """Note that a queue may have become empty."""
        if queue.is_empty:
            self._active.pop(queue.destination.name, None)

    def remove(self, tenant: str) -> None:
        """Remove the queue of a tenant, which is empty. The default one inherits its counters."""
        queue = self._queues.pop(tenant, None)
        if queue is not None:
            self._active.pop(queue.destination.name, None)
            self._default.counters.add(queue.counters)
            queue.retire()

    def begin_drain(self) -> None:
        """Shorten waits for the shutdown."""
        self._is_draining = True
        for queue in self:
            queue.begin_drain()

    @property
    def next_poll(self) -> int | None:
        """When ``next_request`` of a queue is due, ms; None if none is in sight."""
        return (
            earliest(queue.next_poll for queue in self._active.values()) if self._active else None
        )

    @property
    def is_empty(self) -> bool:
        """Whether all queues are empty."""
        return all(queue.is_empty for queue in self._active.values())

    @property
    def is_full(self) -> bool:
        """Whether all queues are full."""
        return all(queue.is_full for queue in self)

    @property
    def counters(self) -> DeliveryCounters:
        """The sums of all counters."""
        if len(self._queues) == 1:
            return self._default.counters
        total = DeliveryCounters()
        for queue in self:
            total.add(queue.counters)
        return total

    def status(self, now: int) -> QueueStatus:
        """Report the status: sums, and the worst of all states."""
        if len(self._queues) == 1:
            return self._default.status(now)
        all_ = [queue.status(now) for queue in self]
        worst = min(all_, key=lambda status: (_SEVERITY[status.state], -status.failures))
        ages = [status.oldest_age for status in all_ if status.oldest_age is not None]
        successes = [status.last_success for status in all_ if status.last_success is not None]
        attempts = [status.next_attempt for status in all_ if status.next_attempt is not None]
        return QueueStatus(
            destination=self.destination.name,
            state=worst.state,
            payloads=sum(status.payloads for status in all_),
            items=sum(status.items for status in all_),
            bytes=sum(status.bytes for status in all_),
            oldest_age=max(ages, default=None),
            failures=worst.failures,
            last_error=worst.last_error,
            last_success=max(successes, default=None),
            next_attempt=min(attempts, default=None),
        )

    def failing_tenants(self, now: int) -> list[TenantStatus]:
        """Report the tenants whose latest request was not accepted, at most ``MAX_LISTED``."""
        failing: list[TenantStatus] = []
        for tenant, queue in self._queues.items():
            if not queue.is_accepting and len(failing) < MAX_LISTED:
                status = queue.status(now)
                failing.append(
                    TenantStatus(tenant, status.state, status.payloads, status.last_error)
                )
        return failing


_SEVERITY = {"failing": 0, "refusing": 1, "ok": 2}
