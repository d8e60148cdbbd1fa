"""What can be wrong with a batch or with one of its events."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one event.

    Attributes:
        index: The event's place in the batch; None for the batch itself.
        field: The field's name; "" for the event as a whole.
        error: A predicate that can be read after the field's name.
        reason: The same in one word, as in ``openqoe_worker_events_rejected_total``.
    """

    index: int | None
    field: str
    error: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        place = {} if self.index is None else {"index": self.index}
        return {**place, "field": self.field, "error": self.error}


class NotJsonError(ValueError):
    """The body is not JSON; the text says where."""


class WrongShapeError(ValueError):
    """The body is JSON but no batch of events."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.field} {fault.error}")
        self.fault = fault
