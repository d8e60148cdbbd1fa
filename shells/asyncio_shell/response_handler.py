"""The status of an answer, whatever its body: aiohttp's protocol, fed so that it cannot lose it."""

import asyncio
import functools

import aiohttp
from aiohttp.client_proto import ResponseHandler


class StatusFirst(ResponseHandler):
    """Passes each line of a head to the parser on its own.

    The parser discards a complete head if what follows in the same piece is malformed: a body of a
    204, a chunk without a size. In lines, the head has been delivered before.
    """

    def data_received(self, data: bytes) -> None:
        """Parse a piece of an answer."""
        while data and self._is_in_head():
            end = data.find(b"\n") + 1 or len(data)
            super().data_received(data[:end])
            data = data[end:]
        if data and self.exception() is None:
            super().data_received(data)
        error = self.exception()
        if error is not None and self._payload is not None:
            self._payload.set_exception(error)  # or its reader would wait until the time-out

    def _is_in_head(self) -> bool:
        is_done = self._payload is None or self._payload.is_eof()
        return is_done and self.exception() is None


def use_status_first(connector: aiohttp.BaseConnector) -> aiohttp.BaseConnector:
    """Let the connections of a connector deliver the status first.

    aiohttp has no public setting for it: a version without the members that this needs keeps its
    own behaviour, and ``tests/shells/net/test_http_clients.py`` fails.
    """
    loop = asyncio.get_running_loop()
    if hasattr(connector, "_factory") and hasattr(ResponseHandler(loop), "_payload"):
        connector._factory = functools.partial(_create_handler, loop=loop)
    return connector


def _create_handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return StatusFirst(loop)
