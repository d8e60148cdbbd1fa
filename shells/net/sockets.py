"""Accepts the pending connections of a listener, many or one in a turn of the event loop.

The runtimes' own servers accept one connection per turn (Trio's ``serve_listeners``, uvloop's
``create_server``). A turn lasts as long as the requests served in it, so the last of many pending
connections would wait for that many turns. Processes that share a listener do accept one per turn:
otherwise the first to wake gets them all, and the others have nothing to do.
"""

import errno
import socket
from collections.abc import Iterator

ACCEPT_BATCH = 256
"""Maximum number of connections that the only process of a listener accepts in one turn."""

RETRY_DELAY = 0.1
"""Seconds to wait when the system has no capacity for more connections."""

_CAPACITY = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class NoCapacityError(Exception):
    """The system has no capacity for more connections at present; the text names the resource."""


def peer_address(accepted: socket.socket) -> str:
    """Return the IP address of a client; "" on a Unix socket or if the client has gone."""
    try:
        name = accepted.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def accept_pending(listener: socket.socket, most: int) -> Iterator[socket.socket]:
    """Accept pending connections, without waiting.

    Args:
        listener: The listener.
        most: Maximum number of connections.

    Raises:
        NoCapacityError: A connection is pending and cannot be accepted now.
        OSError: The listener is broken.
    """
    for _ in range(most):
        try:
            accepted, _address = listener.accept()
        except BlockingIOError:
            return
        except ConnectionError:  # the client has gone again
            continue
        except OSError as error:
            if error.errno not in _CAPACITY:
                raise
            raise NoCapacityError(error.strerror) from None
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield accepted
