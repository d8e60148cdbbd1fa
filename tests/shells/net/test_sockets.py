"""Accepting connections: in batches, within the capacity of the system."""

import errno
import socket
from collections.abc import Iterator

import pytest

from openqoe.shells.net.sockets import ACCEPT_BATCH, NoCapacityError, accept_pending


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * ACCEPT_BATCH) as one:
        one.setblocking(False)
        yield one


def connect(listener: socket.socket, count: int) -> list[socket.socket]:
    return [socket.create_connection(listener.getsockname()) for _ in range(count)]


def closed(sockets: list[socket.socket]) -> int:
    for one in sockets:
        one.close()
    return len(sockets)


def test_no_pending_connection_accepts_nothing(listener: socket.socket) -> None:
    assert list(accept_pending(listener, ACCEPT_BATCH)) == []


def test_pending_connections_are_accepted_up_to_batch_size(listener: socket.socket) -> None:
    clients = connect(listener, ACCEPT_BATCH + 3)
    assert closed(list(accept_pending(listener, ACCEPT_BATCH))) == ACCEPT_BATCH
    assert closed(list(accept_pending(listener, ACCEPT_BATCH))) == 3
    closed(clients)


def test_accepted_socket_is_non_blocking_without_delay(
    listener: socket.socket,
) -> None:
    clients = connect(listener, 1)
    (accepted,) = accept_pending(listener, ACCEPT_BATCH)
    assert not accepted.getblocking()
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    closed([*clients, accepted])


class Listener:
    """A listener whose attempts to accept end as scripted."""

    def __init__(self, *ends: OSError | socket.socket) -> None:
        self._ends = iter(ends)

    def accept(self) -> tuple[socket.socket, object]:
        end = next(self._ends)
        if isinstance(end, OSError):
            raise end
        return end, None


def test_aborted_connection_does_not_stop_accepting() -> None:
    one, other = socket.socketpair()
    listener = Listener(ConnectionAbortedError(), one, BlockingIOError())
    assert list(accept_pending(listener, ACCEPT_BATCH)) == [one]  # type: ignore[arg-type]
    closed([one, other])


def test_missing_capacity_is_raised_after_accepted_connections() -> None:
    one, other = socket.socketpair()
    listener = Listener(one, OSError(errno.EMFILE, "Too many open files"))
    accepted = accept_pending(listener, ACCEPT_BATCH)  # type: ignore[arg-type]
    assert next(accepted) is one
    with pytest.raises(NoCapacityError, match="Too many open files"):
        next(accepted)
    closed([one, other])


def test_broken_listener_raises_os_error() -> None:
    with pytest.raises(OSError, match="Bad file"):
        list(accept_pending(Listener(OSError(errno.EBADF, "Bad file")), 1))  # type: ignore[arg-type]
