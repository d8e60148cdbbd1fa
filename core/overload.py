"""Overload: when to refuse batches because they have waited too long.

A burst is served, and so is what has waited because the process was held up for a moment: it will
catch up. A flood is not, or every batch would wait longer than the one before. What tells them
apart is time: the worker is overloaded once all batches have waited too long for two seconds,
and until none has for some more. And number: a few clients, each of which waits for its answer
before it sends again, are no flood, however slow the machine is. How many wait at once follows from
how many are dealt with in a time, and how long one waits (Little's law). In an overload those that
have waited too long are refused, so that the next ones find a shorter queue.

But not all of them. A refusal takes time, too. Where that is much of what a batch takes, a worker
that refused all would do nothing else, and have all wait too long all the same. So half of what it
has managed in that time it goes on to accept however long that has waited. The other half pays
for the refusals, or for what comes in time again.

The worker may come to manage less, because a flush begins, or its machine slows down. Then it
refuses hardly anything, and all wait too long again: so what it accepts meanwhile is the new
measure, which grows again as long as enough is refused.

Source of the idea: controlled delay (RFC 8289), which also looks at the time that was spent in
a queue, and drops only when that has been long for a while, and never all.
"""

BURST = 2_000
"""ms for which all batches may wait too long before any is refused."""

FLOOD = 100
"""Batches that wait at once, before any is refused."""

SHARE = 0.5
"""How much of what the worker has managed it goes on to accept, however long that has waited."""

SAVED = 250
"""ms for which what was not accepted of that may be made up later."""

PERIOD = 500
"""ms in which all have waited too long and few were refused, after which that is looked at anew."""

FEW = 1 / 5
"""How many few are, beside those that were accepted."""

GROWTH = 1.05
"""How much more it is taken to manage behind each other such period, up to what it has managed at
first: it may have been held up for a moment only."""

CALM = 10_000
"""ms without one that waited too long after which the overload is over."""


class Overload:
    """Knows whether the worker falls behind.

    Attributes:
        is_on: Whether it does.
    """

    def __init__(self, most: int) -> None:
        """
        Args:
            most: ms that a batch may wait; 0 for any time.
        """
        self._most = most
        self._since: int | None = None  # since when none has waited less
        self._managed = 0  # batches since then
        self._latest = 0  # when one has waited too long
        self.is_on = False
        self._most_managed = 0.0  # batches a ms that it managed before it refused any
        self._pace = 0.0  # batches a ms that it manages now
        self._credit = 0.0  # how many of these still may be
        self._counted = 0  # when that was worked out
        self._period = 0  # since when all have waited too long, while it is on
        self._accepted = self._refused = 0  # batches since then

    def refuses(self, waited: int, now: int) -> bool:
        """Whether to refuse a batch.

        Args:
            waited: For how long it has waited, ms.
            now: Current time in ms.
        """
        if not self._most:
            return False
        is_late = waited > self._most
        if is_late:
            self._latest = now
            if self._since is None or now < self._since:
                self._since, self._managed = now, 0
            self._managed += 1
            lasts = now - self._since
            if not self.is_on and lasts >= BURST and self._managed * waited >= FLOOD * lasts:
                self._begin(self._managed / lasts, now)
        else:
            self._since = None
            if self.is_on and not self._latest <= now < self._latest + CALM:
                self.is_on = False
        if not self.is_on:
            return False
        passes = self._may_pass(now, is_late=is_late)
        self._measure(now, passes=passes, is_late=is_late)
        return not passes

    def _begin(self, managed: float, now: int) -> None:
        self.is_on = True
        self._pace = self._most_managed = managed
        self._credit, self._counted = 0.0, now
        self._begin_period(now)

    def _begin_period(self, now: int) -> None:
        self._period, self._accepted, self._refused = now, 0, 0

    def _measure(self, now: int, *, passes: bool, is_late: bool) -> None:
        """See whether the worker has come to manage less."""
        lasts = now - self._period
        if not is_late or lasts < 0:
            self._begin_period(now)
        elif lasts >= PERIOD:
            if self._refused < self._accepted * FEW:
                self._pace, self._credit = self._accepted / lasts, 0.0
            else:
                self._pace = min(self._pace * GROWTH, self._most_managed)
            self._begin_period(now)
        self._accepted += passes
        self._refused += not passes

    def _may_pass(self, now: int, *, is_late: bool) -> bool:
        """Those that have not waited too long always may, and use up what others could have."""
        pace = self._pace * SHARE
        self._credit = min(self._credit + max(0, now - self._counted) * pace, SAVED * pace)
        self._counted = now
        if is_late and self._credit < 1:
            return False
        self._credit = max(0.0, self._credit - 1)
        return True
