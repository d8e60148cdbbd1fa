"""Clocks: the core has none, shells pass the time in."""

import time


def now_ms() -> int:
    """Return the wall-clock time in ms since the epoch."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Return a time in seconds that never goes back, for durations."""
    return time.perf_counter()
