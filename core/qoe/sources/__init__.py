"""Sources: one table each of what the events of a client mean for the playback model."""

from collections.abc import Sequence

from ...events.cmcd_record import CmcdEvent
from ...events.event_types import Event
from ..signals import Signal
from . import cmcd, sdk


def signals_of(event: Event) -> Sequence[Signal]:
    """Returns what an event says about its view."""
    return cmcd.signals_of(event) if isinstance(event, CmcdEvent) else sdk.signals_of(event)
