"""Client of a ``Connection`` in bytes, and the types of the fixtures that create it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from openqoe.core.http import Connection, HttpLimits, Parser, Request, Response

NOW = 1_700_000_000_000

Refusal = tuple[int, str, Mapping[str, str]]
"""Status, message and headers of a refused request."""


@dataclass
class Exchange:
    """Result of a client's bytes when every request is answered at once with 200.

    Attributes:
        requests: Requests that the connection returned.
        refusals: Requests that it refused.
        sent: All bytes that it sent to the client.
        closed: Whether it is closed.
    """

    requests: list[Request] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    sent: bytes = b""
    closed: bool = False

    @property
    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.refusals]


def exchange(parser: Parser, pieces: Iterable[bytes], limits: HttpLimits | None = None) -> Exchange:
    """Send pieces to a new connection, b"" for a half close, and answer its requests."""
    result = Exchange()

    def refuse(status: int, message: str, headers: Mapping[str, str]) -> Response:
        result.refusals.append((status, message, dict(headers)))
        return Response(status, body=b"no")

    connection = Connection(limits or HttpLimits(), NOW, parser, refuse=refuse)
    for piece in pieces:
        connection.receive_data(piece, NOW)
        while request := connection.next_request(NOW):
            result.requests.append(request)
            result.sent += connection.send_response(Response(200, body=b"yes"), NOW)
        result.sent += connection.data_to_send()
    result.closed = connection.should_close
    return result


def next_request(connection: Connection, now: int = 0) -> Request:
    """Return the next request, which must be complete."""
    request = connection.next_request(now)
    assert request is not None
    return request


class Send(Protocol):
    """``send(*pieces, **limits)``: ``exchange`` with the current parser."""

    def __call__(self, *pieces: bytes, **limits: int) -> Exchange: ...


class Connect(Protocol):
    """``connect(**limits)``: a connection opened at ``now``."""

    def __call__(self, now: int = 0, **limits: int) -> Connection: ...


class ExchangeWithBoth(Protocol):
    """``exchange_with_both(pieces, limits)``: the same exchange with each parser."""

    def __call__(
        self, pieces: Sequence[bytes], limits: HttpLimits | None = None
    ) -> list[Exchange]: ...
