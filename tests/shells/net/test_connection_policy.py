"""All clients connect alike: proxies, TLS, nothing of netrc."""

import asyncio
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from openqoe.core import Config, HttpResult, NetworkFailure, RemoteWrite
from openqoe.core.config.declaration import SettingsError
from openqoe.shells.asyncio_shell.client import Client as AiohttpClient
from openqoe.shells.net.connection_policy import ConnectionPolicy
from openqoe.shells.net.httpx_client import Client as HttpxClient

Result = HttpResult | NetworkFailure


async def exchange(client: Any, url: str) -> Result:
    await client.open()
    try:
        effect = RemoteWrite(1, "prometheus", url, (("X-Scope-OrgID", "t"),), b"body")
        result: Result = await client.send(effect)
        return result
    finally:
        await client.close()


def on_aiohttp(policy: ConnectionPolicy, url: str) -> Result:
    return asyncio.run(exchange(AiohttpClient(3000, policy), url))


def on_httpx(policy: ConnectionPolicy, url: str) -> Result:
    return asyncio.run(exchange(HttpxClient(3000, policy), url))


def on_trio(policy: ConnectionPolicy, url: str) -> Result:
    return trio.run(exchange, HttpxClient(3000, policy), url)


Send = Callable[[ConnectionPolicy, str], Result]
every_client = pytest.mark.parametrize("send", [on_aiohttp, on_httpx, on_trio])


class Peer(socketserver.ThreadingTCPServer):
    """Answers 204 to each request, also as an HTTP or SOCKS 5 proxy, and keeps its head."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heads: list[bytes] = []
        self.names: list[bytes] = []
        self.context = context

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(socketserver.BaseRequestHandler):
    server: Peer

    def handle(self) -> None:
        connection = self.request
        if self.server.context is not None:
            try:
                connection = self.server.context.wrap_socket(connection, server_side=True)
            except OSError:
                return
        with connection, connection.makefile("rb") as stream:
            first = stream.read(1)
            if first == b"\x05":  # SOCKS 5 without a login: CONNECT to a name
                stream.read(stream.read(1)[0])
                connection.sendall(b"\x05\x00")
                assert stream.read(4) == b"\x05\x01\x00\x03"
                self.server.names.append(stream.read(stream.read(1)[0]))
                stream.read(2)
                connection.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
                first = stream.read(1)
            head = first
            while not head.endswith(b"\r\n\r\n"):
                head += stream.readline()
            self.server.heads.append(head.lower())
            stream.read(4)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Peer]:
    with Peer(context) as peer:
        threading.Thread(target=peer.serve_forever, daemon=True).start()
        yield peer
        peer.shutdown()


def policy(config: Config | None = None, **environment: str) -> ConnectionPolicy:
    return ConnectionPolicy.load(config or Config(), environment)


@every_client
def test_request_passes_an_http_proxy(send: Send) -> None:
    with serving() as proxy:
        rules = policy(http_proxy=f"http://me:word@127.0.0.1:{proxy.port}")
        assert send(rules, "http://mimir.test/push") == HttpResult(204)
    (head,) = proxy.heads
    assert head.startswith(b"post http://mimir.test/push http/1.1")
    assert b"proxy-authorization: basic bwu6d29yza==" in head


@every_client
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_request_passes_a_socks_proxy_which_resolves_the_name(send: Send, scheme: str) -> None:
    with serving() as proxy:
        rules = policy(ALL_PROXY=f"{scheme}://127.0.0.1:{proxy.port}")
        assert send(rules, "http://mimir.test/push") == HttpResult(204)
    assert proxy.names == [b"mimir.test"]


@every_client
def test_excepted_host_is_requested_directly(send: Send) -> None:
    with serving() as peer:
        rules = policy(http_proxy="http://127.0.0.1:1", NO_PROXY="localhost,[::1],127.0.0.1")
        assert send(rules, f"http://127.0.0.1:{peer.port}/push") == HttpResult(204)


@every_client
def test_unreachable_socks_proxy_is_a_failure(send: Send) -> None:
    assert isinstance(
        send(policy(ALL_PROXY="socks5://127.0.0.1:1"), "http://mimir.test/"), NetworkFailure
    )


@every_client
def test_netrc_is_not_read(send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("default login me password hush\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with serving() as peer:
        assert send(policy(), f"http://127.0.0.1:{peer.port}/push") == HttpResult(204)
    assert b"authorization" not in peer.heads[0]


@every_client
def test_proxy_of_the_process_is_not_used_behind_the_policy(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving() as peer:
        assert send(policy(), f"http://127.0.0.1:{peer.port}/push") == HttpResult(204)


class Authority:
    """A certificate authority, and the files of a server and a client."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca, self.certificate = str(folder / "ca.pem"), str(folder / "client.pem")
        authority.cert_pem.write_to_path(self.ca)
        client = authority.issue_cert("worker@example.com")
        client.private_key_and_cert_chain_pem.write_to_path(self.certificate)
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.server)
        authority.configure_trust(self.server)


@every_client
def test_ca_file_verifies_servers_and_client_certificate_is_sent(
    send: Send, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    authority.server.verify_mode = ssl.CERT_REQUIRED
    trusting = Config(destination_ca_file=authority.ca)
    known = Config(destination_ca_file=authority.ca, destination_client_cert=authority.certificate)
    with serving(authority.server) as peer:
        url = f"https://localhost:{peer.port}/push"
        assert send(policy(known), url) == HttpResult(204)
        assert isinstance(send(policy(trusting), url), NetworkFailure)  # no client certificate
        assert isinstance(send(policy(), url), NetworkFailure)  # an unknown authority


@every_client
def test_missing_certificate_file_of_the_environment_is_no_obstacle(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with serving() as peer:
        url = f"http://127.0.0.1:{peer.port}/push"
        assert send(ConnectionPolicy.load(Config()), url) == HttpResult(204)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"destination_ca_file": "{}/no"}, "OPENQOE_DESTINATION_CA_FILE .* cannot be read: No"),
        ({"destination_ca_file": "{}/text"}, "holds no certificate in PEM format"),
        ({"destination_client_cert": "{}/no"}, "OPENQOE_DESTINATION_CLIENT_CERT .* cannot be read"),
        ({"destination_client_cert": "{}/text"}, "cannot be used with its key"),
        ({"destination_client_cert": "{}/ca.pem"}, "cannot be used with its key"),
    ],
)
def test_unusable_file_is_a_fault(tmp_path: Path, settings: dict[str, str], fault: str) -> None:
    (tmp_path / "text").write_text("no certificate")
    Authority(tmp_path)
    config = Config(**{name: text.format(tmp_path) for name, text in settings.items()})  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=fault):
        ConnectionPolicy.load(config)
