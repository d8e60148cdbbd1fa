"""The receiver's own words, made fit for one line of a log.

What a destination answers is the best hint at what is wrong, so it is passed on as it is.
But it comes from outside: it may be long, hold line breaks and terminal escapes, or echo the
request's credentials.
"""

from base64 import b64decode
from collections.abc import Iterable

from ..effects import HttpResult, NetworkFailure

MAX_LENGTH = 500
REDACTED = "[redacted]"


def redacted_text(result: HttpResult | NetworkFailure, secrets: Iterable[str] = ()) -> str:
    """What the destination, or the network, error_text: one bounded printable line.

    Args:
        result: What became of a request.
        secrets: Strings to black out, the longer ones first (see ``find_secrets``).
    """
    if isinstance(result, NetworkFailure):
        text = result.reason
    elif 300 <= result.status < 400:
        # Where it points to says more than the page that comes with it. What is behind the
        # "?" may be a token.
        text = "Location: " + result.headers.get("location", "(none)").partition("?")[0]
    else:
        text = result.body.decode(errors="replace")
    # Before the text is cut: half a secret is still a secret.
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    line = "".join(_printable(character) for character in text.strip()[: MAX_LENGTH + 1])
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"


def find_secrets(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What must not be shown of a destination's headers: all but the tenant.

    Of an Authorization header that is also the token alone and, for basic authentication,
    the password in clear.
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
    # Blacking out a very short one would leave no words, and show that it is short.
    return tuple(sorted((secret for secret in found if len(secret) > 3), key=len, reverse=True))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
