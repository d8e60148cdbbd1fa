"""Requests and responses in turn: keep-alive, pipelining, 100 Continue, closing."""

import pytest

from openqoe.core.http import Connection, Response
from tests.core.http.talk import Connect, next_request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = Response(200, (("A", "b"),), b"yes")


def get(path: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: a", *lines, "", ""]).encode()


def answer(connection: Connection, *, response: Response = OK, close: bool = False) -> bytes:
    """Take the next request, which must be there, and answer it."""
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
def test_keep_alive(
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


def test_several_connection_headers_are_one(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(get("/", "Connection: x", "Connection: close"), 0)
    answer(connection)
    assert connection.should_close


def test_the_owner_may_close(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET, 0)
    assert b"\r\nConnection: close\r\n" in answer(connection, close=True)
    assert connection.should_close
    assert connection.linger > 0, "the client does not know yet, and may be sending"


def test_a_client_that_asked_for_it_is_closed_without_lingering(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(get("/", "Connection: close"), 0)
    answer(connection)
    assert connection.linger == 0


# Order


def test_requests_sent_ahead_are_handed_out_one_by_one(connect: Connect) -> None:
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


def test_a_bad_request_sent_ahead_is_refused_after_the_answer(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET + b"bad\r\n\r\n", 0)
    assert connection.next_request(0) is not None
    assert (connection.data_to_send(), connection.should_close) == (b"", False)
    connection.send_response(OK, 0)
    assert connection.next_request(0) is None
    assert connection.data_to_send().startswith(b"HTTP/1.1 400 ")
    assert connection.should_close


def test_an_answer_needs_a_request(connect: Connect) -> None:
    connection = connect()
    with pytest.raises(RuntimeError):
        connection.send_response(OK, 0)
    connection.receive_data(GET, 0)
    with pytest.raises(RuntimeError):
        connection.send_response(OK, 0)
    answer(connection)
    with pytest.raises(RuntimeError):
        connection.send_response(OK, 0)


def test_after_an_answer_that_cannot_be_sent_another_may_be(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET, 0)
    connection.next_request(0)
    with pytest.raises(ValueError, match="malformed headers"):
        connection.send_response(Response(200, (("A", "b\r\nC: d"),)), 0)
    assert connection.send_response(Response(500), 0).startswith(b"HTTP/1.1 500 ")


# HEAD and 204


def test_a_head_request_is_told_the_length_and_not_the_body(connect: Connect) -> None:
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
def test_a_client_that_waits_is_told_to_go_on_once(connect: Connect, line: str) -> None:
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


def test_a_client_that_did_not_wait_is_not_told(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(expecting("Content-Length: 5") + b"h", 0)
    assert connection.data_to_send() == b""


def test_a_client_without_a_body_is_not_told(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(expecting("Content-Length: 0"), 0)
    assert connection.data_to_send() == b""
    assert next_request(connection).method == "POST"


def test_http_1_0_is_not_told(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(expecting("Content-Length: 5", version="1.0"), 0)
    assert connection.data_to_send() == b""


def test_a_body_that_will_be_too_large_is_not_asked_for(connect: Connect) -> None:
    connection = connect(max_body_bytes=4)
    connection.receive_data(expecting("Content-Length: 5"), 0)
    assert connection.data_to_send().startswith(b"HTTP/1.1 413 ")


def test_100_continue_waits_for_the_answer_before(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET + expecting("Content-Length: 5"), 0)
    assert connection.next_request(0) is not None
    assert connection.data_to_send() == b""
    connection.send_response(OK, 0)
    assert connection.next_request(0) is None
    assert connection.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n"


# The client closes


def test_an_idle_client_that_closes_is_closed(connect: Connect) -> None:
    for before in (b"", b"\r\n", b"\r"):
        connection = connect()
        connection.receive_data(before, 0) if before else None
        connection.receive_data(b"", 0)
        assert connection.should_close
        assert (connection.data_to_send(), connection.linger) == (b"", 0)


def test_a_client_that_sent_all_and_half_closes_is_answered(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET + GET, 0)
    connection.receive_data(b"", 0)
    assert not connection.should_close
    assert b"Connection" not in answer(connection)
    assert b"\r\nConnection: close\r\n" in answer(connection)
    assert connection.should_close
    assert connection.linger == 0


def test_a_client_that_half_closes_while_it_waits_is_answered(connect: Connect) -> None:
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
def test_half_a_request_is_refused(connect: Connect, begun: bytes) -> None:
    connection = connect()
    connection.receive_data(GET + begun, 0)
    connection.receive_data(b"", 0)
    answer(connection)
    assert connection.next_request(0) is None
    assert connection.data_to_send().startswith(b"HTTP/1.1 400 ")
    assert connection.should_close


def test_nothing_comes_after_the_end(connect: Connect) -> None:
    connection = connect()
    connection.receive_data(GET, 0)
    connection.receive_data(b"", 0)
    connection.receive_data(GET, 0)
    answer(connection)
    assert connection.next_request(0) is None
