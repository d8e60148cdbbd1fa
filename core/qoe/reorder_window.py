"""The signals of a view that wait for earlier ones, in the order of client time."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import msgspec

from .playback_state import Playback
from .signals import Signal

REORDER_WINDOW: Final = 10_000
"""ms of arrival time for which a signal waits for earlier ones, and for the seek that explains its
stall: the SDK sends a batch every 5 s, and repeats one after 1, 2 and 4 s."""

MAX_WAITING: Final = 256
"""Signals of a view that may wait; above it the earliest are applied. A player sends one a second
at the most, and all that wait are in memory."""

_encode = msgspec.msgpack.Encoder().encode


order = attrgetter("at", "number", "kind", "rank")
"""The key of the order: time, the source's number, kind, and the place among those of the same."""


def rank_signals(signals: Sequence[Signal]) -> list[Signal]:
    """Returns the signals of a batch in order; those of one key as the player sent them.

    A player may leave one rendition and take another within a millisecond. Equal signals are one.
    """
    ordered: list[Signal] = []
    siblings: list[Signal] = []  # of the latest time, number and kind, without ranks
    at, number, kind = None, None, None
    for signal in sorted(signals, key=order):
        if signal.at != at or signal.kind is not kind or signal.number != number:
            at, number, kind = signal.at, signal.number, signal.kind
            siblings = [signal]
            ordered.append(signal)
        elif signal not in siblings:
            ordered.append(msgspec.structs.replace(signal, rank=len(siblings)))
            siblings.append(signal)
    return ordered


def extend_window(playback: Playback, ordered: list[Signal], now: int) -> None:
    """Adds ordered signals to those that wait; equal ones once.

    Those of several batches with the same key are ordered by content, so the order of arrival is
    irrelevant.
    """
    if not ordered:
        return
    if not playback.window or order(playback.window[-1]) < order(ordered[0]):  # most often
        playback.window += tuple(ordered)
        playback.arrivals += (now,) * len(ordered)
        return
    window, arrivals = list(playback.window), list(playback.arrivals)
    for signal in ordered:
        key = order(signal)
        place = len(window)
        if window and order(window[-1]) >= key:
            place = bisect_right(window, key, key=order)
            while place and order(window[place - 1]) == key:
                other = window[place - 1]
                if other == signal:
                    place = -1
                elif _encode(other) > _encode(signal):
                    place -= 1
                    continue
                break
        if place >= 0:
            window.insert(place, signal)
            arrivals.insert(place, now)
    playback.window, playback.arrivals = tuple(window), tuple(arrivals)


def due_count(playback: Playback, before: int | None) -> int:
    """Returns how many of the signals that wait are due.

    Args:
        playback: The playback.
        before: Time of arrival, ms: due are those that arrived up to it, and those that precede
            them; None for all.
    """
    arrivals = playback.arrivals
    count = waiting = len(arrivals)
    if before is not None:
        while count and arrivals[count - 1] > before:
            count -= 1
        if waiting > MAX_WAITING:
            count = max(count, waiting - MAX_WAITING // 2)
    return count
