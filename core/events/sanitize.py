"""Sanitizing of bodies that violate JSON in one of two common ways.

- JavaScript truncates strings inside a surrogate pair and sends one half as "\\ud83d". It is
  replaced by U+FFFD.
- Other languages write NaN and Infinity. They are replaced by null, as JavaScript does.

All other bytes stay unchanged, because events are logged as received.
"""

import re

MAX_REPLACEMENTS = 200_000
"""Maximum matches per pattern. A thousand events have at most half of this."""

# Escaped backslashes, a pair of surrogates, or a lone surrogate (the group). Escaped backslashes
# are matched so that the end of "\\\\ud83d" is not mistaken for an escape.
_LONE_SURROGATE = re.compile(
    rb"(?:\\\\)++|\\u[dD](?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|([89a-fA-F][0-9a-fA-F]{2}))"
)
# A string (the group), or a constant outside of strings. Possessive and with an optional closing
# quote, so that no string is scanned twice, not even an unterminated one.
_CONSTANT = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|NaN|-?Infinity', re.DOTALL)


def sanitize_json(body: bytes) -> bytes:
    """Return the body with both replaced, or the body itself if it has neither."""
    if b"\\ud" in body or b"\\uD" in body:
        body = _LONE_SURROGATE.sub(
            lambda found: b"\\ufffd" if found[1] else found[0], body, MAX_REPLACEMENTS
        )
    if b"NaN" in body or b"Infinity" in body:
        body = _CONSTANT.sub(lambda found: found[1] or b"null", body, MAX_REPLACEMENTS)
    return body
