"""The link of a worker to the other workers of its host: forwards, and takes their requests.

One connection to each slot carries all that is forwarded to it. Connections are plain sockets that
do not block; ``SocketEvents`` of the shell says when they can be used. Everything here belongs to
one event loop.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from openqoe.core.effects import Forward, HttpResult, NetworkFailure
from openqoe.core.http.messages import Response

from ..service.clock import monotonic
from ..storage import Slot, StorageError
from . import peer_frames, peer_socket, sockets

TIMEOUT = 10.0
"""Seconds that another worker may take for an answer. It may be stopped, or restoring its state."""

CHECK_INTERVAL = 1.0
"""Seconds between two looks at the file of the socket, which may have been deleted, and at the
requests that wait for too long."""

ACCEPT_BATCH = 16
"""Maximum number of connections that are accepted in a turn of the event loop."""

CHUNK = 65_536
"""Maximum bytes that are received at a time."""

ForwardCallback = Callable[[Forward, HttpResult | NetworkFailure], None]
Answer = Callable[[Response], None]
HandlePeer = Callable[[bytes, Answer], None]
"""Passes a request to the worker, which calls the second argument once with the answer."""


class SocketEvents(Protocol):
    """What the link needs of an event loop. The callbacks never raise."""

    def on_readable(self, one: socket.socket, callback: Callable[[], None]) -> None:
        """Call back whenever a socket can be read, until ``forget``."""
        ...

    def on_writable(self, one: socket.socket, callback: Callable[[], None]) -> None:
        """Call back once, when a socket can be written, unless ``forget`` comes first."""
        ...

    def forget(self, one: socket.socket) -> None:
        """End all callbacks for a socket; call it before the socket is closed."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back after the current callbacks."""
        ...

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back after a time, if the loop still runs then."""
        ...


class PeerLink:
    """The link of the owner of a slot.

    Args:
        slot: The slot; the folders of the other slots are beside its own.
        timeout: Seconds that another worker may take for an answer.
    """

    def __init__(self, slot: Slot, timeout: float = TIMEOUT) -> None:
        self._slot = slot
        self._folder = slot.path.parent
        self._timeout = timeout
        self._owners: dict[str, _Owner] = {}
        self._served: set[_Channel] = set()
        self._identity: tuple[int, int] | None = None  # of the file on which it listens
        self._listener: socket.socket | None = None
        self._is_closed = False

    def start(self, events: SocketEvents, report: ForwardCallback, handle: HandlePeer) -> None:
        """Begin to forward and to accept.

        Args:
            events: The event loop.
            report: Receives the result of each ``Forward``.
            handle: Handles the requests of other workers.

        Raises:
            StorageError: The socket cannot be created.
        """
        self._events = events
        self._report = report
        self._handle = handle
        try:
            self._listen()
        except OSError as error:
            raise StorageError(f"cannot create the socket of the slot: {error}") from None
        events.later(CHECK_INTERVAL, self._check)

    def submit(self, effect: Forward) -> None:
        """Forward a body. Never blocks, and never reports before it returns."""
        owner = self._owners.get(effect.destination)
        if owner is None:
            folder = self._folder.parent / effect.destination
            owner = self._owners[effect.destination] = _Owner(folder, self._events, self._report)
        owner.submit(effect)

    def close(self) -> None:
        """Accept nothing more; requests under way get no answer, and are sent again."""
        self._is_closed = True
        self._close_listener()
        for channel in tuple(self._served):
            channel.close()
        for owner in self._owners.values():
            owner.close()

    def _listen(self) -> None:
        """Listen on the socket of the slot.

        Raises:
            OSError: The socket cannot be created.
        """
        listener = peer_socket.listen(self._folder)
        listener.setblocking(False)
        self._identity = peer_socket.identify(self._folder)
        self._close_listener()
        self._listener = listener
        self._events.on_readable(listener, partial(self._accept, listener))

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._events.forget(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            for accepted in sockets.accept_pending(listener, ACCEPT_BATCH):
                self._serve(accepted)
        except sockets.NoCapacityError:
            self._events.forget(listener)
            self._events.later(sockets.RETRY_DELAY, partial(self._resume_accepting, listener))

    def _resume_accepting(self, listener: socket.socket) -> None:
        if listener is self._listener:
            self._events.on_readable(listener, partial(self._accept, listener))

    def _serve(self, accepted: socket.socket) -> None:
        channel = _Channel(accepted, self._events)
        self._served.add(channel)

        def handle(frame: peer_frames.Frame) -> None:
            self._handle(frame.body, partial(_answer, channel, frame.number))

        channel.start(handle, lambda: self._served.discard(channel))

    def _check(self) -> None:
        """Listen again if the socket's file was deleted or replaced: no worker could connect."""
        if self._is_closed:
            return
        self._events.later(CHECK_INTERVAL, self._check)
        if peer_socket.identify(self._folder) != self._identity:
            with suppress(OSError):  # next time
                if self._slot.is_intact:  # its folder was not deleted, and created by another
                    self._listen()
        for owner in self._owners.values():
            owner.check(self._timeout)


