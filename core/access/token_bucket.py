"""A token bucket: admits batches while it has tokens, and may go into debt by one batch.

A batch is admitted as soon as there is any token, because its size is not known before it is read,
and because a batch larger than the bucket would otherwise never pass. So in any period of t seconds
a bucket admits at most ``rate * t + burst + one batch`` events.
"""

from .api_key import Rate


class TokenBucket:
    """A bucket that is full at the start.

    Attributes:
        rate: The rate at which it refills, and its size.
    """

    __slots__ = ("_at", "_debt", "_ms_per_event", "_when_full", "rate")

    def __init__(self, rate: Rate, now: int) -> None:
        self.rate = rate
        self._ms_per_event = 1000 / rate.events_per_second
        self._when_full = -rate.burst * self._ms_per_event
        # ms of refilling that are owed; negative while there are tokens. Counted in tokens instead,
        # rounding could leave none after the wait that was announced.
        self._debt = self._when_full
        self._at = now

    def wait(self, now: int) -> int:
        """Return ms until a batch is admitted; 0 if it is now."""
        self._refill(now)
        return 0 if self._debt < 0 else int(self._debt) + 1

    def spend(self, events: int, now: int) -> None:
        """Take the tokens of an admitted batch."""
        self._refill(now)
        self._debt += events * self._ms_per_event

    def _refill(self, now: int) -> None:
        elapsed = max(0, now - self._at)  # the clock may have been set back
        self._at = now
        self._debt = max(self._when_full, self._debt - elapsed)
