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

AFTER_FAULT = 1_000
"""How long to wait, in ms, before polling again when it has failed."""


class Shutdown:
    """The time there is to stop, from now on.

    Attributes:
        for_requests: Seconds that requests may take to end. A client that sends slowly must
            not use up the time that delivery needs.
    """

    def __init__(self, timeout: int) -> None:
        self.for_requests = timeout / 2000
        self._end = monotonic() + timeout / 1000

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self._end - monotonic())


class BaseService(ABC):
    """Runs a worker. A fault in one thing it does never keeps it from the next.

    Attributes:
        worker: The core.
        log: Where notices go.
        closed: Whether the last flush has begun, so that no request is taken any more.
    """

    def __init__(self, worker: Worker, log: logs.Log, store: MemoryStore | None = None) -> None:
        self.worker = worker
        self.log = log
        self.closed = False
        self._store = store or MemoryStore()

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        if self.closed:
            return self.worker.refuse(503, "Shutting down", request.headers)
        began = monotonic()
        try:
            outcome = self.worker.handle(request, now_ms())
        except Exception:
            # A fault of ours must neither end the process nor show its insides to a client.
            self.log.exception("request failed", path=request.path)
            return self.worker.failed(request)
        self.run(outcome.effects)
        self.worker.answered(outcome.route, monotonic() - began)
        return outcome.response

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Answer a request that never became one."""
        return self.worker.refuse(status, message, headers)

    def poll(self) -> None:
        """Do what is due."""
        due: int | None = now_ms() + AFTER_FAULT
        try:
            self.run(self.worker.poll(now_ms()))
            due = self.worker.next_poll()
        except Exception:
            self.log.exception("poll failed")
        finally:
            self.wake_at(due)

    def complete(self, effect: Effect, result: Result) -> None:
        """Take the result of an effect."""
        if isinstance(effect, Notice):
            return
        try:
            self.run(self.worker.complete(effect.id, result, now_ms()))
        except Exception:
            self.log.exception("result not taken", effect=type(effect).__name__)

    def fail(self, effect: Effect, error: Exception) -> None:
        """Running it raised what it should not have: the worker waits for a result all the same."""
        self.log.error("effect failed", effect=type(effect).__name__, exc_info=error)
        self.complete(effect, NetworkFailure(type(error).__name__))

    def drain(self) -> Shutdown:
        """The process is about to stop: tell load balancers. Close the server, then close."""
        self.log.info("stopping")
        self.worker.drain()
        return Shutdown(self.worker.config.shutdown_timeout)

    def flush_last(self) -> None:
        """Flush for the last time, and take no more requests: nobody would flush them."""
        self.closed = True
        try:
            self.run(self.worker.close(now_ms()))
        except Exception:
            self.log.exception("last flush failed")

    def report_end(self) -> None:
        """Say that it is over, and what is given up."""
        for destination, items in self.worker.undelivered.items():
            if items:
                self.log.error("not delivered", destination=destination, items=items)
        self.log.info("stopped")

    def run(self, effects: Iterable[Effect]) -> None:
        """Run effects, and wake up for what comes next."""
        for effect in effects:
            try:
                self._run(effect)
            except Exception as error:
                self.fail(effect, error)
        self.wake_at(self.worker.next_poll())

    def _run(self, effect: Effect) -> None:
        match effect:
            case RemoteWrite() | LokiPush():
                self.send(effect)
            case KvUpdate():
                self.complete(effect, KvResult(self._store.run(effect.operations)))
            case Notice():
                logs.write(self.log, effect)

    @abstractmethod
    def send(self, effect: RemoteWrite | LokiPush) -> None:
        """Send a request in the background and ``complete`` it."""

    @abstractmethod
    def wake_at(self, due: int | None) -> None:
        """Call ``poll`` at a time (ms since the epoch), and no more at any earlier one."""
