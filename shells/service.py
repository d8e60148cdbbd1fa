"""The service: a worker and what it needs of the world, whatever the runtime.

Each shell has a ``Service`` of its own that adds the two things that only a runtime can do:
send a request in the background, and wake up at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from openqoe.core.effects import (
    Effect,
    KvResult,
    KvUpdate,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    Result,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from openqoe.shells import logs
from openqoe.shells.clock import monotonic, now_ms
from openqoe.shells.stores import MemoryStore


class BaseService(ABC):
    """Runs a worker.

    Attributes:
        worker: The core.
        log: Where notices go.
    """

    def __init__(self, worker: Worker, log: logs.Log, store: MemoryStore | None = None) -> None:
        self.worker = worker
        self.log = log
        self._store = store or MemoryStore()

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        began = monotonic()
        try:
            outcome = self.worker.handle(request, now_ms())
        except Exception:
            # A fault of ours must neither end the process nor show its insides to a client.
            self.log.exception("request failed", path=request.path)
            return self.worker.refuse(500, "Internal error", request.headers)
        self.run(outcome.effects)
        self.worker.answered(outcome.route, monotonic() - began)
        return outcome.response

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Answer a request that never became one."""
        return self.worker.refuse(status, message, headers)

    def poll(self) -> None:
        """Do what is due."""
        self.run(self.worker.poll(now_ms()))

    def complete(self, effect: Effect, result: Result) -> None:
        """Take the result of an effect."""
        if not isinstance(effect, Notice):
            self.run(self.worker.complete(effect.id, result, now_ms()))

    def fail(self, effect: RemoteWrite | LokiPush, error: Exception) -> None:
        """Sending raised what it should not have: the queue waits for a result all the same."""
        self.log.error("sending failed", destination=effect.destination, exc_info=error)
        self.complete(effect, NetworkFailure(type(error).__name__))

    def flush_last(self) -> None:
        """Flush for the last time."""
        self.run(self.worker.close(now_ms()))

    def report_undelivered(self) -> None:
        """Say what is given up."""
        for destination, items in self.worker.undelivered.items():
            if items:
                self.log.error("not delivered", destination=destination, items=items)

    def run(self, effects: Iterable[Effect]) -> None:
        """Run effects, and wake up for what comes next."""
        for effect in effects:
            match effect:
                case RemoteWrite() | LokiPush():
                    self.send(effect)
                case KvUpdate():
                    self.complete(effect, KvResult(self._store.run(effect.operations)))
                case Notice():
                    logs.write(self.log, effect)
        self.wake_at(self.worker.next_poll())

    @abstractmethod
    def send(self, effect: RemoteWrite | LokiPush) -> None:
        """Send a request in the background and ``complete`` it."""

    @abstractmethod
    def wake_at(self, due: int | None) -> None:
        """Call ``poll`` at a time (ms since the epoch), and no more at any earlier one."""
