"""Counters and status of a delivery queue, for the health metrics and the outbox view."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import msgspec

from .verdict import DeliveryOutcome

DeliveryState = Literal["ok", "failing", "refusing"]
"""The latest answer: accepted, to be retried, or refused (wholly or in part)."""


@dataclass(slots=True)
class DeliveryCounters:
    """Counts of items and answers that never decrease.

    Every offered item ends in exactly one place: delivered, rejected, dropped or still queued.

    Attributes:
        offered: Items offered to the queue.
        delivered: Items in payloads that the destination stored.
        rejected: Items in payloads of which the destination stored only the valid ones; it does
            not report their number.
        dropped: Items given up, by reason.
        answers: Answers of the destination, or their absence, by outcome.
        bytes_out: Bytes of the bodies handed out for sending, including repetitions.
    """

    offered: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    answers: dict[DeliveryOutcome, int] = field(
        default_factory=lambda: dict.fromkeys(get_args(DeliveryOutcome), 0)
    )
    bytes_out: int = 0

    def add(self, other: "DeliveryCounters") -> None:
        """Add the counts of another queue."""
        self.offered += other.offered
        self.delivered += other.delivered
        self.rejected += other.rejected
        self.bytes_out += other.bytes_out
        for reason, count in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        for outcome, count in other.answers.items():
            self.answers[outcome] += count


class DeliveryQueueState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A queue in a snapshot, without payloads: those are offered again after the restore."""

    delivered: int
    rejected: int
    dropped: dict[str, int]
    answers: dict[DeliveryOutcome, int]
    bytes_out: int
    state: DeliveryState
    failures: int
    last_success: int | None
    last_error: str
    newest_sent: int = 0


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The status of a queue at one moment.

    Attributes:
        destination: Name of the destination.
        state: The latest answer.
        payloads: Queued payloads, the one in flight included.
        items: Their items.
        bytes: The bytes of their bodies.
        oldest_age: Age of the oldest (ms), None if the queue is empty.
        failures: Consecutive attempts that must be repeated.
        last_error: Status and text of the last answer that was not a success, "" if none.
        last_success: Time at which the destination last stored a whole payload, None if never.
        next_attempt: When the next payload is due; None if there is none or one is in flight.
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
