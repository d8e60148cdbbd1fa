"""Limits are enforced while bytes arrive, before anything too long is buffered."""

from types import SimpleNamespace
from typing import cast

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.http import Connection, HttpLimits, Response
from tests.core.http.exchange import Connect, Send

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def sized(total: int) -> bytes:
    """Return a complete head of ``total`` bytes."""
    return HEAD + b"A: " + b"x" * (total - len(HEAD) - 7) + b"\r\n\r\n"


def pieces(wire: bytes, size: int = 1) -> list[bytes]:
    return [wire[i : i + size] for i in range(0, len(wire), size)]


def bytes_until_refused(connection: Connection, wire: bytes) -> int:
    for count, piece in enumerate(pieces(wire), 1):
        connection.receive_data(piece, 0)
        if connection.should_close:
            return count
    raise AssertionError("never refused")


def test_limits_equal_the_settings() -> None:
    settings = {
        "max_header_bytes": 1,
        "max_body_bytes": 2,
        "request_timeout": 3,
        "keep_alive_timeout": 4,
    }
    config = cast(Config, SimpleNamespace(**settings))
    assert HttpLimits.from_config(config) == HttpLimits(**settings)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_head_above_limit_is_refused_431(send: Send, step: int) -> None:
    result = send(*pieces(sized(200), step), max_header_bytes=200)
    assert len(result.requests) == 1
    result = send(*pieces(sized(201), step), max_header_bytes=200)
    assert (result.requests, result.statuses) == ([], [431])


def test_head_without_end_is_refused_at_the_limit(connect: Connect) -> None:
    connection = connect(max_header_bytes=100)
    assert bytes_until_refused(connection, HEAD + b"A: " + b"x" * 1000) == 100
    assert connection.data_to_send().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("step", [1, 1000])
def test_request_line_without_end_is_refused_414(send: Send, step: int) -> None:
    assert send(*pieces(b"GET /" + b"x" * 200, step), max_header_bytes=100).statuses == [414]
    assert send(*pieces(b"x" * 200, step), max_header_bytes=100).statuses == [414]


@pytest.mark.parametrize("step", [1, 1000])
def test_bytes_beyond_the_limit_do_not_change_the_status(send: Send, step: int) -> None:
    line = b"GET /" + b"x" * 200
    assert send(*pieces(line + b"\n", step), max_header_bytes=100).statuses == [414]
    assert send(*pieces(line + b" HTTP/9.9\r\n", step), max_header_bytes=100).statuses == [414]
    header = HEAD + b"A: " + b"x" * 200
    assert send(*pieces(header + b"\nB: c", step), max_header_bytes=100).statuses == [431]


def test_malformed_incomplete_head_is_refused_at_once(send: Send) -> None:
    assert send(b"GET / HTTP/3.0\r\n").statuses == [505]
    assert send(b"GET / HTTP/1.1\r\nHost: a\n").statuses == [400]


@pytest.mark.parametrize("step", [1, 1000])
def test_body_above_limit_is_refused_413(send: Send, step: int) -> None:
    for wire in (
        HEAD + b"Content-Length: 8\r\n\r\n12345678",
        CHUNKED + b"5\r\n12345\r\n3\r\n678\r\n0\r\n\r\n",
    ):
        result = send(*pieces(wire, step), max_body_bytes=8)
        assert [request.body for request in result.requests] == [b"12345678"]
        result = send(*pieces(wire, step), max_body_bytes=7)
        assert (result.requests, result.statuses) == ([], [413])


def test_body_above_limit_is_refused_when_its_size_arrives(connect: Connect) -> None:
    head = HEAD + b"Content-Length: 9\r\n\r\n"
    assert bytes_until_refused(connect(max_body_bytes=8), head) == len(head)
    wire = CHUNKED + b"8\r\n12345678\r\n1\r\n"
    assert bytes_until_refused(connect(max_body_bytes=8), wire) == len(wire)
    wire = CHUNKED + b"ffffffffffffffff\r\n"
    assert bytes_until_refused(connect(max_body_bytes=8), wire) == len(wire)


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b"1;" + b"x" * 300,
        b"1;" + b"x" * 300 + b"\r\nx\r\n0\r\n\r\n",
        b"1;xxxxxxxxx\r\nx\r\n" * 30 + b"0\r\n\r\n",
        b"0;" + b"x" * 150 + b"\r\nA: " + b"x" * 150 + b"\r\n\r\n",
        b"0\r\nA: " + b"x" * 300,
        b"0\r\nA: " + b"x" * 300 + b"\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 50,
    ],
)
def test_extensions_and_trailers_above_limit_are_refused_431(
    send: Send, body: bytes, step: int
) -> None:
    result = send(*pieces(CHUNKED + body, step), max_header_bytes=200)
    assert (result.requests, result.statuses) == ([], [431])


@pytest.mark.parametrize("step", [1, 1000])
def test_extensions_and_trailers_within_limit_are_accepted(send: Send, step: int) -> None:
    body = b"1;xxxxxxxxx\r\nx\r\n" * 10 + b"0\r\nA: " + b"x" * 80 + b"\r\n\r\n"
    result = send(*pieces(CHUNKED + body, step), max_header_bytes=200)
    assert result.requests[0].body == b"x" * 10


@pytest.mark.parametrize("step", [1, 1000])
def test_extension_at_the_limit_is_accepted(send: Send, step: int) -> None:
    rest = b"\r\nx\r\n0\r\n\r\n"
    whole = CHUNKED + b"0000000000000001;" + b"x" * 199 + rest
    assert send(*pieces(whole, step), max_header_bytes=200).requests[0].body == b"x"
    whole = CHUNKED + b"1;" + b"x" * 200 + rest
    assert send(*pieces(whole, step), max_header_bytes=200).statuses == [431]


def test_split_chunk_line_does_not_hide_the_next_chunk(send: Send) -> None:
    wire = CHUNKED + b"1;xxxxxxxxxxxx", b"\r\nx\r\n1\r\ny\r\n0\r\n\r\n"
    assert send(*wire).requests[0].body == b"xy"


def test_many_tiny_chunks_cost_linear_time(send: Send) -> None:
    """With quadratic cost, 20,000 chunks or 200,000 bytes would need minutes."""
    result = send(CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
    assert result.requests[0].body == b"x" * 20_000


def test_body_in_tiny_pieces_costs_linear_time(send: Send) -> None:
    wire = HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    assert send(*pieces(wire)).requests[0].body == b"x" * 100_000


def test_pipelined_requests_above_limit_are_discarded(connect: Connect) -> None:
    request = HEAD + b"Content-Length: 1\r\n\r\nx"
    connection = connect(max_header_bytes=100, max_body_bytes=100)
    connection.receive_data(request, 0)
    assert connection.can_receive is False
    assert connection.next_request(0) is not None
    connection.receive_data(request * 4, 0)
    sent = connection.send_response(Response(200), 0)
    assert b"Connection" not in sent
    assert connection.next_request(0) is not None

    connection.receive_data(request * 10, 0)
    assert b"\r\nConnection: close\r\n" in connection.send_response(Response(200), 0)
    assert connection.should_close
    assert connection.linger > 0
    assert connection.next_request(0) is None
