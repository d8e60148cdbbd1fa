"""The service on asyncio: tasks send, a timer of the loop wakes."""

import asyncio
from contextlib import suppress

from openqoe.core.effects import Effect, LokiPush, RemoteWrite, Result
from openqoe.core.http.messages import Request, Response

from ..net.asyncio_sockets import AsyncioSockets
from ..net.connection_policy import ConnectionPolicy
from ..service import logs, orphan_recovery
from ..service.base_service import BaseService, Completions
from ..service.bootstrap import WorkerRuntime
from ..service.clock import monotonic, now_ms
from .client import Client


class Service(BaseService):
    """A worker on asyncio."""

    def __init__(self, runtime: WorkerRuntime, log: logs.Log) -> None:
        super().__init__(runtime, log)
        self.worker.start_relaying()
        config = self.worker.config
        self._client = Client(config.delivery_timeout, ConnectionPolicy.load(config))
        self._sending: set[asyncio.Task[None]] = set()
        self._watching: list[asyncio.Task[None]] = []
        self._adopted: list[Service] = []
        self._progress = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due: int | None = None

    async def start(self) -> None:
        """Begin to keep time."""
        await self._client.open()
        self._loop = asyncio.get_running_loop()
        self._runtime.start(self._report, self._report_effect)
        if self._peers is not None:
            self._peers.start(AsyncioSockets(self._loop), self.complete, self.handle_peer)
        self.poll()

    def watch(self) -> None:
        """Start to recover orphaned slots."""
        task = asyncio.create_task(self.recover_orphans())
        self._watching.append(task)

    async def recover_orphans(self) -> None:
        """Recover orphaned slots at intervals, without end."""
        while True:
            await asyncio.sleep(orphan_recovery.SCAN_INTERVAL)
            try:
                for runtime in self.open_orphaned_slots():
                    other = Service(runtime, self.log)
                    await other.start()
                    if other.owns_views:
                        self._adopted.append(other)
                    else:
                        await other.close(orphan_recovery.DELIVERY_TIMEOUT)
            except Exception:
                self.log.exception("orphan recovery failed")

    async def close(self, timeout: float) -> None:
        """Flush for the last time and deliver, for at most ``timeout`` s."""
        end = monotonic() + timeout
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self.flush_last(timeout)
        try:
            async with asyncio.timeout(timeout):
                while not self.worker.drained:
                    await self._progress.wait()
                    self._progress.clear()
        except TimeoutError:
            pass  # reported below
        if self._timer is not None:
            self._timer.cancel()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._client.close()
        if self._peers is not None:
            self._peers.close()
        self.close_runtime()
        for other in self._adopted:  # after this one, which may have forwarded to them
            await other.close(max(0.0, end - monotonic()))

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def give(response: Response) -> None:
            if not answer.done():  # the client may have gone away
                answer.set_result(response)

        self.handle(request, give)
        return await answer

    def _report(self, completions: Completions) -> None:
        """Called by the storage's thread."""
        with suppress(RuntimeError):  # the loop has ended, and with it all that waited
            self._loop.call_soon_threadsafe(self.complete_stored, completions)

    def complete_stored(self, completions: Completions) -> None:
        super().complete_stored(completions)
        self._progress.set()

    def _report_effect(self, effect: Effect, result: Result) -> None:
        """Called by the threads of stores and pages."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.complete, effect, result)

    def complete(self, effect: Effect, result: Result) -> None:
        super().complete(effect, result)
        self._progress.set()

    def send(self, effect: RemoteWrite | LokiPush) -> None:
        task = asyncio.create_task(self.deliver(self._client, effect))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def wake_at(self, due: int | None) -> None:
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due is not None:
            delay = max(0, due - now_ms()) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = self._due = None
        self.poll()
        self._progress.set()
