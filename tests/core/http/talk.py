"""Clients that speak in bytes, and the types of the fixtures that make them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from openqoe.core.http import Connection, HttpLimits, Parser, Request, Response

NOW = 1_700_000_000_000

Refusal = tuple[int, str, Mapping[str, str]]
"""Status, message and headers of a request that the owner was not given."""


@dataclass
class Talk:
    """What came of a client's bytes when every request is answered at once with 200.

    Attributes:
        requests: What the owner was given.
        refusals: What it was not given.
        sent: All that went back to the client.
        closed: Whether the connection is over.
    """

    requests: list[Request] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    sent: bytes = b""
    closed: bool = False

    @property
    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.refusals]


def talk(parser: Parser, pieces: Iterable[bytes], limits: HttpLimits | None = None) -> Talk:
    """Send pieces to a connection, b"" for a half close, and answer what it hands out."""
    result = Talk()

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
    """Take the next request, which must be there."""
    request = connection.next_request(now)
    assert request is not None
    return request


class Say(Protocol):
    """``say(*pieces, **limits)``: ``talk`` with the parser at hand."""

    def __call__(self, *pieces: bytes, **limits: int) -> Talk: ...


class Connect(Protocol):
    """``connect(**limits)``: a connection opened at ``now``."""

    def __call__(self, now: int = 0, **limits: int) -> Connection: ...


class Both(Protocol):
    """``both(pieces, limits)``: the same talk with each parser."""

    def __call__(self, pieces: Sequence[bytes], limits: HttpLimits | None = None) -> list[Talk]: ...
