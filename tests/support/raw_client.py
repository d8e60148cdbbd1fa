"""A client that sends requests as raw bytes, valid or not, and the encoders of such requests."""

import socket
import struct
import time
from typing import NamedTuple, Self

from tests.support.services import PATIENCE
from tests.support.worker_process import WorkerProcess


class RawResponse(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """One connection that sends and receives raw bytes. A context manager."""

    def __init__(self, port: int, timeout: float = PATIENCE) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def half_close(self) -> None:
        """Close the sending side only."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def read_response(self) -> RawResponse:
        """Read one response with a Content-Length.

        Raises:
            ConnectionError: The connection closed before the response was complete.
        """
        while b"\r\n\r\n" not in self._buffer:
            self._receive_more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            self._receive_more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return RawResponse(int(first.split()[1]), headers, body)

    def is_closed(self) -> bool:
        """Whether the server closes the connection without sending another byte."""
        try:
            return not self._buffer and self._socket.recv(1) == b""
        except ConnectionError:
            return True

    def _receive_more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {self._buffer[:200]!r}")
        self._buffer += data


def encode_post(body: bytes, *headers: str, path: str = "/v1/events", length: bool = True) -> bytes:
    """A POST as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def encode_get(path: str, *headers: str) -> bytes:
    """A GET as bytes."""
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: test", *headers, "", "")).encode("latin-1")


def encode_chunked(body: bytes, size: int = 65536) -> bytes:
    """A body in the chunked transfer coding."""
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def assert_stop_finishes_request(worker: WorkerProcess, body: bytes) -> None:
    """Stop a worker in the middle of a request, and assert that the request is accepted and that an
    idle connection closes at once.
    """
    whole = encode_post(body)
    with RawClient(worker.port) as client, RawClient(worker.port) as idle:
        idle.send(encode_get("/health"))
        idle.read_response()
        client.send(whole[:-5])
        time.sleep(0.3)
        assert worker.process is not None
        worker.process.send_signal(worker.stop_signal)
        assert idle.is_closed()
        client.send(whole[-5:])
        response = client.read_response()
        assert (response.status, response.headers["connection"]) == (202, "close")
