"""Rates and quotas of keys.

Limits belong to keys and never to a field that the client supplies: anyone could fill the bucket of
another application otherwise. Above its rate a key's batches are rejected (503, which the SDK sends
again; it drops a batch on any 4xx). Above its daily quota a tenth of its views is accepted, whole
views, so that ratios of views stay true.

Each of n workers applies an nth of a limit to what it receives itself. So in t seconds they admit
together at most ``rate * t + burst + n batches``, and an nth of that if one of them gets all. A
burst or quota of less than n counts as n.
"""

from collections.abc import Mapping
from typing import Final

from ..effects import Notice
from .api_key import ApiKey, Rate
from .token_bucket import TokenBucket

DAY: Final = 86_400_000

OVER_QUOTA: Final = 0.1
"""Fraction of a key's views that is accepted above its quota."""

QuotaState = dict[str, tuple[int, int]]
"""Day (since the epoch, UTC) and events accepted on it, by the name of the key."""


class KeyLimits:
    """Applies the limits of all keys.

    Args:
        notices: Receives notices for the operator.
        workers: Number of workers that share the limits.
    """

    def __init__(self, notices: list[Notice], workers: int = 1) -> None:
        self._workers = workers
        self._buckets: dict[str, TokenBucket] = {}
        self._used: QuotaState = {}
        self._thinned: dict[str, int] = {}  # the day of the latest notice
        self._notices = notices

    def wait(self, key: ApiKey | None, now: int) -> int:
        """Return ms until a batch of a key is admitted; 0 if it is now."""
        bucket = self._bucket(key, now)
        return 0 if bucket is None else bucket.wait(now)

    def spend(self, key: ApiKey | None, events: int, now: int) -> None:
        """Take a batch from the key's bucket."""
        bucket = self._bucket(key, now)
        if bucket is not None:
            bucket.spend(events, now)

    def count(self, key: ApiKey | None, events: int, now: int) -> None:
        """Count accepted events towards the key's quota."""
        if key is not None and key.events_per_day is not None:
            self._used[key.name] = (now // DAY, self._used_today(key, now) + events)

    def fraction(self, key: ApiKey | None, now: int) -> float:
        """Return the fraction of a key's views that is accepted at present."""
        if key is None:
            return 1.0
        if not self.is_over_quota(key, now):
            return key.sample
        today = now // DAY
        if self._thinned.get(key.name) != today:
            self._thinned[key.name] = today
            fields = (("key", key.name), ("events_per_day", key.events_per_day or 0))
            event = "quota of a key is used up; a tenth of its views is accepted until midnight UTC"
            self._notices.append(Notice("warning", event, fields))
        return min(key.sample, OVER_QUOTA)

    def is_over_quota(self, key: ApiKey, now: int) -> bool:
        """Whether the quota of a key is used up."""
        quota = key.events_per_day
        return quota is not None and self._used_today(key, now) >= max(1, quota // self._workers)

    def capture_state(self) -> QuotaState:
        """Return the use of quotas, for a snapshot."""
        return dict(self._used)

    def restore_state(self, state: Mapping[str, tuple[int, int]]) -> None:
        """Restore the use of quotas."""
        self._used = dict(state)

    def _used_today(self, key: ApiKey, now: int) -> int:
        day, events = self._used.get(key.name, (0, 0))
        return events if day == now // DAY else 0

    def _bucket(self, key: ApiKey | None, now: int) -> TokenBucket | None:
        if key is None or key.rate is None:
            return None
        rate = key.rate
        if self._workers > 1:
            burst = max(1, rate.burst // self._workers)
            rate = Rate(rate.events_per_second / self._workers, burst)
        bucket = self._buckets.get(key.name)
        if bucket is None or bucket.rate != rate:  # the keys file has changed
            bucket = self._buckets[key.name] = TokenBucket(rate, now)
        return bucket
