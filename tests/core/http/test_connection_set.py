"""Limits and shutdown of all connections, and clients that do not read."""

import pytest

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


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"


def held_connections(
    server: ConnectionSet, start: bytes, count: int, evicted: list[Connection]
) -> list[Connection]:
    """Open connections that have sent a part of a request, one ms apart."""
    opened: list[Connection] = []
    for number in range(count):
        connection = server.open(number, lambda number=number: evicted.append(opened[number]))  # type: ignore[misc]
        opened.append(connection)
        connection.receive_data(start, number)
    return opened


@pytest.mark.parametrize(
    "start", [POST + b"x" * 100_000, b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 30_000]
)
def test_full_budget_evicts_oldest_holders_not_the_next_sender(start: bytes) -> None:
    server = ConnectionSet(Config(max_waiting_bytes=2_000_000), make_plain_refusal)
    evicted: list[Connection] = []
    holders = held_connections(server, start, 100, evicted)
    assert evicted and all(connection.should_close for connection in evicted)
    assert evicted[0] is holders[0]
    assert evicted[0].data_to_send().startswith(b"HTTP/1.1 503 ")
    assert not holders[-1].should_close
    for number in range(20):
        sender = server.open(1_000)
        sender.receive_data(POST + b"x" * 100_000, 1_000 + number)
        sender.receive_data(b"x" * 100_000, 1_010 + number)
        answer(sender, 1_020)


def test_parsed_heads_count_against_the_budget() -> None:
    server = ConnectionSet(Config(max_waiting_bytes=100_000), make_plain_refusal)
    head = POST[:-2] + b"A: " + b"x" * 20_000 + b"\r\n\r\n"
    evicted: list[Connection] = []
    held_connections(server, head, 6, evicted)
    assert len(evicted) >= 2


def test_full_budget_discards_pipelined_requests_of_holders() -> None:
    server = ConnectionSet(Config(max_waiting_bytes=100_000), make_plain_refusal)
    first = server.open(0)
    first.receive_data(GET, 0)
    next_request(first)
    first.receive_data(GET * 3_000, 0)
    assert first.has_pipelined_data
    second = server.open(5)
    second.receive_data(POST + b"x" * 50_000, 10)
    assert not first.has_pipelined_data
    assert b"\r\nConnection: close\r\n" in first.send_response(Response(200), 20)
    assert not second.should_close


def test_full_budget_evicts_holder_that_does_not_read() -> None:
    server = ConnectionSet(Config(max_waiting_bytes=100_000), make_plain_refusal)
    first = server.open(0)
    first.receive_data(GET + GET * 3_000, 0)
    answer(first)
    first.pause_writing(0)
    server.open(5).receive_data(POST + b"x" * 50_000, 10)
    assert first.is_lost


def test_responses_that_clients_do_not_read_count_against_the_budget() -> None:
    """10,000 connections that requested a large page and read nothing took gigabytes."""
    server = ConnectionSet(Config(max_waiting_bytes=100_000), make_plain_refusal)
    opened = []
    for number in range(6):
        connection = server.open(number)
        opened.append(connection)
        connection.receive_data(GET, number)
        next_request(connection)
        connection.send_response(Response(200, (), b"x" * 30_000), number)
        connection.pause_writing(number)
        if number == 0:
            connection.resume_writing(number)
    lost = [connection.is_lost for connection in opened]
    assert lost == [False, True, True, False, False, False]
