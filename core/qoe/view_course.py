"""The course of a view: its states, bit rate, buffer and marks over time, from its stored events.

The playback model applies the events again, so the course cannot differ from the metrics.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ..events.event_types import Event
from .cmcd_fields import buffer_s
from .playback import trace
from .playback_state import EVIDENCE, State
from .signals import SignalKind
from .sources import error_of, signals_of
from .view import View, view_key

SILENT: Final = "silent"
"""The state of time for which nothing was reported."""

UNKNOWN: Final = "unknown"
"""The state of time before the first event that shows one."""

_NAMES: Final = {state: state.name.lower() for state in State} | {State.NEW: UNKNOWN}

_COUNTING: Final = frozenset(
    _NAMES[state] for state in (State.STARTING, State.PLAYING, State.REBUFFERING, State.SEEKING)
)
_MARKS: Final = {
    SignalKind.HIDDEN: "hidden",
    SignalKind.VISIBLE: "visible",
}


class Period(msgspec.Struct, frozen=True, gc=False):
    """Time in one state, ms since the epoch."""

    state: str
    since: int
    until: int


class Point(msgspec.Struct, frozen=True, gc=False):
    """A value from a time on, ms since the epoch."""

    at: int
    value: float


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Something that happened at a time: "error", "seek", "switch", "hidden", "visible"."""

    at: int
    what: str
    text: str = ""


class Course(msgspec.Struct, frozen=True, gc=False):
    """The course of a view.

    Attributes:
        states: Successive states without gaps.
        bitrates: Bit rate of the rendition in bit/s, where it changes.
        buffers: Reported length of the buffer in s.
        moments: What is marked on the axis.
        last_state: The state that its latest event leaves it in.
    """

    states: tuple[Period, ...]
    bitrates: tuple[Point, ...]
    buffers: tuple[Point, ...]
    moments: tuple[Moment, ...]
    last_state: str


def course_of(events: Sequence[Event]) -> Course:
    """Returns the course of a view.

    Args:
        events: The events of one view, at least one.
    """
    ordered = sorted(events, key=_time_of)
    view = View(view_key(ordered[0]), ())
    playback = view.playback
    changes: list[tuple[float, str]] = []
    bitrates: list[Point] = []
    moments: list[Moment] = []
    previous: float | None = None
    upshifts = downshifts = seeks = 0
    for signal in trace(view, [one for event in ordered for one in signals_of(event)]):
        before = changes[-1][1] if changes else ""
        if previous is not None and before in _COUNTING and signal.at - previous > EVIDENCE:
            changes.append((previous + EVIDENCE, SILENT))
        shown_at = playback.shown_at
        if before == _NAMES[State.STARTING] and shown_at is not None:
            # A later event may tell when the first frame was shown.
            if changes[-1][0] <= shown_at < signal.at:
                changes.append((shown_at, _NAMES[State.PLAYING]))
        state = _NAMES[playback.state]
        if not changes or changes[-1][1] != state:
            changes.append((signal.at, state))
        bps = playback.bps
        if bps is not None and (not bitrates or bitrates[-1].value != bps):
            bitrates.append(Point(int(signal.at), bps))
        # A reported bit rate may change without a switch: some players report their estimate.
        if playback.upshifts > upshifts:
            moments.append(Moment(int(signal.at), "switch", "up"))
        if playback.downshifts > downshifts:
            moments.append(Moment(int(signal.at), "switch", "down"))
        if playback.seeks > seeks:
            moments.append(Moment(int(signal.at), "seek"))
        upshifts, downshifts = playback.upshifts, playback.downshifts
        seeks = playback.seeks
        what = _MARKS.get(signal.kind)
        if what is not None:
            moments.append(Moment(int(signal.at), what))
        previous = signal.at
    for event in ordered:
        if (error := error_of(event)) is not None:
            moments.append(Moment(int(event.event_time), "error", " ".join(error)))
    buffers = [
        Point(int(event.event_time), seconds)
        for event in ordered
        if (seconds := buffer_s(event)) is not None
    ]
    end = int(previous if previous is not None else ordered[-1].event_time)
    periods = [
        Period(state, int(at), int(changes[number][0]) if number < len(changes) else end)
        for number, (at, state) in enumerate(changes, 1)
    ]
    return Course(
        tuple(one for one in periods if one.until > one.since),
        tuple(bitrates),
        tuple(buffers),
        tuple(sorted(moments, key=lambda one: one.at)),
        _NAMES[playback.state],
    )


def _time_of(event: Event) -> float:
    return event.event_time
