"""Load shedding by controlled delay (CoDel, RFC 8289).

A short burst may wait; a standing queue may not. While every request has waited longer than the
target for at least an interval, requests are shed, at first one each interval, then more and more
often: the time between two is the interval divided by the square root of their number. The first
request that waited less than the target ends it.

A request that arrived after the previous one was handled had no queue in front of it. It waited
because its host was held up, so it is never shed, as RFC 8289 never drops the last packet of a
queue (section 5.5).
"""

from math import sqrt

INTERVAL = 100
"""ms that the delay must stay above the target; RFC 8289, section 4.3."""


class LoadShedder:
    """Decides which requests are shed, from how long they waited."""

    def __init__(self, target: int) -> None:
        """
        Args:
            target: ms that requests may wait in a standing queue; 0: no limit.
        """
        self._target = target
        self._above_since: int | None = None
        self._handled = 0  # when the previous request was handled, ms
        self._is_shedding = False
        self._shed = 0  # requests, in this overload
        self._next_shed = 0.0

    def sheds(self, arrived: int, now: int) -> bool:
        """Whether to shed a request.

        Args:
            arrived: When its last byte arrived, ms.
            now: Current time in ms.
        """
        had_queue = arrived < self._handled <= now
        self._handled = now
        if not self._target or not had_queue or now - arrived <= self._target:
            self._above_since, self._is_shedding = None, False
            return False
        if self._above_since is None or now < self._above_since:
            self._above_since = now
        if not self._is_shedding:
            if now - self._above_since < INTERVAL:
                return False
            self._begin_shedding(now)
        elif now < self._next_shed:
            return False
        self._shed += 1
        self._next_shed += INTERVAL / sqrt(self._shed)
        return True

    def _begin_shedding(self, now: int) -> None:
        # An overload that returns soon continues at the rate it had: RFC 8289, section 5.4.
        resumes = self._shed > 2 and now - self._next_shed < 16 * INTERVAL
        self._is_shedding, self._shed = True, self._shed - 2 if resumes else 0
        self._next_shed = now
