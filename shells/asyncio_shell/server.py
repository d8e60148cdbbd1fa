"""The server on asyncio: moves bytes between sockets and the core's HTTP connections."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from openqoe.core.http import ConnectionSet, Response

from ..net import sockets
from ..net.connection_counts import HEAD_START
from ..net.listeners import Listeners
from ..net.tcp_info import kernel_queue_ms
from ..service.clock import now_ms
from .service import Service


class Server:
    """Accepts connections for a service."""

    def __init__(self, service: Service, listeners: Listeners) -> None:
        self.service = service
        self.http = ConnectionSet(
            service.worker.config,
            service.refuse,
            is_secure=listeners.tls is not None,
            on_change=listeners.note_connections,
        )
        self.connections: set[ServerConnection] = set()
        self._listeners = listeners
        self._opening: set[asyncio.Task[None]] = set()
        self._stopping = False

    def listen(self) -> None:
        """Start to accept."""
        self._listeners.note_connections(0)
        for one in self._listeners.sockets:
            one.setblocking(False)
            self._watch(one)

    async def close(self, timeout: float) -> None:
        """Stop accepting, and let open requests finish for at most ``timeout`` s."""
        loop = asyncio.get_running_loop()
        for one in self._listeners.sockets:
            loop.remove_reader(one)
        self._stopping = True
        self._listeners.close()
        self.http.stop(now_ms())
        for connection in tuple(self.connections):
            connection.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if self._opening:  # accepted just before
                    await asyncio.wait(self._opening)
                while self.connections:
                    await asyncio.wait([connection.closed for connection in self.connections])
        for connection in tuple(self.connections):
            connection.abort()

    def _watch(self, listener: socket.socket) -> None:
        if not self._stopping:
            asyncio.get_running_loop().add_reader(listener, self._accept_in_turn, listener)

    def _accept_in_turn(self, listener: socket.socket) -> None:
        """Accept; after a moment if another worker should go first."""
        if most := self._listeners.begin_turn():
            self._accept(listener, most)
        else:
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(HEAD_START, self._accept_late, listener)

    def _accept_late(self, listener: socket.socket) -> None:
        self._watch(listener)
        self._accept(listener, self._listeners.begin_late_turn())

    def _accept(self, listener: socket.socket, most: int) -> None:
        if self._stopping:
            return
        loop = asyncio.get_running_loop()
        try:
            for accepted in sockets.accept_pending(listener, most):
                connection = ServerConnection(self, accepted)  # counts before its TLS handshake
                task = loop.create_task(self._open(connection, accepted))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
        except sockets.NoCapacityError as error:
            self.service.log.error("cannot accept connections", reason=str(error))
            loop.remove_reader(listener)
            loop.call_later(sockets.RETRY_DELAY, self._watch, listener)

    async def _open(self, connection: "ServerConnection", accepted: socket.socket) -> None:
        tls = self._listeners.tls
        if tls is not None and connection.http.should_close:  # not worth a handshake
            accepted.close()
            self.http.close(connection.http)
            return
        seconds = self.service.worker.config.request_timeout / 1000
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else seconds,
            )
        except (OSError, TimeoutError):
            # A client that disconnects, in the TLS handshake for example, is not a fault.
            self.http.close(connection.http)


class ServerConnection(asyncio.Protocol):
    """One connection: moves bytes between a socket and the core."""

    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self._server = server
        self._socket = accepted
        self._service = server.service
        self.http = server.http.open(now_ms(), self._schedule_turn, sockets.peer_address(accepted))
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._lingering: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None
        self._may_write = True
        self._closing = False
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # Callbacks of the transport. A fault in one ends this connection only.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("sslcontext") is None:
            # Pause as soon as the kernel's buffer is full. (Not with TLS: asyncio would never
            # write again, because it holds its own messages back while reading is paused.)
            self._transport.set_write_buffer_limits(high=0)
        self._server.connections.add(self)
        self._guard(self._serve)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._server.http.close(self.http)
        for handle in (self._timer, self._lingering, self._turn):
            if handle is not None:
                handle.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._guard(self._receive, data)

    def eof_received(self) -> bool:
        self._guard(self._receive, b"")
        if self.http.should_close:  # send its last bytes before the transport closes
            self._guard(self._serve)
        # Stay open for answers to requests that came before the end.
        return not self.http.should_close and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._may_write = False
        self.http.pause_writing(now_ms())
        self._transport.pause_reading()
        self._watch_deadline()

    def resume_writing(self) -> None:
        self._may_write = True
        self.http.resume_writing(now_ms())
        self._guard(self._serve)

    def stop(self) -> None:
        """Close if no request is open; the core has stopped accepting requests."""
        self._guard(self._serve)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _guard(self, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(*arguments)
        except Exception:
            self._service.log.exception("connection failed")
            self.abort()

    def _serve(self) -> None:
        """Answer one request; pipelined ones wait for the next turn, so that others are served."""
        self._turn = None
        if self.http.is_lost:
            self.abort()
            return
        if self._closing or not self._may_write:
            return
        now = now_ms()
        request = self.http.next_request(now)
        if request is not None:
            self._service.handle(request, self._answer)
        if data := self.http.data_to_send():
            self._transport.write(data)
        if self.http.should_close:
            self._close()
        elif request is None:
            if self.http.can_receive and self._may_write:
                self._transport.resume_reading()
            self._watch_deadline()

    def _answer(self, response: Response) -> None:
        """Send the answer to the current request; may be called from within ``handle``."""
        self._guard(self._send, response)

    def _send(self, response: Response) -> None:
        if self._closing or self._transport.is_closing():
            return
        self._transport.write(self.http.send_response(response, now_ms()))
        if self.http.is_idle and self._transport.is_reading():  # nothing was sent ahead
            self._watch_deadline()
        else:
            self._schedule_turn()  # which also reads on after the last pipelined request

    def _schedule_turn(self) -> None:
        if self._turn is None:
            self._turn = self._loop.call_soon(self._guard, self._serve)

    def _receive(self, data: bytes) -> None:
        self.http.receive_data(data, now_ms() - kernel_queue_ms(self._socket))
        if self.http.has_pipelined_data:
            self._transport.pause_reading()  # until the current request is answered
        # Not at once: libuv reads on while any of a thousand sockets has data, and neither timers
        # nor listeners would run.
        self._schedule_turn()

    def _watch_deadline(self) -> None:
        # A deadline that moves later is checked when the timer fires: most are never reached.
        deadline = self.http.deadline
        if deadline is None or (self._timer is not None and deadline >= self._timer_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(0, deadline - now_ms()) / 1000
        self._timer = self._loop.call_later(delay, self._guard, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        self.http.handle_timeout(now_ms())
        self._serve()
        self._watch_deadline()

    def _close(self) -> None:
        self._closing = True
        if self._turn is not None:
            self._turn.cancel()
        linger = self.http.linger
        if linger and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
            self._lingering = self._loop.call_later(linger / 1000, self._transport.close)
        else:
            self._transport.close()
