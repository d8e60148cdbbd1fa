"""Tokenizer of CMCD: a dictionary of RFC 8941 (structured fields), tolerant key by key.

CTA-5004-B makes the receiver ignore a value that it cannot read, not the record, so a parser that
follows RFC 8941 to the letter is of no use: it refuses a whole record for a title that is not
ASCII. A member that cannot be read is skipped up to the next comma outside of quotes and
parentheses, and counted.

Every pattern is possessive, and what ``_MEMBER`` has scanned in vain ``_SKIPPED`` scans once more
and consumes, so the cost is linear in the length of the text, whatever it holds.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

Scalar = bool | int | float | str
"""Value of an item. Strings and tokens are both text: no key distinguishes them."""


class Item(NamedTuple):
    """An item of an inner list.

    Attributes:
        value: Its value.
        parameters: Its parameters; a bare one is True.
    """

    value: Scalar
    parameters: Mapping[str, Scalar]


Value = Scalar | tuple[Item, ...]
"""Value of a member: an item or an inner list."""

MAX_MEMBERS = 256
"""Maximum members of a dictionary that are read; CTA-5004-B has fewer than 60 keys. Each costs a
hundred times as much as a byte, so a body of commas would be expensive."""

MAX_ITEMS = 64
"""Maximum items of an inner list; a longer list is not read."""

MAX_PARAMETERS = 256
"""Maximum characters of the parameters of an item."""

MAX_DIGITS = 18
"""Maximum digits of a number. RFC 8941 allows 15; 18 fit any integer type of a receiver."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BARE = r'[^\s,;"()=]++'
_KEY = r"[A-Za-z*_][A-Za-z0-9_.*-]*+"
_PARAMETERS = rf"(?:[ \t]*+;[ \t]*+{_KEY}(?:=(?:{_STRING}|{_BARE}))?)*+"

_MEMBER = re.compile(
    rf"[ \t]*+({_KEY})"
    rf"(?:=(?:({_BARE})|({_STRING})|\(((?:[^()\"]++|{_STRING})*+)\)))?"
    rf"{_PARAMETERS}[ \t]*+(?:,|$)",
    re.DOTALL,
)
"""One member: its key, and one of bare value, string, content of the inner list, or none (true).
Parameters of a member are not kept: no key of CMCD has any."""

_SKIPPED = re.compile(
    r'(?:[^,"(]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\((?:[^)"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?)*+\)?)*+'
    r"(?:,|$)",
    re.DOTALL,
)

_ITEM = re.compile(rf"[ \t]*+(?:({_BARE})|({_STRING}))({_PARAMETERS})(?=[ \t]|$)[ \t]*+", re.DOTALL)
_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+({_KEY})(?:=(?:({_BARE})|({_STRING})))?", re.DOTALL)

_INTEGER = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}")
_DECIMAL = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}\.[0-9]{{1,{MAX_DIGITS}}}")
_TOKEN = re.compile(r"[A-Za-z*][^\s,;\"()=]*+")


_NO_PARAMETERS: Mapping[str, Scalar] = {}


def parse_dictionary(text: str) -> tuple[dict[str, Value], int]:
    """Parse a dictionary.

    Args:
        text: The dictionary; blanks around members are allowed.

    Returns:
        The members by key, of equal keys the last, and the number of members that were skipped.
    """
    members: dict[str, Value] = {}
    skipped = 0
    position, end = 0, len(text)
    match_member = _MEMBER.match
    for _ in range(MAX_MEMBERS):
        if position >= end:
            return members, skipped
        found = match_member(text, position)
        if found is not None:
            key, bare, string, content = found.groups()
            value: Value | None = True
            if bare is not None:
                value = _bare_value(bare)
            elif string is not None:
                value = _unquote(string)
            elif content is not None:
                value = _inner_list(content)
            if value is not None:
                members[key] = value
                position = found.end()
                continue
        skipped += 1
        rest = _SKIPPED.match(text, position)
        # A closing parenthesis of none stops it: the next search begins behind it.
        position = rest.end() if rest is not None else end
    return members, skipped + (position < end)


def rewrite_dictionary(text: str, rewrite: Callable[[str, str], str | None]) -> str:
    """Return a dictionary with its members rewritten; those that cannot be read are left out.

    Args:
        text: The dictionary.
        rewrite: Returns a member's text by its key and its text; None to leave it out.
    """
    members: list[str] = []
    position, end = 0, len(text)
    for _ in range(MAX_MEMBERS):
        if position >= end:
            break
        found = _MEMBER.match(text, position)
        if found is None:
            rest = _SKIPPED.match(text, position)
            position = rest.end() if rest is not None else end
            continue
        member = rewrite(found[1], found[0].removesuffix(",").strip())
        if member is not None:
            members.append(member)
        position = found.end()
    return ",".join(members)


def _inner_list(content: str) -> tuple[Item, ...] | None:
    """Return the items of an inner list; None if one of them cannot be read."""
    if content.isdigit() and content.isascii() and len(content) <= MAX_DIGITS:
        return (Item(int(content), _NO_PARAMETERS),)  # hls.js and Shaka send no other
    items: list[Item] = []
    position, end = 0, len(content.rstrip(" \t"))
    while position < end:
        found = _ITEM.match(content, position)
        if found is None or len(items) == MAX_ITEMS:
            return None
        bare, string, parameters = found.groups()
        value = _unquote(string) if bare is None else _bare_value(bare)
        own = _parameters(parameters) if parameters else _NO_PARAMETERS
        if value is None or own is None:
            return None
        items.append(Item(value, own))
        position = found.end()
    return tuple(items)


def _parameters(text: str) -> Mapping[str, Scalar] | None:
    if len(text) > MAX_PARAMETERS:
        return None
    parameters: dict[str, Scalar] = {}
    for key, bare, string in _PARAMETER.findall(text):
        value = _unquote(string) if string else _bare_value(bare) if bare else True
        if value is None:
            return None
        parameters[key] = value
    return parameters


def _bare_value(text: str) -> Scalar | None:
    """Return the value of a number, boolean or token; None if it is none of these."""
    if text.isdigit() and text.isascii():  # by far the most frequent
        return int(text) if len(text) <= MAX_DIGITS else None
    if _TOKEN.fullmatch(text):
        return text
    if text == "?1":
        return True
    if text == "?0":
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return None


def _unquote(string: str) -> str:
    text = string[1:-1]
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\", "") for part in text.split("\\\\"))
