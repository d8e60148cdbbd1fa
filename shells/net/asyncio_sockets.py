"""The events of sockets on asyncio, for ``peer_link``."""

import asyncio
import socket
from collections.abc import Callable


class AsyncioSockets:
    """The events of sockets on a running loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def on_readable(self, one: socket.socket, callback: Callable[[], None]) -> None:
        self._loop.add_reader(one, callback)

    def on_writable(self, one: socket.socket, callback: Callable[[], None]) -> None:
        def write() -> None:
            self._loop.remove_writer(one)
            callback()

        self._loop.add_writer(one, write)

    def forget(self, one: socket.socket) -> None:
        self._loop.remove_reader(one)
        self._loop.remove_writer(one)

    def soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._loop.call_later(seconds, callback)
