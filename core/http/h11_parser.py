"""Parser of heads with h11, the reference.

Each head uses a new ``h11.Connection``, because a reused one would also need the body and the
response. Creating it costs 2 µs of the 50 µs for a head.
"""

import h11

from .parser import Head, MalformedHeadError


def parse_head(head: bytes) -> Head:
    """Parse a head.

    Raises:
        MalformedHeadError: h11 rejects the head.
    """
    # h11's limit is for incomplete heads only; raise it so that our own limit alone applies.
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise MalformedHeadError(str(error)) from error
    if not isinstance(event, h11.Request):
        raise MalformedHeadError(f"not a request but {event!r}")
    return Head(event.method, event.target, event.http_version.decode(), list(event.headers))
