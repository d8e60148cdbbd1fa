"""Sources: one table each of what the events of a client mean for the playback model."""

from collections.abc import Sequence
from typing import cast

from ...events.cmcd_record import CmcdEvent
from ...events.event_types import Event
from .. import fields
from ..cmcd_history import NO_CODE
from ..signals import Signal
from . import cmcd, sdk


def signals_of(event: Event) -> Sequence[Signal]:
    """Returns what an event says about its view."""
    return signals_of_run((event,))


def signals_of_run(events: Sequence[Event]) -> Sequence[Signal]:
    """Returns what events with one context say about their view."""
    if isinstance(events[0], CmcdEvent):
        return [one for event in events for one in cmcd.signals_of(cast(CmcdEvent, event))]
    return sdk.signals_of_run(events)


def error_of(event: Event) -> tuple[str, str] | None:
    """Returns family and code of the error that an event reports; None if it reports none."""
    if isinstance(event, CmcdEvent):
        codes = event.record.ec or (NO_CODE,)
        return (cmcd.ERROR_FAMILY, codes[-1]) if event.record.e == "e" else None
    if event.event_type != "error":
        return None
    return fields.error_family(event), fields.error_code(event)
