"""Content types and codings of request bodies."""

import re
import zlib
from codecs import BOM_UTF8

from ..http.messages import Request

CONTENT_TYPES = frozenset({"", "application/json", "text/plain"})
"""Accepted content types; a beacon may send its JSON as text/plain or without a type."""

GZIP_MAGIC = b"\x1f\x8b"

MAX_MEMBERS = 100
"""Maximum members of a gzip body. Senders use one; each costs a copy of all that follow."""


_CMCD_START = re.compile(rb"[a-z]{1,8}[=,]")


class RefusedContentError(Exception):
    """The body is not acceptable.

    Attributes:
        status: Status code of the response: 400, 413 or 415.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


CMCD_CONTENT_TYPES = frozenset({"", "application/cmcd", "text/cmcd", "text/plain"})
"""Accepted content types of CMCD: those of CTA-5004-B and CTA-5004-A, and what proxies make."""


def decode_body(
    request: Request,
    max_body: int,
    max_inflated: int,
    content_types: frozenset[str] = CONTENT_TYPES,
) -> bytes:
    """Return a request's body without its content coding.

    Args:
        request: The request.
        max_body: Maximum bytes of the body as sent.
        max_inflated: Maximum bytes of the decoded body.
        content_types: Accepted content types, "" for none.

    Raises:
        RefusedContentError: The type or coding is unknown, the data is damaged, or a limit is
            exceeded.
    """
    # Our own HTTP connections have checked the size; other hosts may not have.
    if len(request.body) > max_body:
        raise RefusedContentError(413, "Request body too large")
    headers = request.headers
    if _single(headers.get("content-type", "")) not in content_types:
        known = ", ".join(sorted(content_types - {""}))
        raise RefusedContentError(415, f"Unsupported content type: send {known}, or none")
    body = _decode(request.body, _single(headers.get("content-encoding", "")), max_inflated)
    return body.removeprefix(BOM_UTF8)


def _single(values: str) -> str:
    """Return the value of a header without parameters, in lower case.

    A value that is repeated, as some proxies do, counts once; different ones are joined.
    """
    found = values.partition(";")[0].strip().lower()
    if "," in values:
        single = {value.partition(";")[0].strip().lower() for value in values.split(",")}
        found = ", ".join(sorted(single))
    return found


def _decode(body: bytes, coding: str, limit: int) -> bytes:
    """Decode a body.

    The body itself decides where that is certain, because a 4xx makes the SDK drop the batch: some
    proxies remove the Content-Encoding or decode the body and keep it.
    """
    if body.startswith(GZIP_MAGIC):  # no JSON begins like this
        return _inflate(body, 31, limit, "gzip")
    if coding in ("", "identity"):
        return body
    is_plain = _is_plain(body)
    if coding in ("gzip", "x-gzip"):
        return body if is_plain else _inflate(body, 31, limit, coding)
    if coding == "deflate":
        # RFC 9110, 8.4.1.2 means the zlib format, but many senders omit zlib's header.
        try:
            return _inflate(body, 15 if _is_zlib(body) else -15, limit, coding)
        except RefusedContentError as refused:
            if is_plain and refused.status == 400:
                return body
            raise
    raise RefusedContentError(415, "Unsupported content encoding: send gzip, deflate, or none")


def _is_plain(body: bytes) -> bool:
    """Whether a body begins like JSON, or like a CMCD record: with a key."""
    start = body.removeprefix(BOM_UTF8).lstrip()[:64]
    return start[:1] in (b"{", b"[") or _CMCD_START.match(start) is not None


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
