"""HTTP over real sockets in every host: valid, invalid and disconnecting clients."""

import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from statistics import median

import pytest

from tests.support.event_builders import batch, event
from tests.support.hosts import Host
from tests.support.raw_client import RawClient, encode_chunked, encode_get, encode_post
from tests.support.worker_process import WorkerProcess

_views = count()


def send_in_background(client: RawClient, data: bytes) -> threading.Thread:
    """Send data that may be refused before it is read completely."""

    def send() -> None:
        with suppress(ConnectionError):
            client.send(data)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def fresh_batch(*types: str) -> bytes:
    """A batch of the present moment that no test has sent before."""
    now = int(time.time() * 1000)
    view = f"view-{next(_views)}"
    return batch(*(event(name, at=now, view_id=view) for name in types or ("heartbeat",)))


def assert_alive(worker: WorkerProcess) -> None:
    assert worker.request("GET", "/health")[0] == 200


def test_connection_serves_many_requests(lasting_worker: WorkerProcess) -> None:
    with RawClient(lasting_worker.port) as client:
        for _ in range(3):
            client.send(encode_post(fresh_batch()))
            assert client.read_response().status == 202


def test_pipelined_requests_are_answered_in_order(lasting_worker: WorkerProcess) -> None:
    with RawClient(lasting_worker.port) as client:
        client.send(
            encode_post(fresh_batch())
            + encode_get("/nowhere")
            + encode_get("/v2/health")
            + encode_post(b"no json")
        )
        assert [client.read_response().status for _ in range(4)] == [202, 404, 200, 400]


def test_request_sent_byte_by_byte_is_accepted(worker: WorkerProcess) -> None:
    with RawClient(worker.port) as client:
        for byte in encode_get("/health"):
            client.send(bytes((byte,)))
        assert client.read_response().status == 200


@pytest.mark.parametrize("size", [1, 100, 65536])
def test_chunked_body_without_length_is_accepted(worker: WorkerProcess, size: int) -> None:
    with RawClient(worker.port) as client:
        body = encode_chunked(fresh_batch("viewstart", "playing"), size)
        client.send(encode_post(b"", "Transfer-Encoding: chunked", length=False) + body)
        answer = client.read_response()
    assert answer.status == 202
    assert json.loads(answer.body)["events_received"] == 2


def test_gzip_body_is_accepted(worker: WorkerProcess) -> None:
    with RawClient(worker.port) as client:
        client.send(encode_post(gzip.compress(fresh_batch()), "Content-Encoding: gzip"))
        assert client.read_response().status == 202


@pytest.mark.parametrize("is_split", [False, True])
def test_offer_of_http2_is_ignored(worker: WorkerProcess, is_split: bool) -> None:
    body = fresh_batch()
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    whole = encode_post(body, *offer)
    with RawClient(worker.port) as client:
        for part in (whole[: -len(body)], whole[-len(body) :]) if is_split else (whole,):
            client.send(part)
            time.sleep(0.1)
        assert client.read_response().status == 202


def test_half_closed_client_receives_response(host: Host, worker: WorkerProcess) -> None:
    body = fresh_batch()
    with RawClient(worker.port) as client:
        client.send(encode_post(body))
        client.half_close()
        try:
            assert client.read_response().status == 202
        except ConnectionError:
            assert not host.answers_half_closed
        assert client.is_closed()
    assert worker.request("POST", "/v1/events", body)[0] == 202


def test_expect_100_continue_is_answered_with_100(worker: WorkerProcess) -> None:
    body = fresh_batch()
    head = encode_post(b"", "Expect: 100-continue", f"Content-Length: {len(body)}", length=False)
    with RawClient(worker.port) as client:
        client.send(head)
        assert client.read_response().status == 100
        client.send(body)
        assert client.read_response().status == 202


def test_connection_close_header_closes_connection(worker: WorkerProcess) -> None:
    with RawClient(worker.port) as client:
        client.send(encode_get("/health", "Connection: close"))
        assert client.read_response().status == 200
        assert client.is_closed()


def test_gzip_bomb_is_refused(worker: WorkerProcess) -> None:
    bomb = gzip.compress(b" " * (30 << 20))
    with RawClient(worker.port) as client:
        client.send(encode_post(bomb, "Content-Encoding: gzip"))
        assert client.read_response().status == 413
    assert_alive(worker)


