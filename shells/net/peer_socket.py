"""Unix sockets between the workers of a host: each slot's folder has one.

Only the user of the service can enter the folder. ``peer_frames`` has the format of requests.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import peer_frames

FILE = "socket"
"""Name of a slot's socket, in its folder."""

MAX_PATH = 100
"""Bytes of a path that every system accepts as the address of a socket (Linux: 107, macOS: 103)."""

BACKLOG = 128

RECEIVE_BYTES = 65_536


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
        ValueError: The other end sends no frames.
    """
    connection.sendall(peer_frames.encode(0, body))
    reader = peer_frames.FrameReader()
    while data := connection.recv(RECEIVE_BYTES):
        for _, status, answer in reader.receive(data):
            return status, answer
    raise ConnectionResetError("the owner of the slot has closed the connection")


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
