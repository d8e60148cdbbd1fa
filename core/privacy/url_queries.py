r"""Removes queries, fragments and credentials from everything in JSON that looks like a URL.

They hold tokens of CDNs, e-mail addresses and search terms. An SDK removes them from the fields
that it knows; the context of an error holds whole request URLs, also in the midst of a sentence.

Two things look like the query of a URL: what follows ``?`` or ``#`` after a scheme
(``https://a/b?abc``, with escapes such as ``https:\/\/`` too), and ``?name=value`` anywhere, as in
a relative URL or, percent-encoded, in a URL that is part of another. Identifiers (members named
``id`` or ``…_id``) stay: they say which view or video it is, and without a query different ones
would become the same. ``OPENQOE_HASH_FIELDS`` is for those.
"""

import re
from typing import Final

_CHARACTER: Final = rb'[^\x00-\x20"\\<>`{|}]'
"""A byte of a URL in a text (RFC 3986, appendix C)."""

_ESCAPE: Final = rb"\\(?:/|u00(?!20|22|3[cCeE])[2-7][0-9a-fA-F])"
"""A character of a URL as an escape of JSON: a slash, or printable ASCII."""

_MARK: Final = rb"(?:[?#]|\\u003[fF]|\\u0023)"

_PATH: Final = rb"(?:(?!" + _MARK + rb")(?:" + _CHARACTER + rb"|" + _ESCAPE + rb"))*+"

_TAIL: Final = rb"(?:" + _CHARACTER + rb"|" + _ESCAPE + rb")*+"

_SLASH: Final = rb"(?:/|\\/|\\u002[fF])"

_NAME: Final = rb"(?:[\w.~+\[\]-]|%(?!3[dDfF])[0-9a-fA-F]{2}){1,256}+"

_URL: Final = re.compile(
    rb"(?P<scheme>:" + _SLASH + rb"{2})(?P<path>" + _PATH + rb")(?:" + _MARK + _TAIL + rb")?"
    rb"|(?:" + _MARK + rb"|%3[fF])" + _NAME + rb"(?:=|\\u003[dD]|%3[dD])" + _TAIL
)

_CREDENTIALS: Final = re.compile(rb"(?:[^/\\]|\\u00(?!2[fF]))*(?:@|\\u0040)")
"""The part of a URL before its host, as far as the last ``@`` before a slash."""

_SIGNS: Final = re.compile(rb"[?#@]|%3[fF]|\\u00(?:3[fF]|23|40)")
"""Without one of these there is nothing to remove."""

_SIGN_BYTES: Final = (b"?", b"#", b"@", b"%")

MAX_STRINGS: Final = 10_000
"""Maximum strings of a body that are looked at one by one, for their members' names. A thousand
events have a fifth of this; in what follows, identifiers are treated like other texts."""

_IDENTIFIER: Final = re.compile(rb'"(?:\w{0,64}_)?id"[ \t\r\n]*:[ \t\r\n]*$')

_NAME_BYTES: Final = 80
"""Bytes before a string in which its member's name is looked for."""


def strip_url_queries(body: bytes) -> bytes:
    """Return JSON without the queries, fragments and credentials of URLs; linear in its size."""
    # A tenth of the cost of the search.
    if not any(sign in body for sign in _SIGN_BYTES) and not has_ascii_escapes(body):
        return body
    pieces: list[bytes] = []
    done = 0
    found = _SIGNS.search(body)
    while found is not None:
        if len(pieces) >= 2 * MAX_STRINGS:
            return b"".join((*pieces, _URL.sub(_shorten, body[done:])))
        # The text between two quotes; escaped quotes end a URL as well as a string.
        start = max(done, body.rfind(b'"', done, found.start()))
        end = body.find(b'"', found.end())
        end = len(body) if end < 0 else end
        text = body[start:end]
        if not _IDENTIFIER.search(body[max(0, start - _NAME_BYTES) : start]):
            text = _URL.sub(_shorten, text)
        pieces += (body[done:start], text)
        done = end
        found = _SIGNS.search(body, end)
    return b"".join((*pieces, body[done:])) if pieces else body


def has_ascii_escapes(body: bytes) -> bool:
    """Whether a body may hold ASCII characters as escapes of JSON, which no serializer needs."""
    return b"\\" in body and b"\\u00" in body  # the first search is ten times as fast


def _shorten(found: re.Match[bytes]) -> bytes:
    """Return a URL without query, fragment and credentials; nothing for a query alone."""
    scheme, path = found["scheme"], found["path"]
    if scheme is None:
        return b""
    credentials = _CREDENTIALS.match(path)
    return bytes(scheme + path[credentials.end() if credentials else 0 :])


_CMCD_URL: Final = re.compile(rb'(\burl="[^"?#]*+)[?#][^"]*+"')
_CMCD_NEXT_OBJECTS: Final = re.compile(rb"\bnor=\([^)\n]*+\),?")


def strip_cmcd_queries(body: bytes) -> bytes:
    """Return CMCD records without the queries of URLs, and without the objects asked for next."""
    if b"?" not in body and b"#" not in body:
        return body
    return _CMCD_URL.sub(rb'\1"', _CMCD_NEXT_OBJECTS.sub(b"", body))
