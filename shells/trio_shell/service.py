"""The service on Trio: tasks of a nursery send, one of them wakes."""

import math
from collections.abc import Callable
from contextlib import suppress

import trio

from openqoe.core.effects import Effect, LokiPush, RemoteWrite, Result
from openqoe.core.http.messages import Request, Response

from ..net.connection_policy import ConnectionPolicy
from ..service import logs, orphan_recovery
from ..service.base_service import BaseService, Completions
from ..service.bootstrap import WorkerRuntime
from ..service.clock import monotonic, now_ms
from .client import Client
from .trio_sockets import TrioSockets


class Service(BaseService):
    """A worker on Trio. Its tasks live in the nursery that ``start`` is given."""

    def __init__(self, runtime: WorkerRuntime, log: logs.Log) -> None:
        super().__init__(runtime, log)
        self.worker.start_relaying()
        config = self.worker.config
        self._client = Client(config.delivery_timeout, ConnectionPolicy.load(config))
        self._nursery: trio.Nursery | None = None
        self._adopted: list[Service] = []
        self._progress = trio.Event()
        self._rescheduled = trio.Event()
        self._due: int | None = None

    async def start(self, nursery: trio.Nursery) -> None:
        """Begin to keep time."""
        self._nursery = nursery
        await self._client.open()
        self._token = trio.lowlevel.current_trio_token()
        self._runtime.start(self._report, self._report_effect)
        if self._peers is not None:
            self._peers.start(TrioSockets(nursery), self.complete, self.handle_peer)
        nursery.start_soon(self._keep_time)
        self.poll()

    async def recover_orphans(self) -> None:
        """Recover orphaned slots at intervals, without end."""
        while True:
            await trio.sleep(orphan_recovery.SCAN_INTERVAL)
            try:
                for runtime in self.open_orphaned_slots():
                    assert self._nursery is not None
                    other: Service = await self._nursery.start(self._run_other, runtime)
                    if other.owns_views:
                        self._adopted.append(other)
                    else:
                        await other.close(orphan_recovery.DELIVERY_TIMEOUT)
            except Exception:
                self.log.exception("orphan recovery failed")

    async def _run_other(
        self, runtime: WorkerRuntime, task_status: "trio.TaskStatus[Service]"
    ) -> None:
        """Run the service of another slot until it is closed."""
        async with trio.open_nursery() as nursery:
            other = Service(runtime, self.log)
            await other.start(nursery)
            task_status.started(other)

    async def close(self, timeout: float) -> None:
        """Flush for the last time and deliver, for at most ``timeout`` s."""
        end = monotonic() + timeout
        self.flush_last(timeout)
        with trio.move_on_after(timeout):
            while not self.worker.drained:
                await self._progress.wait()
                self._progress = trio.Event()
        for other in self._adopted:  # after this one, which may have forwarded to them
            await other.close(max(0.0, end - monotonic()))
        if self._peers is not None:
            self._peers.close()
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await self._client.close()
        self.close_runtime()

    async def answer(self, request: Request, waits: Callable[[], None] | None = None) -> Response:
        """Answer a request.

        Args:
            request: The request.
            waits: Is called if the answer is not there at once.
        """
        answers: list[Response] = []
        given = trio.Event()

        def give(response: Response) -> None:
            answers.append(response)
            given.set()

        self.handle(request, give)
        if not answers:  # waiting costs a turn of the loop
            if waits is not None:
                waits()
            await given.wait()
        return answers[0]

    def _report(self, completions: Completions) -> None:
        """Called by the storage's thread."""
        with suppress(trio.RunFinishedError):  # all that waited has ended, too
            self._token.run_sync_soon(self.complete_stored, completions)

    def complete_stored(self, completions: Completions) -> None:
        super().complete_stored(completions)
        self._progress.set()

    def _report_effect(self, effect: Effect, result: Result) -> None:
        """Called by the threads of stores and pages."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.complete, effect, result)

    def complete(self, effect: Effect, result: Result) -> None:
        super().complete(effect, result)
        self._progress.set()

    def send(self, effect: RemoteWrite | LokiPush) -> None:
        assert self._nursery is not None, "the service has not been started"
        self._nursery.start_soon(self.deliver, self._client, effect)

    def wake_at(self, due: int | None) -> None:
        if due != self._due:
            self._due = due
            self._rescheduled.set()

    async def _keep_time(self) -> None:
        while True:
            self._rescheduled = trio.Event()
            delay = math.inf if self._due is None else max(0, self._due - now_ms()) / 1000
            with trio.move_on_after(delay) as sleep:
                await self._rescheduled.wait()
            if sleep.cancelled_caught:
                self._due = None
                self.poll()
                self._progress.set()
