"""Unix sockets between the workers of a host, and the frames on them.

Each slot's folder, which only its user can enter, has a socket. A request is a frame, four bytes of
length and the body; its answer is an HTTP status, two bytes, and a frame. A connection carries one
request after the other.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE = "socket"
"""Name of a slot's socket, in its folder."""

MAX_PATH = 100
"""Bytes of a path that every system accepts as the address of a socket (Linux: 107, macOS: 103)."""

MAX_FRAME = 1 << 30
"""Maximum bytes of a frame: a longer one is none of ours."""

BACKLOG = 128

_LENGTH = struct.Struct("!I")
_ANSWER = struct.Struct("!HI")


def listen(folder: Path) -> socket.socket:
    """Listen on the socket of a slot that this process owns.

    Raises:
        OSError: The socket cannot be created.
    """
    with suppress(FileNotFoundError):
        (folder / FILE).unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _address(folder) as address:
            listener.bind(address)
        (folder / FILE).chmod(0o600)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def identify(folder: Path) -> tuple[int, int] | None:
    """Return what distinguishes the file of a slot's socket from any other; None if there is none.

    A deleted file's number may be used again, so the time of its creation is part of it.
    """
    try:
        status = (folder / FILE).lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def connect(folder: Path, timeout: float) -> socket.socket:
    """Connect to the owner of a slot.

    Raises:
        OSError: No worker listens there.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        with _address(folder) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def exchange(connection: socket.socket, body: bytes) -> tuple[int, bytes]:
    """Send a request and return the status and body of its answer.

    Raises:
        OSError: The connection has ended, or the answer takes too long.
    """
    connection.sendall(_LENGTH.pack(len(body)))
    connection.sendall(body)
    head = _receive(connection, _ANSWER.size)
    if head is not None:
        status, length = _ANSWER.unpack(head)
        answer = _receive(connection, length) if length <= MAX_FRAME else None
        if answer is not None:
            return status, answer
    raise ConnectionResetError("the owner of the slot has closed the connection")


def receive_request(connection: socket.socket) -> bytes | None:
    """Return the next request; None at the end of the connection.

    Raises:
        OSError: The connection is broken.
    """
    head = _receive(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    return _receive(connection, length) if length <= MAX_FRAME else None


def send_answer(connection: socket.socket, status: int, body: bytes) -> None:
    """Answer a request.

    Raises:
        OSError: The connection is broken.
    """
    connection.sendall(_ANSWER.pack(status, len(body)) + body)


def _receive(connection: socket.socket, length: int) -> bytes | None:
    received = bytearray(length)
    view, filled = memoryview(received), 0
    while filled < length:
        count = connection.recv_into(view[filled:])
        if not count:
            return None
        filled += count
    view.release()
    return bytes(received)


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The address of a slot's socket; on Linux its path may be of any length.

    Raises:
        OSError: The path is too long for this system, or the folder does not exist.
    """
    path = folder / FILE
    if len(os.fsencode(path)) <= MAX_PATH:
        yield str(path)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{FILE}"
    finally:
        os.close(descriptor)
