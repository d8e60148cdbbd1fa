"""The start: when the first frame was shown, and which source says how long it took."""

from typing import Final, TypeGuard

from .observation_builder import ObservationBuilder
from .playback_state import EVIDENCE_S, Mark, Playback, State
from .signals import Measures, Signal, SignalKind
from .stalls import START_GRACE, close_stall
from .vocabulary import ObservationKind

START_TOLERANCE: Final = 0.5
"""s within which a position still counts as the start: nothing has been shown yet."""

ROUNDING_ERROR: Final = 1e-6
"""s that a sum of times may be off."""

_NO_MEASURES: Final = Measures()


def first_frame_at(playback: Playback, signal: Signal, moved: float) -> float | None:
    """Returns when the first frame of a start was shown, ms, if this signal shows it.

    Args:
        playback: The playback, which is starting.
        signal: The signal.
        moved: Media time by which the position has moved since the previous signal, s.
    """
    kind, at = signal.kind, signal.at
    requested = playback.requested_at
    assert requested is not None, "a start has a request"
    if kind is SignalKind.PLAYING:
        return at
    if kind is SignalKind.STALL_END:
        return at if playback.waits or signal.value else None
    is_soon = at - requested <= START_GRACE
    if kind is SignalKind.STALL_BEGIN or kind is SignalKind.PLAY_WAIT:
        if playback.waits or is_soon:
            return None
        if signal.position is None or playback.request_position is None:
            return requested
        is_near = abs(signal.position - playback.request_position) < START_TOLERANCE
        return None if is_near else requested
    media = moved
    if not media and signal.played and not playback.has(Mark.SHOWN | Mark.ACTIVE):
        media = signal.played if playback.has(Mark.BEGAN) else 0.0
    if media:
        if signal.reports_stalls and not playback.waits:
            return requested
        return max(requested, at - media / (playback.rate or 1) * 1000)
    if playback.waits or is_soon or not signal.reports_stalls:
        return None
    if signal.position is not None and signal.position == playback.request_position:
        return None  # Shaka reports neither wait nor error for a missing manifest
    return requested


def begin_start(playback: Playback, signal: Signal) -> None:
    """Begins a start with the signal of its request."""
    playback.state = State.STARTING
    playback.requested_at = signal.at
    if playback.asked_at is None:
        playback.asked_at = signal.at
    playback.request_position = signal.position
    playback.start_s = 0.0
    if signal.reports_stalls:
        playback.marks |= Mark.REPORTS_STALLS


def end_start(playback: Playback, out: ObservationBuilder, waited: float) -> None:
    """Ends a start, with or without a first frame, after a wait in s."""
    playback.starting_s += waited
    out.add_startup_wait(waited)
    playback.start_s = 0.0


def show_frame(
    playback: Playback,
    out: ObservationBuilder,
    shown_at: float,
    *,
    is_measured: bool,
    reported: float | None = None,
    stall_s: float | None = None,
) -> None:
    """Ends the start: the first frame is there.

    Args:
        playback: The playback, which is starting.
        out: Receives the observations.
        shown_at: When it was shown, ms.
        is_measured: Whether the wait for it is known.
        reported: The wait as a client reports it that follows the documentation, s.
        stall_s: Duration of the stall that it ends, as reported, s.
    """
    assert playback.requested_at is not None, "a start has a request"
    waited = min(max((shown_at - playback.requested_at) / 1000, 0.0), playback.start_s)
    played = playback.start_s - waited
    if played < ROUNDING_ERROR:
        played = 0.0  # nothing was played yet, in no rendition
    end_start(playback, out, waited)
    if playback.stall is not None:
        playback.stall.seconds = max(0.0, playback.stall.seconds - played)
        close_stall(playback, out, stall_s)
    playback.state = State.PLAYING
    playback.has_frame = True
    playback.waits = False
    if not playback.has(Mark.SHOWN):
        playback.marks |= Mark.SHOWN
        playback.shown_at = shown_at
        _observe_startup(playback, out, reported, is_measured=is_measured)
    out.add_playing(played)
    playback.clear_error()


def _observe_startup(
    playback: Playback, out: ObservationBuilder, reported: float | None, *, is_measured: bool
) -> None:
    """Observes the start-up time of a view by its best source; see ``show_frame``."""
    measures = playback.measures or _NO_MEASURES
    if _is_evident(measures.first_frame):
        startup, source = measures.first_frame, measures.first_frame_source
    elif _is_evident(reported):
        startup, source = reported, "reported"
    elif is_measured:
        startup, source = playback.starting_s, "measured"
    else:
        return
    playback.startup_s = startup
    out.observe(ObservationKind.STARTUP, startup, source)
    if measures.page_load is not None and measures.player_startup is not None:
        # Both count from the navigation.
        before = max(measures.page_load, measures.player_startup)
        out.observe(ObservationKind.AGGREGATE_STARTUP, before + startup)


def _is_evident(duration: float | None) -> TypeGuard[float]:
    """Whether a start may have taken a reported duration (s): a longer one includes sleep."""
    return duration is not None and duration <= EVIDENCE_S


def note_measures(
    playback: Playback, out: ObservationBuilder, new: Measures, kind: SignalKind
) -> None:
    """Keeps the first of each duration that a player reports of its start.

    Args:
        playback: The playback.
        out: Receives the observations.
        new: The durations of a signal.
        kind: The kind of the signal.
    """
    known = playback.measures
    if known is None:
        known = _NO_MEASURES
    is_first_request = kind is not SignalKind.PLAY_REQUESTED or (
        playback.state in (State.NEW, State.LOADED) and not playback.has(Mark.SHOWN)
    )
    playback.measures = known = Measures(
        _first(known.page_load, new.page_load),
        _first(known.player_startup, new.player_startup),
        _first(known.can_play, new.can_play),
        _first(known.play, new.play if is_first_request else None),
        _first(known.first_frame, new.first_frame),
        known.first_frame_source if known.first_frame is not None else new.first_frame_source,
        load=_first(known.load, new.load),
    )
    if playback.has(Mark.REPORTED_STARTUP):
        return
    if known.can_play is not None and known.player_startup is not None:
        startup, field = known.can_play - known.player_startup, "canplay"
    elif known.play is not None:
        startup, field = known.play, "playing"
    elif known.load is not None:
        startup, field = known.load, "msd"
    else:
        return
    if startup >= 0:
        playback.marks |= Mark.REPORTED_STARTUP
        out.observe(ObservationKind.REPORTED_STARTUP, startup, field)


def _first(known: float | None, new: float | None) -> float | None:
    return new if known is None else known
