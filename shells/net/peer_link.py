"""The link of a worker to the other workers of its host: forwards batches, and accepts theirs.

Threads do the work, so that it is the same under every runtime: one for each slot that batches are
forwarded to, so that one slot that does not answer delays no other; one that accepts connections,
and one for each of these. They are few, since a worker sends another at most one request at a time.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from openqoe.core.effects import Forward, HttpResult, NetworkFailure

from . import peer_socket

TIMEOUT = 10.0
"""Seconds that another worker may take for an answer. It may be stopped, or restoring its state."""

UNAVAILABLE = 503

ForwardCallback = Callable[[Forward, HttpResult | NetworkFailure], None]
AnswerStatus = Callable[[int], None]
AcceptBatches = Callable[[bytes, AnswerStatus], None]
"""Passes a request to the worker, which calls the second argument once with the answer's status."""


class PeerLink:
    """The link of the owner of a slot.

    Args:
        folder: Folder of the slot; those of the other slots are beside it.
        timeout: Seconds that another worker may take for an answer.
    """

    def __init__(self, folder: Path, timeout: float = TIMEOUT) -> None:
        self._folder = folder
        self._timeout = timeout
        self._queues: dict[str, SimpleQueue[Forward | None]] = {}
        self._report: ForwardCallback | None = None
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._closed = False

    def start(self, report: ForwardCallback, accept: AcceptBatches) -> None:
        """Begin to forward and to accept. Both callbacks are called by threads of this object.

        Raises:
            OSError: The socket cannot be created.
        """
        self._report = report
        self._listener = peer_socket.listen(self._folder)
        _start(self._accept_connections, self._listener, accept)

    def submit(self, effect: Forward) -> None:
        """Forward batches. Never blocks."""
        queue = self._queues.get(effect.destination)
        if queue is None:
            assert self._report is not None, "the link has been started"
            queue = self._queues[effect.destination] = SimpleQueue()
            _start(self._forward, self._folder.parent / effect.destination, queue, self._report)
        queue.put(effect)

    def close(self) -> None:
        """Accept nothing more; requests under way get no answer, and are sent again."""
        self._closed = True
        for queue in self._queues.values():
            queue.put(None)
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
                result = HttpResult(peer_socket.exchange(connection, effect.body))
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

    def _accept_connections(self, listener: socket.socket, accept: AcceptBatches) -> None:
        while not self._closed:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            _start(self._serve, connection, accept)

    def _serve(self, connection: socket.socket, accept: AcceptBatches) -> None:
        answers: SimpleQueue[int] = SimpleQueue()
        try:
            while (body := peer_socket.receive_request(connection)) is not None:
                accept(body, answers.put)
                peer_socket.send_answer(connection, answers.get(timeout=self._timeout))
        except (OSError, Empty):
            pass  # the sender tries again
        finally:
            self._connections.discard(connection)
            connection.close()


def _start(run: Callable[..., None], *arguments: object) -> None:
    Thread(target=run, args=arguments, name="openqoe-peer", daemon=True).start()
