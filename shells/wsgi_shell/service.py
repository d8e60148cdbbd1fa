"""The service of a WSGI process: one background thread sends and wakes.

The host's threads handle requests, so the core is used under one lock. Sending and waiting
happen on an event loop in a thread of its own: a destination that is slow holds neither
requests nor the other destination.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from threading import Condition, RLock, Thread
from threading import Event as ThreadEvent
from typing import Any

from openqoe.core.effects import Effect, Forward, LokiPush, RemoteWrite, Result
from openqoe.core.http.messages import Request, Response

from ..net.asyncio_sockets import AsyncioSockets
from ..net.connection_policy import ConnectionPolicy
from ..net.peer_link import Answer
from ..service import logs, orphan_recovery
from ..service.base_service import BaseService, Completions
from ..service.bootstrap import WorkerRuntime
from ..service.clock import monotonic, now_ms
from .client import Client

TIDYING = 0.5
"""Seconds that the thread has to close its client after the deadline."""


class Service(BaseService):
    """A worker in a process whose threads belong to the host."""

    def __init__(self, runtime: WorkerRuntime, log: logs.Log) -> None:
        super().__init__(runtime, log)
        config = self.worker.config
        self._client = Client(config.delivery_timeout, ConnectionPolicy.load(config))
        self._lock = RLock()
        self._ending = ThreadEvent()
        self._adopted: list[Service] = []
        self._progress = Condition(self._lock)
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_Threads())
        self._thread = Thread(target=self._live, name="openqoe", daemon=True)
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due: int | None = None

    def start(self) -> None:
        """Start the threads. If that fails, none of them stays."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._client.open(), self._loop).result()
            self._runtime.start(self.complete_stored, self.complete)
            asyncio.run_coroutine_threadsafe(self._start_peers(), self._loop).result()
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(TIDYING)
            raise
        self.poll()

    async def _start_peers(self) -> None:
        if self._peers is not None:
            self._peers.start(AsyncioSockets(self._loop), self.complete, self.handle_peer)

    def watch(self) -> None:
        """Start to recover orphaned slots."""
        Thread(target=self._recover_orphans, name="openqoe-orphan-recovery", daemon=True).start()

    def _recover_orphans(self) -> None:
        """Recover orphaned slots at intervals, without end."""
        while not self._ending.wait(orphan_recovery.SCAN_INTERVAL):
            try:
                for runtime in self.open_orphaned_slots():
                    other = Service(runtime, self.log)
                    other.start()
                    if other.owns_views:
                        self._adopted.append(other)
                    else:
                        other.close(orphan_recovery.DELIVERY_TIMEOUT)
            except Exception:
                self.log.exception("orphan recovery failed")

    def close(self, timeout: float) -> None:
        """Flush for the last time and deliver, for at most ``timeout`` s."""
        end = monotonic() + timeout
        self._ending.set()
        self.flush_last(timeout)
        with self._progress:
            self._progress.wait_for(lambda: self.worker.drained, timeout)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(max(TIDYING, end - monotonic()))
        self._runtime.close()  # its threads may wait for the lock
        with self._lock:
            self.close_runtime()
        for other in tuple(self._adopted):  # after this one, which may have forwarded to them
            other.close(max(0.0, end - monotonic()))

    # The core is used under the lock: by the host's threads here, by ours below.

    def answer(self, request: Request) -> Response:
        """Answer a request; blocks while its answer must wait."""
        answer: SimpleQueue[Response] = SimpleQueue()
        self.handle(request, answer.put)
        return answer.get()

    def handle(self, request: Request, answer: Answer) -> None:
        with self._lock:
            super().handle(request, answer)

    def handle_peer(self, body: bytes, answer: Answer) -> None:
        def give(response: Response) -> None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(answer, response)

        with self._lock:
            super().handle_peer(body, give)

    def complete_stored(self, completions: Completions) -> None:
        with self._progress:
            super().complete_stored(completions)
            self._progress.notify_all()

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        with self._lock:
            return super().refuse(status, message, headers)

    def poll(self) -> None:
        with self._lock:
            super().poll()

    def complete(self, effect: Effect, result: Result) -> None:
        with self._progress:
            super().complete(effect, result)
            self._progress.notify_all()

    def flush_last(self, left: float) -> None:
        with self._lock:
            super().flush_last(left)

    def send(self, effect: RemoteWrite | LokiPush) -> None:
        self._loop.call_soon_threadsafe(self._start_sending, effect)

    def _start_sending(self, effect: RemoteWrite | LokiPush) -> None:
        task = self._loop.create_task(self.deliver(self._client, effect))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def forward(self, effect: Forward) -> None:
        self._loop.call_soon_threadsafe(super().forward, effect)

    def wake_at(self, due: int | None) -> None:
        if due != self._due:
            self._due = due
            self._loop.call_soon_threadsafe(self._set_timer, due)

    def _set_timer(self, due: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            delay = max(0, due - now_ms()) / 1000
            self._timer = self._loop.call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        with self._progress:
            self._due = None
            self.poll()
            self._progress.notify_all()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            if self._peers is not None:
                self._peers.close()
            for task in self._sending:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._sending, return_exceptions=True))
            self._loop.run_until_complete(self._client.close())
        finally:
            self._loop.close()


class _Threads(ThreadPoolExecutor):
    """Runs name look-ups, all that the loop has for an executor, each in a thread of its own.

    A look-up may last minutes and cannot be cancelled. No code waits for these threads: the
    process may end while they run, which it may not while a thread of a pool does.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # from here on it cannot be cancelled

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        try:
            Thread(target=run, name="openqoe-look-up", daemon=True).start()
        except RuntimeError:
            # Python 3.12 starts no threads once the interpreter has begun to end, and that
            # is when a host without hooks lets us flush for the last time (``atexit``).
            run()
        return future
