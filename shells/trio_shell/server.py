"""The server on Trio: moves bytes between streams and the core's HTTP connections."""

import math
import socket
from contextlib import suppress

import trio

from openqoe.core.http import ConnectionSet

from ..net import sockets
from ..net.connection_counts import HEAD_START
from ..net.listeners import Listeners
from ..net.tcp_info import kernel_queue_ms
from ..service.clock import now_ms
from .service import Service

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""Exceptions of Trio and of sockets that mean the peer is gone."""

CHUNK = 65536


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
        self._accepting = trio.CancelScope()
        self._accepted = trio.Event()  # set when no connection is accepted any more
        self._all_closed = trio.Event()

    def listen(self, nursery: trio.Nursery) -> None:
        """Start to accept; connections run in the nursery."""
        self._listeners.note_connections(0)
        nursery.start_soon(self._accept_connections, nursery)

    async def close(self, timeout: float) -> None:
        """Stop accepting, and let open requests finish for at most ``timeout`` s."""
        self._accepting.cancel()
        await self._accepted.wait()  # a task that was just woken finishes its accept
        self._listeners.close()
        self.http.stop(now_ms())
        for connection in tuple(self.connections):
            connection.stop()
        with trio.move_on_after(timeout):
            await trio.sleep(0)  # tasks of connections accepted just before start
            while self.connections:
                self._all_closed = trio.Event()
                await self._all_closed.wait()
        for connection in tuple(self.connections):
            connection.abort()

    async def _accept_connections(self, connections: trio.Nursery) -> None:
        try:
            with self._accepting:
                async with trio.open_nursery() as listeners:
                    for one in self._listeners.sockets:
                        one.setblocking(False)
                        listeners.start_soon(self._accept, one, connections)
        finally:
            self._accepted.set()

    async def _accept(self, listener: socket.socket, connections: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            most = self._listeners.begin_turn()
            if not most:  # another worker should go first
                await trio.sleep(HEAD_START)
                most = self._listeners.begin_late_turn()
            try:
                for accepted in sockets.accept_pending(listener, most):
                    connection = ServerConnection(self, accepted, self._stream(accepted))
                    connections.start_soon(self._serve, connection)
            except sockets.NoCapacityError as error:
                self.service.log.error("cannot accept connections", reason=str(error))
                await trio.sleep(sockets.RETRY_DELAY)

    def _stream(self, accepted: socket.socket) -> Stream:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
        tls = self._listeners.tls
        if tls is None:
            return stream
        return trio.SSLStream(stream, tls, server_side=True, https_compatible=True)

    async def _serve(self, connection: "ServerConnection") -> None:
        self.connections.add(connection)
        try:
            await connection.run()
        except Exception:
            # A fault ends this connection only.
            self.service.log.exception("connection failed")
        finally:
            self.connections.discard(connection)
            if not self.connections:
                self._all_closed.set()


class ServerConnection:
    """One connection: moves bytes between a stream and the core.

    Trio's reads and writes, with a cancel scope around each, cost more than a whole refused
    request. So one scope serves all requests until its deadline, and without TLS the socket is read
    and written directly.
    """

    def __init__(self, server: Server, accepted: socket.socket, stream: Stream) -> None:
        self._server = server
        self._service = server.service
        self._stream = stream
        self._socket = accepted
        self._is_plain = isinstance(stream, trio.SocketStream)
        self._life = trio.CancelScope()
        self._turn = trio.CancelScope()
        self._due: int | None = None  # its deadline, ms since the epoch
        self._is_receiving = False
        self._http = server.http.open(
            now_ms(), self._follow_eviction, sockets.peer_address(accepted)
        )

    async def run(self) -> None:
        """Serve until the connection closes."""
        try:
            with self._life:
                if not (self._is_plain or await self._shake_hands()):
                    return
                while not self._http.should_close:
                    await self._serve_until_due()
                    self._http.handle_timeout(now_ms())
                await self._serve()
                await self._close()
        except GONE:
            pass
        finally:
            self._server.http.close(self._http)
            await trio.aclose_forcefully(self._stream)

    async def _shake_hands(self) -> bool:
        """Do the TLS handshake; return whether it succeeded in time."""
        if self._http.should_close:  # there are too many connections: not worth a handshake
            return False
        assert isinstance(self._stream, trio.SSLStream)
        seconds = self._service.worker.config.request_timeout / 1000
        self._is_receiving = True
        try:
            with trio.move_on_after(seconds) as self._turn:
                await self._stream.do_handshake()
                return True
        finally:
            self._is_receiving = False
        return False

    def stop(self) -> None:
        """Close if no request is open; the core has stopped accepting requests."""
        if not self._is_receiving:
            return
        if self._http.should_close:
            self._turn.cancel()
        else:
            self._watch_deadline()

    def abort(self) -> None:
        """Close at once."""
        self._life.cancel()

    def _follow_eviction(self) -> None:
        """Act on the eviction of this connection's request by another one."""
        if self._http.is_lost:
            self.abort()
        elif self._is_receiving:
            self._turn.cancel()

    async def _serve_until_due(self) -> None:
        """Serve until the connection closes or its deadline may have come."""
        self._due = None
        with trio.CancelScope() as self._turn:
            while not self._turn.cancel_called:
                await self._serve()
                if self._http.should_close:
                    return
                self._watch_deadline()
                await self._receive()

    def _watch_deadline(self) -> None:
        """Set the scope's deadline if it moves earlier. One that moves later is checked when the
        earlier one fires: most are never reached."""
        deadline = self._http.deadline
        if deadline is not None and (self._due is None or deadline < self._due):
            self._due = deadline
            self._turn.deadline = trio.current_time() + max(0, deadline - now_ms()) / 1000

    def _lift_deadline(self) -> None:
        """Lift the scope's deadline, during a wait that has its own or none."""
        self._due, self._turn.deadline = None, math.inf

    async def _serve(self) -> None:
        """Answer all complete requests."""
        while (request := self._http.next_request(now_ms())) is not None:
            response = await self._service.answer(request, self._lift_deadline)
            await self._send(self._http.send_response(response, now_ms()))
            if not self._http.is_idle:  # serve others between pipelined requests
                await trio.lowlevel.checkpoint()
        if data := self._http.data_to_send():
            await self._send(data)

    async def _receive(self) -> None:
        """Wait for data."""
        self._is_receiving = True
        try:
            if self._is_plain:
                await trio.lowlevel.wait_readable(self._socket)
                data = self._socket.recv(CHUNK)
            else:
                data = bytes(await self._stream.receive_some(CHUNK))
        except BlockingIOError:
            return
        finally:
            self._is_receiving = False
        self._http.receive_data(data, now_ms() - kernel_queue_ms(self._socket))

    async def _send(self, data: bytes) -> None:
        if self._is_plain:
            with suppress(BlockingIOError):
                data = data[self._socket.send(data) :]
            if not data:
                return
        self._lift_deadline()
        self._http.pause_writing(now_ms())
        with trio.move_on_after(self._time_left()):
            await self._stream.send_all(data)
            self._http.resume_writing(now_ms())
            return
        self.abort()
        await trio.lowlevel.checkpoint()

    def _time_left(self) -> float:
        """Seconds until the deadline."""
        deadline = self._http.deadline
        return math.inf if deadline is None else max(0, deadline - now_ms()) / 1000

    async def _close(self) -> None:
        linger = self._http.linger
        if linger and isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()
            with trio.move_on_after(linger / 1000):
                while await self._stream.receive_some(CHUNK):
                    pass
        with trio.move_on_after(1):
            await self._stream.aclose()
