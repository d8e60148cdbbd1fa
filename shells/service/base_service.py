"""The service: a worker and what it needs of the world, whatever the runtime.

Each shell has a ``Service`` of its own that adds the two things that only a runtime can do:
send a request in the background, and wake up at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from openqoe.core.config.destinations import EMBEDDED
from openqoe.core.effects import (
    Append,
    Effect,
    Forget,
    KvFailure,
    KvUpdate,
    LoadPage,
    LoadPayload,
    LokiPush,
    NetworkFailure,
    Notice,
    Page,
    Persist,
    RemoteWrite,
    Result,
    StorageEffect,
    StorageFailure,
    StorageResult,
    Stored,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Outcome, Worker
from openqoe.dashboard import BROKEN

from ..storage import Storage
from . import logs
from .bootstrap import WorkerRuntime
from .clock import monotonic, now_ms
from .orphan_recovery import open_orphaned_slots

Completions = tuple[tuple[Append | Persist | LoadPayload, StorageResult], ...]
Answer = Callable[[Response], None]

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


class _Held(msgspec.Struct, frozen=True):
    """An answer that waits until what it acknowledges is safe."""

    request: Request
    outcome: Outcome
    began: float
    answer: Answer


class BaseService(ABC):
    """Runs a worker. A fault in one thing it does never keeps it from the next.

    Args:
        runtime: The worker and where it keeps what it must not lose.
        log: Where notices go.

    Attributes:
        worker: The core.
        log: Where notices go.
        closed: Whether the last flush has begun, so that no request is taken any more.
    """

    def __init__(self, runtime: WorkerRuntime, log: logs.Log) -> None:
        self.worker: Worker = runtime.worker
        self.log = log
        self.closed = False
        self._runtime = runtime
        self._held: dict[int, list[_Held]] = {}  # by the effect that they wait for

    def handle(self, request: Request, answer: Answer) -> None:
        """Answer a request, now or when what it brought is safe.

        Args:
            request: The request.
            answer: Is called once with the answer.
        """
        if self.closed:
            answer(self.worker.refuse(503, "Shutting down", request.headers))
            return
        began = monotonic()
        try:
            outcome = self.worker.handle(request, now_ms())
        except Exception:
            # A fault of ours must neither end the process nor show its insides to a client.
            self.log.exception("request failed", path=request.path)
            answer(self.worker.failed(request))
            return
        held = _Held(request, outcome, began, answer)
        if outcome.after is not None:
            self._held.setdefault(outcome.after, []).append(held)
        self.run(outcome.effects)
        if outcome.after is None:
            self._release(held, outcome.response)

    def _release(self, held: "_Held", response: Response) -> None:
        self.worker.answered(held.outcome.route, monotonic() - held.began)
        held.answer(response)

    def stored(self, completions: Completions) -> None:
        """Take the results of effects on the storage, and give the answers that waited."""
        for effect, result in completions:
            is_record = isinstance(effect, Append) and isinstance(result, Stored)
            if not (is_record and self.worker.landed(effect.id)):
                self.complete(effect, result)
            for held in self._held.pop(effect.id, ()):
                is_safe = isinstance(result, Stored)
                self._release(
                    held,
                    held.outcome.response if is_safe else self.worker.unstored(held.request),
                )

    def take(self, effect: Effect, result: Result | Page) -> None:
        """Take what a thread of ours has made of an effect."""
        if isinstance(result, Page):
            self.show(effect, result)
        else:
            self.complete(effect, result)

    def show(self, effect: Effect, page: Page) -> None:
        """Give the answer that waited for a page."""
        assert isinstance(effect, LoadPage)
        for held in self._held.pop(effect.id, ()):
            self._release(held, self.worker.shown(held.request, page))

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
        if isinstance(effect, Notice | Forget):
            return
        try:
            self.run(self.worker.complete(effect.id, result, now_ms()))
        except Exception:
            self.log.exception("result not taken", effect=type(effect).__name__)

    def fail(self, effect: Effect, error: Exception) -> None:
        """Running it raised what it should not have: the worker waits for a result all the same."""
        self.log.error("effect failed", effect=type(effect).__name__, exc_info=error)
        if isinstance(effect, LoadPage):
            self.show(effect, BROKEN)
        elif isinstance(effect, Append | Persist | LoadPayload):
            self.stored(((effect, StorageFailure(type(error).__name__)),))
        elif isinstance(effect, KvUpdate):
            self.complete(effect, KvFailure(type(error).__name__))
        else:
            self.complete(effect, NetworkFailure(type(error).__name__))

    def open_orphaned_slots(self) -> Iterator[WorkerRuntime]:
        """Open the orphaned slots, one by one."""
        return open_orphaned_slots(self.worker.config, self.log, self._runtime.open_store)

    def drain(self) -> Shutdown:
        """The process is about to stop: tell load balancers. Close the server, then close."""
        self.log.info("stopping")
        self.worker.drain()
        return Shutdown(self.worker.config.shutdown_timeout)

    def flush_last(self, left: float) -> None:
        """Flush for the last time, and take no more requests: nobody would flush them.

        Args:
            left: Seconds until the process has to have stopped.
        """
        self.closed = True
        try:
            self.run(self.worker.close(now_ms(), int(left * 1000)))
        except Exception:
            self.log.exception("last flush failed")

    def report_end(self) -> None:
        """Put the storage away, and say that it is over and what was not delivered."""
        self._runtime.close()
        for destination, items in self.worker.undelivered.items():
            if items and self.worker.durable:
                self.log.warning("kept for the next start", destination=destination, items=items)
            elif items:
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
            case Append():  # most of them
                self._submit(effect)
            case RemoteWrite() | LokiPush():
                if effect.url.startswith(EMBEDDED):
                    assert self._runtime.embedded is not None, "there is a store if it is used"
                    self._runtime.embedded.submit(effect)
                else:
                    self.send(effect)
            case LoadPage():
                assert self._runtime.pages is not None, "every runtime can load pages"
                self._runtime.pages.submit(effect)
            case KvUpdate():
                assert self._runtime.store is not None, "a worker on its own shares nothing"
                self._runtime.store.submit(effect)
            case Notice():
                logs.write_notice(self.log, effect)
            case Persist() | LoadPayload() | Forget():
                self._submit(effect)

    def _submit(self, effect: StorageEffect) -> None:
        result = self._storage.submit(effect)
        if result is not None:
            assert isinstance(effect, Append), "nothing else is done at once"
            self.stored(((effect, result),))

    @property
    def _storage(self) -> Storage:
        assert self._runtime.storage is not None, "a worker that is not durable has no such effects"
        return self._runtime.storage

    @abstractmethod
    def send(self, effect: RemoteWrite | LokiPush) -> None:
        """Send a request in the background and ``complete`` it."""

    @abstractmethod
    def wake_at(self, due: int | None) -> None:
        """Call ``poll`` at a time (ms since the epoch), and no more at any earlier one."""
