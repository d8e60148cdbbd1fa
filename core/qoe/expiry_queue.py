"""The agenda: when to look at which views.

Each view stands here once, under a second at which it could expire. It is looked at only then, so
an event costs nothing to keep the order; one of which something came in the meantime is put off.
There may be a million views, so each costs a place in its second's list and nothing else. The
list is cut into tuples, which the garbage collector goes through once; a list it goes through again
and again.
"""

import heapq
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from .view import View

SECOND = 1_000

TUPLE_SIZE = 64
"""Views in a tuple."""


class ExpiryQueue:
    """Views by the second (since the epoch) at which they could expire."""

    def __init__(self) -> None:
        self._seconds: list[int] = []  # a heap of those in ``_buckets``
        self._buckets: dict[int, _Bucket] = {}

    def schedule(self, view: View, due: int) -> None:
        """Look at a view at a time (ms), or less than a second behind it."""
        second = ceil_second(due)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = _Bucket([], [])
            heapq.heappush(self._seconds, second)
        bucket.filling.append(view)
        if len(bucket.filling) == TUPLE_SIZE:
            bucket.full.append(tuple(bucket.filling))
            bucket.filling.clear()

    @property
    def first_second(self) -> int | None:
        """The first second at which there are views to look at."""
        return self._seconds[0] if self._seconds else None

    def pop_first(self) -> Iterator[View]:
        """Take out the views of the first second, in the order in which they came."""
        bucket = self._buckets.pop(heapq.heappop(self._seconds))
        return chain(chain.from_iterable(bucket.full), bucket.filling)


class _Bucket(NamedTuple):
    """The views of a second."""

    full: list[tuple[View, ...]]
    filling: list[View]


def ceil_second(due: int) -> int:
    """The second at which it is too late to be in time by less than one."""
    return -(-due // SECOND)
