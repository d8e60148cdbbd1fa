"""Expiry queue: the views by the second at which they may expire.

Each view is queued once. An event does not move it: at its second, a view that was seen meanwhile
is queued again. A view that ends before stays in the queue until ``remove``. A million views must
cost little, so a view takes one place in the list of its second. The list is cut into tuples, which
the garbage collector traverses once; a list it traverses again and again.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from .view import View

SECOND = 1_000

TUPLE_SIZE = 64
"""Views per tuple."""


class ExpiryQueue:
    """Views by the second (since the epoch) at which they may expire."""

    def __init__(self) -> None:
        self._size = 0
        self._seconds: list[int] = []  # a heap of the keys of ``_buckets``
        self._buckets: dict[int, _Bucket] = {}

    def __len__(self) -> int:
        """Number of places that views take."""
        return self._size

    def schedule(self, view: View, due: int) -> None:
        """Queues a view for a time (ms), rounded up to a second."""
        second = ceil_second(due)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = _Bucket([], [])
            heapq.heappush(self._seconds, second)
        self._size += 1
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
        self._size -= bucket.size
        return bucket.views()

    def remove(self, is_gone: Callable[[View], bool]) -> Iterator[int]:
        """Removes views; yields the number of those examined, second by second."""
        for second, bucket in list(self._buckets.items()):
            kept = [view for view in bucket.views() if not is_gone(view)]
            self._size -= bucket.size - len(kept)
            whole = len(kept) - len(kept) % TUPLE_SIZE
            full = [tuple(kept[at : at + TUPLE_SIZE]) for at in range(0, whole, TUPLE_SIZE)]
            examined = bucket.size
            self._buckets[second] = _Bucket(full, kept[whole:])
            yield examined


class _Bucket(NamedTuple):
    """The views of one second."""

    full: list[tuple[View, ...]]
    filling: list[View]

    @property
    def size(self) -> int:
        return len(self.full) * TUPLE_SIZE + len(self.filling)

    def views(self) -> Iterator[View]:
        return chain(chain.from_iterable(self.full), self.filling)


def ceil_second(due: int) -> int:
    """Rounds a time (ms) up to a second."""
    return -(-due // SECOND)
