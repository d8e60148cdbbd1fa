"""Incremental work: long tasks that run in small steps, so that requests are served between them.

The cost of a flush grows with the number of series and views. Such a task is a generator: after
each few items it yields how many units of work those items were. A unit is about one series or
view, a few µs. ``Worker.poll`` advances the generator until a budget of units is used up and asks
to be polled again at once. The budget counts units, not time, because the core has no clock and
the same calls must lead to the same bytes.
"""

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

IncrementalWork = Generator[int, None, Result]
"""A task in steps: yields the units of each step, returns the result."""

SMALL_ITEMS_PER_UNIT = 10
"""Cheap items, such as one label set, that count as one unit together."""

UNITS_PER_YIELD = 10
"""Units after which a loop over items of one unit each yields. To yield after each item would add a
tenth to its cost."""

DEFAULT_BUDGET = 250
"""Units of one call at most: 1 to 2 ms, plus pauses of the garbage collector or a throttled CPU."""


def run_to_end(work: IncrementalWork[Result]) -> Result:
    """Run all steps at once and return the result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
