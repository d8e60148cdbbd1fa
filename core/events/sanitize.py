"""Mends a body that is JSON but for two habits of its senders, so that no event is lost to them.

- JavaScript cuts strings between the two halves of a character and sends one half alone as
  "\\ud83d". It becomes the replacement character.
- Other languages write NaN and Infinity, which JSON does not have. They become null, as
  JavaScript has it.

Everything else stays as it is, byte for byte, because events are logged as received.
"""

import re

MAX_REPLACEMENTS = 200_000
"""Where mending ends. A thousand events have half of this at most."""

# Escaped backslashes, a pair of surrogates, or half of one (the group). The first are matched
# so that the end of "\\\\ud83d" is not taken for an escape.
_HALF = re.compile(
    rb"(?:\\\\)++|\\u[dD](?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|([89a-fA-F][0-9a-fA-F]{2}))"
)
# A string (the group), or what is no JSON outside of one. Possessive and with an optional
# end, so that no string is looked at twice, not even one that never ends.
_CONSTANT = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|NaN|-?Infinity', re.DOTALL)


def sanitize_json(body: bytes) -> bytes:
    """The body with both put right; the same body if there is nothing to mend."""
    if b"\\ud" in body or b"\\uD" in body:
        body = _HALF.sub(lambda found: b"\\ufffd" if found[1] else found[0], body, MAX_REPLACEMENTS)
    if b"NaN" in body or b"Infinity" in body:
        body = _CONSTANT.sub(lambda found: found[1] or b"null", body, MAX_REPLACEMENTS)
    return body
