"""The frames that workers of a host exchange on their connections.

A request is a number and a body. Its answer is the same number, an HTTP status and a body. Many
requests may be under way on a connection, and answers come in any order.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_BODY = 1 << 30
"""Maximum bytes of a body: a longer one is none of ours."""

HEAD = struct.Struct("!QHI")
"""Number, status (0 in a request), length of the body."""


class Frame(NamedTuple):
    """A request or an answer."""

    number: int
    status: int
    body: bytes


def encode(number: int, body: bytes, status: int = 0) -> bytes:
    """Return the bytes of a frame."""
    return HEAD.pack(number, status, len(body)) + body


class FrameReader:
    """Reads the frames of a connection from its bytes, as they come."""

    def __init__(self) -> None:
        self._rest = b""  # of a frame that is not complete

    def receive(self, data: bytes) -> Iterator[Frame]:
        """Take the bytes that came, and return the frames that are complete.

        Raises:
            ValueError: These are no frames.
        """
        if self._rest:
            data = self._rest + data
        start = 0
        while len(data) - start >= HEAD.size:
            number, status, length = HEAD.unpack_from(data, start)
            if length > MAX_BODY:
                raise ValueError(f"a frame of {length:,} bytes")
            end = start + HEAD.size + length
            if end > len(data):
                break
            yield Frame(number, status, data[start + HEAD.size : end])
            start = end
        self._rest = data[start:]
