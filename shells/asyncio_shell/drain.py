"""Delivers what is left in a data directory, without serving: ``openqoe drain``."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from openqoe.core.config import Config
from openqoe.shells import logs
from openqoe.shells.adoption import left_behind
from openqoe.shells.asyncio_shell.service import Service
from openqoe.shells.clock import monotonic


def drain(config: Config, timeout: float) -> Mapping[str, int]:
    """Deliver for at most ``timeout`` s; returns what is left, in items by destination."""
    return asyncio.run(_drain(config, timeout))


async def _drain(config: Config, timeout: float) -> Mapping[str, int]:
    log = logs.configure(config)
    end = monotonic() + timeout
    left: Counter[str] = Counter()
    for home in left_behind(config, log, patience=0):
        service = Service(home, log)
        await service.start()
        await service.close(max(1.0, end - monotonic()))
        left.update(service.worker.undelivered)
    return +left
