"""Sends each destination a harmless request: ``openqoe check``."""

import asyncio
from collections.abc import Sequence

from openqoe.core.config.destinations import EMBEDDED, Destination
from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.destination_probe import Finding, build_probe, diagnose_answer
from openqoe.core.delivery.verdict import PayloadKind

from ..asyncio_shell.client import Client
from ..service.clock import now_ms


def check(config: Config) -> list[Finding]:
    """What the destinations say, metrics first."""
    return asyncio.run(_check(config))


async def _check(config: Config) -> list[Finding]:
    wanted: Sequence[tuple[PayloadKind, Destination]] = [
        *(("metrics", one) for one in config.metrics_destinations),
        *(("logs", one) for one in config.logs_destinations),
    ]
    client = Client(config.delivery_timeout)
    await client.open()
    try:
        found = await asyncio.gather(*(_ask(client, config, *one) for one in wanted))
    finally:
        await client.close()
    return [finding for findings in found for finding in findings]


async def _ask(
    client: Client, config: Config, kind: PayloadKind, destination: Destination
) -> tuple[Finding, ...]:
    if destination.url.startswith(EMBEDDED):
        text = "the embedded store, in the data directory"
        return (Finding("ok", f"{kind}: {destination.name}", text),)
    result = await client.send(build_probe(destination, kind, config.loki_encoding, now_ms()))
    return diagnose_answer(destination, kind, result, now_ms())
