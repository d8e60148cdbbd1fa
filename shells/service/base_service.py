"""The service: runs a worker and its effects, independent of the runtime.

Each shell has a ``Service`` of its own that adds the two operations that need a runtime: send a
request in the background, and wake up at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from openqoe.core.cluster.forwarding import slot_name
from openqoe.core.effects import (
    Append,
    Effect,
    Erasing,
    Forget,
    Forward,
    HttpResult,
    KeysFile,
    KvFailure,
    KvUpdate,
    LoadPage,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    Persist,
    ReadKeys,
    RemoteWrite,
    Respond,
    Result,
    RewriteStorage,
    StorageEffect,
    StorageFailure,
    StorageResult,
    StoreViews,
)
from openqoe.core.engine.forwarded_batches import UNAVAILABLE
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from openqoe.dashboard import BROKEN

from ..net.peer_link import Answer, PeerLink
from ..storage import Storage
from . import logs, orphan_recovery
from .bootstrap import WorkerRuntime
from .clock import monotonic, now_ms
from .secret_files import read_keys_file

Completions = tuple[tuple[Append | Persist | LoadPayload | RewriteStorage, StorageResult], ...]

AFTER_FAULT = 1_000
"""ms until the next poll after one that failed."""


class Shutdown:
    """The time that a stopping process has.

    Attributes:
        for_requests: Seconds that open requests have to end. A client that sends slowly must not
            use up the time that delivery needs.
    """

    def __init__(self, timeout: int) -> None:
        self.for_requests = timeout / 2000
        self._end = monotonic() + timeout / 1000

    @property
    def remaining(self) -> float:
        """Seconds until the process must have stopped."""
        return max(0.0, self._end - monotonic())


class HttpClient(Protocol):
    """The client of a shell."""

    async def send(self, effect: RemoteWrite | LokiPush) -> HttpResult | NetworkFailure:
        """Send a request. A fault is a result, never an exception."""
        ...


class BaseService(ABC):
    """Runs a worker. A fault in one effect never prevents the next one.

    Args:
        runtime: The worker and its storage.
        log: The log for notices.

    Attributes:
        worker: The core.
        log: The log for notices.
        closed: Whether the last flush has begun, so that requests are answered 503.
        is_final: Whether no process continues after this one (``openqoe drain``): then the last
            flush counts what later events might have explained.
    """

    def __init__(self, runtime: WorkerRuntime, log: logs.Log) -> None:
        self.worker: Worker = runtime.worker
        self.log = log
        self.closed = False
        self.is_final = False
        self._runtime = runtime
        self._peers = None if runtime.slot is None else PeerLink(runtime.slot)
        self._clients: dict[int, Answer] = {}  # by the id of the request that waits for it
        self._requests = 0
        self._has_ended = False
        self._is_running = False
        self._orphans = orphan_recovery.OrphanScanner(self.worker.config, log, runtime.slot)

    def handle(self, request: Request, answer: Answer) -> None:
        """Handle a request.

        Args:
            request: The request.
            answer: Called once with the answer, now or once the batch is safe.
        """
        if self.closed:
            answer(self.worker.refuse(503, "Shutting down", request.headers))
            return
        self._requests += 1
        request_id = self._requests
        self._clients[request_id] = answer
        try:
            effects = self.worker.handle(request_id, request, now_ms())
        except Exception:
            # A fault of ours must neither end the process nor show its insides to a client.
            self.log.exception("request failed", path=request.path)
            del self._clients[request_id]
            answer(self.worker.refuse(500, "Internal error", request.headers))
        else:
            self.run(effects)

    def handle_peer(self, body: bytes, answer: Answer) -> None:
        """Handle a request of another worker of the host, also during the last flush.

        Args:
            body: Batches, or a part of an erasure.
            answer: Called once with the answer, now or once the batches are safe.
        """
        if self._has_ended:
            answer(UNAVAILABLE)
            return
        self._requests += 1
        self._clients[self._requests] = answer
        try:
            effects = self.worker.handle_peer(self._requests, body, now_ms())
        except Exception:
            self.log.exception("request of another worker failed")
            del self._clients[self._requests]
            answer(UNAVAILABLE)
        else:
            self.run(effects)

    def complete_stored(self, completions: Completions) -> None:
        """Process the results of storage effects."""
        effects: list[Effect] = []
        for effect, result in completions:
            effects += self._complete(effect, result)
        self.run(effects)

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Answer a request that never became one."""
        return self.worker.refuse(status, message, headers)

    def poll(self) -> None:
        """Do the work that is due."""
        due: int | None = now_ms() + AFTER_FAULT
        try:
            self.run(self.worker.poll(now_ms()))
            due = self.worker.next_poll()
        except Exception:
            self.log.exception("poll failed")
        finally:
            self.wake_at(due)

    def complete(self, effect: Effect, result: Result) -> None:
        """Process the result of an effect."""
        self.run(self._complete(effect, result))

    def _complete(self, effect: Effect, result: Result) -> Iterable[Effect]:
        if isinstance(effect, Notice | Forget | Respond):
            return ()
        try:
            return self.worker.complete(effect.id, result, now_ms())
        except Exception:
            self.log.exception("effect result could not be processed", effect=type(effect).__name__)
            return ()

    async def deliver(self, client: HttpClient, effect: RemoteWrite | LokiPush) -> None:
        """Send a request and process its result."""
        try:
            result = await client.send(effect)
        except Exception as error:
            self.fail(effect, error)
        else:
            self.complete(effect, result)

    def fail(self, effect: Effect, error: Exception) -> None:
        """Report an effect whose execution raised: the worker waits for a result all the same."""
        self.log.error("effect failed", effect=type(effect).__name__, exc_info=error)
        if isinstance(effect, LoadPage):
            self.complete(effect, BROKEN)
        elif isinstance(effect, ReadKeys):
            self.complete(effect, KeysFile(None, type(error).__name__))
        elif isinstance(effect, Append | Persist | LoadPayload | RewriteStorage):
            self.complete(effect, StorageFailure(type(error).__name__))
        elif isinstance(effect, KvUpdate):
            self.complete(effect, KvFailure(type(error).__name__))
        else:
            self.complete(effect, NetworkFailure(type(error).__name__))

    def open_orphaned_slots(self) -> Iterator[WorkerRuntime]:
        """Open the orphaned slots that can be recovered now, one by one."""
        return self._orphans.open_slots()

    @property
    def owns_views(self) -> bool:
        """Whether other workers of the host forward batches to this one: it must go on running."""
        return self._runtime.owns_views

    def drain(self) -> Shutdown:
        """Report by ``/ready`` that the process stops. Close the server next, then this."""
        self.log.info("stopping")
        self.worker.drain()
        return Shutdown(self.worker.config.shutdown_timeout)

    def flush_last(self, remaining: float) -> None:
        """Flush for the last time. Later requests are answered 503, since no flush would follow.

        Args:
            remaining: Seconds until the process must have stopped.
        """
        self.closed = True
        try:
            effects = self.worker.close(now_ms(), int(remaining * 1000), is_final=self.is_final)
            self.run(effects)
        except Exception:
            self.log.exception("last flush failed")

    def close_runtime(self) -> None:
        """Close the runtime, and log the undelivered items."""
        self._has_ended = True
        self._runtime.close()
        undelivered = dict(self.worker.undelivered)
        self._log_kept_batches(undelivered)
        for destination, items in undelivered.items():
            if items and self._runtime.storage is not None:
                self.log.warning("kept for the next start", destination=destination, items=items)
            elif items:
                self.log.error("not delivered", destination=destination, items=items)
        self.log.info("stopped")

    def _log_kept_batches(self, undelivered: dict[str, int]) -> None:
        """Log how many batches stay on disk for which slot; removes those from ``undelivered``."""
        if self._runtime.slot is None:
            return
        kept = {slot_name(self._runtime.slot.number): self.worker.waiting_batches}
        partition = self.worker.partition
        for slot in () if partition is None else partition.others:
            name = slot_name(slot)
            kept[name] = undelivered.pop(name, 0)
        if any(kept.values()):
            slots = ", ".join(f"{name}: {count}" for name, count in kept.items() if count)
            batches = sum(kept.values())
            self.log.warning("batches kept for the next start", batches=batches, slots=slots)

    def run(self, effects: Iterable[Effect]) -> None:
        """Run effects, and set the time of the next poll."""
        is_nested, self._is_running = self._is_running, True
        for effect in effects:
            try:
                self._run(effect)
            except Exception as error:
                self.fail(effect, error)
        if not is_nested:  # a record is often written at once, and its result runs in here
            self._is_running = False
            self.wake_at(self.worker.next_poll())

    def _run(self, effect: Effect) -> None:
        match effect:
            case Respond():
                self._clients.pop(effect.request_id)(effect.response)
            case Append():  # most of the others
                self._submit(effect)
            case Forward():
                self.forward(effect)
            case RemoteWrite() | LokiPush() if not effect.is_embedded:
                self.send(effect)
            case RemoteWrite() | LokiPush() | StoreViews():
                assert self._runtime.embedded is not None, "there is a store if it is used"
                self._runtime.embedded.submit(effect)
            case LoadPage():
                assert self._runtime.pages is not None, "every runtime can load pages"
                self._runtime.pages.submit(effect)
            case Erasing():
                assert self._runtime.erasures is not None, "every runtime can erase"
                self._runtime.erasures.submit(effect)
            case ReadKeys():
                self.complete(effect, read_keys_file(self.worker.config))
            case KvUpdate():
                assert self._runtime.store is not None, "a worker on its own shares nothing"
                self._runtime.store.submit(effect)
            case Notice():
                logs.write_notice(self.log, effect)
            case Persist() | LoadPayload() | Forget() | RewriteStorage():
                self._submit(effect)

    def _submit(self, effect: StorageEffect) -> None:
        result = self._storage.submit(effect)
        if result is not None:
            assert isinstance(effect, Append), "nothing else is done at once"
            self.complete(effect, result)

    @property
    def _storage(self) -> Storage:
        assert self._runtime.storage is not None, "a worker that is not durable has no such effects"
        return self._runtime.storage

    @abstractmethod
    def send(self, effect: RemoteWrite | LokiPush) -> None:
        """Send a request in the background and ``complete`` it."""

    def forward(self, effect: Forward) -> None:
        """Pass a body to another worker of the host in the background and ``complete`` it."""
        assert self._peers is not None, "a worker on its own forwards nothing"
        self._peers.submit(effect)

    @abstractmethod
    def wake_at(self, due: int | None) -> None:
        """Call ``poll`` at a time (ms since the epoch), and no more at any earlier one."""
