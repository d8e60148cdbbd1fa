"""Classifies stalls by cause: start-up, seek or rebuffering.

The SDK reports every wait of the player alike: before the first picture, in each seek, and
when the buffer runs dry. Only the last is rebuffering (CTA-2066), so each stall gets its
cause as a label:

startup   the view has made no progress yet;
seek      the position has jumped since the last event, or a later seek event explains the
          stall (the SDK sends ``seek`` after the jump, so after the stall began);
rebuffer  everything else.

A stall is counted once its cause is certain: at once, at the next event after its end, or
after ``CLASSIFICATION_TIMEOUT`` without an explanation. Source of the rules: recorded traffic of
both SDK generations with five players.
"""

from ..events.event_types import Event
from .fields import event_data, player_name, position_s, seconds
from .observation import Observation
from .view import Stall, View
from .vocabulary import ObservationKind

CLASSIFICATION_TIMEOUT = 10_000
"""ms of arrival time for which a stall awaits an explaining seek, which may arrive in the next
batch (the SDK sends one every 5 s) or after a retry."""

START_TOLERANCE = 0.5
"""s within which a position still counts as the start: nothing has been shown yet."""

SAME_POSITION = 0.1
"""s between two stall starts that are one stall (dash.js reports it twice)."""

SEEK_TARGET_TOLERANCE = 1.0
"""s between a stall's position and the target of the seek that explains it."""

SEEK_CLOCK_TOLERANCE = 50
"""ms by which the clocks of a seek's latency and of the stall may differ."""

SEEK_LAG = 250
"""ms by which a seek event may follow the end of its stall (Shaka: up to 41 ms)."""

MAX_PLAYBACK_RATE = 2.0
"""s of media that may pass in one s of real time without a seek."""


def start_stall(view: View, event: Event, out: list[Observation]) -> None:
    """Opens a stall; classifies it at once if it is certainly start-up or a seek."""
    at, position = event.event_time, position_s(event)
    current = view.stall
    if current is not None:
        if (
            current.duration is None
            and position is not None
            and current.position is not None
            and abs(position - current.position) < SAME_POSITION
        ):
            return
        resolve_stall(view, event, out)
    # dash.js (second generation) sends the end at the next resume or never.
    has_end = not (player_name(event) == "dashjs" and event.event_type == "stallstart")
    stall = view.stall = Stall(at, position, has_end)
    if _is_startup(view, position):
        _classify(view, stall, "startup", event, out)
    elif _has_jumped(view, position, at):
        _classify(view, stall, "seek", event, out)


def end_stall(view: View, event: Event, out: list[Observation]) -> None:
    """Ends a stall, with the reported duration or else the time since its start."""
    reported = seconds(event_data(event).stall_duration)
    stall = view.stall
    if stall is None or stall.duration is not None:
        if reported is not None:  # its start was lost
            out.append(
                Observation(ObservationKind.STALL_DURATION, event, view, reported, "rebuffer")
            )
        return
    elapsed = (event.event_time - stall.start) / 1000
    _close_stall(view, stall, max(elapsed, 0) if reported is None else reported, event, out)


def attribute_to_seek(view: View, event: Event, out: list[Observation]) -> None:
    """Classifies the open stall as part of a seek, if time and position match."""
    stall = view.stall
    if stall is None or stall.cause is not None:
        return
    target = event_data(event).to
    target_s = position_s(event) if target is None else target / 1000
    latency = event_data(event).seek_latency
    # video.js recovers from a real stall by seeking to its own position: a seek that began
    # after the stall is a remedy, not the cause.
    if latency is not None and event.event_time - latency > stall.start + SEEK_CLOCK_TOLERANCE:
        return
    if (
        target_s is not None
        and stall.position is not None
        and abs(target_s - stall.position) <= SEEK_TARGET_TOLERANCE
    ):
        _classify(view, stall, "seek", event, out)


def close_on_progress(
    view: View, event: Event, kind: ObservationKind, out: list[Observation]
) -> None:
    """Ends a stall whose end the player does not report, once playback has moved on."""
    stall = view.stall
    if stall is None or stall.has_end or stall.duration is not None:
        return
    position = position_s(event)
    if position is None or stall.position is None:
        return
    moved = position - stall.position
    elapsed = (event.event_time - stall.start) / 1000
    if kind is ObservationKind.PLAY or (
        kind is ObservationKind.SEEK and abs(moved) > SAME_POSITION
    ):
        _close_stall(view, stall, max(elapsed, 0), event, out)
    elif kind is ObservationKind.HEARTBEAT and SAME_POSITION < moved <= elapsed:
        _close_stall(view, stall, elapsed - moved, event, out)


def is_past_seek_lag(stall: Stall, at: float) -> bool:
    """Whether a stall ended too long ago to be explained by a seek."""
    return stall.duration is not None and at - stall.ended_at > SEEK_LAG


def resolve_stall(view: View, event: Event, out: list[Observation]) -> None:
    """Classifies an unexplained stall as rebuffering; forgets one that has ended."""
    stall = view.stall
    if stall is None:
        return
    if stall.cause is None:
        _classify(view, stall, "rebuffer", event, out)
    if stall.duration is not None:
        view.stall = None


def _close_stall(
    view: View, stall: Stall, duration: float, event: Event, out: list[Observation]
) -> None:
    stall.duration = duration
    stall.ended_at = event.event_time
    if stall.cause is not None:
        out.append(Observation(ObservationKind.STALL_DURATION, event, view, duration, stall.cause))
        view.stall = None


def _classify(view: View, stall: Stall, cause: str, event: Event, out: list[Observation]) -> None:
    stall.cause = cause
    out.append(Observation(ObservationKind.STALL, event, view, None, cause))
    if stall.duration is not None:
        out.append(Observation(ObservationKind.STALL_DURATION, event, view, stall.duration, cause))
        view.stall = None


def _is_startup(view: View, position: float | None) -> bool:
    if view.milestones.progressed or position is None:
        return False
    at_beginning = position < START_TOLERANCE
    first = view.first_position
    return at_beginning or (first is not None and abs(position - first) < START_TOLERANCE)


def _has_jumped(view: View, position: float | None, at: float) -> bool:
    if position is None or view.last_position is None or at < view.last_position_at:
        return False
    moved = position - view.last_position
    elapsed = (at - view.last_position_at) / 1000
    return not -START_TOLERANCE <= moved <= elapsed * MAX_PLAYBACK_RATE + START_TOLERANCE
