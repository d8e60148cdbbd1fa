"""The server on asyncio: sockets to the core's HTTP connections and back."""

import asyncio
import socket
import ssl
from typing import cast

from openqoe.core.http import Connection, HttpLimits, parser_named
from openqoe.shells.asyncio_shell.service import Service
from openqoe.shells.clock import now_ms
from openqoe.shells.listening import Listening, describe


class Server:
    """Accepts connections for a service."""

    def __init__(self, service: Service, listening: Listening) -> None:
        self.service = service
        config = service.worker.config
        self.limits = HttpLimits.from_config(config)
        self.parser = parser_named(config.http_parser)
        self.stopping = False
        self.max_connections = config.max_connections
        self.connections: set[ServerConnection] = set()
        self._listening = listening
        self._sockets: list[socket.socket] = []
        self._tls: ssl.SSLContext | None = None
        self._accepting: list[asyncio.Server] = []

    def bind(self) -> None:
        """Take the addresses; connections wait from now on.

        Raises:
            OSError: An address cannot be bound, or a TLS file cannot be used.
        """
        self._tls = self._listening.tls()
        self._sockets = self._listening.open()

    async def listen(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            create = loop.create_server if one.family != socket.AF_UNIX else loop.create_unix_server
            accepting = await create(
                lambda: ServerConnection(self),
                sock=one,
                backlog=self._listening.backlog,
                ssl=self._tls,
            )
            self._accepting.append(accepting)

    @property
    def addresses(self) -> list[str]:
        """What is listened on."""
        return [describe(one) for one in self._sockets]

    async def close(self, timeout: float) -> None:
        """Stop accepting, let requests that have begun finish, for at most ``timeout`` s."""
        self.stopping = True
        for accepting in self._accepting:
            accepting.close()
        self._listening.close(self._sockets)
        for connection in tuple(self.connections):
            connection.stop()
        if self.connections:
            closings = [connection.closed for connection in self.connections]
            await asyncio.wait(closings, timeout=timeout)
        for connection in tuple(self.connections):
            connection.abort()


class ServerConnection(asyncio.Protocol):
    """One connection: moves bytes between a socket and the core."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._service = server.service
        self._loop = asyncio.get_running_loop()
        self._http = Connection(
            server.limits, now_ms(), server.parser, refuse=server.service.worker.refuse
        )
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._turn: asyncio.Handle | None = None
        self._may_write = True
        self._closing = False
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.max_connections:
            self._http.turn_away(now_ms())
            self._serve()
        self._watch_deadline()
        if self._server.stopping:
            self.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data, now_ms())
        self._serve()

    def eof_received(self) -> bool:
        self._http.receive_data(b"", now_ms())
        self._serve()
        # Stay open for answers to what came before the end.
        return not self._http.should_close and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._may_write = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._may_write = True
        self._serve()

    def stop(self) -> None:
        """Close unless a request has begun."""
        if self._http.is_idle:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _serve(self) -> None:
        """Answer one request; the next ones wait a turn, for the sake of other clients."""
        self._turn = None
        if self._closing or not self._may_write:
            return
        now = now_ms()
        request = self._http.next_request(now)
        if request is not None:
            response = self._service.handle(request)
            stopping = self._server.stopping
            self._transport.write(self._http.send_response(response, now_ms(), close=stopping))
            self._turn = self._loop.call_soon(self._serve)
        if data := self._http.data_to_send():
            self._transport.write(data)
        if self._http.should_close:
            self._close()
        elif request is None:
            if self._http.can_receive:
                self._transport.resume_reading()
            self._watch_deadline()

    def _watch_deadline(self) -> None:
        # A deadline that moves away is looked at when the timer fires: most are never reached.
        deadline = self._http.deadline
        if deadline is None or (self._timer is not None and deadline >= self._timer_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(0, deadline - now_ms()) / 1000
        self._timer = self._loop.call_later(delay, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._may_write:
            # A client that does not read its answers has no claim on us for longer than one
            # that does not send its requests.
            self.abort()
            return
        self._http.handle_timeout(now_ms())
        self._serve()

    def _close(self) -> None:
        self._closing = True
        if self._turn is not None:
            self._turn.cancel()
        if self._timer is not None:
            self._timer.cancel()
        linger = self._http.linger
        if linger and self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
            self._timer = self._loop.call_later(linger / 1000, self._transport.close)
        else:
            self._transport.close()
