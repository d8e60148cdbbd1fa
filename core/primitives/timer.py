"""Timer for periodic tasks, robust against a clock that is set back."""

from collections.abc import Iterable


class Timer:
    """A periodic deadline. All times are in ms.

    Attributes:
        interval: Time from one run to the next, ms; may be changed at any time.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self._last: int | None = None

    def start(self, now: int) -> None:
        """Start the first interval; later calls do nothing unless the clock was set back."""
        if self._last is None or now < self._last:
            self._last = now

    def is_due(self, now: int) -> bool:
        """Whether the interval has passed; starts the timer if necessary."""
        self.start(now)
        return self._last is not None and now - self._last >= self.interval

    def restart(self, now: int) -> None:
        """Start the next interval, after the task has run."""
        self._last = now

    def make_due(self) -> None:
        """End the current interval at once."""
        if self._last is not None:
            self._last -= self.interval

    def capture_state(self) -> int | None:
        """Return the start of the current interval, for a snapshot."""
        return self._last

    def restore_state(self, last: int | None) -> None:
        """Set the start of the current interval, from a snapshot."""
        self._last = last

    @property
    def next_due(self) -> int | None:
        """Time at which the task is due; None before ``start``."""
        return None if self._last is None else self._last + self.interval


def earliest(times: Iterable[int | None]) -> int | None:
    """Return the earliest of times that may be None; None if all are."""
    found = None
    for time in times:
        if time is not None and (found is None or time < found):
            found = time
    return found
