"""The service on asyncio: tasks send, a timer of the loop wakes."""

import asyncio

from openqoe.core.effects import LokiPush, RemoteWrite
from openqoe.core.worker import Worker
from openqoe.shells import logs
from openqoe.shells.asyncio_shell.client import Client
from openqoe.shells.clock import now_ms
from openqoe.shells.service import BaseService
from openqoe.shells.stores import MemoryStore


class Service(BaseService):
    """A worker on asyncio."""

    def __init__(self, worker: Worker, log: logs.Log, store: MemoryStore | None = None) -> None:
        super().__init__(worker, log, store)
        self._client = Client(worker.config.delivery_timeout)
        self._sending: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due: int | None = None

    async def start(self) -> None:
        """Begin to keep time."""
        await self._client.open()
        self.poll()

    async def close(self, timeout: float) -> None:
        """Flush for the last time and deliver, for at most ``timeout`` s."""
        self.flush_last()
        try:
            async with asyncio.timeout(timeout):
                while not self.worker.drained:
                    await self._progress.wait()
                    self._progress.clear()
        except TimeoutError:
            pass  # what is left is reported below
        if self._timer is not None:
            self._timer.cancel()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._client.close()
        self.report_end()

    def send(self, effect: RemoteWrite | LokiPush) -> None:
        task = asyncio.create_task(self._send(effect))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, effect: RemoteWrite | LokiPush) -> None:
        try:
            result = await self._client.send(effect)
        except Exception as error:
            self.fail(effect, error)
        else:
            self.complete(effect, result)
        self._progress.set()

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
