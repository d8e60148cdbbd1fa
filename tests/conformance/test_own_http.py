"""The worker's own HTTP layer: exact responses to limits, time-outs and bad requests."""

import json
import time

import pytest

from tests.conformance.test_http import assert_alive, fresh_batch, send_in_background
from tests.support.hosts import Host
from tests.support.loki_double import LokiDouble
from tests.support.raw_client import (
    RawClient,
    assert_stop_finishes_request,
    encode_chunked,
    encode_get,
    encode_post,
)
from tests.support.remote_write_double import RemoteWriteDouble, count_started_views
from tests.support.worker_process import WorkerProcess


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(encode_get("/health", "X-Long: " + "x" * 100_000), 431, id="header of 100 KB"),
        pytest.param(
            encode_post(b"{}", "Content-Length: 2", "Content-Length: 7", length=False),
            400,
            id="two lengths",
        ),
        pytest.param(
            encode_post(
                encode_chunked(b"{}"),
                "Content-Length: 2",
                "Transfer-Encoding: chunked",
                length=False,
            ),
            400,
            id="length and transfer coding",
        ),
        pytest.param(
            encode_post(b"", "Content-Length: x", length=False), 400, id="length no number"
        ),
        pytest.param(b"NONSENSE\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="TLS"),
        pytest.param(
            encode_post(b"", f"Content-Length: {6 << 20}", length=False), 413, id="6 MiB announced"
        ),
        pytest.param(
            encode_post(b"", "Transfer-Encoding: chunked", length=False)
            + encode_chunked(b" " * (6 << 20)),
            413,
            id="6 MiB chunked",
        ),
    ],
)
def test_bad_request_is_answered_and_connection_closed(
    own_worker: WorkerProcess, request_bytes: bytes, status: int
) -> None:
    with RawClient(own_worker.port) as client:
        sender = send_in_background(client, request_bytes)
        answer = client.read_response()
        sender.join()
        assert answer.status == status
        assert client.is_closed()
    assert_alive(own_worker)


def test_half_closed_incomplete_request_is_answered_with_400(own_worker: WorkerProcess) -> None:
    with RawClient(own_worker.port) as client:
        client.send(encode_post(b"{}", "Content-Length: 7", length=False))
        time.sleep(0.1)  # so that the FIN arrives after the data
        client.half_close()
        assert client.read_response().status == 400
        assert client.is_closed()


def test_refused_request_has_cors_headers(own_worker: WorkerProcess) -> None:
    origin = "https://watch.example"
    with RawClient(own_worker.port) as client:
        client.send(
            encode_post(b"", f"Content-Length: {6 << 20}", f"Origin: {origin}", length=False)
        )
        answer = client.read_response()
    assert answer.headers["access-control-allow-origin"] == origin
    assert json.loads(answer.body)["success"] is False


def test_slow_request_is_answered_with_408(own_worker: WorkerProcess) -> None:
    with RawClient(own_worker.port) as client:
        client.send(b"POST /v1/events HTTP/1.1\r\nX-Slow: ")
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 2.5:
                client.send(b"x")
                time.sleep(0.3)
        except ConnectionError:
            pass  # closed while this test was sending
        else:
            assert client.read_response().status == 408
            assert client.is_closed()
    assert_alive(own_worker)


def test_incomplete_requests_do_not_delay_other_clients(own_worker: WorkerProcess) -> None:
    clients = [RawClient(own_worker.port) for _ in range(200)]
    try:
        for client in clients:
            client.send(encode_post(fresh_batch())[:-10])
        assert_alive(own_worker)
    finally:
        for client in clients:
            client.close()


def test_connections_over_limit_are_refused(own_host: Host) -> None:
    with own_host.run({"OPENQOE_MAX_CONNECTIONS": "5"}) as worker:
        time.sleep(0.2)  # until the connection of the start-up check is closed
        clients = [RawClient(worker.port) for _ in range(5)]
        for client in clients:
            client.send(encode_get("/health"))
            assert client.read_response().status == 200
        with RawClient(worker.port) as late:
            answer = late.read_response()
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert late.is_closed()
        for client in clients:
            client.send(encode_get("/health"))
            assert client.read_response().status == 200
            client.close()
        time.sleep(0.2)
        assert_alive(worker)


def test_started_request_is_finished_before_stop(
    own_host: Host, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    settings = {"PROMETHEUS_URL": receiver.write_url, "LOKI_URL": loki.push_url}
    with own_host.run(settings) as worker:
        assert_stop_finishes_request(worker, fresh_batch("viewstart"))
        assert worker.process is not None
        assert worker.process.wait(20) in own_host.exits
    assert count_started_views(receiver) == 1
