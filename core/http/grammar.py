"""The bytes of a request's head, judged before any parser sees them.

Every HTTP parser accepts some bytes that are not HTTP, and no two accept the same: h11
takes a bare LF for the end of a line, joins folded lines and lets control characters
pass; llhttp knows only certain methods and takes HTTP/2.0 for a version of HTTP/1. A
request that a proxy in front of us reads in one way and we in another is how requests
are smuggled, so nothing may depend on which parser is installed. What passes here is a
subset of RFC 9112 on which all parsers agree; the rest is refused, with one and the same
status whatever the parser and however the bytes were split on the way.

The rules are the regular expressions at the top. Their repetitions are possessive or
over disjoint sets, so they take time in proportion to the length.
"""

import re

from .refusal import RefusedError

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
"""Methods that are handed on; the owner answers 405 to those it has no use for. Any other
is 501, as RFC 9110 has it: CONNECT too, since an origin server is no tunnel."""

MAX_FIELDS = 100
"""Header fields in one request. Browsers send about 15, behind two proxies 30. Each costs
a parser far more time than its bytes do."""

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELD_LINE = rb"(?:" + _TCHAR + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)"
_HOST = rb"[0-9A-Za-z.\-_~%:\[\]]"
_ORIGIN_FORM = rb"/[\x21\x22\x24-\x7e]*+"  # "#" begins a fragment, which is never sent
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
    """Judge a complete head, from the request line to the empty line.

    Raises:
        RefusedError: It is not one that we accept.
    """
    if _HEAD.fullmatch(head) is None:
        check_request_line(head[: head.index(b"\n") + 1])
        raise RefusedError(400, "Malformed request header")
    if head.count(b"\n") - 2 > MAX_FIELDS:
        raise RefusedError(431, "Too many request headers")


def check_partial_head(head: bytearray, seen: int, limit: int) -> None:
    """Judge a head of which the end has not come yet, so that nobody waits for it in vain.

    Whatever this refuses, ``check_head`` would refuse with the same words, had the rest
    come at once.

    Args:
        head: What has come so far, at least one byte.
        seen: How many of these bytes were judged by an earlier call.
        limit: How many bytes a head may have.

    Raises:
        RefusedError: It can no longer become one that we accept.
    """
    if _FIRST_BYTE.match(head) is None:  # a TLS handshake, most often
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
    """Judge the first line of a request, its end of line included.

    Raises:
        RefusedError: It is not one that we accept.
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
    """Whether this is nothing but well-formed header or trailer lines, or empty."""
    return _FIELD_LINES.fullmatch(lines) is not None
