"""LoadShedder: when to refuse batches because they have waited too long.

A burst is served, and so is what has waited because the process was held up for a moment: it will
catch up. A flood is not, or every batch would wait longer than the one before. What tells them
apart is time: the worker is overloaded once most batches have waited too long for two seconds,
and until none has for some more. And number: a few clients, each of which waits for its answer
before it sends again, are no flood, however slow the machine is. How many wait at once follows from
how many are dealt with in a time, and how long one waits (Little's law). In an overload those that
have waited too long are refused, so that the next ones find a shorter queue. Too long is half as
long then as before: so a worker that is only just busy enough refuses none, and one that is not
does not stay at the edge.

But not all of them. A refusal takes time, too. Where that is much of what a batch takes, a worker
that refused all would do nothing else, and have all wait too long all the same. So of what it has
managed in that time it goes on to accept a share however long that has waited: half, and less as
long as they wait far too long, unless that turns out not to help. The rest pays for the refusals,
or for what comes in time again.

The worker may come to manage less, because a flush begins, or its machine slows down. Then it
refuses hardly anything, and most wait too long again: so what it accepts meanwhile is the new
measure, which grows again as long as enough is refused.

Source of the idea: controlled delay (RFC 8289), which also looks at the time that was spent in
a queue, and drops only when that has been long for a while, and never all.
"""

BURST = 2_000
"""ms for which most batches may wait too long before any is refused."""

PAUSE = 500
"""ms without one that waited too long that part two bursts."""

FLOOD = 100
"""Batches that wait at once, before any is refused."""

TIGHTER = 0.5
"""How much of the wait that is allowed is allowed in an overload."""

MOST = 2 / 3
"""How many of all batches are most. Some are in time even where the worker falls behind: whoever is
answered late in a turn of the loop and asks again is heard at once; the others wait for a turn."""

SHARE = 0.5
"""How much of what the worker has managed it goes on to accept, however long that has waited."""

FAR = 1.5
"""Times the wait that is allowed then: past it, on the average of a period, less is accepted."""

LESS = 0.8
"""By how much the share comes down then."""

LEAST = 0.25
"""What it comes down to."""

HOPELESS = 5
"""Times the wait that is allowed then: past it, with the least share, a worker cannot even refuse
as fast as it is asked."""

VAIN = 4
"""Periods of that, behind which so small a share has been in vain."""

REST = 10_000
"""ms for which it is as at first then: less would be accepted, and nobody wait less."""

SAVED = 250
"""ms for which what was not accepted of that may be made up later."""

PERIOD = 500
"""ms behind which share and measure are looked at anew."""

FEW = 1 / 5
"""How many refusals are few, beside those that were accepted."""

GROWTH = 1.05
"""By how much share and measure grow again behind a period, up to what they were at first: the
worker may have been held up for a moment only."""

CALM = 10_000
"""ms without one that waited too long after which the overload is over."""


class LoadShedder:
    """Knows whether the worker falls behind, and what to refuse then."""

    def __init__(self, most: int) -> None:
        """
        Args:
            most: ms that a batch may wait before the worker is overloaded; 0 for any time.
        """
        self._most = most
        self._since: int | None = None  # since when most have waited too long
        self._late = self._in_time = self._waited = 0  # batches since then; the ms they waited
        self._latest = 0  # when one has waited too long
        self._allowance: _Allowance | None = None  # while the worker is overloaded

    def refuses(self, waited: int, now: int) -> bool:
        """Whether to refuse a batch.

        Args:
            waited: For how long it has waited, ms.
            now: Current time in ms.
        """
        if not self._most:
            return False
        if waited > (self._most if self._allowance is None else self._allowance.most):
            self._look(waited, now)
        else:
            self._in_time += 1
            self._waited += waited
            if self._late < (self._late + self._in_time) * MOST:
                self._since = None
            if not self._latest <= now < self._latest + CALM:
                self._allowance = None
        return self._allowance is not None and not self._allowance.takes(waited, now)

    def _look(self, waited: int, now: int) -> None:
        """See whether one that has waited too long makes a flood of those before it."""
        if self._since is None or not self._latest <= now < self._latest + PAUSE:
            self._since, self._late, self._in_time, self._waited = now, 0, 0, 0
        self._latest = now
        self._late += 1
        self._waited += waited
        lasts = now - self._since
        if self._allowance is None and lasts >= BURST and self._waited >= FLOOD * lasts:
            managed = (self._late + self._in_time) / lasts
            self._allowance = _Allowance(self._most * TIGHTER, managed, now)


class _Allowance:
    """What is accepted in an overload.

    Attributes:
        most: ms that a batch may wait.
    """

    def __init__(self, most: float, managed: float, now: int) -> None:
        """
        Args:
            most: ms that a batch may wait.
            managed: Batches a ms that the worker managed before it refused any.
            now: Current time in ms.
        """
        self.most = most
        self._most_managed = self._managed = managed
        self._share = SHARE
        self._vain = 0  # periods with the least share that have not helped
        self._rests_until = 0
        self._credit = 0.0  # how many may still be accepted now
        self._counted = now  # when that was worked out
        self._period = now
        self._accepted = self._refused = self._waited = 0  # batches since then; the ms they waited

    def takes(self, waited: int, now: int) -> bool:
        """Whether to accept a batch. One that has not waited too long always is, and uses up what
        others could have.

        Args:
            waited: For how long it has waited, ms.
            now: Current time in ms.
        """
        pace = self._managed * self._share
        self._credit = min(self._credit + max(0, now - self._counted) * pace, SAVED * pace)
        self._counted = now
        takes = waited <= self.most or self._credit >= 1
        if takes:
            self._credit = max(0.0, self._credit - 1)
        lasts = now - self._period
        if not 0 <= lasts < PERIOD:
            if 0 < lasts < 2 * PERIOD:  # else nobody has asked for long, and it tells nothing
                self._look_anew(lasts, now)
            self._period = now
            self._accepted = self._refused = self._waited = 0
        self._accepted += takes
        self._refused += not takes
        self._waited += waited
        return takes

    def _look_anew(self, lasts: int, now: int) -> None:
        """See whether the worker has come to manage less, and whether to refuse more."""
        mean = self._waited / (self._accepted + self._refused)
        if mean <= self.most or self._refused >= self._accepted * FEW:
            self._managed = min(self._managed * GROWTH, self._most_managed)
        else:
            self._managed, self._credit = self._accepted / lasts, 0.0
        if mean <= self.most * FAR:
            self._share, self._vain = min(self._share * GROWTH, SHARE), 0
        elif now >= self._rests_until:
            self._refuse_more(mean, now)

    def _refuse_more(self, mean: float, now: int) -> None:
        if self._share > LEAST:
            self._share = max(self._share * LESS, LEAST)
        elif mean > self.most * HOPELESS:
            self._vain += 1
            if self._vain == VAIN:
                self._share, self._vain = SHARE, 0
                self._rests_until = now + REST
