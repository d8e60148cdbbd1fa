"""Work that is done in parts, so that nobody is held up by all of it.

What a flush does grows with the series and views there are. So it is written as generators that
yield after each few of them, and tell how much that was, in units of about one series or view (some
µs). ``Worker.poll`` goes on with it for as many units as its pace allows, and asks to be polled
again at once. Units are counted, because the core has no clock, and the same calls must give the
same bytes.
"""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

IncrementalWork = Generator[int, None, Result]
"""Work in parts, with a result at its end."""

SMALL_ITEMS_PER_UNIT = 10
"""Things of which so little is asked that this many make one unit."""

UNITS_PER_YIELD = 10
"""Units of work after which to yield, where many things of one unit each are gone through: yielding
after each would be a tenth of the work."""

DEFAULT_BUDGET = 250
"""Units of work in one call at the most: one or two ms. More than that may come on top: the garbage
collector, a processor that has become slow."""


def run_to_end(work: IncrementalWork[Result]) -> Result:
    """Do all of it at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
