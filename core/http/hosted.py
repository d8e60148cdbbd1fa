"""Conversion of requests and responses for hosts with an HTTP server: WSGI, ASGI, serverless.

The host handles framing, timeouts and malformed requests. The limit on the body and the rules about
responses without a body remain here.
"""

from collections.abc import Iterable

from .messages import Response
from .refusal import RefusedError


def join_headers(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers as ``Request`` requires them: names in lower case, repeated ones joined."""
    headers: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class BodyCollector:
    """Collects the pieces of a body up to a limit."""

    def __init__(self, limit: int, announced: int | None = None) -> None:
        """
        Args:
            limit: Maximum bytes of the body.
            announced: The Content-Length, or None.

        Raises:
            RefusedError: The Content-Length exceeds the limit.
        """
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._announced = announced
        self._check(announced or 0)

    def add(self, piece: bytes) -> None:
        """Append a piece.

        Raises:
            RefusedError: The body exceeds the limit.
        """
        self._pieces.append(piece)
        self._size += len(piece)
        self._check(self._size)

    def body(self) -> bytes:
        """Return the complete body.

        Raises:
            RefusedError: The body is shorter than announced.
        """
        if self._size < (self._announced or 0):
            raise RefusedError(400, "Request incomplete")
        return b"".join(self._pieces)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise RefusedError(413, "Request body too large")


def parse_content_length(text: str) -> int | None:
    """Parse the Content-Length that a host passes on; None if it is empty.

    Raises:
        RefusedError: The text is not a number of at most 18 digits.
    """
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(400, "Invalid Content-Length")
    return int(text)


def to_host_response(response: Response, method: str) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers and the body of a response for a host.

    A response without content has no Content-Length; the response to HEAD has that of the omitted
    body (RFC 9110, 8.6).
    """
    headers = list(response.headers)
    if response.status not in (204, 304):
        headers.append(("Content-Length", str(len(response.body))))
    return headers, b"" if method == "HEAD" else response.body
