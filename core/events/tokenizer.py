"""Extraction of events from a body that is nested too deeply for the JSON decoders.

Decoders recurse, so one deeply nested event would make the whole batch unreadable. This module
scans strings, brackets and commas only, with a constant stack; the decoder of each event validates
it.
"""

import re
from itertools import islice

MAX_TOKENS = 200_000
"""Maximum tokens that are scanned, in about 0.1 s. A thousand events have half of this."""

# Possessive and with an optional closing quote, so that no string is scanned twice, not even an
# unterminated one.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]', re.DOTALL)


def scan_events(body: bytes) -> list[bytes]:
    """Return the elements of the top-level array "events" as received; [] if there is none."""
    depth = 0
    key = b""
    begin: int | None = None
    elements: list[bytes] = []
    for token in islice(_TOKEN.finditer(body), MAX_TOKENS):
        text = token[0]
        if text in b"[{":
            if depth == 1 and text == b"[" and key == b'"events"':
                begin = token.end()
            depth += 1
        elif text in b"]}":
            depth -= 1
            if depth == 1 and begin is not None:
                elements.append(body[begin : token.start()].strip())
                return [element for element in elements if element]
        elif text == b",":
            if depth == 2 and begin is not None:
                elements.append(body[begin : token.start()].strip())
                begin = token.end()
        elif depth == 1:
            key = text
    return []
