"""Runs the service as a process on Trio, from start to a clean end.

One tree of nurseries: the process's holds the connections' and the service's, so no task
outlives its owner.
"""

from collections.abc import Callable, Mapping

import trio

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
    trio.run(serve, config, environment, listen_options, on_serving)


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
    with trio.open_signal_receiver(*os_process.stop_signals()) as signals:
        async with trio.open_nursery() as sending:
            await service.start(sending)
            sending.start_soon(service.recover_orphans)
            async with trio.open_nursery() as connections:
                server.listen(connections)
                log_start(log, service.worker, environment, listeners.addresses, listeners.url)
                if on_serving is not None:
                    on_serving()
                await anext(signals)
                shutdown = service.drain()
                await server.close(shutdown.for_requests)
            await service.close(shutdown.remaining)