def test_disconnecting_clients_do_no_harm(worker: WorkerProcess) -> None:
    whole = encode_post(fresh_batch())
    for end in range(0, len(whole), len(whole) // 20):
        client = RawClient(worker.port)
        client.send(whole[:end])
        client.reset()
    assert_alive(worker)


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(
            encode_post(b"{}", "Content-Length: 2", "Content-Length: 7", length=False),
            id="two lengths",
        ),
        pytest.param(encode_post(b"", "Content-Length: x", length=False), id="length no number"),
        pytest.param(b"NONSENSE\r\n\r\n", id="no HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param(encode_post(b" " * (6 << 20)), id="body of 6 MiB"),
        pytest.param(
            encode_post(b"", "Transfer-Encoding: chunked", length=False)
            + encode_chunked(b" " * (6 << 20)),
            id="6 MiB chunked",
        ),
    ],
)
def test_bad_request_is_refused_and_worker_continues(
    worker: WorkerProcess, request_bytes: bytes
) -> None:
    with RawClient(worker.port) as client:
        sender = send_in_background(client, request_bytes)
        with suppress(ConnectionError):  # some hosts just close
            assert 400 <= client.read_response().status < 500
        sender.join()
    assert_alive(worker)


def test_200_simultaneous_connections_are_served(host: Host) -> None:
    def ask(client: RawClient) -> int:
        # Each closes after its response: gunicorn waits for that before it continues.
        with client:
            client.send(encode_post(fresh_batch(), "Connection: close"))
            return client.read_response().status

    # Without load shedding: one at a time, 200 take longer than a second on a slow machine.
    with host.run({"OPENQOE_MAX_WAIT": "0"}) as worker:
        clients = [RawClient(worker.port) for _ in range(200)]
        with ThreadPoolExecutor(len(clients)) as pool:
            assert set(pool.map(ask, clients)) == {202}
        assert worker.count_events() == 200


@pytest.mark.alone
def test_health_is_fast_during_large_batches(worker: WorkerProcess) -> None:
    stop = threading.Event()
    posts: list[float] = []

    def post_continuously() -> None:
        while not stop.is_set():
            begin = time.monotonic()
            status, answer = worker.post(fresh_batch(*["heartbeat"] * 1000))
            assert (status, answer["events_received"]) == (202, 1000)
            posts.append(time.monotonic() - begin)

    with ThreadPoolExecutor(2) as pool:
        posting = [pool.submit(post_continuously) for _ in range(2)]
        time.sleep(0.3)
        times = []
        for _ in range(20):
            begin = time.monotonic()
            assert_alive(worker)
            times.append(time.monotonic() - begin)
            time.sleep(0.02)
        stop.set()
        for future in posting:
            future.result()
    # A health request waits at most for the two batches in progress.
    assert median(times) < 1.5 * median(posts) + 0.05


def test_concurrent_new_label_values_are_admitted_up_to_limit(
    worker: WorkerProcess,
) -> None:
    now = int(time.time() * 1000)

    def send(client: int) -> int:
        events = [
            # Half of the places need a value to be seen in a second view.
            event("heartbeat", at=now, view_id=f"c-{client}-{n}", env=f"env-{client % 10}-{n}")
            for n in range(4)
        ]
        return worker.post(batch(*events))[0]

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(send, range(50))) == {202}
    stats = json.loads(worker.request("GET", "/stats?dimension=env")[2])
    assert stats["cardinality"] == 10  # the default limit of env


def test_wrong_keys_of_one_address_are_answered_429(host: Host) -> None:
    with host.run({"API_KEY": "of-pages", "OPENQOE_READ_KEY": "right"}) as worker:

        def read(key: str, address: str) -> int:
            headers = {"X-API-Key": key, "X-Forwarded-For": address}
            return worker.request("GET", "/stats", headers=headers)[0]

        assert [read("wrong", "198.51.100.1") for _ in range(11)] == [401] * 10 + [429]
        if host.name != "waitress":  # it removes the header unless its proxy is configured
            assert read("wrong", "198.51.100.2") == 401
        assert read("right", "198.51.100.1") == 200
