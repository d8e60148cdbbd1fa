"""The link of a worker to the other workers of its host: forwards batches, and takes requests.

Threads do the work, so that it is the same under every runtime: one for each slot that batches are
forwarded to, so that one slot that does not answer delays no other; one that accepts connections,
and one for each of these. They are few, since a worker sends another at most one request at a time.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import sleep

from openqoe.core.effects import Forward, HttpResult, NetworkFailure
from openqoe.core.http.messages import Response

from . import peer_socket

TIMEOUT = 10.0
"""Seconds that another worker may take for an answer. It may be stopped, or restoring its state."""

CHECK_INTERVAL = 1.0
"""Seconds between two looks at the file of the socket, which may have been deleted."""

ACCEPT_PAUSE = 0.2
"""Seconds until the next attempt to accept a connection after one that failed."""

ANSWER_TIMEOUT = 60.0
"""Seconds that the own worker may take for an answer: an erasure delivers first."""

UNAVAILABLE = Response(503)

ForwardCallback = Callable[[Forward, HttpResult | NetworkFailure], None]
Answer = Callable[[Response], None]
HandlePeer = Callable[[bytes, Answer], None]
"""Passes a request to the worker, which calls the second argument once with the answer."""


class PeerLink:
    """The link of the owner of a slot.

    Args:
        folder: Folder of the slot; those of the other slots are beside it.
        is_ours: Whether the folder is still that of the slot that this process owns: it could have
            been deleted, and created again by another process.
        timeout: Seconds that another worker may take for an answer.
    """

    def __init__(self, folder: Path, is_ours: Callable[[], bool], timeout: float = TIMEOUT) -> None:
        self._folder = folder
        self._is_ours = is_ours
        self._timeout = timeout
        self._queues: dict[str, SimpleQueue[Forward | None]] = {}
        self._report: ForwardCallback | None = None
        self._listener: socket.socket | None = None
        self._listener_lock = Lock()
        self._identity: tuple[int, int] | None = None  # of the file on which it listens
        self._connections: set[socket.socket] = set()
        self._closed = False

    def start(self, report: ForwardCallback, handle: HandlePeer) -> None:
        """Begin to forward and to accept. Both callbacks are called by threads of this object.

        Raises:
            OSError: The socket cannot be created.
        """
        self._report = report
        self._listen()
        _start(self._accept_connections, handle)

    def submit(self, effect: Forward) -> None:
        """Forward batches. Never blocks."""
        queue = self._queues.get(effect.destination)
        if queue is None:
            assert self._report is not None, "the link has been started"
            queue = SimpleQueue()
            _start(self._forward, self._folder.parent / effect.destination, queue, self._report)
            self._queues[effect.destination] = queue  # only if there is a thread that reads it
        queue.put(effect)

    def close(self) -> None:
        """Accept nothing more; requests under way get no answer, and are sent again."""
        self._closed = True
        for queue in self._queues.values():
            queue.put(None)
        with self._listener_lock:
            if self._listener is not None:
                with suppress(OSError):  # wakes the thread that accepts
                    self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # Forward

    def _forward(
        self, folder: Path, queue: SimpleQueue[Forward | None], report: ForwardCallback
    ) -> None:
        connection: socket.socket | None = None
        while (effect := queue.get()) is not None and not self._closed:
            was_open = connection is not None
            result: HttpResult | NetworkFailure
            try:
                if connection is None:
                    connection = peer_socket.connect(folder, self._timeout)
                status, body = peer_socket.exchange(connection, effect.body)
                result = HttpResult(status, body=body)
            except OSError as error:
                if connection is not None:
                    connection.close()
                    connection = None
                if was_open and not isinstance(error, TimeoutError):
                    queue.put(effect)  # its owner was replaced: once more, on a new connection
                    continue
                result = NetworkFailure(str(error) or type(error).__name__)
            report(effect, result)
        if connection is not None:
            connection.close()

    # Accept

    def _accept_connections(self, handle: HandlePeer) -> None:
        while not self._closed:
            assert self._listener is not None, "the link has been started"
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                self._renew_listener()
                continue
            except OSError:  # no descriptor is free, if it is open
                sleep(ACCEPT_PAUSE)
                continue
            self._connections.add(connection)
            try:
                _start(self._serve, connection, handle)
            except RuntimeError:  # no thread can be started
                self._connections.discard(connection)
                connection.close()
                sleep(ACCEPT_PAUSE)

    def _listen(self) -> None:
        """Listen on the socket of the slot.

        Raises:
            OSError: The socket cannot be created.
        """
        listener = peer_socket.listen(self._folder)
        listener.settimeout(CHECK_INTERVAL)
        self._identity = peer_socket.identify(self._folder)
        if self._listener is not None:
            self._listener.close()
        self._listener = listener

    def _renew_listener(self) -> None:
        """Listen again if the socket's file was deleted or replaced: no worker could connect."""
        if peer_socket.identify(self._folder) == self._identity:
            return
        with self._listener_lock, suppress(OSError):  # next time
            if not self._closed and self._is_ours():
                self._listen()

    def _serve(self, connection: socket.socket, handle: HandlePeer) -> None:
        answers: SimpleQueue[Response] = SimpleQueue()
        try:
            while (body := peer_socket.receive_request(connection)) is not None:
                handle(body, answers.put)
                answer = answers.get(timeout=ANSWER_TIMEOUT)
                peer_socket.send_answer(connection, answer.status, answer.body)
        except (OSError, Empty):
            pass  # the sender tries again
        finally:
            self._connections.discard(connection)
            connection.close()


def _start(run: Callable[..., None], *arguments: object) -> None:
    Thread(target=run, args=arguments, name="openqoe-peer", daemon=True).start()
