"""Delivers what is left in a data directory, without serving: ``openqoe drain``."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial

from openqoe.core.config.worker_config import Config

from ..asyncio_shell.service import Service
from ..service import logs
from ..service.clock import monotonic
from ..service.orphan_recovery import open_orphaned_slots
from ..stores.store_selection import has_store, open_store


def drain(config: Config, timeout: float) -> Mapping[str, int]:
    """Deliver for at most ``timeout`` s; returns what is left, in items by destination."""
    return asyncio.run(_drain(config, timeout))


async def _drain(config: Config, timeout: float) -> Mapping[str, int]:
    log = logs.configure(config)
    end = monotonic() + timeout
    left: Counter[str] = Counter()
    store = partial(open_store, config, several=has_store(config))
    for runtime in open_orphaned_slots(config, log, store, min_idle=0):
        service = Service(runtime, log)
        await service.start()
        await service.close(max(1.0, end - monotonic()))
        left.update(service.worker.undelivered)
    return +left
