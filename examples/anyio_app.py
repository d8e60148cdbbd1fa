"""The core in an anyio application, on asyncio or on Trio.

A shell of its own: anyio's TCP listener, the core's HTTP connections, and httpx for the
effects. Every task has an owner: connections live in one task group; deliveries and the
timer in another around it, because they are still needed when the connections are gone.
(``pip install openqoe-worker anyio httpx``, and ``trio`` to run on it)

    PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write python examples/anyio_app.py 8787 trio

SIGTERM or SIGINT ends it: it stops accepting, finishes requests that have begun, flushes and
delivers, all within the shutdown time-out.
"""

import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress

import anyio
import httpx
from anyio.abc import SocketStream, TaskGroup

from openqoe.core import (
    Config,
    Effect,
    HttpResult,
    LokiPush,
    NetworkFailure,
    Notice,
    RemoteWrite,
    Respond,
    Result,
    Worker,
)
from openqoe.core.http import Connection, HttpLimits
from openqoe.shells.service.clock import now_ms

log = logging.getLogger("openqoe")


class Application:
    """A worker, and the tasks that work for it."""

    def __init__(self, worker: Worker, tasks: TaskGroup, client: httpx.AsyncClient) -> None:
        self.worker = worker
        self.limits = HttpLimits.from_config(worker.config)
        self.tasks = tasks
        self.client = client
        self.changed = anyio.Event()
        self.receiving: dict[Connection, anyio.CancelScope] = {}
        self.is_stopping = False

    # Effects and time

    def run(self, effects: Iterable[Effect]) -> None:
        """Start effects, and let the timer look again at when it is due."""
        for effect in effects:
            match effect:
                case RemoteWrite() | LokiPush():
                    self.tasks.start_soon(self.deliver, effect)
                case Notice():
                    level = logging.getLevelNamesMapping()[effect.level.upper()]
                    log.log(level, "%s %s", effect.event, dict(effect.fields))
        self.changed.set()
        self.changed = anyio.Event()

    def complete(self, effect_id: int, result: Result) -> None:
        self.run(self.worker.complete(effect_id, result, now_ms()))

    async def deliver(self, effect: RemoteWrite | LokiPush) -> None:
        """Send a request. What goes wrong is a result, too: the queue waits for one."""
        try:
            with anyio.fail_after(self.worker.config.delivery_timeout / 1000):
                answer = await self.client.post(
                    effect.url, content=effect.body, headers=effect.headers
                )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            result: Result = NetworkFailure(str(error) or type(error).__name__)
        else:
            result = HttpResult(answer.status_code, dict(answer.headers), answer.content[:8192])
        self.complete(effect.id, result)

    async def keep_time(self) -> None:
        """Poll the worker whenever something is due."""
        while True:
            due = self.worker.next_poll()
            wait = math.inf if due is None else max(0, due - now_ms()) / 1000
            with anyio.move_on_after(wait) as timer:
                await self.changed.wait()
            if timer.cancelled_caught:
                self.run(self.worker.poll(now_ms()))

    # Bytes

    async def serve(self, stream: SocketStream) -> None:
        """One connection: bytes to the core and back, until one of the two sides closes it."""
        http = Connection(self.limits, now_ms(), refuse=self.worker.refuse)
        # What these mean: the client went away, or took too long (TimeoutError is an OSError).
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream, OSError):
            async with stream:
                while not http.should_close and not (self.is_stopping and http.is_idle):
                    await self.receive(http, stream)
                    await self.answer(http, stream)
                if http.linger:
                    await stream.send_eof()
                    with anyio.move_on_after(http.linger / 1000):
                        while True:
                            await stream.receive()

    async def receive(self, http: Connection, stream: SocketStream) -> None:
        """Wait for bytes, no longer than the core says."""
        wait = math.inf if http.deadline is None else (http.deadline - now_ms()) / 1000
        with anyio.move_on_after(max(0, wait)) as self.receiving[http]:
            try:
                data = await stream.receive()
            except anyio.EndOfStream:
                data = b""
            http.receive_data(data, now_ms())
        del self.receiving[http]
        http.handle_timeout(now_ms())

    async def answer(self, http: Connection, stream: SocketStream) -> None:
        """Answer all requests that are complete, unless the client is too slow to read."""
        with anyio.fail_after(self.worker.config.request_timeout / 1000):
            while request := http.next_request(now_ms()):
                answer, *effects = self.worker.handle(0, request, now_ms())
                self.run(effects)
                assert isinstance(answer, Respond), "without a disk no answer has to wait"
                close = self.is_stopping
                await stream.send(http.send_response(answer.response, now_ms(), close=close))
            await stream.send(http.data_to_send())

    # The end

    def stop(self) -> None:
        """Close the connections on which no request has begun; others close behind theirs."""
        self.is_stopping = True
        for http, scope in self.receiving.items():
            if http.is_idle:
                scope.cancel()

    async def deliver_last(self) -> None:
        """Flush, and wait until all is delivered."""
        self.run(self.worker.close(now_ms()))
        while not self.worker.drained:
            await self.changed.wait()


async def main(config: Config, port: int) -> None:
    """Serve until a signal comes."""
    instance = config.instance or f"{socket.gethostname()}-{port}"
    worker = Worker(config, instance=instance, seed=os.getpid())
    async with httpx.AsyncClient(timeout=None) as client, anyio.create_task_group() as tasks:
        application = Application(worker, tasks, client)
        tasks.start_soon(application.keep_time)
        async with anyio.create_task_group() as connections:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async with listener, anyio.create_task_group() as accepting:
                    accepting.start_soon(listener.serve, application.serve, connections)
                    await anext(signals)
                    accepting.cancel_scope.cancel()
            end = anyio.current_time() + config.shutdown_timeout / 1000
            # A client that sends slowly must not use up the time that deliveries need.
            connections.cancel_scope.deadline = end - config.shutdown_timeout / 2000
            application.stop()
        with anyio.CancelScope(deadline=end):
            await application.deliver_last()
        for destination, items in worker.undelivered.items():
            if items:
                log.error("not delivered to %s: %d items", destination, items)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each request
    settings = Config.from_environment(os.environ)
    anyio.run(main, settings, int(sys.argv[1]), backend=(sys.argv[2:] or ["asyncio"])[0])
