"""The events of sockets on Trio, for ``net/peer_link``: tasks of a nursery wait for them."""

import socket
from collections.abc import Callable
from contextlib import suppress

import trio


class TrioSockets:
    """The events of sockets, while a nursery is open."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._readers: dict[socket.socket, Callable[[], None]] = {}  # those not forgotten
        self._soon: list[Callable[[], None]] = []
        self._wanted = trio.Event()
        nursery.start_soon(self._run_soon)

    def on_readable(self, one: socket.socket, callback: Callable[[], None]) -> None:
        self._readers[one] = callback
        self._nursery.start_soon(self._read, one, callback)

    def on_writable(self, one: socket.socket, callback: Callable[[], None]) -> None:
        self._nursery.start_soon(self._write, one, callback)

    def forget(self, one: socket.socket) -> None:
        self._readers.pop(one, None)
        trio.lowlevel.notify_closing(one)

    def soon(self, callback: Callable[[], None]) -> None:
        # One task that stays: starting one for each callback costs more.
        self._soon.append(callback)
        self._wanted.set()

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._nursery.start_soon(self._wait, seconds, callback)

    async def _read(self, one: socket.socket, callback: Callable[[], None]) -> None:
        with suppress(trio.ClosedResourceError):  # it was forgotten while this task waited
            while self._readers.get(one) is callback:
                await trio.lowlevel.wait_readable(one)
                if self._readers.get(one) is callback:  # not forgotten since it can be read
                    callback()

    async def _write(self, one: socket.socket, callback: Callable[[], None]) -> None:
        with suppress(trio.ClosedResourceError):
            if one.fileno() >= 0:
                await trio.lowlevel.wait_writable(one)
                callback()

    async def _run_soon(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            callbacks, self._soon = self._soon, []
            for callback in callbacks:
                callback()

    async def _wait(self, seconds: float, callback: Callable[[], None]) -> None:
        await trio.sleep(seconds)
        callback()
