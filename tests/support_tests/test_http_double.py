"""Tests of the HTTP double: faults, recording, lifecycle."""

from __future__ import annotations

import base64
import http.client
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.http_double import HttpDouble, ReceivedRequest, Reply
from tests.support.services import wait_until
from tests.support_tests.plain_client import TextResponse, send


class Counting(HttpDouble):
    """Answers 204 and counts what it processed."""

    processed = 0

    def respond(self, request: ReceivedRequest) -> Reply:
        self.processed += 1
        return Reply(204)


@pytest.fixture
def double() -> Iterator[Counting]:
    with Counting() as running:
        yield running


def statuses(double: Counting, count: int) -> list[int]:
    return [send(double.url + "/x", b"body").status for _ in range(count)]


def test_request_is_recorded_unchanged(double: Counting) -> None:
    send(double.url + "/some/path", b"\x00body", {"X-Thing": "Value"})
    (request,) = double.requests
    assert (request.method, request.path, request.body) == ("POST", "/some/path", b"\x00body")
    assert request.headers["x-thing"] == "Value"
    assert double.request_count == 1


def test_failure_repeats_for_given_number_of_requests(double: Counting) -> None:
    double.fail_with(503, times=2, headers={"Retry-After": "7"}, body="not now")
    first = send(double.url + "/x")
    assert (first.status, first.text, first.headers["retry-after"]) == (503, "not now", "7")
    assert statuses(double, 2) == [503, 204]
    assert double.processed == 1
    assert double.replies == [503, 503, 204]


def test_failures_apply_in_order_until_cleared(double: Counting) -> None:
    double.fail_with(429)
    double.fail_with(500, times=None)
    assert statuses(double, 3) == [429, 500, 500]
    double.clear_faults()
    assert statuses(double, 1) == [204]


def test_lost_answer_with_processed_keeps_request(double: Counting) -> None:
    double.drop_connection(processed=True)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        send(double.url + "/x")
    assert double.processed == 1
    double.drop_connection()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        send(double.url + "/x")
    assert double.processed == 1
    assert statuses(double, 1) == [204]
    assert double.replies == [0, 0, 204]


def test_hanging_request_times_out_at_client(double: Counting) -> None:
    double.hang(30)
    with pytest.raises(TimeoutError):
        send(double.url + "/x", timeout=0.1)
    assert double.processed == 0
    assert statuses(double, 1) == [204], "others are served meanwhile"


def test_stop_ends_hanging_request_at_once(double: Counting) -> None:
    double.hang(30)
    ended: list[BaseException | TextResponse] = []

    def client() -> None:
        try:
            ended.append(send(double.url + "/x", timeout=30))
        except (http.client.HTTPException, OSError) as fault:
            ended.append(fault)

    thread = threading.Thread(target=client)
    thread.start()
    wait_until(lambda: double.request_count == 1)
    started = time.monotonic()
    double.stop()
    thread.join(20)
    assert time.monotonic() - started < 20
    assert isinstance(ended[0], (http.client.HTTPException, OSError))


def test_stop_closes_connections_and_start_reuses_port(
    double: Counting,
) -> None:
    url = double.url
    host = url.removeprefix("http://")
    kept = http.client.HTTPConnection(host, timeout=5)
    kept.request("POST", "/x", b"1")
    assert kept.getresponse().read() == b""
    double.stop()
    with pytest.raises((http.client.HTTPException, OSError)):
        kept.request("POST", "/x", b"2")
        kept.getresponse()
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        send(url + "/x")
    double.start()
    assert double.url == url
    assert statuses(double, 1) == [204]
    assert double.request_count == 2
    double.stop()
    double.stop()


def test_one_connection_carries_many_requests(double: Counting) -> None:
    connection = http.client.HTTPConnection(double.url.removeprefix("http://"), timeout=5)
    for _ in range(3):
        connection.request("POST", "/x", b"1")
        response = connection.getresponse()
        assert (response.status, response.read()) == (204, b"")
    connection.close()
    double.wait_for_requests(3)


def test_request_without_right_basic_auth_is_refused() -> None:
    with Counting(basic_auth=("user", "päss")) as double:
        right = "Basic " + base64.b64encode("user:päss".encode()).decode()
        assert send(double.url + "/x").status == 401
        assert send(double.url + "/x", headers={"Authorization": "Basic dTpw"}).status == 401
        assert send(double.url + "/x", headers={"Authorization": right}).status == 204
        assert double.processed == 1


def test_body_over_size_limit_is_refused() -> None:
    with Counting(max_body_bytes=10) as double:
        assert send(double.url + "/x", b"0123456789").status == 204
        assert send(double.url + "/x", b"0123456789A").status == 413
        assert double.processed == 1
