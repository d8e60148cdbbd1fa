"""Sends a request without data to each destination: ``openqoe check``."""

import asyncio

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.destinations import EMBEDDED, Destination
from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.destination_probe import (
    Finding,
    build_probe,
    diagnose_answer,
    is_malformed_probe_needed,
)
from openqoe.core.effects import PayloadKind

from ..net.connection_policy import ConnectionPolicy
from ..net.httpx_client import Client
from ..service.clock import now_ms


def check_destinations(config: Config) -> list[Finding]:
    """Findings about each destination, metrics first."""
    return asyncio.run(_check_all(config))


async def _check_all(config: Config) -> list[Finding]:
    wanted: list[tuple[PayloadKind, Destination]] = [
        *(("metrics", one) for one in config.metrics_destinations),
        *(("logs", one) for one in config.logs_destinations),
    ]
    try:
        policy = ConnectionPolicy.load(config)
    except SettingsError as error:
        return [Finding("fail", "connections", fault, "") for fault in error.faults]
    client = Client(config.delivery_timeout, policy)
    await client.open()
    try:
        findings = await asyncio.gather(*(_check(client, config, *one) for one in wanted))
    finally:
        await client.close()
    return [finding for some in findings for finding in some]


async def _check(
    client: Client, config: Config, kind: PayloadKind, destination: Destination
) -> tuple[Finding, ...]:
    if destination.url.startswith(EMBEDDED):
        text = "the embedded store, in the data directory"
        return (Finding("ok", f"{kind}: {destination.name}", text),)
    result = await client.send(build_probe(destination, kind, config.loki_encoding))
    answered_at, malformed_result = now_ms(), None
    if is_malformed_probe_needed(destination, result):
        probe = build_probe(destination, kind, config.loki_encoding, is_malformed=True)
        malformed_result = await client.send(probe)
    return diagnose_answer(
        destination, kind, result, answered_at, malformed_result=malformed_result
    )
