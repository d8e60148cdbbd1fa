"""The time between two signals: how much of it counts, and for which state."""

from typing import Final

from .movement import has_jumped, shown_seconds
from .observation_builder import ObservationBuilder
from .playback_state import EVIDENCE, Playback, Stall, State
from .signals import SEEKS, Signal, SignalKind
from .stalls import close_stall, count_stall
from .startup import first_frame_at, show_frame
from .totals import CLOCK_TOLERANCE

MIN_SILENT_STALL: Final = 0.3
"""s above which a stall that movement ended was one; below it the picture never stopped."""

# The members by name: a look-up in the enum takes as long as two calls in Python 3.11.
_NEW, _LOADED, STARTING, PLAYING, REBUFFERING, SEEKING, PAUSED, _ENDED, _FAILED, LEFT = State


def elapsed_until(playback: Playback, signal: Signal) -> float:
    """Returns the seconds that count from the previous signal to this one."""
    previous, playback.applied_until = playback.applied_until, signal.at
    if previous is None:
        return 0.0
    elapsed = signal.at - previous
    if playback.was_hidden:
        playback.was_hidden = False
        if signal.kind is SignalKind.LOADED:
            return 0.0  # the page was closed, and is loaded again
    if playback.jump and elapsed >= playback.jump - CLOCK_TOLERANCE:
        elapsed = max(0, elapsed - playback.jump)
        playback.jump = 0
    if playback.state is PAUSED:
        playback.paused_s += elapsed / 1000
    return (elapsed if elapsed < EVIDENCE else EVIDENCE) / 1000


def attribute_time(
    playback: Playback, out: ObservationBuilder, signal: Signal, seconds: float, moved: float
) -> None:
    """Attributes the time up to a signal to the state that the playback was in.

    Args:
        playback: The playback.
        out: Receives the observations.
        signal: The signal.
        seconds: The time.
        moved: Media time by which playback has moved the position meanwhile, s.
    """
    state, stall = playback.state, playback.stall
    if state is PLAYING:
        played = shown_seconds(playback, signal, seconds)
        out.add_playing(played)
        if moved:
            playback.unreported_s += moved
            if playback.error_at is not None:
                playback.clear_error()
        elif playback.position is not None and (
            signal.kind in SEEKS or has_jumped(playback, signal)
        ):
            # No position shows what was played before the jump.
            playback.unreported_s += played * playback.rate
            playback.furthest = max(playback.furthest, playback.position + played * playback.rate)
    elif state is REBUFFERING or (state is SEEKING and moved and not playback.seek_is_open):
        _attribute_waiting(playback, out, seconds, moved)
    else:
        if stall is not None:
            stall.seconds += seconds
        if state is STARTING:
            playback.start_s += seconds
            _show_first_frame(playback, out, signal, moved)
        elif state is LEFT and moved and playback.has_frame:
            # Events of the view arrive after its time-out.
            play_on(playback, out, seconds, moved)
    if signal.played is not None:
        playback.unreported_s = 0.0
    stall = playback.stall
    if (
        stall is not None
        and not stall.is_counted
        and stall.cause != "paused"
        and signal.position is not None
        and stall.seconds >= MIN_SILENT_STALL
    ):
        count_stall(playback, out, stall)


def play_on(playback: Playback, out: ObservationBuilder, seconds: float, moved: float) -> None:
    """Goes on playing without a request to: the position has moved.

    Args:
        playback: The playback.
        out: Receives the observations.
        seconds: The time since the previous signal.
        moved: Media time by which the position has moved meanwhile, s.
    """
    out.add_playing(min(seconds, moved / playback.rate))
    playback.unreported_s += moved
    playback.state = PLAYING
    playback.clear_error()


def resume_in_stall(playback: Playback, out: ObservationBuilder) -> bool:
    """Ends a pause without a request to: the wait that began in it was that of the resumption.

    dash.js and CMCD report a request to resume only by the wait for it.

    Returns:
        Whether there was a wait.
    """
    stall = playback.stall
    if stall is None or stall.cause != "paused":
        return False
    playback.state = REBUFFERING
    playback.stall = Stall("rebuffer", stall.position, stall.seconds)
    playback.rebuffering_s += stall.seconds
    out.add_rebuffering(stall.seconds)
    return True


def _attribute_waiting(
    playback: Playback, out: ObservationBuilder, seconds: float, moved: float
) -> None:
    """Attributes time in a stall or a seek, the last of which was played if it moved."""
    stall = playback.stall
    played = min(seconds, moved / playback.rate) if moved else 0.0
    waited = seconds - played
    if playback.state is REBUFFERING:
        playback.rebuffering_s += waited
        out.add_rebuffering(waited)
    if stall is not None:
        stall.seconds += waited
    if not moved:
        return
    if (
        stall is not None
        and stall.cause == "rebuffer"
        and not stall.is_counted
        and stall.seconds < MIN_SILENT_STALL
    ):
        # The picture never stopped.
        playback.rebuffering_s -= stall.seconds
        playback.playing_s += stall.seconds
        playback.stall = None
    close_stall(playback, out)
    playback.stall_was_refuted = True
    playback.waits = False
    playback.state = PLAYING
    playback.unreported_s += moved
    out.add_playing(played)
    playback.clear_error()


def _show_first_frame(
    playback: Playback, out: ObservationBuilder, signal: Signal, moved: float
) -> None:
    """Ends a start if the signal shows that its first frame is there."""
    shown_at = first_frame_at(playback, signal, moved)
    if shown_at is None:
        return
    kind = signal.kind
    is_measured = playback.waits or signal.reports_stalls or kind is SignalKind.PLAYING
    ends_stall = kind is SignalKind.STALL_END
    stall_s = signal.value if ends_stall else None
    show_frame(playback, out, shown_at, is_measured=is_measured, stall_s=stall_s)
    playback.stall_was_refuted = ends_stall  # it is accounted for
    playback.unreported_s += moved
