"""Deadlines of a connection."""

import json
from collections.abc import Mapping

import pytest

from openqoe.core.http import Connection, HttpLimits, Parser, Response
from tests.core.http.exchange import Connect, next_request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nOrigin: o\r\nContent-Length: 5\r\n\r\n"
LIMITS = {"request_timeout": 30, "keep_alive_timeout": 75}


def test_new_connection_closes_after_the_keep_alive_timeout(connect: Connect) -> None:
    connection = connect(now=100, **LIMITS)
    assert connection.deadline == 175
    connection.handle_timeout(174)
    assert not connection.should_close
    connection.handle_timeout(175)
    assert connection.should_close
    assert (connection.data_to_send(), connection.deadline) == (b"", None)


def test_empty_lines_do_not_extend_the_idle_deadline(connect: Connect) -> None:
    connection = connect(now=0, **LIMITS)
    for now in range(0, 75, 5):
        connection.receive_data(b"\r\n\r", now)
        connection.receive_data(b"\n", now)
    assert connection.deadline == 75


@pytest.mark.parametrize("wire", [GET, POST])
def test_slow_bytes_do_not_extend_the_request_deadline(connect: Connect, wire: bytes) -> None:
    connection = connect(now=0, **LIMITS)
    for now, byte in enumerate(wire[:-1], 10):
        connection.receive_data(bytes([byte]), now)
        assert connection.deadline == 40
    connection.handle_timeout(39)
    assert not connection.should_close
    connection.handle_timeout(41)
    assert connection.should_close


def test_incomplete_request_is_refused_408(parser: Parser) -> None:
    headers_seen: list[str | None] = []

    def refuse(status: int, message: str, headers: Mapping[str, str]) -> Response:
        headers_seen.append(headers.get("origin"))
        return Response(status, body=json.dumps(message).encode())

    for wire in (GET[:5], POST + b"hell"):
        connection = Connection(HttpLimits(**LIMITS), 0, parser, refuse=refuse)
        connection.receive_data(wire, 0)
        connection.handle_timeout(30)
        assert connection.data_to_send().startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert connection.should_close
        assert connection.linger > 0
    assert headers_seen == [None, "o"]


def test_handling_has_no_deadline(connect: Connect) -> None:
    connection = connect(now=0, **LIMITS)
    connection.receive_data(GET, 10)
    assert connection.deadline is None
    connection.next_request(20)
    assert connection.deadline is None
    connection.handle_timeout(10_000)
    assert not connection.should_close
    connection.send_response(Response(200), 500)
    assert connection.deadline == 575


def test_pipelined_partial_request_has_the_full_timeout(connect: Connect) -> None:
    connection = connect(now=0, **LIMITS)
    connection.receive_data(GET + GET[:5], 10)
    connection.next_request(10)
    connection.send_response(Response(200), 500)
    assert connection.next_request(500) is None
    assert connection.deadline == 530
    connection.receive_data(GET[5:], 520)
    assert next_request(connection, 521).first_byte_at == 10


def test_idle_deadline_restarts_after_each_response(connect: Connect) -> None:
    connection = connect(now=0, **LIMITS)
    for now in (70, 140, 210):
        connection.receive_data(GET, now)
        connection.next_request(now)
        connection.send_response(Response(200), now)
        connection.handle_timeout(now + 74)
        assert not connection.should_close
    connection.handle_timeout(210 + 75)
    assert connection.should_close
