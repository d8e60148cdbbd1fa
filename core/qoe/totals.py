"""Turns running totals of a view into increases.

A player reports media time played and frames dropped as totals since it was attached. Only the
excess over the highest total so far counts, so a repeated, late or reordered batch adds nothing
twice.

A total may restart when the page loads the next source into the same view. Time distinguishes a
restart from a late report: a smaller total is a restart only if a start event lies between it and
the earlier reports, by the client's clock.

A total that grows faster than playback can is not believed, but followed: what it reports beyond
the jump counts. A view that is first seen in mid-play was counted before, or by another worker, so
its first total is the baseline.
"""

from enum import Enum, auto
from typing import Final

import msgspec

MAX_SPEED: Final = 4
"""s of media that may be played in one s."""

SLACK: Final = 60.0
"""s that a total may be ahead of that: its reports come 10 s apart, and late."""

MAX_UNKNOWN: Final = 120.0
"""s that a total may have when a view is first seen without its start; above it the view was
counted before."""

CLOCK_TOLERANCE: Final = 10_000
"""ms by which client time may differ from arrival without a jump: the first batch may have been
sent late by as much."""

MIN_PROGRESS: Final = 1.0
"""s that a total must gain to show that its report is the later one."""


class Doubt(Enum):
    """A report that adds nothing."""

    BASELINE = auto()
    IMPLAUSIBLE = auto()


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
    _is_baseline: bool = False
    """Whether the mark is the first report, of which nothing was counted."""
    _jumped: int | float | None = None
    """A total that was not believed; later ones may continue it."""
    _jumped_at: int | float = 0.0

    @property
    def is_reported(self) -> bool:
        """Whether there was a report."""
        return self._high_at is not None

    def shows_clock_set_back(self, total: float, at: float) -> bool:
        """Whether a report says more than the latest one, and has a time well before it."""
        if self._high_at is None or self._since is not None:
            return False
        return (
            at < self._high_at - CLOCK_TOLERANCE
            and MIN_PROGRESS < total - self._high <= MAX_UNKNOWN
        )

    def set_baseline(self, total: float, at: float) -> None:
        """Takes a first report as counted elsewhere."""
        self._high, self._high_at, self._is_baseline = total, at, True

    def add(self, increase: float) -> None:
        """Raises the mark by what was derived from something else than a total."""
        self._high += increase

    def advance_time(
        self, total: float, at: float, restarts: tuple[float, ...], began: float | None
    ) -> float | Doubt:
        """Applies a report of a time in s, if it fits the time that has passed.

        Args:
            total: The reported total.
            at: The report's event time in ms.
            restarts: Event times of the view's start events, ascending.
            began: When the view began, ms; None if its beginning was not seen.
        """
        if self._high_at is None:
            allowed = MAX_UNKNOWN if began is None else _allowance(began, at)
            if total > allowed:
                self.set_baseline(total, at)
                return Doubt.BASELINE
        elif self._is_baseline and total < self._high and at > self._high_at:
            self.set_baseline(total, at)  # the first report was nonsense, or of another source
            return Doubt.BASELINE
        elif total - self._high > _allowance(self._high_at, at):
            jumped, jumped_at = self._jumped, self._jumped_at
            self._jumped, self._jumped_at = total, at
            if jumped is None or not 0 <= total - jumped <= _allowance(jumped_at, at):
                return Doubt.IMPLAUSIBLE
            if at <= jumped_at:
                return Doubt.IMPLAUSIBLE
            self._high, self._high_at, self._jumped = total, at, None
            return total - jumped
        return self.advance(total, at, restarts)

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
            self._is_baseline = False
            return increase
        began = self._restart_between(at, restarts)
        if began is None:
            return 0.0
        self._earlier, self._earlier_since = self._high, self._since
        self._high, self._high_at, self._since = total, at, began
        return total

    def _restart_between(self, at: float, restarts: tuple[float, ...]) -> float | None:
        """The latest start event up to a report, if it follows the report of the mark."""
        for began in reversed(restarts):
            if began <= at:
                return began if self._high_at is not None and began > self._high_at else None
        return None


def _allowance(since: float, at: float) -> float:
    """The most that a total may grow between two times (ms), in s."""
    return MAX_SPEED * max(0.0, at - since) / 1000 + SLACK


RESTARTS_KEPT: Final = 4
"""Start events that a view keeps; late reports reach back no further."""
