"""Runs the service as a process on asyncio, from start to a clean end."""

import asyncio
from collections.abc import Callable, Mapping

from openqoe.core.config.worker_config import Config

from ..net.listeners import ListenOptions
from ..service import logs, os_process
from ..service.bootstrap import open_runtime
from ..service.environment import log_start, server_instance
from .server import Server
from .service import Service


def run(
    config: Config,
    environment: Mapping[str, str],
    listen_options: ListenOptions,
    on_serving: Callable[[], None] | None = None,
) -> None:
    """Serve until a stop signal; call ``on_serving`` when requests are accepted.

    Raises:
        ListenError: An address cannot be bound, or a TLS file cannot be used.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(config, environment, listen_options, on_serving))


async def serve(
    config: Config,
    environment: Mapping[str, str],
    listen_options: ListenOptions,
    on_serving: Callable[[], None] | None = None,
) -> None:
    """Serve until a stop signal."""
    log = logs.configure(config)
    config = os_process.raise_limits(config, log)
    listeners = listen_options.open()
    runtime = open_runtime(config, server_instance(config, listeners.port), log)
    try:
        service = Service(runtime, log)
    except BaseException:
        runtime.close()
        raise
    server = Server(service, listeners)
    stop = asyncio.Event()
    for number in os_process.stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await service.start()
    service.watch()
    server.listen()
    log_start(log, service.worker, environment, listeners.addresses, listeners.url)
    if on_serving is not None:
        on_serving()
    await stop.wait()
    shutdown = service.drain()
    await server.close(shutdown.for_requests)
    await service.close(shutdown.remaining)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed: a faster loop with the same behaviour."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
