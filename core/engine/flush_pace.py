"""Flush pace: whether flushes and deliveries keep up with the flush interval.

Theory of operation. Two things may take longer than an interval allows: the work of a flush, and
the delivery of its payloads. Both are judged when a flush begins:

    late        it begins late, most often because the flush before had not ended
    behind      the oldest payload of a queue has waited for more than three intervals, and for
                longer than three flushes ago

If three flushes in a row are late, or the queue of a destination that accepts metrics is behind,
the interval is doubled: samples are cumulative, so a longer interval costs resolution in time and
never a count. It is halved again once flushes and deliveries have fitted into half of it for a
while. It never exceeds ``MAX_INTERVAL``: Prometheus forgets a series after five minutes.

An outage makes a queue grow as well: nothing was accepted since the flush before. It is reported
as being behind, but does not stretch the interval, because fewer payloads would not end it. Nor
does the queue of one tenant of a destination, as long as most of its queues keep up.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median_low

from ..config.destinations import split_destination
from ..delivery.delivery_queue import DeliveryQueue
from ..effects import Notice

MAX_INTERVAL = 60_000
"""ms that the interval is stretched to at the most. A longer configured one is not stretched."""

SEVERAL = 3
"""Intervals that the oldest payload of a queue may have waited, flushes over which a queue grows,
and late flushes in a row that double the interval."""

LEAST_BEHIND = 3_000
"""ms of waiting that are never reported, however short the interval is."""

LATE = 0.1
"""Fraction of an interval by which a flush may begin late."""

RELAXED = 10
"""Flushes in a row that fit into half of the interval and halve it."""


class FlushPace:
    """Judges each flush, and sets the interval between flushes.

    Attributes:
        configured: The flush interval of the settings, ms; 0: a flush after every request.
        interval: The current one, ms.
    """

    def __init__(
        self,
        configured: int,
        groups: Sequence[Iterable[DeliveryQueue]],
        notices: list[Notice],
    ) -> None:
        """
        Args:
            configured: The flush interval of the settings, ms.
            groups: The queues of each destination.
            notices: Receives notices for the operator.
        """
        self.configured = configured
        self.interval = configured
        self._groups = groups
        self._ages: dict[str, deque[int]] = {}  # of the oldest payload at the latest flushes, ms
        self._since_outage: dict[str, int] = {}  # flushes in a row without one
        self._behind: set[str] = set()
        self._noticed: set[str] = set()  # queues whose growth is in the log
        self._longest = configured  # interval since the configured one was left, for the log
        self._late = self._relaxed = 0  # flushes in a row
        self._began_at: int | None = None
        self._work = 0  # of the latest flush, ms
        self._notices = notices

    @property
    def behind(self) -> tuple[str, ...]:
        """The destinations whose queues grow, or have grown and are not delivered yet."""
        if not self._behind:
            return ()
        names = (split_destination(name)[0] for name in self._ages if name in self._behind)
        return tuple(dict.fromkeys(names))

    @property
    def is_stretched(self) -> bool:
        """Whether the interval is longer than the configured one."""
        return self.interval > self.configured

    def begin_flush(self, due: int | None, now: int) -> None:
        """Judge whether the flushes before have kept up.

        Args:
            due: When this flush was due, ms; None if it was not due, but requested.
            now: Current time in ms.
        """
        self._began_at = now
        if not self.configured or due is None:
            return
        falls_behind, slowest = False, self._work
        self._forget_removed()
        for group in self._groups:
            growing, delays = 0, []
            for queue in group:
                delay = queue.pop_longest_delay()
                is_away = not queue.is_accepting and delay is None
                accepts = queue.is_accepting and delay is not None
                accepts &= not self._has_just_returned(queue.destination.name, is_away=is_away)
                grows = self._judge_queue(queue, now, accepts=accepts)
                if queue.kind in ("logs", "batches"):  # as many with a longer interval
                    continue
                growing += grows and accepts
                delays.append(max(delay or 0, queue.head_age(now)) if queue.is_accepting else 0)
            falls_behind |= 2 * growing > len(delays)
            slowest = max(slowest, median_low(delays) if delays else 0)
        self._late = self._late + 1 if now - due > LATE * self.interval else 0
        self._relaxed = self._relaxed + 1 if slowest <= self.interval // 2 else 0
        if self._late >= SEVERAL:
            self._stretch("flush")
        elif falls_behind:
            self._stretch("delivery")
        elif self._relaxed >= RELAXED and self.is_stretched:
            self._shorten()

    def end_flush(self, now: int) -> None:
        """Note that the work of a flush has ended."""
        if self._began_at is not None:
            self._work = max(0, now - self._began_at)

    def _judge_queue(self, queue: DeliveryQueue, now: int, *, accepts: bool) -> bool:
        """Return whether a queue is behind and grows.

        Args:
            queue: The queue.
            now: Current time in ms.
            accepts: Whether its destination has accepted payloads since the flush before. Failures
                have notices of their own.
        """
        name, age = queue.destination.name, queue.head_age(now)
        ages = self._ages.setdefault(name, deque(maxlen=SEVERAL))
        grows = len(ages) == SEVERAL and age > ages[0]
        ages.append(age)
        limit = max(SEVERAL * self.interval, LEAST_BEHIND)
        if age <= limit // SEVERAL:
            self._behind.discard(name)
            if name in self._noticed:
                self._noticed.discard(name)
                fields = (("destination", name),)
                self._notices.append(Notice("info", "delivery has caught up", fields))
        if age <= limit or not grows:
            return False
        self._behind.add(name)
        if accepts and name not in self._noticed:
            self._noticed.add(name)
            details = (("destination", name), ("oldest_s", age // 1000))
            self._notices.append(Notice("warning", "delivery falls behind", details))
        return True

    def _has_just_returned(self, name: str, *, is_away: bool) -> bool:
        """Whether a queue may have grown in an outage that has ended, not by slow deliveries.

        Args:
            name: The queue.
            is_away: Whether its destination has accepted nothing since the flush before.
        """
        flushes = self._since_outage[name] = 0 if is_away else self._since_outage.get(name, 0) + 1
        return flushes <= SEVERAL

    def _forget_removed(self) -> None:
        """Forget the queues of tenants that have been removed."""
        names = {queue.destination.name for group in self._groups for queue in group}
        for name in self._ages.keys() - names:
            del self._ages[name]
            del self._since_outage[name]
            self._behind.discard(name)
            self._noticed.discard(name)

    def _stretch(self, cause: str) -> None:
        self._reset()
        stretched = min(2 * self.interval, MAX_INTERVAL)
        if stretched <= self.interval:
            return
        self.interval = stretched
        if stretched > self._longest:
            self._longest = stretched
            fields = (
                ("cause", cause),
                ("configured_s", self.configured / 1000),
                ("interval_s", stretched / 1000),
            )
            self._notices.append(Notice("warning", "flush interval stretched", fields))

    def _shorten(self) -> None:
        self._reset()
        self.interval = max(self.interval // 2, self.configured)
        if not self.is_stretched:
            self._longest = self.configured
            fields = (("interval_s", self.configured / 1000),)
            self._notices.append(
                Notice("info", "flush interval is the configured one again", fields)
            )

    def _reset(self) -> None:
        """Forget the flushes before, because their interval was another one."""
        self._late = self._relaxed = 0
        for ages in self._ages.values():
            ages.clear()
