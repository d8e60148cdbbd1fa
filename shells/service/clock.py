"""The clocks that the core does without."""

import time


def now_ms() -> int:
    """Wall-clock time in ms since the epoch."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Seconds that only go forward, for durations."""
    return time.perf_counter()
