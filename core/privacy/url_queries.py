r"""Removes queries, fragments and credentials from everything in JSON that looks like a URL.

They hold tokens of CDNs, e-mail addresses and search terms. An SDK removes them from the fields
that it knows; the context of an error holds whole request URLs, also in the midst of a sentence.

These look like the query of a URL: what follows ``?`` or ``#`` after a slash in the same word
(``https://a/b?abc``, ``//a/b?abc``, ``/b?abc``), what follows ``?`` at the start of a string, and
``?name=value`` anywhere. Credentials are what stands between ``//`` and ``@``. All of these
characters may be percent-encoded, as in a URL that is part of another, and escaped, as in JSON that
is a text in JSON (``https:\\/\\/a``, ``\\u0026``). Identifiers (members named ``id`` or ``…_id``)
stay: they say which view or video it is, and without a query different ones would become the same.
``OPENQOE_HASH_FIELDS`` is for those.
"""

import re
from typing import Final

_RUN: Final = rb"(?<!\\)\\++"
r"""All backslashes in front of an escape: JSON in JSON has several. Half of them would be removed
with the escape otherwise, and the rest would escape the quote behind."""


def _coded(code: bytes) -> bytes:
    """Return the pattern of a character, encoded for URLs (once or more) or escaped for JSON."""
    return rb"(?:%(?:25)*+" + code + rb"|" + _RUN + rb"u00" + code + rb")"


_QUOTE: Final = rb"00(?:[01][0-9a-fA-F]|2[02]|3[cCeE]|5[cC])"
"""Escapes that end a URL: controls, blank, quote, angle brackets; and the backslash."""

_ESCAPE: Final = (
    rb"(?:" + _RUN + rb"(?:/|u(?!" + _QUOTE + rb")[0-9a-fA-F]{4})"
    # A backslash itself; not that of a nested escape which ends the URL.
    rb"|(?<!\\)(?:\\\\)++(?![\\\"]|u" + _QUOTE + rb"))"
)
"""A character of a URL as an escape of JSON."""

_TAIL: Final = rb'(?:[^\x00-\x20"\\<>]++|' + _ESCAPE + rb")++"
"""Query or fragment: browsers leave braces, backquotes and bars in them as they are."""

_SLASH: Final = rb"(?:/|" + _RUN + rb"/|" + _coded(rb"2[fF]") + rb")"

_EQUALS: Final = rb"(?:=|" + _coded(rb"3[dD]") + rb")"

_CODED_MARK: Final = _coded(rb"(?:3[fF]|23)")

_NAME: Final = (
    rb'(?:[^\x00-\x20"%,<=>?#\\`{|}]|(?!' + _EQUALS + rb"|" + _CODED_MARK + rb")"
    rb"(?:%[0-9a-fA-F]{2}|" + _ESCAPE + rb")){1,256}+"
)

_NAMED: Final = rb"(?:[?#]|" + _CODED_MARK + rb")" + _NAME + _EQUALS
"""Beginning of ``?name=value``."""

_QUESTION: Final = rb"(?:[?]|" + _coded(rb"3[fF]") + rb")"

_MARK: Final = (
    # An encoded "#" may be part of a file's name.
    rb"(?:[?#]|" + _QUESTION + rb"|" + _RUN + rb"u0023|(?=%)" + _NAMED + rb")"
)
"""Beginning of a query or fragment behind a path."""

_PATH: Final = rb'(?:[^\x00-\x20"%\\<>?#]++|(?!' + _MARK + rb")(?:%|" + _ESCAPE + rb"))*+"

_URL: Final = re.compile(
    # A look-ahead at the first byte rejects most of them cheaply.
    rb"(?=[/\\%?#])(?:(" + _SLASH + _PATH + rb")(?:" + _MARK + _TAIL + rb")?"
    rb'|(?:(?<=")' + _QUESTION + rb"|" + _NAMED + rb")" + _TAIL + rb")"
)

_AT: Final = rb"(?:@|" + _coded(rb"40") + rb")"

_END_OF_NAME: Final = rb"(?:" + _SLASH + rb"|" + _AT + rb"|" + _MARK + rb")"

_CREDENTIALS: Final = re.compile(
    # The look-behind makes a run of slashes cost linear time.
    rb"(?=[/\\%])(?<![/\\])(?<!2[fF])(" + _SLASH + rb"{2,}+)(?:" + _SLASH + rb"*+"
    rb'(?:[^\x00-\x20"%\\<>?#/@]++|(?!' + _END_OF_NAME + rb")(?:%|" + _ESCAPE + rb"))*+" + _AT
    + rb")++"
)  # fmt: skip
"""The part of a URL before its host, as far as the last ``@`` before a slash."""

_SIGNS: Final = re.compile(rb"(?=[?#@%\\])(?:[?#@]|" + _coded(rb"(?:3[fF]|23|40)") + rb")")
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
            return b"".join((*pieces, _strip(body[done:])))
        # The text between two quotes; escaped quotes end a URL as well as a string.
        start = max(done, body.rfind(b'"', done, found.start()))
        end = body.find(b'"', found.end())
        end = len(body) if end < 0 else end
        text = body[start:end]
        if not _IDENTIFIER.search(body[max(0, start - _NAME_BYTES) : start]):
            text = _strip(text)
        pieces += (body[done:start], text)
        done = end
        found = _SIGNS.search(body, end)
    return b"".join((*pieces, body[done:])) if pieces else body


def has_ascii_escapes(body: bytes) -> bool:
    """Whether a body may hold ASCII characters as escapes of JSON, which no serializer needs."""
    return b"\\" in body and b"\\u00" in body  # the first search is ten times as fast


def _strip(text: bytes) -> bytes:
    if b"@" in text or b"40" in text:
        text = _CREDENTIALS.sub(_first_group, text)
    return _URL.sub(_first_group, text)


def _first_group(found: re.Match[bytes]) -> bytes:
    return found[1] or b""  # a template would cost more than the search


_CMCD_URL: Final = re.compile(rb'(\burl="[^"?#\\]*+)[?#](?:[^"\\\n]|\\.)*+')
_CMCD_NEXT_OBJECTS: Final = re.compile(rb"\bnor=\([^)\n]*+\)?,?")
_CMCD_STRING: Final = re.compile(rb'"(?:[^"\\\n]|\\.)*+"?')
_CMCD_IDENTIFIER: Final = re.compile(rb"(?:\b[sc]id|[_-]id)=$")


def strip_cmcd_queries(records: bytes) -> bytes:
    """Return CMCD records without the queries of URLs, and without the objects asked for next.

    Args:
        records: The records, without their target.
    """
    if not any(sign in records for sign in _SIGN_BYTES):
        return records
    records = _CMCD_URL.sub(rb"\1", _CMCD_NEXT_OBJECTS.sub(b"", records))
    pieces: list[bytes] = []
    done = 0
    for number, found in enumerate(_CMCD_STRING.finditer(records)):
        start, end = found.span()
        if number == MAX_STRINGS:
            return b"".join((*pieces, records[done:start], _strip(records[start:])))
        if _SIGNS.search(records, start, end) is None:
            continue
        if not _CMCD_IDENTIFIER.search(records[max(0, start - _NAME_BYTES) : start]):
            pieces += (records[done:start], _strip(records[start:end]))
            done = end
    return b"".join((*pieces, records[done:]))
