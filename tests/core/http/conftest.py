"""Fixtures of the HTTP tests: both parsers, and clients that use them (see ``exchange``)."""

from collections.abc import Sequence

import pytest

from openqoe.core.http import Connection, HttpLimits, Parser
from openqoe.core.http.h11_parser import parse_head as h11
from openqoe.core.http.httptools_parser import parse_head as httptools
from tests.core.http.exchange import Connect, Exchange, ExchangeWithBoth, Send, exchange

PARSERS: dict[str, Parser] = {"h11": h11, "httptools": httptools}


@pytest.fixture(params=list(PARSERS))
def parser(request: pytest.FixtureRequest) -> Parser:
    """Each parser in turn, because both must give the same results."""
    return PARSERS[request.param]


@pytest.fixture
def send(parser: Parser) -> Send:
    def make(*pieces: bytes, **limits: int) -> Exchange:
        return exchange(parser, pieces, HttpLimits(**limits))

    return make


@pytest.fixture
def connect(parser: Parser) -> Connect:
    def make(now: int = 0, **limits: int) -> Connection:
        return Connection(HttpLimits(**limits), now, parser)

    return make


@pytest.fixture(scope="session")
def exchange_with_both() -> ExchangeWithBoth:
    def make(pieces: Sequence[bytes], limits: HttpLimits | None = None) -> list[Exchange]:
        return [exchange(parse, pieces, limits) for parse in PARSERS.values()]

    return make
