"""Requests and responses of a connection: keep-alive, pipelining, 100 Continue, closing."""

import pytest

from openqoe.core.http import Connection, Response
from tests.core.http.exchange import Connect, next_request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = Response(200, (("A", "b"),), b"yes")


def get(path: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: a", *lines, "", ""]).encode()


def answer(connection: Connection, *, response: Response = OK, close: bool = False) -> bytes:
    """Answer the next request, which must be complete."""
    next_request(connection)
    return connection.send_response(response, 0, close=close)


# Keep-alive


@pytest.mark.parametrize(
    ("version", "connection_header", "kept", "announced"),
    [
        ("1.1", None, True, None),
        ("1.1", "keep-alive", True, None),
        ("1.1", "close", False, "close"),
        ("1.1", "Close", False, "close"),
        ("1.1", "upgrade , close", False, "close"),
        ("1.1", "closed", True, None),
        ("1.0", None, False, "close"),
        ("1.0", "Keep-Alive", True, "keep-alive"),
        ("1.0", "keep-alive, close", False, "close"),
        ("1.0", "upgrade", False, "close"),
    ],
)
def test_connection_is_kept_by_version_and_header(
    connect: Connect, version: str, connection_header: str | None, kept: bool, announced: str | None
) -> None:
    lines = [] if connection_header is None else [f"Connection: {connection_header}"]
    connection = connect()
    connection.receive_data(get("/", *lines, version=version), 0)
    sent = answer(connection)
    connections = [
        line.split(": ")[1] for line in sent.decode().split("\r\n") if line.startswith("Conn")
    ]
    assert connections == ([announced] if announced else [])
    assert connection.should_close is not kept
    connection.receive_data(get("/2"), 0)
    assert (connection.next_request(0) is not None) is kept


def test_repeated_connection_headers_are_joined(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(get("/", "Connection: x", "Connection: close"), 0)
    answer(connection)
    assert connection.should_close


def test_owner_closes_a_kept_connection(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET, 0)
    assert b"\r\nConnection: close\r\n" in answer(connection, close=True)
    assert connection.should_close
    assert connection.linger > 0, "the client does not know yet, and may be sending"


def test_close_requested_by_the_client_does_not_linger(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(get("/", "Connection: close"), 0)
    answer(connection)
    assert connection.linger == 0


# Pipelining


def test_pipelined_requests_are_returned_one_by_one(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(get("/1") + get("/2") + get("/3")[:10], 0)
    assert next_request(connection).path == "/1"
    assert connection.next_request(0) is None
    connection.receive_data(get("/3")[10:], 0)
    assert connection.next_request(0) is None
    connection.send_response(OK, 0)
    assert next_request(connection).path == "/2"
    connection.send_response(OK, 0)
    assert next_request(connection).path == "/3"
    connection.send_response(OK, 0)
    assert connection.next_request(0) is None
    assert not connection.should_close


def test_bad_pipelined_request_is_refused_after_the_response_before(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET + b"bad\r\n\r\n", 0)
    assert connection.next_request(0) is not None
    assert (connection.data_to_send(), connection.should_close) == (b"", False)
    connection.send_response(OK, 0)
    assert connection.next_request(0) is None
    assert connection.data_to_send().startswith(b"HTTP/1.1 400 ")
    assert connection.should_close


def test_response_without_request_raises(connect: Connect) -> None:
    connection = connect()
    with pytest.raises(RuntimeError):
        connection.send_response(OK, 0)
    connection.receive_data(GET, 0)
    with pytest.raises(RuntimeError):
        connection.send_response(OK, 0)
    answer(connection)
    with pytest.raises(RuntimeError):
        connection.send_response(OK, 0)


def test_invalid_response_can_be_replaced(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET, 0)
    connection.next_request(0)
    with pytest.raises(ValueError, match="malformed headers"):
        connection.send_response(Response(200, (("A", "b\r\nC: d"),)), 0)
    assert connection.send_response(Response(500), 0).startswith(b"HTTP/1.1 500 ")


# HEAD and 204


def test_response_to_head_has_length_without_body(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(b"HEAD" + GET[3:] + GET, 0)
    sent = answer(connection)
    assert b"\r\nContent-Length: 3\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")
    assert answer(connection).endswith(b"\r\n\r\nyes")


def test_204_has_neither_length_nor_body(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(b"OPTIONS" + GET[3:], 0)
    sent = answer(connection, response=Response(204, (("A", "b"),), b"lost"))
    assert b"Content-Length" not in sent
    assert sent.endswith(b"\r\n\r\n")
    assert not connection.should_close


# 100 Continue


def expecting(*lines: str, version: str = "1.1") -> bytes:
    return b"POST" + get("/", "Expect: 100-Continue", *lines, version=version)[3:]


@pytest.mark.parametrize("line", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_waiting_client_gets_100_continue_once(connect: Connect, line: str) -> None:
    head, body = expecting(line), b"hello" if "Length" in line else b"5\r\nhello\r\n0\r\n\r\n"
    connection = connect()
    connection.receive_data(head[:-1], 0)
    assert connection.data_to_send() == b""
    connection.receive_data(head[-1:], 0)
    assert connection.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.receive_data(body[:3], 0)
    connection.receive_data(body[3:], 0)
    assert connection.data_to_send() == b""
    assert next_request(connection).body == b"hello"


def test_client_that_does_not_wait_gets_no_100_continue(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(expecting("Content-Length: 5") + b"h", 0)
    assert connection.data_to_send() == b""


def test_request_without_body_gets_no_100_continue(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(expecting("Content-Length: 0"), 0)
    assert connection.data_to_send() == b""
    assert next_request(connection).method == "POST"


def test_http_1_0_gets_no_100_continue(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(expecting("Content-Length: 5", version="1.0"), 0)
    assert connection.data_to_send() == b""


def test_announced_body_above_limit_gets_413_instead_of_100(connect: Connect) -> None:
    connection = connect(max_body_bytes=4)
    connection.receive_data(expecting("Content-Length: 5"), 0)
    assert connection.data_to_send().startswith(b"HTTP/1.1 413 ")


def test_100_continue_follows_the_response_before(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET + expecting("Content-Length: 5"), 0)
    assert connection.next_request(0) is not None
    assert connection.data_to_send() == b""
    connection.send_response(OK, 0)
    assert connection.next_request(0) is None
    assert connection.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n"


# Half close


def test_idle_half_close_closes_without_response(connect: Connect) -> None:
    for before in (b"", b"\r\n", b"\r"):
        connection = connect()
        connection.receive_data(before, 0) if before else None
        connection.receive_data(b"", 0)
        assert connection.should_close
        assert (connection.data_to_send(), connection.linger) == (b"", 0)


def test_requests_before_a_half_close_are_answered(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET + GET, 0)
    connection.receive_data(b"", 0)
    assert not connection.should_close
    assert b"Connection" not in answer(connection)
    assert b"\r\nConnection: close\r\n" in answer(connection)
    assert connection.should_close
    assert connection.linger == 0


def test_half_close_during_handling_keeps_the_response(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET, 0)
    assert connection.next_request(0) is not None
    connection.receive_data(b"", 0)
    assert not connection.should_close
    assert connection.send_response(OK, 0).endswith(b"yes")
    assert connection.should_close


@pytest.mark.parametrize(
    "begun", [b"G", GET[:-1], b"POST" + get("/", "Content-Length: 5")[3:] + b"hell"]
)
def test_half_close_inside_a_request_is_refused_400(connect: Connect, begun: bytes) -> None:
    connection = connect()
    connection.receive_data(GET + begun, 0)
    connection.receive_data(b"", 0)
    answer(connection)
    assert connection.next_request(0) is None
    assert connection.data_to_send().startswith(b"HTTP/1.1 400 ")
    assert connection.should_close


def test_data_after_the_half_close_is_ignored(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET, 0)
    connection.receive_data(b"", 0)
    connection.receive_data(GET, 0)
    answer(connection)
    assert connection.next_request(0) is None
