"""What a queue counts, and how it stands: for the worker's health metrics and its outbox view."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec

from .verdict import DeliveryOutcome

DeliveryState = Literal["ok", "failing", "refusing"]
"""How the last answer was: taken, to be retried, or refused (in whole or in part)."""


@dataclass(slots=True)
class DeliveryCounters:
    """Numbers that only grow.

    Every item offered is, in the end, in exactly one place: delivered, rejected, dropped or
    still waiting.

    Attributes:
        offered: Items taken into the queue.
        delivered: Items in payloads that the destination took.
        rejected: Items in payloads of which the destination took only the good ones; it does
            not say how many those were.
        dropped: Items that were given up, by reason.
        answers: Answers of the destination, or their absence, by outcome.
        bytes_out: Bytes of the bodies handed out for sending, repeated ones too.
    """

    offered: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    answers: dict[DeliveryOutcome, int] = field(
        default_factory=lambda: dict.fromkeys(get_args(DeliveryOutcome), 0)
    )
    bytes_out: int = 0


class DeliveryQueueState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The counters in a snapshot. What still waits is offered again by whoever restores them."""

    delivered: int
    rejected: int
    dropped: dict[str, int]
    answers: dict[DeliveryOutcome, int]
    bytes_out: int
    state: DeliveryState
    failures: int
    last_success: int | None
    last_error: str


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How a queue stands at one moment.

    Attributes:
        destination: Name of the destination.
        state: How the last answer was.
        payloads: Payloads that wait, the one in flight included.
        items: The items in them.
        bytes: The bytes of their bodies.
        oldest_age: How long the oldest has been waiting (ms), None if nothing waits.
        failures: Attempts in a row that must be repeated.
        last_error: Status and words of the last answer that was not a success, "" if none.
        last_success: When the destination last took a whole payload, None if never.
        next_attempt: When the next payload is due; None if nothing waits or one is in flight.
    """

    destination: str
    state: DeliveryState
    payloads: int
    items: int
    bytes: int
    oldest_age: int | None
    failures: int
    last_error: str
    last_success: int | None
    next_attempt: int | None
