"""The media position: whether it moves as playback moves it, jumps, or stands still."""

from typing import Final

from .playback_state import EVIDENCE_S, Playback
from .signals import SEEKS, Signal
from .startup import START_TOLERANCE

POSITION_NOISE: Final = 0.1
"""s by which a position changes in a stall."""

MAX_RATE: Final = 2.0
"""s of media that may pass in one s without a seek, if the playback rate is not reported."""


def movement(playback: Playback, signal: Signal) -> float:
    """Returns the s of media by which the position has moved as playback moves it, else 0."""
    if signal.position is None or playback.position is None or signal.kind in SEEKS:
        return 0.0
    if not playback.rate:
        return 0.0
    moved = signal.position - playback.position
    return moved if POSITION_NOISE < moved <= _plausible_movement(playback, signal.at) else 0.0


def has_jumped(playback: Playback, signal: Signal) -> bool:
    """Whether the position has moved as playback cannot move it."""
    if signal.position is None or playback.position is None:
        return False
    moved = signal.position - playback.position
    return not -START_TOLERANCE <= moved <= _plausible_movement(playback, signal.at)


def shown_seconds(playback: Playback, signal: Signal, seconds: float) -> float:
    """Returns for how many of the seconds of playing up to a signal the picture moved.

    After an error, and after a silence that is longer than counts (sleep, a frozen page), the
    position shows it, unless it has jumped. At a rate of 0 the picture stands still.
    """
    if not playback.rate:
        return 0.0
    if playback.error_at is None and seconds < EVIDENCE_S:  # most often
        return seconds
    position, before = signal.position, playback.position
    if position is None or before is None or has_jumped(playback, signal):
        return seconds
    return min(seconds, max(0.0, position - before) / playback.rate)


def _plausible_movement(playback: Playback, at: float) -> float:
    """The most by which playback may have moved the position up to a time (ms), s."""
    elapsed = (at - playback.position_at) / 1000
    return elapsed * max(MAX_RATE, playback.rate) + START_TOLERANCE
