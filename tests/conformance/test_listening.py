"""Listeners of the worker's own servers: TLS, Unix sockets, IPv4 and IPv6."""

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from tests.support.event_builders import batch, event
from tests.support.raw_client import RawClient, encode_get
from tests.support.services import free_port
from tests.support.worker_process import WorkerProcess, serve, with_options

SHELLS = ("asyncio", "trio")


def serve_command(shell: str, *options: str) -> Sequence[str]:
    return (sys.executable, "-m", "openqoe.shells", "serve", "--shell", shell, *options)


@pytest.mark.parametrize("shell", SHELLS)
def test_server_listens_on_ipv4_and_ipv6(shell: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with WorkerProcess(command=with_options(serve, "--shell", shell, "--host", "*")) as worker:
        for address in ("127.0.0.1", "::1"):
            connection = http.client.HTTPConnection(address, worker.port, timeout=5)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
            connection.close()
        serving_line = next(line for line in worker.log_records() if line["event"] == "serving")
    assert serving_line["addresses"] == [f"0.0.0.0:{worker.port}", f"[::]:{worker.port}"]


@pytest.mark.parametrize("shell", SHELLS)
def test_tls_listener_serves_https(shell: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)

    port = free_port()
    options = ("--port", str(port), "--tls-cert", str(tmp_path / "both.pem"))
    process = subprocess.Popen(serve_command(shell, *options), stderr=subprocess.DEVNULL)
    try:
        connection = _connect(port, context)
        for number in range(3):
            body = batch(event("heartbeat", view_id=f"tls-{number}"))
            connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.status == 400  # an old event, but understood
            assert "too old" in json.loads(response.read())["errors"][0]["error"]
        connection.close()
        with RawClient(port) as plain:  # without TLS: does no harm
            plain.send(encode_get("/health"))
        _connect(port, context).close()
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


def _connect(port: int, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    for attempt in range(100):
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        try:
            connection.request("GET", "/health")
            assert connection.getresponse().read()
        except ConnectionError:
            connection.close()
            if attempt == 99:
                raise
            time.sleep(0.1)
        else:
            return connection
    raise AssertionError


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


@pytest.mark.parametrize("shell", SHELLS)
def test_unix_socket_listener_replaces_stale_socket(shell: str, tmp_path: Path) -> None:
    path = tmp_path / "qoe.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))  # as left by a killed process
    stale.close()
    command = serve_command(shell, "--unix", str(path))
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if b"serving" in line:
                assert f"unix:{path}".encode() in line
                break
        connection = UnixConnection(path)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
        process.terminate()
        assert process.wait(15) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("shell", SHELLS)
def test_address_in_use_is_named_in_error(shell: str) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        port = occupant.getsockname()[1]
        command = serve_command(shell, "--port", str(port))
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("openqoe: cannot listen: ")
    assert f"127.0.0.1:{port}" in run.stderr
    assert "Traceback" not in run.stderr
