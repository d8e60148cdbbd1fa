"""Takes a body apart into its events when the JSON decoders cannot.

Decoders recurse, so one absurdly nested event would cost the client the whole batch. This
reads only strings, brackets and commas, in constant stack, and leaves it to the decoder of
each event to judge it.
"""

import re
from itertools import islice

MAX_TOKENS = 200_000
"""Where reading ends. A thousand events have half of this; the rest of a body that has
more is not worth the tenth of a second it has taken so far."""

# Possessive and with an optional end, so that no string is looked at twice, not even one
# that never ends.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]', re.DOTALL)


def scan_events(body: bytes) -> list[bytes]:
    """The elements of the top-level array "events", as they stand; [] if there is none."""
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
