"""The service on asyncio: keeps the worker's time and runs its effects."""

import asyncio
from collections.abc import Iterable

from openqoe.core.effects import (
    Effect,
    KvResult,
    KvUpdate,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.worker import Worker
from openqoe.shells import logs
from openqoe.shells.asyncio_shell.client import Client
from openqoe.shells.clock import monotonic, now_ms
from openqoe.shells.stores import MemoryStore


class Service:
    """One worker and what it needs of the world.

    Use it as an asynchronous context; ``close`` delivers what is left.
    """

    def __init__(self, worker: Worker, log: logs.Log, store: MemoryStore | None = None) -> None:
        self.worker = worker
        self.log = log
        self._store = store or MemoryStore()
        self._client = Client(worker.config.delivery_timeout)
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due: int | None = None
        self._progress = asyncio.Event()

    async def start(self) -> None:
        """Begin to keep time."""
        await self._client.__aenter__()
        self._poll()

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        began = monotonic()
        try:
            outcome = self.worker.handle(request, now_ms())
        except Exception:
            # A fault of ours must cost neither the process nor tell the client its insides.
            self.log.exception("request failed", path=request.path)
            return self.worker.refuse(500, "Internal error", request.headers)
        self._run(outcome.effects)
        self.worker.answered(outcome.route, monotonic() - began)
        return outcome.response

    async def close(self, timeout: float) -> None:
        """Flush for the last time and deliver, for at most ``timeout`` s."""
        self._run(self.worker.close(now_ms()))
        try:
            async with asyncio.timeout(timeout):
                while not self.worker.drained:
                    await self._progress.wait()
                    self._progress.clear()
        except TimeoutError:
            for destination, items in self.worker.undelivered.items():
                if items:
                    self.log.error("not delivered", destination=destination, items=items)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._client.__aexit__(None, None, None)

    def _run(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case RemoteWrite() | LokiPush():
                    task = asyncio.create_task(self._send(effect))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
                case KvUpdate():
                    replies = self._store.run(effect.operations)
                    self._run(self.worker.complete(effect.id, KvResult(replies), now_ms()))
                case Notice():
                    logs.write(self.log, effect)
        self._keep_time()

    async def _send(self, effect: RemoteWrite | LokiPush) -> None:
        try:
            result = await self._client.send(effect)
        except Exception as error:
            # The queue waits for a result, so there must be one.
            self.log.exception("sending failed", destination=effect.destination)
            result = NetworkFailure(type(error).__name__)
        self._run(self.worker.complete(effect.id, result, now_ms()))
        self._progress.set()

    def _poll(self) -> None:
        self._timer = self._due = None
        self._run(self.worker.poll(now_ms()))

    def _keep_time(self) -> None:
        due = self.worker.next_poll()
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due is not None:
            delay = max(0, due - now_ms()) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay, self._poll)
