"""Things that are due at an interval, by a clock that may jump."""


class Timer:
    """Something that is due every ``interval`` ms."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._last: int | None = None

    def start(self, now: int) -> None:
        """Begin to count, once; and anew after the clock jumped back."""
        if self._last is None or now < self._last:
            self._last = now

    def is_due(self, now: int) -> bool:
        """Whether the interval is over."""
        self.start(now)
        return self._last is not None and now - self._last >= self._interval

    def restart(self, now: int) -> None:
        """Note that it was done."""
        self._last = now

    def make_due(self) -> None:
        """Make it due at once."""
        if self._last is not None:
            self._last -= self._interval

    def capture_state(self) -> int | None:
        """When it was done last, for a snapshot."""
        return self._last

    def restore_state(self, last: int | None) -> None:
        """Take a state back."""
        self._last = last

    @property
    def next_due(self) -> int | None:
        """When it is due, None if it has not started."""
        return None if self._last is None else self._last + self._interval
