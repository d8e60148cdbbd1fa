"""Encoding of responses as HTTP/1.1 (RFC 9112)."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import Literal

from ..primitives.bounded_cache import BoundedCache
from ..primitives.memory_size import memory_size
from .grammar import are_field_lines
from .messages import Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_WITHOUT_BODY = (204, 304)
_RESERVED = re.compile(rb"(?im)^(?:connection|content-length|date|transfer-encoding):")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def encode_response(
    response: Response,
    now: int,
    *,
    to_head: bool = False,
    connection: Literal["", "close", "keep-alive"] = "",
) -> bytes:
    """Encode a response.

    Args:
        response: The response.
        now: Current time for the Date header, ms since the epoch.
        to_head: Whether it responds to HEAD: Content-Length describes the body, which is not sent.
        connection: Value of the Connection header; "" for no header.

    Raises:
        ValueError: A header is malformed (a line break in it would let the client read another
            header or response), is one that this function adds, or the status is not final.
    """
    parts = [_status_line(response.status), _field_lines(response.headers), _date(now // 1000)]
    if connection:
        parts.append(f"Connection: {connection}\r\n".encode())
    if response.status in _WITHOUT_BODY:
        parts.append(b"\r\n")
    else:
        parts.append(b"Content-Length: %d\r\n\r\n" % len(response.body))
        if not to_head:
            parts.append(response.body)
    return b"".join(parts)


@lru_cache(maxsize=64)
def _status_line(status: int) -> bytes:
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a final response")
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:  # a status without a standard name
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode()


_encoded: BoundedCache[tuple[tuple[str, str], ...], bytes] = BoundedCache(1024 * 1024)
"""Headers that were sent before: the same few sets are sent repeatedly."""


def _field_lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = _encoded.get(headers)
    if lines is None:
        lines = _encode_headers(headers)
        _encoded.add(headers, lines, memory_size(headers) + memory_size(lines))
    return lines


def _encode_headers(headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
    if not are_field_lines(lines) or lines.count(b"\n") != len(headers):
        raise ValueError(f"malformed headers: {headers!r}")
    if _RESERVED.search(lines):
        raise ValueError(f"headers that only the connection may set: {headers!r}")
    return lines


@lru_cache(maxsize=4)
def _date(seconds: int) -> bytes:
    """Encode the Date header (IMF-fixdate, RFC 9110, 5.6.7); cached per second.

    ``strftime`` is not used because its names follow the locale, ``email.utils`` because it imports
    sockets and clocks.
    """
    time = _EPOCH + timedelta(seconds=seconds)
    day, month = _DAYS[time.weekday()], _MONTHS[time.month - 1]
    return f"Date: {day}, {time:%d} {month} {time:%Y %H:%M:%S} GMT\r\n".encode()
