"""Payloads: encoded requests that wait for delivery, and how they are halved.

A payload is encoded once, when it is flushed, and kept as the bytes that go out: retries
cost nothing and what waits can be stored as it is. Only a destination that finds it too
large (413) makes it be decoded and encoded again, in parts. How to do that is known to the
wire formats (``core/wire``), so the queue is given a function for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..effects import StoredPayload
from .verdict import PayloadKind


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of one request to a destination.

    Attributes:
        kind: What is in it.
        headers: The headers that describe the body (Content-Type, Content-Encoding, ...).
        body: The body as sent, compressed; empty if it has to be loaded from the outbox.
        items: How many samples or log entries it holds.
        created: When it was flushed.
        oldest: The timestamp of the oldest sample or entry in it, if known.
        number: Its number in the outbox; 0 if it is in memory only.
        thinnable: Whether later payloads repeat all that it says: samples of series that go
            on, no beginning of one and no end.
        unloaded_size: Bytes of the body if that was left in the outbox, else 0.
        destination: The name of the destination that it is for; "" while that is open.
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

    @classmethod
    def from_stored(cls, stored: StoredPayload) -> "Payload":
        """A payload of the outbox, its body left there."""
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
        """Bytes of the body, wherever that is."""
        return self.unloaded_size or len(self.body)

    def with_number(self, number: int) -> "Payload":
        """The same with a number."""
        return replace(self, number=number)

    def for_destination(self, destination: str) -> "Payload":
        """The same for one destination; the body is shared."""
        return replace(self, destination=destination)

    def without_body(self) -> "Payload":
        """The same with its body left in the outbox."""
        return replace(self, body=b"", unloaded_size=self.size)

    def with_body(self, body: bytes) -> "Payload":
        """The same with its body."""
        return replace(self, body=body, unloaded_size=0)


PayloadSplitter = Callable[[Payload], tuple[Payload, ...]]
"""Divides a payload, in order and without loss; () if it cannot be divided. Never raises."""


def split_payload(payload: Payload, split: PayloadSplitter) -> tuple[Payload, ...]:
    """The parts of a payload, or () if it cannot be divided.

    Each part holds fewer items than the whole, so that dividing again and again comes to an
    end, and together they hold all of them, so that none is lost uncounted. Anything else
    that ``split`` might return is no division.
    """
    if payload.items < 2:
        return ()
    parts = split(payload)
    proper = all(0 < part.items < payload.items for part in parts)
    if not proper or sum(part.items for part in parts) != payload.items:
        return ()
    # The outbox holds the whole until its last part has left.
    return (*parts[:-1], parts[-1].with_number(payload.number))
