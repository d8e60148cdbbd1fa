"""Turns a receiver's answer into a safe line of the log.

The text of an answer is the best hint at the cause of an error, so it is logged. But its content is
not trusted: it may be long, contain line breaks and terminal escapes, or echo the request's
credentials.
"""

from base64 import b64decode
from collections.abc import Iterable

from ..effects import HttpResult, NetworkFailure

MAX_LENGTH = 500
REDACTED = "[redacted]"


def redacted_text(result: HttpResult | NetworkFailure, secrets: Iterable[str] = ()) -> str:
    """The text of an answer or a network failure, as one bounded printable line.

    Args:
        result: The result of a request.
        secrets: Strings to redact, longest first (see ``find_secrets``).
    """
    if isinstance(result, NetworkFailure):
        text = result.reason
    elif 300 <= result.status < 400:
        # The target of a redirect says more than its page. The part behind "?" may be a token.
        text = "Location: " + result.headers.get("location", "(none)").partition("?")[0]
    else:
        text = result.body.decode(errors="replace")
    # Before the text is cut, or half of a secret could remain.
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    line = "".join(_printable(character) for character in text.strip()[: MAX_LENGTH + 1])
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"


def find_secrets(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The secrets in a destination's headers: every value except the tenant's.

    Of an Authorization header, also the token alone and, for basic authentication, the
    decoded password.
    """
    found: set[str] = set()
    for name, value in headers:
        if name.lower() == "x-scope-orgid":
            continue
        scheme, _, token = value.partition(" ")
        found |= {value, token}
        if scheme.lower() == "basic":
            try:
                pair = b64decode(token, validate=True).decode()
            except ValueError:
                continue
            found |= {pair, pair.partition(":")[2]}
    # Redacting very short secrets would destroy the text and reveal their length.
    return tuple(sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
