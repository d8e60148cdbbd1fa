"""Mends a body that is JSON but for two habits of its senders, so that no event is lost to them.

- JavaScript cuts strings between the two halves of a character and sends one half alone as
  "\\ud83d". It becomes the replacement character.
- Other languages write NaN and Infinity, which JSON does not have. They become null, as
  JavaScript has it.

Everything else stays as it is, byte for byte, because events are logged as received.
"""

import re

# A pair of surrogates, half of one (the group), or any other escape. Each escape is matched
# as a whole, so that the "\\" in "\\\\ud83d" is not taken for the beginning of one.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
# A string (the group), or what is no JSON outside of one. Possessive and with an optional
# end, so that no string is looked at twice, not even one that never ends.
_CONSTANT = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|NaN|-?Infinity', re.DOTALL)


def mend(body: bytes) -> bytes:
    """The body with both put right; the same body if there is nothing to mend."""
    if b"\\ud" in body or b"\\uD" in body:
        body = _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], body)
    if b"NaN" in body or b"Infinity" in body:
        body = _CONSTANT.sub(lambda found: found[1] or b"null", body)
    return body
