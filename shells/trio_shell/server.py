"""The server on Trio: streams to the core's HTTP connections and back."""

import socket
import ssl

import trio

from openqoe.core.http import Connection, HttpLimits, parser_named
from openqoe.shells.clock import now_ms
from openqoe.shells.listening import Listening, describe
from openqoe.shells.trio_shell.service import Service

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionError)
"""What Trio raises when the peer has gone away."""

CHUNK = 65536


class Server:
    """Accepts connections for a service."""

    def __init__(self, service: Service, listening: Listening) -> None:
        self.service = service
        config = service.worker.config
        self.limits = HttpLimits.from_config(config)
        self.parser = parser_named(config.http_parser)
        self.max_connections = config.max_connections
        self.stopping = False
        self.connections: set[ServerConnection] = set()
        self._listening = listening
        self._sockets: list[socket.socket] = []
        self._tls: ssl.SSLContext | None = None
        self._accepting = trio.CancelScope()
        self._all_closed = trio.Event()

    def bind(self) -> None:
        """Take the addresses; connections wait from now on.

        Raises:
            OSError: An address cannot be bound, or a TLS file cannot be used.
        """
        self._tls = self._listening.tls()
        self._sockets = self._listening.open()

    async def listen(self, nursery: trio.Nursery) -> None:
        """Begin to accept; connections live in the nursery."""
        tls = self._tls
        listeners = [
            trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in self._sockets
        ]

        async def accept() -> None:
            with self._accepting:
                if tls is None:
                    await trio.serve_listeners(self._serve, listeners, handler_nursery=nursery)
                else:
                    secure = [
                        trio.SSLListener(one, tls, https_compatible=True) for one in listeners
                    ]
                    await trio.serve_listeners(self._serve, secure, handler_nursery=nursery)

        nursery.start_soon(accept)

    @property
    def addresses(self) -> list[str]:
        """What is listened on."""
        return [describe(one) for one in self._sockets]

    async def close(self, timeout: float) -> None:
        """Stop accepting, let requests that have begun finish, for at most ``timeout`` s."""
        self.stopping = True
        self._accepting.cancel()
        self._listening.close(self._sockets)
        for connection in tuple(self.connections):
            connection.stop()
        with trio.move_on_after(timeout):
            while self.connections:
                self._all_closed = trio.Event()
                await self._all_closed.wait()
        for connection in tuple(self.connections):
            connection.abort()

    async def _serve(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        connection = ServerConnection(self, stream)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)
            if not self.connections:
                self._all_closed.set()


class ServerConnection:
    """One connection: moves bytes between a stream and the core."""

    def __init__(
        self, server: Server, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    ) -> None:
        self._server = server
        self._service = server.service
        self._stream = stream
        self._http = Connection(
            server.limits, now_ms(), server.parser, refuse=server.service.worker.refuse
        )
        self._life = trio.CancelScope()
        self._waiting: trio.CancelScope | None = None

    async def run(self) -> None:
        """Serve until the connection closes."""
        if len(self._server.connections) > self._server.max_connections:
            self._http.turn_away(now_ms())
        with self._life:
            try:
                while not self._http.should_close:
                    await self._serve()
                    if self._server.stopping and self._http.is_idle:
                        break
                    if not self._http.should_close:
                        await self._receive()
                await self._serve()
                await self._close()
            except GONE:
                pass
        await trio.aclose_forcefully(self._stream)

    def stop(self) -> None:
        """Close unless a request has begun, or its answer is still on the way."""
        if self._http.is_idle and self._waiting is not None:
            self._waiting.cancel()

    def abort(self) -> None:
        """Close at once."""
        self._life.cancel()

    async def _serve(self) -> None:
        """Answer the requests that are complete."""
        while (request := self._http.next_request(now_ms())) is not None:
            response = self._service.handle(request)
            stopping = self._server.stopping
            await self._send(self._http.send_response(response, now_ms(), close=stopping))
            await trio.lowlevel.checkpoint()  # between pipelined requests, too
        if data := self._http.data_to_send():
            await self._send(data)

    async def _receive(self) -> None:
        """Wait for data, or for the deadline."""
        deadline = self._http.deadline
        seconds = 0.0 if deadline is None else max(0, deadline - now_ms()) / 1000
        data = b""  # if the server stops: as if the client had closed
        with trio.move_on_after(seconds) as self._waiting:
            data = bytes(await self._stream.receive_some(CHUNK))
        timed_out = self._waiting.cancelled_caught and not self._server.stopping
        self._waiting = None
        if timed_out:
            self._http.handle_timeout(now_ms())
        else:
            self._http.receive_data(data, now_ms())

    async def _send(self, data: bytes) -> None:
        # A client that does not read its answers has no claim on us for longer than one
        # that does not send its requests.
        with trio.move_on_after(self._server.limits.request_timeout / 1000) as sending:
            await self._stream.send_all(data)
        if sending.cancelled_caught:
            self._life.cancel()
            await trio.lowlevel.checkpoint()

    async def _close(self) -> None:
        linger = self._http.linger
        if linger and isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()
            with trio.move_on_after(linger / 1000):
                while await self._stream.receive_some(CHUNK):
                    pass
        with trio.move_on_after(1):
            await self._stream.aclose()
