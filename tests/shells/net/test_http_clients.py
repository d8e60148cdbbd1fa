"""The clients of all shells: unsendable requests are failures, answers of any form are results."""

import asyncio
import gc
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import anyio
import pytest
import trio

from openqoe.core import HttpResult, NetworkFailure, RemoteWrite
from openqoe.shells.asyncio_shell.client import Client as AiohttpClient
from openqoe.shells.net.http_results import MAX_ANSWER
from openqoe.shells.trio_shell.client import Client as HttpxClient
from openqoe.shells.wsgi_shell.client import Client as WsgiClient

TIMEOUT = 2000


async def send_once(
    client: AiohttpClient | HttpxClient, effect: RemoteWrite
) -> HttpResult | NetworkFailure:
    await client.open()
    try:
        return await client.send(effect)
    finally:
        await client.close()


def by_asyncio_shell(effect: RemoteWrite) -> HttpResult | NetworkFailure:
    return asyncio.run(send_once(AiohttpClient(TIMEOUT), effect))


def by_trio_shell(effect: RemoteWrite) -> HttpResult | NetworkFailure:
    return trio.run(send_once, HttpxClient(TIMEOUT), effect)


def by_wsgi_shell(effect: RemoteWrite) -> HttpResult | NetworkFailure:
    return asyncio.run(send_once(WsgiClient(TIMEOUT), effect))


CLIENTS = (by_asyncio_shell, by_trio_shell, by_wsgi_shell)

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
        with suppress(ConnectionError):  # the client has read enough
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


BODIES = {
    "truncated": b"Content-Length: 100\r\n\r\nhalf",
    "truncated chunk": b"Transfer-Encoding: chunked\r\n\r\n100\r\nhalf",
    "empty": b"Content-Length: 0\r\n\r\n",
    "without length": b"Connection: close\r\n\r\nhalf",
    **{
        f"badly encoded {coding}": b"Content-Encoding: %s\r\nContent-Length: 4\r\n\r\nhalf"
        % coding.encode()
        for coding in ("gzip", "br", "zstd", "unknown")
    },
    # Valid frames, in codings for which a client may lack the decoder.
    "br": b"Content-Encoding: br\r\nContent-Length: 8\r\n\r\n\x0b\x01\x80half\x03",
    "zstd": b"Content-Encoding: zstd\r\nContent-Length: 13\r\n\r\n"
    b"\x28\xb5\x2f\xfd\x20\x04\x21\x00\x00half",
}


class Scripted(socketserver.StreamRequestHandler):
    """Answers with given bytes, and repeats the last part until the client closes."""

    answer = b""
    repeated = b""
    pause = 0.0

    def handle(self) -> None:
        self.request.recv(65_536)
        self.wfile.write(self.answer)
        with suppress(OSError):
            while self.repeated:
                self.wfile.write(self.repeated)
                time.sleep(self.pause)


def answered(send: Send, **handler: bytes | float) -> HttpResult | NetworkFailure:
    """The result of a request that is answered by a handler with these attributes."""
    scripted = type("Handler", (Scripted,), handler)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), scripted) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        result = send(effect(f"http://127.0.0.1:{server.server_address[1]}/"))
        server.shutdown()
    return result


@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [200, 429])
def test_status_decides_whatever_the_body(send: Send, body: str, status: int) -> None:
    result = answered(send, answer=b"HTTP/1.1 %d X\r\n" % status + BODIES[body])
    assert isinstance(result, HttpResult), result
    assert result.status == status


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

FORBIDDEN = {
    "204 with length": b"HTTP/1.1 204 X\r\nContent-Length: 4\r\n\r\nbody",
    "204 with chunks": b"HTTP/1.1 204 X\r\n" + CHUNKED + b"4\r\nbody\r\n0\r\n\r\n",
    "malformed chunk": b"HTTP/1.1 200 X\r\n" + CHUNKED + b"body\r\n",
    "malformed chunk of an error": b"HTTP/1.1 503 X\r\n" + CHUNKED + b"body\r\n",
    "interim answer before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 X\r\n\r\nbody",
    "long header": b"HTTP/1.1 204 X\r\nSet-Cookie: %b\r\n\r\n" % (b"x" * 60_000),
    "long reason": b"HTTP/1.1 204 %b\r\n\r\n" % (b"x" * 60_000),
}


@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize("answer", FORBIDDEN)
def test_complete_head_decides_whatever_its_length_and_what_follows(
    send: Send, answer: str
) -> None:
    """aiohttp's parser discards the head with the body if both arrive at once."""
    result = answered(send, answer=FORBIDDEN[answer])
    assert isinstance(result, HttpResult), result
    assert b"HTTP/1.1 %d " % result.status in FORBIDDEN[answer]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize("framing", ["Connection: close", "Content-Length: 999999999"])
def test_body_of_a_success_that_does_not_end_delays_no_delivery(send: Send, framing: str) -> None:
    began = time.monotonic()
    head = f"HTTP/1.1 200 X\r\n{framing}\r\n\r\n".encode()
    result = answered(send, answer=head, repeated=b"x", pause=0.05)
    gc.collect()
    assert isinstance(result, HttpResult), result
    assert result.status == 200
    assert time.monotonic() - began < TIMEOUT / 1000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize(
    ("repeated", "pause", "framing"),
    [
        (b"x" * 65_536, 0.0, "Connection: close"),
        (b"x" * 65_536, 0.0, "Content-Length: 999999999999"),
        (b"x", 0.05, "Connection: close"),
    ],
    ids=["fast", "fast, with length", "slow"],
)
def test_endless_body_ends_at_the_limit_or_the_timeout(
    send: Send, repeated: bytes, pause: float, framing: str
) -> None:
    began = time.monotonic()
    head = f"HTTP/1.1 503 X\r\n{framing}\r\n\r\n".encode()
    result = answered(send, answer=head, repeated=repeated, pause=pause)
    gc.collect()
    assert isinstance(result, HttpResult), result
    assert result.status == 503
    assert len(result.body) <= MAX_ANSWER
    assert time.monotonic() - began < 20


class Hanging(socketserver.BaseRequestHandler):
    """Answers a request that asks for it; the others never."""

    released = threading.Event()

    def handle(self) -> None:
        if b"/now" in self.request.recv(65_536):
            self.request.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        else:
            self.released.wait(10)


async def send_behind_hung_requests(
    client: AiohttpClient | HttpxClient, url: str, start: Callable[..., object]
) -> HttpResult | NetworkFailure:
    for _ in range(130):
        start(client.send, effect(f"{url}hang"))
    await anyio.sleep(0.3)
    return await client.send(effect(f"{url}now"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [AiohttpClient, HttpxClient, WsgiClient])
def test_requests_of_other_tenants_that_hang_hold_up_none(
    kind: type[AiohttpClient] | type[HttpxClient] | type[WsgiClient],
) -> None:
    async def run() -> HttpResult | NetworkFailure:
        client = kind(TIMEOUT)
        await client.open()
        try:
            async with anyio.create_task_group() as tasks:
                result = await send_behind_hung_requests(client, url, tasks.start_soon)
                Hanging.released.set()
            return result
        finally:
            await client.close()

    Hanging.released = threading.Event()

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 200
        daemon_threads = True

    with Server(("127.0.0.1", 0), Hanging) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            backend = "trio" if kind is HttpxClient else "asyncio"
            result = anyio.run(run, backend=backend)
        finally:
            Hanging.released.set()
            server.shutdown()
            thread.join()
    assert isinstance(result, HttpResult), result
