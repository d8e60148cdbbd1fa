"""Accepting connections: all that have come, at once.

The runtimes' own servers accept one connection a turn (Trio's ``serve_listeners``, uvloop's
``create_server``). A turn takes as long as those need who are being served in it, so the last of
a crowd would wait for as many turns as it has heads.
"""

import errno
import socket
from collections.abc import Iterator

ACCEPT_BATCH = 256
"""Connections that are accepted in one turn at the most."""

RETRY_DELAY = 0.1
"""Seconds to wait where the system can give no more connections; that passes."""

_CAPACITY = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class NoCapacityError(Exception):
    """The system can give no more connections at present; the text says what it lacks."""


def accept_pending(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept what has come, without waiting.

    Raises:
        NoCapacityError: There is more, and it cannot be accepted now.
        OSError: The listener is broken.
    """
    for _ in range(ACCEPT_BATCH):
        try:
            accepted, _address = listener.accept()
        except BlockingIOError:
            return
        except ConnectionError:  # it has gone again
            continue
        except OSError as error:
            if error.errno not in _CAPACITY:
                raise
            raise NoCapacityError(error.strerror) from None
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield accepted
