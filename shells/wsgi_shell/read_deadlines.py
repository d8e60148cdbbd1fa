"""Deadlines for request bodies that a host's threads read from blocking sockets.

A time-out of the socket would start again at each of the host's reads, so that one byte at a time
holds a thread for hours. A thread of our own shuts down the receiving side of overdue sockets; the
blocked read then returns.
"""

import socket
from contextlib import suppress
from threading import Event, Lock, Thread

from ..service.clock import monotonic

INTERVAL = 0.5
"""Seconds between two checks."""


class ReadDeadlines:
    """Sockets from which a body is being read.

    Args:
        timeout: Seconds that a body may take.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._reading: dict[socket.socket, float] = {}
        self._overdue: set[socket.socket] = set()
        self._lock = Lock()
        self._ending = Event()

    def start(self) -> None:
        """Start to check."""
        Thread(target=self._check, name="openqoe-read-deadlines", daemon=True).start()

    def close(self) -> None:
        """Stop to check."""
        self._ending.set()

    def begin(self, connection: socket.socket) -> None:
        """Note that a thread starts to read a body."""
        with self._lock:
            self._reading[connection] = monotonic() + self._timeout

    def end(self, connection: socket.socket) -> bool:
        """Note that the thread has finished; return whether it was in time."""
        with self._lock:
            self._reading.pop(connection, None)
            in_time = connection not in self._overdue
            self._overdue.discard(connection)
        return in_time

    def _check(self) -> None:
        while not self._ending.wait(INTERVAL):
            now = monotonic()
            with self._lock:
                for connection, deadline in list(self._reading.items()):
                    if now >= deadline:
                        del self._reading[connection]
                        self._overdue.add(connection)
                        with suppress(OSError):
                            # Not the method of a TLS socket, which would forget its TLS session.
                            socket.socket.shutdown(connection, socket.SHUT_RD)
