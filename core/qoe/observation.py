"""Observations: events, and facts derived from them, ready to be recorded."""

import msgspec

from ..events.event_types import Event
from .view import View
from .vocabulary import ObservationKind


class Observation(msgspec.Struct, gc=False):
    """One observation, the input of the catalogue's rows.

    Attributes:
        kind: Its kind.
        event: The event in which it happened or was detected.
        view: The view, or None if the event belongs to none.
        value: A derived number, in the metric's unit.
        label: A derived label value.
        detail: The value of a second label.
    """

    kind: ObservationKind
    event: Event
    view: View | None
    value: float | None = None
    label: str = ""
    detail: str = ""


NO_EVENT = Event("", 0, 0, "", "", "", "", "")
"""Stands for the event where time alone leads to an observation."""
