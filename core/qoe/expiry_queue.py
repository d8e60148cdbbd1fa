"""Expiry queue: the views by the second at which they may expire.

Each view is queued once. An event does not move it: at its second, a view that was seen meanwhile
is queued again. A million views must cost little, so a view takes one place in the list of its
second. The list is cut into tuples, which the garbage collector traverses once; a list it traverses
again and again.
"""

import heapq
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from .view import View

SECOND = 1_000

TUPLE_SIZE = 64
"""Views per tuple."""


class ExpiryQueue:
    """Views by the second (since the epoch) at which they may expire."""

    def __init__(self) -> None:
        self._seconds: list[int] = []  # a heap of the keys of ``_buckets``
        self._buckets: dict[int, _Bucket] = {}

    def schedule(self, view: View, due: int) -> None:
        """Queues a view for a time (ms), rounded up to a second."""
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
        """The first second for which views are queued."""
        return self._seconds[0] if self._seconds else None

    def pop_first(self) -> Iterator[View]:
        """Removes and returns the views of the first second, in the order of queueing."""
        bucket = self._buckets.pop(heapq.heappop(self._seconds))
        return chain(chain.from_iterable(bucket.full), bucket.filling)


class _Bucket(NamedTuple):
    """The views of one second."""

    full: list[tuple[View, ...]]
    filling: list[View]


def ceil_second(due: int) -> int:
    """Rounds a time (ms) up to a second."""
    return -(-due // SECOND)
