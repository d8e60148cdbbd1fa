"""Cross-origin resource sharing (CORS): headers that let pages read our responses.

The second SDK generation and every beacon send credentials, so the origin is echoed; "*" is not
allowed then. Error responses have the headers as well: without them a browser reports a network
failure, and the SDK sends the batch up to ten times.
"""

from collections.abc import Mapping

Headers = tuple[tuple[str, str], ...]

ALLOWED_HEADERS = (
    "Content-Type, Content-Encoding, Authorization, X-API-Key, X-API-Token, X-SDK-Version"
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
    if origin is None or not ("*" in allowed or origin in allowed):
        return (("Vary", "Origin"),)
    return (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    )


PREFLIGHT: Headers = (
    ("Access-Control-Allow-Methods", ALLOWED_METHODS),
    ("Access-Control-Allow-Headers", ALLOWED_HEADERS),
    ("Access-Control-Max-Age", MAX_AGE),
)
"""Additional headers of the response to a preflight request."""
