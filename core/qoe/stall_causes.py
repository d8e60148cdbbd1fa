"""Causes of a stall that only later signals show: a play request, a seek."""

from collections.abc import Sequence
from typing import Final

from .signals import SEEKS, Signal, SignalKind

START_GRACE: Final = 250
"""ms after a play request within which a player reports that it has to wait."""

SEEK_TARGET_TOLERANCE: Final = 1.0
"""s between a stall's position and the target of the seek that explains it."""

SEEK_CLOCK_TOLERANCE: Final = 50
"""ms by which the clocks of a seek's latency and of the stall may differ."""

SEEK_LAG: Final = 250
"""ms by which a seek event may follow the end of its stall (Shaka: up to 41 ms)."""


def waits_at_once(signal: Signal, window: Sequence[Signal], following: int) -> bool:
    """Whether a stall follows a play request at once: it is the start-up wait."""
    for later in window[following:]:
        if later.at > signal.at + START_GRACE:
            return False
        if later.kind is SignalKind.STALL_BEGIN:
            return True
    return False


def is_part_of_seek(stall: Signal, window: Sequence[Signal], following: int) -> bool:
    """Whether a seek explains a stall: its target is the stall's position, and it began before.

    The SDK sends ``seek`` when it is over, before or after the end of the stall. video.js recovers
    from a real stall by seeking to its own position: a seek that began after the stall is a remedy,
    not the cause.
    """
    ended: float | None = None
    for later in window[following:]:
        if ended is not None and later.at > ended + SEEK_LAG:
            return False
        kind = later.kind
        if kind is SignalKind.STALL_END and ended is None:
            ended = later.at
        elif kind in SEEKS:
            target = seek_target(later)
            is_near = (
                stall.position is not None
                and target is not None
                and abs(stall.position - target) <= SEEK_TARGET_TOLERANCE
            )
            if kind is SignalKind.SEEK_BEGIN:
                return is_near and later.at <= stall.at + SEEK_CLOCK_TOLERANCE
            return is_near
    return False


def seek_target(seek: Signal) -> float | None:
    """Returns the position that a seek leads to, s."""
    return seek.position if seek.target is None else seek.target
