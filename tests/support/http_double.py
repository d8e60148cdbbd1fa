"""The HTTP server of the receiver doubles: recording, authentication, scripted faults.

A double is a context manager that listens on a free loopback port. It records every request; then
the next scripted fault, if any, replaces its normal response. A fault can process the request and
lose only the response (`processed=True`), so that a test can check a retry.

    with LokiDouble() as loki:
        loki.fail_with(503, times=2)           # two refusals, then normal service
        loki.hang(30)                          # ... no response for 30 s, or until stop()
        loki.drop_connection(processed=True)   # ... one is stored, but its response is lost
        loki.stop(); ...; loki.start()         # closed port; then the same port and state again
"""

from __future__ import annotations

import base64
import socket
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.services import wait_until


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as received; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    """time.monotonic() when the body was complete."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response of the double."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Fault:
    """A scripted fault; `remaining` is None for one that lasts until clear_faults()."""

    remaining: int | None
    reply: Reply | None
    wait: float
    processed: bool


def system_now_ms() -> int:
    """The default clock of a double."""
    return time.time_ns() // 1_000_000


class HttpDouble(ABC):
    """A scriptable HTTP server; the subclass defines its normal responses."""

    def __init__(
        self,
        *,
        now_ms: Callable[[], int] = system_now_ms,
        basic_auth: tuple[str, str] | None = None,
        max_body_bytes: int | None = None,
    ) -> None:
        self.now_ms = now_ms
        self.basic_auth = basic_auth
        self.max_body_bytes = max_body_bytes
        self.requests: list[ReceivedRequest] = []
        self.replies: list[int] = []
        """Status of each response, in order; 0 for a connection closed without one."""
        self._faults: deque[_Fault] = deque()
        self._lock = threading.RLock()
        self._server: _Server | None = None
        self._port = 0

    @abstractmethod
    def respond(self, request: ReceivedRequest) -> Reply:
        """The response of a healthy receiver. Called by one thread at a time."""

    # --- lifecycle --------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen; after a stop() on the same port and with the same recorded requests."""
        if self._server is not None:
            raise RuntimeError("the double is already running")
        self._server = _Server(self, self._port)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def stop(self) -> None:
        """Close the port and every connection, at once. A no-op when not running."""
        server, self._server = self._server, None
        if server is not None:
            server.close_all()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`, constant from the first start on."""
        return f"http://127.0.0.1:{self._port}"

    # --- faults -----------------------------------------------------------------------------------

    def fail_with(
        self,
        status: int,
        *,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
        body: str | bytes = b"",
        processed: bool = False,
    ) -> None:
        """Answer the next `times` requests (None: all until clear_faults()) with this response.

        The double stores nothing of them unless `processed` is set.
        """
        data = body.encode() if isinstance(body, str) else body
        self._add_fault(_Fault(times, Reply(status, data, headers or {}), 0.0, processed))

    def hang(self, seconds: float, *, times: int | None = 1, processed: bool = False) -> None:
        """Send no response for some seconds, then close the connection."""
        self._add_fault(_Fault(times, None, seconds, processed))

    def drop_connection(self, *, times: int | None = 1, processed: bool = False) -> None:
        """Read the request, then close the connection without a response.

        For a refused connection use stop().
        """
        self._add_fault(_Fault(times, None, 0.0, processed))

    def clear_faults(self) -> None:
        """Remove the remaining faults."""
        with self._lock:
            self._faults.clear()

    def _add_fault(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _next_fault(self) -> _Fault | None:
        if not self._faults:
            return None
        fault = self._faults[0]
        if fault.remaining is not None:
            fault.remaining -= 1
            if fault.remaining == 0:
                self._faults.popleft()
        return fault

    # --- requests ---------------------------------------------------------------------------------

    @property
    def request_count(self) -> int:
        """Number of requests so far, refused ones included."""
        return len(self.requests)

    def wait_for_requests(self, count: int) -> None:
        """Wait until at least `count` requests are answered or dropped."""
        wait_until(lambda: len(self.replies) >= count, description=f"{count} requests")

    def _handle(self, request: ReceivedRequest) -> tuple[Reply | None, float]:
        """The response (None: close the connection) and the delay before it in s."""
        with self._lock:
            self.requests.append(request)
            fault = self._next_fault()
            if fault is not None:
                if fault.processed:
                    self._checked_respond(request)
                return fault.reply, fault.wait
            return self._checked_respond(request), 0.0

    def _checked_respond(self, request: ReceivedRequest) -> Reply:
        if self.basic_auth is not None:
            expected = base64.b64encode(":".join(self.basic_auth).encode()).decode()
            if request.headers.get("authorization") != f"Basic {expected}":
                return Reply(401, b"Unauthorized\n", {"WWW-Authenticate": "Basic"})
        if self.max_body_bytes is not None and len(request.body) > self.max_body_bytes:
            return Reply(413, b"request body too large\n")
        try:
            return self.respond(request)
        except Exception:
            return Reply(500, f"the double failed:\n{traceback.format_exc()}".encode())

    def _record_reply(self, status: int) -> None:
        with self._lock:
            self.replies.append(status)


class _Server(ThreadingHTTPServer):
    """Tracks its connections, so that closing it also ends those that are kept alive."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, double: HttpDouble, port: int) -> None:
        self.double = double
        self.closing = threading.Event()
        self.connections: set[socket.socket] = set()
        self.connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.connections_lock:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.connections_lock:
            self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected."""

    def close_all(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        with self.connections_lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Handler(BaseHTTPRequestHandler):
    """Passes requests to the double and sends its responses."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def _serve(self) -> None:
        length = self.headers.get("Content-Length")
        if length is None and self.headers.get("Transfer-Encoding"):
            self._send(Reply(411, b"Length Required\n"))
            return
        body = self.rfile.read(int(length or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = ReceivedRequest(self.command, self.path, headers, body, time.monotonic())
        reply, wait = self.server.double._handle(request)
        if wait:
            self.server.closing.wait(wait)
        if reply is None or self.server.closing.is_set():
            self.close_connection = True
            self.server.double._record_reply(0)
        else:
            self._send(reply)

    def __getattr__(self, name: str) -> Any:
        """Serve all methods alike: the base class looks up `do_GET`, `do_POST` and so on."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _send(self, reply: Reply) -> None:
        self.server.double._record_reply(reply.status)
        headers = {"Content-Type": "text/plain; charset=utf-8", **reply.headers}
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if reply.status != 204 and self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
