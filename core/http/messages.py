"""HTTP requests and responses as values.

The worker sees a request only in this form, whatever carried it: an h11 connection,
a WSGI environ, an ASGI scope or a serverless event.
"""

from collections.abc import Mapping

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One complete HTTP request.

    Attributes:
        method: The method as sent, upper case ("POST").
        path: The path of the request target, still percent-encoded ("/v1/events").
        query: The part behind "?", without it; "" if there is none.
        headers: Header values by lower-case name; repeated headers joined with ", ".
        body: The body after removal of the transfer coding (chunked), before any
            content coding (gzip) is undone.
        first_byte_at: When the first byte of the request came in, ms since the epoch.
        is_secure: Whether it came over TLS, as far as we know: a proxy may have ended it.
        last_byte_at: When its last byte came in; 0 if nobody knows.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    first_byte_at: int = 0
    is_secure: bool = False
    last_byte_at: int = 0


class Response(msgspec.Struct, frozen=True):
    """One complete HTTP response; Content-Length is added when it is sent.

    Attributes:
        status: The status code.
        headers: Names and values in the order in which they are sent.
        body: The whole body.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
