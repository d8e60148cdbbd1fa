"""Limits and shutdown of all connections, and clients that do not read."""

from openqoe.core import Config
from openqoe.core.http import Connection, ConnectionSet, Response, make_plain_refusal
from tests.core.http.exchange import Connect, next_request

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = {"request_timeout": 30, "keep_alive_timeout": 75}


def connections(most: int = 10) -> ConnectionSet:
    return ConnectionSet(Config(max_connections=most), make_plain_refusal)


def answer(connection: Connection, now: int = 0) -> bytes:
    next_request(connection, now)
    return connection.send_response(Response(200), now)


def test_connection_above_the_maximum_is_refused_503() -> None:
    server = connections(2)
    first, second, third = (server.open(0) for _ in range(3))
    assert not first.should_close and not second.should_close
    assert third.should_close
    assert third.data_to_send().startswith(b"HTTP/1.1 503 ")
    server.close(third)
    server.close(first)
    assert not server.open(0).should_close
    assert server.open(0).should_close


def test_shutdown_completes_started_requests() -> None:
    server = connections()
    idle, half, whole = (server.open(0) for _ in range(3))
    idle.receive_data(GET, 0)
    answer(idle)
    half.receive_data(GET[:5], 0)
    whole.receive_data(GET + GET, 0)
    server.stop(0)
    assert (idle.should_close, idle.linger, idle.data_to_send()) == (True, 0, b"")
    half.receive_data(GET[5:], 1)
    for connection in (half, whole):
        assert not connection.should_close
        assert b"\r\nConnection: close\r\n" in answer(connection)
        assert connection.should_close
        assert connection.next_request(1) is None


def test_shutdown_waits_for_the_first_request_of_a_new_client() -> None:
    server = connections()
    silent, talking = server.open(0), server.open(0)
    server.stop(100)
    late = server.open(200)  # accepted after the shutdown began
    talking.receive_data(GET, 1099)
    assert b"\r\nConnection: close\r\n" in answer(talking, 1099)
    for connection, deadline in ((silent, 1100), (late, 1200)):
        assert connection.deadline == deadline
        connection.handle_timeout(deadline)
        assert (connection.should_close, connection.linger) == (True, 0)


def test_client_that_does_not_read_is_lost_after_the_request_timeout(connect: Connect) -> None:
    connection = connect(now=0, **LIMITS)
    connection.receive_data(GET, 0)
    answer(connection)
    connection.pause_writing(10)
    connection.pause_writing(20)  # the first call counts
    assert connection.deadline == 40
    connection.handle_timeout(39)
    assert not connection.is_lost
    connection.handle_timeout(40)
    assert connection.is_lost
    assert connection.should_close
    assert connection.deadline is None


def test_client_that_resumes_reading_is_kept(connect: Connect) -> None:
    connection = connect(now=0, **LIMITS)
    connection.receive_data(GET, 0)
    answer(connection)
    connection.pause_writing(10)
    connection.resume_writing(35)
    assert connection.deadline == 35 + 75
    connection.handle_timeout(41)
    assert not connection.should_close


def test_unread_refusal_has_a_deadline(connect: Connect) -> None:
    connection = connect(now=0, **LIMITS)
    connection.refuse_client(0)
    connection.pause_writing(5)
    assert connection.deadline == 35
    connection.handle_timeout(35)
    assert connection.is_lost
