"""Runs the service as a process on Trio, from start to a clean end.

One tree of nurseries: the process's holds the connections' and the service's, so no task
outlives its owner.
"""

import signal
from collections.abc import Mapping

import trio

from openqoe.core import startup
from openqoe.core.config import Config
from openqoe.shells import logs
from openqoe.shells.clock import monotonic
from openqoe.shells.listening import Listening
from openqoe.shells.settings import make_worker
from openqoe.shells.trio_shell.server import Server
from openqoe.shells.trio_shell.service import Service


def run(config: Config, environment: Mapping[str, str], listening: Listening) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: An address cannot be bound.
    """
    trio.run(serve, config, environment, listening)


async def serve(config: Config, environment: Mapping[str, str], listening: Listening) -> None:
    """Serve until SIGTERM or SIGINT."""
    log = logs.configure(config)
    service = Service(make_worker(config), log)
    server = Server(service, listening)
    server.bind()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as sending:
            await service.start(sending)
            async with trio.open_nursery() as connections:
                await server.listen(connections)
                for notice in startup.notices(config, environment):
                    logs.write(log, notice)
                log.info("serving", addresses=server.addresses, instance=service.worker.instance)
                async for _ in signals:
                    break
                log.info("stopping")
                service.worker.drain()
                deadline = monotonic() + config.shutdown_timeout / 1000
                # A client that sends slowly must not use up the time that delivery needs.
                await server.close(config.shutdown_timeout / 2000)
            await service.close(max(0.0, deadline - monotonic()))
    log.info("stopped")
