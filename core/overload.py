"""Overload: when to refuse batches because they have waited too long.

A burst is served, however long that takes, and so is what has waited because the process was
held up for a moment: it will catch up. A flood is not, or every batch would wait longer than the
one before. What tells them apart is time: the worker is overloaded once batches have waited too
long throughout a second or two, and until they have not for some more. Meanwhile those that have
waited too long are refused, so that the next ones find a shorter queue.

Source of the idea: controlled delay (RFC 8289), which also looks at the time that was spent in
a queue, and drops only when that has been long for a while.
"""

BURST = 2_000
"""ms for which all batches may wait too long before any is refused."""

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
        self._latest = 0  # when one has waited too long
        self.is_on = False

    def refuses(self, waited: int, now: int) -> bool:
        """Whether to refuse a batch.

        Args:
            waited: For how long it has waited, ms.
            now: Current time in ms.
        """
        if not self._most:
            return False
        if waited <= self._most:
            self._since = None
            if self.is_on and not self._latest <= now < self._latest + CALM:
                self.is_on = False
            return False
        self._latest = now
        if self._since is None or now < self._since:
            self._since = now
        if now - self._since >= BURST:
            self.is_on = True
        return self.is_on
