"""Grammar of request heads, checked before a parser reads them.

Every HTTP parser accepts some bytes that are not HTTP, and no two accept the same: h11 accepts a
bare LF as the end of a line, joins folded lines and accepts control characters; llhttp accepts
certain methods only and HTTP/2.0 as a version of HTTP/1. Requests can be smuggled if a proxy and
the worker read them differently, so no result may depend on the installed parser. This grammar is a
subset of RFC 9112 on which all parsers agree. Anything else is refused, with the same status for
every parser and every fragmentation of the bytes.

The rules are the regular expressions below. Their repetitions are possessive or over disjoint sets,
so they run in linear time.
"""

import re

from .refusal import RefusedError

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
"""Accepted methods; the owner responds 405 to those it does not support. Others are refused with
501 (RFC 9110, 9.1), as is CONNECT, because an origin server is not a tunnel."""

MAX_FIELDS = 100
"""Maximum header fields of a request. Browsers send about 15, through two proxies 30. A field costs
a parser far more than its bytes."""

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELD_LINE = rb"(?:" + _TCHAR + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)"
_HOST = rb"[0-9A-Za-z.\-_~%:\[\]]"
_ORIGIN_FORM = rb"/[\x21\x22\x24-\x7e]*+"  # "#" starts a fragment, which is never sent
_ABSOLUTE_FORM = rb"[Hh][Tt][Tt][Pp][Ss]?+://" + _HOST + rb"++(?:[/?][\x21\x22\x24-\x7e]*+)?"
_REQUEST_LINE = (
    rb"(?:(?:" + b"|".join(METHODS) + rb") (?:" + _ORIGIN_FORM + rb"|" + _ABSOLUTE_FORM + rb")"
    rb"|OPTIONS \*) HTTP/1\.[01]\r\n"
)

_HEAD = re.compile(_REQUEST_LINE + _FIELD_LINE + rb"*+\r\n")
_GOOD_REQUEST_LINE = re.compile(_REQUEST_LINE)
_ANY_REQUEST_LINE = re.compile(
    rb"(" + _TCHAR + rb"++) [\x21-\x7e]++ HTTP/(?P<version>[0-9]\.[0-9])\r\n"
)
_FIELD_LINES = re.compile(_FIELD_LINE + rb"*+")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_FIRST_BYTE = re.compile(_TCHAR)

HOST = re.compile(_HOST + rb"*+")
TOKEN_LIST = re.compile(_TCHAR + rb"++(?:[ \t]*+,[ \t]*+" + _TCHAR + rb"++)*+")


def check_head(head: bytes) -> None:
    """Check a complete head, from the request line to the empty line.

    Raises:
        RefusedError: The head violates the grammar or has too many fields.
    """
    if _HEAD.fullmatch(head) is None:
        check_request_line(head[: head.index(b"\n") + 1])
        raise RefusedError(400, "Malformed request header")
    if head.count(b"\n") - 2 > MAX_FIELDS:
        raise RefusedError(431, "Too many request headers")


def check_partial_head(head: bytearray, seen: int, limit: int) -> None:
    """Check an incomplete head, to refuse it as early as possible.

    ``check_head`` would refuse the complete head with the same status and message.

    Args:
        head: The bytes so far, at least one.
        seen: Number of bytes checked by an earlier call.
        limit: Maximum bytes of a head.

    Raises:
        RefusedError: The head cannot become an acceptable one.
    """
    if _FIRST_BYTE.match(head) is None:  # usually a TLS handshake
        raise RefusedError(400, "Malformed request line")
    end_of_line = head.find(b"\n", 0, limit)
    if end_of_line >= seen:
        check_request_line(bytes(head[: end_of_line + 1]))
    if _BARE_LF.search(head, seen, limit):
        raise RefusedError(400, "Malformed request header")
    if len(head) >= limit:
        if end_of_line < 0:
            raise RefusedError(414, "Request line too long")
        raise RefusedError(431, "Request headers too large")


def check_request_line(line: bytes) -> None:
    """Check the first line of a request, including its end of line.

    Raises:
        RefusedError: The line is malformed, or its version or method is not supported.
    """
    if _GOOD_REQUEST_LINE.fullmatch(line):
        return
    parts = _ANY_REQUEST_LINE.fullmatch(line)
    if parts is None:
        raise RefusedError(400, "Malformed request line")
    if parts["version"] not in (b"1.0", b"1.1"):
        raise RefusedError(505, "HTTP version not supported")
    if parts[1] not in METHODS:
        raise RefusedError(501, "Method not implemented")
    raise RefusedError(400, "Malformed request target")


def are_field_lines(lines: bytes) -> bool:
    """Whether all lines are well-formed header or trailer fields; true if there are none."""
    return _FIELD_LINES.fullmatch(lines) is not None
