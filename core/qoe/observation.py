"""A moment: an event, or a fact derived from events, ready to be measured."""

import msgspec

from ..events.event_types import Event
from .view import View
from .vocabulary import ObservationKind


class Observation(msgspec.Struct, gc=False):
    """What the rows of the metric catalogue look at.

    Attributes:
        kind: What happened.
        event: The event it happened in or was noticed by.
        view: The view, or None if the event belongs to none.
        value: A derived fact's number, in the metric's unit.
        label: A derived fact's label value.
    """

    kind: ObservationKind
    event: Event
    view: View | None
    value: float | None = None
    label: str = ""


NO_EVENT = Event("", 0, 0, "", "", "", "", "")
"""Stands for the event where a fact follows from no event but from the lapse of time."""
