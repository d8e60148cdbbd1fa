"""Forwarding: batches with views of other workers gather here until their owner gets them.

A batch is forwarded as it was accepted, with all its events: so the owner decodes the same bytes at
the same time, has the same digest, and applies only the events of its own views. Most batches are
of one view.

Forwarded batches leave like log entries: in payloads of an ordered queue to each slot. They gather
for a moment, and while the queue is busy, so a payload holds many at high rates. Until a payload is
delivered, its batches are in the journal or the outbox.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from ..delivery.payload import Payload
from ..delivery.queue_group import QueueGroup
from ..effects import Record
from ..events.decoded_batch import DecodedBatch
from ..events.event_types import Event
from ..qoe.view import NO_VIEW
from .partition import Partition

PAYLOAD_BYTES = 1024 * 1024
"""Bytes of a payload, about: the batch that reaches this size is the last."""

GATHERING_TIME = 50
"""ms for which batches gather. No client waits for them, and a request with many costs little more
than one with one: threads of two processes take turns for it."""


class ForwardedBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A batch on its way to the owner of some of its views; see ``effects.Record``."""

    at: int
    country: str | None
    digest: bytes
    body: bytes


_encode = msgspec.msgpack.Encoder().encode


class Forwarding:
    """The batches that wait to be forwarded, by owner.

    Args:
        partition: The partition.
        queues: The queues to the other slots.
        offer: Adds payloads to their queues at a time, ms.

    Attributes:
        partition: The partition.
        bytes: Bytes of the bodies that wait.
    """

    def __init__(
        self,
        partition: Partition,
        queues: Mapping[int, QueueGroup],
        offer: Callable[[Iterable[Payload], int], None],
    ) -> None:
        self.partition = partition
        self.bytes = 0
        self._queues = queues
        self._offer = offer
        self._full_slots: frozenset[int] = frozenset()  # whose queue has no room
        self._waiting: dict[int, list[Record]] = {slot: [] for slot in partition.others}
        self._gathering_since: int | None = None  # when the first of them came, ms
        self._gathering_time = GATHERING_TIME

    # In

    def select_own(self, record: Record, decoded: DecodedBatch) -> DecodedBatch:
        """Return the batch with the events that this worker applies; keep it for other owners."""
        if not self._waiting and not record.is_forwarded:  # the only slot
            return decoded
        owners = self._owners(decoded, record.digest)
        own = self.partition.own
        if record.is_forwarded:
            events = _select(decoded, owners, own)
            return DecodedBatch(decoded.event_count, events, ())  # that one counts its faults
        others = {owner for owner in owners.values() if owner != own}
        for slot in others:
            self._waiting[slot].append(record)
            self.bytes += len(record.body)
        if not others:
            return decoded
        return msgspec.structs.replace(decoded, events=_select(decoded, owners, own))

    def is_blocked(self, decoded: DecodedBatch, digest: bytes) -> bool:
        """Whether a batch has to be forwarded to a slot without room."""
        full = self._full_slots
        return bool(full) and not full.isdisjoint(self._owners(decoded, digest).values())

    def _owners(self, decoded: DecodedBatch, digest: bytes) -> dict[str, int]:
        """The owners of the views of a batch, most often one, and of its events without a view."""
        partition = self.partition
        view_ids = dict.fromkeys(event.view_id for event, _ in decoded.events)  # in order
        owners = {view: partition.owner_of(view) for view in view_ids if view != NO_VIEW}
        if NO_VIEW in view_ids:
            first = next(iter(owners.values()), None)
            owners[NO_VIEW] = partition.owner_of_batch(digest) if first is None else first
        return owners

    # Out

    def must_forward(self, now: int) -> bool:
        """Whether it is time to forward batches to a slot whose queue is idle."""
        if not self.bytes:
            return False
        if self._gathering_since is None or self._gathering_since > now:
            self._gathering_since = now
        is_time = now - self._gathering_since >= self._gathering_time
        return (is_time or self.bytes >= PAYLOAD_BYTES) and self._has_idle_slot

    @property
    def _has_idle_slot(self) -> bool:
        """Whether batches wait for a slot whose queue is idle."""
        return self.bytes > 0 and any(
            self._waiting[slot] and queue.is_empty for slot, queue in self._queues.items()
        )

    def forward_due(self, now: int) -> None:
        """Give the batches whose time has come to the queues that are idle; the others gather."""
        if self.must_forward(now):
            self._gathering_since = None
            for slot, queue in self._queues.items():
                if queue.is_empty:
                    self._offer(self._drain_payloads(slot, now), now)
        self._full_slots = frozenset(slot for slot, one in self._queues.items() if one.is_full)

    def forward_all(self, now: int) -> None:
        """Give all batches to the queues, without gathering more."""
        for slot in self._queues:
            self._offer(self._drain_payloads(slot, now), now)

    def begin_drain(self) -> None:
        """Let no batch gather any more, because the process is about to end."""
        self._gathering_time = 0

    @property
    def next_poll(self) -> int | None:
        """When to call ``forward_due``, ms; None while no batch waits for an idle queue."""
        return (self._gathering_since or 0) + self._gathering_time if self._has_idle_slot else None

    @property
    def is_forwarding(self) -> bool:
        """Whether a batch waits, or is on its way."""
        return self.bytes > 0 or not all(queue.is_empty for queue in self._queues.values())

    def is_reachable(self, slot: int) -> bool:
        """Whether the owner of a slot accepted the latest batches that were forwarded to it."""
        return all(queue.is_accepting for queue in self._queues[slot])

    def _drain_payloads(self, slot: int, now: int) -> Iterator[Payload]:
        """Remove the batches that wait for a slot, in payloads."""
        waiting, self._waiting[slot] = self._waiting[slot], []
        group: list[Record] = []
        size = 0
        for record in waiting:
            group.append(record)
            size += len(record.body)
            if size >= PAYLOAD_BYTES:
                yield _payload(slot, group, now)
                self.bytes -= size
                group, size = [], 0
        if group:
            yield _payload(slot, group, now)
            self.bytes -= size


def _select(
    decoded: DecodedBatch, owners: Mapping[str, int], own: int
) -> tuple[tuple[Event, bytes], ...]:
    """Return the events of the views that a slot owns."""
    if own not in owners.values():
        return ()
    return tuple(pair for pair in decoded.events if owners.get(pair[0].view_id) == own)


def slot_name(slot: int) -> str:
    """Return the name of a slot as a destination, which is also that of its folder."""
    return f"slot-{slot}"


def _payload(slot: int, records: Sequence[Record], now: int) -> Payload:
    batches = [ForwardedBatch(one.at, one.country, one.digest, one.body) for one in records]
    return Payload("batches", (), _encode(batches), len(batches), now, destination=slot_name(slot))
