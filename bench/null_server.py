"""The null server: a shell that answers every request with the same 202, without ingesting it.

    python -m bench.null_server asyncio|trio PORT
    gunicorn -k gthread --threads 16 bench.null_server:application

Sockets, HTTP layer and response are those of the worker, so the difference to the worker is the
cost of the batches.
"""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, cast

from openqoe.core import Config, Request, Response
from openqoe.core.api import answers
from openqoe.shells.net.listeners import ListenOptions
from openqoe.shells.service import logs

ACCEPTED = answers.accepted(10, 0)


def _response(request: Request) -> Response:
    return ACCEPTED if request.method == "POST" else answers.json_response(200, {})


class _Worker:
    """The part of a worker that a server reads."""

    config = Config()


class Service:
    """The part of a service that a server calls."""

    worker = _Worker()
    log = logs.configure(Config(log_level="error"))

    def handle(self, request: Request, answer: Any) -> None:
        answer(_response(request))

    async def answer(self, request: Request, waits: Any = None) -> Response:
        return _response(request)

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        return answers.error_response(status, message)


class _BlockingService(Service):
    def answer(self, request: Request, waits: Any = None) -> Response:  # type: ignore[override]
        return _response(request)


def serve_asyncio(port: int) -> None:
    from openqoe.shells.asyncio_shell.serve import _loop_factory
    from openqoe.shells.asyncio_shell.server import Server

    async def serve() -> None:
        Server(cast(Any, Service()), _listeners(port)).listen()
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def serve_trio(port: int) -> None:
    import trio

    from openqoe.shells.trio_shell.server import Server

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            Server(cast(Any, Service()), _listeners(port)).listen(nursery)

    trio.run(serve)


def _listeners(port: int) -> Any:
    return ListenOptions(port=port).open()


def __getattr__(name: str) -> Any:
    if name != "application":
        raise AttributeError(name)
    from openqoe.shells.wsgi_shell.wsgi_application import Application

    class Null(Application):
        def start(self) -> Any:
            return _BlockingService()

    return Null(Config())


if __name__ == "__main__":
    {"asyncio": serve_asyncio, "trio": serve_trio}[sys.argv[1]](int(sys.argv[2]))
