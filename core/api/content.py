"""Content types and codings of request bodies."""

import zlib

from ..http.messages import Request

CONTENT_TYPES = frozenset({"", "application/json", "text/plain"})
"""Accepted content types; a beacon may send its JSON as text/plain or without a type."""

MAX_MEMBERS = 100
"""Maximum members of a gzip body. Senders use one; each costs a copy of all that follow."""


class RefusedContentError(Exception):
    """The body is not acceptable.

    Attributes:
        status: Status code of the response: 400, 413 or 415.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def decode_body(request: Request, max_body: int, max_inflated: int) -> bytes:
    """Return a request's body without its content coding.

    Args:
        request: The request.
        max_body: Maximum bytes of the body as sent.
        max_inflated: Maximum bytes of the decoded body.

    Raises:
        RefusedContentError: The type or coding is unknown, the data is damaged, or a limit is
            exceeded.
    """
    # Our own HTTP connections have checked the size; other hosts may not have.
    if len(request.body) > max_body:
        raise RefusedContentError(413, "Request body too large")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise RefusedContentError(
            415, "Unsupported content type: send application/json, text/plain, or none"
        )
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return request.body
    if coding in ("gzip", "x-gzip"):
        return _inflate(request.body, 31, max_inflated, coding)
    if coding == "deflate":
        # RFC 9110, 8.4.1.2 means the zlib format, but many senders omit zlib's header.
        return _inflate(request.body, 15 if _is_zlib(request.body) else -15, max_inflated, coding)
    raise RefusedContentError(415, "Unsupported content encoding: send gzip, deflate, or none")


def _is_zlib(data: bytes) -> bool:
    """Whether data begins with a zlib header (RFC 1950, 2.2)."""
    return len(data) > 1 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _inflate(data: bytes, wbits: int, limit: int, coding: str) -> bytes:
    pieces: list[bytes] = []
    room = limit + 1
    for _ in range(MAX_MEMBERS):
        inflater = zlib.decompressobj(wbits)
        try:
            piece = inflater.decompress(data, room)
        except zlib.error:
            raise RefusedContentError(400, f"Damaged {coding} data in request body") from None
        pieces.append(piece)
        room -= len(piece)
        if room <= 0:
            raise RefusedContentError(
                413, f"Request body is larger than {limit} bytes once inflated"
            )
        if not inflater.eof:
            raise RefusedContentError(400, f"Truncated {coding} data in request body")
        data = inflater.unused_data
        if not data or wbits != 31:  # only gzip may have several members
            return b"".join(pieces)
    raise RefusedContentError(413, f"More than {MAX_MEMBERS} gzip members in request body")
