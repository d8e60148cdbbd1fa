"""Cross-origin resource sharing: which pages may read our answers.

The second SDK generation and every beacon send credentials, so the origin is echoed: "*"
would not do. It stands on every answer, errors too; without it a browser reports a refusal
as a network failure and the SDK sends the batch up to ten times.
"""

from collections.abc import Mapping

Headers = tuple[tuple[str, str], ...]

ALLOWED_HEADERS = (
    "Content-Type, Content-Encoding, Authorization, X-API-Key, X-API-Token, X-SDK-Version"
)
ALLOWED_METHODS = "GET, HEAD, POST, OPTIONS"
MAX_AGE = "86400"


def response_headers(request_headers: Mapping[str, str], allowed: tuple[str, ...]) -> Headers:
    """The headers of any answer to a request."""
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
"""What the answer to a preflight adds."""
