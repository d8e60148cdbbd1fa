"""Running totals of a view, turned into increases.

A player reports the media time played and the frames dropped as totals since it was
attached. Only what a report adds to the highest total seen so far counts, so a batch that
is sent twice, late or out of order adds nothing that was counted before.

A total may begin anew when the page loads the next source into the same view. That is
told from a late report by time: a smaller total is a restart only if a start event lies
between it and the reports before, by the client's clock.
"""

from typing import Final, Self

import msgspec


class RunningTotal(msgspec.Struct, array_like=True, gc=False, eq=False):
    """One total of one view.

    A view is cut into runs at its start events. The latest two runs are remembered, so a
    report that comes late for the run before still finds the mark it belongs to. One of an
    older run adds nothing.

    Snapshots hold it as it is.
    """

    _high: int | float = 0.0
    _high_at: int | float | None = None
    _since: int | float | None = None
    """When the current run began, if another one came before it."""
    _earlier: int | float = 0.0
    """The mark of the run before."""
    _earlier_since: int | float | None = None
    """When that run began, if another one came before it."""

    def advance(self, total: float, at: float, restarts: tuple[float, ...]) -> float:
        """Take a report into account.

        Args:
            total: The total reported.
            at: The report's event time in ms.
            restarts: Event times of the view's start events, ascending.

        Returns:
            By how much the total has grown, never negative.
        """
        if self._since is not None and at < self._since:
            if self._earlier_since is not None and at < self._earlier_since:
                return 0.0
            increase = max(0.0, total - self._earlier)
            self._earlier += increase
            return increase
        if total >= self._high:
            increase = total - self._high
            self._high, self._high_at = total, at
            return increase
        began = self._restart_between(at, restarts)
        if began is None:
            return 0.0
        self._earlier, self._earlier_since = self._high, self._since
        self._high, self._high_at, self._since = total, at, began
        return total

    def or_none(self) -> Self | None:
        """None if it has taken no report into account."""
        return None if self._high_at is None else self

    def _restart_between(self, at: float, restarts: tuple[float, ...]) -> float | None:
        """The latest start event after the report of the mark and not after this one."""
        for began in reversed(restarts):
            if began <= at:
                return began if self._high_at is not None and began > self._high_at else None
        return None


RESTARTS_KEPT: Final = 4
"""How many start events a view remembers; late reports reach back no further."""