def _answer(channel: "_Channel", number: int, response: Response) -> None:
    channel.send(peer_frames.encode(number, response.body, response.status))


class _Owner:
    """The owner of another slot: what is forwarded to it, and the connection to it."""

    def __init__(self, folder: Path, events: SocketEvents, report: ForwardCallback) -> None:
        self._folder = folder
        self._events = events
        self._report = report
        self._waiting: dict[int, tuple[Forward, float]] = {}  # and since when, oldest first
        self._channel: _Channel | None = None
        self._has_answered = False  # on this connection

    def submit(self, effect: Forward) -> None:
        """Forward a body."""
        self._waiting[effect.id] = effect, monotonic()
        if self._channel is not None:
            self._channel.send(peer_frames.encode(effect.id, effect.body))
        elif len(self._waiting) == 1:  # with others, it is about to connect
            self._events.soon(self._connect)

    def check(self, timeout: float) -> None:
        """Give up the connection if an answer takes longer than a time."""
        since = next((since for _, since in self._waiting.values()), None)
        if since is not None and since + timeout <= monotonic():
            self._disconnect()
            self._fail("timed out")

    def close(self) -> None:
        """Give up what waits."""
        self._waiting.clear()
        self._disconnect()

    def _connect(self) -> None:
        if self._channel is not None or not self._waiting:
            return
        try:
            connection = peer_socket.connect(self._folder, 0)
        except OSError as error:
            self._fail(str(error) or type(error).__name__)
            return
        self._has_answered = False
        self._channel = _Channel(connection, self._events)
        self._channel.start(self._finish, self._note_end)
        for effect, _ in self._waiting.values():
            self._channel.send(peer_frames.encode(effect.id, effect.body))

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _finish(self, frame: peer_frames.Frame) -> None:
        self._has_answered = True
        waiting = self._waiting.pop(frame.number, None)
        if waiting is not None:
            self._report(waiting[0], HttpResult(frame.status, body=frame.body))

    def _note_end(self) -> None:
        self._channel = None
        if self._has_answered:
            self._connect()  # its owner was replaced: once more, on a new connection
        else:
            self._fail("the owner of the slot has closed the connection")

    def _fail(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for effect, _ in waiting.values():
            self._report(effect, NetworkFailure(reason))


class _Channel:
    """A connection that carries frames in both directions."""

    def __init__(self, connection: socket.socket, events: SocketEvents) -> None:
        self._socket = connection
        self._events = events
        self._reader = peer_frames.FrameReader()
        self._unsent = bytearray()
        self._is_closed = False

    def start(
        self, on_frame: Callable[[peer_frames.Frame], None], on_end: Callable[[], None]
    ) -> None:
        """Begin to receive.

        Args:
            on_frame: Receives each frame.
            on_end: Called if the connection ends, unless this side has closed it.
        """
        self._on_frame = on_frame
        self._on_end = on_end
        self._socket.setblocking(False)
        self._events.on_readable(self._socket, self._receive)

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        # At once: frames gathered until the end of the turn would reach the other worker after all
        # requests of this turn, and in the meantime it may have nothing to do.
        is_waiting = bool(self._unsent)
        self._unsent += frame
        if not is_waiting:
            self._send()

    def close(self) -> None:
        """Close the connection."""
        if not self._is_closed:
            self._is_closed = True
            self._events.forget(self._socket)
            self._socket.close()

    def _end(self) -> None:
        if not self._is_closed:
            self.close()
            self._on_end()

    def _send(self) -> None:
        if self._is_closed:
            return
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._events.soon(self._end)  # not from within the caller of ``send``
            return
        del self._unsent[:sent]
        if self._unsent:
            self._events.on_writable(self._socket, self._send)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
            for frame in self._reader.receive(data):
                self._on_frame(frame)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data = b""
        if not data:
            self._end()
