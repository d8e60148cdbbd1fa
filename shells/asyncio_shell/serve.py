"""Runs the service as a process on asyncio, from start to a clean end."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from openqoe.core.config import Config
from openqoe.shells import logs, process
from openqoe.shells.asyncio_shell.server import Server
from openqoe.shells.asyncio_shell.service import Service
from openqoe.shells.asyncio_shell.store import open_store
from openqoe.shells.keeping import open_home
from openqoe.shells.listening import Listening
from openqoe.shells.settings import announce, server_instance


def run(
    config: Config,
    environment: Mapping[str, str],
    listening: Listening,
    serving: Callable[[], None] = process.no_parent,
) -> None:
    """Serve until a signal comes; ``serving`` is called when requests are taken.

    Raises:
        ListeningError: An address cannot be bound, or a TLS file cannot be used.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(config, environment, listening, serving))


async def serve(
    config: Config,
    environment: Mapping[str, str],
    listening: Listening,
    serving: Callable[[], None] = process.no_parent,
) -> None:
    """Serve until a signal comes."""
    log = logs.configure(config)
    config = process.fit(config, log)
    listeners = listening.open()
    store = partial(open_store, config, several=False)
    home = open_home(config, server_instance(config, listeners.port), log, store)
    service = Service(home, log)
    server = Server(service, listeners)
    stop = asyncio.Event()
    for number in process.stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await service.start()
    service.watch()
    server.listen()
    announce(log, service.worker, environment, listeners.addresses, listeners.url)
    serving()
    await stop.wait()
    shutdown = service.drain()
    await server.close(shutdown.for_requests)
    await service.close(shutdown.left)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: a faster loop of the same behaviour."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
