"""What the tests of HTTP share: both parsers, and clients that use them (see ``talk``)."""

from collections.abc import Sequence

import pytest

from openqoe.core.http import Connection, HttpLimits, Parser
from openqoe.core.http.h11_parser import parse_head as h11
from openqoe.core.http.httptools_parser import parse_head as httptools
from tests.core.http.talk import Both, Connect, Say, Talk, talk

PARSERS: dict[str, Parser] = {"h11": h11, "httptools": httptools}


@pytest.fixture(params=list(PARSERS))
def parser(request: pytest.FixtureRequest) -> Parser:
    """Each parser in turn: what holds for one holds for the other."""
    return PARSERS[request.param]


@pytest.fixture
def say(parser: Parser) -> Say:
    def make(*pieces: bytes, **limits: int) -> Talk:
        return talk(parser, pieces, HttpLimits(**limits))

    return make


@pytest.fixture
def connect(parser: Parser) -> Connect:
    def make(now: int = 0, **limits: int) -> Connection:
        return Connection(HttpLimits(**limits), now, parser)

    return make


@pytest.fixture(scope="session")
def both() -> Both:
    def make(pieces: Sequence[bytes], limits: HttpLimits | None = None) -> list[Talk]:
        return [talk(parse, pieces, limits) for parse in PARSERS.values()]

    return make
