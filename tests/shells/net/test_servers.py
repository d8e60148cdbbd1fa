"""Both servers: a fault ends one connection, and clients that do not read are disconnected."""

import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.conformance.test_http import send_in_background
from tests.support.event_builders import batch, event
from tests.support.raw_client import RawClient, encode_get, encode_post
from tests.support.services import PATIENCE
from tests.support.worker_process import WorkerProcess

SHELLS = ("asyncio", "trio")

FAULTY = """
import sys
from openqoe.core.http import Connection
from openqoe.shells.cli.entry_point import main

def broken(self, response, now, *, close=False):
    if response.status == 404:
        raise ValueError("cannot be sent")
    return original(self, response, now, close=close)

original, Connection.send_response = Connection.send_response, broken
sys.argv[1:] = ["serve", "--shell", sys.argv[1], "--port", sys.argv[2]]
main()
"""


def serving(shell: str, *options: str, **settings: str) -> WorkerProcess:
    def command(port: int) -> tuple[str, ...]:
        base = (sys.executable, "-m", "openqoe.shells", "serve", "--shell", shell)
        return (*base, "--port", str(port), *options)

    return WorkerProcess(settings, command=command, is_fresh=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_fault_in_connection_ends_only_that_connection(shell: str) -> None:
    def command(port: int) -> tuple[str, ...]:
        return (sys.executable, "-c", FAULTY, shell, str(port))

    with WorkerProcess(command=command) as worker:
        with RawClient(worker.port) as other, RawClient(worker.port) as client:
            other.send(encode_get("/health"))
            assert other.read_response().status == 200
            # The second of two pipelined requests is answered on another path than the first.
            client.send(encode_get("/health") + encode_get("/nothing"))
            assert client.read_response().status == 200
            assert client.is_closed()
            other.send(encode_get("/health"))
            assert other.read_response().status == 200
        assert worker.stop() == 0
        (line,) = [line for line in worker.log_records() if line["event"] == "connection failed"]
        assert "cannot be sent" in line["exception"]


@pytest.fixture(scope="module", params=SHELLS)
def impatient(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    """A worker with a request timeout of one second."""
    settings = {"OPENQOE_REQUEST_TIMEOUT": "1", "OPENQOE_KEEP_ALIVE_TIMEOUT": "60"}
    with serving(request.param, **settings) as worker:
        yield worker


def deaf_client(port: int, last: bytes = b"") -> socket.socket:
    """Return a client that has sent requests until its socket is full, and never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.settimeout(0.3)
    try:
        for _ in range(2000):
            client.sendall(encode_get("/metrics") * 10)
    except TimeoutError:
        pass
    return client


def test_request_after_pipelined_ones_is_answered(impatient: WorkerProcess) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=PATIENCE) as client:
        for requests in (2, 1, 3, 1):
            client.sendall(encode_get("/health") * requests)
            received = b""
            while received.count(b"HTTP/1.1 200") < requests or not received.endswith(b"}"):
                part = client.recv(65536)
                assert part, received
                received += part


def test_client_that_does_not_read_is_disconnected(impatient: WorkerProcess) -> None:
    with deaf_client(impatient.port) as client:
        deadline = time.monotonic() + 10
        try:
            while time.monotonic() < deadline:
                client.send(b"x")
                time.sleep(0.1)
        except TimeoutError:
            time.sleep(1.5)
            with pytest.raises(ConnectionError):
                for _ in range(100):
                    client.send(b"x")
        except ConnectionError:
            pass
        else:
            pytest.fail("the connection still lives")
    assert impatient.request("GET", "/health")[0] == 200


@pytest.fixture(params=SHELLS)
def tls_worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["TlsWorkerProcess"]:
    """A worker that serves TLS to at most 3 connections."""
    authority = trustme.CA()
    pem = tmp_path / "both.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = ("--tls-cert", str(pem), "--max-connections", "3")
    with TlsWorkerProcess(request.param, options, context) as worker:
        yield worker


class TlsWorkerProcess(WorkerProcess):
    """A worker process that is asked over TLS whether it has started."""

    def __init__(self, shell: str, options: tuple[str, ...], context: ssl.SSLContext) -> None:
        def command(port: int) -> tuple[str, ...]:
            base = (sys.executable, "-m", "openqoe.shells", "serve", "--shell", shell)
            return (*base, "--port", str(port), *options)

        super().__init__({"OPENQOE_REQUEST_TIMEOUT": "1"}, command=command)
        self._context = context

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log_text()
        try:
            return self.is_answering()
        except OSError:
            time.sleep(0.05)
            return False

    def is_answering(self) -> bool:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        with plain, self._context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            secure.sendall(encode_get("/health"))
            return secure.recv(4096).startswith(b"HTTP/1.1 200")


def test_plain_clients_of_tls_port_free_their_connection_slots(
    tls_worker: TlsWorkerProcess,
) -> None:
    worker = tls_worker
    for _ in range(6):
        with RawClient(worker.port) as plain:
            plain.send(encode_get("/health"))
            plain.is_closed()
    assert worker.is_answering()


@pytest.mark.alone
def test_connections_without_tls_handshake_count_and_time_out(
    tls_worker: TlsWorkerProcess,
) -> None:
    worker = tls_worker
    time.sleep(0.2)
    silent = [RawClient(worker.port) for _ in range(3)]
    time.sleep(0.1)
    began = time.monotonic()
    with RawClient(worker.port) as late:
        assert late.is_closed()  # at once
    assert time.monotonic() - began < 0.8
    for client in silent:
        assert client.is_closed()  # after the request time-out of 1 s
        client.close()
    time.sleep(0.2)
    assert worker.is_answering()


def resident_bytes(worker: WorkerProcess) -> int:
    assert worker.process is not None
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("shell", SHELLS)
def test_pipelined_requests_of_clients_that_do_not_read_stay_in_the_kernel(shell: str) -> None:
    wire = encode_get("/health") * 100_000  # 4 MB
    with serving(shell) as worker:
        before = resident_bytes(worker)
        clients = [RawClient(worker.port) for _ in range(10)]
        senders = [send_in_background(client, wire) for client in clients]
        time.sleep(1.5)
        assert resident_bytes(worker) - before < 15 << 20
        for client in clients:
            client.reset()
        for sender in senders:
            sender.join()


@pytest.mark.parametrize("shell", SHELLS)
def test_holders_of_partial_bodies_do_not_keep_others_from_sending(shell: str) -> None:
    head = encode_post(b"", "Content-Length: 600000", length=False)
    with serving(shell, OPENQOE_MAX_WAITING_BYTES="8MiB") as worker, ExitStack() as opened:
        holders = [opened.enter_context(RawClient(worker.port)) for _ in range(20)]
        holders[0].send(head + b"x" * 590_000)
        time.sleep(0.5)  # it is read, and so the largest and oldest
        for holder in holders[1:]:
            holder.send(head + b"x" * 450_000)
        assert holders[0].read_response().status == 503
        assert holders[0].is_closed()
        for _ in range(10):
            with RawClient(worker.port) as sender:
                body = batch(event("viewstart", at=int(time.time() * 1000)))
                whole = encode_post(body)
                sender.send(whole[:-10])
                time.sleep(0.05)
                sender.send(whole[-10:])
                assert sender.read_response().status == 202
