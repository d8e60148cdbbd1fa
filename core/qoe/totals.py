"""Turns running totals of a view into increases.

A player reports media time played and frames dropped as totals since it was attached. Only the
excess over the highest total so far counts, so a repeated, late or reordered batch adds nothing
twice.

A total may restart when the page loads the next source into the same view. Time distinguishes a
restart from a late report: a smaller total is a restart only if a start event lies between it and
the earlier reports, by the client's clock.
"""

from typing import Final, Self

import msgspec


class RunningTotal(msgspec.Struct, array_like=True, gc=False, eq=False):
    """One running total of one view.

    Start events divide a view into runs. The latest two runs are kept, so that a late report of
    the previous run still meets its own high-water mark. A report of an older run adds nothing.

    Snapshots contain the object as it is.
    """

    _high: int | float = 0.0
    _high_at: int | float | None = None
    _since: int | float | None = None
    """When the current run began, if there was an earlier one."""
    _earlier: int | float = 0.0
    """The high-water mark of the previous run."""
    _earlier_since: int | float | None = None
    """When the previous run began, if there was an earlier one."""

    def advance(self, total: float, at: float, restarts: tuple[float, ...]) -> float:
        """Applies a report.

        Args:
            total: The reported total.
            at: The report's event time in ms.
            restarts: Event times of the view's start events, ascending.

        Returns:
            The increase of the total, never negative.
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
        """None before the first report."""
        return None if self._high_at is None else self

    def _restart_between(self, at: float, restarts: tuple[float, ...]) -> float | None:
        """The latest start event up to a report, if it follows the report of the mark."""
        for began in reversed(restarts):
            if began <= at:
                return began if self._high_at is not None and began > self._high_at else None
        return None


RESTARTS_KEPT: Final = 4
"""Start events that a view keeps; late reports reach back no further."""
