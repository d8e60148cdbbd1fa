"""Payloads: encoded requests that await delivery, and their division.

A payload is encoded once, at the flush, and kept as the bytes that go out: a retry costs nothing,
and the outbox stores it as it is. Only if a destination finds it too large (413), it is decoded and
encoded again in parts, by a function of the wire format (``core/wire``) that the queue is given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ..effects import PayloadKind, StoredPayload


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of one request to a destination.

    Attributes:
        kind: Its content.
        headers: The headers that describe the body (Content-Type, Content-Encoding, ...).
        body: The body as sent, compressed; empty if it must be loaded from the outbox.
        items: Its samples, log entries or rows.
        created: Time of its flush.
        oldest: The timestamp of its oldest sample or entry, if known.
        number: Its number in the outbox; 0 if it is in memory only.
        thinnable: Whether later payloads repeat its content: samples of continuing series, without
            the begin or end of any.
        unloaded_size: Bytes of the body if only the outbox has it, else 0.
        destination: The name of its destination; "" while undecided.
        tenant: Its tenant; "" for the default one. Its destination's name holds it as well.
    """

    kind: PayloadKind
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    items: int
    created: int
    oldest: int | None = None
    number: int = 0
    thinnable: bool = False
    unloaded_size: int = 0
    destination: str = ""
    tenant: str = ""

    @classmethod
    def from_stored(cls, stored: StoredPayload) -> "Payload":
        """Describes a payload of the outbox without loading its body."""
        return cls(
            stored.kind,
            stored.headers,
            b"",
            stored.items,
            stored.created,
            number=stored.number,
            thinnable=stored.thinnable,
            unloaded_size=stored.size,
            destination=stored.destination,
        )

    @property
    def size(self) -> int:
        """Bytes of the body, in memory or in the outbox."""
        return self.unloaded_size or len(self.body)

    def with_number(self, number: int) -> "Payload":
        """A copy with a number."""
        return replace(self, number=number)

    def for_destination(self, destination: str) -> "Payload":
        """A copy for one destination; the copies share the body."""
        return replace(self, destination=destination)

    def without_body(self) -> "Payload":
        """A copy whose body only the outbox has."""
        return replace(self, body=b"", unloaded_size=self.size)

    def with_body(self, body: bytes) -> "Payload":
        """A copy with its body."""
        return replace(self, body=body, unloaded_size=0)


BodySplitter = Callable[[bytes], Sequence[tuple[bytes, int]]]
"""Divides a body into bodies with their numbers of items, in order and without loss; () if it
cannot be divided. Never raises."""

PayloadRedater = Callable[[Payload, int, int], Payload]
"""Gives the entries of a payload before a time (ms) another timestamp (ms)."""


def split_payload(payload: Payload, split: BodySplitter) -> tuple[Payload, ...]:
    """The parts of a payload, or () if it cannot be divided.

    Each part has fewer items than the whole, so that repeated division ends, and together they have
    all items, so that none is lost uncounted. Any other result of ``split`` is ignored.
    """
    if payload.items < 2:
        return ()
    parts = split(payload.body)
    counts = [items for _, items in parts]
    if sum(counts) != payload.items or not all(0 < items < payload.items for items in counts):
        return ()
    # The outbox keeps the whole until all of its parts are finished.
    return tuple(replace(payload, body=body, items=items, thinnable=False) for body, items in parts)
