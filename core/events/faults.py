"""Faults of a batch or of one of its events."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """A violation of one rule by one event or batch.

    Attributes:
        index: Index of the event in the batch; None for the batch itself.
        field: Path of the field; "" for the event as a whole.
        error: Predicate that follows the field's name ("is required").
        reason: Value of the label ``reason`` of ``openqoe_worker_events_rejected_total``.
    """

    index: int | None
    field: str
    error: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return the fault as in the response's JSON."""
        place = {} if self.index is None else {"index": self.index}
        return {**place, "field": self.field, "error": self.error}


class NotJsonError(ValueError):
    """The body is not JSON; the message names the position."""


class NotCmcdError(ValueError):
    """The body holds no CMCD record; the message says why.

    Attributes:
        is_too_large: Whether it holds more records than a body may.
    """

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


class WrongShapeError(ValueError):
    """The body is JSON but not a batch of events."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.field} {fault.error}")
        self.fault = fault
