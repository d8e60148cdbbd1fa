"""Forwarding: batches with views of other workers gather here until their owner gets them.

A batch is forwarded as it was accepted, with all its events: so the owner decodes the same bytes at
the same time, has the same digest, and applies only the events of its own views. Most batches are
of one view.

Forwarded batches leave like log entries: in payloads of an ordered queue to each slot. They gather
for a moment, and while the queue is busy, so a payload holds many at high rates. Until a payload is
delivered, its batches are in the journal or the outbox.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..delivery.payload import Payload
from ..effects import Record
from ..events.decoded_batch import DecodedBatch
from ..events.event_types import Event
from ..qoe.view import NO_VIEW
from .partition import Partition

PAYLOAD_BYTES = 1024 * 1024
"""Bytes of a payload, about: the batch that reaches this size is the last."""


class ForwardedBatch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A batch on its way to the owner of some of its views; see ``effects.Record``."""

    at: int
    country: str | None
    digest: bytes
    body: bytes


_encode = msgspec.msgpack.Encoder().encode


class Forwarding:
    """The batches that wait to be forwarded, by owner.

    Attributes:
        partition: The partition.
        bytes: Bytes of the bodies that wait.
        full_slots: Slots whose queue has no room; the export pipeline sets them.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.bytes = 0
        self.full_slots: frozenset[int] = frozenset()
        self._waiting: dict[int, list[Record]] = {slot: [] for slot in partition.others}

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
        full = self.full_slots
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

    def is_waiting(self, slot: int) -> bool:
        """Whether batches wait for a slot."""
        return bool(self._waiting[slot])

    @property
    def has_waiting(self) -> bool:
        """Whether batches wait for any slot."""
        return self.bytes > 0

    def drain_payloads(self, slot: int, now: int) -> Iterator[Payload]:
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
