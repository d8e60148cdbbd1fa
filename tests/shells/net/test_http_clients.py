"""Both clients: unsendable requests are failures, and answers are read completely."""

import asyncio
import gc
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trio

from openqoe.core import HttpResult, NetworkFailure, RemoteWrite
from openqoe.shells.asyncio_shell.client import Client as AiohttpClient
from openqoe.shells.net.http_results import MAX_ANSWER
from openqoe.shells.trio_shell.client import Client as HttpxClient


def by_aiohttp(effect: RemoteWrite) -> HttpResult | NetworkFailure:
    async def scenario() -> HttpResult | NetworkFailure:
        client = AiohttpClient(2000)
        await client.open()
        try:
            return await client.send(effect)
        finally:
            await client.close()

    return asyncio.run(scenario())


def by_httpx(effect: RemoteWrite) -> HttpResult | NetworkFailure:
    async def scenario() -> HttpResult | NetworkFailure:
        client = HttpxClient(2000)
        await client.open()
        try:
            return await client.send(effect)
        finally:
            await client.close()

    return trio.run(scenario)


CLIENTS = (by_aiohttp, by_httpx)

Send = Callable[[RemoteWrite], HttpResult | NetworkFailure]


def effect(url: str, *headers: tuple[str, str]) -> RemoteWrite:
    return RemoteWrite(1, "prometheus", url, headers, b"body")


@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("http://" + "x" * 70 + ".test/", ("a", "b")),
        ("http://a..test/", ("a", "b")),
        ("http://xn--a.test/", ("a", "b")),
        ("http://ex\u00ad\u200b.test/", ("a", "b")),
        ("http://127.0.0.1:1/", ("a", "b\r\nc: d")),
        ("http://127.0.0.1:1/", ("a", "\udc80")),
        ("http://127.0.0.1:1/", ("ä\u4e00", "b")),
    ],
)
def test_unsendable_request_is_network_failure(
    send: Send, url: str, header: tuple[str, str]
) -> None:
    result = send(effect(url, header))
    assert isinstance(result, NetworkFailure)
    assert result.reason


class Pieces(socketserver.StreamRequestHandler):
    """Answers in pieces."""

    count = 0

    def handle(self) -> None:
        self.rfile.readline()
        size = self.count * 10
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
        self.wfile.write(head.encode())
        for number in range(self.count):
            time.sleep(0.01 if self.count < 100 else 0)
            self.wfile.write(b"%09d " % number)


@pytest.fixture
def address() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pieces) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("send", CLIENTS)
def test_answer_in_pieces_is_read_completely(
    send: Send, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pieces, "count", 12)
    result = send(effect(address))
    assert isinstance(result, HttpResult)
    assert result.body == b"".join(b"%09d " % number for number in range(12))


# httpx leaves generators of an answer that is not read completely; Trio ends them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("send", CLIENTS)
def test_long_answer_is_truncated(
    send: Send, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pieces, "count", 2000)
    result = send(effect(address))
    gc.collect()
    assert isinstance(result, HttpResult)
    assert len(result.body) == MAX_ANSWER


BROKEN_BODIES = {
    "truncated": b"Content-Length: 100\r\n\r\nhalf",
    "badly encoded": b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
}


class Broken(socketserver.StreamRequestHandler):
    """Answers with a status and a broken body."""

    head = b""

    def handle(self) -> None:
        self.request.recv(65_536)
        self.wfile.write(self.head)


@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize("body", BROKEN_BODIES)
@pytest.mark.parametrize("status", [200, 429])
def test_status_decides_if_body_is_broken(send: Send, body: str, status: int) -> None:
    head = b"HTTP/1.1 %d X\r\n" % status + BROKEN_BODIES[body]
    handler = type("Handler", (Broken,), {"head": head})
    with socketserver.TCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        result = send(effect(f"http://127.0.0.1:{server.server_address[1]}/"))
        server.shutdown()
    assert isinstance(result, HttpResult), result
    assert result.status == status
