"""Runs the service as a process on asyncio, from start to a clean end."""

import asyncio
import signal
from collections.abc import Callable, Mapping

from openqoe.core import startup
from openqoe.core.config import Config
from openqoe.shells import logs
from openqoe.shells.asyncio_shell.server import Server
from openqoe.shells.asyncio_shell.service import Service
from openqoe.shells.clock import monotonic
from openqoe.shells.listening import Listening
from openqoe.shells.settings import make_worker


def run(config: Config, environment: Mapping[str, str], listening: Listening) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: An address cannot be bound.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(config, environment, listening))


async def serve(config: Config, environment: Mapping[str, str], listening: Listening) -> None:
    """Serve until SIGTERM or SIGINT."""
    log = logs.configure(config)
    service = Service(make_worker(config), log)
    server = Server(service, listening)
    server.bind()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.listen()
    await service.start()
    for notice in startup.notices(config, environment):
        logs.write(log, notice)
    log.info("serving", addresses=server.addresses, instance=service.worker.instance)
    await stop.wait()
    log.info("stopping")
    service.worker.drain()
    deadline = monotonic() + config.shutdown_timeout / 1000
    # A client that sends slowly must not use up the time that delivery needs.
    await server.close(config.shutdown_timeout / 2000)
    await service.close(max(0.0, deadline - monotonic()))
    log.info("stopped")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: a faster loop of the same behaviour."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
