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

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: Rate, now: int) -> None:
        self.rate = rate
        self._level = float(rate.burst)
        self._at = now

    def wait(self, now: int) -> int:
        """Return ms until a batch is admitted; 0 if it is now."""
        self._refill(now)
        if self._level > 0:
            return 0
        return int(-self._level * 1000 / self.rate.events_per_second) + 1

    def spend(self, events: int, now: int) -> None:
        """Take the tokens of an admitted batch."""
        self._refill(now)
        self._level -= events

    def _refill(self, now: int) -> None:
        elapsed = max(0, now - self._at)  # the clock may have been set back
        self._at = now
        gained = elapsed * self.rate.events_per_second / 1000
        self._level = min(float(self.rate.burst), self._level + gained)
