"""Event loops of both runtimes, each in a thread of its own."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

import trio

from openqoe.shells.net.asyncio_sockets import AsyncioSockets
from openqoe.shells.net.peer_link import SocketEvents
from openqoe.shells.trio_shell.trio_sockets import TrioSockets
from tests.support.services import PATIENCE

T = TypeVar("T")


class EventLoop(ABC):
    """An event loop in a thread.

    Attributes:
        events: The events of its sockets.
    """

    events: SocketEvents

    @abstractmethod
    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the loop and return its result."""

    @abstractmethod
    def close(self) -> None:
        """End the loop."""


class AsyncioLoop(EventLoop):
    """A loop of asyncio."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()
        self.events = AsyncioSockets(self._loop)

    def call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class TrioLoop(EventLoop):
    """A nursery of Trio."""

    def __init__(self) -> None:
        started: SimpleQueue[trio.lowlevel.TrioToken] = SimpleQueue()
        self._thread = Thread(target=trio.run, args=(self._run, started))
        self._thread.start()
        self._token = started.get(timeout=PATIENCE)

    async def _run(self, started: SimpleQueue[trio.lowlevel.TrioToken]) -> None:
        async with trio.open_nursery() as self._nursery:
            self.events = TrioSockets(self._nursery)
            started.put(trio.lowlevel.current_trio_token())

    def call(self, function: Callable[[], T]) -> T:
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def close(self) -> None:
        self.call(self._nursery.cancel_scope.cancel)
        self._thread.join()
