"""HTTP requests and responses as values.

The worker receives requests in this form only, whatever their origin: a connection of the core, a
WSGI environ, an ASGI scope or a serverless event.
"""

from collections.abc import Mapping

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One complete HTTP request.

    Attributes:
        method: Method as sent, in upper case ("POST").
        path: Path of the request target, percent-encoded ("/v1/events").
        query: Query of the target without "?"; "" if there is none.
        headers: Header values by lower-case name; repeated headers joined with ", ".
        body: Body without transfer coding (chunked), with its content coding (gzip).
        first_byte_at: Arrival of the first byte, ms since the epoch; 0 if unknown.
        is_secure: Whether the connection to the worker used TLS; a proxy may terminate it.
        last_byte_at: Arrival of the last byte, ms since the epoch; 0 if unknown.
        client: IP address of the other end of the connection, perhaps a proxy; "" if unknown.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    first_byte_at: int = 0
    is_secure: bool = False
    last_byte_at: int = 0
    client: str = ""


class Response(msgspec.Struct, frozen=True):
    """One complete HTTP response; the server adds Content-Length.

    Attributes:
        status: Status code.
        headers: Names and values in the order of sending.
        body: Complete body.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
