"""Requests and responses where somebody else's server speaks HTTP: WSGI, ASGI, serverless.

Framing, time-outs and malformed requests are the host's business there. What remains ours
is the size of the body, and which answers have one.
"""

from collections.abc import Iterable

from .messages import Response
from .refusal import RefusedError


def join_headers(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers as a ``Request`` wants them: names in lower case, repeated ones joined."""
    headers: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class BodyCollector:
    """Gathers a body piece by piece, and no more of it than is allowed."""

    def __init__(self, limit: int, announced: int | None = None) -> None:
        """
        Args:
            limit: Bytes a body may have.
            announced: Its Content-Length, if it has one.

        Raises:
            RefusedError: So much is announced that there is no need to read any of it.
        """
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._announced = announced
        self._check(announced or 0)

    def add(self, piece: bytes) -> None:
        """Take a piece.

        Raises:
            RefusedError: The body is too large.
        """
        self._pieces.append(piece)
        self._size += len(piece)
        self._check(self._size)

    def body(self) -> bytes:
        """All of it.

        Raises:
            RefusedError: Less came than was announced.
        """
        if self._size < (self._announced or 0):
            raise RefusedError(400, "Request incomplete")
        return b"".join(self._pieces)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise RefusedError(413, "Request body too large")


def parse_content_length(text: str) -> int | None:
    """A Content-Length as a host passes it on; None if there is none.

    Raises:
        RefusedError: It is no number.
    """
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(400, "Invalid Content-Length")
    return int(text)


def to_host_response(response: Response, method: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of a response as a host wants them.

    A response without content has no Content-Length; one to HEAD has that of the body it
    leaves out (RFC 9110, 8.6).
    """
    headers = list(response.headers)
    if response.status not in (204, 304):
        headers.append(("Content-Length", str(len(response.body))))
    return headers, b"" if method == "HEAD" else response.body
