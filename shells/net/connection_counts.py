"""The numbers of connections of workers that accept from the same sockets, in shared memory.

The kernel wakes all workers for each connection. The first to wake would get nearly all of a burst,
and keep them for as long as their clients do, which may be hours. So a worker that has more
connections than another lets that one go first for a moment.
"""

import mmap
import os
import tempfile
from typing import Final, Self

HEAD_START: Final = 0.005
"""Seconds by which a worker that is ahead lets the others go first: one that handles requests looks
for connections every few ms."""

LATE_TURNS: Final = 20
"""Head starts in a row, 0.1 s together, after which another worker hangs that has fewer."""

TOLERANCE: Final = 8
"""A worker is ahead if it has more than another by an eighth: of many connections one more counts
little, and waiting for it would delay a burst."""

ABSENT: Final = 0xFFFF_FFFF
"""The number of a worker that does not accept."""


class ConnectionCounts:
    """The number of connections of each worker.

    Args:
        descriptor: An open file of four bytes for each worker, which is closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self._counts = memoryview(self._memory).cast("I")

    @classmethod
    def create(cls, workers: int) -> Self:
        """Create the numbers of so many workers, none of which accepts."""
        with tempfile.TemporaryFile() as file:
            file.truncate(4 * workers)
            counts = cls(os.dup(file.fileno()))
        for worker in range(workers):
            counts.set(worker, ABSENT)
        return counts

    def fileno(self) -> int:
        """Return the descriptor for workers to inherit."""
        return self._descriptor

    def set(self, worker: int, connections: int) -> None:
        """Set the number of a worker."""
        self._counts[worker] = connections

    def is_ahead(self, worker: int) -> bool:
        """Whether a worker has more connections than another that accepts."""
        least = min(self._counts)
        return self._counts[worker] > least + least // TOLERANCE

    def close(self) -> None:
        """Release the memory; other processes keep it."""
        self._counts.release()
        self._memory.close()
        os.close(self._descriptor)
