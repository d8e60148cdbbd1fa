"""Content types and codings of request bodies."""

import zlib

from openqoe.core.http.messages import Request

CONTENT_TYPES = frozenset({"", "application/json", "text/plain"})
"""A beacon may send its JSON as text/plain, or name no type at all."""


class RefusedContentError(Exception):
    """The body cannot be taken.

    Attributes:
        status: 400, 413 or 415.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def plain_body(request: Request, max_inflated: int) -> bytes:
    """The request's body with its content coding undone.

    Raises:
        RefusedContentError: The type or coding is not known, the data is damaged, or there
            is more of it than ``max_inflated`` bytes.
    """
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
        # RFC 9110 means zlib's format by it, but many senders leave zlib's header out.
        is_zlib = len(request.body) > 1 and (request.body[0] << 8 | request.body[1]) % 31 == 0
        return _inflate(request.body, 15 if is_zlib else -15, max_inflated, coding)
    raise RefusedContentError(415, "Unsupported content encoding: send gzip, deflate, or none")


def _inflate(data: bytes, wbits: int, limit: int, coding: str) -> bytes:
    pieces: list[bytes] = []
    room = limit + 1
    while True:
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
