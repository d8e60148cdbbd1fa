"""Responses to bytes."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import Literal

from .grammar import are_field_lines
from .messages import Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_WITHOUT_BODY = (204, 304)
_OURS = re.compile(rb"(?im)^(?:connection|content-length|date|transfer-encoding):")
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
    """Write a response as it goes over the wire.

    Args:
        response: What to answer.
        now: The time, for the Date header.
        to_head: Whether it answers a HEAD request, so that the body is described by
            Content-Length but not sent.
        connection: The Connection header; none if empty.

    Raises:
        ValueError: A header is not one: it has a line break in it, say, behind which a
            client would read a header or a response that nobody meant to send. Or it is
            one of those that are written here. Or the status is not a final one.
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
    except ValueError:  # a number that has no name is still a status
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode()


@lru_cache(maxsize=256)
def _field_lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    """The same few sets of headers are sent again and again, so they are remembered."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
    if not are_field_lines(lines) or lines.count(b"\n") != len(headers):
        raise ValueError(f"not fit to be sent as headers: {headers!r}")
    if _OURS.search(lines):
        raise ValueError(f"holds headers that the connection itself writes: {headers!r}")
    return lines


@lru_cache(maxsize=4)
def _date(seconds: int) -> bytes:
    """The Date header (IMF-fixdate), worked out once a second.

    Not by ``strftime``, whose names of days follow the locale, nor by ``email.utils``,
    which brings sockets and clocks along.
    """
    time = _EPOCH + timedelta(seconds=seconds)
    day, month = _DAYS[time.weekday()], _MONTHS[time.month - 1]
    return f"Date: {day}, {time:%d} {month} {time:%Y %H:%M:%S} GMT\r\n".encode()
