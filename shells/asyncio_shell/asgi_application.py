"""The worker as an ASGI application on asyncio: for uvicorn, granian, hypercorn."""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from openqoe.core.config.worker_config import Config
from openqoe.core.http import Request, Response
from openqoe.core.http.connection_limits import MemoryBudget
from openqoe.core.http.hosted import (
    BodyCollector,
    join_headers,
    parse_content_length,
    to_host_response,
)
from openqoe.core.http.refusal import RefusedError

from ..net.access_logs import redact_keys
from ..service import logs
from ..service.bootstrap import open_runtime
from ..service.clock import now_ms
from ..service.environment import log_start, process_instance
from .service import Service
from .uvicorn_upgrades import ignore_http2_offers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Disconnected(Exception):  # noqa: N818 - an event, not an error
    """The client went away before its request was complete."""


class Application:
    """An ASGI 3 application with lifespan events.

    Args:
        config: The settings; those of the environment if None.
    """

    def __init__(self, config: Config | None = None) -> None:
        self._config = config
        self._service: Service | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        match scope["type"]:
            case "lifespan":
                await self._run_lifespan(receive, send)
            case "http":
                await self._serve_request(scope, receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1003})

    async def start(self) -> Service:
        """Start the service, for hosts without lifespan events."""
        if self._service is None or self._service.closed:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                raise RuntimeError(
                    "openqoe's ASGI application runs on asyncio; use the host's asyncio mode "
                    "(hypercorn: --worker-class asyncio), or openqoe serve --shell trio"
                ) from None
            config = self._config or Config.from_environment(os.environ)
            log = logs.configure(config)
            redact_keys()
            ignore_http2_offers()
            self._budget = MemoryBudget(config.max_waiting_bytes)
            runtime = open_runtime(config, process_instance(config), log)
            try:
                service = Service(runtime, log)
                await service.start()
                service.watch()
            except BaseException:
                runtime.close()
                raise
            self._service = service
            log_start(log, runtime.worker, os.environ)
        return self._service

    async def close(self) -> None:
        """Flush for the last time and deliver. Later requests are refused."""
        service = self._service
        if service is not None and not service.closed:
            await service.close(service.drain().remaining)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service or await self.start()
        method = scope["method"]
        headers = join_headers(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        received = now_ms()
        try:
            body = await self._receive_body(service.worker.config, headers, receive, received)
        except RefusedError as refused:
            response = service.refuse(refused.status, refused.message, headers)
            if scope.get("http_version", "1.1").startswith("1"):  # the rest of it is not read
                response = replace(response, headers=(*response.headers, ("Connection", "close")))
        except Disconnected:
            return
        else:
            # A host does not say how long the request waited for this task to run. It waits a turn
            # of the loop more, which lasts as long: under overload the load shedder sees that.
            complete = now_ms()
            await asyncio.sleep(0)
            query = scope.get("query_string", b"").decode("latin-1")
            is_secure = scope.get("scheme") == "https"
            path = _path(scope)
            client = (scope.get("client") or ("",))[0]
            request = Request(
                method, path, query, headers, body, received, is_secure, complete, client
            )
            response = await service.answer(request)
        await _respond(response, method, send)

    async def _receive_body(
        self, config: Config, headers: dict[str, str], receive: Receive, now: int
    ) -> bytes:
        """Receive the body.

        Raises:
            RefusedError: It is too large or too slow, its length differs from the announced one, or
                the memory for bodies is exhausted.
            Disconnected: The client went away.
        """
        loop = asyncio.get_running_loop()
        timeout = asyncio.timeout(config.request_timeout / 1000)

        def stop_receiving() -> None:
            if not timeout.expired():
                timeout.reschedule(loop.time())

        body = BodyCollector(
            config.max_body_bytes, parse_content_length(headers.get("content-length", ""))
        )
        head_bytes = sum(len(name) + len(value) for name, value in headers.items())
        try:
            async with timeout:
                body.hold_budget(self._budget, head_bytes, now, stop_receiving)
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    body.add(message.get("body", b""), now_ms())
                    if not message.get("more_body", False):
                        return body.body()
        except TimeoutError:
            body.check_eviction()
            raise RefusedError(408, "Request not received in time") from None
        finally:
            body.release()


def _path(scope: Scope) -> str:
    """Return the path as it was sent, percent-encoded, without the prefix of the mount point."""
    raw = scope.get("raw_path")  # optional; some hosts leave the query in it
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1").partition("?")[0]
    return path.removeprefix(quote(scope.get("root_path", "")))


async def _respond(response: Response, method: str, send: Send) -> None:
    headers, body = to_host_response(response, method)
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [
                (name.lower().encode(), value.encode("latin-1")) for name, value in headers
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


asgi = Application()
"""``uvicorn openqoe.shells.asyncio_shell:asgi``"""
