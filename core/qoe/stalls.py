"""Stalls: the open one of a playback, and causes that only later signals show."""

from collections.abc import Collection, Sequence
from typing import Final

from .observation_builder import ObservationBuilder
from .playback_state import Playback, Stall
from .signals import SEEKS, Signal, SignalKind
from .vocabulary import ObservationKind

START_GRACE: Final = 250
"""ms after a play request within which a player reports that it has to wait."""

SEEK_TARGET_TOLERANCE: Final = 1.0
"""s between a stall's position and the target of the seek that explains it."""

SEEK_CLOCK_TOLERANCE: Final = 50
"""ms by which the clocks of a seek's latency and of the stall may differ."""

SEEK_LAG: Final = 250
"""ms by which a seek event may follow the end of its stall (Shaka: up to 41 ms)."""


ROUNDING: Final = 0.05
"""s by which a reported duration may exceed the time between its events, which are rounded."""


def count_stall(playback: Playback, out: ObservationBuilder, stall: Stall) -> None:
    """Observes that there is a stall."""
    stall.is_counted = True
    out.observe(ObservationKind.STALL, None, stall.cause)
    if stall.cause == "rebuffer":
        playback.rebuffers += 1


def close_stall(playback: Playback, out: ObservationBuilder, reported: float | None = None) -> None:
    """Observes the duration of the open stall: as the player reports it (s), if that fits."""
    stall = playback.stall
    if stall is None:
        return
    playback.stall = None
    if not stall.is_counted:
        count_stall(playback, out, stall)
    seconds = stall.seconds
    if reported is not None and reported <= seconds + ROUNDING:
        if stall.cause == "rebuffer" and reported < seconds:
            playback.rebuffering_s -= seconds - reported
            playback.playing_s += seconds - reported
        seconds = reported
    out.observe(ObservationKind.STALL_DURATION, seconds, stall.cause)


def follows_at_once(
    kinds: Collection[SignalKind], request: Signal, later: Sequence[Signal]
) -> bool:
    """Whether one of these kinds follows a play request so soon that it belongs to it."""
    for signal in later:
        if signal.at > request.at + START_GRACE:
            return False
        if signal.kind in kinds:
            return True
    return False


def is_part_of_seek(stall: Signal, later: Sequence[Signal]) -> bool:
    """Whether a later seek event explains a stall: it leads to its position, and it began before.

    The SDK sends ``seek`` when it is over, before or after the end of the stall. video.js recovers
    from a real stall by seeking to its own position: a seek that began after the stall is a remedy,
    not the cause.
    """
    ended: float | None = None
    for signal in later:
        if ended is not None and signal.at > ended + SEEK_LAG:
            return False
        kind = signal.kind
        if kind is SignalKind.STALL_END and ended is None:
            ended = signal.at
        elif kind in SEEKS:
            if kind is SignalKind.SEEK_BEGIN and signal.at > stall.at + SEEK_CLOCK_TOLERANCE:
                return False
            return is_near(stall.position, seek_target(signal))
    return False


def is_near(position: float | None, target: float | None) -> bool:
    """Whether a seek to a target may explain a stall at a position, s."""
    if position is None or target is None:
        return False
    return abs(position - target) <= SEEK_TARGET_TOLERANCE


def seek_target(seek: Signal) -> float | None:
    """Returns the position that a seek leads to, s."""
    return seek.position if seek.target is None else seek.target
