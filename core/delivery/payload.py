"""Payloads: encoded requests that wait for delivery, and how they are halved.

A payload is encoded once, when it is flushed, and kept as the bytes that go out: retries
cost nothing and what waits can be stored as it is. Only a destination that finds it too
large (413) makes it be decoded and encoded again, in parts. How to do that is known to the
wire formats (``core/wire``), so the queue is given a function for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from openqoe.core.delivery.verdict import Kind


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of one request to a destination.

    Attributes:
        kind: What is in it.
        headers: The headers that describe the body (Content-Type, Content-Encoding, ...).
        body: The body as sent, compressed.
        items: How many samples or log entries it holds.
        created: When it was flushed.
        oldest: The timestamp of the oldest sample or entry in it, if known.
    """

    kind: Kind
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    items: int
    created: int
    oldest: int | None = None


Split = Callable[[Payload], tuple[Payload, ...]]
"""Divides a payload, in order and without loss; () if it cannot be divided. Never raises."""


def divide(payload: Payload, split: Split) -> tuple[Payload, ...]:
    """The parts of a payload, or () if it cannot be divided.

    Each part holds fewer items than the whole, so that dividing again and again comes to an
    end, and together they hold all of them, so that none is lost uncounted. Anything else
    that ``split`` might return is no division.
    """
    if payload.items < 2:
        return ()
    parts = split(payload)
    proper = all(0 < part.items < payload.items for part in parts)
    return parts if proper and sum(part.items for part in parts) == payload.items else ()
