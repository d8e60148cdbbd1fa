"""Cross-origin resource sharing (CORS): headers that let pages read our responses.

The second SDK generation and every beacon send credentials, so the origin is echoed; "*" is not
allowed then. Error responses have the headers as well: without them a browser reports a network
failure, and the SDK sends the batch up to ten times.
"""

import re
from collections.abc import Mapping

from ..config.origins import is_allowed_origin

Headers = tuple[tuple[str, str], ...]

ALLOWED_HEADERS = (
    "Content-Type, Content-Encoding, Authorization, X-API-Key, X-API-Token, X-SDK-Version, "
    "Idempotency-Key"
)
ALLOWED_METHODS = "GET, HEAD, POST, OPTIONS"
MAX_AGE = "86400"


def response_headers(request_headers: Mapping[str, str], allowed: tuple[str, ...]) -> Headers:
    """Return the CORS headers of the response to a request.

    Args:
        request_headers: Headers of the request by lower-case name.
        allowed: Allowed origins; "*" allows all.
    """
    origin = request_headers.get("origin")
    if origin is None or not is_allowed_origin(origin, allowed):
        return (("Vary", "Origin"),)
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    )


MAX_REQUESTED = 2_048
"""Maximum length of the names in a preflight that are echoed; pages ask for some 100 bytes."""

_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")


def preflight_headers(request_headers: Mapping[str, str], allowed: tuple[str, ...]) -> Headers:
    """Return the additional headers of the response to a preflight request.

    Monitoring agents of a page add headers of their own to all its requests (``traceparent``,
    ``baggage``, ``x-datadog-…``), so an allowed origin may send the headers that it asks for.
    """
    names = ALLOWED_HEADERS
    origin = request_headers.get("origin")
    requested = request_headers.get("access-control-request-headers", "").strip()
    if (
        origin is not None
        and is_allowed_origin(origin, allowed)
        and len(requested) <= MAX_REQUESTED
        and _NAMES.fullmatch(requested)
    ):
        known = {name.lower() for name in ALLOWED_HEADERS.split(", ")}
        more = dict.fromkeys(name.strip() for name in requested.split(","))
        names = ", ".join([names, *(name for name in more if name.lower() not in known)])
    return (
        ("Access-Control-Allow-Methods", ALLOWED_METHODS),
        ("Access-Control-Allow-Headers", names),
        ("Access-Control-Max-Age", MAX_AGE),
    )
