"""What the tests of HTTP share: both parsers, and clients that speak in bytes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from openqoe.core.http import Connection, HttpLimits, Parser, Request, Response
from openqoe.core.http.h11_parser import parse_head as h11
from openqoe.core.http.httptools_parser import parse_head as httptools

PARSERS = {"h11": h11, "httptools": httptools}
NOW = 1_700_000_000_000


@dataclass
class Talk:
    """What came of a client's bytes when every request is answered at once with 200.

    Attributes:
        requests: What the owner was given.
        refusals: Status, message and headers of what it was not given.
        sent: All that went back to the client.
        closed: Whether the connection is over.
    """

    requests: list[Request] = field(default_factory=list)
    refusals: list[tuple[int, str, Mapping[str, str]]] = field(default_factory=list)
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


Connect = Callable[..., Connection]


@pytest.fixture(params=list(PARSERS))
def parser(request: pytest.FixtureRequest) -> Parser:
    """Each parser in turn: what holds for one holds for the other."""
    parse: Parser = PARSERS[request.param]
    return parse


@pytest.fixture
def say(parser: Parser) -> Callable[..., Talk]:
    """``say(*pieces, **limits)``: ``talk`` with the parser at hand."""
    return lambda *pieces, **limits: talk(parser, pieces, HttpLimits(**limits))


@pytest.fixture
def connect(parser: Parser) -> Connect:
    """``connect(**limits)``: a connection opened at ``now``, 0 by default."""

    def make(now: int = 0, **limits: int) -> Connection:
        return Connection(HttpLimits(**limits), now, parser)

    return make


@pytest.fixture(scope="session")
def both() -> Callable[..., list[Talk]]:
    """``both(pieces, limits)``: the same talk with each parser."""
    return lambda pieces, limits=None: [talk(parse, pieces, limits) for parse in PARSERS.values()]
