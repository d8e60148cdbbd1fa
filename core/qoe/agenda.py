"""The agenda: when to look at which views.

Each view stands here once, under a second at which it could expire. It is looked at only then, so
an event costs nothing to keep the order; one of which something came in the meantime is put off.
There may be a million views, so each costs a place in its second's list and nothing else.
"""

import heapq

from openqoe.core.qoe.view import View

SECOND = 1_000


class Agenda:
    """Views by the second (since the epoch) at which they could expire."""

    def __init__(self) -> None:
        self._seconds: list[int] = []  # a heap of those in ``_views``
        self._views: dict[int, list[View]] = {}

    def add(self, view: View, due: int) -> None:
        """Look at a view at a time (ms), or less than a second behind it."""
        second = second_of(due)
        views = self._views.get(second)
        if views is None:
            self._views[second] = [view]
            heapq.heappush(self._seconds, second)
        else:
            views.append(view)

    @property
    def first(self) -> int | None:
        """The first second at which there are views to look at."""
        return self._seconds[0] if self._seconds else None

    def take(self) -> list[View]:
        """Take out the views of the first second."""
        return self._views.pop(heapq.heappop(self._seconds))


def second_of(due: int) -> int:
    """The second at which it is too late to be in time by less than one."""
    return -(-due // SECOND)
